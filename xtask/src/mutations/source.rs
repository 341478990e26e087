//! The source of a crate as syntax: its items by path, and the place of their parts in the text.

use std::ops::Range;

use proc_macro2::{Delimiter, TokenStream, TokenTree, extra::DelimSpan};
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ImplItem, Item, ItemStruct, Meta, TraitItem, Type};

/// A token and its place in the text.
#[derive(Debug)]
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

fn flatten(stream: TokenStream, text: &str, out: &mut Vec<Token>) {
    for tree in stream {
        let at = tree.span().byte_range();
        // The tokens that a documentation comment stands for are all at its place.
        let shown = text.get(at.clone()).unwrap_or_default();
        if shown.starts_with("//") || shown.starts_with("/*") {
            continue;
        }
        let TokenTree::Group(group) = tree else {
            let text = tree.to_string();
            out.push(Token { text, at });
            continue;
        };
        let mut push = |text: &str, at| {
            let text = text.to_owned();
            out.push(Token { text, at });
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => continue,
        };
        push(open, group.span_open().byte_range());
        flatten(group.stream(), text, out);
        if out.last().is_some_and(|last| last.text == ",") {
            out.pop();
        }
        let at = group.span_close().byte_range();
        let text = close.to_owned();
        out.push(Token { text, at });
    }
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

/// An item of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: &'static str,
    /// Modules of the file, type and trait of an `impl`, name.
    pub(super) path: Vec<String>,
    /// Whether it is public.
    pub(super) public: bool,
    /// Whether it is built for tests or with a feature alone.
    pub(super) optional: bool,
    pub(super) at: Part,
    /// Fields of a struct, its attributes (`#derive`), calls of a component.
    pub(super) parts: Vec<(String, Part)>,
}

impl Entry {
    pub(super) fn part(&self, name: &str) -> Option<&Part> {
        let mut parts = self.parts.iter();
        parts.find(|(of, _)| of == name).map(|(_, part)| part)
    }

    /// The fields of a struct.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Part)> {
        let parts = self.parts.iter().map(|(name, part)| (name.as_str(), part));
        parts.filter(|(name, _)| !name.starts_with('#'))
    }

    /// Whether it is a struct that derives `AbiLayout`.
    pub(super) fn is_layout(&self, text: &str) -> bool {
        let derive = self.part("#derive").and_then(|part| part.list.clone());
        derive.is_some_and(|list| slice(text, &list).contains("AbiLayout"))
    }
}

/// A module that is declared in a file and stands in another.
#[derive(Clone, Debug)]
pub(super) struct Module {
    pub(super) path: Vec<String>,
    /// As `#[path]` says.
    pub(super) file: Option<String>,
    pub(super) optional: bool,
    pub(super) whole: Range<usize>,
}

/// A file of Rust.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) text: String,
    pub(super) entries: Vec<Entry>,
    pub(super) modules: Vec<Module>,
}

impl Source {
    pub(super) fn parse(text: String) -> Result<Self, syn::Error> {
        let file = syn::parse_file(&text)?;
        let mut out = Self {
            text,
            entries: Vec::new(),
            modules: Vec::new(),
        };
        out.items(&file.items, &[], false);
        Ok(out)
    }

    fn items(&mut self, items: &[Item], inside: &[String], optional: bool) {
        for item in items {
            self.item(item, inside, optional);
        }
    }

    fn add(&mut self, kind: &'static str, item: &Described<'_>, at: Part) {
        self.add_with(kind, item, at, Vec::new());
    }

    fn add_with(
        &mut self,
        kind: &'static str,
        item: &Described<'_>,
        at: Part,
        parts: Vec<(String, Part)>,
    ) {
        let mut path = item.inside.to_vec();
        path.push(item.name.clone());
        self.entries.push(Entry {
            kind,
            path,
            public: item.public,
            optional: item.optional,
            at: Part {
                whole: item.whole.clone(),
                docs: docs(item.attrs),
                ..at
            },
            parts,
        });
    }

