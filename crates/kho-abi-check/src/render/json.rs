//! For programs.

use serde::Serialize;

use crate::finding::{Finding, Report, Severity};

#[derive(Serialize)]
struct Document<'a> {
    tool: &'static str,
    tool_version: &'static str,
    base: &'a str,
    components: usize,
    verdict: &'static str,
    exit_code: u8,
    summary: String,
    counts: Counts,
    written: &'a [String],
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Counts {
    error: usize,
    warning: usize,
    allowed: usize,
    info: usize,
}

pub(super) fn render(report: &Report) -> String {
    let document = Document {
        tool: "abi-check",
        tool_version: env!("CARGO_PKG_VERSION"),
        base: &report.base,
        components: report.components,
        verdict: report.verdict().id(),
        exit_code: report.exit_code(),
        summary: report.summary(),
        counts: Counts {
            error: report.count(Severity::Error),
            warning: report.count(Severity::Warning),
            allowed: report.count(Severity::Allowed),
            info: report.count(Severity::Info),
        },
        written: &report.written,
        findings: &report.findings,
    };
    // Strings, numbers and lists: serializing them does not fail.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
