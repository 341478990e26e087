//! The policy and the history in the commands of this program.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn kho(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_own-kho"));
    command.args(args).output().unwrap()
}

fn json(args: &[&str]) -> (i32, Value) {
    let output = kho(args);
    let value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), value)
}

/// A letter per pair: a row per release that hands over.
fn cells(matrix: &Value) -> Vec<String> {
    let letter = |cell: &Value| {
        let kind = cell["kind"].as_str().unwrap();
        kind.chars().next().unwrap().to_ascii_uppercase()
    };
    let rows = matrix["cells"].as_array().unwrap().iter();
    rows.map(|row| row.as_array().unwrap().iter().map(letter).collect())
        .collect()
}

#[test]
fn the_laboratory_runs_it_over_its_own_history() {
    let (code, run) = json(&[
        "lab",
        "run",
        "fleet",
        "--policy",
        "two-speeds,semver-range",
        "--json",
    ]);
    assert_eq!(code, 0);
    let policies = run["policies"].as_array().unwrap();
    let names: Vec<_> = policies
        .iter()
        .map(|p| p["policy"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["two-speeds", "semver-range"]);
    // A version back and no more; from plain strings to composites by release 3 only.
    assert_eq!(cells(&policies[0]), ["AARR", "RAAR", "RRAA", "RRRA"]);
    assert_eq!(cells(&policies[1]), ["AAAA", "RAAA", "RRAA", "RRRA"]);
    let why = policies[0]["cells"][0][2]["why"].to_string();
    assert!(
        why.contains("memfd-v2 is 2 versions behind, and one is tested"),
        "{why}"
    );
}

#[test]
fn a_report_has_it() {
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("report");
    let output = kho(&["lab", "run", "fleet", "--out", dir.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(page.contains("two-speeds") && page.contains("semver-range"));
    assert!(dir.join("two-speeds.svg").exists() && dir.join("two-speeds.json").exists());
}

#[test]
fn a_chain_of_updates_takes_no_release_twice() {
    let args = [
        "lab",
        "plan",
        "fleet",
        "--from",
        "1",
        "--to",
        "4",
        "--policy",
        "two-speeds",
        "--json",
    ];
    let (code, plan) = json(&args);
    assert_eq!(code, 0, "{plan}");
    let steps = plan["plans"][0]["steps"].as_array().unwrap().iter();
    let steps: Vec<_> = steps.map(|step| step["to"].as_str().unwrap()).collect();
    assert_eq!(steps, ["2", "3", "4"]);
    let args = [
        "lab",
        "plan",
        "fleet",
        "--from",
        "4",
        "--to",
        "1",
        "--policy",
        "two-speeds",
    ];
    assert_eq!(kho(&args).status.code(), Some(1));
}

fn manifest(dir: &Path, name: &str, memfd: u32, dialect: &str) -> String {
    let text = format!(
        r#"{{ "format": "kho-manifest-v1", "name": "{name}", "dialect": "{dialect}", "components": {{
            "kho": {{ "version": 4, "carrier": "root", "needs": ["radix"] }},
            "radix": {{ "version": 1 }},
            "luo": {{ "version": 5, "carrier": "luo", "subtree": "LUO" }},
            "memfd": {{ "version": {memfd}, "carrier": "file-handler", "restores": ">=2, <={memfd}" }} }} }}"#
    );
    let path = dir.join(format!("{name}.json"));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn preflight_judges_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let two = manifest(dir.path(), "two", 2, "composite");
    let three = manifest(dir.path(), "three", 3, "composite");
    let four = manifest(dir.path(), "four", 4, "composite");
    let plain = manifest(dir.path(), "plain", 3, "plain");
    let preflight = |from: &str, to: &str, policy: &str| {
        let args = [
            "preflight",
            "--from",
            from,
            "--to",
            to,
            "--policy",
            policy,
            "--json",
        ];
        let (code, report) = json(&args);
        assert_eq!(report["verdict"]["policy"], policy);
        (code, report.to_string())
    };
    assert_eq!(preflight(&two, &three, "two-speeds").0, 0);
    assert_eq!(preflight(&two, &four, "semver-range").0, 0);
    let (code, report) = preflight(&two, &four, "two-speeds");
    assert_eq!(code, 1);
    assert!(report.contains("memfd-v2 is 2 versions behind"), "{report}");
    // The root's strings are compared whole: the one with its need is another one.
    let (code, report) = preflight(&two, &plain, "two-speeds");
    assert_eq!(code, 1);
    assert!(report.contains("kho-v4;radix-v1"), "{report}");
}

#[test]
fn commands_list_it() {
    let (_, policies) = json(&["compat", "policies", "--json"]);
    assert_eq!(policies[0]["name"], "two-speeds");
    let (_, histories) = json(&["lab", "list", "--json"]);
    assert_eq!(histories[0]["name"], "fleet");
    let output = kho(&["lab", "run", "fleet", "--policy", "one-speed"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text.contains("no policy `one-speed`; there are two-speeds, global-version"),
        "{text}"
    );
}
