//! Layouts: what a component's structures look like, written and read for real.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes of a structure, at most.
const MAX_SIZE: usize = 1 << 20;
/// Elements that are written one behind the other, so that a difference in size shows.
const ELEMENTS: usize = 3;

/// What a component's structures look like. Two layouts with the same contents are one, whatever they
/// are called; what is known of a layout by its hash alone is compared by that.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Structures that lie in memory, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub structs: BTreeMap<String, Struct>,
    /// Nodes of device trees and their properties, by the node's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, Vec<Property>>,
    /// Numbers that writer and reader must agree on and that stand nowhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub constants: BTreeMap<String, u64>,
    /// The hash of a layout whose contents are not known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Where it is from, or what it is; not part of the layout.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// A structure: its bytes, and its fields in them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Struct {
    /// Its bytes.
    pub size: usize,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// A field: name, offset, bytes. A name that begins with `reserved` is written as zeros and not read;
/// one that ends in `?` is one that a reader may miss, and that means nothing when it is 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Field(pub String, pub usize, pub usize);

/// A property: its name and bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Property(pub String, pub usize);

/// A layout that is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// It has no contents and no hash, or both.
    #[error("structs, nodes or constants are expected, or a hash, and not both")]
    Contents,
    /// A structure of no bytes, or of too many.
    #[error("struct `{0}` has {1} bytes, expected 1 to {MAX_SIZE}")]
    Size(String, usize),
    /// A field of no bytes or beyond its structure's end.
    #[error("struct `{0}`: field `{1}` of {3} bytes at {2} does not lie in its {4} bytes")]
    Outside(String, String, usize, usize, usize),
    /// Two fields that share bytes.
    #[error("struct `{0}`: field `{1}` begins at {2}, before the one before it ends")]
    Overlap(String, String, usize),
    /// A name twice.
    #[error("`{0}` has `{1}` twice")]
    Twice(String, String),
}

impl Field {
    fn name(&self) -> &str {
        self.0.trim_end_matches('?')
    }

    fn may_be_missed(&self) -> bool {
        self.0.ends_with('?')
    }

    fn is_reserved(&self) -> bool {
        self.0.starts_with("reserved")
    }

    fn of<'b>(&self, element: &'b [u8]) -> Option<&'b [u8]> {
        element.get(self.1..self.1.checked_add(self.2)?)
    }
}

impl Layout {
    /// Checks that it is one.
    ///
    /// # Errors
    ///
    /// A field lies outside its structure or over another one; a name stands twice; there is neither
    /// contents nor a hash.
    pub fn check(&self) -> Result<(), LayoutError> {
        let empty = self.structs.is_empty() && self.nodes.is_empty() && self.constants.is_empty();
        if empty != self.hash.is_some() {
            return Err(LayoutError::Contents);
        }
        for (name, all) in &self.structs {
            if all.size == 0 || all.size > MAX_SIZE {
                return Err(LayoutError::Size(name.clone(), all.size));
            }
            let mut names = BTreeSet::new();
            let mut fields: Vec<_> = all.fields.iter().collect();
            fields.sort_by_key(|field| field.1);
            let mut end = 0;
            for field in fields {
                let Field(label, offset, size) = field;
                let last = offset.checked_add(*size).filter(|_| *size > 0);
                let Some(last) = last.filter(|last| *last <= all.size) else {
                    let (name, label) = (name.clone(), label.clone());
                    return Err(LayoutError::Outside(name, label, *offset, *size, all.size));
                };
                if *offset < end {
                    return Err(LayoutError::Overlap(name.clone(), label.clone(), *offset));
                }
                if !names.insert(field.name()) {
                    return Err(LayoutError::Twice(name.clone(), label.clone()));
                }
                end = last;
            }
        }
        for (node, properties) in &self.nodes {
            let mut names = BTreeSet::new();
            if let Some(twice) = properties.iter().find(|p| !names.insert(&p.0)) {
                return Err(LayoutError::Twice(node.clone(), twice.0.clone()));
            }
        }
        Ok(())
    }

    /// Its hash: 16 hexadecimal digits of the sha256 of all that makes it up.
    #[must_use]
    pub fn id(&self) -> String {
        if let Some(hash) = &self.hash {
            return hash.clone();
        }
        let mut text = String::new();
        for (name, all) in &self.structs {
            let _ = writeln!(text, "struct {name} {}", all.size);
            let mut fields: Vec<_> = all.fields.iter().collect();
            fields.sort_by_key(|field| field.1);
            for Field(name, offset, size) in fields {
                let _ = writeln!(text, " {name} {offset} {size}");
            }
        }
        for (node, properties) in &self.nodes {
            let _ = writeln!(text, "node {node}");
            let mut properties: Vec<_> = properties.iter().collect();
            properties.sort_by_key(|property| &property.0);
            for Property(name, size) in properties {
                let _ = writeln!(text, " {name} {size}");
            }
        }
        for (name, value) in &self.constants {
            let _ = writeln!(text, "constant {name} {value}");
        }
        let digest = Sha256::digest(text.as_bytes());
        let bytes = digest.iter().take(8);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether its contents are known, so that it can be written and read.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.hash.is_none()
    }

