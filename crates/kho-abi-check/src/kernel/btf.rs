//! BTF, the type format that a kernel carries of itself.
//!
//! A header, then the types, which count from 1 in the order that they lie in, then the strings
//! that they name. All numbers are little-endian here.

use std::collections::BTreeSet;

use super::types::place;
use super::{
    CType, KernelError, MAX_CHAIN, MAX_MEMBERS, Member, Struct, Structs, define, string_at,
};

macro_rules! kinds {
    ($($name:ident = $number:literal),* $(,)?) => { $(const $name: u32 = $number;)* };
}

kinds! {
    INT = 1, PTR = 2, ARRAY = 3, STRUCT = 4, UNION = 5, ENUM = 6, FWD = 7, TYPEDEF = 8,
    VOLATILE = 9, CONST = 10, RESTRICT = 11, FUNC = 12, FUNC_PROTO = 13, VAR = 14, DATASEC = 15,
    FLOAT = 16, DECL_TAG = 17, TYPE_TAG = 18, ENUM64 = 19,
}

/// The structs called `names`.
pub(super) fn structs(blob: &[u8], names: &BTreeSet<String>) -> Result<Structs, KernelError> {
    let btf = Btf::parse(blob)?;
    let mut out = Structs::new();
    for position in &btf.types {
        let ty = btf.at(*position)?;
        if ty.kind != STRUCT {
            continue;
        }
        let wanted = btf.name(ty.name).ok().and_then(|name| names.get(name));
        if let Some(name) = wanted {
            let found = btf.members(ty).map_err(|error| error.within(name))?;
            define(&mut out, name, found);
        }
    }
    Ok(out)
}

fn bad(text: impl Into<String>) -> KernelError {
    KernelError::Btf(text.into())
}

struct Btf<'a> {
    section: &'a [u8],
    strings: &'a [u8],
    /// Where in the section each type lies; the first is type 1.
    types: Vec<u32>,
}

/// A type's three words, and what they say.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    /// How many members, parameters or values follow.
    len: u32,
    flag: bool,
    /// A size, or another type.
    size_or_type: u32,
    /// Where its particulars start.
    rest: usize,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

fn size(word: u32) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

/// `len` bytes at `offset` of what follows the header.
fn part(body: &[u8], offset: u32, len: u32) -> Option<&[u8]> {
    body.get(size(offset)..)?.get(..size(len))
}

impl<'a> Btf<'a> {
    fn parse(blob: &'a [u8]) -> Result<Self, KernelError> {
        let cut = || bad("the header is cut off");
        let field = |index: usize| word(blob, index * 4).ok_or_else(cut);
        if !blob.starts_with(b"\x9f\xeb\x01") {
            return Err(bad("not version 1 of a little-endian kernel"));
        }
        let header = size(field(1)?);
        if header < 24 {
            return Err(bad(format!("a header of {header} bytes")));
        }
        let body = blob.get(header..).ok_or_else(cut)?;
        let section = part(body, field(2)?, field(3)?);
        let section = section.ok_or_else(|| bad("the types reach beyond the end"))?;
        let strings = part(body, field(4)?, field(5)?);
        let strings = strings.ok_or_else(|| bad("the strings reach beyond the end"))?;
        // A newer header says how long the particulars of every kind are.
        let layout = if header >= 32 {
            part(body, field(6)?, field(7)?).unwrap_or_default()
        } else {
            &[]
        };
        // A module's strings start where the kernel's end.
        if strings.first() != Some(&0) {
            return Err(KernelError::SplitBtf);
        }
        let mut btf = Self {
            section,
            strings,
            types: Vec::new(),
        };
        let mut position = 0;
        while position < section.len() {
            let index = u32::try_from(position).map_err(|_| bad("too long"))?;
            let ty = btf.at(index)?;
            if size(ty.name) >= strings.len() && ty.name != 0 {
                return Err(bad("a name lies beyond the strings"));
            }
            btf.types.push(index);
            let end = particulars(ty, layout).and_then(|len| ty.rest.checked_add(len));
            position = end.filter(|end| *end <= section.len()).ok_or_else(|| {
                let (number, kind) = (btf.types.len(), ty.kind);
                bad(format!(
                    "type {number}: cut off, or kind {kind} is not known"
                ))
            })?;
        }
        Ok(btf)
    }

    fn at(&self, position: u32) -> Result<Type, KernelError> {
        let position = size(position);
        let field = |index| self.word_at(position, index);
        let info = field(1)?;
        Ok(Type {
            name: field(0)?,
            kind: info >> 24 & 0x7f,
            len: info & 0xff_ffff,
            flag: info >> 31 != 0,
            size_or_type: field(2)?,
            rest: position.saturating_add(12),
        })
    }

    fn get(&self, id: u32) -> Result<Type, KernelError> {
        let index = size(id).checked_sub(1);
        let position = index.and_then(|index| self.types.get(index));
        let position = position.ok_or_else(|| bad(format!("there is no type {id}")))?;
        self.at(*position)
    }

