//! Flattened device trees from untrusted memory: checked here first, then read through dtoolkit.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use kho_compat::{Compat, Grammar};
use kho_mem::{Damage, Defect, PhysAddr, is_printable};
use vm_fdt::FdtWriter;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub(crate) const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
pub(crate) const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
pub(crate) const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;
/// Root and children are all that the formats know; leave room for what is ignored.
const MAX_DEPTH: usize = 8;

/// The header of the device tree specification, chapter 5.2.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: U32,
    totalsize: U32,
    off_dt_struct: U32,
    off_dt_strings: U32,
    off_mem_rsvmap: U32,
    version: U32,
    last_comp_version: U32,
    boot_cpuid_phys: U32,
    size_dt_strings: U32,
    size_dt_struct: U32,
}

/// A device tree whose header, structure and names were checked.
pub(crate) struct Tree<'b> {
    fdt: Fdt<'b>,
    at: PhysAddr,
    name: &'static str,
}

impl<'b> Tree<'b> {
    /// Checks the tree that `bytes`, which lie at `at`, begin with.
    pub(crate) fn check(bytes: &'b [u8], at: PhysAddr, name: &'static str) -> Result<Self, Damage> {
        let tree = check(bytes, at).map_err(|damage| damage.within(name))?;
        // Not `Fdt::new`: it holds names to the specification's alphabet, and a region of
        // `reserve_mem=` is called what its user calls it. What its accessors rely on is checked
        // here: tokens, bounds, terminated names of valid text.
        let fdt = Fdt::new_unchecked(tree);
        let tree = Self { fdt, at, name };
        tree.check_names(&tree.fdt.root())?;
        Ok(tree)
    }

    fn damage(&self, defect: Defect, what: impl Into<String>) -> Damage {
        Damage::new(defect, what.into(), self.at).within(self.name)
    }

    // dtoolkit looks a name up and returns the first: a second one would hide.
    fn check_names(&self, node: &FdtNode<'b>) -> Result<(), Damage> {
        let path = if node.name().is_empty() {
            "/"
        } else {
            node.name()
        };
        let mut names: Vec<_> = node
            .properties()
            .map(|property| property.name().to_string())
            .collect();
        names.sort_unstable();
        if let Some(name) = duplicate(&names) {
            return Err(self.damage(
                Defect::Duplicate,
                format!("property `{name}` of node `{path}`"),
            ));
        }
        let mut names: Vec<_> = node
            .children()
            .map(|child| child.name().to_string())
            .collect();
        names.sort_unstable();
        if let Some(name) = duplicate(&names) {
            return Err(self.damage(Defect::Duplicate, format!("node `{name}`")));
        }
        node.children()
            .try_for_each(|child| self.check_names(&child))
    }

    pub(crate) fn root(&self) -> FdtNode<'b> {
        self.fdt.root()
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = FdtNode<'b>> {
        self.fdt.root().children()
    }

    fn value(&self, node: &FdtNode<'_>, property: &str) -> Result<Vec<u8>, Damage> {
        let found = node.properties().find(|p| p.name() == property);
        found.map(|p| p.value().to_vec()).ok_or_else(|| {
            let path = if node.name().is_empty() {
                "/"
            } else {
                node.name()
            };
            self.damage(
                Defect::Missing,
                format!("property `{property}` of node `{path}`"),
            )
        })
    }

    /// The little-endian u64 that `property` holds.
    pub(crate) fn u64(&self, node: &FdtNode<'_>, property: &str) -> Result<u64, Damage> {
        let value = self.value(node, property)?;
        let bytes: [u8; 8] = value.as_slice().try_into().map_err(|_| {
            self.damage(
                Defect::BadSize,
                format!("property `{property}` of node `{}`", node.name()),
            )
            .found(format!("{} bytes", value.len()))
            .expected("8 bytes")
        })?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The one NUL-terminated string that `property` holds.
    pub(crate) fn string(&self, node: &FdtNode<'_>, property: &str) -> Result<String, Damage> {
        let value = self.value(node, property)?;
        let what = format!("property `{property}` of node `{}`", node.name());
        let Some((0, text)) = value.split_last() else {
            return Err(self
                .damage(Defect::Unterminated, what)
                .found(escape(&value)));
        };
        if text.is_empty() {
            return Err(self.damage(Defect::Empty, what));
        }
        match str::from_utf8(text) {
            Ok(text) if is_printable(text) => Ok(text.to_string()),
            _ => Err(self
                .damage(Defect::BadText, what)
                .found(escape(&value))
                .expected("one string")),
        }
    }

    /// As [`Tree::string`], or the list of strings that make a compat string, as that shows them.
    pub(crate) fn compat(&self, node: &FdtNode<'_>, property: &str) -> Result<String, Damage> {
        let value = self.value(node, property)?;
        let text = value.strip_suffix(b"\0").map(str::from_utf8);
        if let Some(Ok(text)) = text
            && text.contains('\0')
        {
            let list = text.replace('\0', Compat::BETWEEN_STRINGS);
            if Compat::parse_as(&list, Grammar::Lenient).is_ok() {
                return Ok(list);
            }
        }
        let one = self.string(node, property)?;
        // Shown, it would be several.
        if one.contains(Compat::BETWEEN_STRINGS) {
            let what = format!("property `{property}` of node `{}`", node.name());
            let damage = self.damage(Defect::BadText, what).found(escape(&value));
            return Err(damage.expected("a compat string"));
        }
        Ok(one)
    }
}

