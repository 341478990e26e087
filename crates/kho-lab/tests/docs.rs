//! The figures in docs/policies.md are the laboratory's.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;

use kho_compat::Policy;
use kho_compat::policy::ALL;
use kho_lab::{BUILTIN, History, Run};

fn figures() -> String {
    let policies: Vec<_> = ALL.iter().map(|policy| *policy as &dyn Policy).collect();
    let mut text = String::new();
    for (name, file) in BUILTIN {
        let history = History::parse(file).unwrap();
        let run = Run::new(&history, &policies, &mut |_, _| true);
        let run = run.unwrap().unwrap();
        let releases = run.releases.len();
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

#[test]
fn the_figures_in_the_documentation_are_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policies.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- figures -->\n", "<!-- end of figures -->");
    let (head, rest) = page.split_once(begin).unwrap();
    let (found, tail) = rest.split_once(end).unwrap();
    let figures = figures();
    if std::env::var_os("BLESS_FIGURES").is_some() {
        std::fs::write(&path, format!("{head}{begin}{figures}{end}{tail}")).unwrap();
        return;
    }
    let mut lines = found.lines().zip(figures.lines());
    let differs = lines.find(|(one, other)| one != other);
    assert_eq!(differs, None, "write them anew with BLESS_FIGURES=1");
    assert_eq!(found.len(), figures.len());
}
