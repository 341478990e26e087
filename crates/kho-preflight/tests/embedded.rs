//! What a host agent sees: ends opened, moves judged, errors as data, and a callback that stops it all.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use kho_compat::{Decision, Outcome, Registry, policy};
use kho_preflight::{EndKind, EndOptions, EndRole, Error, Preflight, Progress, Step};
use kho_testkit::capture_path;

fn preflight() -> Preflight {
    Preflight::new(Registry::linked().unwrap())
}

fn go_on(_: Step, _: u64, _: Option<u64>) -> bool {
    true
}

/// A manifest file whose memfd handler has `version`.
fn manifest(dir: &Path, name: &str, version: u32) -> std::path::PathBuf {
    let text = format!(
        r#"{{"format": "kho-manifest-v1", "name": "{name}", "components": {{
            "kho": {{"version": 4, "needs": ["radix", "vmalloc"], "carrier": "root"}},
            "radix": {{"version": 1}}, "vmalloc": {{"version": 1}}, "block": {{"version": 1}},
            "luo": {{"version": 5, "needs": ["block"], "carrier": "luo", "subtree": "LUO"}},
            "memfd": {{"version": {version}, "needs": ["vmalloc"], "carrier": "file-handler"}}
        }}}}"#
    );
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_dump_is_left_for_what_a_file_describes() {
    let dir = tempfile::tempdir().unwrap();
    let preflight = preflight();
    let small = capture_path("small.core.zst");
    let from = preflight.open(&small, &EndOptions::new(EndRole::From), &mut go_on);
    let from = from.unwrap();
    assert_eq!(from.kind, EndKind::Dump);
    // Its kexec metadata is in no component of these files: that alone is lost.
    for (version, decision) in [(2, Decision::Degrade), (3, Decision::Reject)] {
        let path = manifest(dir.path(), &format!("memfd {version}"), version);
        let to = preflight.open(&path, &EndOptions::new(EndRole::To), &mut go_on);
        let to = to.unwrap();
        let report = preflight.judge(&from, &to, &policy::SemverRange).unwrap();
        assert_eq!(report.decision, decision);
        let mut findings = report.findings.iter();
        let memfd = findings.find(|finding| finding.item.entry.found == "memfd-v2");
        let memfd = memfd.unwrap();
        assert_eq!(memfd.outcome == Outcome::Restorable, version == 2);
        // The dump says how much is in use: all of it is lost, or nothing.
        let lost = report.losses.files.unwrap();
        let files = from_files(&report.json());
        assert_eq!(lost.files, if version == 2 { 0 } else { files });
        assert_eq!(report.json()["decision"], decision.id());
    }
}

/// The files of the memfd handler, as the report has them.
fn from_files(report: &serde_json::Value) -> u64 {
    let findings = report["verdict"]["findings"].as_array().unwrap();
    let memfd = findings
        .iter()
        .find(|finding| finding["found"] == "memfd-v2");
    memfd.unwrap()["files"]["files"].as_u64().unwrap()
}

#[test]
fn the_callback_stops_it() {
    let small = capture_path("small.core.zst");
    let mut steps = Vec::new();
    let mut stop = |step, _, _| {
        steps.push(step);
        steps.len() < 3
    };
    let stop: &mut Progress<'_> = &mut stop;
    let opened = preflight().open(&small, &EndOptions::new(EndRole::To), stop);
    assert!(matches!(opened, Err(Error::Interrupted)), "{opened:?}");
    assert_eq!(steps.len(), 3);
}

#[test]
fn the_running_system_is_where_it_is_said_to_be() {
    let root = tempfile::tempdir().unwrap();
    let osrelease = root.path().join("proc/sys/kernel/osrelease");
    fs::create_dir_all(osrelease.parent().unwrap()).unwrap();
    fs::write(&osrelease, "9.9.9-somewhere\n").unwrap();
    let mut options = EndOptions::new(EndRole::From);
    options.root = root.path();
    let open = |options: &EndOptions<'_>| preflight().open("running".as_ref(), options, &mut go_on);
    match open(&options) {
        Err(Error::NoImage { release, looked }) => {
            assert_eq!(release, "9.9.9-somewhere");
            let root = root.path().to_str().unwrap();
            assert!(looked.iter().all(|path| path.starts_with(root)));
        }
        other => panic!("{other:?}"),
    }
    // A configuration without KHO says enough.
    fs::create_dir_all(root.path().join("boot")).unwrap();
    fs::write(
        root.path().join("boot/config-9.9.9-somewhere"),
        "CONFIG_KEXEC=y\n",
    )
    .unwrap();
    let end = open(&options).unwrap();
    assert_eq!(end.kind, EndKind::Running);
    assert_eq!(end.title.as_str(), "Linux 9.9.9-somewhere");
    let report = preflight().judge(&end, &end, &policy::SemverRange).unwrap();
    assert_eq!(report.decision, Decision::Accept);
    assert!(report.findings.is_empty() && !report.remarks.is_empty());
}

#[test]
fn what_is_none_of_all_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    fs::write(&path, "#!/bin/sh\necho was run >&2\n").unwrap();
    let error = preflight().open(&path, &EndOptions::new(EndRole::To), &mut go_on);
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "it is nothing that can be judged");
    let details = error.details();
    assert_eq!(details.len(), 2);
    assert!(details.contains(&("found", "a script, which is never run".to_owned())));
}

#[test]
fn a_handover_of_larger_pages_is_not_judged() {
    for name in ["arm64-16k", "arm64-64k"] {
        let path = capture_path(&format!("{name}.core.zst"));
        let end = preflight().open(&path, &EndOptions::new(EndRole::From), &mut go_on);
        let error = end.unwrap_err();
        assert!(matches!(error, Error::PageSize { .. }), "{name}: {error}");
    }
}
