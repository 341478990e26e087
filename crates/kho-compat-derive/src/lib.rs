//! `#[derive(AbiLayout)]` and `#[derive(AbiMembers)]`: see `kho-compat`, which re-exports and documents them.

mod members;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Ident, LitInt, LitStr, Path, Token, parenthesized};

/// Describes a `#[repr(C)]` struct of a handover format.
///
/// On the struct: `#[abi(c_name = "...")]` names the kernel's struct, `#[abi(packed)]` says that
/// C declares it packed, `#[abi(constants(A, B))]` lists constants that belong to it. On a field:
/// `#[abi(bits(pfn: 0..52, flags: 52..64))]` describes a bit field's members in its place.
///
/// Every field's type must implement `AbiType`: fixed-width little-endian integers, bytes, arrays
/// of those, and structs with this derive. Pointers, `usize`, `bool` and enums do not, so they do
/// not compile.
#[proc_macro_derive(AbiLayout, attributes(abi))]
pub fn derive_abi_layout(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// Describes a struct or an enum that serde writes as JSON: its members and their types.
///
/// It reads serde's attributes. Those that it does not know are errors, since what they do would stand in no
/// snapshot: it knows `deny_unknown_fields` and `untagged` of a type, and `default`, `rename`, `skip` and
/// `skip_serializing_if` of a field or variant.
#[proc_macro_derive(AbiMembers, attributes(serde))]
pub fn derive_abi_members(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    members::expand(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

#[derive(Default)]
struct StructAttrs {
    c_name: Option<String>,
    packed: bool,
    constants: Vec<Path>,
}

enum StructAttr {
    CName(String),
    Packed,
    Constants(Vec<Path>),
}

impl Parse for StructAttr {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key: Ident = input.call(Ident::parse_any)?;
        match key.to_string().as_str() {
            "c_name" => {
                input.parse::<Token![=]>()?;
                Ok(Self::CName(input.parse::<LitStr>()?.value()))
            }
            "packed" => Ok(Self::Packed),
            "constants" => {
                let list;
                parenthesized!(list in input);
                let paths = Punctuated::<Path, Token![,]>::parse_terminated(&list)?;
                Ok(Self::Constants(paths.into_iter().collect()))
            }
            _ => Err(Error::new(
                key.span(),
                "expected `c_name = \"...\"`, `packed` or `constants(...)`",
            )),
        }
    }
}

struct BitMember {
    name: Ident,
    start: u16,
    end: u16,
}

impl Parse for BitMember {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![:]>()?;
        let start = input.parse::<LitInt>()?;
        input.parse::<Token![..]>()?;
        let end = input.parse::<LitInt>()?;
        let (from, to) = (start.base10_parse()?, end.base10_parse()?);
        if from >= to {
            return Err(Error::new(
                end.span(),
                "a bit range is `first..one past the last`",
            ));
        }
        Ok(Self {
            name,
            start: from,
            end: to,
        })
    }
}

struct FieldAttr(Vec<BitMember>);

impl Parse for FieldAttr {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key: Ident = input.parse()?;
        if key != "bits" {
            return Err(Error::new(
                key.span(),
                "expected `bits(name: first..end, ...)`",
            ));
        }
        let list;
        parenthesized!(list in input);
        let members = Punctuated::<BitMember, Token![,]>::parse_terminated(&list)?;
        Ok(Self(members.into_iter().collect()))
    }
}

fn struct_attrs(input: &DeriveInput) -> syn::Result<StructAttrs> {
    let mut out = StructAttrs::default();
    for attr in input
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("abi"))
    {
        let list = attr.parse_args_with(Punctuated::<StructAttr, Token![,]>::parse_terminated)?;
        for item in list {
            match item {
                StructAttr::CName(name) => out.c_name = Some(name),
                StructAttr::Packed => out.packed = true,
                StructAttr::Constants(paths) => out.constants.extend(paths),
            }
        }
    }
    Ok(out)
}

fn is_repr_c(input: &DeriveInput) -> bool {
    let mut found = false;
    for attr in input
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("repr"))
    {
        let parsed = attr.parse_nested_meta(|meta| {
            found |= meta.path.is_ident("C");
            Ok(())
        });
        // `packed(2)` and the like are the compiler's to judge.
        drop(parsed);
    }
    found
}