    /// What a reader with the layout `reader` gets wrong of what is written with this one; nothing if
    /// it gets all. Where both are known, elements of each structure are written with the one and read
    /// with the other, otherwise their hashes are compared.
    #[must_use]
    pub fn misread_by(&self, reader: &Self) -> Vec<String> {
        if !self.is_known() || !reader.is_known() {
            let same = self.id() == reader.id();
            let text = || format!("layout {} is read as {}", self.id(), reader.id());
            return (!same).then(text).into_iter().collect();
        }
        let mut wrong = Vec::new();
        for name in keys(&self.structs, &reader.structs) {
            match (self.structs.get(name), reader.structs.get(name)) {
                (Some(written), Some(read)) => compare(name, written, read, &mut wrong),
                (Some(_), None) => wrong.push(format!("`{name}` is not read")),
                (None, _) => wrong.push(format!("`{name}` is read and was not written")),
            }
        }
        for name in keys(&self.nodes, &reader.nodes) {
            match (self.nodes.get(name), reader.nodes.get(name)) {
                (Some(written), Some(read)) => compare_nodes(name, written, read, &mut wrong),
                (Some(_), None) => wrong.push(format!("node `{name}` is not read")),
                (None, _) => wrong.push(format!("node `{name}` is read and was not written")),
            }
        }
        for name in keys(&self.constants, &reader.constants) {
            let (written, read) = (self.constants.get(name), reader.constants.get(name));
            if written != read {
                let text = |value: Option<&u64>| value.map_or("none".to_owned(), u64::to_string);
                let (written, read) = (text(written), text(read));
                wrong.push(format!(
                    "`{name}` is {written} for the writer, {read} for the reader"
                ));
            }
        }
        wrong
    }
}

fn keys<'a, T>(
    one: &'a BTreeMap<String, T>,
    other: &'a BTreeMap<String, T>,
) -> BTreeSet<&'a String> {
    one.keys().chain(other.keys()).collect()
}

/// The bytes of a field of an element: its own everywhere, and never 0.
fn value(name: &str, field: &str, element: usize, size: usize) -> Vec<u8> {
    let digest = Sha256::digest(format!("{name}.{field}[{element}]"));
    digest
        .iter()
        .map(|byte| byte | 1)
        .cycle()
        .take(size)
        .collect()
}

/// Writes elements of `all` one behind the other.
fn write(name: &str, all: &Struct) -> Vec<u8> {
    let mut bytes = vec![0; all.size.saturating_mul(ELEMENTS)];
    for (index, element) in bytes.chunks_exact_mut(all.size).enumerate() {
        for field in all.fields.iter().filter(|field| !field.is_reserved()) {
            let value = value(name, field.name(), index, field.2);
            if let Some(room) = element.get_mut(field.1..field.1.saturating_add(field.2)) {
                room.copy_from_slice(&value);
            }
        }
    }
    bytes
}

/// Writes elements with the one layout and reads them with the other.
fn compare(name: &str, written: &Struct, read: &Struct, wrong: &mut Vec<String>) {
    let bytes = write(name, written);
    // By name, since a structure may have as many fields as bytes.
    let sizes = |all: &Struct| -> HashMap<String, usize> {
        let fields = all.fields.iter();
        fields.map(|f| (f.name().to_owned(), f.2)).collect()
    };
    let (written_sizes, read_sizes) = (sizes(written), sizes(read));
    for field in read.fields.iter().filter(|field| !field.is_reserved()) {
        let first = (0..ELEMENTS).find(|index| {
            let element = index.checked_mul(read.size).and_then(|at| bytes.get(at..));
            let found = element.and_then(|element| field.of(element));
            let expected = value(name, field.name(), *index, field.2);
            let nothing = field.may_be_missed() && found.is_some_and(|f| f.iter().all(|b| *b == 0));
            found != Some(&expected) && !nothing
        });
        let size = written_sizes.get(field.name());
        let narrowed = size.is_some_and(|size| *size != field.2);
        if let Some(index) = first.or(narrowed.then_some(0)) {
            wrong.push(format!(
                "`{name}.{}` of element {index} is not what was written",
                field.name()
            ));
        }
    }
    let read_too = |field: &&Field| read_sizes.contains_key(field.name());
    let unread = written.fields.iter().filter(|field| !read_too(field));
    for field in unread.filter(|field| !field.is_reserved() && !field.may_be_missed()) {
        wrong.push(format!("`{name}.{}` is not read", field.name()));
    }
}

