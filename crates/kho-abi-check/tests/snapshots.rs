//! Descriptions taken apart and put together again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use kho_abi_check::{Abi, Changes, Failure, Text, describe, vectors};
use kho_compat::{AbiLayout, Carrier, Component, Generation, constant};
use zerocopy::little_endian::{U16, U64};

const TEXT: &str = "a = b: \"c\" -> (struct d)";
const BIG: u64 = 1 << 40;

#[derive(AbiLayout)]
#[repr(C)]
#[allow(dead_code)]
struct Inner {
    #[abi(bits(low: 0..52, high: 52..64))]
    word: U64,
}

#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "outer_ser", packed, constants(BIG, TEXT))]
#[allow(dead_code)]
struct Outer {
    odd: [u8; 3],
    inner: [Inner; 2],
    next: U16,
}

fn dump() -> Result<Text, Failure> {
    Ok(Text::bytes(&[1; 40]))
}

fn lines() -> Result<Text, Failure> {
    Ok("const A = 1\nstruct X: 3\n\n  vector y\n* z".into())
}

vectors!("full-name_2", ["a page: 3 of 4" => dump, "lines" => lines]);

const FULL: Component = Component::new(
    "full-name_2",
    &[Generation::new(12)
        .needs(&[("a", 1), ("b", 1)])
        .layouts(&[Outer::layout])
        .constants(&[constant!(TEXT), constant!(BIG)])],
)
.carried_in(Carrier::Luo)
.subtree("LUO")
.field(48);

const EMPTY: Component = Component::new("a", &[Generation::new(1)]);

#[test]
fn what_is_taken_apart_renders_the_same() {
    for component in [FULL, EMPTY] {
        let text = describe(&component).unwrap();
        let abi = Abi::parse(&text).unwrap();
        assert_eq!(abi.render(), text);
    }
    let abi = Abi::parse(&describe(&FULL).unwrap()).unwrap();
    let counts = [abi.structs.len(), abi.vectors.len(), abi.constants.len()];
    assert_eq!(counts, [2; 3]);
    let inner = abi.structs.iter().find(|s| s.name == "Inner").unwrap();
    assert_eq!(inner.fields.last().unwrap().bits, Some((52, 64)));
}

#[test]
fn this_workspace_s_snapshots_are_taken_apart() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../abi-snapshots");
    let mut seen = 0;
    for component in std::fs::read_dir(dir).unwrap() {
        let Ok(files) = std::fs::read_dir(component.unwrap().path()) else {
            continue;
        };
        for file in files {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let text = text.splitn(3, "---\n").nth(2).unwrap();
            assert!(Abi::parse(text).is_some(), "{text}");
            seen += 1;
        }
    }
    assert!(seen >= 10);
}

/// Whatever line of a description is altered, dropped, doubled or moved, a change is told: where
/// the text is no description any more, line by line.
#[test]
fn no_altered_line_is_passed_over() {
    let text = describe(&FULL).unwrap();
    let all: Vec<&str> = text.trim_end().lines().collect();
    let mut told = 0;
    let mut check = |what: &str, alter: &dyn Fn(&mut Vec<String>)| {
        let mut altered: Vec<String> = all.iter().map(|line| (*line).to_owned()).collect();
        alter(&mut altered);
        let altered = altered.join("\n");
        if altered.trim_end() == text.trim_end() || altered.lines().next() != text.lines().next() {
            return;
        }
        let changes = Changes::of(&text, &altered);
        let is_told = !changes.is_empty() || !changes.added.is_empty();
        assert!(is_told, "{what}:\n{altered}");
        told += 1;
    };
    for (index, line) in all.iter().enumerate().skip(1) {
        check("dropped", &|lines| drop(lines.remove(index)));
        check("doubled", &|lines| lines.insert(index, (*line).to_owned()));
        check("moved", &|lines| lines.swap(index - 1, index));
        for (at, c) in line.char_indices().filter(|(_, c)| !c.is_whitespace()) {
            let to = if c == '1' { "2" } else { "1" };
            let at = at..at + c.len_utf8();
            check("altered", &|lines| {
                lines[index].replace_range(at.clone(), to)
            });
        }
    }
    assert!(told > 400, "{told}");
}
