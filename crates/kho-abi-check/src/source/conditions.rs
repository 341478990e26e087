//! Build options: what of a format stands behind a `#[cfg]`, item by item.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, Meta};

use super::attrs::{attributes_of, is_test, names, squeezed};
use super::modules::{own_module, submodule};
use crate::finding::Place;

/// A part of a format that depends on a build option.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) place: Place,
    /// What depends on it: "field `extra` of struct BlockHeader".
    pub(crate) what: String,
    /// The condition as the source has it: `#[cfg(feature = "extra")]`.
    pub(crate) text: String,
    /// The struct or constant; of a module its file and its directory, without `.rs`; of what a list has its path.
    pub(crate) item: String,
    /// The predicate of a `cfg`, without blanks; empty for other forms.
    pub(super) predicate: String,
    pub(super) on: On,
}

/// What a condition stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum On {
    /// A part of an item: its layout or value is another one in another build.
    Part,
    /// A whole item.
    Item,
    /// A whole item of a file that describes no format.
    Elsewhere,
    /// A constant that lists generations.
    List,
    /// The file of a module.
    Module,
    /// An element of a list: a generation, a layout.
    Element,
}

/// What a file says of build options.
#[derive(Default)]
pub(super) struct Found {
    pub(super) conditions: Vec<Condition>,
    /// The predicates under which the file has an experimental generation.
    pub(super) experiments: Vec<String>,
}

/// What of `file` depends on build options.
pub(super) fn of(path: &str, file: &syn::File, in_format: bool) -> Found {
    let mut reader = Reader {
        path,
        in_format,
        under: Vec::new(),
        items: 0,
        words: BTreeSet::new(),
        uses: Vec::new(),
        found: Found::default(),
    };
    let module = own_module(path);
    reader.attributes(&file.attrs, On::Module, module, || format!("file {path}"));
    reader.visit_file(file);
    let words = &reader.words;
    let used = |(names, _): &(BTreeSet<String>, Condition)| !names.is_disjoint(words);
    let used = reader.uses.into_iter().filter(used);
    reader.found.conditions.extend(used.map(|(_, found)| found));
    reader.found
}

struct Reader<'a> {
    path: &'a str,
    in_format: bool,
    /// The predicates of the modules around.
    under: Vec<String>,
    /// Structs and constants of the format so far.
    items: usize,
    /// The names that types and values of the format have in them.
    words: BTreeSet<String>,
    /// Imports that depend on a build option: the names in them.
    uses: Vec<(BTreeSet<String>, Condition)>,
    found: Found,
}

/// What a struct derives that lies in memory, or that programs write.
const BYTES: [&str; 4] = ["AbiLayout", "AbiMembers", "FromBytes", "IntoBytes"];

/// The source at `span`, in one line.
fn source(span: Span, tokens: impl ToTokens) -> String {
    let text = span.source_text().unwrap_or_else(|| squeezed(tokens));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The predicate of `#[cfg(...)]`, without blanks.
fn predicate(attr: &Attribute) -> Option<String> {
    let Meta::List(list) = &attr.meta else {
        return None;
    };
    let is_cfg = attr.path().is_ident("cfg");
    is_cfg.then(|| squeezed(&list.tokens))
}

/// The file that `#[path = "..."]` names.
fn path_of(attrs: &[Attribute]) -> Option<String> {
    let attr = attrs.iter().find(|attr| attr.path().is_ident("path"))?;
    let Meta::NameValue(pair) = &attr.meta else {
        return None;
    };
    Some(squeezed(&pair.value).trim_matches('"').to_owned())
}

/// Whether what `#[cfg_attr(...)]` sets changes a format: its layout, or which file it is.
fn changes_format(attr: &Attribute) -> bool {
    let text = squeezed(&attr.meta);
    let set = text.split_once(',').map_or("", |(_, set)| set);
    let starts = |word: &str| {
        let mut at = set.match_indices(word).map(|(at, _)| at);
        at.any(|at| {
            let before = set.get(..at).unwrap_or_default();
            !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        })
    };
    let marks = ["repr(", "abi(", "cfg(", "cfg_attr(", "path="];
    attr.path().is_ident("cfg_attr")
        && (marks.iter().any(|mark| starts(mark)) || BYTES.iter().any(|name| names(set, name)))
}

/// The conditions in `tokens`: attributes, and the macros that stand for a value.
fn conditions(tokens: TokenStream, out: &mut Vec<(Span, String)>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is = |at: Option<usize>, mark: char| {
        let token = at.and_then(|at| tokens.get(at));
        matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
    };
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                let text = squeezed(group.stream());
                let is_attr = group.delimiter() == Delimiter::Bracket
                    && (is(at.checked_sub(1), '#') || is(at.checked_sub(2), '#'));
                let is_cfg = text.starts_with("cfg(") || text.starts_with("cfg_attr(");
                if !is_attr {
                    conditions(group.stream(), out);
                } else if is_cfg && !["cfg(test)", "cfg(doctest)"].contains(&text.as_str()) {
                    out.push((group.span(), format!("#{}", source(group.span(), group))));
                }
            }
            TokenTree::Ident(name) if is(Some(at + 1), '!') => {
                let text = match name.to_string().as_str() {
                    "cfg" => tokens.get(at + 2).map_or_else(String::new, |group| {
                        format!("cfg!{}", source(group.span(), group))
                    }),
                    "cfg_select" => "cfg_select!".to_owned(),
                    _ => continue,
                };
                out.push((name.span(), text));
            }
            _ => {}
        }
    }
}

