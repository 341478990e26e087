//! The source of the crates: where things stand, and what the compiler does not ask of a format.

use std::collections::BTreeMap;

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Fields, Item, Lit, Type};

use crate::finding::Place;
use crate::tree::{Tree, join};

/// A struct of the source.
#[derive(Clone)]
pub(crate) struct StructItem {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) repr_c: bool,
    pub(crate) packed: bool,
    /// Whether it derives `AbiLayout`.
    pub(crate) derives: bool,
    /// Whether it derives one of zerocopy's traits that make it bytes.
    pub(crate) bytes: bool,
    pub(crate) fields: Vec<FieldItem>,
    /// The item without attributes that are no part of the layout.
    pub(crate) text: String,
    /// Whether it stands in a module that describes a format.
    pub(crate) in_format: bool,
}

#[derive(Clone)]
pub(crate) struct FieldItem {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) line: usize,
}

/// A constant of the source.
#[derive(Clone, Debug)]
pub(crate) struct ConstItem {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) public: bool,
    pub(crate) ty: String,
    /// The expression, without blanks.
    pub(crate) value: String,
    pub(crate) in_abi: bool,
    /// Its documentation.
    pub(crate) docs: String,
}

/// A `Component::new` of the source.
#[derive(Clone, Debug)]
struct Declaration {
    place: Place,
    name: Argument,
    version: Argument,
}

#[derive(Clone, Debug)]
enum Argument {
    Value(String),
    Constant(String),
}

/// What was found in the source of a crate.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub(crate) structs: Vec<StructItem>,
    pub(crate) consts: Vec<ConstItem>,
    enums: Vec<String>,
    /// Constants that assert something, without blanks, with the file that each stands in; and files
    /// without a format in which sizes are asked for.
    asserts: Vec<(String, String)>,
    declarations: Vec<Declaration>,
    /// Files that could not be read as Rust.
    pub(crate) unread: Vec<(Place, String)>,
}

impl Sources {
    /// Reads the files below `dir` that could have to do with a format.
    pub(crate) fn read(tree: &dyn Tree, dir: &str) -> Self {
        let mut out = Self::default();
        let mut dirs = vec![dir.to_owned()];
        let mut files = Vec::new();
        while let Some(dir) = dirs.pop() {
            for (name, is_dir) in tree.list(&dir) {
                let path = join(&dir, &name);
                if is_dir {
                    dirs.push(path);
                } else if name.ends_with(".rs") {
                    files.push(path);
                }
            }
        }
        files.sort();
        for path in files {
            let Some(text) = tree.read(&path) else {
                continue;
            };
            if is_abi(&path) || MARKS.iter().any(|mark| text.contains(mark)) {
                out.add(&path, &text);
            } else if text.contains("assert") && text.contains("size_of::<") {
                out.asserts.push((path, text.split_whitespace().collect()));
            }
        }
        out
    }

    fn add(&mut self, path: &str, text: &str) {
        let file = match syn::parse_file(text) {
            Ok(file) => file,
            Err(error) => {
                let line = error.span().start().line;
                self.unread
                    .push((Place::new(path, line), error.to_string()));
                return;
            }
        };
        // A comment or a text may name it; what counts is a call.
        let mut declares = Declares(false);
        declares.visit_file(&file);
        let mut reader = Reader {
            sources: self,
            path,
            in_format: is_abi(path) || declares.0,
        };
        reader.visit_file(&file);
    }

    /// The struct `name`, of the format where there are more.
    pub(crate) fn find_struct(&self, name: &str) -> Option<&StructItem> {
        let mut found = self.structs.iter().filter(|item| item.name == name);
        let first = found.clone().next();
        found
            .find(|item| item.derives && is_abi(&item.place.file))
            .or(first)
    }

    /// The constant `name`, of the format where there are more.
    pub(crate) fn find_const(&self, name: &str) -> Option<&ConstItem> {
        let mut found = self.consts.iter().filter(|item| item.name == name);
        let first = found.clone().next();
        found.find(|item| item.in_abi).or(first)
    }

    /// The constant that is the version of the component `name`.
    pub(crate) fn version_const(&self, name: &str, version: u32) -> Option<&ConstItem> {
        let (place, constant) = self.version(name, version)?;
        let constant = constant?;
        let mut found = self.consts.iter();
        found.find(|item| item.name == constant && item.place == place)
    }

