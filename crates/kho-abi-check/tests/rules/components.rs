//! What components say together.

use super::*;

#[test]
fn a_component_is_added_removed_renamed() {
    static NEW: Component =
        Component::new("pci", &[Generation::new(1).constants(&[constant!(MAX)])])
            .of_crate("fmt")
            .summary("PCI devices");
    let fake = project();
    let all = [&MEMFD, &VMALLOC, &NEW];
    assert!(has(&fake.check(&all), "error snapshot-missing"));
    expect(&fake.bless(&all), 3, &["allowed component-added"]);
    fake.land("pci");
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    let expected = ["error component-removed", "error composites-stale"];
    expect(&report, 1, &expected);
    assert_eq!(title(&report, "component-removed"), "`pci` is gone");
    static RENAMED: Component =
        Component::new("pcie", &[Generation::new(1).constants(&[constant!(MAX)])]).of_crate("fmt");
    let report = fake.bless(&[&MEMFD, &VMALLOC, &RENAMED]);
    let expected = ["allowed component-added", "error component-removed"];
    expect(&report, 1, &expected);
    let expected = "`pci` is gone, and `pcie` looks the same: renamed";
    assert_eq!(title(&report, "component-removed"), expected);
    // Removed with a reason; its history stays, and is asked for when that has landed too.
    fake.allow("component-removed", "pci", "never released", "2999-01-31");
    let expected = ["allowed component-added", "allowed component-removed"];
    expect(&fake.bless(&[&MEMFD, &VMALLOC, &RENAMED]), 3, &expected);
    fake.remove("abi-allow.toml");
    fake.land("renamed");
    expect(&fake.check(&[&MEMFD, &VMALLOC, &RENAMED]), 0, &[]);
    fake.remove("abi-snapshots/pci/v1.snap");
    let expected = ["error history-deleted"];
    expect(&fake.check(&[&MEMFD, &VMALLOC, &RENAMED]), 1, &expected);
}

#[test]
fn what_components_say_together_is_checked() {
    static TWICE: Component = Component::new("memfd", &[Generation::new(2)]).of_crate("fmt");
    static SHARED: Component = Component::new("one", &[Generation::new(1)])
        .of_crate("fmt")
        .subtree("S");
    static SHARING: Component = Component::new("two", &[Generation::new(1)])
        .of_crate("fmt")
        .subtree("S");
    static LONG: Component = Component::new("long", &[Generation::new(1).needs(&[("memfd", 2)])])
        .of_crate("fmt")
        .field(10);
    static CAPITAL: Component = Component::new("Luo", &[Generation::new(1)]).of_crate("fmt");
    static LONELY: Component =
        Component::new("lonely", &[Generation::new(1).needs(&[("nobody", 1)])]).of_crate("fmt");
    static MUTE: Component =
        Component::new("mute", &[Generation::new(2).read_only()]).of_crate("fmt");
    let fake = project();
    let check = |extra: &[&'static Component], rule: &str, text: &str| {
        let report = fake.check(&[&[&MEMFD, &VMALLOC], extra].concat());
        assert_eq!(report.exit_code(), 1);
        told(&report, rule, text);
    };
    check(
        &[&TWICE],
        "token-not-unique",
        "two components are called `memfd`",
    );
    check(
        &[&SHARED, &SHARING],
        "token-not-unique",
        "`one` and `two` both own the subtree S",
    );
    check(
        &[&LONG],
        "string-too-long",
        "takes 32 bytes, its field has 10",
    );
    check(&[&CAPITAL], "grammar", "not in the grammar");
    check(&[&LONELY], "needs-broken", "`lonely` needs `nobody`");
    check(
        &[&MUTE],
        "restores-broken",
        "invalid generations of component `mute`: expected at least one that is written",
    );
}

#[test]
fn what_is_restored_is_written_down() {
    let fake = project();
    let report = fake.check(&with(memfd([generation(1).read_only(), generation(2)])));
    assert!(has(&report, "error snapshot-missing"));
    let expected = "abi-snapshots/memfd/v1.snap is missing";
    told(&report, "snapshot-missing", expected);
    // What is backed is information.
    fake.release("0.2.0");
    let next = with(memfd([
        generation(2).read_only(),
        generation(3).layouts(&[grown::MemfdSer::layout]),
    ]));
    let report = fake.bless(&next);
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    assert!(
        one(&report, "version-bumped")
            .title
            .contains("This one still restores memfd-v2.")
    );
    fake.land("grown");
    let report = fake.bless(&with_grown(3));
    expect(&report, 3, &["info restores-changed"]);
    let expected = ["restores: >=2, <4 -> ^3"];
    assert_eq!(one(&report, "restores-changed").details, expected);
}

#[test]
fn who_needs_what_changed_is_told() {
    let fake = project();
    fake.release("0.2.0");
    let next = [
        &MEMFD,
        leak(Component::new(
            "vmalloc",
            kept([Generation::new(2).constants(&[constant!(MAX)])]),
        )),
    ];
    let stale = fake.check(&next);
    assert!(has(&stale, "error composites-stale"));
    let report = fake.bless(&next);
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    let finding = one(&report, "dependents");
    let expected = "the string of `memfd` (file handler) changes, because of what it needs";
    assert_eq!(finding.title, expected);
    let expected = [
        "composite: memfd-v2;vmalloc-v1 -> memfd-v2;vmalloc-v2",
        "composite-direct: memfd-v2;vmalloc-v1 -> memfd-v2;vmalloc-v2",
        "the base: restores vmalloc ^1 only and refuses vmalloc-v2",
        "plain stays memfd-v2: who reads that alone, as Linux 7.2 and 7.3 do, is not told",
    ];
    assert_eq!(finding.details, expected);
}
