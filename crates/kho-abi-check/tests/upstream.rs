//! What happened to the formats of Linux, and how it reads: changes under an unchanged string are
//! errors, the proper bumps are not.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{ABI, Fake, expect, holds, kept, leak, one, structs, title, told};
use kho_abi_check::{Failure, Format, Report, Text, Vector, Vectors, vectors};
use kho_compat::{AbiLayout as _, Carrier, Component, Generation, Layout};
use zerocopy::little_endian::{U32, U64};

/// A component `before` in the base, `after` now; released and blessed if `proper`.
fn change(before: Component, after: Component, proper: bool) -> Report {
    let fake = Fake::new("", &[leak(before)]);
    if proper {
        fake.release("0.2.0");
        return fake.bless(&[leak(after)]);
    }
    fake.check(&[leak(after)])
}

fn layout(name: &str, size: usize, fields: fn(&mut Layout)) -> Layout {
    let mut layout = Layout::new(name, None, size, 8, false);
    fields(&mut layout);
    layout
}

fn bitmap_of_512() -> Layout {
    layout("Bitmap", 512, |l| l.push::<[U64; 64]>("bits", 0))
}

fn bitmap_of_a_page() -> Layout {
    layout("Bitmap", 4096, |l| l.push::<[U64; 512]>("bits", 0))
}

#[test]
fn the_tracker_bitmap_grew_to_a_page_under_kho_v1() {
    let kho = |layouts| {
        let generation = Generation::new(1).layouts(layouts);
        Component::new("kho", kept([generation])).carried_in(Carrier::Root)
    };
    let report = change(kho(&[bitmap_of_512]), kho(&[bitmap_of_a_page]), false);
    expect(&report, 1, &["error abi-changed-layout"]);
    let finding = one(&report, "abi-changed-layout");
    let expected = "the layout of kho-v1 changed, its version did not";
    assert_eq!(finding.title, expected);
    let expected = [
        "struct Bitmap grew: 512 -> 4096 bytes",
        "field `bits` of struct Bitmap changed type: u64[64] -> u64[512]",
    ];
    assert_eq!(finding.details, expected);
}

fn depths() -> Result<Text, Failure> {
    Ok("4096: 6\n16384: 4\n65536: 4".into())
}

fn depths_fixed() -> Result<Text, Failure> {
    Ok("4096: 6\n16384: 5\n65536: 4".into())
}

vectors!("kho", ["tree depth by page size" => depths]);

#[test]
fn the_tree_got_deeper_on_16_kib_pages_under_kho_v3() {
    let kho = leak(Component::new("kho", kept([Generation::new(3)])).carried_in(Carrier::Root));
    let fixed = Vectors {
        component: "kho",
        generation: None,
        variant: None,
        vectors: &[Vector {
            name: "tree depth by page size",
            make: depths_fixed,
        }],
    };
    let report = Fake::new("", &[kho]).check_vectors(&[kho], &[fixed]);
    expect(&report, 1, &["error abi-changed-behaviour"]);
    let expected = "- 16384: 4\n    + 16384: 5";
    told(&report, "abi-changed-behaviour", expected);
}

mod memfd_v1 {
    use super::*;
    structs! {
        "memfd_luo_ser" MemfdSer { pos: U64, size: U64, nr_folios: U64, folios: [U64; 2] }
    }
}

mod memfd_v2 {
    use super::*;
    structs! {
        "memfd_luo_ser" MemfdSer {
            pos: U64, size: U64, seals: U32, flags: U32, nr_folios: U64, folios: [U64; 2]
        }
    }
}

#[test]
fn memfd_v1_became_v2_with_seals() {
    let memfd =
        |generation| Component::new("memfd", kept([generation])).carried_in(Carrier::FileHandler);
    let report = change(
        memfd(Generation::new(1).layouts(&[memfd_v1::MemfdSer::layout])),
        memfd(Generation::new(2).layouts(&[memfd_v2::MemfdSer::layout])),
        true,
    );
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    assert_eq!(
        title(&report, "version-bumped"),
        "memfd-v1 -> memfd-v2: struct MemfdSer grew from 40 to 48 bytes (`seals`, `flags` added; `nr_folios`, \
         `folios` moved or changed). fmt 0.1.0 -> 0.2.0 carries it. Earlier releases refuse memfd-v2. \
         This one no longer restores memfd-v1."
    );
    let text = report.render(Format::Human);
    holds(&text, "every open of /dev/liveupdate");
}

