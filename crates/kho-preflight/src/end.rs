//! One end of the way: what a kernel, a handover, a file or a program says of itself, as plain data.

use std::collections::BTreeSet;

use kho_compat::{Carrier, Compat, Features, Side};

use crate::boot::Boot;
use crate::facts::Facts;
use crate::item::{Item, Spot, Uses};

/// One end of a move, read: what is left, or what takes over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct End {
    /// What was given: a path, or `running`.
    pub name: String,
    /// What it is, as programs see it.
    pub kind: EndKind,
    /// Whose it is: `Linux 7.3.4`.
    pub title: String,
    /// What it came in: `x86 boot image, zstd`.
    pub form: String,
    /// The kernel's release, where it is known.
    pub release: Option<String>,
    /// The machine that it is for, as `uname -m` names it.
    pub arch: Option<String>,
    /// What is known of it, and from where.
    pub evidence: Vec<String>,
    /// What a person should know besides.
    pub notes: Vec<String>,
    pub(crate) what: What,
    /// What it is booted with, where it takes over.
    pub(crate) boot: Boot,
    /// What is seen of what it hands over.
    pub(crate) facts: Facts,
}

/// What an end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EndKind {
    /// The kernel that runs here.
    Running,
    /// A kernel image.
    Kernel,
    /// A handover in a memory dump.
    Dump,
    /// A manifest file.
    Manifest,
    /// A program that answered.
    Program,
}

impl End {
    /// The name of the policy by which it judges what it takes over, where it says one.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        match &self.what {
            What::Listed(listed) => listed.policy.as_deref(),
            _ => None,
        }
    }
}

impl EndKind {
    /// As programs see it: `kernel-image`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Running => "running-kernel",
            Self::Kernel => "kernel-image",
            Self::Dump => "memory-dump",
            Self::Manifest => "manifest-file",
            Self::Program => "program",
        }
    }

    /// In a sentence: `a kernel image`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Running => "the running kernel",
            Self::Kernel => "a kernel image",
            Self::Dump => "a handover in a memory dump",
            Self::Manifest => "a manifest file",
            Self::Program => "a program",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Kernel(Kernel),
    Dump(Dump),
    Listed(Listed),
}

/// What is seen of a kernel from outside.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// What shows that it has KHO, or that it has none.
    pub(crate) kho: Result<String, String>,
    /// What shows that it has LUO.
    pub(crate) luo: Option<String>,
    /// Strings that it compares with. Those without a carrier are nodes of older kernels.
    pub(crate) seen: Vec<Seen>,
    /// Strings whose carrier can not be told.
    pub(crate) candidates: Vec<Seen>,
    /// Its feature masks.
    pub(crate) masks: Vec<Masks>,
    /// Whether its modules were read, and those that have strings.
    pub(crate) with_modules: bool,
    pub(crate) modules: Vec<String>,
    /// Why it hands nothing over although it could.
    pub(crate) idle: Option<String>,
    /// Why it hands no sessions over although it could.
    pub(crate) no_sessions: Option<String>,
    /// What the running kernel says of what it will hand over.
    pub(crate) root: Option<Root>,
}

impl Kernel {
    /// One that is known by `kho` and `luo` so far.
    pub(crate) const fn new(kho: Result<String, String>, luo: Option<String>) -> Self {
        Self {
            kho,
            luo,
            seen: Vec::new(),
            candidates: Vec::new(),
            masks: Vec::new(),
            with_modules: false,
            modules: Vec::new(),
            idle: None,
            no_sessions: None,
            root: None,
        }
    }

    /// Its strings in `carrier`.
    pub(crate) fn carried_in(&self, carrier: Carrier) -> impl Iterator<Item = &Seen> {
        self.seen
            .iter()
            .filter(move |seen| seen.carrier == Some(carrier))
    }

    /// Whether a part of it, or a list of its features, is called `name`.
    pub(crate) fn names(&self, name: &str) -> bool {
        let seen = |seen: &Seen| seen.compat.base().name() == name;
        self.seen.iter().any(seen) || self.masks.iter().any(|masks| masks.name == name)
    }
}

/// A string of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) compat: Compat,
    pub(crate) carrier: Option<Carrier>,
    pub(crate) spot: Spot,
}

/// Feature masks of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Masks {
    pub(crate) name: String,
    pub(crate) features: Features,
    pub(crate) spot: Spot,
}

/// The root FDT that a running kernel shows.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) compatible: String,
    pub(crate) subtrees: Vec<String>,
    pub(crate) spot: Spot,
}

/// What is in use in a handover.
#[derive(Clone, Debug)]
pub(crate) struct Dump {
    pub(crate) items: Vec<Item>,
    pub(crate) uses: Option<Uses>,
    /// What was not read, since it is of a version that this build does not know.
    pub(crate) unread: Option<String>,
}

/// What a program or a file lists.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) side: Side,
    pub(crate) in_use: Option<(Vec<Item>, Uses)>,
    /// The policy by which it judges.
    pub(crate) policy: Option<String>,
    /// Whether it refuses what optional parts are lost of.
    pub(crate) whole: bool,
    /// Components of files that it has no handler for.
    pub(crate) unhandled: BTreeSet<String>,
}
