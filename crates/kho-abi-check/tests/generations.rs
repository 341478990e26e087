//! Components of several generations, minor versions, experiments, numbers that no release wrote, crates that
//! share a version, and two structs of one name.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{Fake, expect, kept, leak, one, rules, words};
use kho_abi_check::{Abi, Changes, Options, Text, Vector, Vectors, describe};
use kho_compat::{AbiLayout, Component, Generation, constant};
use zerocopy::little_endian::{U32, U64};

const MAX: u64 = 10_000;

mod v1 {
    use super::{AbiLayout, U64};

    #[derive(AbiLayout)]
    #[repr(C)]
    #[abi(c_name = "vcpu_v1")]
    #[allow(dead_code)]
    pub(super) struct VcpuSer {
        id: U64,
    }
}

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "vcpu")]
#[allow(dead_code)]
struct VcpuSer {
    id: U64,
    state: U32,
    flags: U32,
}

/// The struct of either generation with a field more.
mod grown {
    use super::{AbiLayout, U32, U64};

    #[derive(AbiLayout)]
    #[repr(C)]
    #[abi(c_name = "vcpu")]
    #[allow(dead_code)]
    pub(super) struct VcpuSer {
        id: U64,
        state: U32,
        flags: U32,
        owner: U64,
    }
}

#[derive(AbiLayout)]
#[repr(C)]
#[allow(dead_code)]
struct Extra {
    word: U64,
}

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

const fn first() -> Generation {
    Generation::new(1)
        .since("0.1")
        .layouts(&[v1::VcpuSer::layout])
        .read_only()
}

const fn second() -> Generation {
    Generation::new(2).layouts(&[VcpuSer::layout])
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
    fake.write("crates/fmt/src/v1.rs", OLD);
    fake.init();
    fake.bless(&vcpu([first(), second()]));
    fake.commit("first");
    fake.git(&["checkout", "-q", "-b", "change"]);
    fake
}

#[test]
fn an_older_generation_may_come_later() {
    let fake = project();
    fake.write("crates/fmt/src/v1.rs", OLD);
    let now = vcpu([first(), second()]);
    assert!(rules(&fake.check(&now)).contains(&"error snapshot-missing".to_owned()));
    // It is restored as well: a release, not a breaking one.
    let report = fake.bless(&now);
    assert!(
        report
            .written
            .contains(&"abi-snapshots/vcpu/v1.snap".to_owned())
    );
    let finding = one(&report, "crate-not-released");
    assert_eq!(
        (finding.title.as_str(), finding.mend.as_deref().unwrap()),
        (
            "vcpu-v1 is added, but fmt 0.1.0 -> 0.1.0 is no new release",
            "set the version of fmt to 0.1.1 at Cargo.toml:5"
        )
    );
    fake.release("0.1.1");
    let report = fake.check(&now);
    expect(
        &report,
        3,
        &["allowed generation-added", "info restores-changed"],
    );
    let finding = one(&report, "generation-added");
    assert_eq!(
        finding.title,
        "vcpu-v1 is added beside vcpu-v2: read only; since 0.1; 1 struct"
    );
    let place = finding.place.as_ref().unwrap().to_string();
    assert_eq!(place, "crates/fmt/src/v1.rs:4");
    // From then on it is history as the other one is.
    fake.commit("v1");
    fake.git(&["branch", "-f", "main", "change"]);
    expect(&fake.check(&now), 0, &[]);
}

