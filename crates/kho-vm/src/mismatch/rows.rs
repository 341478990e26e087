//! What is altered.

use kho_core::metadata::v1::KexecMetadata;
use kho_luo::v5::{COMPAT_LEN, FileSetSer, LuoSer, LuoSerTail, SessionSer};
use kho_memfd::v2::MemfdSer;

use super::alter::{Memory, page};
use super::reaction::Reaction;
use crate::failure::Failure;
use crate::pack::{self, Flb};
use crate::reading::{FileRead, Reading, SessionRead};

/// A row of the table.
pub(crate) struct Row {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What is altered, in words.
    pub(crate) altered: &'static str,
    /// What handover is altered.
    pub(crate) from: From,
    pub(crate) alter: fn(&mut Memory, &Reading) -> Result<(), Failure>,
    /// What Linux 7.3.4 does.
    pub(crate) expected: Reaction,
}

/// The handover that is altered.
pub(crate) enum From {
    /// As a real kernel writes it.
    Plain,
    /// The same without any FLB.
    NoFlbs,
    /// The same with one more FLB.
    MoreFlbs,
    /// In another dialect.
    Dialect(&'static str),
}

impl From {
    /// The FLBs in it.
    pub(crate) fn flbs(&self) -> Vec<Flb> {
        let mut flbs = pack::test_flbs();
        match self {
            Self::NoFlbs => flbs.clear(),
            Self::MoreFlbs => flbs.push(Flb {
                name: "frobnicate-v1".to_owned(),
                data: 1,
            }),
            Self::Plain | Self::Dialect(_) => {}
        }
        flbs
    }

    /// The dialect, where it is another one.
    pub(crate) const fn dialect(&self) -> Option<&'static str> {
        match self {
            Self::Dialect(dialect) => Some(dialect),
            _ => None,
        }
    }
}

/// What is altered, and what Linux 7.3.4 does then.
pub(crate) const ROWS: &[Row] = &[
    row("nothing", "nothing", unaltered, Reaction::Restored),
    row("root", "root FDT `kho-v5`", root, Reaction::Ignored),
    row("luo", "`luo-v6`", luo, Reaction::Panic),
    row(
        "memfd",
        "`memfd-v3` in one file",
        memfd,
        Reaction::OpenFails,
    ),
    row(
        "handler",
        "a file handler that nobody knows, `frobnicate-v1`, in one file",
        handler,
        Reaction::OpenFails,
    ),
    row(
        "metadata",
        "kexec-metadata version 2",
        metadata,
        Reaction::RestoredWithWarning,
    ),
    row(
        "flb-version",
        "FLB `liveupdate-test-flb-v0`, which the kernel expects, as `-v9`",
        flb_version,
        Reaction::RestoredWithWarning,
    ),
    row(
        "flb-name",
        "FLB `liveupdate-test-flb-v0`, which the kernel expects, as `frobnicate-v1`",
        flb_name,
        Reaction::RestoredWithWarning,
    ),
    Row {
        from: From::NoFlbs,
        ..row(
            "no-flbs",
            "none of the three FLBs that the kernel expects",
            unaltered,
            Reaction::RestoredWithWarning,
        )
    },
    Row {
        from: From::MoreFlbs,
        ..row(
            "more-flbs",
            "an FLB that nobody knows, `frobnicate-v1`, beside those that the kernel expects",
            unaltered,
            Reaction::Restored,
        )
    },
    row(
        "memfd-flags",
        "a flag that nobody knows in one memfd",
        memfd_flags,
        Reaction::Restored,
    ),
    row(
        "memfd-seals",
        "a seal that nobody knows in one memfd",
        memfd_seals,
        Reaction::Partly,
    ),
    row(
        "session-count",
        "a session of 0 files whose block has some",
        session_count,
        Reaction::OpenFails,
    ),
    row(
        "file-block-count",
        "a block of 0 files",
        file_block_count,
        Reaction::OpenFails,
    ),
    row(
        "session-block-count",
        "a block of 0 sessions",
        session_block_count,
        Reaction::Panic,
    ),
    row(
        "file-block-cycle",
        "a block of files that comes after itself",
        file_block_cycle,
        Reaction::OpenFails,
    ),
    row(
        "session-block-cycle",
        "a block of sessions that comes after itself",
        session_block_cycle,
        Reaction::Panic,
    ),
    row(
        "luo-composite",
        "LUO alone composite, `luo-v5;block-v1`",
        luo_composite,
        Reaction::Panic,
    ),
    row(
        "memfd-composite",
        "`memfd-v2;vmalloc-v1` in one file",
        memfd_composite,
        Reaction::OpenFails,
    ),
    dialect(
        "composite",
        "all strings composite: `kho-v4;radix-v1;vmalloc-v1`",
        Reaction::Ignored,
    ),
    dialect(
        "table",
        "a table of versions in the root FDT",
        Reaction::Restored,
    ),
    dialect(
        "features",
        "feature masks in the root FDT",
        Reaction::Restored,
    ),
];

