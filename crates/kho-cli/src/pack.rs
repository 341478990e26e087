//! `kho pack`: a directory of files as a handover image, the way back of `kho restore`.

mod build;
mod manifest;
mod source;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kho_core::Entry;
use kho_image::{WriteError, Written, write_elf, write_raw};
use kho_mem::{ARENA_ALIGN, PhysAddr, PhysRange};
use serde_json::{Value, json};

use crate::args::{DialectArg, address, bytes};
use crate::error::Failure;
use crate::human::{count, size};
use crate::progress::Bar;
use crate::write::Staging;
use build::{Memory, Packed};
use source::{Source, refused};

/// Memory where --memory does not say how much. A real kernel needs that much to have scratch areas
/// in which it can start.
const MEMORY: u64 = 512 << 20;

#[derive(Args, Debug)]
#[command(after_help = "\
DIR is what `kho restore` wrote: its manifest.json says which files there are, and of each what a
file can not hold. Files may be changed in between, and so may the manifest: a file's size must be
the one listed, and its sha256 too where one is listed. The FLBs listed are written as they stand;
of a part of a handover (restore --session) their counts are lowered to the files there are. What a
restore leaves out is not in the image: other subtrees, reserve_mem regions.

A directory without manifest.json is taken as it is: every directory in it is a session of that name
(%2F stands for a byte, as restore writes it), and every file in that a memfd without seals, at
position 0. A file called by up to 16 hexadecimal digits and .bin has these as its token; the others
get the tokens from 1 on that are left, in order of their names. Names that begin with a dot are
passed over. Symbolic links are followed inside DIR.

Each file is put into folios as the manifest lists them. Without nr_folios and folio_orders they are
as large as the file's data allows, up to 2 MiB, and holes of the file stay holes.

IMAGE holds the memory that is in use and nothing else: what is preserved, the tracker's nodes, the
root FDT, the scratch table. An ELF core has a segment per run of pages. A raw image is the memory
from --base on, up to the last page in use, with holes; it is loaded at --base. IMAGE.json has the
addresses that the next kernel is to be given. Both appear at the very end, or not at all.

Examples:
  kho restore vmcore --out vm7 && kho pack vm7 --out vm7.core
  kho pack sessions --out arena.raw --format raw --base 0x20000000 --memory 512M
  kho inspect arena.raw --base 0x20000000")]
pub(crate) struct PackArgs {
    /// The directory: what `kho restore` wrote, or directories of files.
    dir: PathBuf,
    /// The image to write. IMAGE.json is written beside it.
    #[arg(long, value_name = "IMAGE")]
    out: PathBuf,
    /// Physical address where the memory begins: a multiple of 4 MiB.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "0x20000000")]
    base: PhysAddr,
    /// Bytes of memory, a multiple of 4 MiB; K, M, G and T count in 1024s. Its end is scratch: 96 and
    /// 64 MiB, of less than 512 MiB five sixteenths in all. Without it as much as is needed, and at
    /// least 512M.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    memory: Option<u64>,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Elf)]
    format: Format,
    /// How versions are written. Without it as the manifest says, else plain.
    #[arg(long, value_enum)]
    dialect: Option<DialectArg>,
    /// Print JSON: what IMAGE.json holds.
    #[arg(long)]
    json: bool,
    /// Pack what a restore left incomplete, since the dump did not store all of it: files that are
    /// missing are left out, what is missing of a file is zeros.
    #[arg(long)]
    allow_missing: bool,
    /// Replace IMAGE and IMAGE.json.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// An ELF64 core.
    Elf,
    /// Raw memory from --base on.
    Raw,
}

impl Format {
    const fn id(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Raw => "raw",
        }
    }
}

pub(crate) fn run(args: &PackArgs) -> Result<(), Failure> {
    Failure::told(args.json, pack(args))
}