#[test]
fn each_generation_has_a_snapshot_of_its_own() {
    let fake = both();
    expect(&fake.check(&vcpu([first(), second()])), 0, &[]);
    let changed = first().layouts(&[grown::VcpuSer::layout]);
    let report = fake.check(&vcpu([changed, second()]));
    expect(&report, 1, &["error abi-changed-layout"]);
    let finding = one(&report, "abi-changed-layout");
    assert_eq!(
        finding.title,
        "the layout of vcpu-v1 changed, its version did not"
    );
    assert_eq!(
        finding.mend.as_deref().unwrap(),
        "undo the change: what was handed over as vcpu-v1 lies in memory as its snapshot says"
    );
    let changed = second().layouts(&[grown::VcpuSer::layout]);
    let report = fake.check(&vcpu([first(), changed]));
    expect(&report, 1, &["error abi-changed-layout"]);
    let place = one(&report, "abi-changed-layout").place.clone().unwrap();
    assert_eq!(place.to_string(), "crates/fmt/src/abi.rs:7");
    // The one that is read has the head that it had, whatever the component says of itself now.
    fake.release("0.2.0");
    let third = Generation::new(3).layouts(&[grown::VcpuSer::layout]);
    let next =
        leak(Component::new("vcpu", kept([first(), second().read_only(), third])).subtree("VCPU"));
    let report = fake.bless(&[next]);
    expect(&report, 3, &["allowed version-bumped"]);
    assert_eq!(
        report.written,
        [
            "abi-snapshots/vcpu/v3.snap",
            "abi-snapshots/composites.snap"
        ]
    );
}

#[test]
fn vectors_are_of_the_generation_that_they_name() {
    fn page() -> Result<Text, kho_abi_check::Failure> {
        Ok("a page".into())
    }
    fn other() -> Result<Text, kho_abi_check::Failure> {
        Ok("another".into())
    }
    let of = |generation, make| Vectors {
        component: "vcpu",
        generation,
        variant: None,
        vectors: Box::leak(Box::new([Vector { name: "page", make }])),
    };
    let fake = both();
    let now = vcpu([first(), second()]);
    let vectors = [of(Some(1), page), of(None, other)];
    fake.remove("abi-snapshots/vcpu/v1.snap");
    fake.remove("abi-snapshots/vcpu/v2.snap");
    let bless = Options::default().vectors(&vectors).bless(true);
    let report = fake.check_with(&now, &bless).unwrap();
    expect(&report, 3, &["allowed guard-extended"]);
    assert!(fake.read("abi-snapshots/vcpu/v1.snap").contains("a page"));
    assert!(fake.read("abi-snapshots/vcpu/v2.snap").contains("another"));
    fake.commit("vectors");
    fake.git(&["branch", "-f", "main", "change"]);
    let report = fake.check_vectors(&now, &[of(Some(1), other), of(None, other)]);
    expect(&report, 1, &["error abi-changed-behaviour"]);
    let title = &one(&report, "abi-changed-behaviour").title;
    assert!(title.contains("vcpu-v1"), "{title}");
    // Nothing makes those of an older generation any more: its snapshot keeps them.
    expect(&fake.check_vectors(&now, &[of(None, other)]), 0, &[]);
}

#[test]
fn a_newer_generation_is_read_before_it_is_written() {
    let fake = project();
    let third = Generation::new(3).layouts(&[grown::VcpuSer::layout]);
    fake.release("0.1.1");
    let report = fake.bless(&vcpu([second(), third.clone().read_only()]));
    expect(
        &report,
        3,
        &["allowed generation-added", "info restores-changed"],
    );
    fake.commit("read v3");
    fake.git(&["branch", "-f", "main", "change"]);
    // Written by default, it is a breaking release.
    let next = vcpu([second(), third]);
    let report = fake.bless(&next);
    assert!(rules(&report).contains(&"error crate-not-released".to_owned()));
    fake.release("0.2.0");
    let report = fake.check(&next);
    expect(&report, 3, &["allowed version-bumped"]);
    let title = &one(&report, "version-bumped").title;
    assert!(
        title.contains("Earlier releases restore vcpu-v3 already."),
        "{title}"
    );
}

