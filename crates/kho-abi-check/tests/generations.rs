//! Components of several generations, minor versions, experiments, numbers that no release wrote, crates that
//! share a version, and two structs of one name.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{ABI, Fake, OTHER, PAGE, expect, has, holds, kept, leak, mend, one, place, structs};
use common::{title, told, vector};
use kho_abi_check::{Abi, Changes, Options, describe};
use kho_compat::{AbiLayout, Component, Generation};
use zerocopy::little_endian::{U32, U64};

mod v1 {
    super::structs! { "vcpu_v1" VcpuSer { id: super::U64 } }
}

/// The struct of either generation with a field more.
mod grown {
    use super::{U32, U64};

    super::structs! { "vcpu" VcpuSer { id: U64, state: U32, flags: U32, owner: U64 } }
}

structs! {
    "vcpu" VcpuSer { id: U64, state: U32, flags: U32 }
    "extra" Extra { word: U64 }
}

/// The source of vcpu-v1.
const V1: &str = "crates/fmt/src/v1.rs";

const SOURCE: &str = r"//! What lies in memory.

pub const VERSION: u32 = 2;

#[derive(AbiLayout)]
#[repr(C)]
pub struct VcpuSer {
    pub id: U64,
    pub state: U32,
    pub flags: U32,
}

const _: () = assert!(size_of::<VcpuSer>() == 16);

const V2: Generation = Generation::new(VERSION);
pub const COMPONENT: Component = Component::new(NAME, &[super::v1::GENERATION.read_only(), V2]);
pub const NAME: &str = `vcpu`;
";

const OLD: &str = r"//! What lay in memory.

/// The number in `vcpu-v1`.
pub const VERSION: u32 = 1;

#[derive(AbiLayout)]
#[repr(C)]
pub struct VcpuSer {
    pub id: U64,
}

const _: () = assert!(size_of::<VcpuSer>() == 8);

pub const GENERATION: Generation = Generation::new(VERSION);
";

const ADDED: &str = "allowed generation-added";
const BUMPED: &str = "allowed version-bumped";
const LAYOUT: &str = "error abi-changed-layout";

const fn first() -> Generation {
    Generation::new(1)
        .since("0.1")
        .layouts(&[v1::VcpuSer::layout])
        .read_only()
}

const fn second() -> Generation {
    Generation::new(2).layouts(&[VcpuSer::layout])
}

/// Both structs of that name in one generation.
fn pair() -> Generation {
    second().layouts(&[VcpuSer::layout, v1::VcpuSer::layout])
}

fn vcpu<const N: usize>(generations: [Generation; N]) -> [&'static Component; 1] {
    [leak(Component::new("vcpu", kept(generations)))]
}

/// A project whose base has vcpu-v2 alone.
fn project() -> Fake {
    Fake::new(&SOURCE.replace('`', "\""), &vcpu([second()]))
}

/// A project whose base has both generations.
fn both() -> Fake {
    let fake = Fake::bare(&SOURCE.replace('`', "\""));
    fake.write(V1, OLD);
    fake.start(&vcpu([first(), second()]));
    fake
}

/// A generation of the struct with a field more.
fn larger(number: u32) -> Generation {
    Generation::new(number).layouts(&[grown::VcpuSer::layout])
}

#[test]
fn an_older_generation_may_come_later() {
    let fake = project();
    fake.write(V1, OLD);
    let now = vcpu([first(), second()]);
    assert!(has(&fake.check(&now), "error snapshot-missing"));
    // It is restored as well: a release, not a breaking one.
    let report = fake.bless(&now);
    let v1 = "abi-snapshots/vcpu/v1.snap".to_owned();
    assert!(report.withheld.contains(&v1));
    let rule = "crate-not-released";
    let expected = "vcpu-v1 is added, but fmt 0.1.0 -> 0.1.0 is no new release";
    assert_eq!(title(&report, rule), expected);
    let expected = "set the version of fmt to 0.1.1 at Cargo.toml:5";
    assert_eq!(mend(&report, rule), expected);
    fake.release("0.1.1");
    let report = fake.bless(&now);
    let rule = "generation-added";
    expect(&report, 3, &[ADDED, "info restores-changed"]);
    let expected = "vcpu-v1 is added beside vcpu-v2: read only; since 0.1; 1 struct";
    assert_eq!(title(&report, rule), expected);
    assert_eq!(place(&report, rule), "crates/fmt/src/v1.rs:4");
    // From then on it is history as the other one is.
    fake.land("v1");
    expect(&fake.check(&now), 0, &[]);
}

