//! What differs of a generation in its variants, which have snapshots of their own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{Fake, expect, kept, leak, one, rules};
use kho_abi_check::{Failure, Options, Text, Vector, Vectors};
use kho_compat::{AbiLayout, Component, Generation, Layout, Variant, constant};
use zerocopy::little_endian::U64;

const SOURCE: &str = r"//! What lies in memory.

pub const VERSION: u32 = 1;
pub const SIZE: usize = 32;
pub const MAX: usize = 7;

#[derive(AbiLayout)]
#[repr(C)]
pub struct Chunk {
    pub next: U64,
    pub pages: [U64; 3],
}

const _: () = assert!(size_of::<Chunk>() == 32);

pub const COMPONENT: Component = Component::new(NAME, &[Generation::new(VERSION)]);
pub const NAME: &str = `list`;
";

const SIZE: usize = 32;
const MAX: usize = 7;

#[derive(AbiLayout)]
#[repr(C)]
#[abi(constants(MAX))]
#[allow(dead_code)]
struct Chunk {
    next: U64,
    pages: [U64; 3],
}

fn chunk<const N: usize>() -> Layout {
    Chunk::layout().with_tail::<[U64; N]>(&[constant!(MAX)()])
}

/// Of pages of 128 bytes: 15 entries in a chunk. `MAX` is the same, and left out.
const LARGE: Variant = Variant::new("page size", "128")
    .layouts(&[chunk::<15>])
    .constants(&[constant!(SIZE = 128_usize), constant!(MAX)]);

fn list(generation: Generation) -> [&'static Component; 1] {
    [leak(Component::new("list", kept([generation])))]
}

const fn generation(number: u32, variants: &'static [Variant]) -> Generation {
    Generation::new(number)
        .layouts(&[Chunk::layout])
        .constants(&[constant!(SIZE), constant!(MAX)])
        .variants(variants)
}

