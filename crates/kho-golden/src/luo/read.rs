//! What the reader says of sessions for given inputs: what it takes, and what it refuses.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_compat::{Registry, Writing};
use kho_core::{Handover, OpenOptions};
use kho_luo::v5::SUBTREE;
use kho_luo::{Body, Luo};
use kho_mem::PhysAddr;
use kho_radix::Reading as Context;

use super::peers::registry;
use super::written::{Log, file, hand_over, orchestrator, tail};
use crate::dump::{Dump, Names};
use crate::edits::{Edit, Reading, Refusal, addr, behind, bytes, word};
use crate::kho::fdt::Fdt;
use crate::opened::Opened;
use crate::peers::block_header;

/// A handed LUO: its header, and where things lie.
struct Handed {
    dump: Dump,
    opened: Opened,
    registry: Registry,
    header: PhysAddr,
    sessions: PhysAddr,
    flbs: PhysAddr,
    /// Where the root FDT says how long the header is.
    size: PhysAddr,
}

/// The sessions `zeta` with files 9 and 3, `empty`, and one whose name has 63 bytes, with file 2^64 - 1;
/// an FLB of two files and another.
fn written(dialect: Writing) -> Result<Handed, Failure> {
    let orchestrator = orchestrator(dialect, &Log::default())?;
    let zeta = orchestrator.create_session("zeta")?;
    let empty = orchestrator.create_session("empty")?;
    let long = orchestrator.create_session([b'x'; 63])?;
    zeta.preserve(9, file("beta", "one", 0xb1))?;
    zeta.preserve(3, file("alpha", "two", 0xa3_0000_0000_0000))?;
    long.preserve(u64::MAX, file("alpha", "three", 0xa2))?;
    let entry = orchestrator.kho().entry();
    let (header, _, dump) = hand_over(orchestrator, vec![zeta, empty, long])?;
    let (sessions, flbs) = tail(&header);
    let registry = registry()?;
    let handover = Handover::open(dump.mem(), OpenOptions::new(entry).registry(&registry))?;
    let header = handover.subtree(SUBTREE).ok_or("no subtree")?.addr;
    let opened = Opened::new(&dump, entry, &registry)?;
    let fdt = Fdt::new(&dump, entry.fdt_addr)?;
    Ok(Handed {
        size: fdt.value(SUBTREE, "blob-size")?,
        header,
        opened,
        registry,
        dump,
        sessions,
        flbs,
    })
}

impl Handed {
    fn readings(mut self, edits: &[Edit]) -> Result<String, Failure> {
        let (opened, registry) = (&self.opened, &self.registry);
        self.dump.readings(edits, |mem, names| {
            let (handover, reading) = opened.again(mem)?;
            read(&handover, reading, registry, names)
        })?;
        Ok(self.dump.finish())
    }

    /// Edits that put every sort of address at `at`.
    fn addresses(&self, place: &str, at: PhysAddr) -> [Edit; 5] {
        let to = |what, to| addr(format!("{place}: {what}"), at, to);
        [
            to("0", PhysAddr::NULL),
            to("unaligned", behind(self.sessions, 16)),
            to("outside memory", PhysAddr::new(0x10_0000_0000)),
            to("the header", self.header),
            to("the FLB area", self.flbs),
        ]
    }
}

fn read(
    handover: &Handover<'_>,
    mut reading: Context<'_>,
    registry: &Registry,
    names: &mut Names,
) -> Reading {
    let before = reading.claims().count();
    let luo = Luo::read(handover, &mut reading, registry);
    if luo.is_err() && reading.claims().count() != before {
        return Err(Refusal::new("and stays claimed"));
    }
    let Some(luo) = luo? else {
        return Ok("no LUO".to_owned());
    };
    let Some(body) = luo.body() else {
        return Ok(format!(
            "{}, of which the string alone is read",
            luo.compatible()
        ));
    };
    let mut text = format!("{}, update {}\n", luo.compatible(), body.liveupdate_num());
    let (sessions, files) = (body.sessions().len(), body.files());
    let blocks = body.session_blocks();
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{sessions} sessions in {blocks} blocks, {files} files"
    );
    for session in body.sessions() {
        let files = session.files().iter().map(|file| {
            let (token, of, data) = (file.token, body.compatible_of(file), file.data);
            format!(
                " {token:#x} {of} {:#x}",
                names.name(PhysAddr::new(data)).get()
            )
        });
        let files: Vec<_> = files.collect();
        let name = shortened(&session.name().to_string());
        let _ = writeln!(
            text,
            "{name}, {} blocks:{}",
            session.file_blocks(),
            files.join(",")
        );
    }
    for handler in body.handlers() {
        let (compatible, files, (_, first)) = (&handler.compatible, handler.files, &handler.first);
        let first = shortened(&first.to_string());
        let _ = writeln!(
            text,
            "{}: {files} files, first in {first}",
            shortened(compatible)
        );
    }
    if let Some(pages) = body.flb_pages() {
        let _ = writeln!(text, "{} FLBs in {pages} pages", body.flbs().len());
    }
    // There may be 63.
    for flb in body.flbs().iter().take(3) {
        let (name, data, count) = (shortened(&flb.name), flb.data, flb.count);
        let _ = writeln!(text, "FLB {name}: {data:#x}, {count} files");
    }
    Ok(text)
}

