//! What is seen of a handover, or of the system that is to make one, beside its compat strings.

use std::any::Any;
use std::path::Path;

use kho_core::{Memblock, MemblockFdt, PageRun, PhysRange, Preserved};
use kho_mem::PAGE_SIZE_U64;
use kho_survey::Survey;

use crate::command_line::{CommandLine, bytes};
use crate::config::Config;
use crate::system::{BASE, KHO_IN, KHO_OUT, KHO_SUBTREES, ROOT_FDT, number, read, text};

/// A region that `reserve_mem=` set aside.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) start: Option<u64>,
    pub(crate) size: u64,
}

/// A scratch area; of one that a command line asks for the start is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) start: Option<u64>,
    pub(crate) len: u64,
}

/// Things, and what shows them.
#[derive(Clone, Debug)]
pub(crate) struct Shown<T> {
    pub(crate) all: Vec<T>,
    pub(crate) by: String,
}

impl<T> Shown<T> {
    fn new(all: impl IntoIterator<Item = T>, by: impl Into<String>) -> Option<Self> {
        let (all, by) = (all.into_iter().collect(), by.into());
        Some(Self { all, by })
    }
}

/// What is seen of a handover. What is not seen is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) regions: Option<Shown<Region>>,
    pub(crate) scratch: Option<Shown<Area>>,
    /// The largest order of what is preserved.
    pub(crate) largest_order: Option<u32>,
    /// NUMA nodes.
    pub(crate) nodes: Option<u64>,
    /// Where preserved memory may lie across the border of two of them; `None` where all of it is known not to.
    pub(crate) across: Option<Option<u64>>,
    /// Of the running system.
    pub(crate) here: Option<Here>,
}

/// What the running system says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Here {
    /// Whether a kernel is loaded for a kexec, and one for a crash.
    pub(crate) loaded: Option<bool>,
    pub(crate) crash_loaded: Option<bool>,
    /// What `crashkernel=` sets aside.
    pub(crate) crash_memory: Option<String>,
    /// Why no kernel can be loaded any more.
    pub(crate) locked: Option<String>,
    /// What says that KHO is on, and LUO.
    pub(crate) kho: Option<String>,
    pub(crate) luo: Option<String>,
    /// Whether the handover is finalized, where the kernel has such a step.
    pub(crate) finalized: Option<bool>,
    /// Whether the kernel was booted by a handover.
    pub(crate) booted_by_one: bool,
    /// Whether the root FDT in debugfs is cut short, and whether it is there at all.
    pub(crate) is_cut: bool,
    pub(crate) shows_root: bool,
    /// Where it would be.
    pub(crate) root_at: String,
    /// Whether debugfs shows the subtrees, and none of memblock.
    pub(crate) no_memblock: bool,
    /// The regions of its own command line.
    pub(crate) asked_for: Vec<Region>,
}

impl Facts {
    /// Those of the handover that `survey` found.
    pub(crate) fn of(survey: &Survey<'_>) -> Self {
        let mut contents = survey.found.iter().map(|found| &*found.contents);
        let memblock =
            contents.find_map(|contents| (contents as &dyn Any).downcast_ref::<Memblock>());
        let region = |region: &kho_core::Region| {
            Some(Region {
                name: region.name.clone(),
                start: Some(region.range?.start().get()),
                size: region.range?.len(),
            })
        };
        let regions = memblock.iter().flat_map(|memblock| memblock.regions());
        let regions = regions.filter_map(region);
        let scratch = survey.scratch.as_ref().map(|table| table.areas());
        let orders = survey
            .preserved
            .as_ref()
            .map(|preserved| preserved.by_order());
        // Low memory, global, then one area per node.
        let nodes = scratch.and_then(|areas| (areas.len() as u64).checked_sub(2));
        let area = |area: &PhysRange| Area {
            start: Some(area.start().get()),
            len: area.len(),
        };
        let areas = scratch.map(|areas| areas.iter().map(area));
        Self {
            regions: Shown::new(regions, "the handover"),
            scratch: areas.and_then(|areas| Shown::new(areas, "its scratch table")),
            largest_order: orders.map(|orders| {
                let orders = orders.iter().filter(|(_, keys)| *keys > 0);
                orders
                    .map(|(order, _)| u32::from(order.get()))
                    .max()
                    .unwrap_or(0)
            }),
            nodes: nodes.filter(|nodes| *nodes > 0),
            across: survey
                .preserved
                .as_ref()
                .zip(scratch)
                .and_then(|(preserved, areas)| across(preserved, areas)),
            here: None,
        }
    }