fn session_header() -> Layout {
    layout("SessionHeader", 8, |l| l.push::<U64>("count", 0))
}

fn luo_ser() -> Layout {
    let mut layout = layout("LuoSer", 32, |l| {
        l.push::<[u8; 8]>("compatible", 0);
        l.push::<U64>("liveupdate_num", 8);
        l.push::<U64>("sessions_pa", 16);
        l.push::<U64>("flbs_pa", 24);
    });
    layout.packed = true;
    layout
}

/// In releases LUO went from v1 to v5; v2 to v4 lived in development trees.
#[test]
fn luo_v1_became_v5_over_versions_of_development_trees() {
    let luo = |generation| Component::new("luo", kept([generation])).carried_in(Carrier::Luo);
    let fake = Fake::new(
        "",
        &[leak(luo(Generation::new(1).layouts(&[session_header])))],
    );
    fake.release("0.2.0");
    let after = leak(luo(Generation::new(5).layouts(&[luo_ser])).subtree("LUO"));
    // All at once, it is a gap.
    let expected = [
        "allowed version-bumped",
        "error version-skipped",
        "info dependents",
    ];
    expect(&fake.bless(&[after]), 1, &expected);
    // Step by step, as it was developed, each version leaves its snapshot.
    fake.git(&["checkout", "-q", "-f", "change"]);
    fake.git(&["clean", "-fdq"]);
    fake.release("0.2.0");
    let steps = [
        luo(Generation::new(2).layouts(&[session_header])),
        luo(Generation::new(3).layouts(&[session_header])).subtree("LUO"),
        luo(Generation::new(4).layouts(&[session_header, luo_ser])).subtree("LUO"),
    ];
    for step in steps {
        fake.bless(&[leak(step)]);
        fake.commit("a step");
    }
    let report = fake.bless(&[after]);
    expect(&report, 3, &["allowed version-bumped", "info dependents"]);
    let title = &title(&report, "version-bumped");
    assert!(
        title.starts_with("luo-v1 -> luo-v5: struct SessionHeader was removed"),
        "{title}"
    );
    assert!(title.contains("struct LuoSer added"), "{title}");
}

/// A header that said kho-v3 in its text and kho-v4 in its constant: what counts is the constant. It is told,
/// and stops nothing.
#[test]
fn a_comment_that_lies_is_told() {
    let kho = leak(Component::new("kho", kept([Generation::new(4)])));
    let fake = Fake::new(
        "/// The number in `kho-v4`.\npub const VERSION: u32 = 4;\n\
         pub const COMPONENT: Component = Component::new(\"kho\", &[Generation::new(VERSION)]);\n",
        &[kho],
    );
    fake.edit(ABI, "kho-v4", "kho-v3");
    let report = fake.check(&[kho]);
    expect(&report, 0, &["warning comment-contradicts"]);
    let finding = one(&report, "comment-contradicts");
    let expected = "the comment says kho-v3, the constant kho-v4";
    assert_eq!(finding.title, expected);
    // One that names the version too tells the history.
    fake.edit(ABI, "kho-v3", "kho-v4`, after `kho-v3");
    expect(&fake.check(&[kho]), 0, &[]);
}

fn file_ser(data: &'static str) -> Layout {
    let mut layout = layout("FileSer", 64, |l| l.push::<[u8; 48]>("compatible", 0));
    layout.c_name = Some("luo_file_ser".to_owned());
    layout.push::<U64>(data, 48);
    layout.push::<U64>("token", 56);
    layout
}

#[test]
fn a_renamed_field_is_told_as_that() {
    let luo = |layouts| Component::new("luo", kept([Generation::new(5).layouts(layouts)]));
    let before: &[fn() -> Layout] = &[|| file_ser("data")];
    let after: &[fn() -> Layout] = &[|| file_ser("serialized_data")];
    let report = change(luo(before), luo(after), false);
    expect(&report, 1, &["error abi-changed-layout"]);
    let expected = ["field `data` of struct FileSer renamed to `serialized_data`, same bytes"];
    assert_eq!(one(&report, "abi-changed-layout").details, expected);
}
