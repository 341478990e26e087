//! `kho inspect --live`: what the running kernel shows of its own handovers, the one that it was given
//! and the one that it makes, as far as that goes without reading memory.

mod blob;
mod output;
pub(crate) mod system;

use std::io::Write;
use std::path::{Path, PathBuf};

use kho_compat::{Carrier, Fact, Manifest, Place};
use kho_core::v4::{KhoData, SETUP_KHO, ScratchEntry};
use kho_core::{CutFdt, FdtFile, Owners, RootFdt, ScratchTable, Subtree};
use kho_mem::{Damage, Defect, PAGE_SIZE_U64, PhysRange, SliceMem, is_printable};
use kho_preflight::command_line::CommandLine;
use zerocopy::{FromBytes, IntoBytes};

use self::blob::{BLOB_MAX, Blob};
use self::system::{BASE, DEBUGFS, Look};
use crate::error::Failure;

const SETUP_DATA: &str = "sys/kernel/boot_params/setup_data";
const DEVICE_TREE: &str = "sys/firmware/devicetree/base";

/// The most entries of a directory that are looked at: more nodes than a boot loader makes, and more
/// subtrees than a page has room for.
const ENTRIES_MAX: usize = 256;
/// The most bytes of a small file: a number, a list of scratch areas.
const SMALL_MAX: u64 = 64 << 10;

/// Where the handover begins that this kernel was given.
#[derive(Clone, Debug)]
struct Given {
    data: [u64; 4],
    path: PathBuf,
}

impl Given {
    const fn fdt(&self) -> (u64, u64) {
        (self.data[0], self.data[1])
    }

    const fn scratch(&self) -> (u64, u64) {
        (self.data[2], self.data[3])
    }
}

/// The handover in one direction.
#[derive(Debug, Default)]
struct Side {
    /// Whether the kernel shows one at all.
    there: bool,
    root: Option<RootFdt>,
    cut: Option<CutFdt>,
    subtrees: Vec<Subtree>,
    blobs: Vec<Shown>,
    /// Whether there are more blobs than were looked at.
    more: bool,
    scratch: Vec<PhysRange>,
}

/// The blob of a subtree.
#[derive(Debug)]
struct Shown {
    name: String,
    len: usize,
    /// `None` where the memory holds something else by now.
    blob: Option<Blob>,
}