#[test]
fn numbers_that_no_release_wrote_are_stated() {
    let fake = project();
    fake.release("0.2.0");
    let fifth = || Generation::new(5).layouts(&[grown::VcpuSer::layout]);
    let report = fake.bless(&vcpu([fifth()]));
    assert!(words(&report, "version-skipped").contains("vcpu-v3, vcpu-v4"));
    let stated = |generations: &'static [Generation]| {
        [leak(
            Component::new("vcpu", generations).unreleased(&[3, 4]),
        )]
    };
    let report = fake.bless(&stated(kept([fifth()])));
    expect(&report, 3, &["allowed version-bumped"]);
    // Neither a generation nor a snapshot may have such a number.
    let fourth = Generation::new(4).read_only();
    let report = fake.check(&stated(kept([fourth, fifth()])));
    assert_eq!(
        one(&report, "unreleased-number").title,
        "vcpu-v4 is a generation, and stated as never released"
    );
    fake.write(
        "abi-snapshots/vcpu/v3.snap",
        "---\nsource: x\n---\nvcpu-v3\nneeds: nothing\n",
    );
    let report = fake.check(&stated(kept([fifth()])));
    expect(
        &report,
        1,
        &["allowed version-bumped", "error unreleased-number"],
    );
    assert_eq!(
        one(&report, "unreleased-number").title,
        "abi-snapshots/vcpu/v3.snap describes vcpu-v3, which is stated as never released"
    );
}

#[test]
fn a_minor_version_adds_and_changes_nothing() {
    let fake = project();
    let added = || second().layouts(&[VcpuSer::layout, Extra::layout]);
    // Without a raised minor version an addition is a change, and how to raise it is said.
    let report = fake.check(&vcpu([added()]));
    expect(&report, 1, &["error abi-changed-layout"]);
    let finding = one(&report, "abi-changed-layout");
    assert_eq!(finding.details, ["struct Extra added"]);
    let mend = finding.mend.as_deref().unwrap();
    assert!(
        mend.contains(
            "may ignore what was added, raise its minor version to 1 (crates/fmt/src/abi.rs:3)"
        ),
        "{mend}"
    );
    let raised = vcpu([added().minor(1)]);
    let report = fake.bless(&raised);
    let mend = words(&report, "crate-not-released");
    assert!(mend.contains("fmt to 0.1.1"), "{mend}");
    fake.release("0.1.1");
    let report = fake.bless(&raised);
    expect(&report, 3, &["allowed minor-raised"]);
    assert_eq!(one(&report, "minor-raised").details, ["struct Extra"]);
    let text = fake.read("abi-snapshots/vcpu/v2.1.snap");
    assert!(text.contains("\nvcpu-v2.1\n"), "{text}");
    assert!(
        fake.read("abi-snapshots/vcpu/v2.snap")
            .contains("\nvcpu-v2\n")
    );
    fake.commit("minor");
    fake.git(&["branch", "-f", "main", "change"]);
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
    assert_eq!(
        one(&report, "minor-not-additive").title,
        "vcpu-v2.1 -> vcpu-v2.2: what vcpu-v2.1 described before changed"
    );
    fake.remove("abi-snapshots/vcpu/v2.2.snap");
    expect(
        &fake.bless(&vcpu([added().minor(2)])),
        0,
        &["warning bumped-without-change"],
    );
    fake.remove("abi-snapshots/vcpu/v2.2.snap");
    let further = second().layouts(&[VcpuSer::layout, Extra::layout, v1::VcpuSer::layout]);
    let report = fake.bless(&vcpu([further.minor(3)]));
    let text = words(&report, "version-skipped");
    assert!(text.contains("there is no snapshot of vcpu-v2.2"), "{text}");
    let report = fake.check(&raised);
    expect(&report, 1, &["error snapshot-orphan"]);
}

#[test]
fn an_experiment_changes_without_a_number_and_not_unseen() {
    let fake = project();
    let third = |layouts| Generation::new(3).layouts(layouts).experimental();
    let with = vcpu([second(), third(&[VcpuSer::layout])]);
    let without = vcpu([second()]);
    assert!(rules(&fake.check(&with)).contains(&"error snapshot-missing".to_owned()));
    let report = fake.bless(&with);
    expect(&report, 3, &["allowed generation-added"]);
    let path = "abi-snapshots/vcpu/v3.snap";
    assert!(fake.read(path).contains("\nrole: experimental\n"));
    // A build without its feature has nothing to say.
    expect(&fake.check(&without), 0, &[]);
    fake.commit("v3");
    fake.git(&["branch", "-f", "main", "change"]);
    expect(&fake.check(&with), 0, &[]);
    expect(&fake.check(&without), 0, &[]);
    // It changes, with its snapshot.
    let grown = vcpu([second(), third(&[grown::VcpuSer::layout])]);
    let report = fake.check(&grown);
    expect(
        &report,
        1,
        &["allowed experiment-changed", "error snapshot-stale"],
    );
    let report = fake.bless(&grown);
    expect(&report, 3, &["allowed experiment-changed"]);
    assert_eq!(
        one(&report, "experiment-changed").details,
        [
            "struct VcpuSer grew: 16 -> 24 bytes",
            "field `owner` of struct VcpuSer added: u64 at offset 16"
        ]
    );
    // It becomes a version as any other.
    fake.release("0.2.0");
    let report = fake.bless(&vcpu([
        second(),
        Generation::new(3).layouts(&[grown::VcpuSer::layout]),
    ]));
    expect(&report, 3, &["allowed version-bumped"]);
    assert!(!fake.read(path).contains("role"));
    // Or goes.
    fake.git(&["checkout", "-q", "-f", "change"]);
    fake.remove(path);
    expect(&fake.check(&without), 3, &["allowed experiment-changed"]);
}

