//! `vm mismatch`: what a real kernel does with what it does not know.

mod alter;
mod reaction;
mod rows;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::failure::Failure;
use crate::image::Placed;
use crate::inject::{retrieve_all, tempdir};
use crate::made::Made;
use crate::options::{Options, Vm};
use crate::pack;
use crate::reading::{self, Reading};
use crate::run::Outcome;

use alter::Memory;
use reaction::Observed;
use rows::From;
pub(crate) use rows::{ROWS, Row};
pub(crate) use table::check_if_of;

/// Hand altered memory to a real kernel, a row of a table at a time, and see what it does.
///
/// A small handover is made, one thing in it is altered (a version, a name, a count), and a kernel is booted
/// with it. What then becomes of the machine, of /dev/liveupdate and of each session and file is one row.
/// docs/real-kernel.md has the table: --write brings it up to date, --check fails where it is not.
///
/// It fails where a reaction is another one than is known of Linux 7.3.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm mismatch
  cargo xtask vm mismatch --only luo
  cargo xtask vm mismatch --write")]
pub(crate) struct Args {
    /// Only the rows whose name has this in it.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write the table into docs/real-kernel.md.
    #[arg(long, conflicts_with_all = ["only", "check"])]
    write: bool,
    /// Fail unless docs/real-kernel.md has the table.
    #[arg(long, conflicts_with = "only")]
    check: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

/// A kernel that hangs does so for good.
const LIMIT: Duration = Duration::from_secs(60);
/// What is altered.
const MADE: Made = Made {
    sessions: 2,
    files: 6,
    seed: 1,
    order: 2,
};

pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let vm = args.options.vm()?;
    let only = args.only.as_deref().unwrap_or_default();
    let rows: Vec<_> = ROWS.iter().filter(|row| row.name.contains(only)).collect();
    if rows.is_empty() {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        let text = format!("no row `{only}`: there are {}", names.join(", "));
        return Err(Failure::CanNot(text));
    }
    let bench = Bench::new(&vm)?;
    let mut seen = Vec::new();
    for row in &rows {
        seen.push(bench.see(row)?);
    }
    if args.json {
        println!("{:#}", json(&seen));
    } else {
        println!("{}", table::text(&seen));
    }
    let wrong: Vec<_> = seen.iter().filter_map(Seen::wrong).collect();
    for wrong in &wrong {
        println!("wrong: {wrong}");
    }
    if args.write {
        table::write(&seen)?;
    } else if args.check {
        table::check(&seen)?;
    }
    Ok(wrong.is_empty())
}

/// A row, and what was observed.
pub(crate) struct Seen {
    pub(crate) row: &'static Row,
    pub(crate) observed: Observed,
}

impl Seen {
    /// Whether the reaction is the known one.
    fn is_expected(&self) -> bool {
        self.observed.reaction == self.row.expected
    }

    /// How the reaction is not the known one.
    pub(crate) fn wrong(&self) -> Option<String> {
        let Observed { reaction, says, .. } = &self.observed;
        let (name, expected) = (self.row.name, self.row.expected);
        let said = says.join("; ");
        (!self.is_expected()).then(|| format!("{name}: {reaction} ({said}), not: {expected}"))
    }
}

/// What rows are tried with.
pub(crate) struct Bench {
    vm: Vm,
    // Directories that handovers are made of.
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new(vm: &Vm) -> Result<Self, Failure> {
        let mut vm = vm.clone();
        vm.qemu.limit = vm.qemu.limit.min(LIMIT);
        let dir = tempdir()?;
        let bench = Self { vm, dir };
        for from in [From::Plain, From::NoFlbs, From::MoreFlbs] {
            MADE.write(&bench.path(&from), &from.flbs())?;
        }
        Ok(bench)
    }

    /// The directory with as many FLBs.
    fn path(&self, from: &From) -> PathBuf {
        self.dir.path().join(from.flbs().len().to_string())
    }

    /// Boots a kernel with what the row says.
    pub(crate) fn see(&self, row: &'static Row) -> Result<Seen, Failure> {
        let dir = tempdir()?;
        let dialect = row.from.dialect();
        let image = pack::pack(&self.path(&row.from), &[], dialect, dir.path())?;
        let placed = Placed::open(&image, dir.path())?;
        // What is there before it is altered is what should come back.
        let reading = reading::read(&placed.memory()?, placed.entry)?;
        let mut memory = Memory::read(&placed)?;
        (row.alter)(&mut memory, &reading)?;
        memory.write(&placed)?;
        let observed = observe(&self.vm, &placed, row.name, &reading, &dir)?;
        Ok(Seen { row, observed })
    }
}

fn observe(
    vm: &Vm,
    placed: &Placed,
    name: &str,
    reading: &Reading,
    dir: &TempDir,
) -> Result<Observed, Failure> {
    let plan = retrieve_all(&reading.sessions);
    let machine = placed.machine(vm, &[plan], false, dir)?;
    let outcome = match machine.run(vm, name) {
        Ok(outcome) => outcome,
        // A guest that hangs is a reaction as well.
        Err(Failure::NoEnd { log, .. }) => Outcome::hung(log),
        Err(failure) => return Err(failure),
    };
    Ok(Observed::of(&reading.sessions, &outcome))
}

fn json(seen: &[Seen]) -> Value {
    let row = |seen: &Seen| {
        json!({
            "name": seen.row.name,
            "altered": seen.row.altered,
            "reaction": seen.observed.reaction.id(),
            "does": seen.observed.reaction.to_string(),
            "detail": seen.observed.detail,
            "says": seen.observed.says,
            "kernel": seen.observed.release,
            "expected": seen.is_expected(),
        })
    };
    seen.iter().map(row).collect()
}

impl Outcome {
    /// A guest of which nothing is known but that it did not end.
    pub(super) fn hung(log: String) -> Self {
        let (facts, seconds) = (Vec::new(), 0.0);
        Self {
            facts,
            log,
            seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reaction::Reaction;
    use super::*;

    #[test]
    fn rows_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        assert_eq!(ROWS[0].expected, Reaction::Restored);
    }
}
