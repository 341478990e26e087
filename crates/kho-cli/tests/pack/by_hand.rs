//! Directories that were made or changed by hand.

use super::*;

#[test]
fn a_directory_made_by_hand_is_packed() {
    let temp = Temp::new("hand");
    let dir = by_hand(&temp);
    let (image, again) = (temp.path("image"), temp.path("again"));
    good(&["pack", &dir, "--out", &image]);
    let report = inspect(&image);
    assert_eq!(report["luo"]["liveupdate_num"], 1);
    assert_eq!(report["luo"]["flbs"], json!([]));
    assert_eq!(report["kexec_metadata"], Value::Null);
    let sessions = report["luo"]["sessions"].as_array().unwrap();
    let names: Vec<_> = sessions.iter().map(|session| &session["name"]).collect();
    assert_eq!(names, ["none", "vm"]);
    let files = sessions[1]["files"].as_array().unwrap();
    let found: Vec<_> = files
        .iter()
        .map(|file| {
            (
                file["token"].as_u64().unwrap(),
                file["size"].as_u64().unwrap(),
            )
        })
        .collect();
    // In order of their names: 00..02.bin, another.img, disk.img, ff.bin, link, sparse.
    assert_eq!(
        found,
        [
            (2, 3),
            (1, 0),
            (3, 2_500_000),
            (255, 3),
            (4, 2_500_000),
            (5, (3 << 20) + 1)
        ]
    );
    assert!(
        files
            .iter()
            .all(|file| file["pos"] == 0 && file["seals"] == 0)
    );
    // 2500000 bytes are 611 pages.
    let orders = json!([[9, 1], [6, 1], [5, 1], [1, 1], [0, 1]]);
    assert_eq!(files[2]["folio_orders"], orders);
    read(&["restore", "--out", &again], &image);
    for (name, token) in [("disk.img", 3), ("ff.bin", 255), ("link", 4), ("sparse", 5)] {
        let packed = fs::read(Path::new(&dir).join("vm").join(name)).unwrap();
        let restored = fs::read(format!("{again}/vm/{token:016x}.bin")).unwrap();
        assert!(packed == restored, "{name}");
    }
    // Only where the file system knows holes: one page of data, and the file's end.
    let sparse = fs::metadata(Path::new(&dir).join("vm/sparse")).unwrap();
    if sparse.blocks() * 512 == 4096 {
        let orders = json!([[null, 512], [0, 1], [null, 256]]);
        assert_eq!(files[5]["folio_orders"], orders);
    }
    // What was restored of it is packed into the same.
    let second = temp.path("second");
    good(&["pack", &again, "--out", &second]);
    assert_eq!(inspect(&second)["luo"], report["luo"]);
}

#[test]
fn a_manifest_may_say_little() {
    let temp = Temp::new("little");
    let image = temp.path("image");
    let dir = of_manifest(&temp, &least());
    good(&["pack", &dir, "--out", &image]);
    let report = inspect(&image);
    let luo = &report["luo"];
    assert_eq!(luo["liveupdate_num"], 1);
    assert_eq!(luo["compatible"], "luo-v5");
    let files = &luo["sessions"][0]["files"];
    assert_eq!(files[0]["folio_orders"], json!([[4, 1], [1, 1]]));
    assert_eq!(files[1]["pos"], 7);
    assert_eq!(files[1]["seals"], 6);
    assert_eq!(luo["sessions"][1]["count"], 0);

    // Nothing at all: a handover without LUO.
    let dir = of_manifest(&temp, &json!({ "format": "kho-restore-v1" }));
    good(&["pack", &dir, "--out", &image, "--force"]);
    let report = inspect(&image);
    assert_eq!(report["luo"], Value::Null);
    assert_eq!(report["subtrees"], json!({}));
    let again = temp.path("again");
    read(&["restore", "--out", &again], &image);
    good(&["pack", &again, "--out", &image, "--force"]);
    assert_eq!(inspect(&image)["luo"], Value::Null);

    // Numbers, a release, and objects of other counts than there are files.
    let mut value = least();
    value["liveupdate_num"] = json!(u64::MAX);
    value["kexec_metadata"] = json!({ "previous_release": "9.8-größe", "kexec_count": u32::MAX });
    let flbs = json!([
        { "name": "one-v1", "data": 1, "count": 1 },
        { "name": "two-v2", "data": u64::MAX, "count": 2 },
        { "name": "another-v1", "data": 0, "count": 1 }
    ]);
    value["flbs"] = flbs.clone();
    let dir = of_manifest(&temp, &value);
    good(&["pack", &dir, "--out", &image, "--force"]);
    let report = inspect(&image);
    assert_eq!(report["luo"]["flbs"], flbs);
    assert_eq!(report["luo"]["liveupdate_num"], u64::MAX);
    assert_eq!(report["kexec_metadata"]["previous_release"], "9.8-größe");
    assert_eq!(report["kexec_metadata"]["kexec_count"], u32::MAX);
}