#[test]
fn each_generation_has_a_snapshot_of_its_own() {
    let fake = both();
    let rule = "abi-changed-layout";
    expect(&fake.check(&vcpu([first(), second()])), 0, &[]);
    let changed = first().layouts(&[grown::VcpuSer::layout]);
    let report = fake.check(&vcpu([changed, second()]));
    expect(&report, 1, &[LAYOUT]);
    let expected = "the layout of vcpu-v1 changed, its version did not";
    assert_eq!(title(&report, rule), expected);
    let expected =
        "undo the change: what was handed over as vcpu-v1 lies in memory as its snapshot says";
    assert_eq!(mend(&report, rule), expected);
    let report = fake.check(&vcpu([first(), larger(2)]));
    expect(&report, 1, &[LAYOUT]);
    assert_eq!(place(&report, rule), "crates/fmt/src/abi.rs:7");
    // The one that is read has the head that it had, whatever the component says of itself now.
    fake.release("0.2.0");
    let next = kept([first(), second().read_only(), larger(3)]);
    let report = fake.bless(&[leak(Component::new("vcpu", next).subtree("VCPU"))]);
    expect(&report, 3, &[BUMPED]);
    let written = [
        "abi-snapshots/vcpu/v3.snap",
        "abi-snapshots/composites.snap",
    ];
    assert_eq!(report.written, written);
}

#[test]
fn vectors_are_of_the_generation_that_they_name() {
    let of = |generation, make| vector("vcpu", generation, None, make);
    let fake = both();
    let now = vcpu([first(), second()]);
    let vectors = [of(Some(1), PAGE), of(None, OTHER)];
    fake.remove("abi-snapshots/vcpu/v1.snap");
    fake.remove("abi-snapshots/vcpu/v2.snap");
    let report = fake.bless_vectors(&now, &vectors);
    expect(&report, 3, &["allowed guard-extended"]);
    assert!(fake.read("abi-snapshots/vcpu/v1.snap").contains("a page"));
    assert!(fake.read("abi-snapshots/vcpu/v2.snap").contains("another"));
    fake.land("vectors");
    let report = fake.check_vectors(&now, &[of(Some(1), OTHER), of(None, OTHER)]);
    expect(&report, 1, &["error abi-changed-behaviour"]);
    holds(title(&report, "abi-changed-behaviour"), "vcpu-v1");
    // Nothing makes those of an older generation any more: its snapshot keeps them.
    expect(&fake.check_vectors(&now, &[of(None, OTHER)]), 0, &[]);
}

#[test]
fn a_newer_generation_is_read_before_it_is_written() {
    let fake = project();
    fake.release("0.1.1");
    let report = fake.bless(&vcpu([second(), larger(3).read_only()]));
    expect(&report, 3, &[ADDED, "info restores-changed"]);
    fake.land("read v3");
    // Written by default, it is a breaking release.
    let next = vcpu([second(), larger(3)]);
    assert!(has(&fake.bless(&next), "error crate-not-released"));
    fake.release("0.2.0");
    let report = fake.bless(&next);
    expect(&report, 3, &[BUMPED]);
    let known = "Earlier releases restore vcpu-v3 already.";
    holds(title(&report, "version-bumped"), known);
}