    /// Those of the running system below `root`.
    pub(crate) fn running(root: &Path, line: &CommandLine, config: Option<&Config>) -> Self {
        let flag = |path: &str| number(&root.join(path)).map(|number| number != 0);
        let asked_for = line.regions().into_iter().map(|region| Region {
            name: region.name,
            start: None,
            size: region.size,
        });
        let asked_for: Vec<_> = asked_for.collect();
        let (out, subtrees) = (root.join(KHO_OUT), root.join(KHO_SUBTREES));
        let default = config.is_some_and(Config::is_on_by_default);
        let kho = line.switch("kho", default);
        let kho = match (out.exists(), kho.on, kho.words.last()) {
            (true, ..) => Some(format!("{} is there", out.display())),
            (_, true, Some(word)) => Some(format!("{word} on its command line")),
            (_, true, None) => config.map(|c| c.says("CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT")),
            _ => None,
        };
        let luo = line.switch("liveupdate", false);
        let device = root.join("dev/liveupdate");
        let luo = match (device.exists(), luo.on) {
            (true, _) => Some(format!("{} is there", device.display())),
            (_, true) => luo
                .words
                .last()
                .map(|word| format!("{word} on its command line")),
            _ => None,
        };
        let locks = ["kexec_load_disabled", "kexec_load_limit_reboot"]
            .into_iter()
            .zip([1, 0]);
        let lock = |(name, value): (&str, u64)| {
            let path = root.join("proc/sys/kernel").join(name);
            (number(&path) == Some(value)).then(|| format!("{} is {value}", path.display()))
        };
        let here = Here {
            loaded: flag("sys/kernel/kexec_loaded"),
            crash_loaded: flag("sys/kernel/kexec_crash_loaded"),
            crash_memory: line.last("crashkernel").map(str::to_owned),
            locked: { locks }.find_map(lock),
            kho,
            luo,
            finalized: flag(&format!("{KHO_OUT}/finalize")),
            booted_by_one: root.join(KHO_IN).exists(),
            is_cut: false,
            shows_root: false,
            root_at: root.join(ROOT_FDT).display().to_string(),
            no_memblock: subtrees.is_dir() && !subtrees.join("memblock").exists(),
            asked_for: asked_for.clone(),
        };
        let shown = read(&subtrees.join("memblock")).ok();
        let shown = shown.and_then(|bytes| MemblockFdt::decode(&bytes, BASE).ok()?.regions);
        let regions = match shown {
            Some(regions) => {
                let regions = regions.into_iter().filter_map(|region| {
                    let (start, size) = region.place?;
                    Some(Region {
                        name: region.name,
                        start: Some(start.get()),
                        size,
                    })
                });
                Shown::new(regions, "what debugfs shows of memblock")
            }
            None => Shown::new(asked_for, "its own command line"),
        };
        Self {
            regions,
            scratch: scratch(root, line),
            largest_order: None,
            nodes: nodes(root),
            across: None,
            here: Some(here),
        }
    }

    /// A region that shares memory with a scratch area.
    pub(crate) fn region_in_scratch(&self) -> Option<&Region> {
        let areas = &self.scratch.as_ref()?.all;
        self.regions.as_ref()?.all.iter().find(|region| {
            let Some(start) = region.start else {
                return false;
            };
            let shares = |area: &Area| {
                let Area { start: at, len } = *area;
                at.is_some_and(|at| {
                    start < at.saturating_add(len) && at < start.saturating_add(region.size)
                })
            };
            areas.iter().any(shares)
        })
    }
}

/// The scratch areas that debugfs shows, or else those that the command line asks for.
fn scratch(root: &Path, line: &CommandLine) -> Option<Shown<Area>> {
    let out = root.join(KHO_OUT);
    let numbers = |name: &str| -> Option<Vec<u64>> {
        let text = text(&out.join(name)).ok()?;
        let hex = |line: &str| u64::from_str_radix(line.trim().trim_start_matches("0x"), 16);
        text.lines().map(hex).collect::<Result<_, _>>().ok()
    };
    if let (Some(starts), Some(sizes)) = (numbers("scratch_phys"), numbers("scratch_len")) {
        let area = |(start, len)| Area {
            start: Some(start),
            len,
        };
        let areas = starts.into_iter().zip(sizes).map(area);
        return Shown::new(areas, format!("{}/scratch_len", out.display()));
    }
    let asked = line.last("kho_scratch")?;
    let areas = asked.split(',').map(|size| match bytes(size) {
        Some((len, "")) => Some(Area { start: None, len }),
        _ => None,
    });
    let areas: Vec<_> = areas.collect::<Option<_>>()?;
    Shown::new(areas, format!("kho_scratch={asked} on its command line"))
}

/// The first preserved pages that lie where two nodes meet: between the scratch areas that they have. `None` where
/// not all of the nodes have one.
fn across(preserved: &Preserved, areas: &[PhysRange]) -> Option<Option<u64>> {
    let mut nodes = areas.get(2..)?.to_vec();
    if nodes.iter().any(PhysRange::is_empty) {
        return None;
    }
    nodes.sort_unstable_by_key(PhysRange::start);
    let end = |area: &PhysRange| area.start().get() + area.len();
    let borders = || {
        nodes
            .iter()
            .map(end)
            .zip(nodes.iter().skip(1).map(|area| area.start().get()))
    };
    let lies = |run: &PageRun| {
        let start = run.addr().get();
        let end = start.saturating_add(run.pages.saturating_mul(PAGE_SIZE_U64));
        run.pages > 1 && borders().any(|(first, last)| start < last && end > first)
    };
    let found = preserved.page_runs().find(lies);
    Some(found.map(|run| run.addr().get()))
}

/// How many NUMA nodes there are.
fn nodes(root: &Path) -> Option<u64> {
    let text = text(&root.join("sys/devices/system/node/online")).ok()?;
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    text.trim().split(',').map(count).sum()
}
