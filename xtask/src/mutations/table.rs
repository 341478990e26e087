//! The table of all cases.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use super::cases::Case;
use super::verdict::{Row, Verdict};

/// What the rows come to.
struct Sum {
    changes: usize,
    found: usize,
    harmless: usize,
    silent: usize,
}

impl Sum {
    fn of(rows: &[Row]) -> Self {
        let (harmless, changes): (Vec<_>, Vec<_>) =
            rows.iter().partition(|row| row.case.expect.is_silence());
        let right = |rows: &[&Row]| rows.iter().filter(|row| row.is_right()).count();
        Self {
            changes: changes.len(),
            found: right(&changes),
            harmless: harmless.len(),
            silent: right(&harmless),
        }
    }

    fn words(&self) -> String {
        let percent = (self.found * 100).checked_div(self.changes).unwrap_or(100);
        format!(
            "{} of {} changes said as they must be ({percent} %); {} false alarms in {} harmless edits",
            self.found,
            self.changes,
            self.harmless - self.silent,
            self.harmless
        )
    }
}

/// What came of a case, in a few words.
pub(super) fn outcome(row: &Row) -> String {
    match (&row.wrong, &row.verdict, row.exit()) {
        (Some(wrong), ..) => format!("WRONG: {wrong}"),
        _ if row.case.note.is_some() => row.case.note.clone().unwrap_or_default(),
        (None, Verdict::NotCompiled(_), _) => "refused by the compiler".to_owned(),
        (None, _, Some(0)) if row.case.expect.rules.is_empty() => "silent".to_owned(),
        (None, _, Some(3)) => "listed".to_owned(),
        (None, _, Some(0)) => "told".to_owned(),
        (None, ..) => "found".to_owned(),
    }
}

fn cells(row: &Row) -> [String; 5] {
    let Case {
        kind,
        component,
        name,
        ..
    } = &row.case;
    let [kind, component, name] = [kind, component, name].map(String::clone);
    [kind, component, name, row.said(), outcome(row)]
}

/// For a terminal.
pub(super) fn human(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["kind", "whose", "change", "said", "outcome"]);
    for row in rows {
        table.add_row(cells(row));
    }
    format!("{table}\n\n{}\n", Sum::of(rows).words())
}

/// For a document.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut text =
        String::from("| kind | whose | change | said | outcome |\n|---|---|---|---|---|\n");
    for row in rows {
        let cells = cells(row).map(|cell| cell.replace('|', "\\|"));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    format!("{text}\n{}\n", Sum::of(rows).words())
}

/// For programs.
pub(super) fn json(rows: &[Row]) -> String {
    let sum = Sum::of(rows);
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "kind": row.case.kind,
                "component": row.case.component,
                "name": row.case.name,
                "harmless": row.case.expect.is_silence(),
                "said": row.said(),
                "exit_code": row.exit(),
                "right": row.is_right(),
                "wrong": row.wrong,
                "findings": row.findings(),
            })
        })
        .collect();
    let document = json!({
        "changes": sum.changes,
        "found": sum.found,
        "harmless": sum.harmless,
        "silent": sum.silent,
        "cases": lines,
    });
    format!("{document:#}\n")
}
