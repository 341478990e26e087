//! `cargo xtask bench`: how fast is it, beside the kernel's own code, the field, and the memory.

mod build;
mod check;
mod document;
mod machine;
mod measured;
mod peer;
mod plots;
mod process;
mod rows;
mod svg;
mod table;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use xtask::{exit, root};

use build::Built;
use measured::Measured;
use rows::{Others, ROWS, Row};
use table::Report;

/// Measure: every workload, the best of several runs, with what the machine's memory gives.
///
/// Beside each figure stand peers of the field on the same data. With --peer the kernel's own C is built
/// from a source tree and run before and after, and each row says what part of it is reached and what is
/// asked for.
///
/// The bench itself is on criterion (crates/kho-bench); its samples are kept in the target directory, under
/// kho-bench/criterion. It is run three times (--quick: once), with the C before, between and after, so that
/// what disturbs one round does not disturb all. Handovers and the life of a million files run in processes of their own.
///
/// Exit codes: 0 measured, 2 it could not be.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench --quick                        under two minutes
  cargo xtask bench --peer linux-7.3               with the kernel's code from that source tree
  cargo xtask bench --only radix_walk --quick
  cargo xtask bench --check                        instructions, against the baseline
  cargo xtask bench --plots                        at many sizes, drawn
  cargo xtask bench --scale 0.3 --seed 7 --order 4 other data, for which nothing was tuned")]
pub(crate) struct Args {
    /// The figures as JSON.
    #[arg(long)]
    json: bool,
    /// Fewer runs, and a tenth of the files.
    #[arg(long)]
    quick: bool,
    /// Only the workloads whose names have this in them.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// A Linux source tree, whose radix and block code is measured beside ours.
    #[arg(long, value_name = "SOURCE")]
    peer: Option<PathBuf>,
    /// What builds and runs that: it is given SOURCE, and prints lines of a name, a value and a unit. By
    /// default ../shared/peers/kernel-c/run.sh beside the workspace.
    #[arg(long, value_name = "PATH", requires = "peer")]
    peer_script: Option<PathBuf>,
    /// The first state of the generator of random pages.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How much of the data: 0.5 is half of it.
    #[arg(long, value_name = "PART", value_parser = percent_of)]
    scale: Option<u64>,
    /// The order of the large folios.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=20))]
    order: Option<u8>,
    /// Build for this machine's processor, as the C is built.
    #[arg(long)]
    native: bool,
    /// Write the table into docs/performance.md as well.
    #[arg(long, conflicts_with = "json")]
    write: bool,
    /// Measure at many sizes instead, and draw: docs/performance/*.json and *.svg, in ten minutes.
    #[arg(long, conflicts_with_all = ["json", "quick", "peer", "seed", "scale", "order", "native", "write"])]
    plots: bool,
    /// With --plots: draw the figures that are there.
    #[arg(long, requires = "plots")]
    redraw: bool,
    /// Count instructions instead of time: does any operation take more than 3 % above what stands in
    /// crates/kho-bench/baseline.json? Needs valgrind. Exit codes: 0 none does, 1 one does, 2 not counted.
    #[arg(long, conflicts_with_all = ["json", "quick", "peer", "seed", "scale", "order", "native", "write", "plots"])]
    check: bool,
    /// With --check: write the counts there, as what is right from now on.
    #[arg(long, requires = "check")]
    bless: bool,
}

