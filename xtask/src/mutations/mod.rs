//! `cargo xtask mutations`: is the check as good as its word?
//!
//! Edits a copy of the workspace, one change at a time, runs `abi-check` on it and compares what it says
//! with what it must say: changes of the format, which it has to find, and changes of the source alone,
//! over which it has to keep silent.

mod bumps;
mod cases;
mod copy;
mod edit;
mod files;
mod readers;
mod source;
mod sweep;
mod table;
mod verdict;

use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use cases::Case;
use copy::{Built, Copy};
use files::Files;
use verdict::{Row, Verdict};

/// Change the formats in a copy of the workspace, one edit at a time, and see that abi-check says what it
/// must: every change of a format is found, no other change is flagged.
///
/// The edits are in xtask/mutations/*.toml, each with what must be said of it, and the next version of each
/// component, made by rule, of which nothing but that may be said. With --sweep they are made
/// by rule instead, from the sources as they are: each constant of each file that describes a format gets
/// another value, each two fields change places, each two of one type change names, each need is dropped,
/// each version raised.
///
/// The copy and its build are kept under target/mutations, so that the next run is faster. Exit codes: 0
/// all as it must be, 1 not so, 2 the edits could not be made.
#[derive(clap::Args)]
pub struct Args {
    /// Only the cases whose name, kind or component has this in it.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only the cases that are marked as quick: one of each kind.
    #[arg(long)]
    quick: bool,
    /// Edits made by rule from the sources, instead of those that are written down.
    #[arg(long, conflicts_with = "quick")]
    sweep: bool,
    /// Each check of a reader switched off, instead of the edits.
    #[arg(long, conflicts_with_all = ["quick", "sweep"])]
    readers: bool,
    /// Name the cases, run none.
    #[arg(long)]
    list: bool,
    /// The table as JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The table as Markdown.
    #[arg(long)]
    markdown: bool,
}

/// Runs the cases and prints the table.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    crate::exit("mutations", all(args).map(|right| u8::from(!right)))
}

fn all(args: &Args) -> Result<bool, String> {
    let root = crate::root();
    let files = Files::new(root.clone())?;
    if args.readers {
        return without_checks(args, &root, &files);
    }
    let mut cases = if args.sweep {
        sweep::cases(&files)?
    } else {
        let written = cases::read(&root.join("xtask/mutations"))?;
        [written, bumps::cases(&files)?].concat()
    };
    cases.retain(|case| !args.quick || case.quick);
    if let Some(text) = &args.only {
        cases.retain(|case| case.has(text));
    }
    if cases.is_empty() {
        return Err("there is no such case; --list names all".to_owned());
    }
    if args.list {
        for case in &cases {
            println!("{:<22} {:<14} {}", case.kind, case.component, case.name);
        }
        return Ok(true);
    }
    let bar = ProgressBar::new(cases.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar.set_message("building the copy as it is");
    let copy = Copy::make(&root)?;
    copy.starts_clean()?;
    let mut files = Files::new(copy.tree.clone())?;
    let mut rows = Vec::with_capacity(cases.len());
    for case in cases {
        bar.set_message(case.name.clone());
        let row = try_case(&copy, &mut files, case)?;
        if bar.is_hidden() {
            eprintln!("{}: {}", row.case.name, table::outcome(&row));
        }
        rows.push(row);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(show(args, &rows))
}

/// Each check of a reader off.
fn without_checks(args: &Args, root: &Path, files: &Files) -> Result<bool, String> {
    let wanted = args.only.as_deref().unwrap_or_default();
    if args.list {
        let checks = readers::checks(files)?;
        let checks = checks.iter().filter(|check| check.name.contains(wanted));
        checks.for_each(|check| println!("{}", check.name));
        return Ok(true);
    }
    let copy = Copy::make(root)?;
    copy.starts_clean()?;
    let tell = |row: &Row| eprintln!("{}: {}", row.case.name, table::outcome(row));
    let rows = readers::run(root, &copy, |case| case.has(wanted), tell)?;
    Ok(show(args, &rows))
}

/// Prints the table; whether all is as it must be.
fn show(args: &Args, rows: &[Row]) -> bool {
    let text = match (args.json, args.markdown) {
        (true, _) => table::json(rows),
        (_, true) => table::markdown(rows),
        _ => table::human(rows),
    };
    print!("{text}");
    rows.iter().all(Row::is_right)
}

/// Makes the edits of `case`, runs the check, takes the edits back.
fn try_case(copy: &Copy, files: &mut Files, case: Case) -> Result<Row, String> {
    copy.apply(&case, files)?;
    let verdict = match copy.build()? {
        Built::Refused(words) => Verdict::NotCompiled(words),
        Built::Ready => {
            if case.bless {
                copy.check(true)?;
            }
            Verdict::Said(copy.check(false)?)
        }
    };
    copy.take_back()?;
    Ok(Row::new(case, verdict))
}