#[test]
fn numbers_that_no_release_wrote_are_stated() {
    let fake = project();
    fake.release("0.2.0");
    let report = fake.bless(&vcpu([larger(5)]));
    told(&report, "version-skipped", "vcpu-v3, vcpu-v4");
    let stated = |generations: &'static [Generation]| {
        let component = Component::new("vcpu", generations);
        [leak(component.unreleased(&[3, 4]))]
    };
    let report = fake.bless(&stated(kept([larger(5)])));
    expect(&report, 3, &[BUMPED]);
    // Neither a generation nor a snapshot may have such a number.
    let fourth = Generation::new(4).read_only();
    let report = fake.check(&stated(kept([fourth, larger(5)])));
    let rule = "unreleased-number";
    let expected = "vcpu-v4 is a generation, and stated as never released";
    assert_eq!(title(&report, rule), expected);
    let text = "---\nsource: x\n---\nvcpu-v3\nneeds: nothing\n";
    fake.write("abi-snapshots/vcpu/v3.snap", text);
    let report = fake.check(&stated(kept([larger(5)])));
    expect(&report, 1, &[BUMPED, "error unreleased-number"]);
    let expected =
        "abi-snapshots/vcpu/v3.snap describes vcpu-v3, which is stated as never released";
    assert_eq!(title(&report, rule), expected);
}

#[test]
fn a_minor_version_adds_and_changes_nothing() {
    let fake = project();
    let added = || second().layouts(&[VcpuSer::layout, Extra::layout]);
    // Without a raised minor version an addition is a change, and how to raise it is said.
    let report = fake.check(&vcpu([added()]));
    expect(&report, 1, &[LAYOUT]);
    let rule = "abi-changed-layout";
    assert_eq!(one(&report, rule).details, ["struct Extra added"]);
    let raise = "may ignore what was added, raise its minor version to 1 (crates/fmt/src/abi.rs:3)";
    holds(mend(&report, rule), raise);
    let raised = vcpu([added().minor(1)]);
    let report = fake.bless(&raised);
    told(&report, "crate-not-released", "fmt to 0.1.1");
    fake.release("0.1.1");
    let report = fake.bless(&raised);
    expect(&report, 3, &["allowed minor-raised"]);
    assert_eq!(one(&report, "minor-raised").details, ["struct Extra"]);
    let minor = fake.read("abi-snapshots/vcpu/v2.1.snap");
    holds(&minor, "\nvcpu-v2.1\n");
    holds(&fake.read("abi-snapshots/vcpu/v2.snap"), "\nvcpu-v2\n");
    fake.land("minor");
    expect(&fake.check(&raised), 0, &[]);
    // Both are history.
    fake.remove("abi-snapshots/vcpu/v2.snap");
    expect(&fake.check(&raised), 1, &["error history-deleted"]);
    fake.git(&["checkout", "-q", "-f", "change"]);
    let report = fake.check(&vcpu([second()]));
    expect(&report, 1, &["error version-went-back"]);
    // What was there stays as it was.
    let changed = Generation::new(2).layouts(&[grown::VcpuSer::layout, Extra::layout]);
    let report = fake.bless(&vcpu([changed.minor(2)]));
    expect(&report, 1, &["error minor-not-additive"]);
    let expected = "vcpu-v2.1 -> vcpu-v2.2: what vcpu-v2.1 described before changed";
    assert_eq!(title(&report, "minor-not-additive"), expected);
    let report = fake.bless(&vcpu([added().minor(2)]));
    expect(&report, 0, &["warning bumped-without-change"]);
    fake.remove("abi-snapshots/vcpu/v2.2.snap");
    let further = second().layouts(&[VcpuSer::layout, Extra::layout, v1::VcpuSer::layout]);
    let report = fake.bless(&vcpu([further.minor(3)]));
    let skipped = "there is no snapshot of vcpu-v2.2";
    told(&report, "version-skipped", skipped);
    fake.write("abi-snapshots/vcpu/v2.3.snap", "---\n---\nvcpu-v2.3\n");
    let report = fake.check(&raised);
    expect(&report, 1, &["error snapshot-orphan"]);
}

