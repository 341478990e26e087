//! `kho lab`: versioning policies over histories.

use std::io::Write;
use std::path::{Path, PathBuf};

use anstyle::Style;
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use kho_compat::Policy;
use kho_lab::{History, Kind, Matrix, NoPlan, Plan, Run, heat_map, plan, report};
use serde_json::{Value, json};

use crate::error::{Failure, RED};
use crate::human::{self, BOLD, DIM, GREEN, YELLOW, count};
use crate::own;
use crate::progress::Bar;
use crate::write::Staging;

/// A history file is read up to this size.
const MAX_HISTORY: u64 = 16 << 20;

#[derive(Subcommand, Debug)]
pub(crate) enum LabCommand {
    /// List the histories that this program comes with.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send policies over every ordered pair of a history's releases.
    Run(LabRunArgs),
    /// Find the shortest chain of direct updates that a policy allows.
    Plan(LabPlanArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
A history is a list of releases with the versions and layouts of their components: a TOML file, whose
format the README of kho-lab describes, or the name of one that this program comes with (kho lab
list). For every policy and every ordered pair of releases the one's structures are written with its
layouts and read with the other's, and what the policy decides is compared with what comes out:

  accepted          and everything is read as it was written
  degraded          optional components are lost, and the rest is right
  rejected upfront  before anything is restored; a false reject if it would have worked
  failed late       after some components were restored
  silently wrong    accepted, and something is read that was not written so

DIR gets report.html (one page that needs nothing else), totals.json, and of every policy its matrix
as POLICY.json and a heat map as POLICY.svg.

Examples:
  kho lab run linux
  kho lab run linux --policy semver-range,newest-common
  kho lab run my-history.toml --out report")]
pub(crate) struct LabRunArgs {
    /// The name of a built-in history, or a history file (./NAME where it has such a name).
    history: PathBuf,
    /// Policies by name, separated by commas, or `all`.
    #[arg(long, value_name = "P", value_delimiter = ',', default_value = "all")]
    policy: Vec<String>,
    /// The directory to write the report to.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace an earlier report in DIR.
    #[arg(long, requires = "out")]
    force: bool,
    /// Print JSON: the totals and every cell.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A step is an update that the policy accepts, or accepts with losses, and that reads everything as it was
written. The fewest steps are taken, and of those the ones that lose least. What the policy would accept
and get wrong is no step.

Exit codes: 0 there is a chain; 1 there is none (under one of the policies), and why.

Examples:
  kho lab plan transition --from 1 --to 4
  kho lab plan linux --from 6.16 --to 7.3 --policy all")]
pub(crate) struct LabPlanArgs {
    /// The name of a built-in history, or a history file (./NAME where it has such a name).
    history: PathBuf,
    /// The release that runs.
    #[arg(long, value_name = "RELEASE")]
    from: String,
    /// The release that is to run.
    #[arg(long, value_name = "RELEASE")]
    to: String,
    /// Policies by name, separated by commas, or `all`.
    #[arg(
        long,
        value_name = "P",
        value_delimiter = ',',
        default_value = "semver-range"
    )]
    policy: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &LabCommand) -> Result<(), Failure> {
    let (result, json) = match command {
        LabCommand::List { json } => (list(*json), *json),
        LabCommand::Run(args) => (run_history(args), args.json),
        LabCommand::Plan(args) => (plan_updates(args), args.json),
    };
    Failure::told(json, result)
}

fn list(json: bool) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let mut all = Vec::new();
    for (name, text) in own::histories() {
        let history = History::parse(text).map_err(|error| unusable(Path::new(name), &error))?;
        all.push((name, history));
    }
    if json {
        let value = all.iter().map(|(name, history)| {
            let releases: Vec<_> = history.releases.iter().map(|r| r.name.clone()).collect();
            json!({ "name": name, "title": history.title, "text": history.text, "releases": releases })
        });
        let value = Value::from(value.collect::<Vec<_>>());
        return writeln!(out, "{value:#}").map_err(Failure::Output);
    }
    let mut table = human::table(["HISTORY", "RELEASES", "WHAT IT IS"]);
    for (name, history) in &all {
        let releases = history.releases.len().to_string();
        table.add_row([*name, releases.as_str(), history.title.as_str()]);
    }
    writeln!(out, "{table}").map_err(Failure::Output)
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Input(vec![
        ("error", format!("{}: no usable history", path.display())),
        ("found", error.to_string().trim_end().to_owned()),
    ])
}

