//! The source of a crate as syntax: its items by path, and the place of their parts in the text.

use std::ops::Range;

use proc_macro2::{Delimiter, TokenStream, TokenTree, extra::DelimSpan};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, BinOp, Expr, ImplItem, Item, ItemConst, ItemStatic, Meta, Type, Visibility};

/// A token and its place in the text.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

/// The tokens of `text` without comments, documentation, and commas before a closing bracket.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let stream: TokenStream = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
    let mut out = Vec::new();
    flatten(stream, text, &mut out);
    Ok(out)
}

fn flatten(stream: TokenStream, source: &str, out: &mut Vec<Token>) {
    for tree in stream {
        let at = tree.span().byte_range();
        // The tokens that a documentation comment stands for are all at its place.
        let start = slice(source, &at);
        if start.starts_with("//") || start.starts_with("/*") {
            continue;
        }
        let TokenTree::Group(group) = tree else {
            let text = tree.to_string();
            out.push(Token { text, at });
            continue;
        };
        let token = |at: Range<usize>| Token {
            text: slice(source, &at).to_owned(),
            at,
        };
        out.push(token(group.span_open().byte_range()));
        flatten(group.stream(), source, out);
        out.pop_if(|last| last.text == ",");
        out.push(token(group.span_close().byte_range()));
    }
}

/// A part of a text.
pub(super) fn slice<'a>(text: &'a str, at: &Range<usize>) -> &'a str {
    text.get(at.clone()).unwrap_or_default()
}

/// Where a part of an item stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    /// All of it, with attributes and documentation.
    pub(super) whole: Range<usize>,
    /// The documentation.
    pub(super) docs: Option<Range<usize>>,
    /// The value of a constant, the type of a field, the arguments of a call.
    pub(super) value: Option<Range<usize>>,
    /// The elements of a list, without its brackets.
    pub(super) list: Option<Range<usize>>,
}

impl Part {
    fn new(of: &impl Spanned) -> Self {
        let whole = of.span().byte_range();
        Self {
            whole,
            ..Self::default()
        }
    }

    fn docs(self, attrs: &[Attribute]) -> Self {
        let docs = attrs.iter().filter(|attr| attr.path().is_ident("doc"));
        let docs = docs.map(|attr| attr.span().byte_range());
        let docs = docs.reduce(|first, last| first.start..last.end);
        Self { docs, ..self }
    }

    fn value(self, value: &impl Spanned) -> Self {
        let value = Some(value.span().byte_range());
        Self { value, ..self }
    }

    fn list(self, list: Option<&DelimSpan>) -> Self {
        let list = list.map(within);
        Self { list, ..self }
    }
}

fn within(span: &DelimSpan) -> Range<usize> {
    span.open().byte_range().end..span.close().byte_range().start
}

/// An item of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: &'static str,
    /// Modules of the file, type and trait of an `impl`, name.
    pub(super) path: Vec<String>,
    pub(super) is_public: bool,
    /// Whether it is built for tests or with a feature alone.
    pub(super) is_optional: bool,
    /// Whether it is a struct that derives `AbiLayout`.
    pub(super) is_layout: bool,
    pub(super) at: Part,
    /// Fields of a struct, its attributes (`#derive`), calls of a component.
    pub(super) parts: Vec<(String, Part)>,
}

impl Entry {
    pub(super) fn part(&self, name: &str) -> Option<&Part> {
        let mut parts = self.parts.iter();
        parts.find(|(of, _)| of == name).map(|(_, part)| part)
    }
}

/// A module that is declared in a file and stands in another.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) path: Vec<String>,
    /// As `#[path]` says.
    pub(super) file: Option<String>,
    pub(super) is_optional: bool,
    pub(super) whole: Range<usize>,
}

/// A file of Rust.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) text: String,
    pub(super) entries: Vec<Entry>,
    pub(super) modules: Vec<Module>,
}

/// What an item stands in.
#[derive(Clone, Copy)]
struct Inside<'a> {
    path: &'a [String],
    is_optional: bool,
}

impl Source {
    pub(super) fn parse(text: String) -> Result<Self, syn::Error> {
        let file = syn::parse_file(&text)?;
        let (entries, modules) = (Vec::new(), Vec::new());
        let mut out = Self {
            text,
            entries,
            modules,
        };
        let (path, is_optional) = (&[], false);
        for item in &file.items {
            out.item(item, Inside { path, is_optional });
        }
        Ok(out)
    }

    fn add(
        &mut self,
        kind: &'static str,
        inside: Inside<'_>,
        name: &impl ToString,
        attrs: &[Attribute],
        at: Part,
    ) -> Option<&mut Entry> {
        self.entries.push(Entry {
            kind,
            path: joined(inside.path, name),
            is_public: false,
            is_optional: inside.is_optional || is_optional(attrs),
            is_layout: false,
            at: at.docs(attrs),
            parts: Vec::new(),
        });
        self.entries.last_mut()
    }

