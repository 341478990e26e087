//! Versions, releases and history.

use super::*;

#[test]
fn the_crate_has_to_make_a_breaking_release() {
    let fake = project();
    let next = with_grown(3);
    fake.bless(&next);
    for (version, breaking) in [
        ("0.1.0", false),
        ("0.1.7", false),
        ("0.2.0", true),
        ("1.0.0", true),
        ("0.0.9", false),
    ] {
        fake.release(version);
        let report = fake.check(&next);
        let found = has(&report, "error crate-not-released");
        assert_eq!(found, !breaking, "{version}");
        if version == "0.1.7" {
            let finding = one(&report, "crate-not-released");
            let expected = "memfd-v2 -> memfd-v3, but fmt 0.1.0 -> 0.1.7 is no breaking release";
            assert_eq!(finding.title, expected);
            assert_eq!(
                finding.mend.as_deref(),
                Some("set the version of fmt to 0.2.0 at Cargo.toml:5")
            );
        }
    }
}

#[test]
fn a_second_change_may_share_a_release_that_is_not_out_yet() {
    let fake = project();
    fake.git(&["tag", "v0.1.0"]);
    fake.release("0.2.0");
    fake.commit("the next release begins");
    fake.git(&["checkout", "-q", "main"]);
    fake.git(&["merge", "-q", "change"]);
    let next = with_grown(3);
    let report = fake.bless(&next);
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    let title = &title(&report, "version-bumped");
    assert!(
        title.contains("fmt 0.2.0 carries it, which is a breaking release after v0.1.0."),
        "{title}"
    );
    let expected = "the base, v0.1.0: restores memfd ^2 only and refuses memfd-v3";
    told(&report, "dependents", expected);
}

#[test]
fn a_version_without_a_change_a_version_back_a_version_skipped() {
    let fake = project();
    fake.release("0.2.0");
    let report = fake.bless(&with(memfd([generation(3)])));
    let expected = ["info dependents", "warning bumped-without-change"];
    expect(&report, 3, &expected);
    fake.remove("abi-snapshots/memfd/v3.snap");
    let report = fake.bless(&with_grown(4));
    assert!(has(&report, "error version-skipped"));
    fake.write("abi-snapshots/memfd/v4.snap", "---\n---\nmemfd-v4\n");
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    assert!(has(&report, "error snapshot-orphan"));
    let finding = one(&report, "snapshot-orphan");
    assert_eq!(
        finding.title,
        "abi-snapshots/memfd/v4.snap describes a version that is not there: the component is memfd-v2"
    );
    fake.remove("abi-snapshots/memfd/v4.snap");
    let report = fake.check(&with(memfd([generation(1)])));
    assert!(has(&report, "error version-went-back"));
}

#[test]
fn bless_writes_all_or_nothing() {
    let fake = project();
    let next = with_grown(3);
    let before = fake.git(&["status", "--short"]);
    // The crate is not released: that is for no snapshot to mend.
    let report = fake.bless(&next);
    assert!(has(&report, "error crate-not-released") && !has(&report, "error snapshot-missing"));
    assert_eq!(report.written, Vec::<String>::new());
    assert!(
        report
            .withheld
            .contains(&"abi-snapshots/memfd/v3.snap".to_owned())
    );
    holds(
        &report.render(Format::Human),
        "not written, since the check fails: abi-snapshots/memfd/v3.snap",
    );
    assert_eq!(fake.git(&["status", "--short"]), before);
    fake.release("0.2.0");
    let after = fake.bless(&next);
    assert_eq!((after.exit_code(), after.written), (3, report.withheld));
    assert_eq!(after.withheld, Vec::<String>::new());
}

#[test]
fn history_is_append_only() {
    let fake = project();
    fake.edit("abi-snapshots/memfd/v2.snap", "count: u64", "number: u64");
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    expect(&report, 1, &["error history-edited"]);
    told(&report, "history-edited", "renamed to `number`, same bytes");
    told(&report, "history-edited", "git restore --source=");
    // Edited together with the code, it is told as both.
    fake.git(&["checkout", "-q", "-f", "change"]);
    let changed = leak(memfd([generation(2).layouts(&[grown::MemfdSer::layout])]));
    fake.write(
        "abi-snapshots/memfd/v2.snap",
        &format!("---\nsource: x\n---\n{}", describe(changed).unwrap()),
    );
    let expected = ["error abi-changed-layout", "error history-edited"];
    expect(&fake.check(&[changed, &VMALLOC]), 1, &expected);
    fake.remove("abi-snapshots/memfd/v2.snap");
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    expect(&report, 1, &["error history-deleted"]);
    fake.bless(&[&MEMFD, &VMALLOC]);
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
}

#[test]
fn a_release_is_history_though_the_base_lost_it() {
    let fake = project();
    fake.git(&["tag", "v0.1.0"]);
    fake.git(&["checkout", "-q", "main"]);
    fake.remove("abi-snapshots/memfd/v2.snap");
    fake.commit("lost");
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    expect(&report, 1, &["error history-deleted"]);
    assert!(
        one(&report, "history-deleted")
            .title
            .contains("released with v0.1.0")
    );
    let changed = with_grown(2);
    let report = fake
        .check_with(&changed, &Options::default().bless(true))
        .unwrap();
    assert!(report.written.is_empty(), "{:?}", report.written);
    assert!(has(&report, "error abi-changed-layout"));
}

#[test]
fn bless_writes_what_is_new_and_never_over_history() {
    let fake = project();
    let changed = with_grown(2);
    let before = fake.read("abi-snapshots/memfd/v2.snap");
    expect(&fake.bless(&changed), 1, &["error abi-changed-layout"]);
    assert_eq!(fake.read("abi-snapshots/memfd/v2.snap"), before);
    // A version that is not in the base yet is written again.
    fake.release("0.2.0");
    fake.bless(&with_grown(3));
    let next = with(memfd([generation(3).layouts(&[swapped::MemfdSer::layout])]));
    let expected = [
        "allowed version-bumped",
        "error snapshot-stale",
        "info dependents",
    ];
    expect(&fake.check(&next), 1, &expected);
    let report = fake.bless(&next);
    assert_eq!(report.written, ["abi-snapshots/memfd/v3.snap"]);
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    assert!(
        fake.read("abi-snapshots/memfd/v3.snap")
            .starts_with("---\nsource: crates/fmt/tests/abi.rs\n---\nmemfd-v3\n")
    );
}
