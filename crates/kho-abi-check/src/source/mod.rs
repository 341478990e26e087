//! The source of the crates: where things stand, and what the compiler does not ask of a format.

mod attrs;
mod conditional;
mod conditions;
mod items;
mod modules;
mod read;
mod sizes;
mod types;
mod versions;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) use self::items::{ConstItem, Sources, StructItem};
use self::modules::{generation_of, is_abi};
use crate::tree::{Tree, join};

/// What a file holds that has to do with a format.
const MARKS: [&str; 5] = [
    "repr(C",
    "AbiLayout",
    "AbiMembers",
    "Component::new(",
    "Generation::new(",
];

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
            } else if text.contains("assert") && text.contains("size_of::<") || text.contains("cfg")
            {
                let mut other = Self::default();
                other.add(&path, &text);
                out.asserts.append(&mut other.asserts);
                out.conditions.append(&mut other.conditions);
            }
        }
        out
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
}

/// The first of those that rank highest.
pub(super) fn best<'a, T, R: Ord>(
    items: impl Iterator<Item = &'a T>,
    rank: impl Fn(&T) -> R,
) -> Option<&'a T> {
    let better = |best: &'a T, item: &'a T| if rank(item) > rank(best) { item } else { best };
    items.reduce(better)
}

/// The sources of all crates that carry components, read when they are first asked for.
pub(crate) struct Library<'a> {
    tree: &'a dyn Tree,
    read: RefCell<BTreeMap<String, Rc<Sources>>>,
}

impl<'a> Library<'a> {
    pub(crate) fn new(tree: &'a dyn Tree) -> Self {
        let read = RefCell::default();
        Self { tree, read }
    }

    /// The source below `dir`.
    pub(crate) fn get(&self, dir: &str) -> Rc<Sources> {
        let mut all = self.read.borrow_mut();
        let read = || Rc::new(Sources::read(self.tree, dir));
        Rc::clone(all.entry(dir.to_owned()).or_insert_with(read))
    }
}
