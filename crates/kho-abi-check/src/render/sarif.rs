//! SARIF 2.1.0, as code scanning services take it.

use serde_json::{Value, json};

use super::plain;
use crate::finding::{Finding, Report, Severity};
use crate::rules::RULES;

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
    });
    let Some(members) = result.as_object_mut() else {
        return result;
    };
    // Code scanning refuses a result that stands nowhere: the manifest is everywhere's root.
    let (file, line) = finding.place.as_ref().map_or_else(
        || (format!("{}Cargo.toml", report.prefix), 1),
        |place| (report.in_repository(place), place.line),
    );
    members.insert(
        "locations".to_owned(),
        json!([{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&file), "uriBaseId": "%SRCROOT%" },
                "region": { "startLine": line },
            },
        }]),
    );
    if let Some(reason) = &finding.allowed {
        members.insert(
            "suppressions".to_owned(),
            json!([{ "kind": "external", "justification": reason }]),
        );
    }
    result
}

pub(super) fn render(report: &Report) -> String {
    let rules: Vec<_> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.what },
                "fullDescription": { "text": rule.reason },
                "help": { "text": format!("Mend: {}", rule.mend) },
                "defaultConfiguration": { "level": level(rule.severity) },
            })
        })
        .collect();
    let results: Vec<_> = report
        .findings
        .iter()
        .map(|finding| result(report, finding))
        .collect();
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
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