fn duplicate(sorted: &[String]) -> Option<&String> {
    sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .find(|(a, b)| a == b)
        .map(|(a, _)| a)
}

fn escape(bytes: &[u8]) -> String {
    let shown = bytes.get(..64).unwrap_or(bytes);
    format!("\"{}\"", shown.escape_ascii())
}

/// Checks header and structure, and returns the bytes of the tree alone.
fn check(bytes: &[u8], at: PhysAddr) -> Result<&[u8], Damage> {
    let field = |offset: u64| PhysAddr::new(at.get().wrapping_add(offset));
    let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
        return Err(Damage::new(Defect::BadSize, "device tree", at)
            .found(format!("{} bytes", bytes.len()))
            .expected("at least a header"));
    };
    if header.magic.get() != MAGIC {
        return Err(Damage::new(Defect::BadMagic, "device tree", at)
            .found(format!("{:#010x}", header.magic.get()))
            .expected(format!("{MAGIC:#010x}")));
    }
    let total = header.totalsize.get() as usize;
    let Some(tree) = bytes
        .get(..total)
        .filter(|tree| tree.len() >= size_of::<Header>())
    else {
        return Err(Damage::new(Defect::BadSize, "totalsize", field(4))
            .found(total)
            .expected(format!("{} to {}", size_of::<Header>(), bytes.len())));
    };
    if header.version.get() < VERSION || header.last_comp_version.get() > VERSION {
        return Err(
            Damage::new(Defect::BadValue, "device tree version", field(20))
                .found(format!(
                    "version {}, readable from {} on",
                    header.version.get(),
                    header.last_comp_version.get()
                ))
                .expected(VERSION),
        );
    }
    let block = |what, offset: &U32, size: &U32, at| {
        let (start, len) = (offset.get() as usize, size.get() as usize);
        tree.get(start..)
            .and_then(|rest| rest.get(..len))
            .ok_or_else(|| {
                Damage::new(Defect::BadOffset, what, at)
                    .found(format!("{len} bytes at offset {start}"))
                    .expected(format!("a block inside the tree's {total} bytes"))
            })
    };
    let strings = block(
        "strings block",
        &header.off_dt_strings,
        &header.size_dt_strings,
        field(12),
    )?;
    let structure = block(
        "structure block",
        &header.off_dt_struct,
        &header.size_dt_struct,
        field(8),
    )?;
    if !header.off_dt_struct.get().is_multiple_of(4) {
        return Err(Damage::new(Defect::Unaligned, "structure block", field(8))
            .found(format!("offset {}", header.off_dt_struct.get()))
            .expected("a multiple of 4"));
    }
    // Entries of 16 bytes, the last of them zero.
    let reserved = header.off_mem_rsvmap.get() as usize;
    let entries = tree.get(reserved..).unwrap_or_default().chunks_exact(16);
    let ends = entries
        .clone()
        .any(|entry| entry.iter().all(|byte| *byte == 0));
    if reserved < size_of::<Header>() || !reserved.is_multiple_of(8) || !ends {
        return Err(
            Damage::new(Defect::BadOffset, "memory reservation map", field(16))
                .found(format!("offset {reserved}"))
                .expected(format!("a map that ends inside the tree's {total} bytes")),
        );
    }
    let from = u64::from(header.off_dt_struct.get());
    structure_block(structure, strings, field(from))?;
    Ok(tree)
}

/// A name is text that can be shown.
fn check_name(name: &[u8], what: &'static str, at: PhysAddr) -> Result<(), Damage> {
    match str::from_utf8(name) {
        Ok(text) if is_printable(text) => Ok(()),
        _ => Err(Damage::new(Defect::BadText, what, at)
            .found(escape(name))
            .expected("text")),
    }
}

