//! `--policy NAME`: the policies that this program knows, and the option of all commands that take one.

use std::ffi::OsStr;
use std::sync::OnceLock;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Command, Error};
use kho_compat::policy::{ALL, Policy, SemverRange, find};

/// A policy that lives as long as the program.
pub(crate) type StaticPolicy = &'static (dyn Policy + Sync);

static KNOWN: OnceLock<Vec<StaticPolicy>> = OnceLock::new();

/// Adds the policies of a program of one's own to those of kho-compat. What comes first has its name.
pub(crate) fn add(more: &[StaticPolicy]) {
    // Once: before the command line is looked at.
    let _ = KNOWN.set(more.iter().chain(ALL).copied().collect());
}

/// The policies that this program knows.
pub(crate) fn known() -> &'static [StaticPolicy] {
    KNOWN.get_or_init(|| ALL.to_vec())
}

/// The option of a command that judges by one policy.
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    /// The policy that governs what is read and restored, and when it is refused.
    #[arg(long, value_name = "NAME", default_value = SemverRange.name(), value_parser = ByName)]
    pub(crate) policy: PolicyArg,
}

/// A policy by its name.
#[derive(Clone, Copy)]
pub(crate) struct PolicyArg(pub(crate) StaticPolicy);

impl std::fmt::Debug for PolicyArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

/// Finds a policy by its name; `--help` lists all.
#[derive(Clone)]
pub(crate) struct ByName;

impl TypedValueParser for ByName {
    type Value = PolicyArg;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<PolicyArg, Error> {
        let of = |name: String| {
            find(known(), &name).map(PolicyArg).ok_or_else(|| {
                let names: Vec<_> = known().iter().map(|policy| policy.name()).collect();
                format!("no policy of this name; there are {}", names.join(", "))
            })
        };
        let parser = StringValueParser::new().try_map(of);
        parser.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let policies = known().iter();
        let values = policies.map(|one| PossibleValue::new(one.name()).help(one.summary()));
        Some(Box::new(values))
    }
}