/// A long name by its beginning and its length.
fn shortened(name: &str) -> String {
    match name.get(..16) {
        Some(head) if name.len() > 32 => format!("{head}... of {} bytes", name.len()),
        _ => name.to_owned(),
    }
}

fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field
        .iter_mut()
        .zip(text)
        .for_each(|(to, byte)| *to = *byte);
    field
}

/// The header's string and numbers.
pub(crate) fn header() -> Result<Text, Failure> {
    let handed = written(Writing::PLAIN)?;
    let at = handed.header;
    let string = |text: &[u8]| {
        let title = format!("string: {}", text.escape_ascii());
        bytes(title, at, &padded::<8>(text))
    };
    let strings: [&[u8]; 13] = [
        b"luo-v4",
        b"luo-v6",
        b"luo-v50",
        b"luo-v05",
        b"luo-v0",
        b"luo_v5",
        b"LUO-v5",
        b"beta-v12",
        b"luo-v5;",
        b"luo-v5\0x",
        b"",
        b"luo-v5\x01",
        b"luo-v5\xff",
    ];
    let mut edits: Vec<_> = strings.into_iter().map(string).collect();
    let number = |value| word(format!("liveupdate_num: {value}"), behind(at, 8), value);
    edits.extend([0, 1, u64::MAX].map(number));
    edits.extend(handed.addresses("sessions_pa", behind(at, 16)));
    edits.extend(handed.addresses("flbs_pa", behind(at, 24)));
    edits.push(addr(
        "flbs_pa: the sessions",
        behind(at, 24),
        handed.sessions,
    ));
    Ok(handed.readings(&edits)?.into())
}

/// Headers of other lengths.
pub(crate) fn sizes() -> Result<Text, Failure> {
    let handed = written(Writing::PLAIN)?;
    let of = |bytes: u64| word(format!("{bytes} bytes"), handed.size, bytes);
    // Of another version the string alone is read.
    let other = |size: u64| {
        let edit = bytes(
            format!("{size} bytes of luo-v99"),
            handed.header,
            b"luo-v99\0",
        );
        edit.word(handed.size, size)
    };
    let own = [1, 8, 31, 33, 40, 4096, 4097].map(of);
    let edits = [&own[..], &[8, 31, 32, 4096, 4097].map(other)].concat();
    Ok(handed.readings(&edits)?.into())
}

/// The header of a composite string, which is longer.
pub(crate) fn composite() -> Result<Text, Failure> {
    let handed = written(Writing::COMPOSITE)?;
    let string = |text: &[u8]| {
        let title = format!("string: {}", text.escape_ascii());
        bytes(title, handed.header, &padded::<16>(text))
    };
    let strings: [&[u8]; 6] = [
        b"luo-v5",
        b"luo-v5;block-v2",
        b"luo-v5;block-v0",
        b"luo-v5;other-v1",
        b"luo-v6;block-v1",
        b"luo-v5;block-v01",
    ];
    let edits: Vec<_> = strings.into_iter().map(string).collect();
    Ok(handed.readings(&edits)?.into())
}

