//! Each rule, found in a project that is made up, and not found where it is not broken.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{Fake, expect, kept, leak, one, rules, words};
use kho_abi_check::{
    Failure, Format, Options, Text, Vector, Vectors, describe, rules as all, vectors,
};
use kho_compat::{AbiLayout, Carrier, Component, Features, Generation, constant};
use zerocopy::little_endian::{U16, U32, U64};

const MAX: u64 = 10_000;
const BYTES: usize = 4096;

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "memfd_ser", constants(MAX))]
#[allow(dead_code)]
struct MemfdSer {
    pos: U64,
    seals: U32,
    flags: U32,
    count: U64,
}

/// The struct with a field more, as the next version has it.
mod grown {
    use super::{AbiLayout, MAX, U32, U64};

    #[derive(AbiLayout)]
    #[repr(C)]
    #[abi(c_name = "memfd_ser", constants(MAX))]
    #[allow(dead_code)]
    pub(super) struct MemfdSer {
        pos: U64,
        owner: U64,
        seals: U32,
        flags: U32,
        count: U64,
    }
}

/// The struct with two fields swapped.
mod swapped {
    use super::{AbiLayout, MAX, U32, U64};

    #[derive(AbiLayout)]
    #[repr(C)]
    #[abi(c_name = "memfd_ser", constants(MAX))]
    #[allow(dead_code)]
    pub(super) struct MemfdSer {
        pos: U64,
        flags: U32,
        seals: U32,
        count: U64,
    }
}

mod limit {
    use super::{AbiLayout, U32, U64};
    pub(super) const MAX: u64 = 20_000;

    #[derive(AbiLayout)]
    #[repr(C)]
    #[abi(c_name = "memfd_ser", constants(MAX))]
    #[allow(dead_code)]
    pub(super) struct MemfdSer {
        pos: U64,
        seals: U32,
        flags: U32,
        count: U64,
    }
}

const SOURCE: &str = r#"//! What lies in memory.

use kho_compat::{AbiLayout, Component, Generation, constant};

/// The name.
pub const NAME: &str = "memfd";
/// The number in `memfd-v2`.
pub const VERSION: u32 = 2;
/// A limit.
pub const MAX: u64 = 10_000;
/// Bytes.
pub const BYTES: usize = 4096;

/// A memfd.
#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "memfd_ser", constants(MAX))]
pub struct MemfdSer {
    pub pos: U64,
    pub seals: U32,
    pub flags: U32,
    pub count: U64,
}

const _: () = assert!(size_of::<MemfdSer>() == 24);

pub const COMPONENT: Component = Component::new(NAME, &[Generation::new(VERSION).constants(&[constant!(BYTES)])]);
"#;

fn keys() -> Result<Text, Failure> {
    Ok("0x1000 order 0: 0x11\n0x2000 order 1: 0x21".into())
}

fn other_keys() -> Result<Text, Failure> {
    Ok("0x1000 order 0: 0x12\n0x2000 order 1: 0x21".into())
}

fn pages() -> Result<Text, Failure> {
    Ok(Text::bytes(&[7; 16]))
}

vectors!("memfd", ["keys" => keys]);

/// `vectors` of the memfd instead of those that are linked.
fn of_memfd(vectors: &'static [Vector]) -> [Vectors; 1] {
    [Vectors {
        component: "memfd",
        generation: None,
        vectors,
    }]
}

const fn vector(name: &'static str, make: fn() -> Result<Text, Failure>) -> Vector {
    Vector { name, make }
}

const fn generation(number: u32) -> Generation {
    Generation::new(number)
        .needs(&[("vmalloc", 1)])
        .layouts(&[MemfdSer::layout])
        .constants(&[constant!(BYTES)])
}

const fn shell(generations: &'static [Generation]) -> Component {
    Component::new("memfd", generations)
        .summary("file handler of memfds")
        .of_crate("fmt")
        .carried_in(Carrier::FileHandler)
        .field(48)
}

