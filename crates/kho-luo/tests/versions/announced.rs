//! What a handover says of its versions, and what is read by it.

use super::*;

#[test]
fn the_header_is_as_long_as_its_string() {
    for (dialect, string, size) in [
        (Writing::PLAIN, "luo-v5", 32),
        (Writing::TABLE, "luo-v5", 32),
        (Writing::FEATURES, "luo-v5", 32),
        (Writing::COMPOSITE, "luo-v5;block-v1", 40),
        (Writing::COMPOSITE_DIRECT, "luo-v5;block-v1", 40),
    ] {
        let (handed, entry) = written(dialect, old().side());
        let handover = Handover::open(&handed, entry).unwrap();
        let subtree = handover.subtree("LUO").unwrap();
        assert_eq!(subtree.size, size, "{dialect}");
        let mut field = string.as_bytes().to_vec();
        field.resize(size as usize - 24, 0);
        assert_eq!(*handed.bytes(subtree.addr, field.len()).unwrap(), field);
        // Behind it the count of updates.
        assert_eq!(
            handed
                .bytes(PhysAddr::new(subtree.addr.get() + field.len() as u64), 8)
                .unwrap()[0],
            1
        );
    }
}

/// How the body of a handover that was built reads: the version of its blocks, or why not.
fn body(built: &Built, registry: &Registry) -> Result<u32, String> {
    let entry = Entry::new(PhysAddr::new(built.fdt));
    let handover = Handover::open(&built.mem, OpenOptions::new(entry).registry(registry)).unwrap();
    let mut reading = handover.reading().unwrap();
    let (manifest, luo) = survey(&handover, &mut reading, registry).map_err(|e| e.to_string())?;
    let luo = luo.unwrap();
    match luo.body() {
        Some(body) => Ok(body.block_version()),
        None => {
            // It is not for want of a verdict.
            let admitted = registry.admit(&policy::GlobalVersion, manifest);
            Err(luo.restore(&admitted.unwrap()).unwrap_err().to_string())
        }
    }
}

#[test]
fn blocks_are_read_as_the_version_that_is_said() {
    let nothing = |_: &mut Builder| {};
    let (old, new) = (old(), new());
    let two_is_unknown = "no code here reads the layout of block-v2: expected block-v1";
    type More = fn(&mut Builder);
    type Read = Result<u32, &'static str>;
    #[rustfmt::skip]
    let cases: &[(u32, &str, More, Read, Read)] = &[
        (1, "luo-v5", nothing, Ok(1), Ok(1)),
        (1, "luo-v5;block-v1", nothing, Ok(1), Ok(1)),
        (2, "luo-v5;block-v2", nothing, Ok(2), Err(two_is_unknown)),
        (2, "luo-v5", |b| b.table("block", 2, 0), Ok(2), Err(two_is_unknown)),
        // The string is nearer than the table.
        (1, "luo-v5;block-v1", |b| b.table("block", 2, 0), Ok(1), Ok(1)),
        // Masks say no number.
        (1, "luo-v5", |b| b.features("block", [3, 1, 3]), Ok(1), Ok(1)),
    ];
    for (version, luo, more, by_new, by_old) in cases {
        let built = built(*version, luo, more);
        assert_eq!(body(&built, &new), by_new.map_err(str::to_owned), "{luo}");
        assert_eq!(body(&built, &old), by_old.map_err(str::to_owned), "{luo}");
    }
    // What asks for features that nobody here supports is not read.
    let built_with = built(1, "luo-v5", |b| b.features("block", [3, 3, 3]));
    let entry = Entry::new(PhysAddr::new(built_with.fdt));
    let options = OpenOptions::new(entry).registry(&new);
    let handover = Handover::open(&built_with.mem, options).unwrap();
    let mut reading = handover.reading().unwrap();
    let luo = Luo::read(&handover, &mut reading, &new).unwrap().unwrap();
    assert!(luo.body().is_none());
    // Whatever is nearer: what contradicts itself is not restored.
    for (luo, table) in [("luo-v5;block-v1", 2), ("luo-v5;block-v2", 1)] {
        let built = built(1, luo, |b| b.table("block", table, 1));
        let entry = Entry::new(PhysAddr::new(built.fdt));
        let handover = Handover::open(&built.mem, OpenOptions::new(entry).registry(&new)).unwrap();
        let mut manifest = Manifest::new();
        handover.add_to(&mut manifest);
        manifest.add(Carrier::Luo, luo, Place::default());
        for policy in policy::ALL {
            let admitted = new.admit(*policy, manifest.clone());
            let refused = match admitted {
                Err(refused) => refused,
                // In its turn.
                Ok(admitted) => {
                    admitted.require("block", 1).unwrap_err();
                    admitted.require("block", 2).unwrap_err();
                    admitted.refused().unwrap()
                }
            };
            assert!(
                refused.to_string().contains("a string says version"),
                "{refused}"
            );
        }
    }
    // What is said is not what is there.
    for (version, luo) in [(2, "luo-v5"), (1, "luo-v5;block-v2")] {
        let error = body(&built(version, luo, nothing), &new).unwrap_err();
        assert!(error.starts_with("LUO: "), "{error}");
    }
    let error = body(&built(1, "luo-v5;block-v3", nothing), &new).unwrap_err();
    assert_eq!(
        error,
        "no code here reads the layout of block-v3: expected block-v1 or block-v2"
    );
    // A reader that reads version 2 alone does not take a plain string for it.
    static ONLY_2: Component = Component::new("block", &[Generation::new(2)]);
    let error = body(&built(1, "luo-v5", nothing), &registry(&[&NOTE, &ONLY_2])).unwrap_err();
    assert_eq!(
        error,
        "no code here reads the layout of block-v1: expected block-v2"
    );
}

#[test]
fn damaged_headers_are_named_by_the_set_they_are_in() {
    let mut built = built(2, "luo-v5;block-v2", |_| {});
    let new = new();
    let entry = Entry::new(PhysAddr::new(built.fdt));
    let handover = Handover::open(&built.mem, OpenOptions::new(entry).registry(&new)).unwrap();
    let luo = handover.subtree("LUO").unwrap().addr.get();
    drop(handover);
    let sessions = built.mem.u64(luo + 24);
    let files = built.mem.u64(sessions + 24 + 64);
    for (block, set, size) in [
        (sessions, "session set", 80),
        (files, "session `vm`: file set", 64),
    ] {
        for wrong in [0u32, 1, size - 1, size + 1, 4096, u32::MAX] {
            built.mem.set_u32(block + 16, wrong);
            let error = body(&built, &new).unwrap_err();
            let expected = format!(
                "LUO: {set}: block 0: entry_size has an impossible value at {:#x}: \
                 found {wrong} bytes, expected {size} bytes",
                block + 16
            );
            assert_eq!(error, expected);
        }
        built.mem.set_u32(block + 16, size);
        built.mem.set_u32(block + 20, 1);
        let error = body(&built, &new).unwrap_err();
        assert!(
            error.contains("reserved has an impossible value"),
            "{error}"
        );
        built.mem.set_u32(block + 20, 0);
        let before = built.mem.u64(block + 8);
        for wrong in [0, before + 100, u64::MAX] {
            built.mem.set_u64(block + 8, wrong);
            let error = body(&built, &new).unwrap_err();
            assert!(error.contains("count has an impossible count"), "{error}");
        }
        built.mem.set_u64(block + 8, before);
        assert_eq!(body(&built, &new), Ok(2));
    }
}
