//! Where the source has the number of a component's generation.

use super::best;
use super::items::{Argument, ConstItem, Declaration, Listed, Sources};
use super::modules::{is_abi, is_module};
use crate::finding::Place;

/// A number of a generation: its value, where it stands, and its constant's name.
type Number<'a> = (String, Place, Option<&'a str>);

impl Sources {
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
            if self.declared(declaration) == Some(name) {
                found.extend(self.numbers(&declaration.generations, file, 0));
                // What lists no generation that can be told.
                found.push((String::new(), declaration.place.clone(), None));
            }
        }
        let wanted = number.to_string();
        let same = found.iter().position(|(value, ..)| *value == wanted);
        let (_, place, name) = found.into_iter().nth(same.unwrap_or(0))?;
        Some((place, name))
    }

    /// The name of the component that is declared.
    pub(super) fn declared<'a>(&'a self, declaration: &'a Declaration) -> Option<&'a str> {
        match &declaration.name {
            Argument::Value(value) => Some(value.as_str()),
            Argument::Constant(path) => {
                let item = self.constant(path, &declaration.place.file);
                item.map(|item| item.value.trim_matches('"'))
            }
        }
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
                    let item = self.constant(path, file);
                    let name = item.map(|item| item.name.as_str());
                    let (value, place) = match item {
                        Some(item) => (item.value.clone(), &item.place),
                        None => (String::new(), place),
                    };
                    out.push((value, place.clone(), name));
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
    pub(super) fn constant(&self, path: &str, file: &str) -> Option<&ConstItem> {
        let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
        let module = module.rsplit("::").next().unwrap_or_default();
        best(self.consts_of(name), |item| {
            let named = !module.is_empty() && is_module(&item.place.file, module);
            // What is imported from a module comes from a format's rather than from another.
            (named, item.place.file == file, is_abi(&item.place.file))
        })
    }
}
