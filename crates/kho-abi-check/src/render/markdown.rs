//! For a comment in a pull request.

use std::fmt::Write as _;

use crate::diff::{Row, StructDiff};
use crate::finding::{Finding, Report, Severity, Verdict};
use crate::snapshot::Field;

/// What marks the comment, so that it can be found again.
const MARK: &str = "<!-- abi-check -->";

pub(super) fn render(report: &Report) -> String {
    let verdict = match report.verdict() {
        Verdict::Clean => "✅ ABI check: clean",
        Verdict::Broken => "❌ ABI check: broken",
        Verdict::Allowed => "☑️ ABI check: changed properly",
    };
    let mut out = format!("{MARK}\n## {verdict}\n\n");
    // Writing to a String does not fail.
    for (severity, title) in [
        (Severity::Error, "Must not land"),
        (Severity::Warning, "Worth a look"),
        (Severity::Allowed, "Changed properly"),
        (Severity::Info, "What follows from it"),
    ] {
        let findings = report.findings.iter().filter(|f| f.severity == severity);
        let mut findings = findings.peekable();
        if findings.peek().is_none() {
            continue;
        }
        let _ = writeln!(out, "### {title}\n");
        findings.for_each(|finding| write_finding(&mut out, finding));
    }
    let _ = writeln!(out, "{}", escape(&report.summary()));
    out
}

fn write_finding(out: &mut String, finding: &Finding) {
    let place = finding.place.as_ref();
    let place = place.map_or_else(String::new, |place| format!(" · `{place}`"));
    let title = escape(&finding.title);
    let _ = writeln!(out, "**{title}**\n\n`{}`{place}\n", finding.rule);
    for layout in &finding.structs {
        write_struct(out, layout);
    }
    if !finding.details.is_empty() {
        let lines = finding.details.len();
        // Dashes and signs at the start of lines are no lists here.
        let body: Vec<_> = finding.details.iter().map(|d| d.text.as_str()).collect();
        let body = body.join("\n");
        let fence = fence(&body);
        let block = format!("{fence}text\n{body}\n{fence}\n");
        let _ = if lines > 8 {
            let summary = format!("<details><summary>{lines} lines</summary>");
            writeln!(out, "{summary}\n\n{block}\n</details>\n")
        } else {
            writeln!(out, "{block}")
        };
    }
    if let Some(reason) = &finding.allowed {
        let _ = writeln!(out, "Allowed: {}\n", escape(reason));
    }
    if let Some(mend) = &finding.mend {
        let _ = writeln!(out, "Mend: {}\n", escape(mend));
    }
}

fn write_struct(out: &mut String, layout: &StructDiff) {
    let size = |size: Option<u64>| size.map_or_else(|| "none".to_owned(), |n| format!("{n} bytes"));
    let _ = writeln!(
        out,
        "`struct {}`: {} → {}\n\n| | field | old offset | old size | old type | new offset | new size | new type |\n|---|---|---:|---:|---|---:|---:|---|",
        layout.name,
        size(layout.size.0),
        size(layout.size.1)
    );
    for row in &layout.rows {
        let mark = match (&row.old, &row.new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ if row.is_same() => "",
            _ => "**changed**",
        };
        let (name, old, new) = (name(row), side(&row.old), side(&row.new));
        let _ = writeln!(out, "| {mark} | {name} | {old} | {new} |");
    }
    out.push('\n');
}

fn name(row: &Row) -> String {
    match (&row.old, &row.new) {
        (Some(old), Some(new)) if old.name != new.name => {
            format!("`{}` → `{}`", old.name, new.name)
        }
        (_, Some(field)) | (Some(field), None) => format!("`{}`", field.name),
        (None, None) => String::new(),
    }
}

fn side(field: &Option<Field>) -> String {
    let Some(field) = field else {
        return "| |".to_owned();
    };
    let ty = field.shown_type();
    format!("{} | {} | `{ty}`", field.offset, field.size)
}

/// Text in which nothing is markup but code between backticks.
fn escape(text: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for c in text.chars() {
        match c {
            '`' => code = !code,
            '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '\\' if !code => out.push('\\'),
            _ => {}
        }
        out.push(c);
    }
    out
}

/// A fence that is longer than any in `body`.
fn fence(body: &str) -> String {
    let runs = body.split(|c| c != '`').map(str::len);
    "`".repeat(runs.max().unwrap_or(0).max(2) + 1)
}