fn memfd<const N: usize>(generations: [Generation; N]) -> Component {
    shell(kept(generations))
}

static MEMFD: Component = shell(const { &[generation(2)] });
static VMALLOC: Component = Component::new("vmalloc", &[Generation::new(1)]).of_crate("fmt");

fn project() -> Fake {
    Fake::new(SOURCE, &[&MEMFD, &VMALLOC])
}

/// The project with what is registered in `memfd`'s place.
fn with(memfd: Component) -> [&'static Component; 2] {
    [leak(memfd), &VMALLOC]
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
    fake.edit(
        "crates/fmt/src/abi.rs",
        "/// A limit.",
        "// Moved, and\n/// said otherwise.",
    );
    fake.edit(
        "crates/fmt/src/abi.rs",
        "#[derive(AbiLayout)]",
        "#[derive(AbiLayout, Clone, Debug)]",
    );
    fake.write(
        "crates/fmt/src/walk.rs",
        "fn renamed(local: u8) -> u8 { local }\n",
    );
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
    // The file moves, the crate's directory does.
    let text = fake.read("crates/fmt/src/abi.rs");
    fake.remove("crates/fmt/src/abi.rs");
    fake.write("crates/fmt/src/format/abi.rs", &text);
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
    fake.git(&["add", "-A"]);
    fake.git(&["mv", "crates/fmt", "crates/moved"]);
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
}

#[test]
fn a_layout_that_changes_without_a_version_stops_with_the_mend() {
    let fake = project();
    let report = fake.check(&with(memfd([
        generation(2).layouts(&[grown::MemfdSer::layout])
    ])));
    expect(&report, 1, &["error abi-changed-layout"]);
    let finding = one(&report, "abi-changed-layout");
    let place = finding.place.as_ref().unwrap().to_string();
    assert_eq!(place, "crates/fmt/src/abi.rs:18");
    assert_eq!(
        finding.details,
        [
            "struct MemfdSer grew: 24 -> 32 bytes",
            "field `owner` of struct MemfdSer added: u64 at offset 8",
            "field `seals` of struct MemfdSer moved: offset 8 -> 16",
            "field `flags` of struct MemfdSer moved: offset 12 -> 20",
            "field `count` of struct MemfdSer moved: offset 16 -> 24",
        ]
    );
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
    assert!(
        text.trim_end()
            .lines()
            .last()
            .unwrap()
            .starts_with("abi-check: broken: 1 error, against main ("),
        "{text}"
    );
}

#[test]
fn swapped_fields_of_one_size_are_told() {
    let report = project().check(&with(memfd([
        generation(2).layouts(&[swapped::MemfdSer::layout])
    ])));
    expect(&report, 1, &["error abi-changed-layout"]);
    let text = words(&report, "abi-changed-layout");
    assert!(
        text.contains("field `flags` of struct MemfdSer moved: offset 12 -> 8"),
        "{text}"
    );
    assert!(
        text.contains("field `seals` of struct MemfdSer moved: offset 8 -> 12"),
        "{text}"
    );
}

