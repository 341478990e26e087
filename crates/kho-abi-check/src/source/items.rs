//! What is found in the source of a crate, as plain data.

use syn::Type;

use super::conditions::Condition;
use super::modules::own_generation;
use crate::finding::Place;

/// A struct of the source.
#[derive(Clone)]
pub(crate) struct StructItem {
    pub(crate) name: String,
    pub(crate) place: Place,
    /// The modules of its file that it stands in: `v1`.
    pub(super) module: String,
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
    pub(super) members: Vec<String>,
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
    pub(super) generations: Vec<Listed>,
}

impl ConstItem {
    /// The generation in whose module it stands.
    pub(crate) fn module(&self) -> Option<u32> {
        own_generation(&self.place.file, "")
    }
}

/// A `Component::new` of the source.
#[derive(Clone, Debug)]
pub(super) struct Declaration {
    pub(super) place: Place,
    pub(super) name: Argument,
    pub(super) generations: Vec<Listed>,
}

/// A generation as the source lists it.
#[derive(Clone, Debug)]
pub(super) enum Listed {
    /// `Generation::new(number)`.
    New(Place, Argument),
    /// The path of a constant that is one, or a list of them.
    Named(String),
}

#[derive(Clone, Debug)]
pub(super) enum Argument {
    Value(String),
    /// The path of a constant.
    Constant(String),
}

/// Text that asserts something, without blanks.
#[derive(Clone, Debug)]
pub(super) struct Assert {
    pub(super) file: String,
    pub(super) module: String,
    pub(super) text: String,
}

/// What was found in the source of a crate.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub(crate) structs: Vec<StructItem>,
    pub(crate) consts: Vec<ConstItem>,
    pub(super) enums: Vec<String>,
    /// Constants that assert something, those of files without a format included.
    pub(super) asserts: Vec<Assert>,
    pub(super) declarations: Vec<Declaration>,
    /// Files that describe a format.
    pub(super) formats: Vec<String>,
    /// What depends on build options, and the predicates under which there is an experimental generation.
    pub(super) conditions: Vec<Condition>,
    pub(super) experiments: Vec<String>,
    /// Files that could not be read as Rust.
    pub(crate) unread: Vec<(Place, String)>,
}

impl StructItem {
    /// Whether descriptions name its fields so.
    pub(crate) fn has(&self, fields: &[&str]) -> bool {
        let own = self.fields.iter().flat_map(|field| &field.members);
        own.eq(fields)
    }
}
