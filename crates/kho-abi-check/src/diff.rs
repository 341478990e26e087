//! The difference of two versions of a component, in words.

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::snapshot::{Abi, Field, Struct};

/// Everything that differs, by kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Components whose format is used.
    pub needs: Vec<String>,
    /// Structs, in words.
    pub layouts: Vec<String>,
    /// Structs, field by field.
    pub structs: Vec<StructDiff>,
    /// Constants and the lines of the head.
    pub constants: Vec<String>,
    /// What the code writes.
    pub behaviour: Vec<String>,
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
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let head = self.head.iter().map(|key| format!("line `{key}`"));
        let constants = self
            .constants
            .iter()
            .map(|(n, v)| format!("constant {n} = {v}"));
        let structs = self.structs.iter().map(|name| format!("struct {name}"));
        let vectors = self.vectors.iter().map(|name| format!("vector `{name}`"));
        head.chain(constants)
            .chain(structs)
            .chain(vectors)
            .collect()
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
                layouts: lines(old, new),
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
            changes.layouts = lines(old, &same.render());
        }
        changes
    }

    /// Whether nothing that the old description covers changed. Something may have been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.needs, &self.layouts, &self.constants, &self.behaviour]
            .iter()
            .all(|list| list.is_empty())
    }

    /// Everything that changed, in words.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let lists = [&self.layouts, &self.constants, &self.behaviour, &self.needs];
        lists.into_iter().flatten().cloned().collect()
    }

    /// Counts what is added as changed.
    #[must_use]
    pub(crate) fn with_added(mut self) -> Self {
        let added = std::mem::take(&mut self.added);
        let head = added.head.iter().map(|key| format!("`{key}` added"));
        self.constants.extend(head);
        let constants = added.constants.iter();
        self.constants
            .extend(constants.map(|(name, value)| format!("constant {name} added: {value}")));
        let structs = added.structs.iter();
        self.layouts
            .extend(structs.map(|name| format!("struct {name} added")));
        let vectors = added.vectors.iter();
        self.behaviour
            .extend(vectors.map(|name| format!("vector `{name}` added")));
        self
    }

    fn head(&mut self, before: &Abi, after: &Abi) {
        for (key, old) in &before.head {
            match after.head(key) {
                Some(new) if new == old => {}
                Some(new) if key == "needs" => self.needs.push(needs(old, new)),
                Some(new) => self.constants.push(format!("`{key}`: {old} -> {new}")),
                None => self.constants.push(format!("`{key}` removed, was {old}")),
            }
        }
        let added = after
            .head
            .iter()
            .filter(|(key, _)| before.head(key).is_none());
        self.added.head.extend(added.map(|(key, _)| key.clone()));
    }

    fn constants(&mut self, of: Option<&str>, old: &[(String, String)], new: &[(String, String)]) {
        let of = of.map_or_else(String::new, |name| format!(" of struct {name}"));
        let find = |list: &[(String, String)], name: &str| {
            let found = list.iter().find(|(other, _)| other == name);
            found.map(|(_, value)| value.clone())
        };
        for (name, value) in old {
            match find(new, name) {
                Some(other) if other == *value => {}
                Some(other) => self
                    .constants
                    .push(format!("constant {name}{of}: {value} -> {other}")),
                None => self
                    .constants
                    .push(format!("constant {name}{of} removed, was {value}")),
            }
        }
        let added = new.iter().filter(|(name, _)| find(old, name).is_none());
        self.added.constants.extend(added.cloned());
        let order = |list: &[(String, String)], other: &[(String, String)]| -> Vec<String> {
            let both = list.iter().filter(|(name, _)| find(other, name).is_some());
            both.map(|(name, _)| name.clone()).collect()
        };
        if order(old, new) != order(new, old) {
            self.constants
                .push(format!("constants{of} are listed in another order"));
        }
    }

    fn structs(&mut self, old: &[Struct], new: &[Struct]) {
        let mut taken: Vec<&str> = Vec::new();
        for before in old {
            let by_name = new.iter().find(|after| after.name == before.name);
            let free = |after: &&Struct| old.iter().all(|other| other.name != after.name);
            let found = by_name
                .or_else(|| {
                    let c_name = before.c_name.as_ref()?;
                    let same = |after: &&Struct| after.c_name.as_ref() == Some(c_name);
                    new.iter().filter(free).find(same)
                })
                .or_else(|| {
                    let same = |after: &&Struct| after.fields == before.fields;
                    new.iter().filter(free).find(same)
                });
            match found {
                Some(after) => {
                    taken.push(&after.name);
                    self.layout(before, after);
                    self.constants(Some(&after.name), &before.constants, &after.constants);
                }
                None => {
                    self.layouts.push(format!(
                        "struct {} removed, {} bytes",
                        before.name, before.size
                    ));
                    self.structs.push(StructDiff {
                        name: before.name.clone(),
                        size: (Some(before.size), None),
                        rows: rows(&before.fields, &[]),
                    });
                }
            }
        }
        let added = new.iter().filter(|s| !taken.contains(&s.name.as_str()));
        self.added.structs.extend(added.map(|s| s.name.clone()));
    }

    fn layout(&mut self, before: &Struct, after: &Struct) {
        let name = &after.name;
        let mut words = Vec::new();
        if before.name != after.name {
            words.push(format!("struct {} is now called {name}", before.name));
        }
        if before.c_name != after.c_name {
            let show = |c: &Option<String>| c.clone().unwrap_or_else(|| "none".to_owned());
            words.push(format!(
                "C name of struct {name}: {} -> {}",
                show(&before.c_name),
                show(&after.c_name)
            ));
        }
        if before.size != after.size {
            let verb = if after.size > before.size {
                "grew"
            } else {
                "shrank"
            };
            words.push(format!(
                "struct {name} {verb}: {} -> {} bytes",
                before.size, after.size
            ));
        }
        if before.align != after.align {
            words.push(format!(
                "alignment of struct {name}: {} -> {}",
                before.align, after.align
            ));
        }
        if before.packed != after.packed {
            let now = if after.packed {
                "packed"
            } else {
                "no longer packed"
            };
            words.push(format!("struct {name} is {now}"));
        }
        let rows = rows(&before.fields, &after.fields);
        words.extend(rows.iter().filter_map(|row| row_words(row, name)));
        if !words.is_empty() {
            self.structs.push(StructDiff {
                name: name.clone(),
                size: (Some(before.size), Some(after.size)),
                rows,
            });
        }
        self.layouts.extend(words);
    }

    fn vectors(&mut self, before: &Abi, after: &Abi) {
        for (name, old) in &before.vectors {
            match after.vectors.iter().find(|(other, _)| other == name) {
                Some((_, new)) if new == old => {}
                Some((_, new)) => {
                    let changed = lines(&old.join("\n"), &new.join("\n"));
                    let shown = changed.len().min(8);
                    self.behaviour.push(format!("vector `{name}` changed:"));
                    let head = changed.iter().take(shown);
                    self.behaviour
                        .extend(head.map(|line| format!("    {line}")));
                    if changed.len() > shown {
                        let more = changed.len() - shown;
                        self.behaviour
                            .push(format!("    ... and {more} more lines"));
                    }
                }
                None => self.behaviour.push(format!("vector `{name}` removed")),
            }
        }
        let known = |name: &str| before.vectors.iter().any(|(other, _)| other == name);
        let added = after.vectors.iter().filter(|(name, _)| !known(name));
        self.added
            .vectors
            .extend(added.map(|(name, _)| name.clone()));
    }
}