#[test]
fn a_layout_that_changes_properly_reads_as_one_paragraph() {
    let fake = project();
    fake.edit(
        "crates/fmt/src/abi.rs",
        "`memfd-v2`.\npub const VERSION: u32 = 2",
        "`memfd-v3`.\npub const VERSION: u32 = 3",
    );
    fake.release("0.2.0");
    let next = with(memfd([generation(3).layouts(&[grown::MemfdSer::layout])]));
    let before = fake.check(&next);
    assert_eq!(
        one(&before, "snapshot-missing").mend.as_deref(),
        Some("cargo xtask abi-check --bless")
    );
    assert_eq!(before.exit_code(), 1);
    let report = fake.bless(&next);
    assert_eq!(
        report.written,
        [
            "abi-snapshots/memfd/v3.snap",
            "abi-snapshots/composites.snap"
        ]
    );
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    assert_eq!(
        one(&report, "version-bumped").title,
        "memfd-v2 -> memfd-v3: struct MemfdSer grew from 24 to 32 bytes (`owner` added; `seals`, `flags`, \
         `count` moved or changed). fmt 0.1.0 -> 0.2.0 carries it. Earlier releases refuse memfd-v3. \
         This one no longer restores memfd-v2."
    );
    assert_eq!(
        one(&report, "dependents").details[..4],
        [
            "plain: memfd-v2 -> memfd-v3",
            "composite: memfd-v2;vmalloc-v1 -> memfd-v3;vmalloc-v1",
            "composite-direct: memfd-v2;vmalloc-v1 -> memfd-v3;vmalloc-v1",
            "the base: restores memfd ^2 only and refuses memfd-v3",
        ]
    );
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
    assert_eq!(
        finding.details,
        ["constant MAX of struct MemfdSer: 10000 (0x2710) -> 20000 (0x4e20)"]
    );
    assert_eq!(
        finding.place.as_ref().unwrap().to_string(),
        "crates/fmt/src/abi.rs:10"
    );

    let others = of_memfd(const { &[vector("keys", other_keys)] });
    let report = fake.check_vectors(&[&MEMFD, &VMALLOC], &others);
    expect(&report, 1, &["error abi-changed-behaviour"]);
    assert_eq!(
        one(&report, "abi-changed-behaviour").details,
        [
            "vector `keys` changed:",
            "    - 0x1000 order 0: 0x11",
            "    + 0x1000 order 0: 0x12"
        ]
    );

    let report = fake.check(&with(memfd([generation(2).needs(&[])])));
    assert!(rules(&report).contains(&"error needs-changed".to_owned()));
    assert_eq!(
        one(&report, "needs-changed").details,
        ["no longer needs `vmalloc` (vmalloc -> nothing)"]
    );

    let report = fake.check(&with(memfd([generation(2)]).subtree("MEMFD")));
    expect(&report, 1, &["error abi-changed-constant"]);
    let report = fake.check(&with(memfd([generation(2)]).features(Features::of(3, 3))));
    assert!(rules(&report).contains(&"error abi-changed-constant".to_owned()));
    // What is no longer guarded.
    let report = fake.check_vectors(&[&MEMFD, &VMALLOC], &[]);
    expect(&report, 1, &["error abi-changed-behaviour"]);
    let report = fake.check(&with(memfd([generation(2).constants(&[])])));
    assert!(rules(&report).contains(&"error abi-changed-constant".to_owned()));
    let report = fake.check(&with(memfd([generation(2).layouts(&[])])));
    assert!(rules(&report).contains(&"error abi-changed-layout".to_owned()));
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
    fake.edit(
        "crates/fmt/src/abi.rs",
        "/// Bytes.",
        "pub const LIMIT: u64 = 8;\n/// Bytes.",
    );
    let listed = with(memfd([
        generation(2).constants(&[constant!(BYTES), constant!(LIMIT)])
    ]));
    let report = fake.check(&listed);
    expect(&report, 1, &["error abi-changed-constant"]);
    assert_eq!(
        one(&report, "abi-changed-constant").details,
        ["constant LIMIT added: 8"]
    );
    fake.commit("a constant that nothing guards");
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    expect(&report, 0, &["warning constant-unguarded"]);
    expect(&fake.check(&listed), 1, &["error snapshot-stale"]);
    fake.edit("crates/fmt/src/abi.rs", "LIMIT: u64 = 8", "LIMIT: u64 = 9");
    expect(&fake.check(&listed), 1, &["error abi-changed-constant"]);
}