#[test]
fn an_experiment_changes_without_a_number_and_not_unseen() {
    let fake = project();
    let third = |layouts| Generation::new(3).layouts(layouts).experimental();
    let with = vcpu([second(), third(&[VcpuSer::layout])]);
    let without = vcpu([second()]);
    assert!(has(&fake.check(&with), "error snapshot-missing"));
    let report = fake.bless(&with);
    expect(&report, 3, &[ADDED]);
    let path = "abi-snapshots/vcpu/v3.snap";
    assert!(fake.read(path).contains("\nrole: experimental\n"));
    // A build without its feature has nothing to say.
    expect(&fake.check(&without), 0, &[]);
    fake.land("v3");
    expect(&fake.check(&with), 0, &[]);
    expect(&fake.check(&without), 0, &[]);
    // It changes, with its snapshot.
    let changed = "allowed experiment-changed";
    let grown = vcpu([second(), third(&[grown::VcpuSer::layout])]);
    let report = fake.check(&grown);
    expect(&report, 1, &[changed, "error snapshot-stale"]);
    let report = fake.bless(&grown);
    expect(&report, 3, &[changed]);
    let details = [
        "struct VcpuSer grew: 16 -> 24 bytes",
        "field `owner` of struct VcpuSer added: u64 at offset 16",
    ];
    assert_eq!(one(&report, "experiment-changed").details, details);
    // It becomes a version as any other.
    fake.release("0.2.0");
    let report = fake.bless(&vcpu([second(), larger(3)]));
    expect(&report, 3, &[BUMPED]);
    assert!(!fake.read(path).contains("role"));
    // Or goes.
    fake.git(&["checkout", "-q", "-f", "change"]);
    fake.remove(path);
    expect(&fake.check(&without), 3, &[changed]);
}

#[test]
fn crates_that_share_a_version_line_are_told() {
    let fake = project();
    let manifest = "[package]\nname = \"other\"\nversion.workspace = true\n";
    fake.write("crates/other/Cargo.toml", manifest);
    let other = Component::new("other", kept([Generation::new(1)])).of_crate("other");
    let other: &'static _ = Box::leak(Box::new(other));
    let report = fake.bless(&[vcpu([second()])[0], other]);
    let (rule, shared) = ("version-line-shared", "warning version-line-shared");
    expect(&report, 3, &["allowed component-added", shared]);
    let expected = "crates that carry components share one version: fmt, other";
    assert_eq!(title(&report, rule), expected);
    assert_eq!(place(&report, rule), "Cargo.toml:5");
    // With a line of its own, what mends is said of that, and of the table of dependencies.
    let manifest = "[package]\nname = \"fmt\"\nversion = \"0.1.0\"\n";
    fake.write("crates/fmt/Cargo.toml", manifest);
    let text = fake.read("Cargo.toml");
    let table =
        "\n[workspace.dependencies]\nfmt = { path = \"crates/fmt\", version = \"0.1.0\" }\n";
    fake.write("Cargo.toml", &format!("{text}{table}"));
    let report = fake.bless(&[vcpu([larger(3)])[0], other]);
    assert!(!has(&report, shared));
    let expected = "set the version of fmt to 0.2.0 at crates/fmt/Cargo.toml:3, and where the \
                    workspace depends on it (Cargo.toml:8)";
    assert_eq!(mend(&report, "crate-not-released"), expected);
}

