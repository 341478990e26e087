//! `#[derive(AbiMembers)]`.

use proc_macro2::TokenStream as Tokens;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Fields, LitStr, Token};

/// What serde's attributes say.
#[derive(Default)]
struct Serde {
    strict: bool,
    untagged: bool,
    optional: bool,
    skip: bool,
    rename: Option<String>,
}

impl Serde {
    fn of(attrs: &[Attribute]) -> syn::Result<Self> {
        let mut out = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
            attr.parse_nested_meta(|meta| {
                let has_value = meta.input.peek(Token![=]);
                if meta.path.is_ident("deny_unknown_fields") {
                    out.strict = true;
                } else if meta.path.is_ident("untagged") {
                    out.untagged = true;
                } else if meta.path.is_ident("skip") {
                    out.skip = true;
                } else if meta.path.is_ident("rename") && has_value {
                    out.rename = Some(meta.value()?.parse::<LitStr>()?.value());
                    return Ok(());
                } else if meta.path.is_ident("default") {
                    out.optional = true;
                } else if !meta.path.is_ident("skip_serializing_if") {
                    return Err(meta.error(
                        "expected `deny_unknown_fields`, `untagged`, `default`, `rename = \"...\"`, `skip` or \
                         `skip_serializing_if`: what others do stands in no snapshot",
                    ));
                }
                if has_value {
                    meta.value()?.parse::<Expr>()?;
                }
                Ok(())
            })?;
        }
        Ok(out)
    }
}

/// A type as snapshots have it: without blanks but where they part words.
fn text(ty: &impl ToTokens) -> String {
    let text = ty.to_token_stream().to_string();
    let mut out = String::new();
    let mut words = text.split_whitespace().peekable();
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    while let Some(word) = words.next() {
        out += word;
        let next = words.peek().and_then(|next| next.chars().next());
        if word.ends_with(',') || is_word(word.chars().last()) && is_word(next) {
            out.push(' ');
        }
    }
    out
}

/// What a variant holds.
fn held(fields: &Fields) -> String {
    match fields {
        Fields::Unit => "nothing".to_owned(),
        Fields::Unnamed(held) if held.unnamed.len() == 1 => text(&held.unnamed).replace(", ", ""),
        other => text(other),
    }
}

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<Tokens> {
    let ident = &input.ident;
    let own = Serde::of(&input.attrs)?;
    let mut members: Vec<(String, String)> = Vec::new();
    match &input.data {
        Data::Struct(data) => {
            let Fields::Named(fields) = &data.fields else {
                return Err(Error::new(ident.span(), "a struct's members have names"));
            };
            for field in &fields.named {
                let Some(name) = &field.ident else { continue };
                let serde = Serde::of(&field.attrs)?;
                if serde.skip {
                    continue;
                }
                let name = serde.rename.unwrap_or_else(|| name.unraw().to_string());
                let optional = if serde.optional { ", optional" } else { "" };
                members.push((name, text(&field.ty) + optional));
            }
        }
        Data::Enum(data) => {
            for variant in &data.variants {
                let serde = Serde::of(&variant.attrs)?;
                let name = serde.rename.unwrap_or_else(|| variant.ident.to_string());
                if !serde.skip {
                    members.push((name, held(&variant.fields)));
                }
            }
        }
        Data::Union(_) => return Err(Error::new(ident.span(), "a union has no members")),
    }
    let join = |list: Vec<&str>, by| list.join(by);
    let names = || members.iter().map(|(name, _)| name.as_str()).collect();
    let rest = if own.untagged {
        let types = members.iter().map(|(_, ty)| ty.as_str()).collect();
        join(types, " or ")
    } else if own.strict || matches!(input.data, Data::Enum(_)) {
        format!("{}; others are refused", join(names(), ", "))
    } else {
        "others are ignored".to_owned()
    };
    if own.untagged {
        members.clear();
    }
    members.push(("*".to_owned(), rest));
    let constants = members.iter().map(|(name, value)| {
        let name = format!("{ident}.{name}");
        quote!(::kho_compat::Constant { name: #name.into(), value: #value.into() })
    });
    Ok(quote! {
        impl ::kho_compat::AbiMembers for #ident {
            fn members() -> ::kho_compat::__private::Vec<::kho_compat::Constant> {
                ::kho_compat::__private::Vec::from([#(#constants),*])
            }
        }
    })
}