/// A part, in percent.
fn percent_of(text: &str) -> Result<u64, String> {
    let part: f64 = text.parse().map_err(|_| "a number is asked for")?;
    if !(0.01..=100.0).contains(&part) {
        return Err("0.01 to 100 are possible".into());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let percent = (part * 100.0).round() as u64;
    Ok(percent)
}

/// How often the bench is run.
const ROUNDS: usize = 3;
/// Files of the lives that are measured.
const FILES: u64 = 1_000_000;

/// Measures and prints.
pub(crate) fn run(args: &Args) -> ExitCode {
    let done = if args.check {
        count(args).map(|same| u8::from(!same))
    } else if args.plots {
        plot(args).map(|()| 0)
    } else {
        measure(args).map(|()| 0)
    };
    exit("bench", done)
}

fn count(args: &Args) -> Result<bool, String> {
    check::run(
        &root(),
        &build::program()?,
        args.bless,
        args.only.as_deref(),
    )
}

fn plot(args: &Args) -> Result<(), String> {
    let program = (!args.redraw).then(build::program).transpose()?;
    plots::run(&root(), program.as_deref(), args.only.as_deref())
}

fn measure(args: &Args) -> Result<(), String> {
    let root = root();
    let script = || peer::script(args.peer_script.as_deref(), &root);
    let script = args.peer.as_ref().map(|_| script()).transpose()?;
    let yardstick = || match script.as_ref().zip(args.peer.as_ref()) {
        Some((script, source)) => peer::run(script, source),
        None => Ok(Vec::new()),
    };
    let built = build::build(args.native)?;
    // Rounds, so that what disturbs one does not disturb all; and the C in the same minutes.
    let rounds = if args.quick { 1 } else { ROUNDS };
    let (mut yardsticks, mut measured) = (vec![yardstick()?], Vec::new());
    for _ in 0..rounds {
        measured::merge(&mut measured, criterion(args, &built)?);
        yardsticks.push(yardstick()?);
    }
    let (rows, more) = processes(args, &built)?;
    measured.extend(more);
    let names = || {
        measured
            .iter()
            .map(|one| format!("{}/{}", one.name, one.by))
    };
    if let Some(only) = &args.only
        && !names().any(|name| name.contains(only))
    {
        let mut all: Vec<_> = ROWS.iter().map(|row| row.name.to_owned()).collect();
        all.extend(process::names(files(args)));
        let all = all.join(", ");
        return Err(format!(
            "no workload has `{only}` in its name: there are {all}"
        ));
    }
    let is_rate = |name: &str| {
        let row = rows.iter().find(|row| row.name == name);
        row.is_none_or(|row| row.unit.is_rate())
    };
    let mut yardstick = peer::best(yardsticks, is_rate);
    if args.scale.is_some() || args.order.is_some() {
        // Times are of the yardstick's own data; rates are of any.
        yardstick.retain(|(name, _)| is_rate(name));
    }
    let report = Report {
        machine: machine::describe(args.native),
        command: command(),
        rows: &rows,
        others: Others {
            yardstick: &yardstick,
            measured: &measured,
        },
    };
    if args.write {
        document::write(&root, &report.markdown())?;
    }
    if args.json {
        println!("{:#}", report.json());
        return Ok(());
    }
    print!("{}", report.human());
    match report.missed() {
        0 => {}
        missed => println!("\n{missed} rows do not reach what is asked of them"),
    }
    Ok(())
}

/// The command, without paths of this machine's.
fn command() -> String {
    let mut words = vec!["cargo xtask bench".to_owned()];
    // How it was run, not what was done with it.
    let mut arguments = std::env::args()
        .skip(2)
        .filter(|argument| argument != "--write");
    while let Some(argument) = arguments.next() {
        let path = matches!(argument.as_str(), "--peer" | "--peer-script");
        words.push(argument);
        if path && let Some(path) = arguments.next() {
            let name = Path::new(&path).file_name();
            words.push(name.map_or(path.clone(), |name| name.to_string_lossy().into()));
        }
    }
    words.join(" ")
}

/// How many files a life has.
fn files(args: &Args) -> u64 {
    let files = if args.quick { FILES / 10 } else { FILES };
    (files.saturating_mul(args.scale.unwrap_or(100)) / 100).clamp(10, FILES)
}

/// What is measured in processes of its own; with the rows of all.
fn processes(args: &Args, built: &Built) -> Result<(Vec<Row>, Vec<Measured>), String> {
    let only = args.only.as_deref();
    let (mut rows, mut measured) = (ROWS.to_vec(), Vec::new());
    let plan = process::Plan {
        files: files(args),
        runs: if args.quick { 3 } else { 5 },
        large_runs: if args.quick { 1 } else { 3 },
    };
    for (more_rows, more) in [
        process::lives(&built.program, &plan, only)?,
        process::blackouts(&built.program, &plan, only)?,
    ] {
        rows.extend(more_rows);
        measured.extend(more);
    }
    Ok((rows, measured))
}

/// Runs the criterion bench, and reads what it wrote down.
fn criterion(args: &Args, built: &Built) -> Result<Vec<Measured>, String> {
    let home = built.target.join("kho-bench/criterion");
    match std::fs::remove_dir_all(&home) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("{}: {error}", home.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    let mut bench = Command::new(&built.bench);
    bench.arg("--bench").env("CRITERION_HOME", &home);
    if args.quick {
        bench.env("KHO_BENCH_QUICK", "1");
    }
    let numbers = [
        ("KHO_BENCH_SEED", args.seed),
        ("KHO_BENCH_PERCENT", args.scale),
        ("KHO_BENCH_ORDER", args.order.map(u64::from)),
    ];
    bench.envs(
        numbers
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.to_string()))),
    );
    if let Some(only) = &args.only {
        bench.arg(format!("^mem(cpy|set)/|{}", literal(only)));
    }
    let mut child = bench
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", built.bench.display()))?;
    let bar = spinner();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some(name) = line.strip_prefix("Benchmarking ") {
                let name = name.split(':').next().unwrap_or(name);
                bar.set_message(name.strip_suffix("/kho").unwrap_or(name).to_owned());
            }
        }
    }
    bar.finish_and_clear();
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("the criterion bench ended: {status}"));
    }
    measured::read(&home)
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A regular expression for `text` itself.
fn literal(text: &str) -> String {
    let special = |c: char| !c.is_alphanumeric() && c != '_';
    let escaped = |c| special(c).then_some('\\').into_iter().chain([c]);
    text.chars().flat_map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_taken_apart() {
        assert_eq!(literal("block_write_32B/rkyv"), "block_write_32B\\/rkyv");
        assert_eq!((percent_of("0.5"), percent_of("2")), (Ok(50), Ok(200)));
        assert!(percent_of("0").is_err() && percent_of("much").is_err());
        let rates = ROWS.iter().filter(|row| row.unit.is_rate()).count();
        assert!(rates > 0 && ROWS.iter().any(|row| !row.unit.is_rate()));
    }
}
