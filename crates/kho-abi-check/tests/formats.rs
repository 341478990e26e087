//! Reports in every form, read back by other readers than their writers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{ABI, Fake, holds, kept, leak, structs};
use kho_abi_check::{Format, Report, rules::RULES};
use kho_compat::{AbiLayout as _, Component, Generation};
use serde_json::Value;
use zerocopy::little_endian::U64;

mod old {
    use super::*;
    structs! { "ser" Ser { pos: U64, size: U64 } }
}

mod new {
    use super::*;
    structs! { "ser" Ser { size: U64, pos: U64, more: U64 } }
}

const SOURCE: &str = "pub const LIMIT: u64 = 1;\n#[derive(AbiLayout)]\n#[repr(C)]\npub struct Ser { pos: U64, size: U64 }\nconst _: () = assert!(size_of::<Ser>() == 16);\n";

/// Reports with an error, with a proper change, and clean; titles hold what forms must escape.
fn reports() -> [Report; 3] {
    let one = |generation: Generation| Component::new("one", kept([generation]));
    let before = leak(one(Generation::new(1).layouts(&[old::Ser::layout])));
    let fake = Fake::new(SOURCE, &[before]);
    let broken = leak(one(Generation::new(1).layouts(&[new::Ser::layout])));
    let component = r"50%, a: b|<c>\r\n::error::x";
    fake.allow("grammar", component, "r", "2999-01-01");
    let broken = fake.check(&[broken]);
    fake.remove("abi-allow.toml");
    fake.release("0.2.0");
    let bumped = one(Generation::new(2).layouts(&[new::Ser::layout]));
    let bumped = leak(bumped.carried_in(kho_compat::Carrier::Luo));
    let allowed = fake.bless(&[bumped]);
    fake.git(&["checkout", "-q", "-f", "main"]);
    fake.git(&["clean", "-fdq"]);
    fake.write(ABI, &SOURCE.replace("pub const", "const"));
    let clean = fake.check(&[before]);
    assert_eq!(
        [broken.exit_code(), allowed.exit_code(), clean.exit_code()],
        [1, 3, 0]
    );
    [broken, allowed, clean]
}

#[test]
fn json_says_all_that_was_found() {
    for report in reports() {
        let value: Value = serde_json::from_str(&report.render(Format::Json)).unwrap();
        assert_eq!(value["exit_code"], report.exit_code());
        let findings = value["findings"].as_array().unwrap();
        assert_eq!(findings.len(), report.findings.len());
        for (value, finding) in findings.iter().zip(&report.findings) {
            assert_eq!(value["rule"], finding.rule);
            assert_eq!(value["title"], finding.title);
        }
        if report.exit_code() == 1 {
            let rows = findings[0]["structs"][0]["rows"].as_array().unwrap();
            let mut rows = rows.iter();
            let row = rows.find(|row| row["new"]["name"] == "size").unwrap();
            let offsets = (&row["old"]["offset"], &row["new"]["offset"]);
            assert_eq!(offsets, (&8.into(), &0.into()));
            assert_eq!(row["new"]["type"], "u64");
            assert_eq!(findings[0]["severity"], "error");
        }
    }
}

/// A workflow command taken apart as the runner does it.
fn command(line: &str) -> (String, Vec<(String, String)>, String) {
    let rest = line.strip_prefix("::").unwrap();
    let (head, text) = rest.split_once("::").unwrap();
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let unescape = |text: &str| {
        let text = text.replace("%0D", "\r").replace("%0A", "\n");
        text.replace("%3A", ":")
            .replace("%2C", ",")
            .replace("%25", "%")
    };
    let properties = properties.split(',').map(|pair| {
        let (key, value) = pair.split_once('=').unwrap();
        (key.to_owned(), unescape(value))
    });
    (name.to_owned(), properties.collect(), unescape(text))
}

#[test]
fn github_reads_one_annotation_a_line() {
    for report in reports() {
        let text = report.render(Format::Github);
        let lines: Vec<_> = text.lines().map(command).collect();
        assert_eq!(lines.len(), report.findings.len() + 1);
        for ((name, properties, message), finding) in lines.iter().zip(&report.findings) {
            assert!(["error", "warning", "notice"].contains(&name.as_str()));
            assert!(message.starts_with(&finding.title), "{message}");
            let get = |key: &str| {
                let found = properties.iter().find(|(k, _)| k == key);
                found.unwrap().1.clone()
            };
            let place = finding.place.as_ref().unwrap();
            assert_eq!(get("file"), place.file);
            assert_eq!(get("line"), place.line.to_string());
            assert!(get("title").ends_with(finding.rule));
        }
        assert!(lines.last().unwrap().2.starts_with(&report.summary()));
    }
}

#[test]
fn sarif_has_the_members_that_its_schema_requires() {
    for report in reports() {
        let value: Value = serde_json::from_str(&report.render(Format::Sarif)).unwrap();
        assert_eq!(value["version"], "2.1.0");
        let schema = value["$schema"].as_str().unwrap();
        assert!(schema.ends_with("sarif-schema-2.1.0.json"));
        let run = &value["runs"][0];
        let driver = &run["tool"]["driver"];
        assert_eq!(driver["name"], "abi-check");
        let rules = driver["rules"].as_array().unwrap();
        assert_eq!(rules.len(), RULES.len());
        for rule in rules {
            let text = rule["shortDescription"]["text"].as_str();
            assert!(!text.unwrap().is_empty());
            let level = rule["defaultConfiguration"]["level"].as_str().unwrap();
            assert!(["none", "note", "warning", "error"].contains(&level));
        }
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), report.findings.len());
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            assert!(["note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
            let place = &result["locations"][0]["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(!uri.starts_with('/') && !uri.contains([' ', '\\']), "{uri}");
            assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        }
    }
}

#[test]
fn markdown_shows_the_fields_in_a_table_and_escapes_the_rest() {
    let [broken, allowed, clean] = reports();
    let text = broken.render(Format::Markdown);
    assert!(
        text.starts_with("<!-- abi-check -->\n## ❌ ABI check: broken\n"),
        "{text}"
    );
    let expected = "| **changed** | `size` | 8 | 8 | `u64` | 0 | 8 | `u64` |";
    holds(&text, expected);
    holds(&text, "| added | `more` | | | | 16 | 8 | `u64` |");
    let table = text.lines().filter(|line| line.starts_with('|'));
    let columns: Vec<_> = table.map(|line| line.matches('|').count()).collect();
    assert!(columns.iter().all(|count| *count == 9), "{text}");
    let text = allowed.render(Format::Markdown);
    holds(&text, "## ☑️ ABI check: changed properly");
    holds(&clean.render(Format::Markdown), "## ✅ ABI check: clean");
}

#[test]
fn human_ends_with_the_verdict_with_and_without_colours() {
    for (report, verdict) in reports().iter().zip(["broken", "allowed", "clean"]) {
        let plain = report.human(false);
        assert!(!plain.contains('\x1b'));
        let last = plain.trim_end().lines().last().unwrap();
        assert!(
            last.starts_with(&format!("abi-check: {verdict}: ")),
            "{last}"
        );
        let coloured = report.human(true);
        assert!(coloured.contains('\x1b'));
        // Without its colours it is the same text.
        let mut bare = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\x1b') {
            bare.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        bare.push_str(rest);
        assert_eq!(bare, plain);
    }
    assert!("text".parse::<Format>().is_err());
    assert!(Format::ALL.iter().all(|f| f.id().parse() == Ok(*f)));
}