#[test]
fn the_crate_has_to_make_a_breaking_release() {
    let fake = project();
    let next = with(memfd([generation(3).layouts(&[grown::MemfdSer::layout])]));
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
        let found = rules(&report).contains(&"error crate-not-released".to_owned());
        assert_eq!(found, !breaking, "{version}");
        if version == "0.1.7" {
            let finding = one(&report, "crate-not-released");
            assert_eq!(
                finding.title,
                "memfd-v2 -> memfd-v3, but fmt 0.1.0 -> 0.1.7 is no breaking release"
            );
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
    let next = with(memfd([generation(3).layouts(&[grown::MemfdSer::layout])]));
    let report = fake.bless(&next);
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    let title = &one(&report, "version-bumped").title;
    assert!(
        title.contains("fmt 0.2.0 carries it, which is a breaking release after v0.1.0."),
        "{title}"
    );
    let text = words(&report, "dependents");
    assert!(
        text.contains("the base, v0.1.0: restores memfd ^2 only and refuses memfd-v3"),
        "{text}"
    );
}

#[test]
fn a_version_without_a_change_a_version_back_a_version_skipped() {
    let fake = project();
    fake.release("0.2.0");
    let report = fake.bless(&with(memfd([generation(3)])));
    expect(
        &report,
        3,
        &["info dependents", "warning bumped-without-change"],
    );
    fake.remove("abi-snapshots/memfd/v3.snap");
    let report = fake.bless(&with(memfd([
        generation(4).layouts(&[grown::MemfdSer::layout])
    ])));
    assert!(rules(&report).contains(&"error version-skipped".to_owned()));
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    assert!(rules(&report).contains(&"error snapshot-orphan".to_owned()));
    let finding = one(&report, "snapshot-orphan");
    assert_eq!(
        finding.title,
        "abi-snapshots/memfd/v4.snap describes a version that is not there: the component is memfd-v2"
    );
    fake.remove("abi-snapshots/memfd/v4.snap");
    let report = fake.check(&with(memfd([generation(1)])));
    assert!(rules(&report).contains(&"error version-went-back".to_owned()));
}

#[test]
fn history_is_append_only() {
    let fake = project();
    fake.edit(
        "abi-snapshots/memfd/v2.snap",
        "offset   size",
        "offset   size",
    );
    fake.edit("abi-snapshots/memfd/v2.snap", "count: u64", "number: u64");
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    expect(&report, 1, &["error history-edited"]);
    let text = words(&report, "history-edited");
    assert!(text.contains("renamed to `number`, same bytes"), "{text}");
    assert!(text.contains("git restore --source="), "{text}");
    // Edited together with the code, it is told as both.
    fake.git(&["checkout", "-q", "-f", "change"]);
    let changed = leak(memfd([generation(2).layouts(&[grown::MemfdSer::layout])]));
    fake.write(
        "abi-snapshots/memfd/v2.snap",
        &format!("---\nsource: x\n---\n{}", describe(changed).unwrap()),
    );
    expect(
        &fake.check(&[changed, &VMALLOC]),
        1,
        &["error abi-changed-layout", "error history-edited"],
    );
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
    let changed = with(memfd([generation(2).layouts(&[grown::MemfdSer::layout])]));
    let report = fake
        .check_with(&changed, &Options::default().bless(true))
        .unwrap();
    assert!(report.written.is_empty(), "{:?}", report.written);
    assert!(rules(&report).contains(&"error abi-changed-layout".to_owned()));
}

#[test]
fn bless_writes_what_is_new_and_never_over_history() {
    let fake = project();
    let changed = with(memfd([generation(2).layouts(&[grown::MemfdSer::layout])]));
    let before = fake.read("abi-snapshots/memfd/v2.snap");
    expect(&fake.bless(&changed), 1, &["error abi-changed-layout"]);
    assert_eq!(fake.read("abi-snapshots/memfd/v2.snap"), before);
    // A version that is not in the base yet is written again.
    fake.release("0.2.0");
    fake.bless(&with(memfd([
        generation(3).layouts(&[grown::MemfdSer::layout])
    ])));
    let next = with(memfd([generation(3).layouts(&[swapped::MemfdSer::layout])]));
    expect(
        &fake.check(&next),
        1,
        &[
            "allowed version-bumped",
            "error snapshot-stale",
            "info dependents",
        ],
    );
    let report = fake.bless(&next);
    assert_eq!(report.written, ["abi-snapshots/memfd/v3.snap"]);
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    assert!(
        fake.read("abi-snapshots/memfd/v3.snap")
            .starts_with("---\nsource: crates/fmt/tests/abi.rs\n---\nmemfd-v3\n")
    );
}

#[test]
fn a_component_is_added_removed_renamed() {
    static NEW: Component =
        Component::new("pci", &[Generation::new(1).constants(&[constant!(MAX)])])
            .of_crate("fmt")
            .summary("PCI devices");
    let fake = project();
    let all = [&MEMFD, &VMALLOC, &NEW];
    assert!(rules(&fake.check(&all)).contains(&"error snapshot-missing".to_owned()));
    expect(&fake.bless(&all), 3, &["allowed component-added"]);
    fake.commit("pci");
    fake.git(&["branch", "-f", "main", "change"]);
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    expect(
        &report,
        1,
        &["error component-removed", "error composites-stale"],
    );
    assert_eq!(one(&report, "component-removed").title, "`pci` is gone");
    static RENAMED: Component =
        Component::new("pcie", &[Generation::new(1).constants(&[constant!(MAX)])]).of_crate("fmt");
    let report = fake.bless(&[&MEMFD, &VMALLOC, &RENAMED]);
    expect(
        &report,
        1,
        &["allowed component-added", "error component-removed"],
    );
    assert_eq!(
        one(&report, "component-removed").title,
        "`pci` is gone, and `pcie` looks the same: renamed"
    );
    // Removed with a reason; its history stays, and is asked for when that has landed too.
    fake.write(
        "abi-allow.toml",
        "[[allow]]\nrule = \"component-removed\"\ncomponent = \"pci\"\nreason = \"never released\"\nexpires = \"2999-01-31\"\n",
    );
    expect(
        &fake.check(&[&MEMFD, &VMALLOC, &RENAMED]),
        3,
        &["allowed component-added", "allowed component-removed"],
    );
    fake.remove("abi-allow.toml");
    fake.commit("renamed");
    fake.git(&["branch", "-f", "main", "change"]);
    expect(&fake.check(&[&MEMFD, &VMALLOC, &RENAMED]), 0, &[]);
    fake.remove("abi-snapshots/pci/v1.snap");
    expect(
        &fake.check(&[&MEMFD, &VMALLOC, &RENAMED]),
        1,
        &["error history-deleted"],
    );
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
        let all: Vec<_> = [&MEMFD, &VMALLOC]
            .into_iter()
            .chain(extra.iter().copied())
            .collect();
        let report = fake.check(&all);
        assert_eq!(report.exit_code(), 1);
        let found = words(&report, rule);
        assert!(found.contains(text), "{}", report.render(Format::Human));
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
    assert!(rules(&report).contains(&"error snapshot-missing".to_owned()));
    let text = words(&report, "snapshot-missing");
    assert!(
        text.contains("abi-snapshots/memfd/v1.snap is missing"),
        "{text}"
    );
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
    fake.commit("grown");
    fake.git(&["branch", "-f", "main", "change"]);
    let report = fake.bless(&with(memfd([
        generation(3).layouts(&[grown::MemfdSer::layout])
    ])));
    expect(&report, 3, &["info restores-changed"]);
    assert_eq!(
        one(&report, "restores-changed").details,
        ["restores: >=2, <4 -> ^3"]
    );
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
    assert!(rules(&stale).contains(&"error composites-stale".to_owned()));
    let report = fake.bless(&next);
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    let finding = one(&report, "dependents");
    assert_eq!(
        finding.title,
        "the string of `memfd` (file handler) changes, because of what it needs"
    );
    assert_eq!(
        finding.details,
        [
            "composite: memfd-v2;vmalloc-v1 -> memfd-v2;vmalloc-v2",
            "composite-direct: memfd-v2;vmalloc-v1 -> memfd-v2;vmalloc-v2",
            "the base: restores vmalloc ^1 only and refuses vmalloc-v2",
            "plain stays memfd-v2: who reads that alone, as Linux 7.2 and 7.3 do, is not told",
        ]
    );
}

#[test]
fn the_source_of_a_format_is_held_to_more() {
    let check = |source: &str, found: &[&str]| {
        let fake = project();
        fake.edit(
            "crates/fmt/src/abi.rs",
            "/// A memfd.",
            &format!("{source}\n/// A memfd."),
        );
        let report = fake.check(&[&MEMFD, &VMALLOC]);
        let code = u8::from(found.iter().any(|rule| rule.starts_with("error")));
        expect(&report, code, found);
        report
    };
    check(
        "#[repr(C)]\npub struct A { a: U64 }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["error no-derive"],
    );
    check(
        "#[derive(AbiLayout)]\n#[repr(C)]\npub struct A { a: U64 }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["warning struct-unguarded"],
    );
    check(
        "#[derive(AbiLayout)]\n#[repr(C)]\npub struct A { a: U64 }",
        &["error no-size-assert", "warning struct-unguarded"],
    );
    for (field, reason) in [
        ("usize", "depends on the machine"),
        ("*const u8", "a pointer"),
        ("&'static u8", "a pointer"),
        ("[bool; 4]", "only two of its 256 values"),
        ("Kind", "an enum"),
    ] {
        let report = check(
            &format!(
                "pub enum Kind {{ A }}\n#[repr(C)]\npub struct A {{ a: {field} }}\nconst _: () = assert!(size_of::<A>() == 8);"
            ),
            &["error bad-field-type", "error no-derive"],
        );
        let text = words(&report, "bad-field-type");
        assert!(text.contains(reason), "{text}");
        assert_eq!(
            one(&report, "bad-field-type").place.as_ref().unwrap().line,
            16
        );
    }
    let report = check(
        "#[repr(C)]\npub struct A { a: U32, b: U64 }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["error implicit-padding", "error no-derive"],
    );
    assert_eq!(
        one(&report, "implicit-padding").title,
        "C pads struct A before `b`"
    );
    let report = check(
        "#[repr(C)]\npub struct A { a: U64, b: [u8; 3] }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["error implicit-padding", "error no-derive"],
    );
    assert_eq!(
        one(&report, "implicit-padding").title,
        "C pads struct A at its end"
    );
    check(
        "#[repr(C)]\npub struct A { a: U64, b: [U32; 3], c: U16, d: [u8; 2] }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["error no-derive"],
    );
    let report = check("pub const LIMIT: u64 = 3;", &["warning constant-unguarded"]);
    assert_eq!(
        one(&report, "constant-unguarded")
            .place
            .as_ref()
            .unwrap()
            .to_string(),
        "crates/fmt/src/abi.rs:14"
    );
    check("pub struct Broken {", &["error source-unread"]);
    check(
        "#[cfg(test)]\nmod tests {\n#[repr(C)]\nstruct A { a: usize }\n}",
        &[],
    );
    let _ = U16::ZERO;
}

#[test]
fn the_allow_list_needs_a_reason_and_a_date() {
    let fake = project();
    let changed = with(memfd([generation(2).layouts(&[grown::MemfdSer::layout])]));
    let allow = |rule: &str, component: &str| {
        fake.write(
            "abi-allow.toml",
            &format!("# Exceptions.\n\n[[allow]]\nrule = \"{rule}\"\ncomponent = \"{component}\"\nreason = \"a test\"\nexpires = \"2027-01-31\"\n"),
        );
    };
    let on = |day: &str| {
        let options = Options::default().today(day.parse().unwrap());
        fake.check_with(&changed, &options).unwrap()
    };
    allow("abi-changed-layout", "memfd");
    let report = on("2027-01-31");
    expect(&report, 3, &["allowed abi-changed-layout"]);
    assert_eq!(
        report.findings[0].allowed.as_deref(),
        Some("a test (until 2027-01-31)")
    );
    let report = on("2027-02-01");
    expect(
        &report,
        1,
        &["error abi-changed-layout", "error allow-expired"],
    );
    assert_eq!(
        one(&report, "allow-expired")
            .place
            .as_ref()
            .unwrap()
            .to_string(),
        "abi-allow.toml:3"
    );
    allow("abi-changed-layout", "vmalloc");
    expect(
        &on("2027-01-01"),
        1,
        &["error abi-changed-layout", "warning allow-unused"],
    );
    allow("abi-changed-layout", "*");
    expect(&on("2027-01-01"), 3, &["allowed abi-changed-layout"]);
    for bad in [
        "[[allow]]\nrule = \"no-such\"\ncomponent = \"a\"\nreason = \"b\"\nexpires = \"2027-01-31\"\n",
        "[[allow]]\nrule = \"grammar\"\ncomponent = \"a\"\nreason = \" \"\nexpires = \"2027-01-31\"\n",
        "[[allow]]\nrule = \"grammar\"\ncomponent = \"a\"\nreason = \"b\"\nexpires = \"some day\"\n",
        "[[allow]]\nrule = \"grammar\"\ncomponent = \"a\"\nreason = \"b\"\n",
        "[[alow]]\n",
    ] {
        fake.write("abi-allow.toml", bad);
        assert!(
            fake.check_with(&changed, &Options::default()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn generated_documents_are_kept_current() {
    let fake = project();
    let text = "# ABI\n\n<!-- generated: layouts -->\n<!-- end of what is generated -->\n\nBy hand.\n\n<!-- generated: rules -->\n<!-- end of what is generated -->\n";
    fake.write("docs/abi.md", text);
    let project = fake.project().docs("docs/abi.md");
    let run = |bless: bool| {
        let options = Options::default().bless(bless);
        kho_abi_check::check([&MEMFD, &VMALLOC], &project, &options).unwrap()
    };
    expect(&run(false), 0, &["warning docs-stale"]);
    let alone = || kho_abi_check::check_docs([&MEMFD, &VMALLOC], &project);
    expect(&alone(), 1, &["error docs-stale"]);
    assert_eq!(run(true).written, ["docs/abi.md"]);
    expect(&run(false), 0, &[]);
    expect(&alone(), 0, &[]);
    let text = fake.read("docs/abi.md");
    assert!(text.contains("| 16 | 8 | `count` | `u64` |"), "{text}");
    assert!(
        text.contains("| `no-derive` | error |") && text.contains("\nBy hand.\n"),
        "{text}"
    );
    fake.edit("docs/abi.md", "| 16 | 8 | `count`", "| 17 | 8 | `count`");
    let report = run(false);
    expect(&report, 0, &["warning docs-stale"]);
    assert!(one(&report, "docs-stale").place.as_ref().unwrap().line > 10);
}

#[test]
fn a_kernel_that_differs_is_told() {
    let fake = project();
    let path = fake.root().join("facts.json");
    let facts = |offset: u32| {
        format!(
            r#"{{ "memfd_ser": {{ "size": 24, "members": [
                {{ "name": "pos", "type": "u64", "offset": 0, "size": 8 }},
                {{ "name": "seals", "type": "u32", "offset": 8, "size": 4 }},
                {{ "name": "flags", "type": "u32", "offset": {offset}, "size": 4 }},
                {{ "name": "count", "type": "u64", "offset": 16, "size": 8 }} ] }} }}"#
        )
    };
    for (offset, code, found) in [(12, 0, &[][..]), (13, 1, &["error kernel-differs"][..])] {
        std::fs::write(&path, facts(offset)).unwrap();
        let types = kho_abi_check::kernel::open(&path).unwrap();
        let options = Options::default().kernel(&types);
        let report = fake.check_with(&[&MEMFD, &VMALLOC], &options).unwrap();
        expect(&report, code, found);
    }
}

