//! What is altered.

use std::mem::offset_of;

use kho_core::metadata::v1::KexecMetadata;
use kho_luo::v5::{COMPAT_LEN, FileSetSer, LuoSer, LuoSerTail, SessionSer};
use kho_memfd::v2::MemfdSer;

use super::alter::{Memory, page};
use super::reaction::Reaction;
use crate::failure::Failure;
use crate::pack::{self, Flb};
use crate::reading::{FileRead, Reading, SessionRead};

type Alter = fn(&mut Memory, &Reading) -> Result<(), Failure>;

/// A row of the table.
pub(crate) struct Row {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What is altered, in words.
    pub(crate) altered: &'static str,
    /// What handover is altered.
    pub(crate) from: From,
    pub(crate) alter: Alter,
    /// What Linux 7.3.4 does.
    pub(crate) expected: Reaction,
}

/// Rows: name, what Linux 7.3.4 does, what is altered, and how; before that the handover that is altered, where
/// it is another one than a real kernel writes.
macro_rules! rows {
    ($($name:literal $expected:ident: $altered:literal $(in ($from:expr))? $($alter:expr)?;)*) => {
        &[$(Row {
            name: $name,
            altered: $altered,
            from: rows!(@ From::Plain $(, $from)?),
            alter: rows!(@ UNALTERED $(, $alter)?),
            expected: Reaction::$expected,
        }),*]
    };
    (@ $usual:expr) => { $usual };
    (@ $usual:expr, $other:expr) => { $other };
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
            Self::MoreFlbs => flbs.push(("frobnicate-v1".to_owned(), 1)),
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
pub(crate) const ROWS: &[Row] = rows! {
    "nothing" Restored: "nothing";
    "root" Ignored: "root FDT `kho-v5`"
        |memory, reading| memory.replace(reading.places.root, "kho-v4", "kho-v5");
    "luo" Panic: "`luo-v6`"
        |memory, reading| memory.replace(there(reading.places.luo)?, "luo-v5", "luo-v6");
    "memfd" OpenFails: "`memfd-v3` in one file"
        |memory, reading| memory.put_text(file(reading)?.at, COMPAT_LEN, "memfd-v3");
    "handler" OpenFails: "a file handler that nobody knows, `frobnicate-v1`, in one file"
        |memory, reading| memory.put_text(file(reading)?.at, COMPAT_LEN, "frobnicate-v1");
    "metadata" RestoredWithWarning: "kexec-metadata version 2"
        |memory, reading| {
            let at = there(reading.places.metadata)?;
            memory.put(at + offset_of!(KexecMetadata, version) as u64, &2u32.to_le_bytes())
        };
    "flb-version" RestoredWithWarning:
        "FLB `liveupdate-test-flb-v0`, which the kernel expects, as `-v9`"
        |memory, reading| memory.put_text(flb(reading)?, COMPAT_LEN, "liveupdate-test-flb-v9");
    "flb-name" RestoredWithWarning:
        "FLB `liveupdate-test-flb-v0`, which the kernel expects, as `frobnicate-v1`"
        |memory, reading| memory.put_text(flb(reading)?, COMPAT_LEN, "frobnicate-v1");
    "no-flbs" RestoredWithWarning: "none of the three FLBs that the kernel expects" in (From::NoFlbs);
    "more-flbs" Restored:
        "an FLB that nobody knows, `frobnicate-v1`, beside those that the kernel expects" in (From::MoreFlbs);
    "memfd-flags" Restored: "a flag that nobody knows in one memfd"
        |memory, reading| {
            let at = file(reading)?.data + offset_of!(MemfdSer, flags) as u64;
            memory.put(at, &1u32.to_le_bytes())
        };
    "memfd-seals" Partly: "a seal that nobody knows in one memfd"
        |memory, reading| {
            let at = file(reading)?.data + offset_of!(MemfdSer, seals) as u64;
            memory.put(at, &0x40u32.to_le_bytes())
        };
    "session-count" OpenFails: "a session of 0 files whose block has some"
        |memory, reading| {
            let count = offset_of!(SessionSer, file_set_ser) + offset_of!(FileSetSer, count);
            memory.put_u64(session(reading)?.at + count as u64, 0)
        };
    "file-block-count" OpenFails: "a block of 0 files"
        |memory, reading| memory.put_u64(page(file(reading)?.at) + BLOCK_COUNT, 0);
    "session-block-count" Panic: "a block of 0 sessions"
        |memory, reading| memory.put_u64(page(session(reading)?.at) + BLOCK_COUNT, 0);
    "file-block-cycle" OpenFails: "a block of files that comes after itself"
        |memory, reading| cycle(memory, file(reading)?.at);
    "session-block-cycle" Panic: "a block of sessions that comes after itself"
        |memory, reading| cycle(memory, session(reading)?.at);
    "luo-composite" Panic: "LUO alone composite, `luo-v5;block-v1`" luo_composite;
    "memfd-composite" OpenFails: "`memfd-v2;vmalloc-v1` in one file"
        |memory, reading| memory.put_text(file(reading)?.at, COMPAT_LEN, "memfd-v2;vmalloc-v1");
    "composite" Ignored: "all strings composite: `kho-v4;radix-v1;vmalloc-v1`"
        in (From::Dialect("composite"));
    "table" Restored: "a table of versions in the root FDT" in (From::Dialect("table"));
    "features" Restored: "feature masks in the root FDT" in (From::Dialect("features"));
};

const UNALTERED: Alter = |_, _| Ok(());
/// Where a block has its count of entries; it begins with the address of the next one.
const BLOCK_COUNT: u64 = 8;

/// The header with a string of 16 bytes: the rest of it stands further behind.
fn luo_composite(memory: &mut Memory, reading: &Reading) -> Result<(), Failure> {
    const PLAIN: usize = size_of::<LuoSer>() - size_of::<LuoSerTail>();
    const COMPOSITE: usize = 16;
    let at = there(reading.places.luo)?;
    let tail = memory.get(at + PLAIN as u64, size_of::<LuoSerTail>())?;
    memory.put_text(at, COMPOSITE, "luo-v5;block-v1")?;
    memory.put(at + COMPOSITE as u64, &tail)
}

/// Has the block of the entry at `at` come after itself.
fn cycle(memory: &mut Memory, at: u64) -> Result<(), Failure> {
    memory.put_u64(page(at), page(at))
}

fn flb(reading: &Reading) -> Result<u64, Failure> {
    there(reading.places.flbs.get("liveupdate-test-flb-v0").copied())
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
