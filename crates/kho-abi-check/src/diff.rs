//! The difference of two versions of a component.

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::change::Change;
use crate::finding::Detail;
use crate::snapshot::{Abi, Field, Struct};

/// Everything that differs, by kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Components whose format is used.
    pub(crate) needs: Vec<Change>,
    /// Structs, a change at a time.
    pub(crate) layouts: Vec<Change>,
    /// Structs, field by field.
    pub(crate) structs: Vec<StructDiff>,
    /// Constants and the lines of the head.
    pub(crate) constants: Vec<Change>,
    /// What the code writes.
    pub(crate) behaviour: Vec<Change>,
    /// What the new description says of more than the old one did, without a change of anything
    /// that both describe.
    pub added: Added,
}

/// What a description newly covers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Added {
    /// Lines of the head, by their keys.
    pub head: Vec<String>,
    /// Constants with their values.
    pub constants: Vec<(String, String)>,
    /// Structs.
    pub structs: Vec<String>,
    /// Vectors.
    pub vectors: Vec<String>,
}

impl Added {
    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What was added, in words.
    pub(crate) fn words(&self) -> Vec<String> {
        let head = self.head.iter().map(|key| format!("line `{key}`"));
        let constants = self.constants.iter();
        let constants = constants.map(|(name, value)| format!("constant {name} = {value}"));
        let structs = self.structs.iter().map(|name| format!("struct {name}"));
        let vectors = self.vectors.iter().map(|name| format!("vector `{name}`"));
        let all = head.chain(constants);
        all.chain(structs).chain(vectors).collect()
    }
}

/// A struct of which something differs: each field of the old or the new one in a row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct StructDiff {
    /// Its Rust name.
    pub name: String,
    /// Old and new size; `None` where there is no such struct.
    pub size: (Option<u64>, Option<u64>),
    /// Its fields, in the order of the new struct, removed ones where they stood.
    pub rows: Vec<Row>,
}

/// A field, before and after.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// As it was.
    pub old: Option<Field>,
    /// As it is.
    pub new: Option<Field>,
}

impl StructDiff {
    /// The names of the fields as they are; as they were where the struct is gone.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let is_there = self.size.1.is_some();
        let rows = self.rows.iter();
        let fields = rows.filter_map(|row| if is_there { &row.new } else { &row.old }.as_ref());
        fields.map(|field| field.name.as_str()).collect()
    }
}

impl Row {
    /// Whether the field is as it was.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.old == self.new
    }
}

impl Changes {
    /// The difference between the descriptions `old` and `new`. The token is not part of it.
    #[must_use]
    pub fn of(old: &str, new: &str) -> Self {
        let (Some(before), Some(after)) = (Abi::parse(old), Abi::parse(new)) else {
            return Self {
                layouts: lines(old, new).into_iter().map(Change::Line).collect(),
                ..Self::default()
            };
        };
        let mut changes = Self::default();
        changes.head(&before, &after);
        changes.constants(None, &before.constants, &after.constants);
        changes.structs(&before.structs, &after.structs);
        changes.vectors(&before, &after);
        // The order alone may differ, or what this does not know of.
        let mut same = after;
        same.token = before.token;
        if changes == Self::default() && same.render().trim_end() != old.trim_end() {
            let lines = lines(old, &same.render());
            changes.layouts = lines.into_iter().map(Change::Line).collect();
        }
        changes
    }

