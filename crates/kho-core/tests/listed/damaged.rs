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

#[test]
fn damaged_lists_are_refused() {
    use Defect::{BadSize, Empty, UnknownFlags};
    type Case<'c> = (&'c str, &'c [u8], Defect, &'c str);
    let cases: &[Case<'_>] = &[
        ("compat", &[], BadSize, "found 0 bytes, expected 8 bytes"),
        (
            "compat",
            &[0; 7],
            BadSize,
            "found 7 bytes, expected 8 bytes",
        ),
        (
            "compat",
            &[0; 9],
            BadSize,
            "found 9 bytes, expected 8 bytes",
        ),
        (
            "compat",
            &[0; 24],
            BadSize,
            "found 24 bytes, expected 8 bytes",
        ),
        (
            "compat",
            &[1, 0, 0, 0, 2, 0, 0, 0],
            UnknownFlags,
            "found 0x2, expected flags 0 or 0x1",
        ),
        (
            "compat",
            &[1, 0, 0, 0, 1, 0, 0, 0x80],
            UnknownFlags,
            "found 0x80000001",
        ),
        ("features", &[], BadSize, "found 0 bytes, expected 24 bytes"),
        (
            "features",
            &[0; 8],
            BadSize,
            "found 8 bytes, expected 24 bytes",
        ),
        (
            "features",
            &[0; 23],
            BadSize,
            "found 23 bytes, expected 24 bytes",
        ),
        (
            "features",
            &[0; 32],
            BadSize,
            "found 32 bytes, expected 24 bytes",
        ),
    ];
    for (node, value, defect, text) in cases {
        let (mem, fdt) = built(|b| b.list(node, "radix", value));
        let damage = damage_of(&mem, fdt);
        assert_eq!(damage.defect(), *defect, "{damage}");
        let subject = format!("root FDT: property `radix` of node `{node}`");
        assert!(damage.to_string().contains(text), "{damage}");
        assert_eq!(damage.subject(), subject);
    }
    for node in ["compat", "features"] {
        let (mem, fdt) = built(|b| b.list(node, "radix", &[0; 24]));
        let mut empty = mem.clone();
        // The property becomes three NOPs and as many as its value was long.
        let at = prop(&mem, fdt, node, "radix") - 12;
        (0..9).for_each(|word| empty.write(at + 4 * word, &[0, 0, 0, 4]));
        let damage = damage_of(&empty, fdt);
        assert_eq!(
            (damage.defect(), damage.subject()),
            (Empty, format!("root FDT: node `{node}`"))
        );
        // It becomes a node: BEGIN_NODE, "bad", END_NODE.
        let mut nested = empty.clone();
        nested.write(at, &[0, 0, 0, 1, b'b', b'a', b'd', 0, 0, 0, 0, 2]);
        let damage = damage_of(&nested, fdt);
        assert_eq!(damage.defect(), Defect::Malformed);
        assert_eq!(
            damage.subject(),
            format!("root FDT: node `bad` of node `{node}`")
        );
    }
}

#[test]
fn names_that_no_component_has_are_refused() {
    let find = |mem: &Memory, fdt: u64, text: &[u8]| {
        let page = mem.read(fdt, 4096);
        let at = page.windows(text.len()).position(|bytes| bytes == text);
        fdt + at.unwrap() as u64
    };
    for name in [
        b"Radix", b"ra.ix", b"1adix", b"-adix", b"rad x", b"_adix", b"ra,ix",
    ] {
        let (mut mem, fdt) = built(|b| b.table("radix", 1, 0));
        let at = find(&mem, fdt, b"radix\0");
        mem.write(at, name);
        let damage = damage_of(&mem, fdt);
        assert_eq!(damage.defect(), Defect::BadText, "{damage}");
        assert!(
            damage.to_string().contains("expected a component's name"),
            "{damage}"
        );
    }
    // Twice: the tree itself is none.
    let (mut mem, fdt) = built(|b| {
        b.table("radix", 1, 0);
        b.table("radiy", 2, 0);
    });
    let at = find(&mem, fdt, b"radiy\0");
    mem.write(at, b"radix");
    let error = RootFdt::read(&mem, PhysAddr::new(fdt)).unwrap_err();
    assert_eq!(error.defect(), Defect::Duplicate, "{error}");
    // A name of any length is one, where the page holds it.
    let (mem, fdt) = built(|b| b.table("a2345678901234567890123456789-1", 1, 0));
    let root = RootFdt::read(&mem, PhysAddr::new(fdt)).unwrap();
    assert_eq!(root.listed().unwrap()[0].name.len(), 31);
}
