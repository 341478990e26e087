//! The report, for a person.

use std::io::{self, Write};

use comfy_table::{Cell, Color, Table};
use kho_compat::Outcome;
use kho_preflight::words::printable;
use kho_preflight::{Amount, End, MoveFinding, Report, Spot};

use crate::human::{self, BOLD, DIM, YELLOW, count, decision_style, outcome};
use crate::own;

/// Places shown of an expectation.
const SPOTS: usize = 4;

pub(super) fn print(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    header(out, "from", report.from)?;
    header(out, "to", report.to)?;
    if !report.findings.is_empty() {
        writeln!(out, "\n{}", table(&report.findings))?;
    }
    writeln!(out)?;
    let decision = report.decision;
    let style = decision_style(decision);
    let summary = own::policy(report.policy).map_or("", |policy| policy.summary());
    writeln!(
        out,
        "verdict: {style}{}{style:#}  {DIM}policy `{}`: {summary}{DIM:#}",
        decision.id(),
        report.policy,
    )?;
    for group in grouped(&report.findings) {
        let Some(first) = group.first() else {
            continue;
        };
        let (style, word) = outcome(first.outcome);
        let strings: Vec<_> = group
            .iter()
            .map(|row| {
                let entry = &row.item.entry;
                format!(
                    "{} `{}`",
                    entry.carrier.title(),
                    printable(&entry.to_string())
                )
            })
            .collect();
        write!(out, "  {style}{word}{style:#}  {}", strings.join(", "))?;
        if let Some(why) = &first.why {
            write!(out, ": {}", printable(&why.to_string()))?;
        }
        writeln!(out)?;
        if matches!(first.outcome, Outcome::Rejected | Outcome::Lost) {
            writeln!(out, "            {}", report.consequence(first))?;
        }
    }
    for line in loss_lines(report) {
        let style = decision_style(decision);
        writeln!(out, "{style}lost{style:#}: {line}")?;
    }
    let mut reasons = Vec::new();
    for (_, why) in &report.unjudged {
        if !reasons.contains(&why) {
            reasons.push(why);
        }
    }
    for why in reasons {
        let all = report.unjudged.iter().filter(|(_, other)| other == why);
        let whats: Vec<_> = all.map(|(what, _)| printable(what)).collect();
        let whats = whats.join(", ");
        writeln!(out, "{YELLOW}not judged{YELLOW:#}: {whats}: {why}")?;
    }
    for remark in &report.remarks {
        writeln!(out, "note: {}", printable(remark))?;
    }
    Ok(())
}

/// The findings that are worth a word, those of one reason together.
fn grouped(rows: &[MoveFinding]) -> Vec<Vec<&MoveFinding>> {
    let mut groups: Vec<Vec<&MoveFinding>> = Vec::new();
    let notable = rows.iter();
    for row in notable.filter(|row| row.outcome != Outcome::Restorable) {
        let same = |group: &&mut Vec<&MoveFinding>| {
            group.first().is_some_and(|first| {
                (first.outcome, &first.why, first.consequence)
                    == (row.outcome, &row.why, row.consequence)
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

fn header(out: &mut dyn Write, role: &str, end: &End) -> io::Result<()> {
    let mut line = end.title.clone();
    line.extend(end.arch.iter().map(|arch| format!(", {arch}")));
    writeln!(
        out,
        "{role:<5} {BOLD}{}{BOLD:#}  {line}  {DIM}{}{DIM:#}",
        end.name, end.form
    )?;
    for text in &end.evidence {
        writeln!(out, "      {DIM}evidence{DIM:#} {}", printable(text))?;
    }
    for text in &end.notes {
        writeln!(out, "      {YELLOW}note{YELLOW:#}     {}", printable(text))?;
    }
    Ok(())
}

fn table(rows: &[MoveFinding]) -> Table {
    let mut table = human::table([
        "CARRIER",
        "FOUND, AND WHERE",
        "EXPECTED, AND WHERE",
        "OUTCOME",
    ]);
    // What is no terminal gets none of it: the stream strips it.
    table.enforce_styling();
    for row in rows {
        let entry = &row.item.entry;
        let mut found = printable(&entry.to_string());
        if entry.uses > 1 {
            found.push_str(&format!(" ({} times)", entry.uses));
        }
        let color = match row.outcome {
            Outcome::Restorable => Color::Green,
            Outcome::LeftAlone => Color::DarkGrey,
            Outcome::Lost => Color::Yellow,
            Outcome::Rejected => Color::Red,
        };
        let (_, word) = outcome(row.outcome);
        let expected = printable(&row.expected.to_string());
        table.add_row([
            Cell::new(entry.carrier.title()),
            Cell::new(format!("{found}\n{}", row.item.spot)),
            Cell::new(format!("{expected}\n{}", spots(&row.to)).trim_end()),
            Cell::new(word).fg(color),
        ]);
    }
    table
}

fn spots(spots: &[Spot]) -> String {
    let mut texts: Vec<_> = spots.iter().take(SPOTS).map(ToString::to_string).collect();
    texts.dedup();
    if spots.len() > SPOTS {
        texts.push("...".to_owned());
    }
    texts.join("\n")
}

/// What is lost, in words; nothing where nothing is.
fn loss_lines(report: &Report<'_>) -> Vec<String> {
    let losses = &report.losses;
    let known = |sessions: Option<u64>, files: Option<Amount>| match (sessions, files) {
        (Some(sessions), Some(files)) => {
            format!("{}, {files}", count(sessions, "session"))
        }
        _ => "how many sessions, files and bytes is unknown: FROM does not say what is in use"
            .to_owned(),
    };
    let all = known(losses.sessions, losses.files);
    let mut lines = Vec::new();
    if losses.machine {
        lines.push(format!(
            "the whole machine, and with it all preserved state: {all}"
        ));
    } else if losses.everything {
        lines.push(format!("all preserved state: {all}"));
    } else if losses.all_sessions {
        lines.push(format!("all sessions: {all}"));
    }
    for (handler, files) in &losses.handlers {
        let Some(files) = files else {
            continue;
        };
        let share = if losses.all_sessions {
            "of these, "
        } else {
            ""
        };
        lines.push(format!(
            "{share}files of handler `{}`: {files}",
            printable(handler)
        ));
    }
    if let Some(pages) = losses.pages {
        lines.push(format!(
            "{} of preserved memory in all",
            count(pages, "page")
        ));
    }
    let parts = report
        .findings
        .iter()
        .filter(|row| row.outcome == Outcome::Lost)
        .filter(|row| row.item.entry.carrier != kho_compat::Carrier::FileHandler);
    for row in parts.filter(|_| !losses.everything) {
        let entry = &row.item.entry;
        lines.push(format!(
            "{} `{}`",
            entry.carrier.title(),
            printable(&entry.to_string())
        ));
    }
    lines
}
