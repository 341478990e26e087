//! Snapshots: what a version of a component is, as text and taken apart.

use std::fmt::Write as _;

use kho_compat::{Bits, Layout, TypeName};

/// A snapshot file's contents: insta's form, metadata between two lines of dashes and the text.
#[must_use]
pub(crate) fn contents(file: &str) -> Option<&str> {
    let file = file.strip_prefix("---\n")?;
    let (_, text) = file.split_once("\n---\n")?;
    Some(text.trim_end())
}

/// A snapshot file in insta's form.
#[must_use]
pub(crate) fn file(source: &str, text: &str) -> String {
    format!("---\nsource: {source}\n---\n{}\n", text.trim_end())
}

/// A component's description taken apart: the inverse of [`describe`](crate::describe()).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Abi {
    /// The token: `memfd-v2`.
    pub token: String,
    /// The lines of the head with their keys, in order: `needs`, `subtree`, `features`.
    pub head: Vec<(String, String)>,
    /// Constants that belong to no struct, in order.
    pub constants: Vec<(String, String)>,
    /// Structs, in order.
    pub structs: Vec<Struct>,
    /// What the code writes for given inputs, in order: a name and lines.
    pub vectors: Vec<(String, Vec<String>)>,
}

/// A struct of a description.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Struct {
    /// The Rust name.
    pub name: String,
    /// The C name.
    pub c_name: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Alignment in C.
    pub align: u64,
    /// Whether C declares it packed.
    pub packed: bool,
    /// Its fields, in order.
    pub fields: Vec<Field>,
    /// Its constants, in order.
    pub constants: Vec<(String, String)>,
}

/// A field of a description.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type as descriptions name it.
    #[serde(rename = "type")]
    pub ty: String,
    /// Bytes from the struct's start.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Its bits, first and one past the last, where it is a member of a bit field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<(u64, u64)>,
}

impl Field {
    /// The type with its bits.
    #[must_use]
    pub fn shown_type(&self) -> String {
        match self.bits {
            Some((start, end)) => format!("{} bits {start}..{end}", self.ty),
            None => self.ty.clone(),
        }
    }
}

impl Abi {
    /// Takes names from `recorded` that are no part of the format: of a field without a C name that is otherwise as
    /// it was, and of a vector whose lines are. Returns whether one differed.
    pub(crate) fn name_as(&mut self, recorded: &Self) -> bool {
        let mut any = false;
        for now in self.structs.iter_mut().filter(|one| one.c_name.is_none()) {
            let is_its = |one: &&Struct| one.name == now.name && one.c_name.is_none();
            let Some(then) = recorded.structs.iter().find(is_its) else {
                continue;
            };
            let is_same = |a: &Field, b: &Field| {
                (a.offset, a.size, &a.ty, a.bits) == (b.offset, b.size, &b.ty, b.bits)
            };
            for (index, old) in renamed(&now.fields, &then.fields, |field| &field.name, is_same) {
                if let Some(field) = now.fields.get_mut(index) {
                    field.name = old;
                    any = true;
                }
            }
        }
        let is_same = |a: &(String, Vec<String>), b: &(String, Vec<String>)| a.1 == b.1;
        let (vectors, then) = (&mut self.vectors, &recorded.vectors);
        for (index, old) in renamed(vectors, then, |vector| &vector.0, is_same) {
            if let Some(vector) = vectors.get_mut(index) {
                vector.0 = old;
                any = true;
            }
        }
        any
    }
}

/// Those of `now` whose name is new and that are otherwise one of `then` whose name is gone: their places, and
/// the name that is gone.
fn renamed<T>(
    now: &[T],
    then: &[T],
    name: fn(&T) -> &String,
    is_same: impl Fn(&T, &T) -> bool,
) -> Vec<(usize, String)> {
    let has = |list: &[T], wanted: &T| list.iter().any(|one| name(one) == name(wanted));
    let mut gone: Vec<_> = then.iter().filter(|old| !has(now, old)).collect();
    let new = now.iter().enumerate().filter(|(_, one)| !has(then, one));
    let renamed = new.filter_map(|(index, one)| {
        let at = gone.iter().position(|old| is_same(one, old))?;
        Some((index, name(gone.remove(at)).clone()))
    });
    renamed.collect()
}

impl Struct {
    /// The struct as the layout that it describes.
    pub(crate) fn layout(&self) -> Option<Layout> {
        let number = |number: u64| usize::try_from(number).ok();
        let (size, align) = (number(self.size)?, number(self.align)?);
        let c_name = self.c_name.as_deref();
        let mut layout = Layout::new(&self.name, c_name, size, align, self.packed);
        for field in &self.fields {
            let bits = match field.bits {
                Some((start, end)) => Some(Bits {
                    start: u16::try_from(start).ok()?,
                    width: u16::try_from(end.checked_sub(start)?).ok()?,
                }),
                None => None,
            };
            layout.fields.push(kho_compat::Field {
                name: field.name.clone(),
                ty: TypeName::new(&field.ty),
                offset: number(field.offset)?,
                size: number(field.size)?,
                bits,
            });
        }
        Some(layout)
    }
}