fn pack(args: &PackArgs) -> Result<(), Failure> {
    let target = Target::new(args)?;
    // An image in the directory would be a file of the next one, or replace one that goes into it.
    let inside = |path: &Path| {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let dir = args.dir.canonicalize().ok();
        path.canonicalize()
            .ok()
            .zip(dir)
            .is_some_and(|(path, dir)| path.starts_with(dir))
    };
    if inside(&target.dir) {
        let text = format!(
            "{} lies in {}, which is to be packed",
            args.out.display(),
            args.dir.display()
        );
        return Err(Failure::Usage(text));
    }
    let source = Source::read(&args.dir, args.allow_missing)?;
    let writing = args.dialect.map_or(source.writing, |given| given.0);
    let used = build::measure(&source, writing, args.base)?;
    let memory = memory(args, used)?;
    let packed = Packed::new(&source, writing, &memory)?;
    let mut staging = Staging::new(&target.dir, args.force)?;
    let written = write(args, &packed, &staging.entry(&target.image))?;
    let json = describe(args, &source, &packed, &memory, written);
    staging.write(&target.json, format!("{json:#}\n").as_bytes())?;
    let committed = staging.commit(&[target.image.clone(), target.json.clone()]);
    committed.map_err(|failure| match failure {
        // It came while the image was made.
        Failure::InTheWay(path, _) => in_the_way(&path),
        other => other,
    })?;
    report(args, &source, packed.entry, &json, written)
}

/// Where IMAGE and IMAGE.json go.
struct Target {
    dir: PathBuf,
    image: PathBuf,
    json: PathBuf,
}

impl Target {
    /// Checked as far as it can be before there is anything to write.
    fn new(args: &PackArgs) -> Result<Self, Failure> {
        let name = args.out.file_name().map(OsString::from);
        let name = name.ok_or_else(|| {
            Failure::Usage(format!("--out {}: no file's name", args.out.display()))
        })?;
        let dir = match args.out.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut json = name.clone();
        json.push(".json");
        let target = Self {
            dir: dir.to_owned(),
            image: name.into(),
            json: json.into(),
        };
        for name in [&target.image, &target.json] {
            let path = args.out.with_file_name(name);
            match path.symlink_metadata() {
                Ok(meta) if !meta.is_file() && !meta.is_symlink() => {
                    let text = format!("{} is no regular file", path.display());
                    return Err(Failure::Usage(text));
                }
                Ok(_) if !args.force => return Err(in_the_way(&path)),
                _ => {}
            }
        }
        Ok(target)
    }
}

fn in_the_way(path: &Path) -> Failure {
    refused(
        "the image can not be written",
        path.display(),
        "a file of that name",
        "none, or --force, which replaces it",
    )
}

/// How much memory there is, for `used` bytes of it, and what of it is scratch.
fn memory(args: &PackArgs, used: u64) -> Result<Memory, Failure> {
    let needed = needed(used);
    let bytes = match args.memory {
        None => needed.max(MEMORY),
        Some(bytes) if !bytes.is_multiple_of(ARENA_ALIGN) => {
            let text = format!("--memory {bytes:#x}: a multiple of 4 MiB is expected");
            return Err(Failure::Usage(text));
        }
        Some(bytes) if bytes < needed => {
            let text = format!(
                "--memory {} is too small: {} of files and their lists, and {} of scratch, need at least {}",
                size(bytes),
                size(used),
                size(needed - used),
                size(needed)
            );
            return Err(Failure::Usage(text));
        }
        Some(bytes) => bytes,
    };
    let (low, global) = scratch(bytes);
    let end = args.base.get().checked_add(bytes);
    let start = end.and_then(|end| end.checked_sub(low + global));
    let area = |at: u64, len| PhysRange::new(PhysAddr::new(at), len);
    let areas = start.and_then(|start| Some([area(start, low)?, area(start + low, global)?]));
    let scratch = areas.ok_or_else(|| {
        let (bytes, base) = (size(bytes), args.base);
        Failure::Usage(format!("{bytes} from {base} on leave the address space"))
    })?;
    Ok(Memory {
        base: args.base,
        bytes,
        scratch,
    })
}

/// The scratch areas of `memory` bytes: low memory's and the global one. Of less than 512 MiB they
/// are five sixteenths, and never more than grows with it: more memory holds no less.
fn scratch(memory: u64) -> (u64, u64) {
    let units = memory.min(MEMORY) / ARENA_ALIGN;
    let both = (units * 5 / 16).max(2);
    let low = (both * 3).div_ceil(5).min(both - 1);
    (low * ARENA_ALIGN, (both - low) * ARENA_ALIGN)
}

