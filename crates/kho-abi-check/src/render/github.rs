//! Workflow commands of GitHub Actions: an annotation per finding.

use std::fmt::Write as _;

use super::plain;
use crate::finding::{Report, Severity, Verdict};

/// A command's text: it ends at a line's end, and `%` introduces what is escaped.
fn data(text: &str) -> String {
    let text = text.replace('%', "%25");
    text.replace('\r', "%0D").replace('\n', "%0A")
}

/// A property, which ends at a comma or a colon as well.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    for finding in &report.findings {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Allowed | Severity::Info => "notice",
        };
        let place = finding.place.as_ref().map_or_else(String::new, |place| {
            let file = property(&report.in_repository(place));
            format!("file={file},line={},", place.line)
        });
        let title = match (&*finding.component, finding.rule) {
            ("", rule) => property(rule),
            (component, rule) => property(&format!("{component}: {rule}")),
        };
        let text = data(&plain(finding).join("\n"));
        let _ = writeln!(out, "::{command} {place}title={title}::{text}");
    }
    let command = match report.verdict() {
        Verdict::Broken => "error",
        Verdict::Clean | Verdict::Allowed => "notice",
    };
    let summary = data(&report.summary());
    let _ = writeln!(out, "::{command} title=abi-check::{summary}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_command_is_escaped() {
        assert_eq!(data("50 %\r\nnext: a, b"), "50 %25%0D%0Anext: a, b");
        assert_eq!(property("a: b, 1%\n"), "a%3A b%2C 1%25%0A");
    }
}