const COLUMNS: &str = "  offset   size  field";

fn constant(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("const ")?.split_once(" = ")?;
    Some((name.to_owned(), value.to_owned()))
}

fn header(line: &str) -> Option<Struct> {
    let (names, rest) = line.strip_prefix("struct ")?.split_once(": ")?;
    let (name, c_name) = match names.split_once(" (struct ") {
        Some((name, c_name)) => (name, Some(c_name.strip_suffix(')')?.to_owned())),
        None => (names, None),
    };
    let (size, rest) = rest.split_once(" bytes, align ")?;
    let (align, packed) = match rest.strip_suffix(" packed") {
        Some(align) => (align, true),
        None => (rest, false),
    };
    Some(Struct {
        name: name.to_owned(),
        c_name,
        size: size.parse().ok()?,
        align: align.parse().ok()?,
        packed,
        ..Struct::default()
    })
}

fn field(line: &str) -> Option<Field> {
    let (offset, rest) = line.trim_start().split_once(' ')?;
    let (size, rest) = rest.trim_start().split_once("  ")?;
    let (name, ty) = rest.split_once(": ")?;
    let (ty, bits) = match ty.split_once(" bits ") {
        Some((ty, bits)) => {
            let (start, end) = bits.split_once("..")?;
            (ty, Some((start.parse().ok()?, end.parse().ok()?)))
        }
        None => (ty, None),
    };
    Some(Field {
        name: name.to_owned(),
        ty: ty.to_owned(),
        offset: offset.parse().ok()?,
        size: size.parse().ok()?,
        bits,
    })
}

impl Abi {
    /// Takes a description apart. `None` where the text is not one: a caller compares lines then.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end();
        let mut lines = text.lines();
        let mut abi = Self {
            token: lines.next()?.to_owned(),
            ..Self::default()
        };
        let mut in_vector = false;
        for line in lines {
            if let Some(indented) = line.strip_prefix("  ") {
                if in_vector {
                    abi.vectors.last_mut()?.1.push(indented.to_owned());
                } else if line == COLUMNS {
                } else if let Some(constant) = constant(indented) {
                    abi.structs.last_mut()?.constants.push(constant);
                } else {
                    abi.structs.last_mut()?.fields.push(field(line)?);
                }
            } else if let Some(name) = line.strip_prefix("vector ") {
                in_vector = true;
                abi.vectors.push((name.to_owned(), Vec::new()));
            } else if line.starts_with("struct ") {
                in_vector = false;
                abi.structs.push(header(line)?);
            } else if line.starts_with("const ") {
                abi.constants.push(constant(line)?);
            } else if !line.is_empty() {
                let (key, value) = line.split_once(": ")?;
                abi.head.push((key.to_owned(), value.to_owned()));
            }
        }
        // What does not come out as it went in was not understood.
        (abi.render().trim_end() == text).then_some(abi)
    }

    /// The description.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = format!("{}\n", self.token);
        // Writing to a String does not fail.
        for (key, value) in &self.head {
            let _ = writeln!(out, "{key}: {value}");
        }
        if !self.constants.is_empty() {
            out.push('\n');
        }
        for (name, value) in &self.constants {
            let _ = writeln!(out, "const {name} = {value}");
        }
        for layout in &self.structs {
            let c_name = layout.c_name.as_ref();
            let c_name = c_name.map_or_else(String::new, |c| format!(" (struct {c})"));
            let packed = if layout.packed { " packed" } else { "" };
            let _ = writeln!(
                out,
                "\nstruct {}{c_name}: {} bytes, align {}{packed}\n{COLUMNS}",
                layout.name, layout.size, layout.align
            );
            for field in &layout.fields {
                let (offset, size, name) = (field.offset, field.size, &field.name);
                let ty = field.shown_type();
                let _ = writeln!(out, "  {offset:>6} {size:>6}  {name}: {ty}");
            }
            for (name, value) in &layout.constants {
                let _ = writeln!(out, "  const {name} = {value}");
            }
        }
        for (name, lines) in &self.vectors {
            let _ = writeln!(out, "\nvector {name}");
            for line in lines {
                let _ = writeln!(out, "  {line}");
            }
        }
        out
    }

    /// The value of a line of the head.
    #[must_use]
    pub fn head(&self, key: &str) -> Option<&str> {
        let line = self.head.iter().find(|(name, _)| name == key);
        line.map(|(_, value)| value.as_str())
    }
}
