//! `--policy NAME`: the option of all commands that take a policy.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Command, Error};
use kho_compat::policy::{Policy, SemverRange};

use crate::own::{self, Named};

/// The option of a command that judges by one policy.
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    /// The policy that governs what is read and restored, and when it is refused.
    #[arg(long, value_name = "NAME", default_value = SemverRange.name(), value_parser = ByName)]
    pub(crate) policy: PolicyArg,
}

/// A policy by its name.
#[derive(Clone, Copy)]
pub(crate) struct PolicyArg(pub(crate) Named);

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
        let parser = StringValueParser::new().try_map(|name| own::policy(&name).map(PolicyArg));
        parser.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let policies = own::policies().iter();
        let values = policies.map(|one| PossibleValue::new(one.name()).help(one.summary()));
        Some(Box::new(values))
    }
}
