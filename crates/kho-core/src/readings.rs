//! What the readers say of a handover for given inputs: what they take, and what they refuse.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;

use kho_compat::{Component, Dialect, Registry, Vector};
use kho_mem::{PhysAddr, PhysMem, PhysMemExt, PhysRange};
use kho_radix::dump::{Dump, Failure, Names, arena, vector};
use kho_radix::edits::{Edit, Nowhere, Reading, Refusal, addr, behind, bytes, kind, word};

use crate::abi::{COMPONENT, MEMBLOCK_SUBTREE, METADATA_SUBTREE};
use crate::golden::{add, kho, with_scratch};
use crate::{
    Entry, Handover, Kho, KhoConfig, Memblock, Metadata, OpenError, RootFdt, ScratchTable,
};

// The formats' numbers, written once more: a dump must not change with the constants.
const PAGE: usize = 4096;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const OUTSIDE: u64 = 0x10_0000_0000;

// What is needed has a history of its own.
static ROOT: Component = COMPONENT.needs(&[]);

/// A handed handover.
struct Handed {
    dump: Dump,
    entry: Entry,
    tracker: PhysAddr,
    opened: Opened,
}

fn hand_over(kho: Kho) -> Result<Handed, Failure> {
    let (entry, tracker) = (kho.entry(), kho.preserver().root());
    let dump = Dump::new(kho.hand_over().map_err(|_| "still shared")?)?;
    let handover = Handover::open_with(dump.mem(), entry, &Registry::new([&ROOT])?)?;
    Ok(Handed {
        opened: Opened {
            handover: handover.in_memory(&Nowhere),
            root: dump.read(entry.fdt_addr, PAGE)?,
        },
        dump,
        entry,
        tracker,
    })
}

/// A handover that was opened, and its root FDT.
struct Opened {
    handover: Handover<'static>,
    root: Vec<u8>,
}

impl Opened {
    /// The handover in `mem`, not judged, whose root FDT alone may have been edited of what was looked at
    /// to open it; and its reading.
    fn again<'m>(
        &self,
        mem: &'m dyn PhysMem,
    ) -> Result<(Handover<'m>, kho_radix::Reading<'m>), Refusal> {
        let entry = self.handover.entry();
        let handover = if *mem.page(entry.fdt_addr)? == *self.root {
            self.handover.in_memory(mem)
        } else {
            let root = RootFdt::read(mem, entry.fdt_addr)?;
            let preserved = self.handover.preserved().clone();
            Handover::assemble(mem, entry, root, preserved, None)?
        };
        let reading = handover.reading()?;
        Ok((handover, reading))
    }
}

/// A device tree as it was written, in which edits find their places.
struct Fdt {
    at: PhysAddr,
    bytes: Vec<u8>,
}

impl Fdt {
    fn new(dump: &Dump, at: PhysAddr) -> Result<Self, Failure> {
        let bytes = dump.read(at, PAGE)?;
        Ok(Self { at, bytes })
    }

    fn number(&self, at: usize) -> Result<u32, Failure> {
        let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        Ok(u32::from_be_bytes(*bytes.ok_or("behind the page")?))
    }

    fn text(&self, at: usize) -> Result<&[u8], Failure> {
        let rest = self.bytes.get(at..).ok_or("behind the page")?;
        Ok(rest.split(|byte| *byte == 0).next().unwrap_or_default())
    }