/// The words of `tokens`.
fn words(tokens: TokenStream, out: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => words(group.stream(), out),
            TokenTree::Ident(name) => drop(out.insert(name.to_string())),
            _ => {}
        }
    }
}

/// The attributes of what a list has.
fn attributes_of_element(element: &Expr) -> &[Attribute] {
    match element {
        Expr::Path(one) => &one.attrs,
        Expr::Call(one) => &one.attrs,
        Expr::MethodCall(one) => &one.attrs,
        Expr::Macro(one) => &one.attrs,
        Expr::Reference(one) => &one.attrs,
        _ => &[],
    }
}

/// Whether a struct or an enum with these attributes is of a format.
fn is_format(attrs: &[Attribute]) -> bool {
    let attrs: String = attrs.iter().map(|attr| squeezed(&attr.meta)).collect();
    BYTES.iter().any(|mark| names(&attrs, mark)) || attrs.contains("repr(C")
}

/// Whether a value, without blanks, is an experimental generation.
pub(super) fn is_experiment(value: &str) -> bool {
    value.contains("Generation::new(") && value.contains(".experimental()")
}

impl Reader<'_> {
    /// Adds what the attributes of an item make depend on a build option.
    fn attributes(&mut self, attrs: &[Attribute], on: On, item: &str, what: impl Fn() -> String) {
        for attr in attrs {
            let predicate = predicate(attr);
            if predicate.is_none() && !changes_format(attr) {
                continue;
            }
            let on = if predicate.is_some() { on } else { On::Part };
            self.found.conditions.push(Condition {
                place: Place::new(self.path, attr.span().start().line),
                what: what(),
                text: source(attr.span(), attr),
                item: item.to_owned(),
                predicate: predicate.unwrap_or_default(),
                on,
            });
        }
    }

    /// Adds the conditions inside of an item.
    fn inside(&mut self, tokens: impl ToTokens, item: &str, what: impl Fn() -> String) {
        let mut found = Vec::new();
        conditions(tokens.to_token_stream(), &mut found);
        for (span, text) in found {
            let place = Place::new(self.path, span.start().line);
            // What stands on an element of a list was found there.
            let same = |one: &Condition| one.place == place && one.text == text;
            if !self.found.conditions.iter().any(same) {
                self.found.conditions.push(Condition {
                    place,
                    what: what(),
                    text,
                    item: item.to_owned(),
                    predicate: String::new(),
                    on: On::Part,
                });
            }
        }
    }

    /// Notes that an experimental generation with these attributes stands here.
    fn experiment(&mut self, attrs: &[Attribute]) {
        let own = attrs.iter().filter_map(predicate);
        let all = self.under.iter().cloned().chain(own);
        self.found.experiments.extend(all);
    }

    const fn item(&self) -> On {
        if self.in_format {
            On::Item
        } else {
            On::Elsewhere
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        let what = || format!("module {name}");
        let Some((_, content)) = &item.content else {
            let target = submodule(self.path, &name, path_of(&item.attrs));
            return self.attributes(&item.attrs, On::Module, &target, what);
        };
        let (before, under) = (self.items, self.under.len());
        self.under.extend(item.attrs.iter().filter_map(predicate));
        content.iter().for_each(|item| self.visit_item(item));
        self.under.truncate(under);
        // A component as a whole is there, or is not.
        let is_whole = squeezed(item).contains("Component::new(");
        if self.items > before && !is_whole {
            self.attributes(&item.attrs, self.item(), &name, what);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if !self.in_format || !is_format(&item.attrs) {
            return;
        }
        self.items += 1;
        let name = &item.ident.to_string();
        self.attributes(&item.attrs, On::Item, name, || format!("struct {name}"));
        for (index, field) in item.fields.iter().enumerate() {
            let own = field.ident.as_ref().map(ToString::to_string);
            let own = own.unwrap_or_else(|| index.to_string());
            let what = || format!("field `{own}` of struct {name}");
            self.attributes(&field.attrs, On::Part, name, what);
            self.inside(&field.ty, name, what);
            words(field.ty.to_token_stream(), &mut self.words);
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if !self.in_format || !is_format(&item.attrs) {
            return;
        }
        self.items += 1;
        let name = &item.ident.to_string();
        self.attributes(&item.attrs, On::Item, name, || format!("enum {name}"));
        for variant in &item.variants {
            let what = || format!("variant `{}` of enum {name}", variant.ident);
            self.attributes(&variant.attrs, On::Part, name, what);
            self.inside(&variant.fields, name, what);
            words(variant.fields.to_token_stream(), &mut self.words);
        }
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        if self.in_format {
            let name = &item.ident.to_string();
            self.attributes(&item.attrs, On::Item, name, || format!("type {name}"));
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let first = self.found.conditions.len();
        let text = squeezed(&item.tree);
        self.attributes(&item.attrs, self.item(), "", || format!("`use {text}`"));
        let found = self.found.conditions.split_off(first);
        let mut names = BTreeSet::new();
        words(item.tree.to_token_stream(), &mut names);
        let found = found.into_iter().map(|found| (names.clone(), found));
        self.uses.extend(found);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        let name = &item.ident.to_string();
        // An assert is no part of a format.
        if name == "_" {
            return;
        }
        self.items += 1;
        if is_experiment(&squeezed(&item.expr)) {
            self.experiment(&item.attrs);
        }
        let is_list = squeezed(&item.ty).ends_with("Generation]");
        let on = if is_list { On::List } else { self.item() };
        let what = || format!("constant {name}");
        self.attributes(&item.attrs, on, name, what);
        if self.in_format {
            visit::visit_item_const(self, item);
            self.inside(&item.expr, name, what);
            self.inside(&item.ty, name, what);
            words(item.to_token_stream(), &mut self.words);
        }
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        if self.in_format {
            visit::visit_item_static(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        for one in &item.items {
            let syn::ImplItem::Const(constant) = one else {
                continue;
            };
            if !self.in_format {
                continue;
            }
            let owner = squeezed(&item.self_ty);
            let what = || format!("constant {owner}::{}", constant.ident);
            self.attributes(&item.attrs, On::Item, &owner, what);
            self.attributes(&constant.attrs, On::Part, &owner, what);
            self.inside(&constant.expr, &owner, what);
        }
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let text = squeezed(&item.mac.tokens);
        let marks = ["AbiLayout", "AbiMembers", "repr(C", "Generation::new("];
        if !self.in_format && !marks.iter().any(|mark| text.contains(mark)) {
            return;
        }
        let path = squeezed(&item.mac.path);
        let what = || match &item.ident {
            Some(name) => format!("what macro {name}! makes"),
            None => format!("what {path}! is given"),
        };
        self.attributes(&item.attrs, On::Part, &path, what);
        self.inside(&item.mac, &path, what);
    }

    fn visit_expr_array(&mut self, list: &'ast syn::ExprArray) {
        for element in &list.elems {
            let attrs = attributes_of_element(element);
            let own: String = attrs.iter().map(squeezed).collect();
            let path = squeezed(element);
            let path = path.strip_prefix(&own).unwrap_or(&path);
            if is_experiment(path) {
                self.experiment(attrs);
            }
            self.attributes(attrs, On::Element, path, || format!("`{path}` in a list"));
        }
        visit::visit_expr_array(self, list);
    }
}