    fn item(&mut self, item: &Item, inside: Inside<'_>) {
        let at = Part::new(item);
        match item {
            Item::Const(ItemConst {
                ident,
                attrs,
                vis,
                ty,
                expr,
                ..
            })
            | Item::Static(ItemStatic {
                ident,
                attrs,
                vis,
                ty,
                expr,
                ..
            }) => {
                if let (true, Expr::Macro(assert)) = (ident == "_", &**expr) {
                    for (name, at) in asserted(&assert.mac.tokens, &at) {
                        self.add("assert", inside, &name, attrs, at);
                    }
                    return;
                }
                let at = at.value(expr);
                for (kind, of) in [("component", "Component"), ("generation", "Generation")] {
                    if let Some(parts) = parts_of(expr, of)
                        && let Some(entry) = self.add(kind, inside, ident, attrs, at.clone())
                    {
                        entry.is_public = is_public(vis);
                        entry.parts = parts;
                    }
                }
                if let Some(entry) = self.add("const", inside, ident, attrs, at) {
                    entry.is_public = is_public(vis);
                    entry.parts = vec![("type".to_owned(), Part::new(ty).value(ty))];
                }
            }
            Item::Struct(item) => {
                let parts = parts_of_struct(item, &self.text);
                let list = match &item.fields {
                    syn::Fields::Named(fields) => Some(&fields.brace_token.span),
                    _ => None,
                };
                let at = at.list(list);
                if let Some(entry) = self.add("struct", inside, &item.ident, &item.attrs, at) {
                    entry.is_public = is_public(&item.vis);
                    entry.is_layout = item.attrs.iter().any(|attr| {
                        let shown = |attr: &Attribute| attr.meta.to_token_stream().to_string();
                        attr.path().is_ident("derive") && shown(attr).contains("AbiLayout")
                    });
                    entry.parts = parts;
                }
            }
            Item::Fn(item) => {
                self.add("fn", inside, &item.sig.ident, &item.attrs, at);
            }
            Item::Impl(block) => {
                let mut path = inside.path.to_vec();
                let of_trait = block.trait_.as_ref().map(|(_, of, _)| of);
                let of_type = match &*block.self_ty {
                    Type::Path(of) => Some(&of.path),
                    _ => None,
                };
                let names = of_type.into_iter().chain(of_trait);
                path.extend(names.filter_map(|of| Some(of.segments.last()?.ident.to_string())));
                let inside = Inside {
                    path: &path,
                    ..inside
                };
                for item in &block.items {
                    let at = Part::new(item);
                    match item {
                        ImplItem::Fn(of) => {
                            self.add("fn", inside, &of.sig.ident, &of.attrs, at);
                        }
                        ImplItem::Const(of) => {
                            let at = at.value(&of.expr);
                            self.add("const", inside, &of.ident, &of.attrs, at);
                        }
                        _ => {}
                    }
                }
            }
            Item::Mod(item) => {
                let path = joined(inside.path, &item.ident);
                let is_optional = inside.is_optional || is_optional(&item.attrs);
                let Some((brace, items)) = &item.content else {
                    let (file, whole) = (path_attribute(&item.attrs), at.whole);
                    self.modules.push(Module {
                        path,
                        file,
                        is_optional,
                        whole,
                    });
                    return;
                };
                let at = at.list(Some(&brace.span));
                self.add("mod", inside, &item.ident, &item.attrs, at);
                let path = &path;
                for item in items {
                    self.item(item, Inside { path, is_optional });
                }
            }
            Item::Macro(item) => {
                let mut first = String::new();
                let mut list = None;
                for tree in item.mac.tokens.clone() {
                    if first.is_empty() {
                        first = tree.to_string().trim_matches('"').to_owned();
                    }
                    if let TokenTree::Group(group) = tree
                        && group.delimiter() == Delimiter::Bracket
                    {
                        list = Some(group.delim_span());
                    }
                }
                let name = item.mac.path.segments.last();
                let name = name.map_or_else(String::new, |last| last.ident.to_string());
                let path = &joined(inside.path, &name);
                let at = at.list(list.as_ref());
                self.add("macro", Inside { path, ..inside }, &first, &item.attrs, at);
            }
            _ => {}
        }
    }
}

fn joined(path: &[String], name: &impl ToString) -> Vec<String> {
    [path, &[name.to_string()]].concat()
}

const fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

fn is_optional(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let words = |meta: String| {
            let mut words = meta.split(|c: char| !c.is_alphanumeric());
            words.any(|word| ["test", "feature"].contains(&word))
        };
        let is_cfg = attr.path().is_ident("cfg") || attr.path().is_ident("test");
        is_cfg && words(attr.meta.to_token_stream().to_string())
    })
}