    fn name(&self, offset: u32) -> Result<&'a str, KernelError> {
        let name = string_at(self.strings, size(offset));
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        name.ok_or_else(|| bad("a name is damaged or too long"))
    }

    fn word(&self, ty: Type, index: usize) -> Result<u32, KernelError> {
        self.word_at(ty.rest, index)
    }

    fn word_at(&self, start: usize, index: usize) -> Result<u32, KernelError> {
        let word = word(self.section, start.saturating_add(index * 4));
        word.ok_or_else(|| bad("a type is cut off"))
    }

    fn members(&self, ty: Type) -> Result<Struct, KernelError> {
        let len = size(ty.len);
        if len > MAX_MEMBERS {
            return Err(bad(format!("{len} members")));
        }
        let mut members = Vec::with_capacity(len);
        for index in 0..len {
            let name = self.name(self.word(ty, index * 3)?)?.to_owned();
            let id = self.word(ty, index * 3 + 1)?;
            let offset = self.word(ty, index * 3 + 2)?;
            let (of, size) = self.resolve(id, 0)?;
            let (start, width) = if ty.flag {
                (u64::from(offset & 0xff_ffff), u64::from(offset >> 24))
            } else {
                // The older form has the width in an integer type of its own.
                let (at, width) = self.narrow(id)?.unwrap_or_default();
                (u64::from(offset) + at, width)
            };
            let (offset, bits) = if width == 0 {
                (start / 8, None)
            } else {
                let (offset, start) = place(start, size);
                (offset, Some((start, width)))
            };
            members.push(Member {
                name,
                ty: of,
                offset,
                size,
                bits,
            });
        }
        Ok(Struct {
            size: u64::from(ty.size_or_type),
            members,
        })
    }

    /// The first bit and the width of an integer type that does not fill its bytes.
    fn narrow(&self, mut id: u32) -> Result<Option<(u64, u64)>, KernelError> {
        for _ in 0..MAX_CHAIN {
            if id == 0 {
                return Ok(None);
            }
            let ty = self.get(id)?;
            match ty.kind {
                TYPEDEF | CONST | VOLATILE | RESTRICT | TYPE_TAG => id = ty.size_or_type,
                INT => {
                    let word = self.word(ty, 0)?;
                    let (at, width) = (u64::from(word >> 16 & 0xff), u64::from(word & 0xff));
                    let whole = u64::from(ty.size_or_type).saturating_mul(8);
                    return Ok((width != whole).then_some((at, width)));
                }
                _ => return Ok(None),
            }
        }
        Err(bad("a type that never ends"))
    }

    /// A type and its size.
    fn resolve(&self, id: u32, depth: usize) -> Result<(CType, u64), KernelError> {
        if depth > MAX_CHAIN {
            return Err(bad("a type that never ends"));
        }
        if id == 0 {
            return Ok((CType::void(), 0));
        }
        let ty = self.get(id)?;
        let size = u64::from(ty.size_or_type);
        let inner = || self.resolve(ty.size_or_type, depth + 1);
        let qualified =
            |qualifier: &str| inner().map(|(inner, size)| (inner.qualified(qualifier), size));
        let name = || self.name(ty.name);
        Ok(match ty.kind {
            INT => {
                let encoding = self.word(ty, 0)? >> 24;
                let ty = if encoding & 4 != 0 {
                    CType::plain(name()?, "bool")
                } else {
                    CType::integer(name()?, size, encoding & 1 != 0)
                };
                (ty, size)
            }
            FLOAT => (CType::same(name()?), size),
            PTR => {
                // Only one of 64 bits hands over memory.
                let (to, _) = inner()?;
                (CType::pointer(&to), 8)
            }
            ARRAY => {
                let (element, size) = self.resolve(self.word(ty, 0)?, depth + 1)?;
                let count = u64::from(self.word(ty, 2)?);
                let array = element.array(count).zip(size.checked_mul(count));
                array.ok_or_else(|| bad("an array too long for memory"))?
            }
            STRUCT => (CType::tagged("struct", name()?), size),
            UNION => (CType::tagged("union", name()?), size),
            FWD => {
                let kind = if ty.flag { "union" } else { "struct" };
                (CType::tagged(kind, name()?), 0)
            }
            ENUM | ENUM64 => (CType::tagged("enum", name()?), size),
            TYPEDEF => {
                let (inner, size) = inner()?;
                (inner.typedef(name()?), size)
            }
            CONST => qualified("const")?,
            VOLATILE => qualified("volatile")?,
            // pahole leaves it out, and it says nothing of memory.
            RESTRICT | TYPE_TAG => inner()?,
            FUNC | FUNC_PROTO => (CType::same("function"), 0),
            kind => return Err(bad(format!("a member's type of kind {kind}"))),
        })
    }
}

/// How many bytes follow a type's first three words.
fn particulars(ty: Type, layout: &[u8]) -> Option<usize> {
    let len = size(ty.len);
    Some(match ty.kind {
        INT | VAR | DECL_TAG => 4,
        ARRAY => 12,
        STRUCT | UNION | DATASEC | ENUM64 => len.checked_mul(12)?,
        ENUM | FUNC_PROTO => len.checked_mul(8)?,
        PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
        0 => return None,
        kind => {
            let of_kind = layout.get(size(kind).checked_mul(4)?..)?;
            let [once, each, ..] = of_kind.first_chunk::<4>()?;
            let each = usize::from(*each).checked_mul(len)?;
            each.checked_add(usize::from(*once))?
        }
    })
}
