//! The root's tokens as a string list.

use kho_compat::policy::{self, ALL};
use kho_compat::{Compat, Decision, Policy, Strings};

use super::*;

const LIST: &str = "kho-v4, radix-v1, vmalloc-v1";

fn read(mem: &Memory, fdt: u64) -> Result<RootFdt, Damage> {
    RootFdt::read(mem, PhysAddr::new(fdt))
}

fn manifest(root: &RootFdt) -> Manifest {
    let mut manifest = Manifest::new();
    root.add_to(&mut manifest);
    manifest
}

#[test]
fn the_bytes_are_those_of_a_device_trees_list() {
    let page = page_of(&kho(Writing::STRING_LIST));
    let head = b"\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x1b\0\0\0\0kho-v4\0radix-v1\0vmalloc-v1\0\0";
    assert_eq!(&page[56..56 + head.len()], head);
    // Nothing else differs from the plain dialect, and what has no needs is plain.
    let kho = kho(Writing::STRING_LIST);
    assert_eq!(root_of(&kho).compatible(), LIST);
    assert_eq!(
        (listed(&kho), kho.writing()),
        (Vec::new(), Writing::STRING_LIST)
    );
    for (name, string) in [("kho", LIST), ("near", "near-v1"), ("bit", "bit-v1")] {
        let compat = kho.compat(name).unwrap();
        assert_eq!(compat.to_string(), string);
        assert_eq!(Compat::parse(string), Ok(compat));
    }
    let compat: Compat = LIST.parse().unwrap();
    assert_eq!((compat.strings(), compat.field_len()), (Strings::List, 32));
}

#[test]
fn it_is_read_recognised_and_judged() {
    let (mem, fdt) = built(|b| b.root_compatible = LIST.into());
    let root = read(&mem, fdt).unwrap();
    assert_eq!(root.compatible(), LIST);
    let found = manifest(&root);
    assert_eq!(found.writing(), Writing::STRING_LIST);
    let handover = Handover::open(&mem, Entry::new(PhysAddr::new(fdt))).unwrap();
    assert_eq!(handover.announced().version_of("vmalloc"), Some(1));
    let side = Registry::linked().unwrap().side();
    for policy in ALL {
        let exact = policy.name().starts_with("composite-exact");
        let expected = if exact {
            Decision::Reject
        } else {
            Decision::Accept
        };
        assert_eq!(
            policy.judge(&found, side).decision,
            expected,
            "{}",
            policy.name()
        );
    }
    // Byte for byte it is the string of who writes lists.
    let exact = policy::CompositeExact::default();
    let lists = side.clone().in_dialect(Writing::STRING_LIST);
    assert_eq!(exact.judge(&found, &lists).decision, Decision::Accept);
    let written = exact.write(&lists, None).unwrap();
    assert_eq!(written.writing(), Writing::STRING_LIST);
    assert_eq!(exact.judge(&written, &lists).decision, Decision::Accept);
    // Another part, in another order, is another part.
    for (text, decision) in [
        ("kho-v4, vmalloc-v1, radix-v1", Decision::Accept),
        ("kho-v4, radix-v2", Decision::Reject),
        ("radix-v1, kho-v4", Decision::Reject),
    ] {
        let (mem, fdt) = built(|b| b.root_compatible = text.into());
        let found = manifest(&read(&mem, fdt).unwrap());
        assert_eq!(
            policy::SemverRange.judge(&found, side).decision,
            decision,
            "{text}"
        );
    }
}

#[test]
fn a_damaged_list_is_refused() {
    for (bytes, defect) in [
        (&b"kho-v4\0radix-v1\0vmalloc-v11"[..], Defect::Unterminated),
        (&[0; 27], Defect::BadText),
        (b"kho-v4\0\0adix-v1\0vmalloc-v1\0", Defect::BadText),
        (b"\0ho-v4\0radix-v1\0vmalloc-v1\0", Defect::BadText),
        (b"kho-v4\0radix-v1\0vmalloc-v\0\0", Defect::BadText),
        (b"kho-v4\0radix-v1\0kho-v4444\0\0", Defect::BadText),
        (b"kho-v4\0radix-\xff1\0vmalloc-v1\0", Defect::BadText),
        (b"kho-v4\0radix-v1;vmalloc-v1\0", Defect::BadText),
        (b"kho-v4\0radix-\x1b1\0vmalloc-v1\0", Defect::BadText),
        // One string that would be shown as two.
        (b"kho-v4, radix-v1, vmalloc-1\0", Defect::BadText),
    ] {
        let (mut mem, fdt) = built(|b| b.root_compatible = LIST.into());
        let at = prop(&mem, fdt, "", "compatible");
        // Of the last its length, too.
        mem.write(at - 8, &(bytes.len() as u32).to_be_bytes());
        mem.write(at, bytes);
        let damage = read(&mem, fdt).unwrap_err();
        assert_eq!(damage.defect(), defect, "{damage}");
        assert_eq!(
            damage.subject(),
            "root FDT: property `compatible` of node ``"
        );
    }
    // Every byte, with every value: damage or a list.
    let (mem, fdt) = built(|b| b.root_compatible = LIST.into());
    let at = prop(&mem, fdt, "", "compatible");
    for index in 0..27 {
        for value in 0..=u8::MAX {
            let mut mem = mem.clone();
            mem.write(at + index, &[value]);
            if let Ok(root) = read(&mem, fdt) {
                let _ = Handover::admit_root(Registry::linked().unwrap(), &root);
            }
        }
    }
}

#[test]
fn it_says_nothing_of_what_the_root_does_not_need() {
    let side = registry(&[BIT], &[&BIT_2]).side().clone();
    let config = KhoConfig::new().writing(Writing::STRING_LIST).side(side);
    let refused = Kho::new(arena(), &config).map(|_| ()).unwrap_err();
    assert!(matches!(refused, KhoError::Unsaid { token, .. } if token == "bit-v2"));
}
