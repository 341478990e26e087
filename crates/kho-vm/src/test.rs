//! `vm test`: everything, in small.

use std::path::Path;
use std::time::{Duration, Instant};

use kho_guest::{Fact, Plan, Step};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::capture::{Folios, Wanted, small};
use crate::chain;
use crate::failure::Failure;
use crate::image::Placed;
use crate::inject::{self, seconds, tempdir};
use crate::made::Made;
use crate::mismatch::{self, Bench, ROWS};
use crate::options::{Options, Vm};
use crate::pack;
use crate::place;
use crate::reading::{self, Reading};
use crate::run::Outcome;

/// Test all of it in small: handovers in both directions, a chain of kernels, the client of
/// /dev/liveupdate with everything that must fail, and the table of mismatches.
///
/// The last line says how many passed and how many failed. Where there is no QEMU or no kernel nothing is
/// tested, one line says so, and the exit code is 0; with --require it is 2.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm test
  cargo xtask vm test capture          the tests whose names contain that
  cargo xtask vm test --require        fail where nothing can be tested")]
pub(crate) struct Args {
    /// Run the tests alone whose names contain this.
    #[arg(default_value = "")]
    filter: String,
    /// Fail where there is no QEMU or no kernel.
    #[arg(long)]
    require: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let vm = match args.options.vm() {
        Err(Failure::CanNot(why)) if !args.require => {
            if args.json {
                println!("{:#}", json!({ "skipped": why }));
            } else {
                println!("skipped: {why}");
            }
            return Ok(true);
        }
        vm => vm?,
    };
    let mut tests = Tests {
        vm,
        filter: &args.filter,
        json: args.json,
        done: Vec::new(),
    };
    tests.all()?;
    Ok(tests.finish())
}

/// A test that was run.
struct Test {
    name: String,
    /// What is not as it must be.
    wrong: Vec<String>,
    took: Duration,
}

struct Tests<'a> {
    vm: Vm,
    filter: &'a str,
    json: bool,
    done: Vec<Test>,
}

/// What tests of the kind find: what is not as it must be.
type Found = Result<Vec<String>, Failure>;

/// A handover with everything that there is, in small.
const MADE: Made = Made {
    sessions: 4,
    files: 48,
    seed: 7,
    order: 9,
};

impl Tests<'_> {
    fn all(&mut self) -> Result<(), Failure> {
        self.test("inject: a handover that is made up", made)?;
        self.test("inject: what a real kernel handed over", again)?;
        self.client()?;
        const RESERVE: &str = "reserve_mem=2M:4096:one reserve_mem=5000:8:two";
        for (name, folios, arguments) in [
            ("capture: memfds of single pages", Folios::Small, ""),
            ("capture: memfds of mixed orders", Folios::Mixed, ""),
            ("capture: reserved memory", Folios::Small, RESERVE),
        ] {
            self.test(name, |vm| captured(vm, folios, arguments))?;
        }
        self.test("chain: three kernels", |vm| {
            let dir = tempdir()?;
            let image = MADE.pack(dir.path())?;
            Ok(chain::chain(vm, &image, 3, None)?.wrong)
        })?;
        self.mismatch()
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(self.filter)
    }

    /// Runs one test.
    fn test(&mut self, name: &str, run: impl FnOnce(&Vm) -> Found) -> Result<(), Failure> {
        if !self.wants(name) {
            return Ok(());
        }
        let since = Instant::now();
        let wrong = found(run(&self.vm))?;
        self.note(name.to_owned(), wrong, since.elapsed());
        Ok(())
    }

    fn note(&mut self, name: String, wrong: Vec<String>, took: Duration) {
        if !self.json {
            let verdict = if wrong.is_empty() { "ok    " } else { "FAILED" };
            println!("{verdict} {name} ({:.1} s)", took.as_secs_f64());
            for wrong in wrong.iter().take(10) {
                println!("       {wrong}");
            }
        }
        self.done.push(Test { name, wrong, took });
    }

    /// The client of /dev/liveupdate: a guest tries what must fail and what must not.
    fn client(&mut self) -> Result<(), Failure> {
        const WHOLE: &str = "client: ";
        if !WHOLE.contains(self.filter) && !self.filter.contains(WHOLE.trim_end()) {
            return Ok(());
        }
        let since = Instant::now();
        let (outcome, reading) = match client(&self.vm) {
            Ok(done) => done,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => {
                let wrong = vec![failure.to_string()];
                self.note("client".to_owned(), wrong, since.elapsed());
                return Ok(());
            }
        };
        let took = since.elapsed();
        for fact in &outcome.facts {
            if let Fact::Check { check, failed } = fact {
                let wrong = failed.iter().cloned().collect();
                self.note(format!("{WHOLE}{check}"), wrong, Duration::ZERO);
            }
        }
        let mut wrong = inject::compare(&reading.sessions, &outcome.facts);
        wrong.extend(outcome.complaints());
        self.note(format!("{WHOLE}nothing is lost by that"), wrong, took);
        let wrong = root_of(&outcome.facts, &reading).err();
        let wrong = wrong.into_iter().collect();
        let name = format!("{WHOLE}debugfs shows the root that was handed over");
        self.note(name, wrong, Duration::ZERO);
        Ok(())
    }

    fn mismatch(&mut self) -> Result<(), Failure> {
        let name = |row: &mismatch::Row| format!("mismatch: {}", row.name);
        let rows: Vec<_> = ROWS.iter().filter(|row| self.wants(&name(row))).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let bench = Bench::new(&self.vm)?;
        let mut all = Vec::new();
        for row in rows {
            let since = Instant::now();
            let wrong = found(bench.see(row).map(|seen| {
                let wrong = seen.wrong().into_iter().collect();
                all.push(seen);
                wrong
            }))?;
            self.note(name(row), wrong, since.elapsed());
        }
        // Only of all rows there is a table to compare with.
        if all.len() == ROWS.len() {
            let wrong = found(mismatch::check_if_of(&all).map(|()| Vec::new()))?;
            let name = "mismatch: the document says so".to_owned();
            self.note(name, wrong, Duration::ZERO);
        }
        Ok(())
    }

    /// Says how many passed and failed. Returns whether none failed, and some passed.
    fn finish(&self) -> bool {
        let failed = self.done.iter().filter(|test| !test.wrong.is_empty());
        let failed = failed.count();
        let passed = self.done.len() - failed;
        if self.json {
            println!("{:#}", self.json(passed, failed));
        } else {
            println!("{passed} passed, {failed} failed");
        }
        failed == 0 && passed > 0
    }

    fn json(&self, passed: usize, failed: usize) -> Value {
        let tests = self.done.iter().map(|test| {
            json!({
                "name": test.name,
                "wrong": test.wrong,
                "seconds": seconds(test.took.as_secs_f64()),
            })
        });
        json!({
            "accel": self.vm.qemu.accel.name(),
            "passed": passed,
            "failed": failed,
            "tests": tests.collect::<Vec<_>>(),
        })
    }
}