    /// Whether nothing that the old description covers changed. Something may have been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let lists = [&self.needs, &self.layouts, &self.constants, &self.behaviour];
        lists.iter().all(|list| list.is_empty())
    }

    /// Everything that changed, in lines.
    pub(crate) fn details(&self) -> Vec<Detail> {
        let lists = [&self.layouts, &self.constants, &self.behaviour, &self.needs];
        let all = lists.into_iter().flatten();
        all.flat_map(Change::details).collect()
    }

    /// Counts what is added as changed.
    pub(crate) fn with_added(mut self) -> Self {
        let added = std::mem::take(&mut self.added);
        let head = added.head.into_iter().map(|key| Change::HeadAdded { key });
        let constants = added.constants.into_iter();
        let constants = constants.map(|(name, value)| Change::ConstantAdded { name, value });
        self.constants.extend(head.chain(constants));
        let structs = added
            .structs
            .into_iter()
            .map(|name| Change::StructAdded { name });
        self.layouts.extend(structs);
        let vectors = added
            .vectors
            .into_iter()
            .map(|name| Change::VectorAdded { name });
        self.behaviour.extend(vectors);
        self
    }

    fn head(&mut self, before: &Abi, after: &Abi) {
        for (key, old) in &before.head {
            let (new, key, old) = (after.head(key), key.clone(), old.clone());
            match new.map(str::to_owned) {
                Some(new) if new == old => {}
                Some(new) if key == "needs" => self.needs.push(Change::Needs { old, new }),
                new => self.constants.push(Change::Head { key, old, new }),
            }
        }
        let added = after.head.iter().map(|(key, _)| key);
        let added = added.filter(|key| before.head(key).is_none());
        self.added.head.extend(added.cloned());
    }

    fn constants(&mut self, of: Option<&str>, old: &[(String, String)], new: &[(String, String)]) {
        let of = of.map(str::to_owned);
        let (old, new) = (numbered(old), numbered(new));
        for (key, value) in &old {
            let other = value_of(&new, *key);
            if other != Some(value) {
                self.constants.push(Change::Constant {
                    name: key.0.to_owned(),
                    of: of.clone(),
                    old: (*value).clone(),
                    new: other.map(|value| (*value).clone()),
                });
            }
        }
        let added = new.iter().filter(|(key, _)| value_of(&old, *key).is_none());
        let added = added.map(|(key, value)| (key.0.to_owned(), (*value).clone()));
        self.added.constants.extend(added);
        let both = |(key, _): &&(Key<'_>, &String)| {
            value_of(&old, *key).is_some() && value_of(&new, *key).is_some()
        };
        let order = |list: &[_]| -> Vec<Key<'_>> {
            let both = list.iter().filter(both);
            both.map(|(key, _)| *key).collect()
        };
        if order(&old) != order(&new) {
            self.constants.push(Change::ConstantOrder { of });
        }
    }

    fn structs(&mut self, old: &[Struct], new: &[Struct]) {
        let partners = partners(old, new);
        for (before, partner) in old.iter().zip(&partners) {
            match partner.and_then(|index| new.get(index)) {
                Some(after) => {
                    self.layout(before, after);
                    self.constants(Some(&after.name), &before.constants, &after.constants);
                }
                None => {
                    self.layouts.push(Change::StructRemoved {
                        name: before.name.clone(),
                        size: before.size,
                    });
                    self.structs.push(StructDiff {
                        name: before.name.clone(),
                        size: (Some(before.size), None),
                        rows: rows(&before.fields, &[]),
                    });
                }
            }
        }
        let added = new.iter().enumerate();
        let added = added.filter(|(index, _)| !partners.contains(&Some(*index)));
        let added = added.map(|(_, added)| added.name.clone());
        self.added.structs.extend(added);
    }

    fn layout(&mut self, before: &Struct, after: &Struct) {
        let of = || after.name.clone();
        let mut changes = Vec::new();
        if before.name != after.name {
            changes.push(Change::StructRenamed {
                old: before.name.clone(),
                new: of(),
            });
        }
        if before.c_name != after.c_name {
            changes.push(Change::CName {
                of: of(),
                old: before.c_name.clone(),
                new: after.c_name.clone(),
            });
        }
        if before.size != after.size {
            changes.push(Change::Size {
                of: of(),
                old: before.size,
                new: after.size,
            });
        }
        if before.align != after.align {
            changes.push(Change::Align {
                of: of(),
                old: before.align,
                new: after.align,
            });
        }
        if before.packed != after.packed {
            let packed = after.packed;
            changes.push(Change::Packed { of: of(), packed });
        }
        let rows = rows(&before.fields, &after.fields);
        let changed = rows.iter().filter(|row| !row.is_same()).cloned();
        changes.extend(changed.map(|row| Change::Field { of: of(), row }));
        if !changes.is_empty() {
            self.structs.push(StructDiff {
                name: of(),
                size: (Some(before.size), Some(after.size)),
                rows,
            });
        }
        self.layouts.extend(changes);
    }

    fn vectors(&mut self, before: &Abi, after: &Abi) {
        let (before, after) = (numbered(&before.vectors), numbered(&after.vectors));
        for (key, old) in &before {
            let name = key.0.to_owned();
            match value_of(&after, *key) {
                Some(new) if new == old => {}
                Some(new) => {
                    let lines = lines(&old.join("\n"), &new.join("\n"));
                    self.behaviour.push(Change::Vector { name, lines });
                }
                None => self.behaviour.push(Change::VectorRemoved { name }),
            }
        }
        let added = after.iter().map(|(key, _)| *key);
        let added = added.filter(|key| value_of(&before, *key).is_none());
        let added = added.map(|(name, _)| name.to_owned());
        self.added.vectors.extend(added);
    }
}