/// The kernel stays at the version that it has: a new one is not its, and is not to be.
#[test]
fn a_new_version_leaves_the_kernel_behind() {
    let fake = project();
    let path = fake.root().join("facts.json");
    let facts = r#"{ "memfd_ser": { "size": 24, "members": [
        { "name": "pos", "type": "u64", "offset": 0, "size": 8 },
        { "name": "seals", "type": "u32", "offset": 8, "size": 4 },
        { "name": "flags", "type": "u32", "offset": 12, "size": 4 },
        { "name": "count", "type": "u64", "offset": 16, "size": 8 } ] } }"#;
    std::fs::write(&path, facts).unwrap();
    let types = kho_abi_check::kernel::open(&path).unwrap();
    let next = with(memfd([generation(3).layouts(&[grown::MemfdSer::layout])]));
    fake.release("0.2.0");
    fake.bless(&next);
    let options = Options::default().kernel(&types);
    let report = fake.check_with(&next, &options).unwrap();
    expect(
        &report,
        3,
        &[
            "allowed version-bumped",
            "info dependents",
            "info kernel-differs",
        ],
    );
    assert_eq!(
        one(&report, "kernel-differs").title,
        "struct MemfdSer of memfd-v3 is not the kernel's, which has that of memfd-v2"
    );
    fake.commit("grown");
    fake.git(&["branch", "-f", "main", "change"]);
    expect(&fake.check_with(&next, &options).unwrap(), 0, &[]);
}

