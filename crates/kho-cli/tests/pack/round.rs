//! What was restored is packed, and gives the same again.

use super::*;

#[rustfmt::skip]
const CAPTURES: &[&str] = &[
    "small", "files", "sessions", "thp", "none", "zero", "reserve", "reserve-odd",
];

/// The strings of the plain dialect as those of the composite one.
fn composite(value: &mut Value) {
    match value {
        Value::String(string) => {
            let composite = match string.as_str() {
                "kho-v4" => "kho-v4;radix-v1;vmalloc-v1",
                "luo-v5" => "luo-v5;block-v1",
                "memfd-v2" => "memfd-v2;vmalloc-v1",
                "plain" => "composite",
                _ => return,
            };
            *string = composite.to_owned();
        }
        Value::Array(list) => list.iter_mut().for_each(composite),
        Value::Object(members) => members.values_mut().for_each(composite),
        _ => {}
    }
}

/// Restores a capture, packs it in a format and a dialect, and restores that.
fn goes_round(name: &str, ways: &[(&str, &str)]) {
    let temp = Temp::new(name);
    let capture = capture_path(&format!("{name}.core.zst"));
    let capture = capture.to_str().unwrap();
    let dir = temp.path("dir");
    good(&["restore", capture, "--hash", "--out", &dir]);
    let original = json_of(&["inspect", capture, "--json"]);
    for (format, dialect) in ways {
        let case = format!("{name} {format} {dialect}");
        let (image, again) = (temp.path("image"), temp.path("again"));
        let args = ["pack", &dir, "--out", &image, "--force"];
        good(&[&args[..], &["--format", format, "--dialect", dialect]].concat());
        read(&["restore", "--hash", "--out", &again], &image);
        let (mut before, mut report) = (manifest(&dir), original.clone());
        if *dialect == "composite" {
            composite(&mut before);
            composite(&mut report);
        } else {
            before["dialect"] = Value::from(*dialect);
        }
        assert_eq!(manifest(&again), before, "{case}");
        same_files(&dir, &again, &before);
        let packed = inspect(&image);
        for part in ["luo", "kexec_metadata", "compatible"] {
            assert_eq!(packed[part], report[part], "{part} of {case}");
        }
        assert_eq!(packed["verdict"]["decision"], "accept", "{case}");
        let listed = packed["listed"].as_object();
        let listed = listed.map(|listed| listed.keys().map(String::as_str).collect::<Vec<_>>());
        let handlers = before["sessions"].as_array().unwrap();
        let memfds = handlers.iter().any(|session| session["files"] != json!([]));
        let mut expected = vec![
            "block",
            "kexec-metadata",
            "kho",
            "luo",
            "memfd",
            "radix",
            "vmalloc",
        ];
        // What is in use, and nothing else.
        expected.retain(|name| memfds || *name != "memfd");
        match *dialect {
            "table" | "features" => assert_eq!(listed.unwrap(), expected, "{case}"),
            _ => assert_eq!(listed, None, "{case}"),
        }
        // Nothing but LUO's own and the metadata is preserved, and nothing else is stored.
        assert_eq!(packed["unclaimed"]["pages"], 0, "{case}");
        let pages = &packed["preserved"];
        let in_use = pages["pages"].as_u64().unwrap() + pages["radix_nodes"].as_u64().unwrap();
        let entry = json_file(format!("{image}.json"));
        assert_eq!(
            entry["in_use"],
            (in_use + 1) * 4096,
            "{case}: and the scratch table"
        );
        let blocks = Path::new(&image).metadata().unwrap().blocks();
        assert!(blocks * 512 < 20 << 20, "{case}: {blocks} blocks");
        fs::remove_dir_all(again).unwrap();
    }
}

#[test]
fn what_real_kernels_handed_over_goes_round() {
    let ways = [
        ("elf", "plain"),
        ("raw", "composite"),
        ("raw", "plain"),
        ("elf", "composite"),
        ("raw", "table"),
        ("elf", "features"),
    ];
    for name in CAPTURES {
        goes_round(name, &ways);
    }
}

#[test]
fn half_a_gigabyte_goes_round() {
    goes_round("chunks", &[("elf", "plain"), ("raw", "composite")]);
}

