//! `vm chain`: from kernel to kernel.

use std::path::{Path, PathBuf};

use kho_guest::{Fact, Plan, Step};
use serde_json::{Value, json};

use crate::cut;
use crate::failure::Failure;
use crate::image::Placed;
use crate::inject::{Tally, compare, compare_preserved, retrieve_all, say, seconds, tempdir};
use crate::made::Made;
use crate::options::{Options, Vm};
use crate::pack;
use crate::qemu::command_line;
use crate::reading::{self, Reading, SessionRead};
use crate::run::Outcome;

/// Hand memfds to a real kernel, have it hand them on to the next one, and read what the last one gets.
///
/// What is injected is retrieved, finished, and preserved again by the guest, which then executes the same
/// kernel once more; that kernel's user space retrieves it and preserves it in its turn. The last kernel is
/// stopped as it enters kho_populate, and its memory is read here. Every file must be as it was at the start,
/// at each kernel and in the end: contents, size, position, seals.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm chain
  cargo xtask vm chain DIR --kernels 5
  cargo xtask vm chain --made sessions=20,files=300 --out chain.core.zst")]
pub(crate) struct Args {
    /// A directory or an image, as for `vm inject`; a small handover that is made up without one.
    #[arg(value_name = "DIR|IMAGE")]
    what: Option<PathBuf>,
    /// Make a handover up: some of sessions=N, files=N, seed=N, order=N.
    #[arg(long, value_name = "HOW", conflicts_with = "what")]
    made: Option<Made>,
    /// Kernels in a row, the one included that is stopped.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=20))]
    kernels: u32,
    /// Write what the last kernel gets there, as `vm capture` does.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON: the facts.
    #[arg(long)]
    json: bool,
    /// Write the kernels' log there.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// What is made up where nothing is given.
const SMALL: Made = Made {
    sessions: 3,
    files: 24,
    seed: 1,
    order: 4,
};

pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let vm = args.options.vm()?;
    let dir = tempdir()?;
    let image = match &args.what {
        Some(what) if what.is_dir() => pack::pack(what, &pack::test_flbs(), None, dir.path())?,
        Some(what) => what.clone(),
        None => args.made.unwrap_or(SMALL).pack(dir.path())?,
    };
    let report = chain(&vm, &image, args.kernels, args.out.as_deref())?;
    report.outcome.write_log(args.log.as_deref())?;
    report.print(args.json, vm.qemu.accel.name());
    Ok(report.wrong.is_empty())
}

/// What came of it.
pub(crate) struct Report {
    outcome: Outcome,
    last: Reading,
    kernels: u32,
    pub(crate) tally: Tally,
    pub(crate) wrong: Vec<String>,
}

/// Hands `image` over, and on, to the last of `kernels`.
pub(crate) fn chain(
    vm: &Vm,
    image: &Path,
    kernels: u32,
    out: Option<&Path>,
) -> Result<Report, Failure> {
    let dir = tempdir()?;
    let placed = Placed::open(image, dir.path())?;
    let first = reading::read(&placed.memory()?, placed.entry)?;
    let owners = kernels.saturating_sub(1);
    let plans: Vec<_> = (0..owners)
        .map(|owner| hand_on(&first.sessions, owner, owners))
        .collect();
    let machine = placed.machine(vm, &plans, true, &dir)?;
    let stopped = machine.run_to_populate(vm, "handing on", dir.path())?;
    let memory = stopped.memory()?;
    let last = reading::read(&memory, stopped.entry)?;
    if let Some(out) = out {
        cut::write(&memory, stopped.entry, &last.facts, out)?;
    }
    let outcome = stopped.outcome;
    let mut wrong = Vec::new();
    let of_kernels = by_kernel(&outcome.facts);
    for (owner, facts) in (1..).zip(&of_kernels) {
        let own = compare(&first.sessions, facts).into_iter();
        let own = own.chain(compare_preserved(&first.sessions, facts));
        wrong.extend(own.map(|it| format!("kernel {owner}: {it}")));
    }
    let count = of_kernels.len();
    if count as u64 != u64::from(owners) {
        wrong.push(format!("{count} kernels came as far as init, not {owners}"));
    }
    let differences = reading::differences(&first.sessions, &last.sessions).into_iter();
    wrong.extend(differences.map(|it| format!("in the end: {it}")));
    wrong.extend(outcome.kernel_says());
    Ok(Report {
        tally: Tally::of(&first.sessions),
        outcome,
        last,
        kernels,
        wrong,
    })
}

/// What owner `owner` of `owners` does: it takes everything and hands it on.
fn hand_on(sessions: &[SessionRead], owner: u32, owners: u32) -> Plan {
    let mut plan = retrieve_all(sessions);
    for session in sessions {
        plan.steps.push(Step::Again {
            from: session.name,
            into: session.name,
        });
    }
    let is_last = owner + 1 == owners;
    plan.steps.push(Step::Kexec {
        command_line: command_line(owner + 1, ""),
        initramfs: !is_last,
        wait: is_last,
    });
    plan
}

/// The facts of each kernel.
fn by_kernel(facts: &[Fact]) -> Vec<&[Fact]> {
    let starts = facts.iter().enumerate();
    let starts = starts.filter(|(_, fact)| matches!(fact, Fact::Boot { .. }));
    let mut starts: Vec<_> = starts.map(|(index, _)| index).collect();
    starts.push(facts.len());
    let kernel = |pair: &[usize]| facts.get(*pair.first()?..*pair.last()?);
    starts.windows(2).filter_map(kernel).collect()
}

impl Report {
    fn json(&self, accel: &str) -> Value {
        json!({
            "kernel": self.outcome.release(),
            "accel": accel,
            "seconds": seconds(self.outcome.seconds),
            "kernels": self.kernels,
            "sessions": self.tally.sessions,
            "files": self.tally.files,
            "bytes": self.tally.bytes,
            "wrong": self.wrong,
            "facts": self.last.facts,
        })
    }

    fn print(&self, json: bool, accel: &str) {
        if json {
            println!("{:#}", self.json(accel));
            return;
        }
        println!(
            "Linux {} ({accel}, {:.1} s): {} sessions, {} files, {} bytes over {} kernels",
            self.outcome.release(),
            self.outcome.seconds,
            self.tally.sessions,
            self.tally.files,
            self.tally.bytes,
            self.kernels,
        );
        let good = "every file is as it was at the start, at each kernel and in the end";
        say(&self.wrong, good);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_told_apart_by_boots() {
        let boot = |plan| Fact::Boot {
            release: String::new(),
            command_line: String::new(),
            plan,
        };
        let facts = [boot(0), Fact::Ready, boot(1), Fact::Done, Fact::Leaving];
        let of: Vec<_> = by_kernel(&facts).iter().map(|facts| facts.len()).collect();
        assert_eq!(of, [2, 3]);
    }
}
