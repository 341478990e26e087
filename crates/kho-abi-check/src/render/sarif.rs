//! SARIF 2.1.0, as code scanning services take it.

use serde_json::{Value, json};

use super::plain;
use crate::finding::{Finding, Report, Severity};
use crate::rules::{RULES, Rule};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Allowed | Severity::Info => "note",
    }
}

/// A path as a relative URI.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn result(report: &Report, finding: &Finding) -> Value {
    let index = RULES.iter().position(|rule| rule.id == finding.rule);
    // Code scanning refuses a result that stands nowhere: the manifest is everywhere's root.
    let (file, line) = match &finding.place {
        Some(place) => (report.in_repository(place), place.line),
        None => (format!("{}Cargo.toml", report.prefix), 1),
    };
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": { "text": plain(finding).join("\n") },
        "partialFingerprints": {
            "abiCheck/v1": format!("{}/{}/{}", finding.rule, finding.component, finding.title),
        },
        "properties": {
            "component": finding.component,
            "severity": finding.severity.id(),
        },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&file), "uriBaseId": "%SRCROOT%" },
                "region": { "startLine": line },
            },
        }],
    });
    if let (Some(reason), Some(members)) = (&finding.allowed, result.as_object_mut()) {
        let suppressed = json!([{ "kind": "external", "justification": reason }]);
        members.insert("suppressions".to_owned(), suppressed);
    }
    result
}

pub(super) fn render(report: &Report) -> String {
    let rule = |rule: &Rule| {
        json!({
            "id": rule.id,
            "shortDescription": { "text": rule.what },
            "fullDescription": { "text": rule.reason },
            "help": { "text": format!("Mend: {}", rule.mend) },
            "defaultConfiguration": { "level": level(rule.severity) },
        })
    };
    let rules: Value = RULES.iter().map(rule).collect();
    let results = report.findings.iter();
    let results: Value = results.map(|finding| result(report, finding)).collect();
    let document = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "abi-check",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                },
            },
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {
                "%SRCROOT%": { "description": { "text": "the root of the repository" } },
            },
            "results": results,
            "properties": { "base": report.base, "summary": report.summary() },
        }],
    });
    format!("{document:#}\n")
}