/// What the running kernel shows.
#[derive(Debug, Default)]
struct Live {
    owners: Owners,
    release: String,
    parameters: Vec<(&'static str, String)>,
    device: bool,
    given: Vec<Given>,
    incoming: Side,
    outgoing: Side,
    /// What could not be read, and why.
    unread: Vec<(PathBuf, String)>,
    /// What is wrong with what was read, and in which file.
    damaged: Vec<(PathBuf, Damage)>,
    /// Why debugfs shows nothing, and what would help.
    blind: Option<(PathBuf, String, String)>,
}

pub(crate) fn run(root: &Path, json: bool) -> Result<(), Failure> {
    let live = match Live::of(root) {
        Ok(live) => live,
        Err(failure) => return Failure::told(json, Err(failure)),
    };
    let failure = live.failure();
    if json {
        let value = output::json(&live, failure.as_ref());
        writeln!(std::io::stdout().lock(), "{value:#}").map_err(Failure::Output)?;
    } else {
        output::print(&mut anstream::stdout().lock(), &live).map_err(Failure::Output)?;
    }
    failure.map_or(Ok(()), Err)
}

/// What the handover announces that the running kernel was given, as far as the kernel shows it: the root's
/// string and what it lists, the subtrees, and LUO's string where its header still lies there.
pub(crate) fn announced(root: &Path) -> Result<Manifest, Failure> {
    let live = Live::of(root)?;
    let mut manifest = Manifest::new();
    let Some(root) = &live.incoming.root else {
        let none = "the kernel shows no root FDT of what it was given".to_owned();
        return Err(live.failure().unwrap_or(Failure::Unrestorable(none)));
    };
    root.add_to(&mut manifest);
    for subtree in &live.incoming.subtrees {
        let place = Place::new(subtree.addr.get(), format!("subtree `{}`", subtree.name));
        manifest.add(Carrier::Subtree, &subtree.name, place);
    }
    let luo = live
        .incoming
        .blobs
        .iter()
        .find(|blob| blob.name == kho_luo::v5::SUBTREE);
    let facts = luo
        .and_then(|luo| luo.blob.as_ref())
        .map(|blob| &blob.facts);
    for (name, fact) in facts.into_iter().flatten() {
        if let (true, Fact::Text(text)) = (name == "compatible", fact) {
            manifest.add(Carrier::Luo, text, Place::new(0, "LUO header, compatible"));
        }
    }
    Ok(manifest)
}

impl Live {
    fn of(root: &Path) -> Result<Self, Failure> {
        let command_line = system::text(&root.join("proc/cmdline")).unwrap_or_default();
        let command_line = CommandLine::parse(&command_line);
        let parameters = ["kho", "liveupdate"].into_iter();
        let parameters = parameters.filter_map(|name| {
            let value = command_line.last(name)?;
            Some((name, value.escape_debug().to_string()))
        });
        let mut live = Self {
            owners: Owners::linked().map_err(Failure::Registry)?,
            release: system::release(root)?,
            parameters: parameters.collect(),
            device: root.join("dev/liveupdate").exists(),
            ..Self::default()
        };
        live.setup_data(root);
        live.device_tree(root);
        match system::shows_handovers(root, &command_line) {
            Ok(()) => {
                let debugfs = root.join(DEBUGFS);
                live.incoming = live.side(&debugfs.join("in"), true);
                live.outgoing = live.side(&debugfs.join("out"), false);
            }
            Err((why, hint)) => live.blind = Some((root.join(DEBUGFS), why, hint)),
        }
        Ok(live)
    }

    /// What could not be done; `None` where all that is shown was read, and is sound.
    fn failure(&self) -> Option<Failure> {
        let mut lines = Vec::new();
        if let Some((path, damage)) = self.damaged.first() {
            lines.push(("damaged", damage.headline()));
            lines.push(("where", place(path, damage)));
            lines.push(("found", damage.found_text().to_owned()));
            lines.push(("expected", damage.expected_text().to_owned()));
            lines.retain(|(_, text)| !text.is_empty());
            let more = self.damaged.len() as u64 - 1;
            if more > 0 {
                lines.push(("and", crate::human::count(more, "more defect")));
            }
        } else if let Some((path, why, hint)) = &self.blind {
            let what = "the running kernel's handovers can not be seen".to_owned();
            lines.push(("error", what));
            lines.push(("where", path.display().to_string()));
            lines.push(("found", why.clone()));
            lines.push(("hint", hint.clone()));
        } else if let Some((path, why)) = self.unread.first() {
            lines.push(("error", "not all could be read".to_owned()));
            lines.push(("where", path.display().to_string()));
            lines.push(("found", why.clone()));
        }
        (!lines.is_empty()).then_some(Failure::Input(lines))
    }

    /// The bytes of `path`; `None` where it is absent, or was not read and is noted so.
    fn look(&mut self, path: &Path, max: u64) -> Option<Vec<u8>> {
        match system::look(path, max) {
            Look::Bytes(bytes) => Some(bytes),
            Look::Absent => None,
            Look::Unread(why) => {
                self.unread.push((path.to_owned(), why));
                None
            }
        }
    }

    fn list(&mut self, path: &Path) -> (Vec<PathBuf>, bool) {
        match system::list(path, ENTRIES_MAX) {
            Ok(entries) => entries.unwrap_or_default(),
            Err(why) => {
                self.unread.push((path.to_owned(), why));
                (Vec::new(), false)
            }
        }
    }