/// A name, and how many of the same stand before it in its list.
type Key<'a> = (&'a str, usize);

/// The entries of a list, in which a name may stand more than once.
fn numbered<T>(list: &[(String, T)]) -> Vec<(Key<'_>, &T)> {
    let mut out: Vec<(Key<'_>, &T)> = Vec::new();
    for (name, value) in list {
        let before = out.iter().filter(|((other, _), _)| other == name).count();
        out.push(((name, before), value));
    }
    out
}

fn value_of<'a, T>(list: &'a [(Key<'_>, T)], key: Key<'_>) -> Option<&'a T> {
    let mut found = list.iter().filter(|(other, _)| *other == key);
    found.next().map(|(_, value)| value)
}

/// For each of `old` the one of `new` that it became: first one that is the same in every part, then one of
/// its name, of its C name, of its fields. Of two structs of one name each has a partner of its own.
fn partners(old: &[Struct], new: &[Struct]) -> Vec<Option<usize>> {
    let mut partners = vec![None; old.len()];
    let same_c_name =
        |a: &Struct, b: &Struct| a.c_name.is_some() && a.c_name == b.c_name && a.name != b.name;
    let is_kept = |name: &str, list: &[Struct]| list.iter().any(|other| other.name == name);
    let renamed = |a: &Struct, b: &Struct| !is_kept(&a.name, new) && !is_kept(&b.name, old);
    type IsSame<'a> = &'a dyn Fn(&Struct, &Struct) -> bool;
    let passes: [IsSame<'_>; 4] = [
        &|a, b| a == b,
        &|a, b| a.name == b.name,
        &|a, b| renamed(a, b) && same_c_name(a, b),
        &|a, b| renamed(a, b) && a.fields == b.fields,
    ];
    for is_same in passes {
        for (index, before) in old.iter().enumerate() {
            if partners.get(index) != Some(&None) {
                continue;
            }
            let all = new.iter().enumerate();
            let mut free = all.filter(|(at, _)| !partners.contains(&Some(*at)));
            let found = free.find(|(_, after)| is_same(before, after));
            if let (Some((at, _)), Some(partner)) = (found, partners.get_mut(index)) {
                *partner = Some(at);
            }
        }
    }
    partners
}

/// Pairs the fields: by name, and where a name is gone by place and type.
fn rows(old: &[Field], new: &[Field]) -> Vec<Row> {
    let has = |list: &[Field], name: &str| list.iter().any(|field| field.name == name);
    let partner = |field: &Field| {
        let by_name = old.iter().find(|other| other.name == field.name);
        by_name.or_else(|| {
            let same = |other: &&Field| {
                (other.offset, other.size, &other.ty, other.bits)
                    == (field.offset, field.size, &field.ty, field.bits)
                    && !has(new, &other.name)
            };
            old.iter().find(same)
        })
    };
    let row = |old: Option<&Field>, new: Option<&Field>| Row {
        old: old.cloned(),
        new: new.cloned(),
    };
    let mut rows: Vec<_> = new
        .iter()
        .map(|field| row(partner(field), Some(field)))
        .collect();
    for field in old {
        if rows.iter().any(|row| row.old.as_ref() == Some(field)) {
            continue;
        }
        // Before the first field that stood behind it.
        let behind = |row: &Row| {
            let at = row.old.as_ref().or(row.new.as_ref());
            at.is_some_and(|other| other.offset > field.offset)
        };
        let at = rows.iter().position(behind).unwrap_or(rows.len());
        rows.insert(at, row(Some(field), None));
    }
    rows
}

/// The lines that differ.
#[must_use]
pub(crate) fn lines(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old.trim_end(), new.trim_end());
    let sign = |tag| match tag {
        ChangeTag::Delete => Some('-'),
        ChangeTag::Insert => Some('+'),
        ChangeTag::Equal => None,
    };
    let lines = diff.iter_all_changes().filter_map(|change| {
        let sign = sign(change.tag())?;
        Some(format!("{sign} {}", change.value().trim_end()))
    });
    lines.collect()
}