const fn row(
    name: &'static str,
    altered: &'static str,
    alter: fn(&mut Memory, &Reading) -> Result<(), Failure>,
    expected: Reaction,
) -> Row {
    Row {
        name,
        altered,
        from: From::Plain,
        alter,
        expected,
    }
}

const fn dialect(name: &'static str, altered: &'static str, expected: Reaction) -> Row {
    Row {
        from: From::Dialect(name),
        ..row(name, altered, unaltered, expected)
    }
}

fn unaltered(_: &mut Memory, _: &Reading) -> Result<(), Failure> {
    Ok(())
}

fn root(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    memory.replace(reading.places.root, "kho-v4", "kho-v5")
}

fn luo(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    memory.replace(there(reading.places.luo)?, "luo-v5", "luo-v6")
}

/// The header with a string of 16 bytes: the rest of it stands further behind.
fn luo_composite(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    const PLAIN: usize = size_of::<LuoSer>() - size_of::<LuoSerTail>();
    const COMPOSITE: usize = 16;
    let at = there(reading.places.luo)?;
    let tail = memory.get(at + PLAIN as u64, size_of::<LuoSerTail>())?;
    memory.put_text(at, COMPOSITE, "luo-v5;block-v1")?;
    memory.put(at + COMPOSITE as u64, &tail)
}

fn memfd_composite(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    memory.put_text(file(reading)?.at, COMPAT_LEN, "memfd-v2;vmalloc-v1")
}

fn memfd(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    memory.put_text(file(reading)?.at, COMPAT_LEN, "memfd-v3")
}

fn handler(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    memory.put_text(file(reading)?.at, COMPAT_LEN, "frobnicate-v1")
}

fn metadata(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    let at = there(reading.places.metadata)?;
    let at = at + std::mem::offset_of!(KexecMetadata, version) as u64;
    memory.put(at, &2u32.to_le_bytes())
}

const FLB: &str = "liveupdate-test-flb-v0";

fn flb_version(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    let at = there(reading.places.flbs.get(FLB).copied())?;
    memory.put_text(at, COMPAT_LEN, "liveupdate-test-flb-v9")
}

fn flb_name(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    let at = there(reading.places.flbs.get(FLB).copied())?;
    memory.put_text(at, COMPAT_LEN, "frobnicate-v1")
}

fn memfd_flags(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    let at = file(reading)?.data + std::mem::offset_of!(MemfdSer, flags) as u64;
    memory.put(at, &1u32.to_le_bytes())
}

fn memfd_seals(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    let at = file(reading)?.data + std::mem::offset_of!(MemfdSer, seals) as u64;
    memory.put(at, &0x40u32.to_le_bytes())
}

fn session_count(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    let count =
        std::mem::offset_of!(SessionSer, file_set_ser) + std::mem::offset_of!(FileSetSer, count);
    memory.put_u64(session(reading)?.at + count as u64, 0)
}

/// Where a block has its count of entries; it begins with the address of the next one.
const BLOCK_COUNT: u64 = 8;

fn file_block_count(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    memory.put_u64(page(file(reading)?.at) + BLOCK_COUNT, 0)
}

fn session_block_count(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    memory.put_u64(page(session(reading)?.at) + BLOCK_COUNT, 0)
}

fn file_block_cycle(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    let block = page(file(reading)?.at);
    memory.put_u64(block, block)
}

fn session_block_cycle(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    let block = page(session(reading)?.at);
    memory.put_u64(block, block)
}

fn session(reading: &Reading) -> Result<&SessionRead, Failure> {
    let with_files = |session: &&SessionRead| !session.files.is_empty();
    there(reading.sessions.iter().find(with_files))
}

fn file(reading: &Reading) -> Result<&FileRead, Failure> {
    there(session(reading)?.files.first())
}

fn there<T>(place: Option<T>) -> Result<T, Failure> {
    place.ok_or_else(|| Failure::Failed("the handover has nothing to alter".to_owned()))
}