    /// The KHO nodes of the setup_data list that x86 was booted with.
    fn setup_data(&mut self, root: &Path) {
        let (nodes, _) = self.list(&root.join(SETUP_DATA));
        for node in nodes {
            let path = node.join("type");
            let Some(kind) = self.look(&path, SMALL_MAX) else {
                continue;
            };
            let kind = String::from_utf8_lossy(&kind);
            match number(&kind) {
                Some(kind) if kind == u64::from(SETUP_KHO) => {}
                Some(_) => continue,
                None => {
                    let damage = Damage::new(Defect::BadText, "type of a setup_data node", BASE)
                        .found(kind.trim().escape_debug())
                        .expected("a number");
                    self.damaged.push((path, damage));
                    continue;
                }
            }
            let path = node.join("data");
            let Some(bytes) = self.look(&path, SMALL_MAX) else {
                continue;
            };
            match KhoData::read_from_bytes(&bytes) {
                Ok(data) => self.given.push(Given {
                    data: [
                        data.fdt_addr.get(),
                        data.fdt_size.get(),
                        data.scratch_addr.get(),
                        data.scratch_size.get(),
                    ],
                    path: node,
                }),
                Err(_) => {
                    let damage = Damage::new(Defect::BadSize, "KHO node of the setup_data", BASE)
                        .found(crate::human::count(bytes.len() as u64, "byte"))
                        .expected(format!("{} bytes", size_of::<KhoData>()));
                    self.damaged.push((path, damage));
                }
            }
        }
    }

    /// The properties of `/chosen`, where the machine was booted with a device tree.
    fn device_tree(&mut self, root: &Path) {
        let base = root.join(DEVICE_TREE);
        let chosen = base.join("chosen");
        let path = chosen.join(kho_core::v4::CHOSEN_FDT);
        let Some(fdt) = self.look(&path, SMALL_MAX) else {
            return;
        };
        let cells = |name: &str, default: u32| match system::look(&base.join(name), SMALL_MAX) {
            Look::Bytes(bytes) => bytes.as_slice().try_into().ok().map(u32::from_be_bytes),
            _ => Some(default),
        };
        // The defaults are the specification's.
        let cells = (cells("#address-cells", 2), cells("#size-cells", 1));
        let scratch_path = chosen.join(kho_core::v4::CHOSEN_SCRATCH);
        let scratch = self.look(&scratch_path, SMALL_MAX);
        let (Some(fdt), scratch) = (pair(&fdt, cells), scratch.map(|s| pair(&s, cells))) else {
            let damage = Damage::new(Defect::BadSize, "address and size in /chosen", BASE)
                .found(crate::human::count(fdt.len() as u64, "byte"))
                .expected("an address and a size in the root's cells");
            self.damaged.push((path, damage));
            return;
        };
        if let Some(None) = scratch {
            let damage = Damage::new(Defect::BadSize, "address and size in /chosen", BASE)
                .expected("an address and a size in the root's cells");
            self.damaged.push((scratch_path, damage));
        }
        let (scratch_addr, scratch_size) = scratch.flatten().unwrap_or_default();
        self.given.push(Given {
            data: [fdt.0, fdt.1, scratch_addr, scratch_size],
            path: chosen,
        });
    }

