//! A program's answer: what it says of itself when it is asked.

use super::{ASK_ENV, MARKER, ManifestFile, ManifestFileError};
use crate::{Registry, RegistryError};

/// What a program does with a handover, as far as its manifest says it: a [`Registry`], or the
/// configuration of a host.
pub trait Answer {
    /// The manifest of the program `name`.
    ///
    /// # Errors
    ///
    /// What it restores and what it writes contradict each other.
    fn manifest(&self, name: &str) -> Result<ManifestFile, RegistryError>;
}

impl Answer for Registry {
    fn manifest(&self, name: &str) -> Result<ManifestFile, RegistryError> {
        Ok(ManifestFile::of(name, self))
    }
}

impl<A: Answer + ?Sized> Answer for &A {
    fn manifest(&self, name: &str) -> Result<ManifestFile, RegistryError> {
        A::manifest(self, name)
    }
}

/// The components that are linked, and nothing else.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Linked;

impl Answer for Linked {
    fn manifest(&self, name: &str) -> Result<ManifestFile, RegistryError> {
        Registry::linked().map_err(Clone::clone)?.manifest(name)
    }
}

/// Answers `KHO_MANIFEST=1`: prints this program's manifest and exits. Without the variable nothing
/// happens. To be called by [`answer_manifest!`](crate::answer_manifest), first in `main`.
#[doc(hidden)]
pub fn answer(name: &str, version: &str, what: &dyn Answer) {
    if std::env::var_os(ASK_ENV).is_none_or(|value| value != "1") {
        return;
    }
    // What shows that this program answers must not be optimised away.
    std::hint::black_box(MARKER);
    let answer = what
        .manifest(&format!("{name} {version}"))
        .map_err(ManifestFileError::from)
        .and_then(|file| file.to_json());
    let code = match answer {
        Ok(text) => {
            use std::io::Write;
            let written = writeln!(std::io::stdout(), "{text}");
            i32::from(written.is_err())
        }
        Err(error) => {
            // Nobody else could be told.
            eprintln!("{name}: {error}");
            1
        }
    };
    std::process::exit(code)
}

/// Lets a program be asked what it can restore: the first line of its `main`.
///
/// With `KHO_MANIFEST=1` in its environment it prints its manifest (a
/// [`ManifestFile`](crate::file::ManifestFile)) and exits with 0. So `kho preflight` knows what a program takes over before it is started for that.
///
/// ```
/// kho_compat::answer_manifest!();
/// // What the program is for.
/// ```
///
/// A program that does not go by the linked components alone passes what it goes by: a [`Registry`], or the
/// `Config` of kho-exec that its host starts with. The manifest says its policy and dialect then.
///
/// ```
/// # use kho_compat::{Component, Generation, Registry};
/// # static PCI: Component = Component::new("pci", &[Generation::new(1)]);
/// let registry = Registry::new([&PCI])?;
/// kho_compat::answer_manifest!(registry);
/// # Ok::<(), kho_compat::RegistryError>(())
/// ```
#[macro_export]
macro_rules! answer_manifest {
    () => {
        $crate::answer_manifest!($crate::file::Linked)
    };
    ($config:expr) => {
        $crate::file::answer(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), &$config)
    };
}
