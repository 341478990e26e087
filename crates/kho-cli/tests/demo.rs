//! `kho demo` and `kho run` as a user sees them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{has, kho, text};
use serde_json::Value;

fn json(args: &[&str]) -> Value {
    let output = kho(args);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_update_is_shown_and_verified() {
    let report = json(&[
        "demo",
        "--sessions",
        "2",
        "--files",
        "30",
        "--size",
        "5000",
        "--json",
    ]);
    assert_eq!(report["verified"], true);
    assert_eq!(report["files"].as_u64(), Some(60));
    assert_eq!(report["bytes"].as_u64(), Some(300_000));
    assert_eq!(report["verdict"]["decision"], "accept");
    assert_eq!(report["incoming"]["generation"], 2);
    assert!(report["incoming"]["pid"].as_u64().unwrap() > 0);
    let phases = report["phases_us"].as_object().unwrap();
    for phase in ["freeze", "exec", "attach", "judge", "retrieve", "finish"] {
        assert!(phases[phase].is_u64(), "{phase}");
    }
    let parts: u64 = phases
        .iter()
        .filter(|(name, _)| !["verify", "finish"].contains(&name.as_str()))
        .map(|(_, us)| us.as_u64().unwrap())
        .sum();
    let blackout = report["blackout_us"].as_u64().unwrap();
    // Each part is rounded down.
    assert!(
        parts <= blackout && blackout - parts <= 10,
        "{parts} of {blackout}"
    );
}

#[test]
fn generations_follow_each_other_in_one_process() {
    let report = json(&[
        "demo",
        "--generations",
        "4",
        "--files",
        "1",
        "--size",
        "0",
        "--json",
    ]);
    let updates = report["updates"].as_array().unwrap();
    assert_eq!(updates.len(), 3);
    assert!(
        updates
            .iter()
            .all(|update| update["pid"] == updates[0]["pid"])
    );
    assert_eq!(updates[2]["generation"], 4);
    let alone = kho(&["demo", "--generations", "1"]);
    assert!(
        text(&alone.stdout).contains("nothing was handed over"),
        "{alone:?}"
    );
}

#[test]
fn another_version_is_refused_and_handed_back() {
    let report = json(&["demo", "--next", "block=2", "--json"]);
    assert_eq!(report["verified"].as_bool(), Some(true));
    assert_eq!(report["incoming"]["generation"].as_u64(), Some(1));
    let verdict = &report["verdict"];
    assert_eq!(verdict["decision"].as_str(), Some("reject"));
    assert_eq!(verdict["next"].as_str(), Some("block=2"));
    assert!(
        verdict["reason"]
            .as_str()
            .unwrap()
            .contains("block-v1 is not restorable here, only block-v2"),
        "{verdict}"
    );
    for (next, words) in [
        ("luo=6", "luo-v5"),
        ("kho=5", "kho-v4"),
        ("memfd=3", "memfd-v2"),
        ("radix=2", "radix-v1"),
        ("vmalloc=7", "vmalloc-v1"),
    ] {
        let shown = text(&kho(&["demo", "--next", next]).stdout);
        has(&shown, "refused: ");
        has(&shown, words);
        has(&shown, "generation 1 goes on");
    }
    // The version that is there.
    assert_eq!(
        json(&["demo", "--next", "block=1", "--json"])["incoming"]["generation"],
        2
    );
}

#[test]
fn the_timeline_is_for_people() {
    let shown = text(&kho(&["demo"]).stdout);
    assert!(shown.starts_with("generation 1 -> 2 (process "), "{shown}");
    assert!(
        shown.contains("blackout ")
            && shown.contains("verified: generation 2 has 24 files of 3 sessions, 24 MiB"),
        "{shown}"
    );
}

#[test]
fn wrong_usage_is_said_before_anything_is_made() {
    let cases: &[&[&str]] = &[
        &["demo", "--size", "lots"],
        &["demo", "--sessions", "0"],
        &["demo", "--next", "block"],
        &["demo", "--next", "block=two"],
        &["demo", "--next", "nosuch=2"],
        &["demo", "--size", "900G"],
        &["demo", "--files", "18446744073709551615"],
        &["run"],
    ];
    for args in cases {
        let output = kho(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn a_supervisor_ends_as_its_program_does() {
    let output = kho(&[
        "run",
        "--",
        env!("CARGO_BIN_EXE_kho"),
        "demo",
        "--generations",
        "3",
    ]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(said.matches("a handover is sealed").count(), 2, "{said}");
    assert_eq!(
        said.matches("the handover is finished").count(),
        2,
        "{said}"
    );
    assert!(text(&output.stdout).contains("verified: generation 3"));
    assert_eq!(
        kho(&["run", "-q", "--", "sh", "-c", "exit 7"])
            .status
            .code(),
        Some(7)
    );
    assert_eq!(
        kho(&["run", "-q", "--", "sh", "-c", "kill -9 $$"])
            .status
            .code(),
        Some(137)
    );
    let missing = kho(&["run", "--", "/nonexistent/program"]);
    assert_eq!(missing.status.code(), Some(127));
    has(&text(&missing.stderr), "/nonexistent/program");
}

/// What the update that came last was: accepted or refused, and why.
fn verdict(policy: &str, next: &str) -> Value {
    let small = ["--sessions", "1", "--files", "1", "--size", "4K", "--json"];
    let mut args = vec!["demo", "--policy", policy, "--next", next];
    args.extend(small);
    let report = json(&args);
    assert_eq!(report["verified"], true, "{policy} {next}");
    report["verdict"].clone()
}

#[test]
fn every_policy_governs_an_update_to_another_version() {
    for policy in kho_compat::policy::ALL {
        let name = policy.name();
        for (next, refused) in [("memfd=2", false), ("block=2", true), ("kho=5", true)] {
            let verdict = verdict(name, next);
            // What a policy takes (another number with the same masks, say) is refused by its reader, where no
            // code reads it.
            assert_eq!(
                verdict["decision"] == "reject",
                refused,
                "{name} {next}: {verdict}"
            );
        }
    }
}

#[test]
fn a_late_refusal_says_what_was_given_out_and_goes_back() {
    for (next, given) in [
        ("block=2", "kho-v4, radix-v1, luo-v5"),
        ("memfd=3", "kho-v4, radix-v1, luo-v5, block-v1"),
        ("vmalloc=2", "kho-v4, radix-v1, luo-v5, block-v1, memfd-v2"),
    ] {
        let verdict = verdict("check-at-restore", next);
        assert_eq!(verdict["decision"], "reject");
        let reason = verdict["reason"].as_str().unwrap();
        has(
            reason,
            "was refused while restoring, by policy `check-at-restore`: expected",
        );
        assert!(
            reason.ends_with(&format!("; given out by then: {given}")),
            "{reason}"
        );
    }
    // Everything before it is found upfront by the others.
    let verdict = verdict("newest-common", "memfd=3");
    has(
        verdict["reason"].as_str().unwrap(),
        "refused by policy `newest-common`",
    );
}