    /// What debugfs shows below `dir`.
    fn side(&mut self, dir: &Path, incoming: bool) -> Side {
        let mut side = Side::default();
        if !dir.is_dir() {
            return side;
        }
        side.there = true;
        let path = dir.join("fdt");
        if let Some(bytes) = self.look(&path, PAGE_SIZE_U64) {
            match FdtFile::decode(&bytes, BASE) {
                Ok(FdtFile::Cut(cut)) => side.cut = Some(cut),
                Ok(FdtFile::Whole(root)) => {
                    match root.subtrees() {
                        Ok(subtrees) => side.subtrees = subtrees,
                        Err(damage) => self.damaged.push((path.clone(), damage)),
                    }
                    if let Err(damage) = root.listed() {
                        self.damaged.push((path, damage));
                    }
                    side.root = Some(root);
                }
                Err(damage) => self.damaged.push((path, damage)),
            }
        }
        let (paths, more) = self.list(&dir.join("sub_fdts"));
        side.more = more;
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = match name {
                name if is_printable(&name) => name.into_owned(),
                name => name.escape_debug().to_string(),
            };
            let Some(bytes) = self.look(&path, BLOB_MAX) else {
                continue;
            };
            let len = bytes.len();
            let blob = match blob::read(&self.owners, &name, &bytes) {
                Ok(blob) => Some(blob),
                // Whoever took it over gives its memory back, and the file shows what lies there now.
                Err(_) if incoming => None,
                Err(damage) => {
                    self.damaged.push((path, damage));
                    continue;
                }
            };
            side.blobs.push(Shown { name, len, blob });
        }
        side.scratch = self.scratch(dir);
        side
    }

    /// The scratch areas: two files of a number per line.
    fn scratch(&mut self, dir: &Path) -> Vec<PhysRange> {
        let (starts_at, sizes_at) = (dir.join("scratch_phys"), dir.join("scratch_len"));
        let starts = self.look(&starts_at, SMALL_MAX);
        let sizes = self.look(&sizes_at, SMALL_MAX);
        let (Some(starts), Some(sizes)) = (starts, sizes) else {
            return Vec::new();
        };
        match areas(&starts, &sizes) {
            Ok(areas) => areas,
            Err(damage) => {
                self.damaged.push((starts_at, damage));
                Vec::new()
            }
        }
    }
}

/// A number as the kernel prints it.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Where `damage` lies in the file `path`.
fn place(path: &Path, damage: &Damage) -> String {
    match damage.at().get().checked_sub(BASE.get()) {
        Some(offset) if offset > 0 => format!("{}, file offset {offset:#x}", path.display()),
        _ => path.display().to_string(),
    }
}

/// An address and a size in cells of 4 bytes, as device trees have them.
fn pair(value: &[u8], cells: (Option<u32>, Option<u32>)) -> Option<(u64, u64)> {
    let (addr, size) = (bytes_of(cells.0?)?, bytes_of(cells.1?)?);
    let (addr, rest) = value.split_at_checked(addr)?;
    if rest.len() != size {
        return None;
    }
    let join = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |value: u64, byte| value << 8 | u64::from(*byte))
    };
    Some((join(addr), join(rest)))
}

/// Of one or two cells, which is all that addresses have.
fn bytes_of(cells: u32) -> Option<usize> {
    matches!(cells, 1 | 2).then_some(cells as usize * 4)
}

/// The scratch areas of two lists, checked as the table that they are shown of.
fn areas(starts: &[u8], sizes: &[u8]) -> Result<Vec<PhysRange>, Damage> {
    let numbers = |bytes: &[u8], what: &'static str| {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().map(|line| {
            number(line).ok_or_else(|| {
                Damage::new(Defect::BadText, what, BASE)
                    .found(line.escape_debug())
                    .expected("a number per line")
            })
        });
        lines.collect::<Result<Vec<_>, _>>()
    };
    let (starts, sizes) = (
        numbers(starts, "scratch_phys")?,
        numbers(sizes, "scratch_len")?,
    );
    if starts.len() != sizes.len() {
        return Err(Damage::new(Defect::Mismatch, "scratch_phys", BASE)
            .found(format!("{} areas", starts.len()))
            .expected(format!("{}, as scratch_len has", sizes.len())));
    }
    let entries = starts.iter().zip(&sizes).map(|(addr, size)| ScratchEntry {
        addr: (*addr).into(),
        size: (*size).into(),
    });
    let table: Vec<_> = entries.collect();
    let bytes = table.as_bytes();
    let table = ScratchTable::read(&SliceMem::new(BASE, bytes), BASE, bytes.len() as u64);
    // The offset is one of the table, which is in no file.
    let table = table.map_err(|damage| damage.moved(BASE))?;
    Ok(table.areas().to_vec())
}
