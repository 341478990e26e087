//! Attributes: of tests, of derives, of documentation.

use quote::ToTokens;
use syn::{Attribute, Expr, Item, Lit};

pub(super) fn squeezed(tokens: impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    text.split_whitespace().collect()
}

/// The attributes of an item that may be there for tests alone.
pub(super) fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an item is there in tests alone: `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, ...))]`.
pub(super) fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        if attr.path().is_ident("test") {
            return true;
        }
        let meta = squeezed(&attr.meta);
        let Some(predicate) = within(&meta, "cfg(") else {
            return false;
        };
        let all = within(predicate, "all(").unwrap_or(predicate);
        predicate == "test" || all != predicate && all.split(',').any(|part| part == "test")
    })
}

fn within<'a>(text: &'a str, open: &str) -> Option<&'a str> {
    text.strip_prefix(open)?.strip_suffix(')')
}

pub(super) fn attributes(attrs: &[Attribute], name: &str) -> String {
    let named = attrs.iter().filter(|attr| attr.path().is_ident(name));
    named.map(|attr| squeezed(&attr.meta)).collect()
}

pub(super) fn docs(attrs: &[Attribute]) -> String {
    let mut out = String::new();
    for attr in attrs {
        if let syn::Meta::NameValue(pair) = &attr.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(lit) = &pair.value
            && let Lit::Str(text) = &lit.lit
        {
            out.push_str(&text.value());
            out.push('\n');
        }
    }
    out
}

pub(super) fn names(list: &str, name: &str) -> bool {
    let mut words = list.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.any(|word| word == name)
}

/// The names that descriptions give a field with these attributes.
pub(super) fn members(abi: &str, name: &str) -> Vec<String> {
    let Some((_, bits)) = abi.split_once("bits(") else {
        return vec![name.trim_start_matches("r#").to_owned()];
    };
    let members = bits.split(',').filter_map(|member| member.split_once(':'));
    members.map(|(name, _)| name.to_owned()).collect()
}