#[test]
fn an_elf_image_is_read_without_any_address() {
    let temp = Temp::new("elf");
    let (dir, image) = (temp.path("dir"), temp.path("image"));
    let capture = capture_path("small.core.zst");
    good(&["restore", capture.to_str().unwrap(), "--out", &dir]);
    let human = good(&["pack", &dir, "--out", &image]);
    let entry = json_file(format!("{image}.json"));
    assert_eq!(human.lines().count(), 2, "{human}");
    assert!(human.starts_with("packed 12 files of 3 sessions, 229.6 KiB, into "));
    let report = json_of(&["inspect", &image, "--json"]);
    for key in ["fdt_addr", "fdt_size", "scratch_addr", "scratch_size"] {
        assert_eq!(report["entry"][key], entry[key], "{key}");
    }
    assert_eq!(report["scratch_source"], "elimination");
    assert_eq!(report["scratch"], entry["scratch"]);
    let mib = 1u64 << 20;
    let (base, memory) = (512 * mib, 512 * mib);
    assert_eq!(entry["base"], json!(base));
    assert_eq!(entry["memory"], json!(memory));
    let scratch = json!([
        [base + memory - 160 * mib, 96 * mib],
        [base + memory - 64 * mib, 64 * mib]
    ]);
    assert_eq!(entry["scratch"], scratch);
    assert_eq!(entry["format"], "elf");
    assert_eq!(report["subtrees"]["LUO"]["size"], 32);

    // The same for programs, elsewhere in memory.
    #[rustfmt::skip]
    let args = [
        "--json", "--force", "--base", "0x140000000", "--memory", "1G",
    ];
    let printed = json_of(&[&["pack", &dir, "--out", &image], &args[..]].concat());
    assert_eq!(printed, json_file(format!("{image}.json")));
    assert_eq!(printed["base"], 0x1_4000_0000u64);
    assert_eq!(printed["memory"], 1 << 30);
    let scratch = 0x1_8000_0000u64 - 160 * mib;
    assert_eq!(printed["scratch"][0][0], scratch);
    assert!(printed["fdt_addr"].as_u64().unwrap() >= 0x1_4000_0000);
    // Page 0 is none: nothing lies there.
    let printed = json_of(&[
        "pack", &dir, "--out", &image, "--force", "--json", "--base", "0",
    ]);
    assert!(printed["fdt_addr"].as_u64().unwrap() > 4096);
    assert_eq!(inspect(&image)["luo"]["sessions"][2]["count"], 4);
    assert_eq!(
        names_in(&temp),
        ["dir", "image", "image.json"].map(String::from).into()
    );
}