/// The history that `path` names: a built-in one, else a file. A built-in name is one whatever lies in the
/// directory: a kernel's sources are called `linux`.
fn open(path: &Path) -> Result<History, Failure> {
    let histories = own::histories();
    let known = || {
        let names: Vec<_> = histories.iter().map(|(name, _)| *name).collect();
        format!("a history file, or one of {}", names.join(", "))
    };
    let named = histories.iter().find(|(name, _)| path.as_os_str() == *name);
    let text = match (named, path.metadata()) {
        (Some((_, text)), _) => (*text).to_owned(),
        (_, Ok(metadata)) if !metadata.is_file() => {
            return Err(Failure::Input(vec![
                ("error", format!("{} is no file", path.display())),
                ("expected", known()),
            ]));
        }
        (_, Ok(metadata)) if metadata.len() > MAX_HISTORY => {
            return Err(unusable(
                path,
                &format!("{} bytes, at most {MAX_HISTORY} are read", metadata.len()),
            ));
        }
        (_, _) => {
            let bytes = std::fs::read(path).map_err(|error| {
                Failure::Input(vec![
                    ("error", format!("{}: {error}", path.display())),
                    ("expected", known()),
                ])
            })?;
            String::from_utf8(bytes).map_err(|error| unusable(path, &error))?
        }
    };
    History::parse(&text).map_err(|error| unusable(path, &error))
}

/// The policies that `names` name.
fn policies(names: &[String]) -> Result<Vec<&'static dyn Policy>, Failure> {
    if names.iter().any(|name| name == "all") {
        return Ok(own::policies().iter().map(|one| *one as _).collect());
    }
    let find = |name: &String| match own::policy(name) {
        Ok(policy) => Ok(policy as &dyn Policy),
        Err(text) => Err(Failure::Usage(format!("{text}, and all"))),
    };
    names.iter().map(find).collect()
}

fn judge(path: &Path, history: &History, names: &[String]) -> Result<Run, Failure> {
    let policies = policies(names)?;
    let mut bar = Bar::new("judging");
    let run = Run::new(history, &policies, &mut |done, total| {
        bar.pairs(done as u64, total as u64)
    });
    let run = run.map_err(|error| unusable(path, &error))?;
    run.ok_or(Failure::Interrupted)
}

fn run_history(args: &LabRunArgs) -> Result<(), Failure> {
    let history = open(&args.history)?;
    let run = judge(&args.history, &history, &args.policy)?;
    let value = |value: serde_json::Result<Value>| {
        value.map_err(|error| Failure::Unrestorable(error.to_string()))
    };
    if let Some(out) = &args.out {
        let mut staging = Staging::new(out, args.force)?;
        let mut files = Vec::new();
        let mut write = |name: String, text: &str| {
            files.push(PathBuf::from(&name));
            staging.write(Path::new(&name), text.as_bytes())
        };
        write("report.html".to_owned(), &report(&run))?;
        write(
            "totals.json".to_owned(),
            &format!("{:#}\n", totals_json(&run)),
        )?;
        for matrix in &run.policies {
            let cells = value(serde_json::to_value(matrix))?;
            let cells =
                json!({ "history": run.history, "releases": run.releases, "matrix": cells });
            write(format!("{}.json", matrix.policy), &format!("{cells:#}\n"))?;
            write(
                format!("{}.svg", matrix.policy),
                &heat_map(&run.releases, matrix),
            )?;
        }
        staging.commit(&files)?;
    }
    let mut out = anstream::stdout().lock();
    if args.json {
        let run = value(serde_json::to_value(&run))?;
        return writeln!(out, "{run:#}").map_err(Failure::Output);
    }
    print(&mut out, &history, &run, args.out.as_deref()).map_err(Failure::Output)
}