    fn item(&mut self, item: &Item, inside: &[String], optional: bool) {
        let describe = |attrs, name: String, public| Described {
            inside,
            name,
            public,
            attrs,
            whole: item.span().byte_range(),
            optional: optional || is_optional(attrs),
        };
        let is_public = |vis: &syn::Visibility| matches!(vis, syn::Visibility::Public(_));
        match item {
            Item::Const(item) => {
                let name = item.ident.to_string();
                let of = describe(&item.attrs, name, is_public(&item.vis));
                self.constant(&of, &item.ty, &item.expr);
            }
            Item::Static(item) => {
                let name = item.ident.to_string();
                let of = describe(&item.attrs, name, is_public(&item.vis));
                self.constant(&of, &item.ty, &item.expr);
            }
            Item::Struct(item) => {
                let name = item.ident.to_string();
                let of = describe(&item.attrs, name, is_public(&item.vis));
                let parts = parts_of_struct(item, &self.text);
                let list = match &item.fields {
                    syn::Fields::Named(fields) => Some(within(&fields.brace_token.span)),
                    _ => None,
                };
                let at = Part {
                    list,
                    ..Part::default()
                };
                self.add_with("struct", &of, at, parts);
            }
            Item::Fn(item) => {
                let of = describe(
                    &item.attrs,
                    item.sig.ident.to_string(),
                    is_public(&item.vis),
                );
                self.add("fn", &of, Part::default());
            }
            Item::Mod(item) => {
                let of = describe(&item.attrs, item.ident.to_string(), is_public(&item.vis));
                let mut path = inside.to_vec();
                path.push(of.name.clone());
                let Some((brace, items)) = &item.content else {
                    self.modules.push(Module {
                        path,
                        file: path_attribute(&item.attrs),
                        optional: of.optional,
                        whole: of.whole,
                    });
                    return;
                };
                let list = Some(within(&brace.span));
                self.add(
                    "mod",
                    &of,
                    Part {
                        list,
                        ..Part::default()
                    },
                );
                self.items(items, &path, of.optional);
            }
            Item::Impl(block) => {
                let of = describe(&block.attrs, String::new(), false);
                let name = match &*block.self_ty {
                    Type::Path(of) => of.path.segments.last(),
                    _ => None,
                };
                let mut path = inside.to_vec();
                path.extend(name.map(|last| last.ident.to_string()));
                let of_trait = block.trait_.as_ref();
                path.extend(
                    of_trait.and_then(|(_, of, _)| Some(of.segments.last()?.ident.to_string())),
                );
                for item in &block.items {
                    let of = Described {
                        inside: &path,
                        whole: item.span().byte_range(),
                        ..of.clone()
                    };
                    match item {
                        ImplItem::Fn(item) => self.function(of, &item.attrs, &item.sig),
                        ImplItem::Const(item) => {
                            let of = Described {
                                name: item.ident.to_string(),
                                attrs: &item.attrs,
                                ..of
                            };
                            self.constant(&of, &item.ty, &item.expr);
                        }
                        _ => {}
                    }
                }
            }
            Item::Trait(block) => {
                let of = describe(&block.attrs, String::new(), false);
                let mut path = inside.to_vec();
                path.push(block.ident.to_string());
                for item in &block.items {
                    let of = Described {
                        inside: &path,
                        whole: item.span().byte_range(),
                        ..of.clone()
                    };
                    if let TraitItem::Fn(item) = item {
                        self.function(of, &item.attrs, &item.sig);
                    }
                }
            }
            Item::Macro(item) => {
                let first = item.mac.tokens.clone().into_iter().next();
                let first = first.map_or_else(String::new, |first| first.to_string());
                let mut path = inside.to_vec();
                path.extend(
                    item.mac
                        .path
                        .segments
                        .last()
                        .map(|last| last.ident.to_string()),
                );
                let of = Described {
                    inside: &path,
                    ..describe(&item.attrs, first.trim_matches('"').to_owned(), false)
                };
                let list = item
                    .mac
                    .tokens
                    .clone()
                    .into_iter()
                    .filter_map(|tree| match tree {
                        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                            Some(within(&group.delim_span()))
                        }
                        _ => None,
                    });
                let list = list.last();
                self.add(
                    "macro",
                    &of,
                    Part {
                        list,
                        ..Part::default()
                    },
                );
            }
            _ => {}
        }
    }

    fn function(&mut self, of: Described<'_>, attrs: &[Attribute], sig: &syn::Signature) {
        let of = Described {
            name: sig.ident.to_string(),
            attrs,
            ..of
        };
        self.add("fn", &of, Part::default());
    }

    fn constant(&mut self, of: &Described<'_>, ty: &Type, expr: &Expr) {
        let value = Some(expr.span().byte_range());
        if of.name == "_" {
            let text = slice(&self.text, &of.whole);
            let mut found = sizes(text, of.whole.start);
            if found.is_empty() {
                // By the first name that stands in it.
                let tokens = tokens(text).unwrap_or_default();
                let first = tokens
                    .into_iter()
                    .skip_while(|token| token.text != "!")
                    .nth(2);
                found.extend(first.map(|first| (first.text, of.whole.end..of.whole.end)));
            }
            for (name, value) in found {
                let of = Described { name, ..of.clone() };
                let value = Some(value).filter(|value| !value.is_empty());
                let at = Part {
                    value,
                    ..Part::default()
                };
                self.add("assert", &of, at);
            }
            return;
        }
        let of_type = Part {
            value: Some(ty.span().byte_range()),
            ..Part::default()
        };
        let at = Part {
            value: value.clone(),
            ..Part::default()
        };
        self.add_with("const", of, at, vec![("type".to_owned(), of_type)]);
        if let Some(parts) = parts_of_component(expr) {
            self.add_with(
                "component",
                of,
                Part {
                    value,
                    ..Part::default()
                },
                parts,
            );
        }
    }
}

/// What all kinds of items have.
#[derive(Clone)]
struct Described<'a> {
    inside: &'a [String],
    name: String,
    public: bool,
    attrs: &'a [Attribute],
    whole: Range<usize>,
    optional: bool,
}

/// A part of a text.
pub(super) fn slice<'a>(text: &'a str, at: &Range<usize>) -> &'a str {
    text.get(at.clone()).unwrap_or_default()
}

