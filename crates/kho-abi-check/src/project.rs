//! What is checked, and how.

use std::path::{Path, PathBuf};

use crate::kernel::KernelTypes;
use crate::{Date, Vectors};

/// A project whose components are checked: a workspace, or a crate of its own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Project {
    /// Where its root manifest stands.
    pub root: PathBuf,
    /// The directory of the snapshots, from the root.
    pub snapshots: String,
    /// The allow-list, from the root. It need not be there.
    pub allow: String,
    /// A document with generated parts, from the root.
    pub docs: Option<String>,
    /// The command that writes snapshots, as findings name it.
    pub bless: String,
}

impl Project {
    /// The project whose root manifest stands in `root`: its snapshots in `abi-snapshots/`, its
    /// allow-list in `abi-allow.toml`.
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self {
            root: root.as_ref().to_owned(),
            snapshots: "abi-snapshots".to_owned(),
            allow: "abi-allow.toml".to_owned(),
            docs: None,
            bless: "cargo xtask abi-check --bless".to_owned(),
        }
    }

    /// Names the document with generated parts.
    #[must_use]
    pub fn docs(mut self, path: &str) -> Self {
        self.docs = Some(path.to_owned());
        self
    }

    /// Names the command that writes snapshots.
    #[must_use]
    pub fn bless_with(mut self, command: &str) -> Self {
        self.bless = command.to_owned();
        self
    }
}

/// How a check is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options<'a> {
    /// The revision to compare with; what HEAD has in common with it counts. By default what it has
    /// in common with the main branch.
    pub base: Option<String>,
    /// Whether to write snapshots, strings and documents first.
    pub bless: bool,
    /// A real kernel's types to compare with.
    pub kernel: Option<&'a KernelTypes>,
    /// What day it is, for the allow-list.
    pub today: Date,
    /// The vectors of the components, instead of those that are linked into this program.
    pub vectors: Option<&'a [Vectors]>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            base: None,
            bless: false,
            kernel: None,
            today: Date::today(),
            vectors: None,
        }
    }
}

impl<'a> Options<'a> {
    /// Options for a test: the base from the variable `ABI_BASE`, and `ABI_BLESS=1` to write.
    #[must_use]
    pub fn from_env() -> Self {
        let base = std::env::var("ABI_BASE").ok();
        Self {
            base: base.filter(|name| !name.is_empty()),
            bless: std::env::var("ABI_BLESS").is_ok_and(|value| value == "1"),
            ..Self::default()
        }
    }

    /// Names the revision to compare with.
    #[must_use]
    pub fn base(mut self, revision: &str) -> Self {
        self.base = Some(revision.to_owned());
        self
    }

    /// Sets whether to write first.
    #[must_use]
    pub fn bless(mut self, bless: bool) -> Self {
        self.bless = bless;
        self
    }

    /// Compares with a real kernel's types.
    #[must_use]
    pub fn kernel(mut self, types: &'a KernelTypes) -> Self {
        self.kernel = Some(types);
        self
    }

    /// Sets the vectors, instead of those that are linked into this program.
    #[must_use]
    pub fn vectors(mut self, vectors: &'a [Vectors]) -> Self {
        self.vectors = Some(vectors);
        self
    }

    /// Sets the day.
    #[must_use]
    pub fn today(mut self, day: Date) -> Self {
        self.today = day;
        self
    }
}
