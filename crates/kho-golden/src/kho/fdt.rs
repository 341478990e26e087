//! Device trees as they were written, and edits of them.

use kho_abi_check::Failure;
use kho_mem::PhysAddr;

use super::handed::PAGE;
use crate::dump::Dump;
use crate::edits::{Edit, behind, bytes};

// The format's tokens, written once more: a dump must not change with the constants.
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
pub(crate) const NOP: u32 = 4;

/// A device tree as it was written, in which edits find their places.
pub(crate) struct Fdt {
    pub(crate) at: PhysAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Fdt {
    pub(crate) fn new(dump: &Dump, at: PhysAddr) -> Result<Self, Failure> {
        let bytes = dump.read(at, PAGE)?;
        Ok(Self { at, bytes })
    }

    pub(crate) fn number(&self, at: usize) -> Result<u32, Failure> {
        let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        Ok(u32::from_be_bytes(*bytes.ok_or("behind the page")?))
    }

    fn text(&self, at: usize) -> Result<&[u8], Failure> {
        let rest = self.bytes.get(at..).ok_or("behind the page")?;
        Ok(rest.split(|byte| *byte == 0).next().unwrap_or_default())
    }

    /// Where the token of the node `node` stands, or of its property.
    pub(crate) fn find(&self, node: &str, property: Option<&str>) -> Result<PhysAddr, Failure> {
        let strings = self.number(12)? as usize;
        let (mut at, mut inside) = (self.number(8)? as usize, false);
        loop {
            let found = PhysAddr::new(self.at.get() + at as u64);
            match self.number(at)? {
                BEGIN_NODE => {
                    let name = self.text(at + 4)?;
                    inside = name == node.as_bytes();
                    if inside && property.is_none() {
                        return Ok(found);
                    }
                    at += 4 + (name.len() + 1).next_multiple_of(4);
                }
                PROP => {
                    let (len, name) = (self.number(at + 4)?, self.number(at + 8)?);
                    let name = self.text(strings + name as usize)?;
                    if inside && property.is_some_and(|wanted| wanted.as_bytes() == name) {
                        return Ok(found);
                    }
                    at += 12 + (len as usize).next_multiple_of(4);
                }
                END_NODE => {
                    inside = false;
                    at += 4;
                }
                _ => return Err(format!("no {property:?} of `{node}`").into()),
            }
        }
    }

    /// Where the value of a property stands.
    pub(crate) fn value(&self, node: &str, property: &str) -> Result<PhysAddr, Failure> {
        Ok(behind(self.find(node, Some(property))?, 12))
    }

    /// Where the name of the properties `name` stands, by which all of them are found.
    pub(crate) fn name(&self, name: &str) -> Result<PhysAddr, Failure> {
        let strings = self.number(12)? as usize;
        let all = self.bytes.get(strings..).unwrap_or_default();
        let mut names = all.windows(name.len() + 1);
        let wanted: Vec<_> = name.bytes().chain([0]).collect();
        let offset = names
            .position(|name| name == wanted)
            .ok_or("no such name")?;
        Ok(behind(self.at, (strings + offset) as u64))
    }

    /// Edits of a property whose value is a number: of other lengths, and under another name.
    pub(crate) fn lengths(&self, node: &str, property: &str) -> Result<[Edit; 3], Failure> {
        let token = self.find(node, Some(property))?;
        let title = |what: &str| format!("{property} of /{node}: {what}");
        let len = |what, len: u32| bytes(title(what), behind(token, 4), &len.to_be_bytes());
        // What it had of its value does nothing then.
        let nothing = NOP.to_be_bytes();
        let name = self.name(property)?;
        let last = property.bytes().last().unwrap_or_default();
        Ok([
            len("4 bytes", 4).bytes(behind(token, 16), &nothing),
            len("no byte", 0)
                .bytes(behind(token, 12), &nothing)
                .bytes(behind(token, 16), &nothing),
            bytes(
                title("under another name"),
                behind(name, property.len() as u64 - 1),
                &[last + 1],
            ),
        ])
    }
}

/// A device tree of nothing but a string and nodes, each inside the one before, `levels` in all; and with
/// `late`, a property behind a node.
pub(crate) fn nested(levels: usize, late: bool) -> Vec<u8> {
    let mut structure = Vec::new();
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
    let property = || [words(&[PROP, 2, 0]), b"x\0\0\0".to_vec()].concat();
    for level in 0..levels {
        structure.extend(words(&[BEGIN_NODE]));
        structure.extend(if level == 0 { [0; 4] } else { *b"n\0\0\0" });
        structure.extend(if level == 0 { property() } else { Vec::new() });
    }
    for level in 0..levels {
        structure.extend(words(&[END_NODE]));
        structure.extend(if late && level + 2 == levels {
            property()
        } else {
            Vec::new()
        });
    }
    tree(&structure)
}

/// A device tree of a string and the node `compat`, which lists nothing; with a `child`, a node in it.
pub(crate) fn listing(child: bool) -> Vec<u8> {
    let word = |word: u32| word.to_be_bytes().to_vec();
    let begin = |name: &[u8]| [&BEGIN_NODE.to_be_bytes(), name].concat();
    let property = [word(PROP), word(2), word(0), b"x\0\0\0".to_vec()].concat();
    let inside = if child {
        [begin(b"n\0\0\0"), word(END_NODE)].concat()
    } else {
        Vec::new()
    };
    let list = [begin(b"compat\0\0"), inside, word(END_NODE)].concat();
    tree(&[begin(&[0; 4]), property, list, word(END_NODE)].concat())
}

/// A device tree of these tokens.
fn tree(tokens: &[u8]) -> Vec<u8> {
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
    let structure = [tokens, &words(&[9])].concat();
    let strings = b"compatible\0";
    let (from, len) = (56, u32::try_from(structure.len()).unwrap_or(u32::MAX));
    let header = [0xd00d_feed, 512, from, from + len, 40, 17, 16, 0, 11, len];
    [
        words(&header),
        [0; 16].to_vec(),
        structure,
        strings.to_vec(),
    ]
    .concat()
}

/// The address `offset` bytes before `addr`: a property's length stands 8 bytes before its value.
pub(crate) const fn before(addr: PhysAddr, offset: u64) -> PhysAddr {
    PhysAddr::new(addr.get().wrapping_sub(offset))
}