fn totals_json(run: &Run) -> Value {
    let policies: Vec<_> = run
        .policies
        .iter()
        .map(|matrix| {
            json!({
                "policy": matrix.policy,
                "dialect": matrix.writing.id(),
                "when": matrix.when.id(),
                "totals": serde_json::to_value(matrix.totals).unwrap_or_default(),
            })
        })
        .collect();
    json!({ "history": run.history, "title": run.title, "releases": run.releases, "policies": policies })
}

fn print(
    out: &mut dyn Write,
    history: &History,
    run: &Run,
    dir: Option<&Path>,
) -> std::io::Result<()> {
    let pairs = run.releases.len() * run.releases.len();
    let releases = count(run.releases.len() as u64, "release");
    let pairs = count(pairs as u64, "ordered pair");
    writeln!(
        out,
        "{BOLD}{}{BOLD:#}  {DIM}{releases}, {pairs}{DIM:#}",
        history.title
    )?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "POLICY",
        "ACCEPTED",
        "DEGRADED",
        "REJECTED",
        "LATE",
        "SILENT",
        "FALSE REJECTS",
        "BYTES",
        "EDITS",
    ]);
    for matrix in &run.policies {
        let totals = &matrix.totals;
        let numbers = [
            totals.accepted,
            totals.degraded,
            totals.rejected,
            totals.late,
            totals.silent,
            totals.false_rejects,
        ];
        let mut row = vec![matrix.policy.to_owned()];
        row.extend(numbers.iter().map(usize::to_string));
        row.push(totals.bytes.to_string());
        row.push(totals.edits.to_string());
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(out, "{table}")?;
    let (written, hashed) = run.trials;
    writeln!(
        out,
        "{DIM}{} of layouts written and read{}; BYTES of the newest release's versions, EDITS over the \
         history{DIM:#}",
        count(written as u64, "pair"),
        if hashed == 0 {
            String::new()
        } else {
            format!(", {hashed} compared by hash")
        },
    )?;
    print_measured(out, run)?;
    if let Some(dir) = dir {
        writeln!(out, "report: {}", dir.join("report.html").display())?;
    }
    Ok(())
}

/// What real kernels did, where the model says otherwise.
fn print_measured(out: &mut dyn Write, run: &Run) -> std::io::Result<()> {
    let (cells, Some(kernels)) = (run.measured(), &run.kernels) else {
        return Ok(());
    };
    let differ: Vec<_> = cells.iter().filter(|cell| cell.differs()).collect();
    let compared = match run.matrix(&kernels.policy) {
        Some(_) => format!("{} differ from {}", differ.len(), kernels.policy),
        None => format!("compare them with {}", kernels.policy),
    };
    let updates = count(cells.len() as u64, "pair");
    writeln!(
        out,
        "{DIM}{updates} measured on real kernels; {compared}{DIM:#}"
    )?;
    for cell in differ {
        let name = |place: usize| run.releases.get(place).map_or("", String::as_str);
        let model = cell.model.map_or("", Kind::title);
        writeln!(
            out,
            "  {} -> {}  {model}; measured, {}",
            name(cell.from),
            name(cell.to),
            cell.measured
        )?;
    }
    Ok(())
}