fn project(components: &[&'static Component]) -> Fake {
    Fake::new(&SOURCE.replace('`', "\""), components)
}

/// The base has list-v1 and what differs of it.
fn both() -> Fake {
    project(&list(generation(1, &[LARGE])))
}

#[test]
fn a_snapshot_of_a_variant_has_what_differs() {
    let fake = both();
    assert_eq!(
        fake.read("abi-snapshots/list/v1@128.snap"),
        "---\n\
         source: crates/fmt/tests/abi.rs\n\
         ---\n\
         list-v1@128\n\
         page size: 128\n\
         \n\
         const SIZE = 128 (0x80)\n\
         \n\
         struct Chunk: 128 bytes, align 8\n\
         \x20 offset   size  field\n\
         \x20      0      8  next: u64\n\
         \x20      8    120  pages: u64[15]\n\
         \x20 const MAX = 7\n"
    );
    assert!(
        !fake
            .read("abi-snapshots/list/v1.snap")
            .contains("page size")
    );
    expect(&fake.check(&list(generation(1, &[LARGE]))), 0, &[]);
}

#[test]
fn a_variant_that_differs_in_nothing_has_no_snapshot() {
    const SAME: Variant = Variant::new("page size", "32")
        .layouts(&[Chunk::layout])
        .constants(&[constant!(SIZE)]);
    let fake = project(&list(generation(1, &[SAME])));
    assert!(!fake.root().join("abi-snapshots/list/v1@32.snap").exists());
    expect(&fake.check(&list(generation(1, &[SAME]))), 0, &[]);
}

#[test]
fn a_variant_may_come_later() {
    let fake = project(&list(generation(1, &[])));
    let now = list(generation(1, &[LARGE]));
    let report = fake.check(&now);
    expect(
        &report,
        1,
        &["allowed variant-added", "error snapshot-missing"],
    );
    assert_eq!(
        one(&report, "snapshot-missing").title,
        "abi-snapshots/list/v1@128.snap is missing"
    );
    let report = fake.bless(&now);
    expect(&report, 3, &["allowed variant-added"]);
    assert_eq!(report.written, ["abi-snapshots/list/v1@128.snap"]);
    let finding = one(&report, "variant-added");
    assert_eq!(
        (finding.title.as_str(), finding.component.as_str()),
        ("list-v1@128 is new: what differs in this page size", "list")
    );
}

#[test]
fn a_change_in_a_variant_alone_is_found() {
    const CHANGED: Variant = LARGE
        .layouts(&[chunk::<14>])
        .constants(&[constant!(SIZE = 120_usize)]);
    let fake = both();
    let now = list(generation(1, &[CHANGED]));
    // History is not written over.
    for report in [fake.check(&now), fake.bless(&now)] {
        expect(
            &report,
            1,
            &["error abi-changed-constant", "error abi-changed-layout"],
        );
        let finding = one(&report, "abi-changed-layout");
        assert_eq!(
            finding.title,
            "the layout of list-v1@128 changed, its version did not"
        );
        assert_eq!(
            one(&report, "abi-changed-constant").details,
            ["constant SIZE: 128 (0x80) -> 120 (0x78)"]
        );
        assert!(report.written.is_empty());
    }
    // A number that becomes the generation's own differs no more, which is a change as well.
    const SAME: Variant = LARGE.constants(&[]);
    let report = fake.check(&list(generation(1, &[SAME])));
    assert_eq!(
        one(&report, "abi-changed-constant").details,
        ["constant SIZE removed, was 128 (0x80)"]
    );
}

#[test]
fn history_has_the_snapshots_of_variants() {
    let fake = both();
    let now = list(generation(1, &[LARGE]));
    let path = "abi-snapshots/list/v1@128.snap";
    let text = fake.read(path);
    fake.edit(path, "SIZE = 128", "SIZE = 127");
    let report = fake.check(&now);
    expect(&report, 1, &["error history-edited"]);
    assert_eq!(one(&report, "history-edited").component, "list");
    fake.remove(path);
    let report = fake.check(&now);
    expect(&report, 1, &["error history-deleted"]);
    let mend = one(&report, "history-deleted").mend.clone().unwrap();
    assert!(mend.ends_with(path), "{mend}");
    fake.write(path, &text);
    fake.write("abi-snapshots/list/v1@256.snap", &text);
    let report = fake.check(&now);
    expect(&report, 1, &["error snapshot-orphan"]);
    assert_eq!(
        one(&report, "snapshot-orphan").title,
        "abi-snapshots/list/v1@256.snap describes a version that is not there: the component is list-v1, of \
         which nothing differs in `256`"
    );
}

#[test]
fn a_variant_is_not_dropped_in_silence() {
    let fake = both();
    let report = fake.check(&list(generation(1, &[])));
    expect(&report, 1, &["error variant-removed"]);
    assert_eq!(
        one(&report, "variant-removed").title,
        "list-v1 states no variant of what list-v1@128 was"
    );
    // Another version may do without; it is listed.
    fake.release("0.2.0");
    let report = fake.bless(&list(generation(2, &[])));
    assert_eq!(report.exit_code(), 3);
    assert!(rules(&report).contains(&"allowed variant-removed".to_owned()));
}

#[test]
fn another_version_says_what_changed_in_its_variants() {
    const CHANGED: Variant = LARGE.layouts(&[chunk::<14>]);
    let fake = both();
    fake.release("0.2.0");
    let next = list(generation(2, &[CHANGED]).constants(&[constant!(SIZE)]));
    let report = fake.bless(&next);
    expect(&report, 3, &["allowed version-bumped"]);
    let bumped = report
        .findings
        .iter()
        .filter(|f| f.rule == "version-bumped");
    let titles: Vec<_> = bumped.map(|finding| finding.title.as_str()).collect();
    let of = |start: &str| titles.iter().any(|title| title.starts_with(start));
    assert!(
        of("list-v1 -> list-v2: ") && of("list-v1@128 -> list-v2@128: struct Chunk shrank"),
        "{titles:?}"
    );
    // What is as it was is not told.
    let next = list(generation(2, &[LARGE]).constants(&[constant!(SIZE)]));
    fake.remove("abi-snapshots/list/v2@128.snap");
    one(&fake.bless(&next), "version-bumped");
}

#[test]
fn labels_are_letters_and_digits_and_stand_once() {
    const OUTSIDE: Variant = Variant::new("page size", "../x").constants(&[constant!(SIZE = 1_u8)]);
    let fake = both();
    let report = fake.bless(&list(generation(1, &[LARGE, OUTSIDE])));
    expect(&report, 1, &["error grammar"]);
    assert!(report.written.is_empty());
    let report = fake.check(&list(generation(1, &[LARGE, LARGE])));
    expect(&report, 1, &["error grammar"]);
}

#[test]
fn vectors_of_a_variant_are_compared() {
    fn page() -> Result<Text, Failure> {
        Ok("a page".into())
    }
    fn other() -> Result<Text, Failure> {
        Ok("another".into())
    }
    let of = |variant, make| Vectors {
        component: "list",
        generation: Some(1),
        variant,
        vectors: Box::leak(Box::new([Vector { name: "page", make }])),
    };
    let now = list(generation(1, &[LARGE]));
    let fake = project(&[]);
    // The same as the generation's own is left out.
    let vectors = [of(None, page), of(Some("128"), page)];
    let bless = Options::default().vectors(&vectors).bless(true);
    fake.check_with(&now, &bless).unwrap();
    let path = "abi-snapshots/list/v1@128.snap";
    assert!(!fake.read(path).contains("a page"));
    let vectors = [of(None, page), of(Some("128"), other)];
    let bless = Options::default().vectors(&vectors).bless(true);
    fake.remove(path);
    fake.check_with(&now, &bless).unwrap();
    assert!(fake.read(path).contains("another"));
    fake.commit("vectors");
    fake.git(&["branch", "-f", "main", "change"]);
    let changed = [of(None, page), of(Some("128"), page)];
    let report = fake.check_vectors(&now, &changed);
    expect(&report, 1, &["error abi-changed-behaviour"]);
    let title = &one(&report, "abi-changed-behaviour").title;
    assert!(title.contains("list-v1@128"), "{title}");
}
