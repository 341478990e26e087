//! The policies and histories that commands know by name: those of a program of one's own, then ours.

use std::process::ExitCode;
use std::sync::OnceLock;

use kho_compat::Policy;
use kho_compat::policy::{ALL, find};
use kho_lab::BUILTIN;

/// A policy that commands know by name.
pub(crate) type Named = &'static (dyn Policy + Sync);

/// The `kho` command with policies and histories of one's own.
///
/// They stand before the built-in ones wherever a command takes a policy or a history by its name, and a
/// built-in one of the same name gives way:
///
/// ```no_run
/// use kho_compat::policy::{SemverRange, When};
/// use kho_compat::{Manifest, Policy, Side, Verdict};
///
/// /// As `semver-range`, under a name of its own.
/// struct Mine;
///
/// impl Policy for Mine {
///     fn name(&self) -> &'static str {
///         "mine"
///     }
///
///     fn summary(&self) -> &'static str {
///         "every component says which versions it restores"
///     }
///
///     fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
///         SemverRange.judge(manifest, side)
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     kho_cli::Kho::new().policies(&[&Mine]).main()
/// }
/// ```
#[derive(Clone, Copy, Default)]
pub struct Kho {
    policies: &'static [Named],
    histories: &'static [(&'static str, &'static str)],
}

static OWN: OnceLock<Kho> = OnceLock::new();

impl Kho {
    /// The command as it is.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            policies: &[],
            histories: &[],
        }
    }

    /// With these policies.
    #[must_use]
    pub const fn policies(mut self, policies: &'static [&'static (dyn Policy + Sync)]) -> Self {
        self.policies = policies;
        self
    }

    /// With these histories: names, and texts in the format that kho-lab's README describes.
    #[must_use]
    pub const fn histories(mut self, histories: &'static [(&'static str, &'static str)]) -> Self {
        self.histories = histories;
        self
    }

    /// Runs the command that this program's arguments ask for, as [`main`](crate::main).
    #[must_use]
    pub fn main(self) -> ExitCode {
        // A second call in one process keeps what the first one was given.
        let _ = OWN.set(self);
        crate::run()
    }
}

/// `own` and then `built_in`, each name once.
fn each_once<T: Copy>(own: &[T], built_in: &[T], name: impl Fn(&T) -> &'static str) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    for one in own.iter().chain(built_in) {
        if all.iter().all(|known| name(known) != name(one)) {
            all.push(*one);
        }
    }
    all
}

static POLICIES: OnceLock<Vec<Named>> = OnceLock::new();

/// All policies, each name once.
pub(crate) fn policies() -> &'static [Named] {
    let own = || OWN.get().map_or(&[][..], |own| own.policies);
    POLICIES.get_or_init(|| each_once(own(), ALL, |policy| policy.name()))
}

/// The names of all policies, as an error lists them.
pub(crate) fn policy_names() -> String {
    let names: Vec<_> = policies().iter().map(|policy| policy.name()).collect();
    names.join(", ")
}

/// The policy `name`.
pub(crate) fn policy(name: &str) -> Result<Named, String> {
    find(policies(), name)
        .ok_or_else(|| format!("no policy `{name}`; there are {}", policy_names()))
}

/// All histories, each name once.
pub(crate) fn histories() -> Vec<(&'static str, &'static str)> {
    let own = OWN.get().map_or(&[][..], |own| own.histories);
    each_once(own, BUILTIN, |history| history.0)
}
