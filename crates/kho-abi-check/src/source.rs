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
    /// The modules of its file that it stands in: `v1`.
    module: String,
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
    /// The names that descriptions give it: its own, or those of the members of a bit field.
    members: Vec<String>,
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
    /// Whether it stands in a module that describes a format.
    pub(crate) in_format: bool,
    /// Its documentation.
    pub(crate) docs: String,
    /// The generations that it is, or lists.
    generations: Vec<Listed>,
}

impl ConstItem {
    /// The generation in whose module it stands.
    pub(crate) fn module(&self) -> Option<u32> {
        modules(&self.place.file).rev().find_map(number_of)
    }
}

/// A `Component::new` of the source.
#[derive(Clone, Debug)]
struct Declaration {
    place: Place,
    name: Argument,
    generations: Vec<Listed>,
}

/// A generation as the source lists it.
#[derive(Clone, Debug)]
enum Listed {
    /// `Generation::new(number)`.
    New(Place, Argument),
    /// The path of a constant that is one, or a list of them.
    Named(String),
}

/// A number of a generation: its value, where it stands, and its constant's name.
type Number<'a> = (String, Place, Option<&'a str>);

#[derive(Clone, Debug)]
enum Argument {
    Value(String),
    /// The path of a constant.
    Constant(String),
}

/// Text that asserts something, without blanks.
#[derive(Clone, Debug)]
struct Assert {
    file: String,
    module: String,
    text: String,
}