    /// Where the token of the node `node` stands, or of its property.
    fn find(&self, node: &str, property: Option<&str>) -> Result<PhysAddr, Failure> {
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
    fn value(&self, node: &str, property: &str) -> Result<PhysAddr, Failure> {
        Ok(behind(self.find(node, Some(property))?, 12))
    }

    /// Where the name of the properties `name` stands, by which all of them are found.
    fn name(&self, name: &str) -> Result<PhysAddr, Failure> {
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
    fn lengths(&self, node: &str, property: &str) -> Result<[Edit; 3], Failure> {
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
fn nested(levels: usize, late: bool) -> Vec<u8> {
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
    structure.extend(words(&[9]));
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
const fn before(addr: PhysAddr, offset: u64) -> PhysAddr {
    PhysAddr::new(addr.get().wrapping_sub(offset))
}

/// All that a root FDT says, before it is judged.
fn read_root(root: &RootFdt, names: &mut Names) -> Reading {
    let tracker = names.name(root.tracker()?.to);
    let mut lines = Vec::from([format!("{}, tracker {tracker}", root.compatible())]);
    for subtree in root.subtrees()? {
        let at = names.name(subtree.addr);
        lines.push(format!("{}: {} bytes at {at}", subtree.name, subtree.size));
    }
    Ok(lines.join("\n"))
}

/// The root FDT, byte by byte.
pub(crate) fn root() -> Vector {
    let name = "what is read of a root FDT with subtrees one, 5 bytes, and two, 8192 bytes";
    vector(name, || {
        let kho = kho(KhoConfig::new())?;
        add(&kho, "one", b"hello", 5)?;
        add(&kho, "two", &[0; 2 * PAGE], 2 * PAGE as u64)?;
        let mut handed = hand_over(kho)?;
        let at = handed.entry.fdt_addr;
        let fdt = Fdt::new(&handed.dump, at)?;
        let number = |what: &str, offset, value: u32| {
            bytes(
                format!("{what}: {value:#x}"),
                behind(at, offset),
                &value.to_be_bytes(),
            )
        };
        let (total, tree, size) = (fdt.number(4)?, fdt.number(8)?, fdt.number(36)?);
        let mut edits = Vec::from([
            number("magic", 0, 0xd00d_feee),
            bytes(
                "magic: of the other byte order",
                at,
                &0xd00d_feed_u32.to_le_bytes(),
            ),
            bytes(
                "totalsize: one less",
                behind(at, 4),
                &(total - 1).to_be_bytes(),
            ),
            number("totalsize", 4, 39),
            number("totalsize", 4, 4096),
            number("totalsize", 4, 4097),
            bytes(
                "off_dt_struct: 1 more",
                behind(at, 8),
                &(tree + 1).to_be_bytes(),
            ),
            bytes(
                "off_dt_struct: 4 more",
                behind(at, 8),
                &(tree + 4).to_be_bytes(),
            ),
            number("off_dt_struct", 8, 4096),
            number("off_dt_strings", 12, 4096),
            number("off_mem_rsvmap", 16, 0),
            number("off_mem_rsvmap", 16, 44),
            number("off_mem_rsvmap", 16, 4096),
            number("version", 20, 16),
            number("version", 20, 18),
            number("last_comp_version", 24, 17),
            number("last_comp_version", 24, 18),
            number("boot_cpuid_phys", 28, 7),
            number("size_dt_strings", 32, 0),
            number("size_dt_struct", 36, 4096),
            bytes(
                "size_dt_struct: without its end",
                behind(at, 36),
                &(size - 4).to_be_bytes(),
            ),
        ]);
        let string = fdt.value("", "compatible")?;
        let compatible =
            |text: &[u8; 8]| bytes(format!("compatible: {}", text.escape_ascii()), string, text);
        let len = |what: &str, len: u32| {
            let title = format!("compatible: {what}");
            bytes(title, before(string, 8), &len.to_be_bytes())
        };
        edits.extend([
            compatible(b"kho-v5\0\0"),
            compatible(b"kho-v4\xff\0"),
            compatible(b"kho\0v4\0\0"),
            compatible(b"kho-v4 \0"),
            compatible(b"\0\0\0\0\0\0\0\0"),
            len("6 bytes", 6),
            len("8 bytes", 8),
            len("1 byte", 1).bytes(behind(string, 4), &NOP.to_be_bytes()),
        ]);
        edits.extend(fdt.lengths("", "compatible")?.into_iter().skip(2));
        edits.extend(fdt.lengths("", "preserved-memory-map")?);
        edits.extend(fdt.lengths("one", "preserved-data")?);
        edits.extend(fdt.lengths("two", "blob-size")?);
        let tracker = fdt.value("", "preserved-memory-map")?;
        let size = fdt.value("one", "blob-size")?;
        let (one, two) = (fdt.find("one", None)?, fdt.find("two", None)?);
        edits.extend([
            bytes(
                "preserved-memory-map: the other byte order",
                tracker,
                &0x1234u64.to_be_bytes(),
            ),
            word("preserved-memory-map: 0", tracker, 0),
            word("blob-size: 0", size, 0),
            word("blob-size: 1", size, 1),
            word("blob-size: 2^64 - 1", size, u64::MAX),
            bytes("a subtree without a name", behind(one, 4), b"\0"),
            bytes("a subtree of another's name", behind(two, 4), b"one"),
            bytes("a subtree whose name is no text", behind(one, 4), b"\xff"),
            bytes(
                "a subtree whose name has a control character",
                behind(one, 4),
                b"\x01",
            ),
            bytes("a subtree named with other signs", behind(one, 4), b"o\"`"),
            bytes("a name for the root", at, &[]).bytes(fdt.find("", None)?, b"\0\0\0\x01r\0\0\0"),
            bytes("no root node", fdt.find("", None)?, &NOP.to_be_bytes()),
            bytes("an unknown token", one, &5u32.to_be_bytes()),
        ]);
        handed.dump.readings(&edits, |mem, names| {
            read_root(&RootFdt::read(mem, at)?, names)
        })?;
        let trees = [
            bytes("nodes 8 deep", at, &nested(8, false)),
            bytes("nodes 9 deep", at, &nested(9, false)),
            bytes("a property behind a node", at, &nested(3, true)),
        ];
        handed.dump.line("its string alone:");
        handed.dump.readings(&trees, |mem, _| {
            Ok(RootFdt::read(mem, at)?.compatible().to_string())
        })?;
        Ok(handed.dump.finish())
    })
}

/// What is listed of components.
pub(crate) fn listed() -> Vector {
    vector("what is read of what a root FDT lists", || {
        let mut text = String::new();
        for (dialect, node) in [(Dialect::Table, "compat"), (Dialect::Features, "features")] {
            let kho = kho(KhoConfig::new().dialect(dialect))?;
            add(&kho, "owned", b"o", 1)?;
            let mut handed = hand_over(kho)?;
            let at = handed.entry.fdt_addr;
            let fdt = Fdt::new(&handed.dump, at)?;
            let value = fdt.value(node, "owner")?;
            let len = |what: &str, len: u32| {
                bytes(
                    format!("owner: {what}"),
                    before(value, 8),
                    &len.to_be_bytes(),
                )
            };
            let name = |what: &str, text: &[u8]| {
                Ok::<_, Failure>(bytes(
                    format!("owner: named {what}"),
                    fdt.name("owner")?,
                    text,
                ))
            };
            let mut edits = Vec::new();
            if dialect == Dialect::Table {
                edits.extend([
                    name("Owner", b"Owner")?,
                    name("own-v", b"own-v")?,
                    name("0wner", b"0wner")?,
                    name("kho", b"kho\0")?,
                    bytes(
                        "the node under another name",
                        behind(fdt.find(node, None)?, 4),
                        b"d",
                    ),
                    bytes(
                        "a subtree under another name",
                        behind(fdt.find("owned", None)?, 4),
                        b"a",
                    ),
                    len("4 bytes", 4).bytes(behind(value, 4), &NOP.to_be_bytes()),
                    bytes("owner: version 0", value, &[0; 4]),
                    bytes("owner: version 2^32 - 1", value, &[0xff; 4]),
                    bytes("owner: flags 0", behind(value, 4), &[0]),
                    bytes("owner: flags 2", behind(value, 4), &[2]),
                    bytes("owner: flags 3", behind(value, 4), &[3]),
                    bytes("owner: flags 2^31", behind(value, 7), &[0x80]),
                ]);
            } else {
                edits.extend([
                    len("20 bytes", 20).bytes(behind(value, 20), &NOP.to_be_bytes()),
                    word("owner: supported 0", value, 0),
                    word("owner: required 2^64 - 1", behind(value, 8), u64::MAX),
                    word("owner: active 0", behind(value, 16), 0),
                ]);
            }
            handed.dump.line(format!("{dialect}:"));
            handed.dump.readings(&edits, |mem, _| {
                let listed = RootFdt::read(mem, at)?.listed()?;
                let lines = listed
                    .iter()
                    .map(|listed| format!("{}: {}", listed.name, listed.said));
                Ok(lines.collect::<Vec<_>>().join("\n"))
            })?;
            text.push_str(&handed.dump.finish());
        }
        Ok(text)
    })
}

fn opened(error: OpenError) -> Refusal {
    match error {
        OpenError::Damaged(damage) => damage.into(),
        OpenError::Incompatible(_) => Refusal::new("incompatible"),
        OpenError::Registry(_) => Refusal::new("no registry"),
    }
}

/// The whole handover.
pub(crate) fn handover() -> Vector {
    let name = "what is opened of a handover with subtrees one and two, and a scratch table";
    vector(name, || {
        let areas = [(0xcc0_0000, 40 << 20), (0x540_0000, 120 << 20)];
        let areas = areas.map(|(addr, size)| PhysRange::new(PhysAddr::new(addr), size));
        let kho = kho(KhoConfig::new().scratch(areas.into_iter().flatten()))?;
        add(&kho, "one", b"hello", 5)?;
        add(&kho, "two", &[0; 2 * PAGE], 2 * PAGE as u64)?;
        let mut handed = hand_over(kho)?;
        let (entry, root) = (handed.entry, handed.entry.fdt_addr);
        let (table, _) = entry.scratch.ok_or("no table")?;
        let fdt = Fdt::new(&handed.dump, root)?;
        let string = fdt.value("", "compatible")?;
        let tracker = fdt.value("", "preserved-memory-map")?;
        let (one, two) = (
            fdt.value("one", "preserved-data")?,
            fdt.value("two", "preserved-data")?,
        );
        let size = fdt.value("two", "blob-size")?;
        let blob = PhysAddr::new(handed.dump.word(one)?);
        let compatible =
            |text: &[u8; 6]| bytes(format!("compatible: {}", text.escape_ascii()), string, text);
        let over = |what: &str, at: PhysAddr| {
            let area = at.get() & !0x3f_ffff;
            word(format!("an area over {what}"), table, area).word(behind(table, 8), 4 << 20)
        };
        let edits = [
            compatible(b"kho-v3"),
            compatible(b"kho-v5"),
            compatible(b"khi-v4"),
            compatible(b"kho-v\0"),
            compatible(b"kho_v4"),
            word("preserved-memory-map: 0", tracker, 0),
            addr(
                "preserved-memory-map: unaligned",
                tracker,
                behind(handed.tracker, 8),
            ),
            word("preserved-memory-map: outside memory", tracker, OUTSIDE),
            over("preserved memory", root),
        ];
        let registry = Registry::new([&ROOT])?;
        handed.dump.readings(&edits, |mem, names| {
            let handover = Handover::open_with(mem, entry, &registry).map_err(opened)?;
            let areas = handover.scratch().map_or(0, |table| table.areas().len());
            let root = read_root(handover.root(), names)?;
            Ok(format!("{root}\n{areas} scratch areas"))
        })?;
        let edits = [
            word("preserved-data of one: 0", one, 0),
            addr("preserved-data of one: unaligned", one, behind(blob, 8)),
            word("preserved-data of one: outside memory", one, OUTSIDE),
            addr("preserved-data of one: the root FDT", one, root),
            addr(
                "preserved-data of one: a node of the tracker",
                one,
                handed.tracker,
            ),
            addr("preserved-data of two: the blob of one", two, blob),
            word("blob-size of two: 4097", size, 4097),
            word("blob-size of two: 2^64 - 1", size, u64::MAX),
        ];
        let again = &handed.opened;
        handed.dump.readings(&edits, |mem, names| {
            let (handover, reading) = again.again(mem)?;
            let mut lines = Vec::from([format!("{} ranges claimed", reading.claims().count())]);
            for subtree in handover.subtrees() {
                let at = names.name(subtree.addr);
                lines.push(format!("{}: {} bytes at {at}", subtree.name, subtree.size));
            }
            Ok(lines.join("\n"))
        })?;
        let mem = handed.dump.mem();
        let mut text = String::new();
        let at = |fdt_addr, fdt_size| Entry {
            fdt_addr,
            fdt_size,
            ..entry
        };
        for (what, entry) in [
            ("FDT at 0", at(PhysAddr::NULL, 4096)),
            ("FDT unaligned", at(behind(root, 8), 4096)),
            ("FDT of 4095 bytes", at(root, 4095)),
            ("FDT of 8192 bytes", at(root, 8192)),
            ("no scratch table", Entry::new(root)),
            (
                "a scratch table of 8 bytes",
                Entry::new(root).with_scratch(table, 8),
            ),
        ] {
            let said = Handover::open_with(mem, entry, &registry).map_err(opened);
            let said = said.map_or_else(|why| why.to_string(), |_| String::from("opened"));
            let _ = writeln!(text, "entry: {what}: {said}");
        }
        let handover = &handed.opened.handover;
        for (need, compatible) in [
            ("block", "luo-v5;block-v3"),
            ("luo", "luo-v5;block-v3"),
            ("radix", "luo-v5"),
            ("luo", "luo_v5"),
        ] {
            let version = handover.announced().in_string(compatible).version_of(need);
            let version = version.map_or("none".to_string(), |version| version.to_string());
            let _ = writeln!(text, "version of {need} by {compatible}: {version}");
        }
        Ok(handed.dump.finish() + &text)
    })
}

/// The scratch table.
pub(crate) fn scratch() -> Vector {
    let name = "what is read of a scratch table: 40 MiB at 0xcc00000, none, 120 MiB at 0x5400000";
    vector(name, || {
        let mut handed = hand_over(with_scratch()?)?;
        let (at, size) = handed.entry.scratch.ok_or("no table")?;
        let first =
            |what: &str, addr: u64, size: u64| word(what, at, addr).word(behind(at, 8), size);
        let edits = [
            first("area 0 at 0", 0, 40 << 20),
            first("area 0 aligned to 2 MiB", 0xce0_0000, 40 << 20),
            first("area 0 of 41 MiB", 0xcc0_0000, 41 << 20),
            first("area 0 ends at 2^52", (1 << 52) - (4 << 20), 4 << 20),
            first("area 0 ends behind 2^52", (1 << 52) - (4 << 20), 8 << 20),
            first("area 0 ends behind 2^64", 0xffff_ffff_ffc0_0000, 8 << 20),
            first("area 0 up to area 2", 0x500_0000, 4 << 20),
            first("area 0 into area 2", 0x500_0000, 8 << 20),
            first("area 0 is area 2", 0x540_0000, 120 << 20),
            first("area 0 of 0 bytes", 0, 0),
            first("areas of 0 bytes only", 0, 0).word(behind(at, 40), 0),
        ];
        handed.dump.readings(&edits, |mem, _| {
            let table = ScratchTable::read(mem, at, size)?;
            let areas: Vec<_> = table.areas().iter().map(ToString::to_string).collect();
            Ok(areas.join(", "))
        })?;
        let mem = handed.dump.mem();
        let mut text = String::new();
        for size in [0, 8, 16, 47, 1026 * 16 + 16] {
            let said = ScratchTable::read(mem, at, size).map_err(Refusal::from);
            let said = said.map_or_else(
                |why| why.to_string(),
                |table| format!("{} areas", table.areas().len()),
            );
            let _ = writeln!(text, "{size} bytes: {said}");
        }
        // As many as can be, the first of which is refused.
        let many: Vec<_> = [1].into_iter().chain([0; 1026 * 16]).collect();
        let many = kho_mem::SliceMem::new(PhysAddr::new(0x1000), &many);
        let said = ScratchTable::read(&many, PhysAddr::new(0x1000), 1026 * 16);
        let said = said.map_err(Refusal::from).err().ok_or("it was read")?;
        let _ = writeln!(text, "16416 bytes, the first area at 1: {said}");
        Ok(handed.dump.finish() + &text)
    })
}

/// The kexec metadata.
pub(crate) fn metadata() -> Vector {
    let name = "what is read of metadata: release 7.3.4, 258 kexecs";
    vector(name, || {
        let mut handed = hand_over(kho(KhoConfig::new().metadata("7.3.4", 258))?)?;
        let fdt = Fdt::new(&handed.dump, handed.entry.fdt_addr)?;
        let at = PhysAddr::new(
            handed
                .dump
                .word(fdt.value(METADATA_SUBTREE, "preserved-data")?)?,
        );
        let size = fdt.value(METADATA_SUBTREE, "blob-size")?;
        let version = |value: u32| bytes(format!("version: {value}"), at, &value.to_le_bytes());
        let release =
            |what: &str, text: &[u8]| bytes(format!("release: {what}"), behind(at, 4), text);
        let mut edits = Vec::from([0, 2, 0x0100_0000].map(version));
        edits.extend([3, 4, 72, 74].map(|bytes| word(format!("blob-size: {bytes}"), size, bytes)));
        edits.extend([
            version(2).word(size, 4),
            release("empty", b"\0"),
            release("64 bytes", &[b'x'; 64]),
            release("65 bytes", &[b'x'; 65]),
            release("no text", b"7.3\xff4"),
            release("a control character", b"7.3\n4"),
            release("a space", b"7.3 4"),
            bytes("count: 0", behind(at, 69), &[0; 4]),
            bytes("count: 2^32 - 1", behind(at, 69), &[0xff; 4]),
            bytes(
                "subtree: Kexec-metadata",
                behind(fdt.find(METADATA_SUBTREE, None)?, 4),
                b"K",
            ),
        ]);
        let opened = &handed.opened;
        handed.dump.readings(&edits, |mem, _| {
            let (handover, _) = opened.again(mem)?;
            Ok(match Metadata::read(&handover)? {
                Some(Metadata::V1 {
                    previous_release,
                    kexec_count,
                }) => {
                    format!("release {previous_release}, {kexec_count} kexecs")
                }
                Some(Metadata::Other { version }) => format!("version {version} alone"),
                None => "none".to_string(),
            })
        })?;
        Ok(handed.dump.finish())
    })
}

/// A handover with the regions `trace` of 3 pages and `oops1` of a page, where the FDT of them lies, and where
/// the first and the second begin.
struct Regions {
    handed: Handed,
    fdt: Fdt,
    size: PhysAddr,
    starts: [PhysAddr; 2],
}

impl Regions {
    fn new() -> Result<Self, Failure> {
        let kho = kho(KhoConfig::new())?;
        let mut starts = Vec::new();
        for (name, pages) in [("trace", 3), ("oops1", 1)] {
            let pages = kho.arena().alloc_pages_zeroed(pages)?;
            starts.push(pages.addr());
            kho.reserve_mem(name, pages)?;
        }
        let handed = hand_over(kho)?;
        let root = Fdt::new(&handed.dump, handed.entry.fdt_addr)?;
        let at = handed
            .dump
            .word(root.value(MEMBLOCK_SUBTREE, "preserved-data")?)?;
        Ok(Self {
            fdt: Fdt::new(&handed.dump, PhysAddr::new(at))?,
            size: root.value(MEMBLOCK_SUBTREE, "blob-size")?,
            starts: <[_; 2]>::try_from(starts).map_err(|_| "not two regions")?,
            handed,
        })
    }

    fn readings(mut self, edits: &[Edit]) -> Result<String, Failure> {
        let opened = &self.handed.opened;
        self.handed.dump.readings(edits, |mem, names| {
            let (handover, mut reading) = opened.again(mem)?;
            let before = reading.claims().count();
            let memblock = Memblock::read(&handover, &mut reading);
            if memblock.is_err() && reading.claims().count() != before {
                return Err(Refusal::new("and stays claimed"));
            }
            let Some(memblock) = memblock? else {
                return Ok("none".to_string());
            };
            let mut lines = Vec::from([memblock.compatible().to_string()]);
            for region in memblock.regions() {
                let (name, compatible) = (&region.name, &region.compatible);
                let range = region.range.map_or("not read".to_string(), |range| {
                    let at = names.name(range.start());
                    format!(
                        "{} bytes at {at}, {} preserved",
                        range.len(),
                        region.preserved
                    )
                });
                lines.push(format!("{name}, {compatible}: {range}"));
            }
            let claimed = reading.claims().count() - before;
            let claimed = if claimed > 0 {
                "claimed"
            } else {
                "nothing claimed"
            };
            lines.push(claimed.to_string());
            Ok(lines.join("\n"))
        })?;
        Ok(self.handed.dump.finish())
    }
}

/// The FDT of the regions.
pub(crate) fn memblock() -> Vector {
    let name = "what is read of regions trace, 3 pages, and oops1, a page";
    vector(name, || {
        let regions = Regions::new()?;
        let fdt = &regions.fdt;
        let string = fdt.value("", "compatible")?;
        let compatible =
            |text: &[u8; 11]| bytes(format!("compatible: {}", text.escape_ascii()), string, text);
        let (trace, oops) = (fdt.find("trace", None)?, fdt.find("oops1", None)?);
        let mut tree = fdt.bytes.clone();
        if let Some(version) = tree.windows(11).position(|text| text == b"memblock-v1") {
            tree.get_mut(version + 10)
                .into_iter()
                .for_each(|digit| *digit = b'2');
        }
        let edits = [
            compatible(b"memblock-v2"),
            compatible(b"memblock-v0"),
            compatible(b"memblocj-v1"),
            compatible(b"memblock_v1"),
            bytes("compatible: not terminated", behind(string, 11), b"1"),
            bytes(
                "compatible: under another name",
                behind(fdt.name("compatible")?, 9),
                b"f",
            ),
            bytes("magic: one off", behind(fdt.at, 3), b"\xee"),
            bytes("trace: named oops1", behind(trace, 4), b"oops1"),
            bytes("trace: named with other signs", behind(trace, 4), b"t@/ e"),
            bytes("trace: without a name", behind(trace, 4), b"\0"),
            bytes(
                "oops1: named with a control character",
                behind(oops, 4),
                b"\x7f",
            ),
            word("blob-size: 100", regions.size, 100),
        ];
        let mut text = regions.readings(&edits)?;

        // Of a version whose regions are not looked at, and as large as can be.
        let kho = kho(KhoConfig::new())?;
        let mut blob = kho.preserver().alloc_preserve(1 << 17)?;
        if let Some(head) = blob.get_mut(..tree.len()) {
            head.copy_from_slice(&tree);
        }
        kho.add_subtree(MEMBLOCK_SUBTREE, blob, 65536)?;
        let mut handed = hand_over(kho)?;
        let fdt = Fdt::new(&handed.dump, handed.entry.fdt_addr)?;
        let size = fdt.value(MEMBLOCK_SUBTREE, "blob-size")?;
        let (opened, edit) = (&handed.opened, word("blob-size: 65537", size, 65537));
        handed.dump.readings(&[edit], |mem, _| {
            let (handover, mut reading) = opened.again(mem)?;
            let memblock = Memblock::read(&handover, &mut reading)?;
            Ok(memblock.map_or("none".to_string(), |memblock| {
                memblock.compatible().to_string()
            }))
        })?;
        text.push_str(&handed.dump.finish());
        Ok(text)
    })
}

/// A region.
pub(crate) fn region() -> Vector {
    let name = "what is read of a region of 3 pages, `trace`, beside another";
    vector(name, || {
        let regions = Regions::new()?;
        let fdt = &regions.fdt;
        let [trace, oops] = regions.starts;
        let (start, size) = (fdt.value("trace", "start")?, fdt.value("trace", "size")?);
        let string = fdt.value("trace", "compatible")?;
        let compatible =
            |text: &[u8; 14]| bytes(format!("compatible: {}", text.escape_ascii()), string, text);
        let of = |bytes: u64| word(format!("size: {bytes}"), size, bytes);
        let mut edits = Vec::from([
            compatible(b"reserve-mem-v2"),
            compatible(b"reserve-mem_v1"),
            word("start: 0", start, 0),
            addr("start: 8 bytes further", start, behind(trace, 8)),
            addr(
                "start: 8 bytes further, size: 8192",
                start,
                behind(trace, 8),
            )
            .word(size, 8192),
            word("start: outside memory", start, OUTSIDE),
            addr(
                "start: a page of the tracker",
                start,
                regions.handed.tracker,
            )
            .word(size, 4096),
            addr("start: that of the other, size: 4096", start, oops).word(size, 4096),
            addr("start: the FDT of the regions, size: 4096", start, fdt.at).word(size, 4096),
            addr("start: that of the other, size: 1", start, oops).word(size, 1),
        ]);
        edits.extend([0, 1, 4095, 8193, 12287, u64::MAX].map(of));
        edits.extend(fdt.lengths("trace", "start")?);
        edits.extend(fdt.lengths("trace", "size")?);
        regions.readings(&edits)
    })
}

/// What is not taken to be handed over.
pub(crate) fn refused() -> Vector {
    let name = "subtrees, regions, releases and scratch areas that are not taken";
    vector(name, || {
        let kho_of = |config: KhoConfig| kho(config);
        let kho = kho(KhoConfig::new())?;
        let other = kho_of(KhoConfig::new())?;
        let mut text = String::new();
        let mut say = |what: &str, said: Result<(), String>| {
            let said = said.map_or_else(|error| error, |()| "taken".to_string());
            let _ = writeln!(text, "{what}: {said}");
        };
        for (what, name, size) in [
            ("a subtree of no byte", "none", 0),
            ("a subtree of a page", "page", 4096),
            ("a subtree of more", "more", 4097),
            ("a subtree twice", "page", 1),
            ("a subtree without a name", "", 1),
            ("a subtree of the name compat", "compat", 1),
            ("a subtree of the name features", "features", 1),
            ("a subtree with a slash", "a/b", 1),
            ("a subtree with a NUL", "a\0b", 1),
            ("a subtree with a space", "a b", 1),
        ] {
            let blob = kho.preserver().alloc_preserve(PAGE)?;
            let added = kho.add_subtree(name, blob, size);
            say(what, added.map_err(|failed| kind(&failed.error)));
        }
        let foreign = other.preserver().alloc_preserve(1)?;
        let added = kho.add_subtree("foreign", foreign, 1);
        say(
            "a subtree of another handover",
            added.map_err(|failed| kind(&failed.error)),
        );
        for (what, name) in [
            ("a region", "trace"),
            ("a region twice", "trace"),
            ("a region without a name", ""),
            ("a region with a space", "a b"),
            ("a region with a NUL", "a\0b"),
        ] {
            let pages = kho.arena().alloc_pages_zeroed(1)?;
            let added = kho.reserve_mem(name, pages);
            say(what, added.map_err(|failed| kind(&failed.error)));
        }
        let made = |config: KhoConfig| {
            let config = config.side(other.side().clone());
            Ok::<_, Failure>(
                Kho::new(arena()?, &config)
                    .map(drop)
                    .map_err(|error| kind(&error)),
            )
        };
        say(
            "a release without a byte",
            made(KhoConfig::new().metadata("", 1))?,
        );
        say(
            "a release with a line's end",
            made(KhoConfig::new().metadata("7.3\n", 1))?,
        );
        for (what, at, size) in [
            ("a scratch area at 2 MiB", 2 << 20, 4 << 20),
            ("a scratch area of 2 MiB", 4 << 20, 2 << 20),
            (
                "a scratch area that ends at 2^52",
                (1 << 52) - (4 << 20),
                4 << 20,
            ),
            ("a scratch area behind 2^52", 1 << 52, 4 << 20),
        ] {
            let area = PhysRange::new(PhysAddr::new(at), size).ok_or("no range")?;
            say(what, made(KhoConfig::new().scratch([area]))?);
        }
        Ok(text)
    })
}
