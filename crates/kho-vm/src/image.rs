//! A handover that is put into a guest's memory.

use std::fs;
use std::path::{Path, PathBuf};

use kho_core::Entry;
use kho_guest::Plan;
use kho_image::{Image, ImageOptions, write_raw};
use kho_mem::{PAGE_SIZE_U64, PageRun, PhysAddr, PhysMem};
use serde_json::Value;
use tempfile::TempDir;

use crate::boot::{self, BzImage};
use crate::failure::{Failure, of_file};
use crate::guest;
use crate::options::Vm;
use crate::qemu::{MEMORY_LIMIT, Machine};

/// A handover in a file of raw memory.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// The file.
    pub(crate) raw: PathBuf,
    /// The address of its first byte.
    pub(crate) base: u64,
    /// The end of what the next kernel must leave alone: memory in use, and scratch.
    pub(crate) end: u64,
    /// Where it begins.
    pub(crate) entry: Entry,
}

/// Room above the handover, for the initramfs.
const ROOM: u64 = 64 << 20;
/// A kernel needs that much at least.
const LEAST: u64 = 256 << 20;

impl Placed {
    /// The handover in `image`, by what stands beside it, else by what is found in it. `dir` takes what
    /// has to be written.
    pub(crate) fn open(image: &Path, dir: &Path) -> Result<Self, Failure> {
        let known = beside(image);
        let base = known.as_ref().and_then(|known| number(known, "base"));
        let options = ImageOptions {
            base: PhysAddr::new(base.unwrap_or_default()),
            ..ImageOptions::default()
        };
        let memory = open(image, &options)?;
        let entry = match known.as_ref().and_then(entry_of) {
            Some(entry) => entry,
            None => {
                let scan = kho_image::scan(&memory, &mut |_, _| true);
                let found = scan.entry();
                found.map_err(|error| Failure::of(image.display(), error))?
            }
        };
        let raw = dir.join("handover.raw");
        let mut runs = Vec::new();
        let mut next = Some(PhysAddr::NULL);
        while let Some(region) = next.and_then(|from| memory.region(from)) {
            runs.push(PageRun {
                pfn: region.start().pfn(),
                pages: region.len().div_ceil(PAGE_SIZE_U64),
            });
            next = u64::try_from(region.end()).ok().map(PhysAddr::new);
        }
        let base = runs.first().map_or(0, |run| run.addr().get());
        let written = write_raw(&raw, PhysAddr::new(base), &memory, &runs, &mut |_, _| true);
        let written = written.map_err(|error| Failure::of(image.display(), error))?;
        let end = scratch(&memory, entry)?.max(base + written.len);
        Ok(Self {
            raw,
            base,
            end,
            entry,
        })
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> Result<Image, Failure> {
        let options = ImageOptions {
            base: PhysAddr::new(self.base),
            ..ImageOptions::default()
        };
        open(&self.raw, &options)
    }

    /// A machine whose kernel finds the handover, and whose init follows the plans; with its kernel's own
    /// image, if `kexec`. `dir` takes its files until it has ended.
    pub(crate) fn machine(
        &self,
        vm: &Vm,
        plans: &[Plan],
        kexec: bool,
        dir: &TempDir,
    ) -> Result<Machine, Failure> {
        let kernel = BzImage::read(&vm.kernel)?;
        // Between the kernel and the handover, on a page of its own.
        let node = self.base.saturating_sub(PAGE_SIZE_U64) & !(PAGE_SIZE_U64 - 1);
        if node < kernel.end() {
            let text = format!(
                "the handover begins at {:#x}, and the kernel needs what is below {:#x}: kho pack puts one at 0x20000000",
                self.base,
                kernel.end()
            );
            return Err(Failure::CanNot(text));
        }
        let memory = self.end.max(LEAST).next_multiple_of(1 << 20) + ROOM;
        if memory > MEMORY_LIMIT {
            let end = self.end;
            let text = format!("the handover ends at {end:#x}: a guest has no memory there");
            return Err(Failure::CanNot(text));
        }
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).map_err(of_file(&path))?;
            Ok(path)
        };
        let next = kexec.then_some(vm.kernel.as_path());
        Ok(Machine {
            memory,
            kernel: write("bzImage", &kernel.with_setup_data(node))?,
            initramfs: write("initramfs", &guest::initramfs(plans, next)?)?,
            arguments: String::new(),
            loaded: vec![
                (self.raw.clone(), self.base),
                (write("setup_data", &boot::node(self.entry))?, node),
            ],
        })
    }
}

/// Opens an image.
pub(crate) fn open(path: &Path, options: &ImageOptions) -> Result<Image, Failure> {
    let image = Image::open(path, options, &mut |_, _| true);
    image.map_err(|error| Failure::Failed(error.to_string()))
}

/// The end of the scratch areas.
fn scratch(memory: &dyn PhysMem, entry: Entry) -> Result<u64, Failure> {
    let Some((at, size)) = entry.scratch else {
        let text = "nothing says where the scratch table is: no kernel starts without";
        return Err(Failure::CanNot(text.to_owned()));
    };
    let table = kho_core::ScratchTable::read(memory, at, size);
    let table = table.map_err(|damage| Failure::Failed(damage.to_string()))?;
    let areas = table.areas().iter();
    let ends = areas.map(|area| area.start().get() + area.len());
    Ok(ends.max().unwrap_or_default())
}

/// What was written beside the image: by `kho pack`, or as a capture's facts.
fn beside(image: &Path) -> Option<Value> {
    let name = image.file_name()?.to_str()?;
    let stem = name.strip_suffix(".core.zst");
    let facts = stem.map(|stem| format!("{stem}.facts.json"));
    [Some(format!("{name}.json")), facts]
        .into_iter()
        .flatten()
        .find_map(|name| fs::read(image.with_file_name(name)).ok())
        .and_then(|text| serde_json::from_slice(&text).ok())
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name)?.as_u64()
}

fn entry_of(known: &Value) -> Option<Entry> {
    let known = known.get("entry").unwrap_or(known);
    let entry = Entry::new(PhysAddr::new(number(known, "fdt_addr")?));
    let scratch = PhysAddr::new(number(known, "scratch_addr")?);
    Some(entry.with_scratch(scratch, number(known, "scratch_size")?))
}