fn path_attribute(attrs: &[Attribute]) -> Option<String> {
    let attr = attrs.iter().find(|attr| attr.path().is_ident("path"))?;
    let path = attr.meta.require_name_value().ok()?.value.to_token_stream();
    Some(path.to_string().trim_matches('"').to_owned())
}

fn parts_of_struct(item: &syn::ItemStruct, text: &str) -> Vec<(String, Part)> {
    let attrs = item.attrs.iter().filter_map(|attr| {
        let Meta::List(list) = &attr.meta else {
            return None;
        };
        let part = Part::new(attr).list(Some(list.delimiter.span()));
        Some((format!("#{}", attr.path().get_ident()?), part))
    });
    let fields = item.fields.iter().filter_map(|field| {
        let mut part = Part::new(field).docs(&field.attrs).value(&field.ty);
        let rest = text.get(part.whole.end..).unwrap_or_default();
        part.whole.end += usize::from(rest.starts_with(','));
        Some((field.ident.as_ref()?.to_string(), part))
    });
    attrs.chain(fields).collect()
}

/// The calls of `Component::new(...).summary(...)` or of `Generation::new(...).needs(...)`, and what `new` is
/// given, by name. Of a component also those of the generation that it writes by default, where that stands
/// in its list; else its constant, as `written`.
fn parts_of(expr: &Expr, of: &str) -> Option<Vec<(String, Part)>> {
    let mut parts = Vec::new();
    let mut inner = expr;
    let mut add = |name: &str, start, paren: &DelimSpan, last: Option<&Expr>| {
        let whole = start..paren.close().byte_range().end;
        let value = Some(within(paren));
        let part = Part {
            whole,
            value,
            ..Part::default()
        };
        parts.push((name.to_owned(), part.list(last.and_then(brackets))));
    };
    while let Expr::MethodCall(call) = inner {
        let start = call.dot_token.span().byte_range().start;
        let name = call.method.to_string();
        add(&name, start, &call.paren_token.span, call.args.last());
        inner = &call.receiver;
    }
    let Expr::Call(call) = inner else { return None };
    let called = call.func.to_token_stream().to_string();
    if !called.ends_with(&format!("{of} :: new")) {
        return None;
    }
    let start = call.span().byte_range().start;
    add("new", start, &call.paren_token.span, None);
    let names: &[&str] = match of {
        "Component" => &["name", "generations"],
        _ => &["version"],
    };
    let given = names.iter().zip(&call.args);
    parts.extend(given.map(|(name, given)| {
        let part = Part::new(given).value(given).list(brackets(given));
        ((*name).to_owned(), part)
    }));
    if let Some(written) = call.args.iter().nth(1).and_then(written) {
        let own = parts_of(written, "Generation")
            .unwrap_or_default()
            .into_iter();
        parts.extend(own.map(|(name, part)| (format!("written.{name}"), part)));
        parts.push(("written".to_owned(), Part::new(written).value(written)));
    }
    Some(parts)
}

/// The brackets of `&[...]`.
fn brackets(expr: &Expr) -> Option<&DelimSpan> {
    match expr {
        Expr::Reference(list) => match &*list.expr {
            Expr::Array(array) => Some(&array.bracket_token.span),
            _ => None,
        },
        _ => None,
    }
}

/// The last of a list of generations that is neither read only nor built with a feature alone.
fn written(list: &Expr) -> Option<&Expr> {
    let Expr::Reference(list) = list else {
        return None;
    };
    let Expr::Array(list) = &*list.expr else {
        return None;
    };
    let is_written = |expr: &&Expr| {
        let text = expr.to_token_stream().to_string();
        let mut words = ["#", "read_only", "experimental"].iter();
        !words.any(|word| text.contains(word))
    };
    list.elems.iter().rfind(is_written)
}

/// What a constant asserts, by name: the structs whose sizes it compares, or its first word.
fn asserted(condition: &TokenStream, at: &Part) -> Vec<(String, Part)> {
    let mut out = Vec::new();
    let mut rest: Vec<Expr> = syn::parse2(condition.clone()).into_iter().collect();
    while let Some(expr) = rest.pop() {
        let Expr::Binary(binary) = expr else { continue };
        let (left, right) = (*binary.left, *binary.right);
        match binary.op {
            BinOp::And(_) => rest.extend([right, left]),
            BinOp::Eq(_) => {
                let left = left.to_token_stream().to_string();
                let asked = left
                    .strip_suffix("> ()")
                    .and_then(|left| left.split_once("size_of :: <"));
                let name = asked.and_then(|(_, of)| of.split_whitespace().last());
                out.extend(name.map(|name| (name.to_owned(), at.clone().value(&right))));
            }
            _ => {}
        }
    }
    if out.is_empty() {
        let first = condition.clone().into_iter().next();
        out.extend(first.map(|first| (first.to_string(), at.clone())));
    }
    out
}
