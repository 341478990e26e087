//! What a version shows of what it needs, when a new version of that comes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{ABI, Fake, OTHER, PAGE, expect, holds, kept, leak, one, title, vector};
use kho_abi_check::{Vectors, describe_released};
use kho_compat::{Component, Generation, Registry, constant};

const MAX: u32 = 1;
const MORE: u32 = 2;

/// A part, and who needs it.
fn both(part: u32, user: u32) -> [&'static Component; 2] {
    let more = Generation::new(part).constants(&[constant!(MAX), constant!(MORE)]);
    let part_of = match part {
        1 => Generation::new(1).constants(&[constant!(MAX)]),
        _ => more,
    };
    let needs: &'static [_] = Box::leak(Box::new([("part", part)]));
    [
        leak(Component::new("part", kept([part_of]))),
        leak(Component::new(
            "user",
            kept([Generation::new(user).needs(needs)]),
        )),
    ]
}

fn shows(make: common::Make) -> [Vectors; 2] {
    [
        vector("part", None, None, PAGE),
        vector("user", None, None, make),
    ]
}

/// The base has part-v1, and user-v1 with a page; the crate is released anew.
fn base() -> Fake {
    let fake = Fake::bare("pub const VERSION: u32 = 1;\npub const MAX: u32 = 1;\n");
    fake.init();
    fake.bless_vectors(&both(1, 1), &shows(PAGE));
    fake.commit("first");
    fake.git(&["checkout", "-q", "-b", "change"]);
    fake.edit(ABI, "VERSION: u32 = 1", "VERSION: u32 = 2");
    fake.release("0.2.0");
    fake
}

kho_abi_check::vectors!("user", ["page" => || Ok("another".into())]);

/// Where it is recorded what user-v1 shows of part-v2.
const SHOWN: &str = "abi-snapshots/user/v1+part2.snap";

#[test]
fn what_shows_a_new_version_of_a_need_is_recorded_and_stays_what_it_is() {
    let fake = base();
    let before = fake.read("abi-snapshots/user/v1.snap");
    let missing = fake.check_vectors(&both(2, 1), &shows(OTHER));
    let mut errors = missing
        .findings
        .iter()
        .filter(|one| one.component == "user");
    assert!(errors.all(|one| {
        one.mend
            .as_deref()
            .is_none_or(|mend| !mend.contains("user-v2"))
    }));

    let report = fake.bless_vectors(&both(2, 1), &shows(OTHER));
    expect(
        &report,
        3,
        &["allowed need-raised", "allowed version-bumped"],
    );
    holds(
        title(&report, "need-raised"),
        "shows part-v2; it stays user-v1",
    );
    holds(&one(&report, "need-raised").details[1].text, "- a page");
    let shown = "user-v1+part2\nneeds: part-v2\n\nvector page\n  another\n";
    holds(&fake.read(SHOWN), shown);
    assert_eq!(fake.read("abi-snapshots/user/v1.snap"), before);

    // As the test of the crate has it.
    let (components, dir) = (both(2, 1), fake.root().join("abi-snapshots"));
    let registry = Registry::new(components).unwrap();
    let released = describe_released(components[1], &registry, &dir).unwrap();
    holds(&before, &released);

    // From then on it is history, as the snapshot is.
    fake.land("part-v2");
    expect(&fake.check_vectors(&both(2, 1), &shows(OTHER)), 0, &[]);
    let changed = fake.check_vectors(&both(2, 1), &shows(|| Ok("a third".into())));
    expect(&changed, 1, &["error abi-changed-behaviour"]);
    fake.edit(SHOWN, "another", "a third");
    let edited = fake.check_vectors(&both(2, 1), &shows(OTHER));
    expect(&edited, 1, &["error history-edited"]);
}

#[test]
fn without_a_new_version_of_a_need_nothing_is_recorded() {
    let fake = base();
    let report = fake.bless_vectors(&both(1, 1), &shows(OTHER));
    expect(&report, 1, &["error abi-changed-behaviour"]);
    // A file by hand counts for nothing either.
    fake.write(
        "abi-snapshots/user/v1+part1.snap",
        "---\nsource: x\n---\nuser-v1+part1\nneeds: part-v1\n\nvector page\n  another\n",
    );
    let report = fake.check_vectors(&both(1, 1), &shows(OTHER));
    expect(
        &report,
        1,
        &["error abi-changed-behaviour", "error snapshot-orphan"],
    );
}

#[test]
fn a_change_of_its_own_beside_it_is_an_error() {
    let fake = base();
    let [part, user] = both(2, 1);
    let more = user.generations[0].clone().constants(&[constant!(MAX)]);
    let user = leak(user.clone().generations(kept([more])));
    let report = fake.bless_vectors(&[part, user], &shows(OTHER));
    assert_eq!(report.exit_code(), 1);
    holds(title(&report, "abi-changed-behaviour"), "user-v1");
}
