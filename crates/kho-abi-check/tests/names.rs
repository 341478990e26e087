//! Names that are no part of a format, and may change.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{Fake, Make, OTHER, PAGE, expect, holds, kept, leak, title, told, words};
use kho_abi_check::{Vector, Vectors};
use kho_compat::{AbiLayout, Component, Generation, Layout};
use zerocopy::little_endian::{U32, U64};

/// The struct `State` with these fields; with a C name.
macro_rules! state {
    ($module:ident $($c:literal)? { $($field:ident: $type:ty),* }) => { mod $module {
        use super::*;
        #[derive(AbiLayout)]
        #[repr(C)]
        $(#[abi(c_name = $c)])?
        #[allow(dead_code)]
        pub(super) struct State { $($field: $type),* }
    } };
}

state!(own {
    pos: U64,
    count: U32,
    flags: U32
});
state!(renamed {
    position: U64,
    number: U32,
    flags: U32
});
state!(swapped {
    pos: U64,
    flags: U32,
    count: U32
});
state!(typed {
    position: U32,
    upper: U32,
    count: U32,
    flags: U32
});
state!(c "state" { pos: U64, count: U32, flags: U32 });
state!(c_renamed "state" { position: U64, count: U32, flags: U32 });

fn state(layout: fn() -> Layout) -> [&'static Component; 1] {
    let layouts: &'static [_] = Box::leak(Box::new([layout]));
    [leak(Component::new(
        "state",
        kept([Generation::new(1).layouts(layouts)]),
    ))]
}

fn vectors(all: &[(&'static str, Make)]) -> [Vectors; 1] {
    let all = all.iter().map(|(name, make)| Vector { name, make: *make });
    let vectors = Box::leak(all.collect::<Vec<_>>().into_boxed_slice());
    [Vectors {
        component: "state",
        generation: None,
        variant: None,
        vectors,
    }]
}

const NAMES: [(&str, Make); 2] = [("a page", PAGE), ("what is read of it", OTHER)];

fn project(layout: fn() -> Layout) -> Fake {
    let fake = Fake::bare("");
    fake.init();
    fake.bless_vectors(&state(layout), &vectors(&NAMES));
    fake.commit("first");
    fake.git(&["checkout", "-q", "-b", "change"]);
    fake
}

fn after(
    was: fn() -> Layout,
    is: fn() -> Layout,
    names: &[(&'static str, Make)],
) -> kho_abi_check::Report {
    let mut report = project(was).check_vectors(&state(is), &vectors(names));
    // The source is made up.
    report
        .findings
        .retain(|one| one.component == "state" && one.rule.starts_with("abi-"));
    report
}

#[test]
fn a_field_without_a_c_name_may_be_renamed() {
    expect(
        &after(own::State::layout, renamed::State::layout, &NAMES),
        0,
        &[],
    );
    // Under the name of the snapshot nothing is written again.
    let fake = project(own::State::layout);
    let report = fake.bless_vectors(&state(renamed::State::layout), &vectors(&NAMES));
    assert_eq!(report.written, Vec::<String>::new());
    holds(&fake.read("abi-snapshots/state/v1.snap"), "count: u32");
}

#[test]
fn fields_that_change_names_or_types_and_those_of_c_are_found() {
    let layout = &["error abi-changed-layout"];
    expect(
        &after(own::State::layout, swapped::State::layout, &NAMES),
        1,
        layout,
    );
    expect(
        &after(own::State::layout, typed::State::layout, &NAMES),
        1,
        layout,
    );
    let report = after(c::State::layout, c_renamed::State::layout, &NAMES);
    expect(&report, 1, layout);
    told(
        &report,
        "abi-changed-layout",
        "renamed to `position`, same bytes",
    );
}

#[test]
fn a_vector_may_have_another_title() {
    let is = |names: &[(&'static str, Make)]| after(own::State::layout, own::State::layout, names);
    expect(&is(&[("one page", PAGE), NAMES[1]]), 0, &[]);
    let behaviour = &["error abi-changed-behaviour"];
    let other = is(&[("one page", || Ok("a book".into())), NAMES[1]]);
    expect(&other, 1, behaviour);
    let gone = is(&[NAMES[1]]);
    expect(&gone, 1, behaviour);
    holds(
        &words(&gone, "abi-changed-behaviour"),
        "vector `a page` removed",
    );
}

#[test]
fn a_title_says_whether_it_is_written_or_read() {
    let third: Make = || Ok("a third".into());
    let is = |names: &[(&'static str, Make)]| after(own::State::layout, own::State::layout, names);
    for (names, says) in [
        (
            [("a page", third), NAMES[1]],
            "what is written in memory of",
        ),
        ([NAMES[0], (NAMES[1].0, third)], "what is read of"),
        (
            [("a page", third), (NAMES[1].0, third)],
            "what is written and read of",
        ),
    ] {
        holds(title(&is(&names), "abi-changed-behaviour"), says);
    }
}

#[test]
fn a_component_without_vectors_is_told_where_others_have_some() {
    let fake = project(own::State::layout);
    let [state] = state(own::State::layout);
    let bare = leak(Component::new("bare", kept([Generation::new(1)])));
    let report = fake.bless_vectors(&[state, bare], &vectors(&NAMES));
    assert_eq!(title(&report, "no-vectors"), "bare-v1 has no vectors");
    assert_ne!(report.exit_code(), 1);
}
