//! The tables in docs/policies.md are the laboratory's and the tests'.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use kho_compat::Policy;
use kho_compat::policy::ALL;
use kho_lab::{BUILTIN, History, Kind, Run};

/// All policies over every built-in history.
fn runs() -> Vec<Run> {
    let policies: Vec<_> = ALL.iter().map(|policy| *policy as &dyn Policy).collect();
    let run = |(_, file): &(&str, &str)| {
        let history = History::parse(file).unwrap();
        Run::new(&history, &policies, &mut |_, _| true)
            .unwrap()
            .unwrap()
    };
    BUILTIN.iter().map(run).collect()
}

fn figures(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let (name, releases) = (&run.history, run.releases.len());
        writeln!(text, "\n**{name}**: {} ({releases} releases)\n", run.title).unwrap();
        text.push_str(
            "| policy | accepted | degraded | rejected | late | silent | false | bytes | edits |\n",
        );
        text.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
        for matrix in &run.policies {
            let t = &matrix.totals;
            let right = [
                t.accepted,
                t.degraded,
                t.rejected,
                t.late,
                t.silent,
                t.false_rejects,
            ];
            let right = right.map(|count| format!("{count} | ")).concat();
            writeln!(
                text,
                "| {} | {right}{} | {} |",
                matrix.policy, t.bytes, t.edits
            )
            .unwrap();
        }
    }
    text.push('\n');
    text
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The claim of each policy: the comment of the test of its name.
fn claim(tests: &str, policy: &str) -> String {
    let test = format!("\n#[test]\nfn {}() {{\n", policy.replace('-', "_"));
    let (before, _) = tests
        .split_once(&test)
        .unwrap_or_else(|| panic!("no test of {policy}"));
    let lines = before.lines().rev();
    let mut lines: Vec<_> = lines.map_while(|line| line.strip_prefix("/// ")).collect();
    lines.reverse();
    lines.join(" ")
}

/// The releases from which and to which `kind` is what becomes of an update, neighbours as a span.
fn pairs(run: &Run, policy: &str, kind: Kind) -> Vec<String> {
    let matrix = run.matrix(policy).unwrap();
    let name = |place: usize| run.releases[place].as_str();
    let mut groups: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for (from, row) in matrix.cells.iter().enumerate() {
        let to = row.iter().enumerate().filter(|(_, cell)| cell.kind == kind);
        let to: Vec<_> = to.map(|(to, _)| to).collect();
        match groups.last_mut() {
            _ if to.is_empty() => {}
            Some((all, same)) if *same == to => all.push(from),
            _ => groups.push((vec![from], to)),
        }
    }
    let spans = |all: &[usize]| {
        let spans = all.chunk_by(|one, next| one + 1 == *next);
        let spans = spans.map(|span| match span {
            [one] => name(*one).to_owned(),
            [one, .., last] => format!("{} … {}", name(*one), name(*last)),
            [] => String::new(),
        });
        spans.collect::<Vec<_>>().join(", ")
    };
    let pair = |(from, to): &(Vec<usize>, Vec<usize>)| format!("{} → {}", spans(from), spans(to));
    groups.iter().map(pair).collect()
}

fn claims(runs: &[Run]) -> String {
    let tests = root().join("crates/kho-compat/tests/policies/claims.rs");
    let tests = std::fs::read_to_string(tests).unwrap();
    let mut text = String::from("\n");
    for policy in ALL {
        let (name, test) = (policy.name(), policy.name().replace('-', "_"));
        let claim = claim(&tests, name);
        writeln!(
            text,
            "**{name}**: {claim} Held to it by `claims::{test}`.\n"
        )
        .unwrap();
        text.push_str("| history | accepted | degraded | rejected | late | silent |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        for run in runs {
            write!(text, "| {} |", run.history).unwrap();
            for kind in Kind::ALL {
                let cells = run.matrix(name).unwrap().cells.iter().flatten();
                match cells.filter(|cell| cell.kind == kind).count() {
                    0 => text.push_str(" 0 |"),
                    count => {
                        let pairs = pairs(run, name, kind).join("; ");
                        write!(text, " {count}: {pairs} |").unwrap();
                    }
                }
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// Compares what stands on the page between the comments of `name` with `expected`.
fn compare(name: &str, expected: &str) {
    let path = root().join("docs/policies.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let (head, rest) = page.split_once(&begin).unwrap();
    let (found, tail) = rest.split_once(&end).unwrap();
    if std::env::var_os("BLESS_FIGURES").is_some() {
        std::fs::write(&path, format!("{head}{begin}{expected}{end}{tail}")).unwrap();
        return;
    }
    let mut lines = found.lines().zip(expected.lines());
    let differs = lines.find(|(one, other)| one != other);
    assert_eq!(differs, None, "write them anew with BLESS_FIGURES=1");
    assert_eq!(found.len(), expected.len());
}

#[test]
fn the_tables_in_the_documentation_are_true() {
    let runs = runs();
    compare("figures", &figures(&runs));
    compare("claims", &claims(&runs));
}