/// Walks the structure block once: every token inside it, every name terminated, every node
/// closed, nothing but FDT_END at the end.
fn structure_block(block: &[u8], strings: &[u8], at: PhysAddr) -> Result<(), Damage> {
    let place = |offset: usize| PhysAddr::new(at.get().wrapping_add(offset as u64));
    let word = |offset: usize, what: &'static str| {
        block
            .get(offset..)
            .and_then(|rest| U32::read_from_prefix(rest).ok())
            .map(|(word, _)| word.get())
            .ok_or_else(|| {
                Damage::new(Defect::BadSize, "structure block", place(offset))
                    .found(format!("its end after {} bytes", block.len()))
                    .expected(what)
            })
    };
    let mut offset = 0usize;
    let mut depth = 0usize;
    let mut nodes = 0usize;
    // A node's properties come before its children: the accessors rely on it.
    let mut may_have_property = false;
    loop {
        let token_at = offset;
        let token = word(offset, "a token")?;
        offset += 4;
        match token {
            BEGIN_NODE => {
                let rest = block.get(offset..).unwrap_or_default();
                let Some(len) = rest.iter().position(|byte| *byte == 0) else {
                    return Err(Damage::new(
                        Defect::Unterminated,
                        "node name",
                        place(offset),
                    ));
                };
                if (len == 0) != (nodes == 0) {
                    let defect = if len == 0 {
                        Defect::Empty
                    } else {
                        Defect::BadText
                    };
                    let name = rest.get(..len).unwrap_or_default();
                    return Err(Damage::new(defect, "node name", place(offset))
                        .found(escape(name))
                        .expected(if len == 0 {
                            "a name"
                        } else {
                            "an unnamed root node"
                        }));
                }
                check_name(
                    rest.get(..len).unwrap_or_default(),
                    "node name",
                    place(offset),
                )?;
                nodes += 1;
                depth += 1;
                may_have_property = true;
                if depth > MAX_DEPTH {
                    return Err(
                        Damage::new(Defect::TooMany, "nesting of nodes", place(token_at))
                            .found(format!("more than {MAX_DEPTH} levels"))
                            .expected("2 levels"),
                    );
                }
                offset += (len + 1).next_multiple_of(4);
            }
            END_NODE if depth > 0 => {
                depth -= 1;
                may_have_property = false;
            }
            PROP if may_have_property => {
                let len = word(offset, "a property's length")? as usize;
                let name = word(offset + 4, "a property's name")? as usize;
                let terminated = strings
                    .get(name..)
                    .and_then(|rest| rest.iter().position(|b| *b == 0));
                match terminated {
                    None => {
                        return Err(Damage::new(
                            Defect::BadOffset,
                            "property name",
                            place(offset + 4),
                        )
                        .found(format!("offset {name}"))
                        .expected(format!(
                            "a string in the {} bytes of strings",
                            strings.len()
                        )));
                    }
                    Some(len) if len > 0 => {
                        let text = strings.get(name..name + len).unwrap_or_default();
                        check_name(text, "property name", place(offset + 4))?;
                    }
                    Some(_) => {
                        return Err(Damage::new(
                            Defect::Empty,
                            "property name",
                            place(offset + 4),
                        ));
                    }
                }
                offset += 8;
                if block.get(offset..).is_none_or(|rest| rest.len() < len) {
                    return Err(
                        Damage::new(Defect::BadSize, "property length", place(offset - 8))
                            .found(format!("{len} bytes"))
                            .expected(format!("at most {}", block.len().saturating_sub(offset))),
                    );
                }
                offset += len.next_multiple_of(4);
            }
            NOP => {}
            _ => {
                return Err(
                    Damage::new(Defect::Malformed, "device tree token", place(token_at))
                        .found(format!("token {token:#x} at depth {depth}"))
                        .expected("a token that may stand there"),
                );
            }
        }
        if depth == 0 && token == END_NODE {
            // The root is closed: only padding and the end may follow.
            while word(offset, "FDT_END")? == NOP {
                offset += 4;
            }
            let end = word(offset, "FDT_END")?;
            if end != END {
                return Err(
                    Damage::new(Defect::Malformed, "device tree token", place(offset))
                        .found(format!("token {end:#x} after the root node"))
                        .expected("FDT_END"),
                );
            }
            return Ok(());
        }
    }
}

/// Begins a node of a tree that is written. Only the root has no name.
pub(crate) fn begin(
    fdt: &mut FdtWriter,
    name: &str,
) -> Result<vm_fdt::FdtWriterNode, vm_fdt::Error> {
    if name.is_empty() {
        return Err(vm_fdt::Error::InvalidNodeName);
    }
    fdt.begin_node(name)
}