#[test]
fn contents_may_be_changed() {
    let temp = Temp::new("changed");
    let (dir, image) = (temp.path("dir"), temp.path("image"));
    let capture = capture_path("small.core.zst");
    let capture = capture.to_str().unwrap();
    good(&["restore", capture, "--out", &dir]);
    let path = Path::new(&dir).join("session-1/0000000100000008.bin");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"changed", 5000).unwrap();
    good(&["pack", &dir, "--out", &image]);
    let again = temp.path("again");
    read(&["restore", "--out", &again], &image);
    let restored = fs::read(format!("{again}/session-1/0000000100000008.bin")).unwrap();
    assert_eq!(&restored[5000..5007], b"changed");

    // With a checksum beside it that is refused.
    good(&["restore", capture, "--out", &dir, "--force", "--hash"]);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"changed", 5000).unwrap();
    let output = kho(&["pack", &dir, "--out", &image, "--force"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    has(&stderr, "0000000100000008.bin");
    has(&stderr, "sha256");
}

#[test]
fn a_part_of_a_handover_is_packed() {
    let temp = Temp::new("part");
    let (dir, image) = (temp.path("dir"), temp.path("image"));
    let capture = capture_path("small.core.zst");
    let capture = capture.to_str().unwrap();
    good(&["restore", capture, "--session", "session-1", "--out", &dir]);
    let human = good(&["pack", &dir, "--out", &image]);
    let note = "note: FLB `liveupdate-test-flb-v0`: of 12 files, 4 are here";
    assert!(human.contains(note), "{human}");
    let report = inspect(&image);
    assert_eq!(report["luo"]["sessions"].as_array().unwrap().len(), 1);
    let counts: Vec<_> = report["luo"]["flbs"].as_array().unwrap().iter().collect();
    assert!(counts.len() == 3 && counts.iter().all(|flb| flb["count"] == 4));
    let entry = json_file(format!("{image}.json"));
    assert_eq!(entry["notes"].as_array().unwrap().len(), 3);

    // A part without files has no objects.
    let mut value = json_file(Path::new(&dir).join("manifest.json"));
    value["sessions"][0]["files"] = json!([]);
    fs::write(Path::new(&dir).join("manifest.json"), value.to_string()).unwrap();
    good(&["pack", &dir, "--out", &image, "--force"]);
    assert_eq!(inspect(&image)["luo"]["flbs"], json!([]));
}

#[test]
fn memory_that_is_too_small_says_how_much_is_needed() {
    let temp = Temp::new("memory");
    let image = temp.path("image");
    // A little more, and a little less, than 4 MiB with all that is about it; of several orders.
    for pages in [10, 990, 1100, 40_000] {
        let file = fs::File::create(temp.file("dir/s/file", b"")).unwrap();
        file.set_len(pages * 4096).unwrap();
        let mut manifest = json!({ "format": "kho-restore-v1" });
        let listed = json!({ "token": 1, "path": "s/file", "nr_folios": pages });
        manifest["sessions"] = json!([{ "name": "s", "files": [listed] }]);
        let dir = temp.path("dir");
        temp.file("dir/manifest.json", manifest.to_string());
        let pack = |memory: u64| {
            let memory = memory.to_string();
            kho(&[
                "pack", &dir, "--out", &image, "--force", "--memory", &memory,
            ])
        };
        let output = pack(8 << 20);
        assert_eq!(output.status.code(), Some(2));
        let stderr = text(&output.stderr);
        let needed = stderr.trim().rsplit_once("at least ").expect(&stderr).1;
        let needed: u64 = needed.strip_suffix(" MiB").unwrap().parse().unwrap();
        let output = pack((needed - 4) << 20);
        assert_eq!(output.status.code(), Some(2), "{pages}: {needed}");
        let output = pack(needed << 20);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let report = inspect(&image);
        assert_eq!(report["luo"]["sessions"][0]["files"][0]["nr_folios"], pages);
        let entry = json_file(format!("{image}.json"));
        let (memory, scratch) = (entry["memory"].as_u64().unwrap(), &entry["scratch"]);
        let end = entry["base"].as_u64().unwrap() + memory;
        let area = |index: usize, part: usize| scratch[index][part].as_u64().unwrap();
        assert_eq!(area(0, 0) + area(0, 1), area(1, 0));
        assert_eq!(area(1, 0) + area(1, 1), end);
        // As little memory as that is the least there is: the last 4 MiB before it are in use.
        let used = entry["in_use"].as_u64().unwrap().next_multiple_of(4 << 20);
        assert_eq!(
            area(0, 0) - entry["base"].as_u64().unwrap(),
            used,
            "{pages}"
        );
        // By default it is as much as a kernel needs to start in.
        good(&["pack", &dir, "--out", &image, "--force"]);
        let memory = json_file(format!("{image}.json"))["memory"].clone();
        assert_eq!(memory, 512 << 20, "{pages}");
        fs::remove_dir_all(dir).unwrap();
    }
}
