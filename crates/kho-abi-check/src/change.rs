//! One thing that differs between two versions of a component.

use std::fmt;

use crate::diff::Row;
use crate::finding::Detail;
use crate::snapshot::Field;

/// One thing that differs between two descriptions of a component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// A struct is there that was not.
    StructAdded { name: String },
    /// A struct is gone.
    StructRemoved { name: String, size: u64 },
    /// A struct has another name.
    StructRenamed { old: String, new: String },
    /// A struct stands for another one of C.
    CName {
        of: String,
        old: Option<String>,
        new: Option<String>,
    },
    /// A struct has another size.
    Size { of: String, old: u64, new: u64 },
    /// A struct has another alignment.
    Align { of: String, old: u64, new: u64 },
    /// A struct is packed and was not, or the other way round.
    Packed { of: String, packed: bool },
    /// A field is not as it was.
    Field { of: String, row: Row },
    /// A constant is there that was not.
    ConstantAdded { name: String, value: String },
    /// A constant has another value, or is gone.
    Constant {
        name: String,
        of: Option<String>,
        old: String,
        new: Option<String>,
    },
    /// Constants are listed in another order.
    ConstantOrder { of: Option<String> },
    /// A line of the head is there that was not.
    HeadAdded { key: String },
    /// A line of the head is another, or gone.
    Head {
        key: String,
        old: String,
        new: Option<String>,
    },
    /// A component needs others.
    Needs { old: String, new: String },
    /// A vector is there that was not.
    VectorAdded { name: String },
    /// A vector is another.
    Vector { name: String, lines: Vec<String> },
    /// A vector is gone.
    VectorRemoved { name: String },
    /// A line of the text, with its sign: what is known where no more is.
    Line(String),
}

impl Change {
    /// The struct whose layout changed; not of one that has another name.
    pub(crate) fn structure(&self) -> Option<&str> {
        match self {
            Self::StructAdded { name }
            | Self::StructRemoved { name, .. }
            | Self::CName { of: name, .. }
            | Self::Size { of: name, .. }
            | Self::Align { of: name, .. }
            | Self::Packed { of: name, .. }
            | Self::Field { of: name, .. } => Some(name),
            _ => None,
        }
    }

    /// The constant that changed.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self {
            Self::ConstantAdded { name, .. } | Self::Constant { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The vector that changed.
    pub(crate) fn vector(&self) -> Option<&str> {
        match self {
            Self::VectorAdded { name }
            | Self::Vector { name, .. }
            | Self::VectorRemoved { name } => Some(name),
            _ => None,
        }
    }

    /// Whether a table of the struct's fields shows it.
    const fn is_in_table(&self) -> bool {
        matches!(self, Self::Field { .. } | Self::Size { .. })
    }

    /// The change in lines: of a vector, with the first lines that differ.
    pub(crate) fn details(&self) -> Vec<Detail> {
        const SHOWN: usize = 8;
        let mut details = vec![Detail {
            text: self.to_string(),
            in_table: self.is_in_table(),
        }];
        if let Self::Vector { lines, .. } = self {
            let shown = lines.iter().take(SHOWN);
            details.extend(shown.map(|line| format!("    {line}").into()));
            if let Some(more) = lines.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                details.push(format!("    ... and {more} more lines").into());
            }
        }
        details
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |c: &Option<String>| c.clone().unwrap_or_else(|| "none".to_owned());
        let owner = |of: &Option<String>| {
            let of = of.as_ref();
            of.map_or_else(String::new, |name| format!(" of struct {name}"))
        };
        match self {
            Self::StructAdded { name } => write!(f, "struct {name} added"),
            Self::StructRemoved { name, size } => write!(f, "struct {name} removed, {size} bytes"),
            Self::StructRenamed { old, new } => write!(f, "struct {old} is now called {new}"),
            Self::CName { of, old, new } => {
                write!(f, "C name of struct {of}: {} -> {}", name(old), name(new))
            }
            Self::Size { of, old, new } => {
                let verb = if new > old { "grew" } else { "shrank" };
                write!(f, "struct {of} {verb}: {old} -> {new} bytes")
            }
            Self::Align { of, old, new } => write!(f, "alignment of struct {of}: {old} -> {new}"),
            Self::Packed { of, packed: true } => write!(f, "struct {of} is packed"),
            Self::Packed { of, packed: false } => write!(f, "struct {of} is no longer packed"),
            Self::Field { of, row } => field(f, of, row),
            Self::ConstantAdded { name, value } => write!(f, "constant {name} added: {value}"),
            Self::Constant { name, of, old, new } => {
                let of = owner(of);
                match new {
                    Some(new) => write!(f, "constant {name}{of}: {old} -> {new}"),
                    None => write!(f, "constant {name}{of} removed, was {old}"),
                }
            }
            Self::ConstantOrder { of } => {
                write!(f, "constants{} are listed in another order", owner(of))
            }
            Self::HeadAdded { key } => write!(f, "`{key}` added"),
            Self::Head { key, old, new } => match new {
                Some(new) => write!(f, "`{key}`: {old} -> {new}"),
                None => write!(f, "`{key}` removed, was {old}"),
            },
            Self::Needs { old, new } => needs(f, old, new),
            Self::VectorAdded { name } => write!(f, "vector `{name}` added"),
            Self::Vector { name, .. } => write!(f, "vector `{name}` changed:"),
            Self::VectorRemoved { name } => write!(f, "vector `{name}` removed"),
            Self::Line(line) => f.write_str(line),
        }
    }
}

