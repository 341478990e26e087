//! What a reader takes a list for.

use kho_compat::{Policy, policy};

use super::*;

#[test]
fn a_node_with_a_blob_is_a_subtree_whatever_its_name() {
    for name in ["compat", "features"] {
        let (mem, fdt) = built(|b| {
            let blob = b.blob(b"hello");
            b.subtree(name, blob, 5);
        });
        let handover = Handover::open(&mem, Entry::new(PhysAddr::new(fdt))).unwrap();
        assert_eq!(handover.subtree(name).map(|subtree| subtree.size), Some(5));
        assert!(handover.listed().is_empty());

        // This side does not make such a one.
        let kho = kho(Writing::PLAIN);
        let blob = kho.preserver().alloc_preserve(5).unwrap();
        let failed = kho.add_subtree(name, blob, 5).unwrap_err();
        assert_eq!(failed.error, KhoError::Reserved(name.to_owned()));
    }
    // Both lists at once, and neither a subtree.
    let (mem, fdt) = built(|b| {
        b.table("kho", 4, 0);
        b.features("kho", [15, 15, 15]);
    });
    let handover = Handover::open(&mem, Entry::new(PhysAddr::new(fdt))).unwrap();
    assert_eq!((handover.listed().len(), handover.subtrees().len()), (2, 0));
}

#[test]
fn a_version_is_what_a_string_says_or_else_the_table() {
    let (mem, fdt) = built(|b| {
        b.table("bit", 7, 0);
        b.features("other", [1, 1, 1]);
    });
    let handover = Handover::open(&mem, Entry::new(PhysAddr::new(fdt))).unwrap();
    let cases = [
        ("bit", "", Some(7)),
        ("bit", "luo-v5", Some(7)),
        ("bit", "luo-v5;bit-v2", Some(2)),
        ("bit", "bit-v3", Some(3)),
        ("bit", "luo-v5;bit-v2;", Some(7)),
        ("luo", "luo-v5;bit-v2", Some(5)),
        ("other", "luo-v5;bit-v2", None),
        ("block", "luo-v5;bit-v2", None),
    ];
    for (need, compatible, version) in cases {
        assert_eq!(
            handover.announced().in_string(compatible).version_of(need),
            version,
            "{need} {compatible}"
        );
    }
}

#[test]
fn what_the_root_leads_to_is_judged_before_it_is_followed() {
    let open = |mem: &Memory, fdt, registry: &Registry| {
        Handover::open(
            mem,
            OpenOptions::new(Entry::new(PhysAddr::new(fdt))).registry(registry),
        )
        .map(|_| ())
    };
    let linked = Registry::linked().unwrap();
    for (table, message) in [
        (
            ("radix", 2),
            "root FDT, compat/radix at 0x10000000: found radix-v2, expected radix-v1",
        ),
        (("kho", 5), "found kho-v5, expected kho-v4"),
    ] {
        let (mem, fdt) = built(|b| b.table(table.0, table.1, 0));
        let error = open(&mem, fdt, linked).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    // What the root does not need is for the policy that judges the rest.
    let (mem, fdt) = built(|b| {
        b.table("memfd", 9, 0);
        b.table("unknown", 1, 0);
    });
    open(&mem, fdt, linked).unwrap();
    // By another registry, another verdict: but no policy makes a layout readable that no code here reads.
    static RADIX: Component = Component::new(
        "radix",
        &[Generation::new(1).read_only(), Generation::new(2)],
    );
    let (mem, fdt) = built(|b| b.table("radix", 2, 0));
    let error = open(&mem, fdt, &registry(&["radix"], &[&RADIX])).unwrap_err();
    let no_reader = "no code here reads the layout of";
    assert_eq!(
        error.to_string(),
        format!("{no_reader} radix-v2: expected radix-v1")
    );
    let (mem, fdt) = built(|b| b.root_compatible = "kho-v5".into());
    open(&mem, fdt, linked).unwrap_err();
    static KHO: Component = Component::new(
        "kho",
        &[
            Generation::new(4).read_only(),
            Generation::new(5).needs(&[("radix", 1), ("vmalloc", 1)]),
        ],
    )
    .carried_in(Carrier::Root);
    let error = open(&mem, fdt, &registry(&["kho"], &[&KHO])).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{no_reader} kho-v5: expected kho-v4")
    );
}

#[test]
fn masks_say_what_is_read_where_the_policy_asks_them() {
    let masks = |b: &mut Builder| {
        b.root_compatible = "kho-v5".into();
        b.features("kho", [15, 15, 15]);
        b.features("radix", [1, 1, 1]);
    };
    let open = |mem: &Memory, fdt, policy: &dyn Policy| {
        let options = OpenOptions::new(Entry::new(PhysAddr::new(fdt)));
        Handover::open(mem, options.policy(policy)).map(|_| ())
    };
    let (mem, fdt) = built(masks);
    // The number of a version that nobody here knows is not looked at.
    open(&mem, fdt, &policy::FeatureMasks).unwrap();
    assert!(matches!(
        open(&mem, fdt, &policy::SemverRange),
        Err(OpenError::Incompatible(_))
    ));
    let (mem, fdt) = built(|b| {
        masks(b);
        b.features("radix", [3, 3, 3]);
    });
    open(&mem, fdt, &policy::FeatureMasks).unwrap_err();
    // Without masks it is the number that counts.
    let (mem, fdt) = built(|b| b.root_compatible = "kho-v5".into());
    open(&mem, fdt, &policy::FeatureMasks).unwrap_err();
}