/// Of two structs of one name none is passed over: in descriptions, in differences, in the source.
#[test]
fn two_structs_of_one_name_are_two() {
    let text = describe(vcpu([pair()])[0]).unwrap();
    let abi = Abi::parse(&text).unwrap();
    let sizes: Vec<_> = abi.structs.iter().map(|s| (&s.name[..], s.size)).collect();
    assert_eq!(sizes, [("VcpuSer", 16), ("VcpuSer", 8)]);
    assert!(Changes::of(&text, &text).is_empty());
    let fake = Fake::new("", &vcpu([pair()]));
    for (changed, text) in [
        (
            second().layouts(&[VcpuSer::layout, grown::VcpuSer::layout]),
            "grew: 8 -> 24 bytes",
        ),
        (second(), "removed, 8 bytes"),
        (
            second().layouts(&[v1::VcpuSer::layout]),
            "removed, 16 bytes",
        ),
    ] {
        let text = format!("struct VcpuSer {text}");
        told(&fake.check(&vcpu([changed])), "abi-changed-layout", &text);
    }
    let alone = describe(vcpu([second()])[0]).unwrap();
    assert_eq!(Changes::of(&alone, &text).added.structs, ["VcpuSer"]);
    // In the source: each has its own size asserted, and stands in a snapshot of its own.
    let fake = both();
    let now = vcpu([first(), second()]);
    let unasserted = "error no-size-assert";
    expect(&fake.check(&now), 0, &[]);
    let own = "const _: () = assert!(size_of::<VcpuSer>() == 8);\n";
    fake.edit(V1, own, "");
    let report = fake.check(&now);
    expect(&report, 1, &[unasserted]);
    assert_eq!(place(&report, "no-size-assert"), "crates/fmt/src/v1.rs:8");
    // That its size is asked for elsewhere asserts nothing.
    let asked = "fn f() -> usize { assert!(true); size_of::<crate::v1::VcpuSer>() }";
    fake.write("crates/fmt/src/walk.rs", asked);
    expect(&fake.check(&now), 1, &[unasserted]);
    let by_path = "const _: () = assert!(size_of::<crate::v1::VcpuSer>() == 8);\n";
    fake.write(ABI, &(fake.read(ABI) + by_path));
    expect(&fake.check(&now), 0, &[]);
    let report = fake.check(&vcpu([first().layouts(&[]), second()]));
    let unguarded = one(&report, "struct-unguarded").place.as_ref();
    assert_eq!(unguarded.unwrap().file, V1);
}

/// Both structs of one name are compared with the kernel's.
#[test]
fn a_kernel_has_its_say_of_each() {
    let now = vcpu([pair()]);
    let fake = Fake::new("", &now);
    let path = fake.root().join("facts.json");
    let facts = r#"{ "vcpu": { "size": 16, "members": [
            { "name": "id", "type": "u64", "offset": 0, "size": 8 },
            { "name": "state", "type": "u32", "offset": 8, "size": 4 },
            { "name": "flags", "type": "u32", "offset": 12, "size": 4 } ] },
        "vcpu_v1": { "size": SIZE, "members": [
            { "name": "id", "type": "u64", "offset": 0, "size": SIZE } ] } }"#;
    for (size, code, found) in [("8", 0, &[][..]), ("16", 1, &["error kernel-differs"][..])] {
        std::fs::write(&path, facts.replace("SIZE", size)).unwrap();
        let types = kho_abi_check::kernel::open(&path).unwrap();
        let options = Options::default().kernel(&types);
        expect(&fake.check_with(&now, &options).unwrap(), code, found);
    }
}

/// A module that describes a format is known by what stands in it, whatever it is called.
#[test]
fn modules_of_a_format_are_found_by_content() {
    let odd = "#[repr(C)]\npub struct Odd {\n    a: usize,\n}\n";
    let now = vcpu([second()]);
    let generation = "fn f() -> Generation { Generation::new(7) }";
    let limit = "pub const LIMIT: u64 = 1; #[derive(AbiLayout)] struct X {}";
    for (file, more, is_format) in [
        ("walk.rs", "", false),
        ("walk.rs", generation, true),
        ("walk.rs", limit, true),
        ("v7.rs", "", true),
        ("v7/read.rs", "", true),
        ("values.rs", "", false),
    ] {
        let fake = project();
        fake.write(&format!("crates/fmt/src/{file}"), &format!("{odd}{more}\n"));
        let report = fake.check(&now);
        let found =
            ["error bad-field-type", "warning constant-unguarded"].map(|it| has(&report, it));
        assert_eq!(found, [is_format, more == limit], "{file} {more}");
    }
}