#[test]
fn a_vector_that_fails_is_no_snapshot() {
    fn failing() -> Result<Text, Failure> {
        Err("unknown flags 0x4".into())
    }
    fn panicking() -> Result<Text, Failure> {
        panic!("index {}", 7);
    }
    let fake = project();
    fake.release("0.2.0");
    let next = with(memfd([generation(3)]));
    let failed = of_memfd(
        const {
            &[
                vector("of a writer that refuses", failing),
                vector("of one that panics", panicking),
                // What looks like a failure is none.
                vector("of one that says so", || Ok("error: 0x4".into())),
            ]
        },
    );
    let options = Options::default().vectors(&failed).bless(true);
    let report = fake.check_with(&next, &options).unwrap();
    let found = rules(&report);
    assert!(
        found.contains(&"error vector-failed".to_owned()),
        "{found:?}"
    );
    assert!(
        found.contains(&"error snapshot-missing".to_owned()),
        "{found:?}"
    );
    let failed = report.findings.iter().filter(|f| f.rule == "vector-failed");
    let failed: Vec<_> = failed
        .map(|f| (f.title.as_str(), f.details[0].text.as_str()))
        .collect();
    assert_eq!(
        failed,
        [
            (
                "vector `of a writer that refuses` of memfd could not be made",
                "error: unknown flags 0x4"
            ),
            (
                "vector `of one that panics` of memfd could not be made",
                "panicked: index 7"
            ),
        ]
    );
}