fn within(span: &DelimSpan) -> Range<usize> {
    span.open().byte_range().end..span.close().byte_range().start
}

fn docs(attrs: &[Attribute]) -> Option<Range<usize>> {
    let mut docs = attrs.iter().filter(|attr| attr.path().is_ident("doc"));
    let first = docs.next()?.span().byte_range();
    let last = docs.next_back();
    Some(first.start..last.map_or(first.end, |last| last.span().byte_range().end))
}

fn is_optional(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let meta = attr.meta.to_token_stream().to_string();
        let mut words = meta.split(|c: char| !c.is_alphanumeric());
        meta == "test"
            || meta.starts_with("cfg") && words.any(|word| ["test", "feature"].contains(&word))
    })
}

fn path_attribute(attrs: &[Attribute]) -> Option<String> {
    let attr = attrs.iter().find(|attr| attr.path().is_ident("path"))?;
    let Meta::NameValue(pair) = &attr.meta else {
        return None;
    };
    let path = pair.value.to_token_stream().to_string();
    Some(path.trim_matches('"').to_owned())
}

fn parts_of_struct(item: &ItemStruct, text: &str) -> Vec<(String, Part)> {
    let attrs = item.attrs.iter().filter_map(|attr| {
        let name = attr.path().get_ident()?;
        let Meta::List(list) = &attr.meta else {
            return None;
        };
        let part = Part {
            whole: attr.span().byte_range(),
            list: Some(within(list.delimiter.span())),
            ..Part::default()
        };
        Some((format!("#{name}"), part))
    });
    let fields = item.fields.iter().filter_map(|field| {
        let mut whole = field.span().byte_range();
        let rest = text.get(whole.end..).unwrap_or_default();
        whole.end += usize::from(rest.starts_with(','));
        let part = Part {
            whole,
            docs: docs(&field.attrs),
            value: Some(field.ty.span().byte_range()),
            list: None,
        };
        Some((field.ident.as_ref()?.to_string(), part))
    });
    attrs.chain(fields).collect()
}

/// The calls of `Component::new(...).needs(...)`, and what `new` is given by name.
fn parts_of_component(expr: &Expr) -> Option<Vec<(String, Part)>> {
    let mut parts = Vec::new();
    let mut inner = expr;
    while let Expr::MethodCall(call) = inner {
        let close = call.paren_token.span.close().byte_range().end;
        let whole = call.dot_token.span().byte_range().start..close;
        parts.push((
            call.method.to_string(),
            call_part(whole, &call.paren_token.span, &call.args),
        ));
        inner = &call.receiver;
    }
    let Expr::Call(call) = inner else { return None };
    let function: String = call
        .func
        .to_token_stream()
        .to_string()
        .split_whitespace()
        .collect();
    if !function.ends_with("Component::new") {
        return None;
    }
    parts.push((
        "new".to_owned(),
        call_part(call.span().byte_range(), &call.paren_token.span, &call.args),
    ));
    for (name, argument) in ["name", "version", "restores"].into_iter().zip(&call.args) {
        let whole = argument.span().byte_range();
        let value = Some(whole.clone());
        parts.push((
            name.to_owned(),
            Part {
                whole,
                value,
                ..Part::default()
            },
        ));
    }
    Some(parts)
}

fn call_part(
    whole: Range<usize>,
    paren: &DelimSpan,
    args: &Punctuated<Expr, syn::Token![,]>,
) -> Part {
    let list = args.last().and_then(|last| match last {
        Expr::Reference(reference) => match &*reference.expr {
            Expr::Array(array) => Some(within(&array.bracket_token.span)),
            _ => None,
        },
        _ => None,
    });
    let value = Some(within(paren));
    Part {
        whole,
        value,
        list,
        docs: None,
    }
}

/// The structs whose size `text` compares with `==`, and the place of what it compares with.
fn sizes(text: &str, start: usize) -> Vec<(String, Range<usize>)> {
    let tokens = tokens(text).unwrap_or_default();
    let mut out = Vec::new();
    let mut rest = tokens.as_slice();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if first.text != "size_of" {
            continue;
        }
        let Some(end) = tail.iter().position(|token| token.text == ">") else {
            continue;
        };
        let (asked, tail) = tail.split_at(end);
        let mut shown = tail.iter().map(|token| token.text.as_str());
        let (Some(name), true) = (
            asked.last(),
            shown.by_ref().take(5).eq([">", "(", ")", "=", "="]),
        ) else {
            continue;
        };
        let mut depth = 0_usize;
        let value = tail
            .iter()
            .skip(5)
            .take_while(|token| match token.text.as_str() {
                "(" | "[" => {
                    depth += 1;
                    true
                }
                ")" | "]" if depth > 0 => {
                    depth -= 1;
                    true
                }
                "&" | "|" | "," | ")" | ";" => depth > 0,
                _ => true,
            });
        let value: Vec<_> = value.collect();
        if let [first, .., last] | [first @ last] = value.as_slice() {
            out.push((
                name.text.clone(),
                start + first.at.start..start + last.at.end,
            ));
        }
    }
    out
}
