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
    let _ = writeln!(
        out,
        "**{}**\n\n`{}`{place}\n",
        escape(&finding.title),
        finding.rule
    );
    for layout in &finding.structs {
        write_struct(out, layout);
    }
    if !finding.details.is_empty() {
        let lines = finding.details.len();
        // Dashes and signs at the start of lines are no lists here.
        let body: Vec<_> = finding.details.iter().map(|d| d.text.as_str()).collect();
        let body = body.join("\n");
        let fence = fence(&body);
        if lines > 8 {
            let _ = writeln!(
                out,
                "<details><summary>{lines} lines</summary>\n\n{fence}text\n{body}\n{fence}\n\n</details>\n"
            );
        } else {
            let _ = writeln!(out, "{fence}text\n{body}\n{fence}\n");
        }
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
        let _ = writeln!(
            out,
            "| {mark} | {} | {} | {} |",
            name(row),
            side(row.old.as_ref()),
            side(row.new.as_ref())
        );
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

fn side(field: Option<&Field>) -> String {
    field.map_or_else(
        || "| |".to_owned(),
        |field| {
            format!(
                "{} | {} | `{}`",
                field.offset,
                field.size,
                field.shown_type()
            )
        },
    )
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
    let mut longest = 0;
    let mut run = 0;
    for c in body.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    "`".repeat(longest.max(2) + 1)
}
