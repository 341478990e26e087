//! For programs.

use serde_json::json;

use crate::finding::{Report, Severity};

pub(super) fn render(report: &Report) -> String {
    let document = json!({
        "tool": "abi-check",
        "tool_version": env!("CARGO_PKG_VERSION"),
        "base": report.base,
        "components": report.components,
        "verdict": report.verdict().id(),
        "exit_code": report.exit_code(),
        "summary": report.summary(),
        "counts": {
            "error": report.count(Severity::Error),
            "warning": report.count(Severity::Warning),
            "allowed": report.count(Severity::Allowed),
            "info": report.count(Severity::Info),
        },
        "written": report.written,
        "withheld": report.withheld,
        "findings": report.findings,
    });
    format!("{document:#}\n")
}