fn needs(old: &str, new: &str) -> String {
    let list = |text: &str| -> Vec<String> {
        let names = text.split(", ").filter(|name| *name != "nothing");
        names.map(str::to_owned).collect()
    };
    let (before, after) = (list(old), list(new));
    let lost = before.iter().filter(|name| !after.contains(name));
    let gained = after.iter().filter(|name| !before.contains(name));
    let words: Vec<_> = gained
        .map(|name| format!("now needs `{name}`"))
        .chain(lost.map(|name| format!("no longer needs `{name}`")))
        .collect();
    if words.is_empty() {
        return format!("needs in another order: {old} -> {new}");
    }
    format!("{} ({old} -> {new})", words.join(", "))
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
    let mut rows: Vec<Row> = Vec::new();
    for field in new {
        rows.push(Row {
            old: partner(field).cloned(),
            new: Some(field.clone()),
        });
    }
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
        rows.insert(
            at,
            Row {
                old: Some(field.clone()),
                new: None,
            },
        );
    }
    rows
}

fn row_words(row: &Row, of: &str) -> Option<String> {
    match (&row.old, &row.new) {
        (Some(old), None) => Some(format!(
            "field `{}` of struct {of} removed: was {} at offset {}",
            old.name,
            old.shown_type(),
            old.offset
        )),
        (None, Some(new)) => Some(format!(
            "field `{}` of struct {of} added: {} at offset {}",
            new.name,
            new.shown_type(),
            new.offset
        )),
        (Some(old), Some(new)) if old != new => {
            let mut words = Vec::new();
            if old.name != new.name {
                words.push(format!("renamed to `{}`, same bytes", new.name));
            }
            if old.offset != new.offset {
                words.push(format!("moved: offset {} -> {}", old.offset, new.offset));
            }
            if old.shown_type() != new.shown_type() {
                words.push(format!(
                    "changed type: {} -> {}",
                    old.shown_type(),
                    new.shown_type()
                ));
            } else if old.size != new.size {
                words.push(format!("size {} -> {}", old.size, new.size));
            }
            Some(format!(
                "field `{}` of struct {of} {}",
                old.name,
                words.join(", ")
            ))
        }
        _ => None,
    }
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
    diff.iter_all_changes()
        .filter_map(|change| {
            let sign = sign(change.tag())?;
            Some(format!("{sign} {}", change.value().trim_end()))
        })
        .collect()
}
