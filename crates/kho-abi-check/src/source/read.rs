//! The source, read item by item.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Expr, Item, Lit};

use super::attrs::{attributes, attributes_of, docs, is_test, members, names, squeezed};
use super::conditions;
use super::items::{
    Argument, Assert, ConstItem, Declaration, FieldItem, Listed, Sources, StructItem,
};
use super::modules::is_abi;
use crate::finding::Place;

impl Sources {
    /// Adds what the file `path` holds.
    pub(super) fn add(&mut self, path: &str, text: &str) {
        let file = match syn::parse_file(text) {
            Ok(file) => file,
            Err(error) => {
                let place = Place::new(path, error.span().start().line);
                return self.unread.push((place, error.to_string()));
            }
        };
        // A comment or a text may name it; what counts is a call, or a derive.
        let mut declares = Declares(false);
        declares.visit_file(&file);
        let in_format = is_abi(path) || declares.0;
        let found = conditions::of(path, &file, in_format);
        self.conditions.extend(found.conditions);
        self.experiments.extend(found.experiments);
        self.formats.extend(in_format.then(|| path.to_owned()));
        let mut reader = Reader {
            sources: self,
            path,
            modules: Vec::new(),
            in_format,
        };
        reader.visit_file(&file);
    }
}

/// Whether a component or a generation is declared, or a layout derived, tests apart.
struct Declares(bool);

impl<'ast> Visit<'ast> for Declares {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.0 |= describes(&item.attrs);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.0 |= describes(&item.attrs);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let called = squeezed(&call.func);
        self.0 |= called.ends_with("Component::new") || called.ends_with("Generation::new");
        visit::visit_expr_call(self, call);
    }
}

/// Whether what has these attributes is described for snapshots.
fn describes(attrs: &[syn::Attribute]) -> bool {
    let derive = attributes(attrs, "derive");
    names(&derive, "AbiLayout") || names(&derive, "AbiMembers")
}

struct Reader<'a> {
    sources: &'a mut Sources,
    path: &'a str,
    modules: Vec<String>,
    in_format: bool,
}

impl Reader<'_> {
    fn place(&self, span: Span) -> Place {
        Place::new(self.path, span.start().line)
    }

    fn assert(&mut self, text: String) {
        self.sources.asserts.push(Assert {
            file: self.path.to_owned(),
            module: self.modules.join("::"),
            text,
        });
    }

    /// The generations that an expression lists.
    fn listed(&self, expr: &Expr) -> Vec<Listed> {
        match expr {
            Expr::Reference(inner) => self.listed(&inner.expr),
            Expr::Paren(inner) => self.listed(&inner.expr),
            Expr::Group(inner) => self.listed(&inner.expr),
            Expr::MethodCall(call) => self.listed(&call.receiver),
            Expr::Array(list) => list.elems.iter().flat_map(|one| self.listed(one)).collect(),
            Expr::Call(call) if squeezed(&call.func).ends_with("Generation::new") => {
                let number = argument(call.args.first());
                vec![Listed::New(self.place(call.span()), number)]
            }
            Expr::Path(path) => vec![Listed::Named(squeezed(path))],
            _ => Vec::new(),
        }
    }
}

/// What a call is given.
fn argument(expr: Option<&Expr>) -> Argument {
    match expr {
        Some(Expr::Lit(lit)) => match &lit.lit {
            Lit::Str(text) => Argument::Value(text.value()),
            other => Argument::Value(squeezed(other)),
        },
        Some(Expr::Path(path)) => Argument::Constant(squeezed(path)),
        other => Argument::Value(squeezed(other)),
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.modules.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.modules.pop();
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let repr = attributes(&item.attrs, "repr");
        let derive = attributes(&item.attrs, "derive");
        let abi = attributes(&item.attrs, "abi");
        let fields = item.fields.iter().enumerate().map(|(index, field)| {
            let name = field.ident.as_ref();
            let name = name.map_or_else(|| index.to_string(), ToString::to_string);
            FieldItem {
                members: members(&attributes(&field.attrs, "abi"), &name),
                name,
                ty: field.ty.clone(),
                line: field.span().start().line,
            }
        });
        let fields: Vec<_> = fields.collect();
        let text = fields.iter();
        let text = text.map(|field| format!("{}:{};", field.name, squeezed(&field.ty)));
        let text = text.collect::<String>();
        self.sources.structs.push(StructItem {
            name: item.ident.to_string(),
            place: self.place(item.ident.span()),
            module: self.modules.join("::"),
            repr_c: names(&repr, "C"),
            packed: names(&repr, "packed") || names(&abi, "packed"),
            derives: names(&derive, "AbiLayout"),
            bytes: names(&derive, "FromBytes") || names(&derive, "IntoBytes"),
            fields,
            text: format!("{repr}{abi}{text}"),
            in_format: self.in_format,
        });
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.sources.enums.push(item.ident.to_string());
        visit::visit_item_enum(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        let value = squeezed(&item.expr);
        let name = item.ident.to_string();
        if name == "_" {
            self.assert(value);
        } else {
            if value.contains("assert") {
                self.assert(value.clone());
            }
            self.sources.consts.push(ConstItem {
                place: self.place(item.ident.span()),
                public: matches!(item.vis, syn::Visibility::Public(_)),
                ty: squeezed(&item.ty),
                in_format: self.in_format,
                generations: self.listed(&item.expr),
                docs: docs(&item.attrs),
                name,
                value,
            });
        }
        visit::visit_item_const(self, item);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let name = item.mac.path.segments.last();
        if name.is_some_and(|last| last.ident.to_string().contains("assert")) {
            self.assert(squeezed(&item.mac));
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if squeezed(&call.func).ends_with("Component::new") {
            let generations = call.args.iter().nth(1);
            let declaration = Declaration {
                place: self.place(call.span()),
                name: argument(call.args.first()),
                generations: generations.map_or_else(Vec::new, |list| self.listed(list)),
            };
            self.sources.declarations.push(declaration);
        }
        visit::visit_expr_call(self, call);
    }
}