/// Sessions and their files.
pub(crate) fn sessions() -> Result<Text, Failure> {
    let handed = written(Writing::PLAIN)?;
    let block = handed.sessions;
    let session = |number: u64| behind(block, block_header() + 80 * number);
    let files = PhysAddr::new(handed.dump.word(behind(session(0), 64))?);
    let first = behind(files, block_header());
    let second = behind(first, 64);
    let name = |title: &str, text: &[u8]| bytes(format!("name: {title}"), session(0), text);
    let mut edits = Vec::from([
        name("empty", &[0; 64]),
        name("63 bytes", &padded::<64>(&[b'n'; 63])),
        name("64 bytes", &[b'n'; 64]),
        name("that of the session after it", &padded::<64>(b"empty")),
        name("no text", &padded::<64>(b"\xff\x01\n")),
        name("and more behind the NUL", &padded::<64>(b"zeta\0more")),
    ]);
    edits.extend(handed.addresses("files", behind(session(0), 64)));
    edits.extend([
        word(
            "files of the next session: the same",
            behind(session(1), 64),
            files.get(),
        )
        .word(behind(session(1), 72), 2),
        word("count: 0", behind(session(0), 72), 0),
        word("count: 1", behind(session(0), 72), 1),
        word("count: 3", behind(session(0), 72), 3),
        word("count of no files: 1", behind(session(1), 72), 1),
        word("no files, count: 0", behind(session(0), 64), 0).word(behind(session(0), 72), 0),
        word("entries of sessions: 2", behind(block, 8), 2),
        word("entries of sessions: 4", behind(block, 8), 4),
        word("entries of sessions: 52", behind(block, 8), 52),
        word("entries of files: 1", behind(files, 8), 1),
        word("entries of files: 64, count 64", behind(files, 8), 64)
            .word(behind(session(0), 72), 64),
        word("token: as another", behind(second, 56), 9),
        word("token: 0", behind(second, 56), 0),
        word("token: of another session", behind(second, 56), u64::MAX),
        word("data: 0", behind(first, 48), 0),
    ]);
    let compatible =
        |title: &str, text: &[u8; 48]| bytes(format!("compatible: {title}"), first, text);
    edits.extend([
        compatible("empty", &[0; 48]),
        compatible("47 bytes", &padded(&[b'c'; 47])),
        compatible("48 bytes", &[b'c'; 48]),
        compatible("no ASCII", &padded(b"beta-v\xc3\xa9")),
        compatible("a control character", &padded(b"beta-v1\n")),
        compatible("a space", &padded(b"beta v1")),
        compatible("of another version", &padded(b"beta-v13")),
        compatible("that of the other file", &padded(b"alpha-v3")),
        compatible("and more behind the NUL", &padded(b"beta-v12\0more")),
    ]);
    Ok(handed.readings(&edits)?.into())
}

/// Objects that files depend on.
pub(crate) fn flbs() -> Result<Text, Failure> {
    let handed = written(Writing::PLAIN)?;
    let area = handed.flbs;
    let entry = |number: u64| behind(area, 16 + 64 * number);
    let name = |title: &str, text: &[u8; 48]| bytes(format!("name: {title}"), entry(0), text);
    let other = handed.dump.read(entry(1), 48)?;
    let files = |count| {
        word(
            format!("count of files: {count}"),
            behind(entry(0), 56),
            count,
        )
    };
    let entries = |count| word(format!("count of entries: {count}"), behind(area, 8), count);
    let mut edits =
        Vec::from([0, 2, 1 << 32 | 1].map(|pages| word(format!("pgcnt: {pages}"), area, pages)));
    edits.extend([0, 1, 3, u64::MAX].map(entries));
    edits.extend([0, 1, 3, 4].map(files));
    edits.extend([
        name("empty", &[0; 48]),
        name("47 bytes", &padded(&[b'f'; 47])),
        name("48 bytes", &[b'f'; 48]),
        name("that of the other", &padded(&other)),
        name("no ASCII", &padded(b"\xff")),
        word("data: 0", behind(entry(0), 48), 0),
    ]);
    // All of them: the rest is named by numbers.
    let mut all = word("63 entries", behind(area, 8), 63);
    for number in 2..63 {
        let name = format!("flb-{number}");
        all = all
            .bytes(entry(number), &padded::<48>(name.as_bytes()))
            .word(behind(entry(number), 56), 1);
    }
    edits.push(all);
    edits.push(entries(64));
    Ok(handed.readings(&edits)?.into())
}

/// What the root FDT lists.
pub(crate) fn listed() -> Result<Text, Failure> {
    let mut text = String::new();
    for dialect in [Writing::TABLE, Writing::FEATURES] {
        let handed = written(dialect)?;
        let _ = writeln!(text, "{dialect}:");
        let (handover, mut reading) = handed.opened.again(handed.dump.mem())?;
        for listed in handover.listed() {
            if listed.name != kho_core::NAME {
                let _ = writeln!(text, "  {}: {}", listed.name, listed.said);
            }
        }
        let luo = Luo::read(&handover, &mut reading, &handed.registry)?;
        let luo = luo.ok_or("no LUO")?;
        let format = luo.body().map(Body::block_version);
        let format = format.and_then(kho_block::Format::of);
        let _ = writeln!(text, "  read: {}, blocks {format:?}", luo.compatible());
    }
    Ok(text.into())
}
