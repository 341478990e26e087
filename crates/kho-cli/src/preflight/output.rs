//! The judgement, for a person and for a program.

use std::io::{self, Write};

use comfy_table::{Cell, Color, Table};
use kho_compat::{Outcome, policy};
use serde_json::{Value, json};

use super::end::{Amount, End, Spot, What, printable};
use super::judge::{Judgement, Row};
use super::losses::Losses;
use super::open::amount;
use crate::human::{self, BOLD, DIM, YELLOW, count, decision_style, outcome};

/// The format's name.
const FORMAT: &str = "kho-preflight-v1";
/// Places shown of an expectation.
const SPOTS: usize = 4;

pub(super) fn print(
    out: &mut dyn Write,
    from: &End,
    to: &End,
    judgement: &Judgement,
) -> io::Result<()> {
    header(out, "from", from)?;
    header(out, "to", to)?;
    if !judgement.rows.is_empty() {
        writeln!(out, "\n{}", table(&judgement.rows))?;
    }
    writeln!(out)?;
    let decision = judgement.decision;
    let style = decision_style(decision);
    let summary = policy::by_name(judgement.policy).map_or("", |policy| policy.summary());
    writeln!(
        out,
        "verdict: {style}{}{style:#}  {DIM}policy `{}`: {summary}{DIM:#}",
        decision.id(),
        judgement.policy,
    )?;
    for group in grouped(&judgement.rows) {
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
            writeln!(out, "            {}", first.consequence)?;
        }
    }
    for line in loss_lines(&judgement.losses, judgement) {
        let style = decision_style(decision);
        writeln!(out, "{style}lost{style:#}: {line}")?;
    }
    let mut reasons = Vec::new();
    for (_, why) in &judgement.unjudged {
        if !reasons.contains(&why) {
            reasons.push(why);
        }
    }
    for why in reasons {
        let all = judgement.unjudged.iter().filter(|(_, other)| other == why);
        let whats: Vec<_> = all.map(|(what, _)| printable(what)).collect();
        let whats = whats.join(", ");
        writeln!(out, "{YELLOW}not judged{YELLOW:#}: {whats}: {why}")?;
    }
    for remark in &judgement.remarks {
        writeln!(out, "note: {}", printable(remark))?;
    }
    Ok(())
}

/// The findings that are worth a word, those of one reason together.
fn grouped(rows: &[Row]) -> Vec<Vec<&Row>> {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    let notable = rows.iter();
    for row in notable.filter(|row| row.outcome != Outcome::Restorable) {
        let same = |group: &&mut Vec<&Row>| {
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

fn table(rows: &[Row]) -> Table {
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
fn loss_lines(losses: &Losses, judgement: &Judgement) -> Vec<String> {
    let known = |sessions: Option<u64>, files: Option<Amount>| match (sessions, files) {
        (Some(sessions), Some(files)) => {
            format!("{}, {}", count(sessions, "session"), amount(files))
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
        let Some(files) = files.map(amount) else {
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
    let parts = judgement
        .rows
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

pub(super) fn json(from: &End, to: &End, judgement: &Judgement) -> Value {
    let consequences: Vec<_> = judgement
        .rows
        .iter()
        .filter(|row| row.outcome == Outcome::Rejected)
        .map(|row| row.consequence.to_string())
        .collect();
    let unjudged: Vec<_> = judgement
        .unjudged
        .iter()
        .map(|(what, why)| json!({ "what": what, "why": why.to_string() }))
        .collect();
    json!({
        "format": FORMAT,
        "decision": judgement.decision.id(),
        "from": end_json(from),
        "to": end_json(to),
        "verdict": {
            "policy": judgement.policy,
            "decision": judgement.decision.id(),
            "when": judgement.when.id(),
            "findings": judgement.rows.iter().map(row_json).collect::<Vec<_>>(),
            "not_judged": unjudged,
        },
        // The gravest comes first: in the order of carriers, from the root inwards.
        "consequence": consequences.first(),
        "losses": losses_json(&judgement.losses),
        "remarks": judgement.remarks,
    })
}

fn end_json(end: &End) -> Value {
    let (kho, luo) = match &end.what {
        What::Kernel(kernel) => (
            Some(kernel.kho.is_ok()),
            Some(kernel.kho.is_ok() && (kernel.luo.is_some() || kernel.names("luo"))),
        ),
        _ => (None, None),
    };
    let in_use = match &end.what {
        What::Dump(_) => true,
        What::Listed(listed) => listed.in_use.is_some(),
        What::Kernel(_) => false,
    };
    json!({
        "given": end.name,
        "kind": end.kind.id(),
        "title": end.title,
        "form": end.form,
        "release": end.release,
        "arch": end.arch,
        "evidence": end.evidence,
        "notes": end.notes,
        "kho": kho,
        "luo": luo,
        "in_use_known": in_use,
    })
}

fn row_json(row: &Row) -> Value {
    let entry = &row.item.entry;
    let why = row.why.as_ref().map(ToString::to_string);
    json!({
        "carrier": entry.carrier.id(),
        "found": entry.to_string(),
        "where": row.item.spot.json(),
        "expected": row.expected.to_string(),
        "expected_where": row.to.iter().map(Spot::json).collect::<Vec<_>>(),
        "outcome": row.outcome.id(),
        "reason": why.unwrap_or_default(),
        "uses": entry.uses,
        "files": row.files.map(amount_json),
        "consequence": row.consequence.to_string(),
    })
}

fn amount_json(amount: Amount) -> Value {
    json!({
        "files": amount.files,
        "bytes": amount.exactly(),
        "files_of_unknown_size": amount.unsized_files,
    })
}

fn losses_json(losses: &Losses) -> Value {
    let files = losses.files;
    json!({
        "machine": losses.machine,
        "all_preserved_state": losses.everything,
        "sessions": losses.sessions,
        "files": files.map(|files| files.files),
        // Of files that this build can not read nobody knows how long they are.
        "bytes": files.and_then(Amount::exactly),
        "bytes_known": files.map(|files| files.bytes),
        "preserved_pages": losses.pages,
        "handlers": losses.handlers.iter().map(|(handler, files)| json!({
            "handler": handler,
            "files": files.map(|files| files.files),
            "bytes": files.and_then(Amount::exactly),
        })).collect::<Vec<_>>(),
    })
}
