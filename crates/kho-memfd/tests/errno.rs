//! The table of `docs/errno.md` is what the code says, of every variant of every error.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::fs;
use std::path::{Path, PathBuf};

use kho_block::{BlockError, Format};
use kho_compat::{Carrier, Manifest, NotAdmitted, Place, Refused, Registry, RegistryError, policy};
use kho_core::{KhoError, OpenError, TrackerError, refused_errno};
use kho_luo::{
    DuplicateHandler, FileToken, HandlerError, IncomingError, LuoError, SessionName, TakeOverError,
};
use kho_mem::{
    Broken, Damage, Defect, Errno, MemError, MemErrorKind, Order, OutOfMemory, PageRun, PhysAddr,
    PhysRange,
};
use kho_memfd::{FileError, MemfdError, Seals};
use kho_radix::RestoreError;
use kho_vmalloc::PreserveError;

const AT: PhysAddr = PhysAddr::new(0x1000);
const MEMORY: OutOfMemory = OutOfMemory { pages: 1 };

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The variants of `pub enum name` in `file`.
fn variants(file: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("crates").join(file)).unwrap();
    let lines = text.lines();
    let mut body = lines.skip_while(|line| *line != format!("pub enum {name} {{"));
    assert!(body.next().is_some(), "no enum {name} in {file}");
    let body = body.take_while(|line| *line != "}");
    let variants = body.filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        let end = line.find(|c: char| !c.is_ascii_alphanumeric())?;
        line.starts_with(|c: char| c.is_ascii_uppercase())
            .then(|| line[..end].to_owned())
    });
    variants.collect()
}

/// One row: the type, what it says, and the variants that say it.
fn rows(out: &mut String, file: &str, name: &str, found: &[(String, String)]) {
    let (mut all, mut known): (Vec<_>, _) = (
        found.iter().map(|(variant, _)| variant.clone()).collect(),
        variants(file, name),
    );
    all.sort();
    known.sort();
    assert_eq!(all, known, "the variants of {name}");
    let mut by_errno: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (variant, errno) in found {
        let variants = by_errno.entry(errno).or_default();
        variants.push(format!("`{variant}`"));
    }
    for (errno, variants) in by_errno {
        writeln!(out, "| `{name}` | {errno} | {} |", variants.join(", ")).unwrap();
    }
}