fn expand(input: &DeriveInput) -> syn::Result<Tokens> {
    let ident = &input.ident;
    if !is_repr_c(input) {
        return Err(Error::new(
            ident.span(),
            "a handover format's struct needs #[repr(C)]",
        ));
    }
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            input.generics.span(),
            "a handover format's struct has no parameters",
        ));
    }
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(
            ident.span(),
            "only a struct has a handover layout",
        ));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(
            ident.span(),
            "a handover format's fields have names",
        ));
    };
    let attrs = struct_attrs(input)?;
    let packed = attrs.packed;

    let mut pushes = Vec::new();
    let mut checks = Vec::new();
    let mut sizes = Vec::new();
    for field in &fields.named {
        let Some(name) = &field.ident else { continue };
        let ty = &field.ty;
        let text = name.unraw().to_string();
        sizes.push(quote!(::core::mem::size_of::<#ty>()));
        if !packed {
            let message = format!("field `{text}` of `{ident}` is not aligned as C would align it");
            checks.push(quote! {
                assert!(
                    ::core::mem::offset_of!(#ident, #name)
                        .is_multiple_of(<#ty as ::kho_compat::AbiType>::C_ALIGN),
                    #message
                );
            });
        }
        let bits = field.attrs.iter().find(|attr| attr.path().is_ident("abi"));
        if let Some(attr) = bits {
            let FieldAttr(members) = attr.parse_args()?;
            for BitMember {
                name: member,
                start,
                end,
            } in members
            {
                let member = member.to_string();
                let width = end - start;
                pushes.push(quote! {
                    layout.push_bits::<#ty>(
                        #member, ::core::mem::offset_of!(#ident, #name), #start, #width,
                    );
                });
            }
        } else {
            pushes.push(quote! {
                layout.push::<#ty>(#text, ::core::mem::offset_of!(#ident, #name));
            });
        }
    }
    let name = ident.to_string();
    let c_name = match &attrs.c_name {
        Some(c_name) => quote!(::core::option::Option::Some(#c_name)),
        None => quote!(::core::option::Option::None),
    };
    let aligns = fields.named.iter().map(|field| {
        let ty = &field.ty;
        quote!(if align < <#ty as ::kho_compat::AbiType>::C_ALIGN {
            align = <#ty as ::kho_compat::AbiType>::C_ALIGN;
        })
    });
    let constants = attrs.constants.iter().map(|path| {
        let text = path
            .segments
            .last()
            .map(|last| last.ident.to_string())
            .unwrap_or_default();
        quote!(layout.push_constant(#text, &#path);)
    });
    let padding = format!("`{name}` has implicit padding: name it as a field");
    let tail = format!("C would pad the end of `{name}`: name that padding as a field");
    Ok(quote! {
        const _: () = {
            #(#checks)*
            assert!(::core::mem::size_of::<#ident>() == 0 #(+ #sizes)*, #padding);
            assert!(
                ::core::mem::size_of::<#ident>()
                    .is_multiple_of(<#ident as ::kho_compat::AbiType>::C_ALIGN),
                #tail
            );
        };

        impl ::kho_compat::AbiType for #ident {
            const C_ALIGN: usize = {
                let mut align = 1;
                if !#packed {
                    #(#aligns)*
                }
                align
            };

            fn type_name() -> ::kho_compat::TypeName {
                ::kho_compat::TypeName::of_struct(#name, #c_name)
            }

            fn nested() -> ::core::option::Option<::kho_compat::Layout> {
                ::core::option::Option::Some(<Self as ::kho_compat::AbiLayout>::layout())
            }
        }

        impl ::kho_compat::AbiLayout for #ident {
            fn layout() -> ::kho_compat::Layout {
                let mut layout = ::kho_compat::Layout::new(
                    #name,
                    #c_name,
                    ::core::mem::size_of::<#ident>(),
                    <#ident as ::kho_compat::AbiType>::C_ALIGN,
                    #packed,
                );
                #(#pushes)*
                #(#constants)*
                layout
            }
        }
    })
}