#[test]
fn tests_and_comments_are_no_format() {
    let fake = project();
    let plain = "\n// A `Component::new(NAME, &[Generation::new(1)])` is made elsewhere.\n#[repr(C)]\nstruct Odd {\n    a: usize,\n}\n";
    fake.write("crates/fmt/src/other.rs", plain);
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
    let tests = "\n#[cfg(test)]\n#[repr(C)]\nstruct Odd {\n    a: usize,\n}\n\n#[cfg(all(feature = \"std\", test))]\nfn f() {\n    \
                 #[repr(C)]\n    struct Odder {\n        a: bool,\n    }\n}\n";
    let abi = fake.read("crates/fmt/src/abi.rs");
    fake.write("crates/fmt/src/abi.rs", &format!("{abi}{tests}"));
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
}

#[test]
fn every_rule_is_tested_and_explained() {
    let here = concat!(
        include_str!("rules.rs"),
        include_str!("generations.rs"),
        include_str!("upstream.rs")
    );
    for rule in all::RULES {
        assert!(
            here.contains(&format!("{}\"", rule.id)),
            "no test finds {}",
            rule.id
        );
        let page = rule.explain();
        assert!(
            page.starts_with(rule.id) && page.contains("Mend: "),
            "{page}"
        );
    }
    assert!(all::find("no-such-rule").is_none());
}
