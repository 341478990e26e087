//! What is listed as in use, and taken back where the page is full.

use super::*;

#[test]
fn what_is_in_use_is_listed() {
    let version = |name: &str, version, optional| Listed {
        name: name.to_owned(),
        said: Said::Version {
            version,
            minor: 0,
            optional,
        },
    };
    let kho = Kho::new(
        arena(),
        &KhoConfig::new()
            .writing(Writing::TABLE)
            .metadata("7.3.4", 1),
    )
    .unwrap();
    assert_eq!(
        names(&listed(&kho)),
        ["kexec-metadata", "kho", "radix", "vmalloc"]
    );
    assert_eq!(listed(&kho)[0], version("kexec-metadata", 1, true));
    let before = page_of(&kho);

    // The owner of a subtree comes with it, and goes with it.
    let blob = kho.preserver().alloc_preserve(1).unwrap();
    kho.add_subtree("mine", blob, 1).unwrap();
    assert_eq!(
        names(&listed(&kho)),
        [
            "bit",
            "kexec-metadata",
            "kho",
            "middle",
            "owner",
            "radix",
            "vmalloc"
        ]
    );
    assert_eq!(listed(&kho)[4], version("owner", 3, true));
    // Counted: what two brought stays with one.
    kho.announce(&["near", "far"]).unwrap();
    kho.announce(&["near"]).unwrap();
    kho.remove_subtree("mine").unwrap();
    let all = [
        "bit",
        "far",
        "kexec-metadata",
        "kho",
        "middle",
        "near",
        "radix",
        "vmalloc",
    ];
    assert_eq!(names(&listed(&kho)), all);
    kho.withdraw(&["near"]);
    assert_eq!(names(&listed(&kho)), all);
    kho.withdraw(&["near"]);
    assert_eq!(
        names(&listed(&kho)),
        [
            "bit",
            "far",
            "kexec-metadata",
            "kho",
            "middle",
            "radix",
            "vmalloc"
        ]
    );
    kho.withdraw(&["far"]);
    assert_eq!(page_of(&kho), before);
    // What was never listed by this name is not taken back.
    kho.withdraw(&["kho", "radix", "nothing"]);
    assert_eq!(page_of(&kho), before);

    let pages = kho.arena().alloc_pages(1).unwrap();
    kho.reserve_mem("log", pages).unwrap();
    #[rustfmt::skip]
    let with_regions = [
        "kexec-metadata", "kho", "memblock", "radix", "reserve-mem", "vmalloc",
    ];
    assert_eq!(names(&listed(&kho)), with_regions);

    // In the strings' dialects nothing is listed, and the same calls do.
    for dialect in [
        Writing::PLAIN,
        Writing::COMPOSITE,
        Writing::COMPOSITE_DIRECT,
    ] {
        let kho = self::kho(dialect);
        let before = page_of(&kho);
        kho.announce(&["near", "far"]).unwrap();
        assert_eq!(page_of(&kho), before);
        assert!(listed(&kho).is_empty());
    }
}

#[test]
fn what_the_side_does_not_know_is_not_listed() {
    let kho = kho(Writing::FEATURES);
    let before = page_of(&kho);
    let error = kho.announce(&["near", "nothing"]).unwrap_err().to_string();
    assert_eq!(error, "no linked crate registers a component `nothing`");
    assert_eq!(page_of(&kho), before);
    // Nothing of it was counted.
    kho.announce(&["near"]).unwrap();
    kho.withdraw(&["near"]);
    assert_eq!(page_of(&kho), before);
}

#[test]
fn a_full_page_takes_no_more_and_stays_as_it_is() {
    for dialect in [Writing::TABLE, Writing::FEATURES] {
        let kho = kho(dialect);
        let blob = || kho.preserver().alloc_preserve(1).unwrap();
        // As many subtrees as fit, then ever smaller ones.
        let mut count = 0;
        for len in [25, 15, 9, 5, 2] {
            while kho
                .add_subtree(&format!("s{count:0<len$}"), blob(), 1)
                .is_ok()
            {
                count += 1;
            }
        }
        let before = page_of(&kho);
        let keys = kho.preserver().keys();
        let error = kho.announce(&["far"]).unwrap_err();
        assert!(matches!(error, KhoError::FdtFull { .. }), "{error}");
        assert!(
            error.to_string().contains("does not fit the root FDT"),
            "{error}"
        );
        let failed = kho.add_subtree("mine", blob(), 1).unwrap_err();
        assert!(matches!(failed.error, KhoError::FdtFull { .. }));
        drop(failed);
        let pages = kho.arena().alloc_pages(1).unwrap();
        kho.reserve_mem("log", pages).unwrap_err();
        assert_eq!(
            (page_of(&kho), kho.preserver().keys()),
            (before.clone(), keys)
        );
        // Nothing was counted: with room, one announcement is undone by one withdrawal.
        for number in 0..3 {
            drop(kho.remove_subtree(&format!("s{number:0<25}")).unwrap());
        }
        let roomy = page_of(&kho);
        kho.announce(&["far"]).unwrap();
        assert!(names(&listed(&kho)).contains(&"middle"));
        kho.withdraw(&["far"]);
        assert_eq!(page_of(&kho), roomy);
    }
}

#[test]
fn a_name_that_no_property_has_is_not_listed() {
    static LONG: Component = Component::new(
        "a-component-with-a-name-of-many-bytes",
        &[Generation::new(1)],
    );
    let side = registry(&[], &[&LONG]).side().clone();
    let config = KhoConfig::new().writing(Writing::TABLE).side(side);
    let kho = Kho::new(arena(), &config).unwrap();
    let before = page_of(&kho);
    let error = kho.announce(&[LONG.name]).unwrap_err();
    assert_eq!(error, KhoError::LongName(LONG.name.to_owned()));
    assert!(
        error
            .to_string()
            .ends_with("a property's name has at most 31 bytes")
    );
    assert_eq!(page_of(&kho), before);
}