fn plan_updates(args: &LabPlanArgs) -> Result<(), Failure> {
    let history = open(&args.history)?;
    let place = |name: &String| {
        history.find(name).ok_or_else(|| {
            let known: Vec<_> = history.releases.iter().map(|r| r.name.as_str()).collect();
            let known = known.join(", ");
            Failure::Usage(format!(
                "no release `{name}` in `{}`; there are {known}",
                history.name
            ))
        })
    };
    let (from, to) = (place(&args.from)?, place(&args.to)?);
    let run = judge(&args.history, &history, &args.policy)?;
    let plans: Vec<_> = run
        .policies
        .iter()
        .map(|matrix| (matrix, plan(&run.releases, matrix, from, to)))
        .collect();
    let none = plans.iter().any(|(_, plan)| plan.is_err());
    let mut out = anstream::stdout().lock();
    if args.json {
        let plans: Vec<_> = plans
            .iter()
            .map(|(matrix, plan)| plan_json(matrix, plan))
            .collect();
        let value =
            json!({ "history": run.history, "from": args.from, "to": args.to, "plans": plans });
        writeln!(out, "{value:#}").map_err(Failure::Output)?;
    } else {
        for (matrix, plan) in &plans {
            print_plan(&mut out, args, matrix, plan).map_err(Failure::Output)?;
        }
    }
    if none { Err(Failure::Ended(1)) } else { Ok(()) }
}

fn plan_json(matrix: &Matrix, plan: &Result<Plan, NoPlan>) -> Value {
    match plan {
        Ok(plan) => json!({ "policy": matrix.policy, "steps": plan.steps }),
        Err(none) => json!({ "policy": matrix.policy, "steps": null, "none": none }),
    }
}

fn print_plan(
    out: &mut dyn Write,
    args: &LabPlanArgs,
    matrix: &Matrix,
    plan: &Result<Plan, NoPlan>,
) -> std::io::Result<()> {
    const SHOWN: usize = 6;
    let policy = matrix.policy;
    let none = match plan {
        Ok(plan) if plan.steps.is_empty() => {
            return writeln!(out, "{BOLD}{policy}{BOLD:#}: {} is {}", args.from, args.to);
        }
        Ok(plan) => {
            let updates = count(plan.steps.len() as u64, "update");
            writeln!(out, "{BOLD}{policy}{BOLD:#}: {GREEN}{updates}{GREEN:#}")?;
            for step in &plan.steps {
                let (style, word) = style(step.kind);
                writeln!(
                    out,
                    "  {} -> {}  {style}{word}{style:#}",
                    step.from, step.to
                )?;
                for why in step.why.iter().take(SHOWN) {
                    writeln!(out, "      {DIM}{why}{DIM:#}")?;
                }
            }
            return Ok(());
        }
        Err(none) => none,
    };
    writeln!(
        out,
        "{BOLD}{policy}{BOLD:#}: {RED}no chain{RED:#} from {} to {}",
        args.from, args.to
    )?;
    let list = |names: &[String], itself: &String| {
        let others: Vec<_> = names
            .iter()
            .filter(|name| *name != itself)
            .cloned()
            .collect();
        if others.is_empty() {
            "nothing else".to_owned()
        } else {
            others.join(", ")
        }
    };
    writeln!(
        out,
        "  from {} there is a way to {}",
        args.from,
        list(&none.reached, &args.from)
    )?;
    writeln!(
        out,
        "  to {} there is a way from {}",
        args.to,
        list(&none.reaching, &args.to)
    )?;
    for gap in none.gaps.iter().take(SHOWN) {
        let (style, word) = style(gap.kind);
        writeln!(out, "  {} -> {}  {style}{word}{style:#}", gap.from, gap.to)?;
        for why in gap.why.iter().take(SHOWN) {
            writeln!(out, "      {DIM}{why}{DIM:#}")?;
        }
    }
    if none.gaps.len() > SHOWN {
        writeln!(out, "  {DIM}and {} more{DIM:#}", none.gaps.len() - SHOWN)?;
    }
    Ok(())
}

const fn style(kind: Kind) -> (Style, &'static str) {
    match kind {
        Kind::Accepted => (GREEN, kind.title()),
        Kind::Degraded => (YELLOW, kind.title()),
        _ => (RED, kind.title()),
    }
}