/// What a sample says itself, or that it says what its own error does.
fn said<T: Debug>(
    errno: impl Fn(&T) -> Errno,
    own: &[T],
    of: &[(T, Errno)],
) -> Vec<(String, String)> {
    let variant = |error: &T| {
        let text = format!("{error:?}");
        let end = text.find(|c: char| !c.is_ascii_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let own = own
        .iter()
        .map(|error| (variant(error), errno(error).to_string()));
    let of = of.iter().map(|(error, inner)| {
        assert_eq!(errno(error), *inner, "{error:?}");
        (variant(error), "of its error".to_owned())
    });
    own.chain(of).collect()
}

fn refused(carrier: Carrier, found: &str) -> Refused {
    let mut manifest = Manifest::new();
    manifest.add(carrier, found, Place::new(0, "test"));
    let registry = Registry::linked().unwrap();
    registry.admit(&policy::SemverRange, manifest).unwrap_err()
}

fn table() -> String {
    let damage = || Damage::new(Defect::NotPreserved, "page", AT);
    let not_admitted = || NotAdmitted::new("memfd", 3, "memfd-v2");
    let (name, token) = (|| SessionName::new(b"vm").unwrap(), FileToken::from(1));
    let handler = || HandlerError::new("no").with_errno(Errno::EPERM);
    let broken = Broken::new("entries", 1, 2);
    let registry = || RegistryError::Empty;
    let order = Order::ZERO;
    let run = PageRun {
        pfn: PhysAddr::new(0x1000).pfn(),
        pages: 1,
    };
    let text = String::new;
    let memory = Errno::ENOMEM;

    let mut out = String::from("| error | errno | of which |\n|---|---|---|\n");
    let defects = variants("kho-mem/src/damage.rs", "Defect");
    assert_eq!(defects.len(), DEFECTS.len());
    let damages = DEFECTS.map(|defect| {
        let errno = Damage::new(defect, "page", AT).errno();
        (format!("{defect:?}"), errno.to_string())
    });
    rows(&mut out, "kho-mem/src/damage.rs", "Defect", &damages);
    let outside = MemError {
        addr: AT,
        len: 1,
        kind: MemErrorKind::Outside,
    };
    for (name, errno) in [
        ("MemError", outside.errno()),
        ("OutOfMemory", MEMORY.errno()),
        ("Broken", broken.errno()),
    ] {
        writeln!(out, "| `{name}` | {errno} | all |").unwrap();
    }
    let found = said(
        TrackerError::errno,
        &[
            TrackerError::Present { addr: AT, order },
            TrackerError::Absent { addr: AT, order },
            TrackerError::NoKey { run, order },
            TrackerError::Foreign(run),
            TrackerError::NoNode(1),
            TrackerError::Broken("x"),
        ],
        &[(MEMORY.into(), memory)],
    );
    rows(
        &mut out,
        "kho-radix/src/tracker/error.rs",
        "TrackerError",
        &found,
    );
    let found = said(
        RestoreError::errno,
        &[RestoreError::NotAdmitted(not_admitted())],
        &[(damage().into(), Errno::EIO)],
    );
    rows(&mut out, "kho-radix/src/error.rs", "RestoreError", &found);
    let found = said(
        PreserveError::errno,
        &[
            PreserveError::Empty,
            PreserveError::MixedOrders {
                first: order,
                found: order,
            },
            PreserveError::TooLarge { pages: 1 },
            PreserveError::UnknownFlags(4),
        ],
        &[
            (MEMORY.into(), memory),
            (TrackerError::from(MEMORY).into(), memory),
            (broken.into(), Errno::EINVAL),
        ],
    );
    rows(
        &mut out,
        "kho-vmalloc/src/preserve.rs",
        "PreserveError",
        &found,
    );
    let found = said(
        BlockError::errno,
        &[
            BlockError::TooMany {
                asked: 2,
                max: 1,
                entry_size: 8,
            },
            BlockError::Full { capacity: 1 },
            BlockError::Entry {
                entry_size: 5000,
                format: Format::V1,
            },
        ],
        &[
            (TrackerError::from(MEMORY).into(), memory),
            (broken.into(), Errno::EINVAL),
        ],
    );
    rows(&mut out, "kho-block/src/write.rs", "BlockError", &found);
    let found = said(
        KhoError::errno,
        &[
            KhoError::FdtFull {
                what: "the root FDT",
                name: text(),
                needed: 5000,
            },
            KhoError::Duplicate {
                what: "subtree",
                name: text(),
            },
            KhoError::BadName(text()),
            KhoError::Reserved(text()),
            KhoError::LongName(text()),
            KhoError::Unsaid {
                token: text(),
                writing: kho_compat::Writing::PLAIN,
            },
            KhoError::BadSize {
                size: 0,
                room: 4096,
            },
            KhoError::Foreign,
            KhoError::BadScratch(PhysRange::new(AT, 4096).unwrap()),
            KhoError::BadRelease(text()),
            registry().into(),
        ],
        &[
            (MEMORY.into(), memory),
            (TrackerError::from(MEMORY).into(), memory),
            (broken.into(), Errno::EINVAL),
        ],
    );
    rows(&mut out, "kho-core/src/kho/error.rs", "KhoError", &found);
    let found = said(
        OpenError::errno,
        &[
            OpenError::Incompatible(refused(Carrier::Root, "kho-v9")),
            not_admitted().into(),
            registry().into(),
        ],
        &[(damage().into(), Errno::EIO)],
    );
    rows(&mut out, "kho-core/src/handover.rs", "OpenError", &found);
    let found = said(
        LuoError::errno,
        &[
            LuoError::BadName(text()),
            LuoError::SessionExists(name()),
            LuoError::Closed(name()),
            LuoError::TokenExists {
                session: name(),
                token,
            },
            LuoError::Busy,
            LuoError::NoHandler,
            LuoError::Frozen,
            LuoError::InStep,
            LuoError::BadFlb(text()),
            registry().into(),
        ],
        &[
            (
                LuoError::Handler {
                    step: "preserve",
                    session: name(),
                    token,
                    component: "memfd",
                    error: handler(),
                },
                Errno::EPERM,
            ),
            (
                LuoError::Flb {
                    name: text(),
                    error: handler(),
                },
                Errno::EPERM,
            ),
            (
                LuoError::Set {
                    what: "a file set",
                    error: BlockError::Full { capacity: 1 }.into(),
                },
                Errno::ENOSPC,
            ),
            (KhoError::from(MEMORY).into(), memory),
            (TrackerError::from(MEMORY).into(), memory),
            (DuplicateHandler::File("memfd").into(), Errno::EEXIST),
            (broken.into(), Errno::EINVAL),
        ],
    );
    rows(
        &mut out,
        "kho-luo/src/outgoing/error.rs",
        "LuoError",
        &found,
    );
    let found = said(
        DuplicateHandler::errno,
        &[
            DuplicateHandler::File("memfd"),
            DuplicateHandler::Flb(text()),
        ],
        &[],
    );
    rows(
        &mut out,
        "kho-luo/src/handler.rs",
        "DuplicateHandler",
        &found,
    );
    let found = said(
        TakeOverError::errno,
        &[
            damage().into(),
            not_admitted().into(),
            TakeOverError::Degraded { lost: Vec::new() },
            TakeOverError::NoHandler {
                compatible: text(),
                files: 1,
            },
            TakeOverError::NoLuo,
        ],
        &[
            (refused(Carrier::Luo, "luo-v9").into(), Errno::EINVAL),
            (DuplicateHandler::File("memfd").into(), Errno::EEXIST),
        ],
    );
    rows(
        &mut out,
        "kho-luo/src/incoming/error.rs",
        "TakeOverError",
        &found,
    );
    let found = said(
        IncomingError::errno,
        &[
            IncomingError::NoSession(text()),
            IncomingError::Retrieved(name()),
            IncomingError::Finished(name()),
            IncomingError::InStep,
            IncomingError::NoFile {
                session: name(),
                token,
            },
            IncomingError::Lost {
                session: name(),
                token,
                compatible: text(),
            },
            not_admitted().into(),
            IncomingError::Degraded { lost: Vec::new() },
            IncomingError::WrongKind {
                session: name(),
                token,
                component: "memfd",
            },
            IncomingError::CanNotFinish {
                session: name(),
                token,
                error: handler(),
            },
            IncomingError::NoFlb(text()),
        ],
        &[
            (
                IncomingError::Retrieve {
                    session: name(),
                    token,
                    error: handler(),
                },
                Errno::EPERM,
            ),
            (
                IncomingError::Flb {
                    name: text(),
                    error: handler(),
                },
                Errno::EPERM,
            ),
        ],
    );
    rows(
        &mut out,
        "kho-luo/src/incoming/error.rs",
        "IncomingError",
        &found,
    );
    let found = said(
        FileError::errno,
        &[
            FileError::Sealed("writes"),
            FileError::NotFinished,
            FileError::Preserved,
            FileError::Frozen,
            FileError::Gone,
            FileError::TooLarge(1),
            FileError::UnknownSeals(Seals::from(1 << 31)),
            FileError::Misplaced("x"),
            FileError::Versions {
                memfd: 2,
                contains: 1,
                written: 2,
            },
        ],
        &[
            (MEMORY.into(), memory),
            (outside.into(), Errno::EFAULT),
            (broken.into(), Errno::EINVAL),
        ],
    );
    rows(&mut out, "kho-memfd/src/file.rs", "FileError", &found);
    let found = said(
        MemfdError::errno,
        &[
            not_admitted().into(),
            MemfdError::NotMemfd {
                token,
                found: text(),
            },
        ],
        &[(damage().into(), Errno::EIO)],
    );
    rows(&mut out, "kho-memfd/src/restore.rs", "MemfdError", &found);
    out
}

const DEFECTS: [Defect; 27] = [
    Defect::Null,
    Defect::Unaligned,
    Defect::OutsideMemory,
    Defect::NotStored,
    Defect::Unreadable,
    Defect::Wraps,
    Defect::NotPreserved,
    Defect::Shared,
    Defect::Cycle,
    Defect::Overlap,
    Defect::BadMagic,
    Defect::BadSize,
    Defect::BadOffset,
    Defect::BadCount,
    Defect::Mismatch,
    Defect::BadValue,
    Defect::UnknownFlags,
    Defect::BadOrder,
    Defect::TooMany,
    Defect::Empty,
    Defect::Unterminated,
    Defect::BadText,
    Defect::Duplicate,
    Defect::Missing,
    Defect::Malformed,
    Defect::Truncated,
    Defect::BadKey,
];

#[test]
fn the_documented_table_is_what_the_code_says() {
    let path = root().join("docs/errno.md");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let table = table();
    assert!(
        text.contains(&format!("\n\n{table}\n")),
        "docs/errno.md is to have this table:\n{table}"
    );
}

#[test]
fn what_is_refused_first_says_what_a_kernel_does() {
    for (carrier, found, errno) in [
        (Carrier::Root, "kho-v9", Errno::ENOENT),
        (Carrier::Luo, "luo-v9", Errno::EINVAL),
        (Carrier::FileHandler, "memfd-v9", Errno::EIO),
    ] {
        assert_eq!(refused_errno(&refused(carrier, found)), errno, "{found}");
    }
}

#[test]
fn a_handler_passes_on_what_it_met() {
    let of = |error: HandlerError| error.errno();
    assert_eq!(of(HandlerError::new("text")), Errno::EIO);
    assert_eq!(of(HandlerError::new(MEMORY)), Errno::ENOMEM);
    assert_eq!(
        of(HandlerError::new(TrackerError::from(MEMORY))),
        Errno::ENOMEM
    );
    let unknown = Damage::new(Defect::UnknownFlags, "seals", AT);
    assert_eq!(of(HandlerError::new(unknown)), Errno::EOPNOTSUPP);
    let said = HandlerError::new(MEMORY).with_errno(Errno::EPERM);
    assert_eq!(of(said.clone()), Errno::EPERM);
    assert_eq!(said.to_string(), MEMORY.to_string());
}
