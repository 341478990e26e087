//! What changed, with or without a version.

use super::*;

mod limit {
    use super::*;
    pub(super) const MAX: u64 = 20_000;
    structs! {
        "memfd_ser" [MAX] MemfdSer { pos: U64, seals: U32, flags: U32, count: U64 }
    }
}

#[test]
fn nothing_changed() {
    let fake = project();
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    expect(&report, 0, &[]);
    let text = report.render(Format::Human);
    assert!(
        text.starts_with("abi-check: clean: 2 components as their versions say, against main ("),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn harmless_edits_are_no_findings() {
    let fake = project();
    fake.edit(ABI, "/// A limit.", "// Moved, and\n/// said otherwise.");
    fake.edit(
        ABI,
        "#[derive(AbiLayout)]",
        "#[derive(AbiLayout, Clone, Debug)]",
    );
    fake.write(
        "crates/fmt/src/walk.rs",
        "fn renamed(local: u8) -> u8 { local }\n",
    );
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
    // The file moves, the crate's directory does.
    let text = fake.read(ABI);
    fake.remove(ABI);
    fake.write("crates/fmt/src/format/abi.rs", &text);
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
    fake.git(&["add", "-A"]);
    fake.git(&["mv", "crates/fmt", "crates/moved"]);
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
}

#[test]
fn a_layout_that_changes_without_a_version_stops_with_the_mend() {
    let fake = project();
    let report = fake.check(&with_grown(2));
    expect(&report, 1, &["error abi-changed-layout"]);
    let finding = one(&report, "abi-changed-layout");
    let expected = "crates/fmt/src/abi.rs:18";
    assert_eq!(place(&report, "abi-changed-layout"), expected);
    let expected = [
        "struct MemfdSer grew: 24 -> 32 bytes",
        "field `owner` of struct MemfdSer added: u64 at offset 8",
        "field `seals` of struct MemfdSer moved: offset 8 -> 16",
        "field `flags` of struct MemfdSer moved: offset 12 -> 20",
        "field `count` of struct MemfdSer moved: offset 16 -> 24",
    ];
    assert_eq!(finding.details, expected);
    assert_eq!(
        finding.mend.as_deref().unwrap(),
        "undo the change; or make it memfd-v3: set `VERSION` to 3 (crates/fmt/src/abi.rs:8) \
         and the snapshot's name in the tests to match, release fmt 0.2.0 (Cargo.toml), \
         then run: cargo xtask abi-check --bless"
    );
    let text = report.render(Format::Human);
    for line in [
        "    + owner       -      -        ->       8      8  u64",
        "    ~ seals       8      4  u32   ->      16      4  u32",
        "      pos         0      8  u64            0      8  u64",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let last = text.trim_end().lines().last().unwrap();
    assert!(
        last.starts_with("abi-check: broken: 1 error, against main ("),
        "{last}"
    );
}

#[test]
fn swapped_fields_of_one_size_are_told() {
    let report = project().check(&with(memfd([
        generation(2).layouts(&[swapped::MemfdSer::layout])
    ])));
    expect(&report, 1, &["error abi-changed-layout"]);
    let expected = "field `flags` of struct MemfdSer moved: offset 12 -> 8";
    told(&report, "abi-changed-layout", expected);
    let expected = "field `seals` of struct MemfdSer moved: offset 8 -> 12";
    told(&report, "abi-changed-layout", expected);
}

#[test]
fn a_layout_that_changes_properly_reads_as_one_paragraph() {
    let fake = project();
    fake.edit(
        ABI,
        "`memfd-v2`.\npub const VERSION: u32 = 2",
        "`memfd-v3`.\npub const VERSION: u32 = 3",
    );
    fake.release("0.2.0");
    let next = with_grown(3);
    let before = fake.check(&next);
    assert_eq!(
        one(&before, "snapshot-missing").mend.as_deref(),
        Some("cargo xtask abi-check --bless")
    );
    assert_eq!(before.exit_code(), 1);
    let report = fake.bless(&next);
    let expected = [
        "abi-snapshots/memfd/v3.snap",
        "abi-snapshots/composites.snap",
    ];
    assert_eq!(report.written, expected);
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    assert_eq!(
        title(&report, "version-bumped"),
        "memfd-v2 -> memfd-v3: struct MemfdSer grew from 24 to 32 bytes (`owner` added; `seals`, `flags`, \
         `count` moved or changed). fmt 0.1.0 -> 0.2.0 carries it. Earlier releases refuse memfd-v3. \
         This one no longer restores memfd-v2."
    );
    let expected = [
        "plain: memfd-v2 -> memfd-v3",
        "composite: memfd-v2;vmalloc-v1 -> memfd-v3;vmalloc-v1",
        "composite-direct: memfd-v2;vmalloc-v1 -> memfd-v3;vmalloc-v1",
        "the base: restores memfd ^2 only and refuses memfd-v3",
    ];
    assert_eq!(one(&report, "dependents").details[..4], expected);
    // And once it has landed, nothing is left to say.
    fake.commit("grown");
    fake.git(&["checkout", "-q", "main"]);
    fake.git(&["merge", "-q", "change"]);
    expect(&fake.check(&next), 0, &[]);
}

#[test]
fn constants_behaviour_needs_and_heads_are_guarded() {
    let fake = project();
    let report = fake.check(&with(memfd([
        generation(2).layouts(&[limit::MemfdSer::layout])
    ])));
    expect(&report, 1, &["error abi-changed-constant"]);
    let finding = one(&report, "abi-changed-constant");
    let expected = ["constant MAX of struct MemfdSer: 10000 (0x2710) -> 20000 (0x4e20)"];
    assert_eq!(finding.details, expected);
    let expected = "crates/fmt/src/abi.rs:10";
    assert_eq!(place(&report, "abi-changed-constant"), expected);

    let others = of_memfd(const { &[vector("keys", other_keys)] });
    let report = fake.check_vectors(&[&MEMFD, &VMALLOC], &others);
    expect(&report, 1, &["error abi-changed-behaviour"]);
    let expected = [
        "vector `keys` changed:",
        "    - 0x1000 order 0: 0x11",
        "    + 0x1000 order 0: 0x12",
    ];
    assert_eq!(one(&report, "abi-changed-behaviour").details, expected);

    let report = fake.check(&with(memfd([generation(2).needs(&[])])));
    assert!(has(&report, "error needs-changed"));
    let expected = ["no longer needs `vmalloc` (vmalloc -> nothing)"];
    assert_eq!(one(&report, "needs-changed").details, expected);

    let report = fake.check(&with(memfd([generation(2)]).subtree("MEMFD")));
    expect(&report, 1, &["error abi-changed-constant"]);
    let report = fake.check(&with(memfd([generation(2)]).features(Features::of(3, 3))));
    assert!(has(&report, "error abi-changed-constant"));
    // What is no longer guarded.
    let report = fake.check_vectors(&[&MEMFD, &VMALLOC], &[]);
    expect(&report, 1, &["error abi-changed-behaviour"]);
    let report = fake.check(&with(memfd([generation(2).constants(&[])])));
    assert!(has(&report, "error abi-changed-constant"));
    let report = fake.check(&with(memfd([generation(2).layouts(&[])])));
    assert!(has(&report, "error abi-changed-layout"));
}

#[test]
fn more_of_the_same_may_be_guarded() {
    let fake = project();
    let more = of_memfd(const { &[vector("keys", keys), vector("pages", pages)] });
    let report = fake.check_vectors(&[&MEMFD, &VMALLOC], &more);
    expect(&report, 1, &["error snapshot-stale"]);
    let bless = || {
        let options = Options::default().vectors(&more).bless(true);
        fake.check_with(&[&MEMFD, &VMALLOC], &options).unwrap()
    };
    assert!(bless().written.is_empty(), "the snapshot is history");
    fake.remove("abi-snapshots/memfd/v2.snap");
    let report = bless();
    expect(&report, 3, &["allowed guard-extended"]);
    assert_eq!(one(&report, "guard-extended").details, ["vector `pages`"]);
    // A constant that the base's source had already, and one that it had not.
    const LIMIT: u64 = 8;
    fake.git(&["checkout", "-q", "-f", "main"]);
    fake.edit(ABI, "/// Bytes.", "pub const LIMIT: u64 = 8;\n/// Bytes.");
    let listed = with(memfd([
        generation(2).constants(&[constant!(BYTES), constant!(LIMIT)])
    ]));
    let report = fake.check(&listed);
    expect(&report, 1, &["error abi-changed-constant"]);
    let expected = ["constant LIMIT added: 8"];
    assert_eq!(one(&report, "abi-changed-constant").details, expected);
    fake.commit("a constant that nothing guards");
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    expect(&report, 0, &["warning constant-unguarded"]);
    expect(&fake.check(&listed), 1, &["error snapshot-stale"]);
    fake.edit(ABI, "LIMIT: u64 = 8", "LIMIT: u64 = 9");
    expect(&fake.check(&listed), 1, &["error abi-changed-constant"]);
}