/// What was found in the source of a crate.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub(crate) structs: Vec<StructItem>,
    pub(crate) consts: Vec<ConstItem>,
    enums: Vec<String>,
    /// Constants that assert something, those of files without a format included.
    asserts: Vec<Assert>,
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
                let mut other = Self::default();
                other.add(&path, &text);
                out.asserts.append(&mut other.asserts);
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
        // A comment or a text may name it; what counts is a call, or a derive.
        let mut declares = Declares(false);
        declares.visit_file(&file);
        let mut reader = Reader {
            sources: self,
            path,
            modules: Vec::new(),
            in_format: is_abi(path) || declares.0,
        };
        reader.visit_file(&file);
    }

    /// The struct `name` with these fields, of the generation `number`: where there are more of its name, the
    /// one that is most like it.
    pub(crate) fn find_struct(
        &self,
        name: &str,
        fields: &[&str],
        number: u32,
    ) -> Option<&StructItem> {
        best(self.structs_of(name), |item| {
            let of = generation_of(&item.place.file, &item.module, number);
            (item.derives && item.in_format, item.has(fields), of)
        })
    }

    /// All structs `name`.
    pub(crate) fn structs_of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a StructItem> {
        self.structs.iter().filter(move |item| item.name == name)
    }

    /// The constant `name`, of the format and of the generation `number` where there are more.
    pub(crate) fn find_const(&self, name: &str, number: u32) -> Option<&ConstItem> {
        best(self.consts_of(name), |item| {
            (item.in_format, generation_of(&item.place.file, "", number))
        })
    }

    /// All constants `name`.
    pub(crate) fn consts_of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a ConstItem> {
        self.consts.iter().filter(move |item| item.name == name)
    }

    /// The constant that is the number of a generation of the component `name`.
    pub(crate) fn version_const(&self, name: &str, number: u32) -> Option<&ConstItem> {
        let (place, constant) = self.version(name, number)?;
        let constant = constant?;
        let mut found = self.consts.iter();
        found.find(|item| item.name == constant && item.place == place)
    }

    /// Where the generation `number` of the component `name` stands, and what to call its number.
    pub(crate) fn version(&self, name: &str, number: u32) -> Option<(Place, Option<&str>)> {
        let mut found: Vec<Number<'_>> = Vec::new();
        for declaration in &self.declarations {
            let file = &declaration.place.file;
            let declared = match &declaration.name {
                Argument::Value(value) => Some(value.as_str()),
                Argument::Constant(path) => self
                    .constant(path, file)
                    .map(|item| item.value.trim_matches('"')),
            };
            if declared == Some(name) {
                let numbers = self.numbers(&declaration.generations, file, 0);
                found.extend(numbers);
                // What lists no generation that can be told.
                found.push((String::new(), declaration.place.clone(), None));
            }
        }
        let wanted = number.to_string();
        let same = found.iter().position(|(value, ..)| *value == wanted);
        let (_, place, name) = found.into_iter().nth(same.unwrap_or(0))?;
        Some((place, name))
    }

    /// The numbers of what `file` lists.
    fn numbers<'a>(&'a self, listed: &[Listed], file: &str, depth: u32) -> Vec<Number<'a>> {
        let mut out = Vec::new();
        for one in listed {
            match one {
                Listed::New(place, Argument::Value(value)) => {
                    out.push((value.clone(), place.clone(), None));
                }
                Listed::New(place, Argument::Constant(path)) => {
                    out.push(match self.constant(path, file) {
                        Some(item) => (
                            item.value.clone(),
                            item.place.clone(),
                            Some(item.name.as_str()),
                        ),
                        None => (String::new(), place.clone(), None),
                    });
                }
                // A constant that names itself has no end.
                Listed::Named(path) if depth < 4 => {
                    if let Some(item) = self.constant(path, file) {
                        out.extend(self.numbers(&item.generations, &item.place.file, depth + 1));
                    }
                }
                Listed::Named(_) => {}
            }
        }
        out
    }

    /// The constant that `path` names in `file`.
    fn constant(&self, path: &str, file: &str) -> Option<&ConstItem> {
        let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
        let module = module.rsplit("::").next().unwrap_or_default();
        best(self.consts_of(name), |item| {
            let named = !module.is_empty() && is_module(&item.place.file, module);
            // What is imported from a module comes from a format's rather than from another.
            (named, item.place.file == file, is_abi(&item.place.file))
        })
    }

    /// Whether a constant asserts the size of `item`. Where there are more structs of its name, it counts if it
    /// names the module of `item`, or stands in it.
    pub(crate) fn asserts_size(&self, item: &StructItem) -> bool {
        let only = self.structs_of(&item.name).count() == 1;
        let mut all = self.asserts.iter();
        all.any(|assert| {
            let mut asked = asked_sizes(&assert.text);
            asked.any(|path| {
                let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
                let module = module.rsplit("::").next().unwrap_or_default();
                let is_here = assert.file == item.place.file;
                name == item.name
                    && (only
                        || match module {
                            "" | "self" => is_here && assert.module == item.module,
                            "super" => {
                                is_here
                                    && assert.module.rsplit_once("::").unwrap_or_default().0
                                        == item.module
                            }
                            "crate" => {
                                item.module.is_empty() && item.place.file.ends_with("/lib.rs")
                            }
                            module => match item.module.rsplit("::").next() {
                                Some("") | None => is_module(&item.place.file, module),
                                Some(last) => last == module,
                            },
                        })
            })
        })
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
            let (size, align) = self.size(&field.ty, &item.place.file)?;
            if offset % align != 0 {
                return Some(Some(field.name.clone()));
            }
            offset = (offset + size) % 8;
            most = most.max(align);
        }
        (offset % most != 0).then_some(None)
    }

    /// Bytes (modulo 8) and alignment of a type in C.
    fn size(&self, ty: &Type, file: &str) -> Option<(u64, u64)> {
        match ty {
            Type::Array(array) => {
                let (size, align) = self.size(&array.elem, file)?;
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
                        let inner = best(self.structs_of(name), |item| item.place.file == file)?;
                        let (mut size, mut most) = (0, 1);
                        for field in &inner.fields {
                            let (bytes, align) = self.size(&field.ty, &inner.place.file)?;
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

/// The paths of the types whose sizes `text`, without blanks, asks for.
fn asked_sizes(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("size_of::<").map(|(at, start)| {
        let asked = text.get(at + start.len()..).unwrap_or_default();
        asked.split(">()").next().unwrap_or_default()
    })
}

/// The first of those that rank highest.
fn best<'a, T, R: Ord>(
    items: impl Iterator<Item = &'a T>,
    rank: impl Fn(&T) -> R,
) -> Option<&'a T> {
    let better = |best: &'a T, item: &'a T| if rank(item) > rank(best) { item } else { best };
    items.reduce(better)
}

/// What a file holds that has to do with a format.
const MARKS: [&str; 4] = ["repr(C", "AbiLayout", "Component::new(", "Generation::new("];

/// Whether a file describes a format by its name: `abi.rs`, `v2.rs`, or what lies in a directory of such a name.
fn is_abi(path: &str) -> bool {
    modules(path).any(|name| name == "abi" || number_of(name).is_some())
}

/// The names of the directories and of the file of `path`, as modules are called.
fn modules(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.strip_suffix(".rs").unwrap_or(path).split('/')
}

/// Whether `path` is the file of the module `name`.
fn is_module(path: &str, name: &str) -> bool {
    let path = path.strip_suffix("/mod.rs").unwrap_or(path);
    modules(path).next_back() == Some(name)
}

/// The number of the generation that a module is named for: 2 for `v2`.
fn number_of(module: &str) -> Option<u32> {
    module.strip_prefix('v')?.parse().ok()
}

/// How a module goes with the generation `number`: 2 for its own, 1 for one of no generation, 0 for another's.
fn generation_of(path: &str, module: &str, number: u32) -> u8 {
    let inner = module.rsplit("::");
    match inner.chain(modules(path).rev()).find_map(number_of) {
        Some(other) => u8::from(other == number) * 2,
        None => 1,
    }
}

fn squeezed(tokens: impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    text.split_whitespace().collect()
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
        self.0 |= names(&attributes(&item.attrs, "derive"), "AbiLayout");
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let called = squeezed(&call.func);
        self.0 |= called.ends_with("Component::new") || called.ends_with("Generation::new");
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
                vec![Listed::New(
                    self.place(call.span()),
                    argument(call.args.first()),
                )]
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

impl StructItem {
    /// Whether descriptions name its fields so.
    pub(crate) fn has(&self, fields: &[&str]) -> bool {
        let own = self.fields.iter().flat_map(|field| &field.members);
        own.eq(fields)
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

/// The names that descriptions give a field with these attributes.
fn members(abi: &str, name: &str) -> Vec<String> {
    let Some((_, bits)) = abi.split_once("bits(") else {
        return vec![name.trim_start_matches("r#").to_owned()];
    };
    let members = bits.split(',').filter_map(|member| member.split_once(':'));
    members.map(|(name, _)| name.to_owned()).collect()
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
        let fields = match &item.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unnamed(fields) => fields.unnamed.iter().collect(),
            Fields::Unit => Vec::new(),
        };
        let fields: Vec<_> = fields
            .into_iter()
            .enumerate()
            .map(|(index, field)| {
                let name = field.ident.as_ref();
                let name = name.map_or_else(|| index.to_string(), ToString::to_string);
                FieldItem {
                    members: members(&attributes(&field.attrs, "abi"), &name),
                    name,
                    ty: field.ty.clone(),
                    line: field.span().start().line,
                }
            })
            .collect();
        let text: String = fields
            .iter()
            .map(|field| format!("{}:{};", field.name, squeezed(&field.ty)))
            .collect();
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
