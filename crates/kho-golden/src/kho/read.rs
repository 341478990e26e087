//! What the readers say of a handover for given inputs: what they take, and what they refuse.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_compat::{Registry, Writing};
use kho_core::{Entry, Handover, Kho, KhoConfig, OpenError, OpenOptions, RootFdt, ScratchTable};
use kho_mem::{PhysAddr, PhysRange, SliceMem};

use super::fdt::{Fdt, NOP, before, nested};
use super::handed::{PAGE, add, hand_over, kho, with_scratch};
use crate::dump::{Names, arena};
use crate::edits::{Reading, Refusal, addr, behind, bytes, kind, word};
use crate::peers::KHO;

const OUTSIDE: u64 = 0x10_0000_0000;

/// All that a root FDT says, before it is judged.
pub(super) fn read_root(root: &RootFdt, names: &mut Names) -> Reading {
    let tracker = names.name(root.tracker()?.to);
    let mut lines = Vec::from([format!("{}, tracker {tracker}", root.compatible())]);
    for subtree in root.subtrees()? {
        let at = names.name(subtree.addr);
        lines.push(format!("{}: {} bytes at {at}", subtree.name, subtree.size));
    }
    Ok(lines.join("\n"))
}

/// The root FDT, byte by byte.
pub(crate) fn root() -> Result<Text, Failure> {
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
    Ok(handed.dump.finish().into())
}

/// What is listed of components.
pub(crate) fn listed() -> Result<Text, Failure> {
    let mut text = String::new();
    for (dialect, node) in [(Writing::TABLE, "compat"), (Writing::FEATURES, "features")] {
        let kho = kho(KhoConfig::new().writing(dialect))?;
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
        if dialect == Writing::TABLE {
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
    Ok(text.into())
}

fn opened(error: OpenError) -> Refusal {
    match error {
        OpenError::Damaged(damage) => damage.into(),
        OpenError::Incompatible(_) => Refusal::new("incompatible"),
        _ => Refusal::new("no registry"),
    }
}

/// The whole handover.
pub(crate) fn handover() -> Result<Text, Failure> {
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
    let registry = Registry::new([*KHO])?;
    handed.dump.readings(&edits, |mem, names| {
        let handover =
            Handover::open(mem, OpenOptions::new(entry).registry(&registry)).map_err(opened)?;
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
    let again = handed.open()?;
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
        let said = Handover::open(mem, OpenOptions::new(entry).registry(&registry)).map_err(opened);
        let said = said.map_or_else(|why| why.to_string(), |_| String::from("opened"));
        let _ = writeln!(text, "entry: {what}: {said}");
    }
    let (handover, _) = again.again(mem)?;
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
    Ok(Text::from(handed.dump.finish() + &text))
}

/// The scratch table.
pub(crate) fn scratch() -> Result<Text, Failure> {
    let mut handed = hand_over(with_scratch()?)?;
    let (at, size) = handed.entry.scratch.ok_or("no table")?;
    let first = |what: &str, addr: u64, size: u64| word(what, at, addr).word(behind(at, 8), size);
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
    let many = SliceMem::new(PhysAddr::new(0x1000), &many);
    let said = ScratchTable::read(&many, PhysAddr::new(0x1000), 1026 * 16);
    let said = said.map_err(Refusal::from).err().ok_or("it was read")?;
    let _ = writeln!(text, "16416 bytes, the first area at 1: {said}");
    Ok(Text::from(handed.dump.finish() + &text))
}

/// What is not taken to be handed over.
pub(crate) fn refused() -> Result<Text, Failure> {
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
    Ok(text.into())
}
