//! Known defects of kernel releases, as data: one table.

use std::fmt;

use kho_compat::Decision;

use crate::condition::{Cost, State};
use crate::release::Releases;

/// A known defect of kernel releases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Defect {
    /// As programs see it: `huge-block`.
    pub id: &'static str,
    /// Releases that hand over; `None` for any.
    pub from: Option<Releases>,
    /// Releases that take over; `None` for any.
    pub to: Option<Releases>,
    /// What of a handover or a system meets it.
    pub when: Trigger,
    /// What it costs then.
    pub cost: Cost,
    /// What happens.
    pub consequence: &'static str,
    /// How to get around it.
    pub advice: &'static str,
    /// The releases that it was measured with.
    pub measured: &'static [&'static str],
    /// Where this is known from.
    pub source: &'static str,
}

/// What meets a known defect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Trigger {
    /// Any handover that the next kernel takes.
    Any,
    /// Any handover with LUO that the next kernel takes.
    Sessions,
    /// A memfd in a handover that the next kernel takes.
    Memfd,
    /// A file whose handler the next kernel does not know.
    UnknownHandler,
    /// A preserved range of pages across a border between NUMA nodes.
    AcrossNodes,
    /// A block of 2 GiB or more.
    HugeBlock,
    /// A region that shares memory with a scratch area.
    RegionInScratch,
    /// A region on the next command line that the handover does not have.
    FreshRegion,
    /// Regions on this system's command line, in a kernel that a handover booted, and no memblock subtree.
    SubtreeDropped,
    /// A region that is not whole pages.
    PartialPage,
    /// A root FDT in debugfs that is shorter than it says.
    CutFdt,
    /// No root FDT in debugfs, in a kernel that a handover booted.
    NoFdt,
    /// A crash kernel is loaded.
    CrashKernel,
}

/// A known defect that a move or a handover meets, or may meet.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MetDefect {
    /// The defect.
    pub defect: &'static Defect,
    /// [`State::Met`], or [`State::NotSeen`] where it can not be seen from here.
    pub state: State,
    /// What shows it, or why nothing does.
    pub evidence: String,
    /// Whether the releases at hand are among those that it was measured with.
    pub is_measured: bool,
}

impl MetDefect {
    /// What it decides by itself.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self.state {
            State::Met => self.defect.cost.decision(),
            State::NotMet | State::NotSeen => Decision::Accept,
        }
    }

    /// With which releases it was measured, and whether those at hand are among them, in words.
    #[must_use]
    pub fn measured(&self) -> String {
        let with = self.defect.measured.join(", ");
        match (self.defect.measured, self.is_measured) {
            ([], _) => format!("not measured; {}", self.defect.source),
            (_, true) => format!("measured with Linux {with}"),
            (_, false) => format!("measured with Linux {with}, not with these releases"),
        }
    }
}

/// Its name, what shows it, what happens, and how that is known.
impl fmt::Display for MetDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Defect {
            id, consequence, ..
        } = self.defect;
        write!(
            f,
            "{id}: {}; {consequence} ({})",
            self.evidence,
            self.measured()
        )
    }
}

const fn releases(first: [u32; 3], last: [u32; 3]) -> Option<Releases> {
    Some(Releases::new(first, last))
}

const LAST: u32 = u32::MAX;