/// The least memory that has room for `used` bytes beside its scratch areas.
fn needed(used: u64) -> u64 {
    let mut memory = used;
    loop {
        let (low, global) = scratch(memory);
        match used.saturating_add(low + global) {
            enough if enough <= memory => return memory,
            _ => memory = memory.saturating_add(ARENA_ALIGN),
        }
    }
}

fn write(args: &PackArgs, packed: &Packed, path: &Path) -> Result<Written, Failure> {
    let mut bar = Bar::new("writing");
    let mut progress = |done, total| bar.at(done, total);
    let mem = packed.memory()?;
    let written = match args.format {
        Format::Elf => write_elf(path, &mem, &packed.runs, &mut progress),
        Format::Raw => write_raw(path, args.base, &mem, &packed.runs, &mut progress),
    };
    written.map_err(|error| match error {
        WriteError::Io { path, error } => Failure::Write { path, error },
        WriteError::Interrupted => Failure::Interrupted,
        other => Failure::Unrestorable(other.to_string()),
    })
}

/// What IMAGE.json holds.
fn describe(
    args: &PackArgs,
    source: &Source,
    packed: &Packed,
    memory: &Memory,
    written: Written,
) -> Value {
    let (scratch_addr, scratch_size) = packed.entry.scratch.unzip();
    let areas: Vec<_> = memory
        .scratch
        .iter()
        .map(|area| json!([area.start().get(), area.len()]))
        .collect();
    json!({
        "fdt_addr": packed.entry.fdt_addr.get(),
        "fdt_size": packed.entry.fdt_size,
        "scratch_addr": scratch_addr.map(PhysAddr::get),
        "scratch_size": scratch_size,
        "scratch": areas,
        "base": memory.base.get(),
        "memory": memory.bytes,
        "format": args.format.id(),
        "compatible": packed.compatible,
        "in_use": written.memory,
        "sessions": source.sessions.len(),
        "files": source.files(),
        "bytes": source.bytes(),
        "notes": source.notes,
    })
}

fn report(
    args: &PackArgs,
    source: &Source,
    entry: Entry,
    json: &Value,
    written: Written,
) -> Result<(), Failure> {
    if args.json {
        return writeln!(std::io::stdout(), "{json:#}").map_err(Failure::Output);
    }
    let mut out = anstream::stdout().lock();
    let mut say = |text: String| writeln!(out, "{text}").map_err(Failure::Output);
    say(format!(
        "packed {} of {}, {}, into {}: {} of memory in use",
        count(source.files(), "file"),
        count(source.sessions.len() as u64, "session"),
        size(source.bytes()),
        args.out.display(),
        size(written.memory),
    ))?;
    let scratch = entry
        .scratch
        .map_or_else(String::new, |(at, len)| format!(" --scratch {at}:{len}"));
    let base = match args.format {
        Format::Elf => String::new(),
        Format::Raw => format!(" --base {}", args.base),
    };
    say(format!(
        "entry: --fdt {}{scratch}{base}, as in {}.json",
        entry.fdt_addr,
        args.out.display()
    ))?;
    source
        .notes
        .iter()
        .try_for_each(|note| say(format!("note: {note}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_holds_no_less() {
        let unit = ARENA_ALIGN;
        let mut before = 0;
        for units in 3..200 {
            let (low, global) = scratch(units * unit);
            assert!(low >= unit && global >= unit, "{units}");
            let room = units * unit - low - global;
            assert!(room >= before, "{units}");
            before = room;
            assert!(needed(room) <= units * unit, "{units}");
        }
        assert_eq!(scratch(MEMORY), (96 << 20, 64 << 20));
        assert_eq!(scratch(1 << 40), (96 << 20, 64 << 20));
        assert_eq!(needed(0), 2 * unit);
        assert_eq!(needed(unit), 3 * unit);
        assert_eq!(needed(MEMORY), MEMORY + (160 << 20));
    }
}