    /// Where the version of the component `name` stands, and what to call it.
    pub(crate) fn version(&self, name: &str, version: u32) -> Option<(Place, Option<&str>)> {
        let mut found = Vec::new();
        for declaration in &self.declarations {
            let file = &declaration.place.file;
            let declared = match &declaration.name {
                Argument::Value(value) => Some(value.clone()),
                Argument::Constant(constant) => self
                    .constant_near(constant, file)
                    .map(|item| item.value.trim_matches('"').to_owned()),
            };
            if declared.as_deref() != Some(name) {
                continue;
            }
            let constant = match &declaration.version {
                Argument::Constant(constant) => self.constant_near(constant, file),
                Argument::Value(_) => None,
            };
            let value = match (&declaration.version, constant) {
                (Argument::Value(value), _) => value.clone(),
                (_, Some(item)) => item.value.clone(),
                _ => String::new(),
            };
            let place = match constant {
                Some(item) => (item.place.clone(), Some(item.name.as_str())),
                None => (declaration.place.clone(), None),
            };
            found.push((value == version.to_string(), place));
        }
        found.sort_by_key(|(same, _)| !same);
        found.into_iter().next().map(|(_, place)| place)
    }

    fn constant_near(&self, name: &str, file: &str) -> Option<&ConstItem> {
        let mut all = self.consts.iter().filter(|item| item.name == name);
        all.clone()
            .find(|item| item.place.file == file)
            .or_else(|| all.next())
    }

    /// Whether a constant asserts the size of `item`. Where there are more structs of its name, one in
    /// another file may be about another.
    pub(crate) fn asserts_size(&self, item: &StructItem) -> bool {
        let named = self.structs.iter().filter(|other| other.name == item.name);
        let only = named.count() == 1;
        let mut all = self.asserts.iter();
        all.any(|(file, text)| (only || *file == item.place.file) && asks_size(text, &item.name))
    }

    /// Why `ty` can not stand in a format.
    pub(crate) fn bad_type(&self, ty: &Type) -> Option<&'static str> {
        match ty {
            Type::Ptr(_) | Type::Reference(_) | Type::BareFn(_) => {
                Some("a pointer means nothing to who reads it")
            }
            Type::Array(array) => self.bad_type(&array.elem),
            Type::Paren(inner) => self.bad_type(&inner.elem),
            Type::Group(inner) => self.bad_type(&inner.elem),
            Type::Tuple(tuple) => tuple
                .elems
                .iter()
                .find_map(|ty| self.bad_type(ty))
                .or(Some("a tuple has no fixed order in memory")),
            Type::Path(path) => {
                let name = path.path.segments.last()?.ident.to_string();
                match name.as_str() {
                    "usize" | "isize" => Some("its size depends on the machine"),
                    "bool" => {
                        Some("only two of its 256 values are allowed: reading another is undefined")
                    }
                    "char" | "Option" => Some(
                        "not every value of its bytes is allowed: reading another is undefined",
                    ),
                    "Box" | "Rc" | "Arc" | "Vec" | "String" | "NonNull" | "AtomicPtr" => {
                        Some("a pointer means nothing to who reads it")
                    }
                    other if self.enums.iter().any(|name| name == other) => {
                        Some("an enum: not every value of its bytes is allowed")
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Where C would put padding into `item`, as far as its types are known: the field behind it,
    /// or `None` for the end.
    pub(crate) fn padding(&self, item: &StructItem) -> Option<Option<String>> {
        let (mut offset, mut most) = (0, 1);
        for field in &item.fields {
            let (size, align) = self.size(&field.ty)?;
            if offset % align != 0 {
                return Some(Some(field.name.clone()));
            }
            offset = (offset + size) % 8;
            most = most.max(align);
        }
        (offset % most != 0).then_some(None)
    }

    /// Bytes (modulo 8) and alignment of a type in C.
    fn size(&self, ty: &Type) -> Option<(u64, u64)> {
        match ty {
            Type::Array(array) => {
                let (size, align) = self.size(&array.elem)?;
                if size == 0 {
                    return Some((0, align));
                }
                let Expr::Lit(len) = &array.len else {
                    return None;
                };
                let Lit::Int(len) = &len.lit else {
                    return None;
                };
                let len: u64 = len.base10_parse().ok()?;
                Some(((len % 8) * size % 8, align))
            }
            Type::Path(path) => {
                let name = path.path.segments.last()?.ident.to_string();
                match name.as_str() {
                    "u8" | "i8" | "bool" => Some((1, 1)),
                    "u16" | "i16" | "U16" | "I16" => Some((2, 2)),
                    "u32" | "i32" | "U32" | "I32" => Some((4, 4)),
                    "u64" | "i64" | "U64" | "I64" | "usize" | "isize" => Some((0, 8)),
                    name => {
                        let inner = self.structs.iter().find(|item| item.name == name)?;
                        let (mut size, mut most) = (0, 1);
                        for field in &inner.fields {
                            let (bytes, align) = self.size(&field.ty)?;
                            size = (size + bytes) % 8;
                            most = most.max(align);
                        }
                        Some((size, if inner.packed { 1 } else { most }))
                    }
                }
            }
            _ => None,
        }
    }
}

/// Whether `text`, without blanks, asks for the size of the struct `name`, by whatever path.
fn asks_size(text: &str, name: &str) -> bool {
    text.match_indices("size_of::<").any(|(at, start)| {
        let asked = text.get(at + start.len()..).unwrap_or_default();
        let asked = asked.split(">()").next().unwrap_or_default();
        asked.rsplit("::").next() == Some(name)
    })
}

/// What a file holds that has to do with a format.
const MARKS: [&str; 3] = ["repr(C", "AbiLayout", "Component::new("];

fn is_abi(path: &str) -> bool {
    path.ends_with("/abi.rs") || path == "abi.rs" || path.contains("/abi/")
}

fn squeezed(tokens: impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    text.split_whitespace().collect()
}

/// Whether a component is declared, tests apart.
struct Declares(bool);

impl<'ast> Visit<'ast> for Declares {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        self.0 |= squeezed(&call.func).ends_with("Component::new");
        visit::visit_expr_call(self, call);
    }
}

/// The attributes of an item that may be there for tests alone.
fn attributes_of(item: &Item) -> &[Attribute] {
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

struct Reader<'a> {
    sources: &'a mut Sources,
    path: &'a str,
    in_format: bool,
}

impl Reader<'_> {
    fn place(&self, span: Span) -> Place {
        Place::new(self.path, span.start().line)
    }
}

/// Whether an item is there in tests alone: `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, ...))]`.
fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        if attr.path().is_ident("test") {
            return true;
        }
        let meta = squeezed(&attr.meta);
        let predicate = meta
            .strip_prefix("cfg(")
            .and_then(|rest| rest.strip_suffix(')'));
        let all = |list: &str| list.split(',').any(|part| part == "test");
        predicate.is_some_and(|predicate| {
            let list = predicate
                .strip_prefix("all(")
                .and_then(|rest| rest.strip_suffix(')'));
            predicate == "test" || list.is_some_and(all)
        })
    })
}

