//! What can not be packed.

use super::*;

/// What is changed in the least manifest, and what is said of it: where, found, expected.
type Refused<'c> = (&'c str, Value, [&'c str; 3]);

#[test]
fn what_can_not_be_packed_is_refused() {
    let temp = Temp::new("refused");
    let (image, long) = (temp.path("image"), "x".repeat(64));
    let file = "manifest.json, sessions[0].files[1]";
    let flb = |name: &str, count: u64| json!([{ "name": name, "data": 0, "count": count }]);
    let orders = |list: Value, found: &'static str, expected: &'static str| {
        (
            "/sessions/0/files/1/folio_orders",
            list,
            [
                "manifest.json, sessions[0].files[1].folio_orders",
                found,
                expected,
            ],
        )
    };
    let cases: &[Refused<'_>] = &[
        // The whole.
        ("", json!([]), ["manifest.json", "[]", "an object"]),
        (
            "/format",
            json!("kho-restore-v2"),
            [
                "manifest.json, format",
                "\"kho-restore-v2\"",
                "kho-restore-v1",
            ],
        ),
        (
            "/sessions",
            json!({}),
            ["manifest.json, sessions", "{}", "an array"],
        ),
        (
            "/compatible",
            json!("kho-v5"),
            ["manifest.json, compatible", "\"kho-v5\"", "kho-v4"],
        ),
        (
            "/luo",
            json!("luo-v6"),
            ["manifest.json, luo", "\"luo-v6\"", "luo-v5"],
        ),
        (
            "/luo",
            json!("kho-v4"),
            ["manifest.json, luo", "\"kho-v4\"", "luo-v5"],
        ),
        (
            "/liveupdate_num",
            json!(0),
            ["manifest.json, liveupdate_num", "0", "at least 1"],
        ),
        (
            "/liveupdate_num",
            json!(1.5),
            ["manifest.json, liveupdate_num", "1.5", "a whole number"],
        ),
        (
            "/complete",
            json!(1),
            ["manifest.json, complete", "1", "true or false"],
        ),
        (
            "/kexec_metadata",
            json!({ "version": 2 }),
            ["kexec_metadata.version", "2", "version 1"],
        ),
        (
            "/kexec_metadata",
            json!({ "previous_release": "", "kexec_count": 1 }),
            ["kexec_metadata.previous_release", "\"\"", "1 to 64"],
        ),
        (
            "/kexec_metadata",
            json!({ "previous_release": "7\u{1b}", "kexec_count": 1 }),
            ["kexec_metadata.previous_release", "\\u001b", "printable"],
        ),
        (
            "/kexec_metadata",
            json!({ "previous_release": "7", "kexec_count": 1u64 << 32 }),
            [
                "kexec_metadata.kexec_count",
                "4294967296",
                "up to 4294967295",
            ],
        ),
        (
            "/kexec_metadata",
            json!({ "previous_release": "7" }),
            ["manifest.json, kexec_metadata", "none", "`kexec_count`"],
        ),
        // Objects.
        (
            "/flbs",
            flb("f-v1", 3),
            ["manifest.json, flbs[0].count", "3", "at most 2"],
        ),
        (
            "/flbs",
            flb("f-v1", 0),
            ["manifest.json, flbs[0].count", "0", "at least 1"],
        ),
        (
            "/flbs",
            flb("", 1),
            ["manifest.json, flbs[0].name", "\"\"", "1 to 47"],
        ),
        (
            "/flbs",
            flb(&long, 1),
            ["manifest.json, flbs[0].name", "xxx", "1 to 47"],
        ),
        (
            "/flbs",
            json!([flb("f", 1)[0], flb("f", 2)[0]]),
            ["manifest.json, flbs[1].name", "\"f\"", "of its own"],
        ),
        // Sessions.
        (
            "/sessions/1/name",
            json!("a"),
            ["manifest.json, sessions[1].name", "\"a\"", "of its own"],
        ),
        (
            "/sessions/1/name",
            json!(""),
            ["manifest.json, sessions[1].name", "\"\"", "1 to 63"],
        ),
        (
            "/sessions/1/name",
            json!(long),
            ["manifest.json, sessions[1].name", "64 bytes", "1 to 63"],
        ),
        (
            "/sessions/1/name",
            json!("a\0"),
            ["manifest.json, sessions[1].name", "\\x00", "without a NUL"],
        ),
        (
            "/sessions/1/name_bytes",
            json!("6"),
            ["sessions[1].name_bytes", "\"6\"", "two hexadecimal digits"],
        ),
        (
            "/sessions/1/name_bytes",
            json!("+1"),
            ["sessions[1].name_bytes", "\"+1\"", "two hexadecimal digits"],
        ),
        (
            "/sessions/1/name_bytes",
            json!("61"),
            ["manifest.json, sessions[1].name", "\"b\"", "of its own"],
        ),
        // Files.
        (
            "/sessions/0/files/1/token",
            json!(1),
            [file, "1", "of its own"],
        ),
        (
            "/sessions/0/files/1/token",
            json!("2"),
            [file, "\"2\"", "a whole number"],
        ),
        (
            "/sessions/0/files/1/compatible",
            json!("memfd-v3"),
            [file, "\"memfd-v3\"", "memfd-v2"],
        ),
        (
            "/sessions/0/files/1/compatible",
            json!("fd-v1"),
            [file, "\"fd-v1\"", "memfd-v2"],
        ),
        (
            "/sessions/0/files/1/compatible",
            json!("memfd-v2;zip-v1"),
            [file, "zip-v1", "memfd-v2"],
        ),
        (
            "/sessions/0/files/1/size",
            json!(5001),
            ["dir/a/two", "5000 bytes", "5001 bytes"],
        ),
        (
            "/sessions/0/files/1/pos",
            json!(1u64 << 63),
            [file, "9223372036854775808", "up to 9223372036854775807"],
        ),
        (
            "/sessions/0/files/1/pos",
            json!(-1),
            [file, "-1", "a whole number"],
        ),
        (
            "/sessions/0/files/1/seals",
            json!(0x40),
            [file, "64", "no bit outside 0x3f"],
        ),
        (
            "/sessions/0/files/1/seals",
            json!(1u64 << 32),
            [file, "4294967296", "no bit outside 0x3f"],
        ),
        ("/sessions/0/files/1/flags", json!(1), [file, "1", "0"]),
        (
            "/sessions/0/files/1/sha256",
            json!("abc"),
            [file, "\"abc\"", "64 hexadecimal"],
        ),
        (
            "/sessions/0/files/1/sha256",
            json!("0".repeat(64)),
            ["dir/a/two", "sha256", "0000"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("../outside"),
            [file, "\"../outside\"", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a/../a/two"),
            [file, "\"a/../a/two\"", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("/etc/passwd"),
            [file, "\"/etc/passwd\"", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a/out"),
            [file, "which leads to", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("out/outside"),
            [file, "which leads to", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!(""),
            [file, "\"\"", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a/none"),
            [file, "\"a/none\"", "a file there"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a"),
            [file, "\"a\"", "a regular file"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a/pipe"),
            [file, "\"a/pipe\"", "a regular file"],
        ),
        // Folios of a file of two pages.
        (
            "/sessions/0/files/1/nr_folios",
            json!(3),
            [file, "3", "2, its pages"],
        ),
        orders(json!({}), "{}", "an array"),
        orders(json!([[0, 1]]), "[[0,1]]", "up to page 2"),
        orders(json!([[0, 3]]), "[0,3]", "behind the file's 2 pages"),
        orders(
            json!([[0, 2], [0, 1]]),
            "[0,1]",
            "behind the file's 2 pages",
        ),
        orders(json!([[11, 1]]), "[11,1]", "0 to 10"),
        orders(json!([[256, 1]]), "[256,1]", "0 to 10"),
        orders(json!([[-1, 1]]), "[-1,1]", "0 to 10"),
        orders(json!([["0", 1]]), "[\"0\",1]", "0 to 10"),
        orders(json!([[0, 0]]), "[0,0]", "at least 1"),
        orders(
            json!([[0, u64::MAX]]),
            "[0,18446744073709551615]",
            "behind the file's",
        ),
        orders(
            json!([[10, u64::MAX]]),
            "[10,18446744073709551615]",
            "behind the file's",
        ),
        orders(
            json!([[0, 1], [1, 1]]),
            "[1,1]",
            "multiples of their 2 pages, not at page 1",
        ),
        orders(json!([[0, 2, 0]]), "[0,2,0]", "[ORDER or null, COUNT]"),
        orders(json!([0, 2]), "0", "[ORDER or null, COUNT]"),
    ];
    of_manifest(&temp, &least());
    temp.file("outside", b"outside");
    symlink("../../outside", temp.path("dir/a/out")).unwrap();
    symlink("..", temp.path("dir/out")).unwrap();
    let made = Command::new("mkfifo").arg(temp.path("dir/a/pipe")).status();
    assert!(made.unwrap().success());
    let before = names_in(&temp);
    for (path, value, [place, found, expected]) in cases {
        let mut manifest = least();
        if let Some((parent, key)) = path.rsplit_once('/') {
            manifest.pointer_mut(parent).unwrap()[key] = value.clone();
        } else {
            manifest = value.clone();
        }
        let dir = of_manifest(&temp, &manifest);
        let output = kho(&["pack", &dir, "--out", &image]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{path} {value}: {stderr}");
        let line = |word: &str| {
            let line = stderr
                .lines()
                .find(|line| line.trim_start().starts_with(word));
            line.unwrap_or_else(|| panic!("no {word} in {stderr}"))
                .to_owned()
        };
        assert!(stderr.starts_with("refused: "), "{stderr}");
        for (word, text) in [("where", place), ("found", found), ("expected", expected)] {
            assert!(
                line(word).contains(text),
                "{path} {value}: {text:?} in {stderr}"
            );
        }
        assert_eq!(names_in(&temp), before, "{path} {value}");
    }

    // Another count than the list has.
    let mut manifest = least();
    manifest["sessions"][0]["files"][1]["folio_orders"] = json!([[1, 1]]);
    manifest["sessions"][0]["files"][1]["nr_folios"] = json!(2);
    let dir = of_manifest(&temp, &manifest);
    let output = kho(&["pack", &dir, "--out", &image]);
    assert!(text(&output.stderr).contains("1, as many as `folio_orders` has"));
    // Contents where there is a hole.
    manifest["sessions"][0]["files"][1]["folio_orders"] = json!([[0, 1], [null, 1]]);
    let dir = of_manifest(&temp, &manifest);
    let output = kho(&["pack", &dir, "--out", &image]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not 0 at offset 0x1000"));
    // No JSON; and what went wrong, for programs.
    temp.file(
        "dir/manifest.json",
        b"{\n  \"format\": \"kho-restore-v1\",\n}",
    );
    let output = kho(&["pack", &dir, "--out", &image, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("manifest.json, line 3 column 1"));
    let failure: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(failure["failure"]["kind"], "refused");
    assert_eq!(failure["failure"]["details"][0][0], "where");
    // A manifest that is elsewhere.
    fs::remove_file(temp.path("dir/manifest.json")).unwrap();
    symlink("../outside", temp.path("dir/manifest.json")).unwrap();
    let output = kho(&["pack", &dir, "--out", &image]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("a path leaves the directory"));
    assert_eq!(names_in(&temp), before);
}

#[test]
fn what_is_no_directory_of_sessions_is_refused() {
    let temp = Temp::new("by-hand");
    let image = temp.path("image");
    let refused = |expected: &str| {
        let output = kho(&["pack", &temp.path("dir"), "--out", &image]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert!(!Path::new(&image).exists());
    };
    temp.file("dir/vm/1.bin", b"1");
    temp.file("dir/vm/01.bin", b"1");
    refused("0x1, as a file before it");
    fs::remove_file(temp.path("dir/vm/01.bin")).unwrap();
    fs::create_dir(temp.path("dir/vm/sub")).unwrap();
    refused("\"vm/sub\", which is none");
    fs::remove_dir(temp.path("dir/vm/sub")).unwrap();
    symlink("/etc/passwd", temp.path("dir/vm/passwd")).unwrap();
    refused("leads to \"/etc/passwd\"");
    fs::remove_file(temp.path("dir/vm/passwd")).unwrap();
    temp.file("dir/file", b"beside the sessions");
    refused("directories of files, one for each session");
    fs::remove_file(temp.path("dir/file")).unwrap();
    fs::create_dir(temp.path("dir/%76m")).unwrap();
    refused("`vm`, as a session before it");
    fs::remove_dir(temp.path("dir/%76m")).unwrap();
    fs::create_dir(temp.path("dir/%00")).unwrap();
    refused("without a NUL");
    fs::remove_dir(temp.path("dir/%00")).unwrap();
    // More than there is memory for, of which nothing is there.
    let sparse = fs::File::create(temp.path("dir/vm/vast")).unwrap();
    if sparse.set_len(4 << 50).is_ok() {
        refused("less than 1 TiB");
    }
    fs::remove_file(temp.path("dir/vm/vast")).unwrap();
    good(&["pack", &temp.path("dir"), "--out", &image]);
}
