//! Policies: how versions are written, and how a handover is judged. One file each behind one trait.
//!
//! | policy | written as | found |
//! |---|---|---|
//! | [`GlobalVersion`] | the root's number | before anything is restored |
//! | [`CompositeExact`] | composite strings | before anything is restored |
//! | [`CompositeByToken`] | composite strings | before anything is restored |
//! | [`SemverRange`] | composite strings | before anything is restored |
//! | [`ComponentCallback`] | composite strings | before anything is restored |
//! | [`NewestCommon`] | a table of integers, the newest that both sides know | before anything is restored |
//! | [`CheckAtRestore`] | a table of integers | by each component, when its turn comes |
//! | [`FeatureMasks`] | masks in place of numbers | before anything is restored |
//!
//! What is found before anything is restored can be found before leaving as well, where the next side
//! is known: the judgement is the same.
//!
//! Each is a [`Rule`] for one string, of which [`judge_strings`] makes a verdict. One written elsewhere is made of
//! the same parts and is as good as these: [`Rule`] has an example.

use core::fmt;

mod callback;
mod exact;
mod global;
mod judge;
mod late;
mod masks;
mod newest;
mod range;
mod rule;
mod token;

pub use callback::ComponentCallback;
pub use exact::CompositeExact;
pub use global::GlobalVersion;
pub use judge::judge_strings;
pub use late::CheckAtRestore;
pub use masks::FeatureMasks;
pub use newest::NewestCommon;
pub use range::SemverRange;
pub use rule::{Found, InRange, Rule, restorable};
pub use token::CompositeByToken;

pub use crate::turns::judged_alone;

use crate::{Manifest, RegistryError, Side, Strings, Verdict, Writing};

/// When a policy finds a mismatch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum When {
    /// Before anything is restored, and so before leaving too, where the next side is known.
    BeforeRestoring,
    /// While restoring: each component looks at its own version when its turn comes.
    WhileRestoring,
}

impl When {
    /// `before-restoring` or `while-restoring`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::BeforeRestoring => "before-restoring",
            Self::WhileRestoring => "while-restoring",
        }
    }

    /// `before restoring` or `while restoring`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::BeforeRestoring => "before restoring",
            Self::WhileRestoring => "while restoring",
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// Whether a component sees what the components that it needs need themselves: a setting of the
/// policies that write composite strings. Both were proposed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Needs {
    /// A string lists all that its component needs, directly or not.
    #[default]
    Transitive,
    /// A string lists what its component needs itself. A component that starts to need another one
    /// leaves its users' strings as they are.
    Direct,
}

impl Needs {
    /// The strings that list them.
    #[must_use]
    pub const fn strings(self) -> Strings {
        match self {
            Self::Transitive => Strings::Transitive,
            Self::Direct => Strings::Direct,
        }
    }
}

/// How versions are written, and how what is handed over is judged against what the receiving side
/// can restore.
///
/// A policy is deterministic: the same manifest and side give the same verdict.
pub trait Policy {
    /// The policy's name, as commands take and print it.
    fn name(&self) -> &'static str;

    /// What it promises, in a line.
    fn summary(&self) -> &'static str;

    /// How versions are written where this policy judges.
    fn writing(&self) -> Writing {
        Writing::COMPOSITE
    }

    /// When it finds a mismatch.
    fn when(&self) -> When {
        When::BeforeRestoring
    }

    /// The versions that `side` writes, as a side, where `next` is to read them: its own.
    fn as_written(&self, side: &Side, next: Option<&Side>) -> Side {
        let _ = next;
        side.clone()
    }

    /// What `side` writes if all that it knows is in use: in its own dialect, or in this policy's where
    /// that is not known. `next` is who is to read it, where that is known before leaving.
    ///
    /// # Errors
    ///
    /// A component's name is none that a compat string could hold.
    fn write(&self, side: &Side, next: Option<&Side>) -> Result<Manifest, RegistryError> {
        let written = self.as_written(side, next);
        let writing = side.dialect().unwrap_or_else(|| self.writing());
        Manifest::written_by(&written, writing)
    }

    /// The version as which `component` is read where this policy takes it, of which `manifest` announces a
    /// version or none: the announced one, where numbers say what the layout is. A layout that no code here reads is
    /// not read, whatever this says.
    fn reads_as(
        &self,
        component: &str,
        announced: Option<u32>,
        manifest: &Manifest,
        side: &Side,
    ) -> Option<u32> {
        let _ = (component, manifest, side);
        announced
    }

    /// Judges `manifest`: one finding per entry, in the manifest's order.
    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict;
}

/// The policies of this crate: adding one adds a file and a line here.
pub const ALL: &[&(dyn Policy + Sync)] = &[
    &GlobalVersion,
    &CompositeExact(Needs::Transitive),
    &CompositeExact(Needs::Direct),
    &CompositeByToken(Needs::Transitive),
    &CompositeByToken(Needs::Direct),
    &SemverRange,
    &ComponentCallback,
    &NewestCommon,
    &CheckAtRestore,
    &FeatureMasks,
];

/// The policy `name` of `policies`: of [`ALL`], and of one's own.
#[must_use]
pub fn find<'p>(
    policies: &[&'p (dyn Policy + Sync)],
    name: &str,
) -> Option<&'p (dyn Policy + Sync)> {
    policies
        .iter()
        .copied()
        .find(|policy| policy.name() == name)
}

/// The policy `name` of this crate.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static (dyn Policy + Sync)> {
    find(ALL, name)
}

impl fmt::Debug for dyn Policy + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