fn needs(f: &mut fmt::Formatter<'_>, old: &str, new: &str) -> fmt::Result {
    let list = |text: &str| -> Vec<String> {
        let names = text.split(", ").filter(|name| *name != "nothing");
        names.map(str::to_owned).collect()
    };
    let (before, after) = (list(old), list(new));
    let lost = before.iter().filter(|name| !after.contains(name));
    let gained = after.iter().filter(|name| !before.contains(name));
    let gained = gained.map(|name| format!("now needs `{name}`"));
    let lost = lost.map(|name| format!("no longer needs `{name}`"));
    let words: Vec<_> = gained.chain(lost).collect();
    if words.is_empty() {
        return write!(f, "needs in another order: {old} -> {new}");
    }
    write!(f, "{} ({old} -> {new})", words.join(", "))
}

fn field(f: &mut fmt::Formatter<'_>, of: &str, row: &Row) -> fmt::Result {
    let one = |f: &mut fmt::Formatter<'_>, field: &Field, what: &str| {
        let (name, ty, offset) = (&field.name, field.shown_type(), field.offset);
        let what = format!("{what}{ty} at offset {offset}");
        write!(f, "field `{name}` of struct {of} {what}")
    };
    let (old, new) = match (&row.old, &row.new) {
        (Some(old), Some(new)) => (old, new),
        (Some(old), None) => return one(f, old, "removed: was "),
        (None, Some(new)) => return one(f, new, "added: "),
        (None, None) => return Ok(()),
    };
    let mut words = Vec::new();
    if old.name != new.name {
        words.push(format!("renamed to `{}`, same bytes", new.name));
    }
    if old.offset != new.offset {
        words.push(format!("moved: offset {} -> {}", old.offset, new.offset));
    }
    let (before, after) = (old.shown_type(), new.shown_type());
    if before != after {
        words.push(format!("changed type: {before} -> {after}"));
    } else if old.size != new.size {
        words.push(format!("size {} -> {}", old.size, new.size));
    }
    let words = words.join(", ");
    write!(f, "field `{}` of struct {of} {words}", old.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, offset: u64) -> Field {
        Field {
            name: name.to_owned(),
            ty: "u64".to_owned(),
            offset,
            size: 8,
            bits: None,
        }
    }

    fn field(old: Option<Field>, new: Option<Field>) -> Change {
        Change::Field {
            of: "S".to_owned(),
            row: Row { old, new },
        }
    }

    #[test]
    fn changes_have_words() {
        let text = str::to_owned;
        let needs = |old: &str, new: &str| Change::Needs {
            old: text(old),
            new: text(new),
        };
        let constant = |of: Option<&str>, new: Option<&str>| Change::Constant {
            name: text("MAX"),
            of: of.map(text),
            old: text("1"),
            new: new.map(text),
        };
        let size = |old, new| Change::Size {
            of: text("S"),
            old,
            new,
        };
        let c_name = Change::CName {
            of: text("S"),
            old: None,
            new: Some(text("s")),
        };
        let a = || Some(at("a", 0));
        let changes = [
            size(8, 16),
            size(16, 8),
            c_name,
            field(a(), None),
            field(None, Some(at("a", 8))),
            field(a(), Some(at("b", 0))),
            field(a(), Some(at("a", 8))),
            constant(None, Some("2")),
            constant(Some("S"), None),
            Change::ConstantOrder { of: None },
            needs("nothing", "block"),
            needs("block, radix", "radix"),
            needs("a, b", "b, a"),
        ];
        let found = changes.map(|change| change.to_string());
        let words = "\
struct S grew: 8 -> 16 bytes
struct S shrank: 16 -> 8 bytes
C name of struct S: none -> s
field `a` of struct S removed: was u64 at offset 0
field `a` of struct S added: u64 at offset 8
field `a` of struct S renamed to `b`, same bytes
field `a` of struct S moved: offset 0 -> 8
constant MAX: 1 -> 2
constant MAX of struct S removed, was 1
constants are listed in another order
now needs `block` (nothing -> block)
no longer needs `block` (block, radix -> radix)
needs in another order: a, b -> b, a";
        assert_eq!(found.join("\n"), words);
    }

    #[test]
    fn of_a_long_vector_the_first_lines_are_shown() {
        let lines: Vec<_> = (0..10).map(|line| format!("+ {line}")).collect();
        let name = "v".to_owned();
        let details = Change::Vector { name, lines }.details();
        let texts: Vec<_> = details.iter().map(|detail| detail.text.as_str()).collect();
        assert_eq!((texts[0], texts[1]), ("vector `v` changed:", "    + 0"));
        assert_eq!((texts.len(), texts[9]), (10, "    ... and 2 more lines"));
        // What a table shows is marked.
        let moved = field(Some(at("a", 0)), Some(at("a", 8)));
        assert!(moved.details()[0].in_table && !details[0].in_table);
    }
}