fn attributes(attrs: &[Attribute], name: &str) -> String {
    let named = attrs.iter().filter(|attr| attr.path().is_ident(name));
    named.map(|attr| squeezed(&attr.meta)).collect()
}

fn docs(attrs: &[Attribute]) -> String {
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

fn names(list: &str, name: &str) -> bool {
    list.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == name)
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let repr = attributes(&item.attrs, "repr");
        let derive = attributes(&item.attrs, "derive");
        let abi = attributes(&item.attrs, "abi");
        let fields = match &item.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unnamed(fields) => fields.unnamed.iter().collect(),
            Fields::Unit => Vec::new(),
        };
        let fields: Vec<_> = fields
            .into_iter()
            .enumerate()
            .map(|(index, field)| FieldItem {
                name: field
                    .ident
                    .as_ref()
                    .map_or_else(|| index.to_string(), ToString::to_string),
                ty: field.ty.clone(),
                line: field.span().start().line,
            })
            .collect();
        let text: String = fields
            .iter()
            .map(|field| format!("{}:{};", field.name, squeezed(&field.ty)))
            .collect();
        self.sources.structs.push(StructItem {
            name: item.ident.to_string(),
            place: self.place(item.ident.span()),
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
            self.sources.asserts.push((self.path.to_owned(), value));
        } else {
            if value.contains("assert") {
                let assert = (self.path.to_owned(), value.clone());
                self.sources.asserts.push(assert);
            }
            self.sources.consts.push(ConstItem {
                place: self.place(item.ident.span()),
                public: matches!(item.vis, syn::Visibility::Public(_)),
                ty: squeezed(&item.ty),
                in_abi: is_abi(self.path),
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
            let assert = (self.path.to_owned(), squeezed(&item.mac));
            self.sources.asserts.push(assert);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if squeezed(&call.func).ends_with("Component::new") {
            let argument = |index: usize| match call.args.iter().nth(index) {
                Some(Expr::Lit(lit)) => match &lit.lit {
                    Lit::Str(text) => Argument::Value(text.value()),
                    other => Argument::Value(squeezed(other)),
                },
                Some(Expr::Path(path)) => {
                    let last = path.path.segments.last();
                    Argument::Constant(last.map_or_else(String::new, |last| last.ident.to_string()))
                }
                Some(other) => Argument::Value(squeezed(other)),
                None => Argument::Value(String::new()),
            };
            let declaration = Declaration {
                place: self.place(call.span()),
                name: argument(0),
                version: argument(1),
            };
            self.sources.declarations.push(declaration);
        }
        visit::visit_expr_call(self, call);
    }
}

/// The sources of all crates that carry components, read when they are first asked for.
pub(crate) struct Library<'a> {
    tree: &'a dyn Tree,
    read: BTreeMap<String, Sources>,
}

impl<'a> Library<'a> {
    pub(crate) fn new(tree: &'a dyn Tree) -> Self {
        Self {
            tree,
            read: BTreeMap::new(),
        }
    }

    /// The source below `dir`.
    pub(crate) fn get(&mut self, dir: &str) -> &Sources {
        let tree = self.tree;
        self.read
            .entry(dir.to_owned())
            .or_insert_with(|| Sources::read(tree, dir))
    }
}
