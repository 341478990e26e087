//! What differs of a generation in its variants, which have snapshots of their own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{Fake, OTHER, PAGE, expect, has, holds, kept, leak, mend, one, title, vector};
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

/// Where its snapshot is.
const SNAPSHOT: &str = "abi-snapshots/list/v1@128.snap";

#[test]
fn a_snapshot_of_a_variant_has_what_differs() {
    let fake = both();
    assert_eq!(
        fake.read(SNAPSHOT),
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
    let own = fake.read("abi-snapshots/list/v1.snap");
    assert!(!own.contains("page size"));
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
    let added = "allowed variant-added";
    expect(&report, 1, &[added, "error snapshot-missing"]);
    let expected = "abi-snapshots/list/v1@128.snap is missing";
    assert_eq!(title(&report, "snapshot-missing"), expected);
    let report = fake.bless(&now);
    expect(&report, 3, &[added]);
    assert_eq!(report.written, [SNAPSHOT]);
    let expected = "list-v1@128 is new: what differs in this page size";
    assert_eq!(title(&report, "variant-added"), expected);
    assert_eq!(one(&report, "variant-added").component, "list");
}

#[test]
fn a_change_in_a_variant_alone_is_found() {
    const CHANGED: Variant = LARGE
        .layouts(&[chunk::<14>])
        .constants(&[constant!(SIZE = 120_usize)]);
    let fake = both();
    let now = list(generation(1, &[CHANGED]));
    let constant = "abi-changed-constant";
    // History is not written over.
    for report in [fake.check(&now), fake.bless(&now)] {
        let found = ["error abi-changed-constant", "error abi-changed-layout"];
        expect(&report, 1, &found);
        let expected = "the layout of list-v1@128 changed, its version did not";
        assert_eq!(title(&report, "abi-changed-layout"), expected);
        let details = ["constant SIZE: 128 (0x80) -> 120 (0x78)"];
        assert_eq!(one(&report, constant).details, details);
        assert!(report.written.is_empty());
    }
    // A number that becomes the generation's own differs no more, which is a change as well.
    const SAME: Variant = LARGE.constants(&[]);
    let report = fake.check(&list(generation(1, &[SAME])));
    let details = ["constant SIZE removed, was 128 (0x80)"];
    assert_eq!(one(&report, constant).details, details);
}

#[test]
fn history_has_the_snapshots_of_variants() {
    let fake = both();
    let now = list(generation(1, &[LARGE]));
    let text = fake.read(SNAPSHOT);
    fake.edit(SNAPSHOT, "SIZE = 128", "SIZE = 127");
    let report = fake.check(&now);
    expect(&report, 1, &["error history-edited"]);
    assert_eq!(one(&report, "history-edited").component, "list");
    fake.remove(SNAPSHOT);
    let report = fake.check(&now);
    expect(&report, 1, &["error history-deleted"]);
    let mend = mend(&report, "history-deleted");
    assert!(mend.ends_with(SNAPSHOT), "{mend}");
    fake.write(SNAPSHOT, &text);
    fake.write("abi-snapshots/list/v1@256.snap", &text);
    let report = fake.check(&now);
    expect(&report, 1, &["error snapshot-orphan"]);
    let expected = "abi-snapshots/list/v1@256.snap describes a version that is not there: the \
                    component is list-v1, of which nothing differs in `256`";
    assert_eq!(title(&report, "snapshot-orphan"), expected);
}

#[test]
fn a_variant_is_not_dropped_in_silence() {
    let fake = both();
    let report = fake.check(&list(generation(1, &[])));
    expect(&report, 1, &["error variant-removed"]);
    let expected = "list-v1 states no variant of what list-v1@128 was";
    assert_eq!(title(&report, "variant-removed"), expected);
    // Another version may do without; it is listed.
    fake.release("0.2.0");
    let report = fake.bless(&list(generation(2, &[])));
    assert_eq!(report.exit_code(), 3);
    assert!(has(&report, "allowed variant-removed"));
}

/// list-v2, which has a constant more.
fn more(variants: &'static [Variant]) -> Generation {
    const MORE: &[fn() -> kho_compat::Constant] =
        &[constant!(SIZE), constant!(MAX), constant!(MORE = 1_u8)];
    generation(2, variants).constants(MORE)
}

#[test]
fn another_version_says_what_changed_in_its_variants() {
    const CHANGED: Variant = LARGE.layouts(&[chunk::<14>]);
    let fake = both();
    fake.release("0.2.0");
    let next = list(more(&[CHANGED]));
    let report = fake.bless(&next);
    expect(&report, 3, &["allowed version-bumped"]);
    let found = report.findings.iter().map(|found| &found.title);
    let titles: Vec<_> = found.collect();
    let of = |start: &str| titles.iter().any(|title| title.starts_with(start));
    let shrank = "list-v1@128 -> list-v2@128: struct Chunk shrank";
    assert!(of("list-v1 -> list-v2: ") && of(shrank), "{titles:?}");
    // What is as it was is not told.
    fake.remove("abi-snapshots/list/v2@128.snap");
    one(&fake.bless(&list(more(&[LARGE]))), "version-bumped");
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
    let of = |variant, make| vector("list", Some(1), variant, make);
    let now = list(generation(1, &[LARGE]));
    let fake = project(&[]);
    // The same as the generation's own is left out.
    let same = [of(None, PAGE), of(Some("128"), PAGE)];
    fake.bless_vectors(&now, &same);
    assert!(!fake.read(SNAPSHOT).contains("a page"));
    fake.remove(SNAPSHOT);
    fake.bless_vectors(&now, &[of(None, PAGE), of(Some("128"), OTHER)]);
    assert!(fake.read(SNAPSHOT).contains("another"));
    fake.land("vectors");
    let report = fake.check_vectors(&now, &same);
    expect(&report, 1, &["error abi-changed-behaviour"]);
    holds(title(&report, "abi-changed-behaviour"), "list-v1@128");
}