#[test]
fn crates_that_share_a_version_line_are_told() {
    let fake = project();
    fake.write(
        "crates/other/Cargo.toml",
        "[package]\nname = \"other\"\nversion.workspace = true\n",
    );
    let other = Component::new("other", kept([Generation::new(1)])).of_crate("other");
    let all = [vcpu([second()])[0], Box::leak(Box::new(other))];
    let report = fake.bless(&all);
    expect(
        &report,
        3,
        &["allowed component-added", "warning version-line-shared"],
    );
    let finding = one(&report, "version-line-shared");
    assert_eq!(
        finding.title,
        "crates that carry components share one version: fmt, other"
    );
    assert_eq!(finding.place.as_ref().unwrap().to_string(), "Cargo.toml:5");
    // With a line of its own, what mends is said of that, and of the table of dependencies.
    fake.write(
        "crates/fmt/Cargo.toml",
        "[package]\nname = \"fmt\"\nversion = \"0.1.0\"\n",
    );
    let text = fake.read("Cargo.toml");
    let table =
        "\n[workspace.dependencies]\nfmt = { path = \"crates/fmt\", version = \"0.1.0\" }\n";
    fake.write("Cargo.toml", &format!("{text}{table}"));
    let all = [
        vcpu([Generation::new(3).layouts(&[grown::VcpuSer::layout])])[0],
        all[1],
    ];
    let report = fake.bless(&all);
    assert!(!rules(&report).contains(&"warning version-line-shared".to_owned()));
    assert_eq!(
        one(&report, "crate-not-released").mend.as_deref().unwrap(),
        "set the version of fmt to 0.2.0 at crates/fmt/Cargo.toml:3, and where the workspace depends on it \
         (Cargo.toml:8)"
    );
}

