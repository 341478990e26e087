//! Damaged lists.

use super::*;

fn damage_of(mem: &Memory, fdt: u64) -> Damage {
    let at = PhysAddr::new(fdt);
    let root = RootFdt::read(mem, at).unwrap();
    // A damaged list is no reason to take the version for another one.
    let registry = Registry::linked().unwrap();
    Handover::admit_root(registry, &root).unwrap();
    let damage = root.listed().unwrap_err();
    assert_eq!(damage.at(), at);
    match Handover::open(mem, Entry::new(at)) {
        Err(OpenError::Damaged(other)) => assert_eq!(other, damage),
        other => unreachable!("{:?}", other.map(|_| ())),
    }
    let mut manifest = Manifest::new();
    root.add_to(&mut manifest);
    assert_eq!(manifest.entries().len(), 1, "nothing of a damaged list");
    damage
}

/// What is found where `node` lists a component `radix` whose value is `value`.
fn check(node: &str, value: &[u8], defect: Defect, text: &str) {
    let (mem, fdt) = built(|b| b.list(node, "radix", value));
    let damage = damage_of(&mem, fdt);
    assert_eq!(damage.defect(), defect, "{damage}");
    let subject = format!("root FDT: property `radix` of node `{node}`");
    assert!(damage.to_string().contains(text), "{damage}");
    assert_eq!(damage.subject(), subject);
}

macro_rules! damaged {
    ($($name:ident: $node:literal, $value:expr, $defect:ident, $text:literal;)*) => {
        $(#[test]
        fn $name() {
            check($node, &$value, Defect::$defect, $text);
        })*
    };
}

damaged! {
    a_version_of_0_bytes: "compat", [], BadSize, "found 0 bytes, expected 8 bytes";
    a_version_of_7_bytes: "compat", [0; 7], BadSize, "found 7 bytes, expected 8 bytes";
    a_version_of_9_bytes: "compat", [0; 9], BadSize, "found 9 bytes, expected 8 bytes";
    a_version_of_24_bytes: "compat", [0; 24], BadSize, "found 24 bytes, expected 8 bytes";
    a_version_with_flag_1:
        "compat", [1, 0, 0, 0, 2, 0, 0, 0], UnknownFlags, "found 0x2, expected flags 0 or 0x1";
    a_version_with_flag_31: "compat", [1, 0, 0, 0, 1, 0, 0, 0x80], UnknownFlags, "found 0x80000001";
    masks_of_0_bytes: "features", [], BadSize, "found 0 bytes, expected 24 bytes";
    masks_of_8_bytes: "features", [0; 8], BadSize, "found 8 bytes, expected 24 bytes";
    masks_of_23_bytes: "features", [0; 23], BadSize, "found 23 bytes, expected 24 bytes";
    masks_of_32_bytes: "features", [0; 32], BadSize, "found 32 bytes, expected 24 bytes";
}

/// A list of `node` that is empty, and where its property was.
fn empty(node: &str) -> (Memory, u64, u64) {
    let (mut mem, fdt) = built(|b| b.list(node, "radix", &[0; 24]));
    // The property becomes three NOPs and as many as its value was long.
    let at = prop(&mem, fdt, node, "radix") - 12;
    (0..9).for_each(|word| mem.write(at + 4 * word, &[0, 0, 0, 4]));
    (mem, fdt, at)
}

#[test]
fn a_list_of_nothing() {
    for node in ["compat", "features"] {
        let (mem, fdt, _) = empty(node);
        let damage = damage_of(&mem, fdt);
        let subject = format!("root FDT: node `{node}`");
        assert_eq!(
            (damage.defect(), damage.subject()),
            (Defect::Empty, subject)
        );
    }
}

#[test]
fn a_list_with_a_node() {
    for node in ["compat", "features"] {
        let (mut mem, fdt, at) = empty(node);
        // BEGIN_NODE, "bad", END_NODE.
        mem.write(at, &[0, 0, 0, 1, b'b', b'a', b'd', 0, 0, 0, 0, 2]);
        let damage = damage_of(&mem, fdt);
        let subject = format!("root FDT: node `bad` of node `{node}`");
        assert_eq!(
            (damage.defect(), damage.subject()),
            (Defect::Malformed, subject)
        );
    }
}

/// Where `text` stands in the root FDT.
fn find(mem: &Memory, fdt: u64, text: &[u8]) -> u64 {
    let page = mem.read(fdt, 4096);
    let at = page.windows(text.len()).position(|bytes| bytes == text);
    fdt + at.unwrap() as u64
}

macro_rules! no_component {
    ($($name:ident: $text:literal;)*) => {
        $(#[test]
        fn $name() {
            let (mut mem, fdt) = built(|b| b.table("radix", 1, 0));
            let at = find(&mem, fdt, b"radix\0");
            mem.write(at, $text);
            let damage = damage_of(&mem, fdt);
            assert_eq!(damage.defect(), Defect::BadText, "{damage}");
            let text = damage.to_string();
            assert!(text.contains("expected a component's name"), "{damage}");
        })*
    };
}

no_component! {
    a_name_in_capitals: b"Radix";
    a_name_with_a_dot: b"ra.ix";
    a_name_that_begins_with_a_digit: b"1adix";
    a_name_that_begins_with_a_hyphen: b"-adix";
    a_name_with_a_space: b"rad x";
    a_name_that_begins_with_an_underscore: b"_adix";
    a_name_with_a_comma: b"ra,ix";
}

#[test]
fn a_name_that_is_listed_twice() {
    let (mut mem, fdt) = built(|b| {
        b.table("radix", 1, 0);
        b.table("radiy", 2, 0);
    });
    let at = find(&mem, fdt, b"radiy\0");
    mem.write(at, b"radix");
    // The tree itself is none.
    let error = RootFdt::read(&mem, PhysAddr::new(fdt)).unwrap_err();
    assert_eq!(error.defect(), Defect::Duplicate, "{error}");
}

#[test]
fn the_longest_name_is_one() {
    // A name of any length is one, where the page holds it.
    let (mem, fdt) = built(|b| b.table("a2345678901234567890123456789-1", 1, 0));
    let root = RootFdt::read(&mem, PhysAddr::new(fdt)).unwrap();
    assert_eq!(root.listed().unwrap()[0].name.len(), 31);
}
