//! The report, for a person.

use std::io::{self, Write};

use comfy_table::{Cell, Color, Table};
use kho_compat::Outcome;
use kho_preflight::words::printable;
use kho_preflight::{Amount, End, MoveFinding, Report, Spot, State, Why};

use crate::error::RED;
use crate::human::{self, BOLD, DIM, GREEN, YELLOW, count, decision_style, outcome};
use crate::own;

/// Places shown of an expectation.
const SPOTS: usize = 4;

/// Columns of a line of conditions, defects and what to do.
const WIDTH: usize = 80;

pub(super) fn print(out: &mut dyn Write, report: &Report<'_>, verbose: bool) -> io::Result<()> {
    let decision = report.decision;
    let style = decision_style(decision);
    let headline = printable(&report.headline());
    let (word, why) = headline.split_at(decision.id().len().min(headline.len()));
    writeln!(out, "verdict: {style}{word}{style:#}{why}\n")?;
    header(out, "from", report.from)?;
    header(out, "to", report.to)?;
    // Of a kernel without KHO one sentence says it all.
    let without = |row: &MoveFinding| matches!(row.why, Some(Why::NoKho { .. }));
    let in_short = !verbose && report.findings.iter().any(without);
    if !report.findings.is_empty() && !in_short {
        writeln!(out, "\n{}", table(&report.findings))?;
    }
    writeln!(out)?;
    if !in_short {
        let summary = own::policy(report.policy).map_or("", |policy| policy.summary());
        writeln!(out, "{DIM}policy `{}`: {summary}{DIM:#}", report.policy)?;
    }
    let notable = if in_short { &[][..] } else { &report.findings };
    for group in grouped(notable) {
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
    conditions(out, report)?;
    defects(out, report)?;
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
    for text in &report.next {
        wrapped(out, "next: ", 6, &printable(text))?;
    }
    Ok(())
}

/// The conditions: all of them, or those that are known not to be met where the formats alone decide.
fn conditions(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let rejected = report
        .findings
        .iter()
        .any(|row| row.outcome == Outcome::Rejected);
    let all = report.conditions.iter();
    let all = all.filter(|condition| !rejected || condition.state == State::NotMet);
    for (index, condition) in all.enumerate() {
        if index == 0 {
            writeln!(out, "conditions:")?;
        }
        let (style, word) = state(condition.state);
        let head = format!("  {style}{word:<8}{style:#}  ");
        wrapped(out, &head, 12, condition.kind.title())?;
        wrapped(out, "            ", 12, &printable(&condition.evidence))?;
        if condition.state == State::NotMet {
            wrapped(out, "            ", 12, &condition.cost.to_string())?;
        }
        if !condition.advice.is_empty() {
            wrapped(out, "            ", 12, &printable(&condition.advice))?;
        }
    }
    Ok(())
}

/// The known defects that are met, and the names of those that may be.
fn defects(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let (met, unseen): (Vec<_>, Vec<_>) = report
        .defects
        .iter()
        .partition(|found| found.state == State::Met);
    for found in met {
        let head = format!("{YELLOW}known defect{YELLOW:#} ");
        wrapped(out, &head, 12, &printable(&found.to_string()))?;
    }
    for found in unseen {
        let (id, evidence) = (found.defect.id, &found.evidence);
        let text = format!("whether known defect {id} is met: {evidence}");
        wrapped(out, "not seen: ", 10, &printable(&text))?;
    }
    Ok(())
}

const fn state(state: State) -> (anstyle::Style, &'static str) {
    match state {
        State::Met => (GREEN, "met"),
        State::NotMet => (RED, "not met"),
        State::NotSeen => (YELLOW, "not seen"),
    }
}

/// `text` after `head`, whose width is not that of its bytes, in lines that are indented by `indent`.
fn wrapped(out: &mut dyn Write, head: &str, indent: usize, text: &str) -> io::Result<()> {
    let mut line = head.to_owned();
    let mut used = anstream::adapter::strip_str(head)
        .to_string()
        .chars()
        .count();
    let mut fresh = true;
    for word in text.split_ascii_whitespace() {
        let len = word.chars().count();
        if !fresh && used + 1 + len > WIDTH {
            writeln!(out, "{line}")?;
            line = " ".repeat(indent);
            used = indent;
            fresh = true;
        }
        if !fresh {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += len;
        fresh = false;
    }
    writeln!(out, "{line}")
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