/// The known defects. A range ends with the last release that was looked at.
pub static DEFECTS: &[Defect] = &[
    Defect {
        id: "bitmap-grew",
        from: releases([6, 16, 0], [6, 17, 8]),
        to: releases([6, 17, 9], [7, 0, LAST]),
        when: Trigger::Any,
        cost: Cost::Machine,
        consequence: "the next kernel reads bitmaps of 512 bytes as 4096 and faults before its console is up",
        advice: "go through a cold boot",
        measured: &["6.17.8", "6.18.15", "6.19.10"],
        source: "bitmaps of kho-v1 grew in 6.18 and 6.17.9 under one string",
    },
    Defect {
        id: "bitmap-shrank",
        from: releases([6, 17, 9], [7, 0, LAST]),
        to: releases([6, 16, 0], [6, 17, 8]),
        when: Trigger::Any,
        cost: Cost::Everything,
        consequence: "the next kernel reads an eighth of each bitmap: memory that was preserved is \
                      overwritten once memory runs short",
        advice: "go through a cold boot",
        measured: &["6.17.8", "6.18.15", "6.19.10"],
        source: "bitmaps of kho-v1 grew in 6.18 and 6.17.9 under one string",
    },
    Defect {
        id: "flb-node-missing",
        from: releases([6, 19, 0], [6, 19, LAST]),
        to: releases([7, 0, 0], [7, 0, LAST]),
        when: Trigger::Sessions,
        cost: Cost::Machine,
        consequence: "the next kernel panics, since 6.19 writes no node `luo-flb`",
        advice: "go through a cold boot",
        measured: &[],
        source: "7.1.13 panics if the node is renamed, and 7.0 checks it the same way",
    },
    Defect {
        id: "huge-block",
        from: None,
        to: releases([6, 16, 0], [7, 1, LAST]),
        when: Trigger::HugeBlock,
        cost: Cost::Everything,
        consequence: "the size of a block of 2 GiB or more overflows: its memory is not kept, or all memory \
                      from it on is lost to the next kernel",
        advice: "ask for smaller regions, or for an alignment below 2G",
        measured: &["7.1.13"],
        source: "fixed in 7.2; 7.2.6 was measured to be right",
    },
    Defect {
        id: "range-across-nodes",
        from: None,
        to: releases([7, 1, 0], [7, 3, LAST]),
        when: Trigger::AcrossNodes,
        cost: Cost::Part,
        consequence: "a range of pages across the border of two NUMA nodes is restored in part: it is written \
                      as smaller keys than restoring assumes",
        advice: "",
        measured: &[],
        source: "read in the sources of 7.1.13, 7.2.6 and 7.3.4",
    },
    Defect {
        id: "region-in-scratch",
        from: releases([6, 16, 0], [7, 3, LAST]),
        to: None,
        when: Trigger::RegionInScratch,
        cost: Cost::Part,
        consequence: "the region came from a scratch area, which the next kernel overwrites",
        advice: "cold boot once with the region on the command line",
        measured: &["6.19.10", "7.1.13", "7.3.4"],
        source: "a region that is new in a kernel that a handover booted lies in scratch",
    },
    Defect {
        id: "memblock-dropped",
        from: releases([6, 19, 0], [7, 3, LAST]),
        to: None,
        when: Trigger::SubtreeDropped,
        cost: Cost::Part,
        consequence: "a region was new in this kernel, which a handover booted: no region of this system is \
                      handed over, older ones included",
        advice: "cold boot once with the regions on the command line",
        measured: &["6.19.10", "7.1.13", "7.3.4"],
        source: "kernels with CONFIG_KEXEC_HANDOVER_DEBUG drop the memblock subtree",
    },
    Defect {
        id: "fresh-region",
        from: None,
        to: releases([6, 19, 0], [7, 3, LAST]),
        when: Trigger::FreshRegion,
        cost: Cost::Nothing,
        consequence: "the next kernel takes the new region from a scratch area: at the handover after this one \
                      it is lost, and with CONFIG_KEXEC_HANDOVER_DEBUG all regions are",
        advice: "ask for new regions at a cold boot",
        measured: &["6.19.10", "7.1.13", "7.3.4"],
        source: "a region that is new in a kernel that a handover booted lies in scratch",
    },
    Defect {
        id: "partial-page",
        from: releases([6, 18, 0], [7, 3, LAST]),
        to: None,
        when: Trigger::PartialPage,
        cost: Cost::Nothing,
        consequence: "the tail of a region that is not whole pages is not preserved",
        advice: "ask for a size of whole pages",
        measured: &[],
        source: "read in the sources of 6.18.15 to 7.3.4",
    },
    Defect {
        id: "session-cut",
        from: None,
        to: releases([6, 19, 0], [6, 19, LAST]),
        when: Trigger::UnknownHandler,
        cost: Cost::Sessions,
        consequence: "that file and the later ones of its session are dropped, and nobody is told: the device \
                      opens, and retrieving them says ENOENT",
        advice: "",
        measured: &["6.19.10"],
        source: "one handler string was altered in memory",
    },
    Defect {
        id: "memfd-sealed",
        from: releases([6, 19, 0], [6, 19, LAST]),
        to: releases([6, 19, 0], [6, 19, LAST]),
        when: Trigger::Memfd,
        cost: Cost::Nothing,
        consequence: "each memfd comes back without its seals, and with F_SEAL_SEAL: it can not be sealed again",
        advice: "",
        measured: &["6.19.10"],
        source: "memfd-v1 does not carry seals",
    },
    Defect {
        id: "debugfs-cut",
        from: releases([6, 19, 0], [7, 3, LAST]),
        to: None,
        when: Trigger::CutFdt,
        cost: Cost::Nothing,
        consequence: "debugfs shows the beginning of the root FDT alone; what is handed over is whole",
        advice: "",
        measured: &["6.19.10", "7.1.13", "7.2.6", "7.3.4"],
        source: "the file is as long as the FDT was at boot",
    },
    Defect {
        id: "debugfs-no-fdt",
        from: releases([6, 19, 0], [7, 3, LAST]),
        to: None,
        when: Trigger::NoFdt,
        cost: Cost::Nothing,
        consequence: "a kernel that a handover booted does not show what it hands over itself",
        advice: "",
        measured: &["6.19.10", "7.1.13", "7.2.6", "7.3.4"],
        source: "out/fdt is not there",
    },
    Defect {
        id: "crash-kernel-entry",
        from: releases([6, 16, 0], [6, 19, LAST]),
        to: None,
        when: Trigger::CrashKernel,
        cost: Cost::Nothing,
        consequence: "the crash kernel is given the entry of the handover too",
        advice: "boot the crash kernel with kho=off",
        measured: &[],
        source: "read in the sources of 6.17.8 to 6.19.10",
    },
];