/// A test that failed on the way is one that found something.
fn found(found: Found) -> Found {
    match found {
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(failure) => Ok(vec![failure.to_string()]),
        Ok(wrong) => Ok(wrong),
    }
}

fn made(vm: &Vm) -> Found {
    let dir = tempdir()?;
    let image = MADE.pack(dir.path())?;
    let from = dir.path().join("made");
    Ok(inject::inject(vm, &image, Some(&from))?.wrong)
}

/// What a capture holds, restored to a directory and packed at another place.
fn again(vm: &Vm) -> Found {
    let dir = tempdir()?;
    let capture = place::root().join("tests/captures/small.core.zst");
    let from = dir.path().join("restored");
    pack::restore(&capture, &from)?;
    let image = pack::pack(&from, &pack::test_flbs(), None, dir.path())?;
    Ok(inject::inject(vm, &image, Some(&from))?.wrong)
}

fn captured(vm: &Vm, folios: Folios, arguments: &str) -> Found {
    let dir = tempdir()?;
    let wanted = Wanted {
        plan: small(folios)?,
        arguments: arguments.to_owned(),
        memory: 256 << 20,
    };
    let captured = wanted.capture(vm, &dir.path().join("capture.core.zst"))?;
    let mut wrong = captured.wrong;
    let by_order = captured.reading.facts.pointer("/preserved/by_order");
    let orders = by_order.and_then(Value::as_object);
    let orders = orders.map_or(0, serde_json::Map::len);
    if folios == Folios::Mixed && orders < 5 {
        wrong.push(format!("the kernel took folios of {orders} orders only"));
    }
    let reserved = captured.reading.facts.pointer("/subtrees/memblock");
    if reserved.is_some() != arguments.contains("reserve_mem") {
        wrong.push(format!("the memblock subtree: {reserved:?}"));
    }
    Ok(wrong)
}

/// Has a guest try things, with a handover at hand.
fn client(vm: &Vm) -> Result<(Outcome, Reading), Failure> {
    let dir: TempDir = tempdir()?;
    let image = MADE.pack(dir.path())?;
    let placed = Placed::open(&image, dir.path())?;
    let reading = reading::read(&placed.memory()?, placed.entry)?;
    let machine = placed.machine(vm, &[client_plan(&reading)], false, &dir)?;
    let outcome = machine.run(vm, "trying the client")?;
    outcome.finished()?;
    Ok((outcome, reading))
}

fn client_plan(reading: &Reading) -> Plan {
    let mut steps = vec![Step::Debugfs];
    let mut rest = inject::retrieve_all(&reading.sessions).steps;
    let is_finish = |step: &Step| matches!(step, Step::Finish { .. });
    let finish = rest.iter().position(is_finish);
    let finish = rest.split_off(finish.unwrap_or(rest.len()));
    steps.extend(rest);
    for session in reading
        .sessions
        .iter()
        .filter(|session| !session.files.is_empty())
        .take(1)
    {
        steps.extend(session.files.first().map(|file| Step::ChecksIncoming {
            session: session.name,
            token: file.token,
        }));
    }
    steps.push(Step::Checks);
    steps.extend(finish);
    Plan { steps }
}

/// Whether debugfs showed the root FDT: it names the same string and subtrees.
fn root_of(facts: &[Fact], reading: &Reading) -> Result<(), String> {
    let bytes = facts.iter().find_map(|fact| match fact {
        Fact::Debugfs { path, bytes, .. } if Path::new(path) == Path::new("kho/in/fdt") => {
            bytes.as_deref()
        }
        _ => None,
    });
    let shown = bytes.ok_or("kho/in/fdt is not there")?;
    // Of the page that was handed over it shows what the tree takes.
    let digits = reading.root.iter().map(|byte| format!("{byte:02x}"));
    let whole: String = digits.collect();
    if shown.is_empty() || !whole.starts_with(shown) {
        return Err("kho/in/fdt is not the root FDT that was handed over".to_owned());
    }
    Ok(())
}