fn compare_nodes(name: &str, written: &[Property], read: &[Property], wrong: &mut Vec<String>) {
    let find = |all: &[Property], of: &str| all.iter().find(|p| p.0 == of).map(|p| p.1);
    for Property(property, size) in read {
        match find(written, property) {
            Some(found) if found == *size => {}
            Some(found) => wrong.push(format!(
                "`{name}/{property}` has {found} bytes, {size} are read"
            )),
            None => wrong.push(format!("`{name}/{property}` is read and was not written")),
        }
    }
    for Property(property, _) in written {
        if find(read, property).is_none() {
            wrong.push(format!("`{name}/{property}` is not read"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: usize, fields: Vec<Field>) -> Layout {
        Layout {
            structs: BTreeMap::from([("s".to_owned(), Struct { size, fields })]),
            ..Layout::default()
        }
    }

    fn layout(size: usize, fields: &[(&str, usize, usize)]) -> Layout {
        let field = |(name, at, len): &(&str, usize, usize)| Field((*name).to_owned(), *at, *len);
        of(size, fields.iter().map(field).collect())
    }

    #[test]
    fn what_is_written_is_read_or_said_to_be_wrong() {
        let fields = [("next", 0, 8), ("count", 8, 8), ("entry_size", 16, 8)];
        let (old, new) = (layout(16, &fields[..2]), layout(24, &fields));
        assert!(old.misread_by(&old).is_empty() && new.misread_by(&new).is_empty());
        // The first element of the old one looks right; the second lies elsewhere.
        assert_eq!(
            old.misread_by(&new),
            [
                "`s.next` of element 1 is not what was written",
                "`s.count` of element 1 is not what was written",
                "`s.entry_size` of element 0 is not what was written"
            ]
        );
        assert_eq!(new.misread_by(&old).len(), 3);
        // A field in what was reserved, which means nothing when it is 0: both ways.
        let spare = layout(16, &[("a", 0, 8), ("reserved", 8, 8)]);
        let used = layout(16, &[("a", 0, 8), ("b?", 8, 8)]);
        assert!(spare.misread_by(&used).is_empty() && used.misread_by(&spare).is_empty());
        let must = layout(16, &[("a", 0, 8), ("b", 8, 8)]);
        assert_eq!(must.misread_by(&spare), ["`s.b` is not read"]);
        let wrong = "`s.b` of element 0 is not what was written";
        assert_eq!(spare.misread_by(&must), [wrong]);
        // Two fields that changed places.
        let swapped = layout(16, &[("count", 0, 8), ("next", 8, 8)]);
        assert_eq!(old.misread_by(&swapped).len(), 2);
    }

    #[test]
    fn fields_without_number_are_compared_in_one_pass() {
        const FIELDS: usize = 50_000;
        let named = |last: &str| {
            let fields = (0..FIELDS).map(|at| {
                let name = if at + 1 == FIELDS { last } else { "f" };
                Field(format!("{name}{at}"), at, 1)
            });
            of(FIELDS, fields.collect())
        };
        let begin = std::time::Instant::now();
        assert!(named("f").misread_by(&named("f")).is_empty());
        // One that is not read, and one that was not written.
        assert_eq!(named("f").misread_by(&named("g")).len(), 2);
        // Each with each took minutes.
        assert!(begin.elapsed().as_secs() < 60);
    }

    #[test]
    fn hashes_are_of_the_contents() {
        let one = layout(16, &[("a", 0, 8), ("b", 8, 8)]);
        let other = Layout {
            source: "elsewhere".to_owned(),
            ..layout(16, &[("b", 8, 8), ("a", 0, 8)])
        };
        assert_eq!(one.id(), other.id());
        assert_eq!(one.id().len(), 16);
        assert_ne!(one.id(), layout(16, &[("a", 0, 8)]).id());
        let hashed = Layout {
            hash: Some(one.id()),
            ..Layout::default()
        };
        assert!(hashed.misread_by(&one).is_empty() && one.misread_by(&hashed).is_empty());
        let unknown = Layout {
            hash: Some("0123".to_owned()),
            ..Layout::default()
        };
        assert_eq!(one.misread_by(&unknown).len(), 1);
    }

    #[test]
    fn what_is_no_layout_is_refused() {
        let error = |size, fields: &[_]| layout(size, fields).check().unwrap_err().to_string();
        assert!(error(0, &[]).contains("0 bytes, expected 1 to"));
        assert!(error(8, &[("a", 4, 8)]).contains("8 bytes at 4 does not lie in its 8 bytes"));
        assert!(error(8, &[("a", 0, 0)]).contains("0 bytes at 0"));
        assert!(error(8, &[("a", usize::MAX, 2)]).contains("does not lie in"));
        assert!(error(16, &[("a", 0, 8), ("b", 7, 8)]).contains("`b` begins at 7"));
        assert!(error(16, &[("a", 0, 8), ("a?", 8, 8)]).contains("twice"));
        assert_eq!(Layout::default().check(), Err(LayoutError::Contents));
    }
}