/// Of two structs of one name none is passed over: in descriptions, in differences, in the source.
#[test]
fn two_structs_of_one_name_are_two() {
    let pair = || Generation::new(2).layouts(&[VcpuSer::layout, v1::VcpuSer::layout]);
    let text = describe(vcpu([pair()])[0]).unwrap();
    let abi = Abi::parse(&text).unwrap();
    let sizes: Vec<_> = abi.structs.iter().map(|s| (&s.name[..], s.size)).collect();
    assert_eq!(sizes, [("VcpuSer", 16), ("VcpuSer", 8)]);
    assert!(Changes::of(&text, &text).is_empty());
    let fake = Fake::new("", &vcpu([pair()]));
    for (layouts, told) in [
        (
            &[VcpuSer::layout as fn() -> _, grown::VcpuSer::layout][..],
            "struct VcpuSer grew: 8 -> 24 bytes",
        ),
        (&[VcpuSer::layout], "struct VcpuSer removed, 8 bytes"),
        (&[v1::VcpuSer::layout], "struct VcpuSer removed, 16 bytes"),
    ] {
        let layouts: &'static [_] = Box::leak(layouts.to_vec().into_boxed_slice());
        let report = fake.check(&vcpu([Generation::new(2).layouts(layouts)]));
        let text = words(&report, "abi-changed-layout");
        assert!(text.contains(told), "{text}");
    }
    let alone = describe(vcpu([second()])[0]).unwrap();
    assert_eq!(Changes::of(&alone, &text).added.structs, ["VcpuSer"]);
    // In the source: each has its own size asserted, and stands in a snapshot of its own.
    let fake = both();
    expect(&fake.check(&vcpu([first(), second()])), 0, &[]);
    let own = "const _: () = assert!(size_of::<VcpuSer>() == 8);\n";
    fake.edit("crates/fmt/src/v1.rs", own, "");
    let report = fake.check(&vcpu([first(), second()]));
    expect(&report, 1, &["error no-size-assert"]);
    let place = one(&report, "no-size-assert").place.clone().unwrap();
    assert_eq!(place.to_string(), "crates/fmt/src/v1.rs:8");
    // That its size is asked for elsewhere asserts nothing.
    let asked = "fn f() -> usize { assert!(true); size_of::<crate::v1::VcpuSer>() }";
    fake.write("crates/fmt/src/walk.rs", asked);
    let report = fake.check(&vcpu([first(), second()]));
    expect(&report, 1, &["error no-size-assert"]);
    let by_path = "const _: () = assert!(size_of::<crate::v1::VcpuSer>() == 8);\n";
    let abi = fake.read("crates/fmt/src/abi.rs");
    fake.write("crates/fmt/src/abi.rs", &format!("{abi}{by_path}"));
    expect(&fake.check(&vcpu([first(), second()])), 0, &[]);
    let report = fake.check(&vcpu([first().layouts(&[]), second()]));
    let unguarded = one(&report, "struct-unguarded").place.clone().unwrap();
    assert_eq!(unguarded.file, "crates/fmt/src/v1.rs");
}

/// Both structs of one name are compared with the kernel's.
#[test]
fn a_kernel_has_its_say_of_each() {
    let fake = Fake::new(
        "",
        &vcpu([second().layouts(&[VcpuSer::layout, v1::VcpuSer::layout])]),
    );
    let path = fake.root().join("facts.json");
    let facts = |size: u32| {
        format!(
            r#"{{ "vcpu": {{ "size": 16, "members": [
                {{ "name": "id", "type": "u64", "offset": 0, "size": 8 }},
                {{ "name": "state", "type": "u32", "offset": 8, "size": 4 }},
                {{ "name": "flags", "type": "u32", "offset": 12, "size": 4 }} ] }},
              "vcpu_v1": {{ "size": {size}, "members": [
                {{ "name": "id", "type": "u64", "offset": 0, "size": {size} }} ] }} }}"#
        )
    };
    let now = vcpu([second().layouts(&[VcpuSer::layout, v1::VcpuSer::layout])]);
    for (size, code, found) in [(8, 0, &[][..]), (16, 1, &["error kernel-differs"][..])] {
        std::fs::write(&path, facts(size)).unwrap();
        let types = kho_abi_check::kernel::open(&path).unwrap();
        let report = fake
            .check_with(&now, &Options::default().kernel(&types))
            .unwrap();
        expect(&report, code, found);
    }
}

/// A module that describes a format is known by what stands in it, whatever it is called.
#[test]
fn modules_of_a_format_are_found_by_content() {
    let odd = "#[repr(C)]\npub struct Odd {\n    a: usize,\n}\n";
    let now = vcpu([second()]);
    for (file, more, is_format) in [
        ("walk.rs", "", false),
        (
            "walk.rs",
            "fn f() -> Generation { Generation::new(7) }",
            true,
        ),
        (
            "walk.rs",
            "pub const LIMIT: u64 = 1; #[derive(AbiLayout)] struct X {}",
            true,
        ),
        ("v7.rs", "", true),
        ("v7/read.rs", "", true),
        ("values.rs", "", false),
    ] {
        let fake = project();
        fake.write(&format!("crates/fmt/src/{file}"), &format!("{odd}{more}\n"));
        let found = rules(&fake.check(&now));
        let told = found.contains(&"error bad-field-type".to_owned());
        assert_eq!(told, is_format, "{file} {more}: {found:?}");
        let constant = found.contains(&"warning constant-unguarded".to_owned());
        assert_eq!(constant, more.contains("LIMIT"), "{found:?}");
    }
    let _ = constant!(MAX);
}