#[test]
fn the_manifest_says_the_dialect() {
    let temp = Temp::new("dialect");
    let mut b = Builder::new();
    b.root_compatible = "kho-v4;radix-v1;vmalloc-v1".into();
    b.luo_compatible = "luo-v5;block-v1".into();
    let data = b.memfd(&MemfdSpec::new(vec![5; 9000]));
    b.session(b"s", &[Builder::file("memfd-v2;vmalloc-v1", data, 1)]);
    let core = temp.file("core", b.finish().mem.to_elf());
    let (dir, image) = (temp.path("dir"), temp.path("image"));
    good(&["restore", &core, "--out", &dir]);
    good(&["pack", &dir, "--out", &image]);
    let report = inspect(&image);
    assert_eq!(report["compatible"], "kho-v4;radix-v1;vmalloc-v1");
    assert_eq!(report["luo"]["compatible"], "luo-v5;block-v1");
    let file = &report["luo"]["sessions"][0]["files"][0];
    assert_eq!(file["compatible"], "memfd-v2;vmalloc-v1");
    assert_eq!(report["subtrees"]["LUO"]["size"], 40);
    assert_eq!(report["kexec_metadata"], Value::Null, "none was there");
    good(&[
        "pack",
        &dir,
        "--out",
        &image,
        "--force",
        "--dialect",
        "plain",
    ]);
    assert_eq!(inspect(&image)["luo"]["compatible"], "luo-v5");
    // What stands beside the strings comes round without being asked for.
    for dialect in ["table", "features"] {
        good(&[
            "pack",
            &dir,
            "--out",
            &image,
            "--force",
            "--dialect",
            dialect,
        ]);
        let again = temp.path(dialect);
        good(&["restore", &image, "--out", &again]);
        good(&["pack", &again, "--out", &image, "--force"]);
        assert_eq!(inspect(&image)["dialect"], dialect);
        let manifest = Path::new(&again).join("manifest.json");
        let altered = fs::read_to_string(&manifest)
            .unwrap()
            .replace(dialect, "tablet");
        fs::write(&manifest, altered).unwrap();
        let output = kho(&["pack", &again, "--out", &image, "--force"]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(
            error.contains("plain, composite, composite-direct, table, features"),
            "{error}"
        );
    }
}

#[test]
fn odd_names_and_holes_go_round() {
    let temp = Temp::new("odd");
    let mut b = Builder::new();
    let names: &[&[u8]] = &[
        b"../../etc/passwd",
        b".",
        b"a b%",
        b"n\xff\n",
        "größe".as_bytes(),
    ];
    for name in names {
        let data = b.memfd(&MemfdSpec::new(name.to_vec()));
        b.session(name, &[Builder::file("memfd-v2", data, u64::MAX)]);
    }
    let mut contents = vec![0; 5 * 4096 + 1];
    contents[4096..8192].fill(1);
    contents[4 * 4096..].fill(2);
    let spec = MemfdSpec {
        holes: vec![0, 2, 3],
        ..MemfdSpec::new(contents)
    };
    b.session_of("holes", &[spec]);
    let large = MemfdSpec {
        order: 3,
        ..MemfdSpec::new(vec![3; 100_000])
    };
    b.session_of("large", &[large]);
    let core = temp.file("core", b.finish().mem.to_elf());
    let (dir, image, again) = (temp.path("dir"), temp.path("image"), temp.path("again"));
    good(&["restore", &core, "--hash", "--out", &dir]);
    good(&["pack", &dir, "--out", &image]);
    read(&["restore", "--hash", "--out", &again], &image);
    let listed = manifest(&dir);
    assert_eq!(manifest(&again), listed);
    same_files(&dir, &again, &listed);
    let orders = |session: usize| &listed["sessions"][session]["files"][0]["folio_orders"];
    let holes = json!([[null, 1], [0, 1], [null, 2], [0, 2]]);
    assert_eq!(*orders(names.len()), holes);
    assert_eq!(*orders(names.len() + 1), json!([[3, 4]]));

    // Without the manifest the names are the same, and nothing else is known.
    fs::remove_file(Path::new(&dir).join("manifest.json")).unwrap();
    good(&["pack", &dir, "--out", &image, "--force"]);
    let report = inspect(&image);
    let sessions = report["luo"]["sessions"].as_array().unwrap();
    let found = sessions.iter();
    let found: BTreeSet<_> = found.map(|session| session["name"].as_str()).collect();
    for listed in listed["sessions"].as_array().unwrap() {
        assert!(
            found.contains(&listed["name"].as_str()),
            "{}",
            listed["name"]
        );
    }
    assert_eq!(found.len(), names.len() + 2);
    assert_eq!(sessions[0]["files"][0]["token"], u64::MAX);
}

/// The engine's side of it: objects of another system's are written as they stand.
#[test]
fn foreign_flbs_are_written_as_they_stand() {
    use kho_core::{Handover, Kho, KhoConfig};
    use kho_luo::{Handlers, Luo, LuoError, Orchestrator};
    use kho_mem::{Arena, ArenaConfig, PhysAddr};
    use kho_memfd::{MemFile, MemfdHandler};

    let config = ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20);
    let arena = Arena::heap(&config).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let luo = Orchestrator::new(kho, Handlers::new().with(MemfdHandler), 0).unwrap();
    let flb = |name: &str, data: u64, count: u64| (name.to_owned(), data, count);
    let long = "x".repeat(48);
    for refused in [
        vec![flb("", 0, 1)],
        vec![flb(&long, 0, 1)],
        vec![flb("a\n", 0, 1)],
        vec![flb("a", 0, 0)],
        vec![flb("a", 0, 1), flb("a", 1, 1)],
        (0..64).map(|n| flb(&n.to_string(), 0, 1)).collect(),
    ] {
        let result = luo.clone().with_foreign_flbs(refused.clone());
        assert!(matches!(result, Err(LuoError::BadFlb(_))), "{refused:?}");
    }
    let luo = luo
        .with_foreign_flbs([flb(&long[1..], u64::MAX, 2)])
        .unwrap();
    let luo = luo.with_foreign_flbs([flb("b-v1", 7, 1)]).unwrap();
    assert!(
        luo.clone().with_foreign_flbs([flb("b-v1", 7, 1)]).is_err(),
        "taken"
    );
    let session = luo.create_session("s").unwrap();
    for token in 0..2 {
        // With one file less there is an object of more files than there are.
        let frozen = luo.freeze();
        assert!(matches!(frozen, Err(LuoError::BadFlb(_))), "{token}");
        let file = std::sync::Arc::new(MemFile::new(&arena));
        file.write_at(0, b"file").unwrap();
        session.preserve(token, file).unwrap();
    }
    let frozen = luo.freeze().unwrap();
    assert!(luo.clone().with_foreign_flbs([]).is_err(), "frozen");
    frozen.unfreeze();
    let frozen = luo.freeze().unwrap();
    drop((session, luo, arena));
    let (arena, entry) = frozen.hand_over().unwrap();
    let handed = arena.into_handed().unwrap();
    let handover = Handover::open(&handed, entry).unwrap();
    let mut reading = handover.reading().unwrap();
    let luo = Luo::read(
        &handover,
        &mut reading,
        kho_luo::Registry::linked().unwrap(),
    )
    .unwrap()
    .unwrap();
    let flbs = luo.body().unwrap().flbs().iter();
    let found: Vec<_> = flbs
        .map(|flb| (flb.name.clone(), flb.data, flb.count))
        .collect();
    assert_eq!(found, [flb(&long[1..], u64::MAX, 2), flb("b-v1", 7, 1)]);
}
