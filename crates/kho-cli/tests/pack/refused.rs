//! What can not be packed.

use super::*;

/// Tests of one change each to the least manifest: where it is made, to what, and what is said of it (where, found,
/// expected).
macro_rules! refused {
    ($($name:ident: $path:expr, $value:expr, $said:expr;)+) => {
        $(#[test]
        fn $name() {
            refuses(stringify!($name), $path, $value, $said);
        })+
    };
}

/// As `refused`, of the folios of a file of two pages.
macro_rules! orders {
    ($($name:ident: $list:expr, $found:expr, $expected:expr;)+) => {
        refused! { $($name: "/sessions/0/files/1/folio_orders", $list, [ORDERS, $found, $expected];)+ }
    };
}

const ORDERS: &str = "manifest.json, sessions[0].files[1].folio_orders";

const FILE: &str = "manifest.json, sessions[0].files[1]";

fn flb(name: &str, count: u64) -> Value {
    json!([{ "name": name, "data": 0, "count": count }])
}

/// A directory with the least manifest, and beside its files what a path must not lead to.
fn directory(name: &str) -> Temp {
    let temp = Temp::new(&format!("refused-{name}"));
    of_manifest(&temp, &least());
    temp.file("outside", b"outside");
    symlink("../../outside", temp.path("dir/a/out")).unwrap();
    symlink("..", temp.path("dir/out")).unwrap();
    let made = Command::new("mkfifo").arg(temp.path("dir/a/pipe")).status();
    assert!(made.unwrap().success());
    temp
}

fn refuses(name: &str, path: &str, value: Value, [place, found, expected]: [&str; 3]) {
    let temp = directory(name);
    let before = names_in(&temp);
    let mut manifest = least();
    if let Some((parent, key)) = path.rsplit_once('/') {
        manifest.pointer_mut(parent).unwrap()[key] = value;
    } else {
        manifest = value;
    }
    let dir = of_manifest(&temp, &manifest);
    let output = kho(&["pack", &dir, "--out", &temp.path("image")]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("refused: "), "{stderr}");
    for (word, text) in [("where", place), ("found", found), ("expected", expected)] {
        let mut lines = stderr.lines();
        let line = lines.find(|line| line.trim_start().starts_with(word));
        assert!(
            line.is_some_and(|line| line.contains(text)),
            "{word}: {text:?} in {stderr}"
        );
    }
    assert_eq!(names_in(&temp), before);
}

refused! {
    manifest_array: "", json!([]), ["manifest.json", "[]", "an object"];
    format_kho_restore_v2:
        "/format", json!("kho-restore-v2"), ["manifest.json, format", "\"kho-restore-v2\"", "kho-restore-v1"];
    sessions_object: "/sessions", json!({}), ["manifest.json, sessions", "{}", "an array"];
    compatible_kho_v5: "/compatible", json!("kho-v5"), ["manifest.json, compatible", "\"kho-v5\"", "kho-v4"];
    luo_luo_v6: "/luo", json!("luo-v6"), ["manifest.json, luo", "\"luo-v6\"", "luo-v5"];
    luo_kho_v4: "/luo", json!("kho-v4"), ["manifest.json, luo", "\"kho-v4\"", "luo-v5"];
    liveupdate_num_0: "/liveupdate_num", json!(0), ["manifest.json, liveupdate_num", "0", "at least 1"];
    liveupdate_num_fraction:
        "/liveupdate_num", json!(1.5), ["manifest.json, liveupdate_num", "1.5", "a whole number"];
    complete_1: "/complete", json!(1), ["manifest.json, complete", "1", "true or false"];
    kexec_metadata_version_2:
        "/kexec_metadata", json!({ "version": 2 }), ["kexec_metadata.version", "2", "version 1"];
    kexec_metadata_release_empty: "/kexec_metadata", json!({ "previous_release": "", "kexec_count": 1 }),
        ["kexec_metadata.previous_release", "\"\"", "1 to 64"];
    kexec_metadata_release_7_escape: "/kexec_metadata", json!({ "previous_release": "7\u{1b}", "kexec_count": 1 }),
        ["kexec_metadata.previous_release", "\\u001b", "printable"];
    kexec_metadata_release_7_count_2_to_32:
        "/kexec_metadata", json!({ "previous_release": "7", "kexec_count": 1u64 << 32 }),
        ["kexec_metadata.kexec_count", "4294967296", "up to 4294967295"];
    kexec_metadata_release_7: "/kexec_metadata", json!({ "previous_release": "7" }),
        ["manifest.json, kexec_metadata", "none", "`kexec_count`"];
    flb_f_v1_3: "/flbs", flb("f-v1", 3), ["manifest.json, flbs[0].count", "3", "at most 2"];
    flb_f_v1_0: "/flbs", flb("f-v1", 0), ["manifest.json, flbs[0].count", "0", "at least 1"];
    flb_empty_1: "/flbs", flb("", 1), ["manifest.json, flbs[0].name", "\"\"", "1 to 47"];
    flb_long_1: "/flbs", flb(&"x".repeat(64), 1), ["manifest.json, flbs[0].name", "xxx", "1 to 47"];
    flbs_f_1_0_f_2_0: "/flbs", json!([flb("f", 1)[0], flb("f", 2)[0]]),
        ["manifest.json, flbs[1].name", "\"f\"", "of its own"];
    name_a: "/sessions/1/name", json!("a"), ["manifest.json, sessions[1].name", "\"a\"", "of its own"];
    name_empty: "/sessions/1/name", json!(""), ["manifest.json, sessions[1].name", "\"\"", "1 to 63"];
    name_long:
        "/sessions/1/name", json!("x".repeat(64)), ["manifest.json, sessions[1].name", "64 bytes", "1 to 63"];
    name_a_nul:
        "/sessions/1/name", json!("a\0"), ["manifest.json, sessions[1].name", "\\x00", "without a NUL"];
    name_bytes_6:
        "/sessions/1/name_bytes", json!("6"), ["sessions[1].name_bytes", "\"6\"", "two hexadecimal digits"];
    name_bytes_1:
        "/sessions/1/name_bytes", json!("+1"), ["sessions[1].name_bytes", "\"+1\"", "two hexadecimal digits"];
    name_bytes_61:
        "/sessions/1/name_bytes", json!("61"), ["manifest.json, sessions[1].name", "\"b\"", "of its own"];
    token_1: "/sessions/0/files/1/token", json!(1), [FILE, "1", "of its own"];
    token_text: "/sessions/0/files/1/token", json!("2"), [FILE, "\"2\"", "a whole number"];
    compatible_memfd_v3:
        "/sessions/0/files/1/compatible", json!("memfd-v3"), [FILE, "\"memfd-v3\"", "memfd-v2"];
    compatible_fd_v1: "/sessions/0/files/1/compatible", json!("fd-v1"), [FILE, "\"fd-v1\"", "memfd-v2"];
    compatible_memfd_v2_zip_v1:
        "/sessions/0/files/1/compatible", json!("memfd-v2;zip-v1"), [FILE, "zip-v1", "memfd-v2"];
    size_5001: "/sessions/0/files/1/size", json!(5001), ["dir/a/two", "5000 bytes", "5001 bytes"];
    pos_2_to_63: "/sessions/0/files/1/pos", json!(1u64 << 63),
        [FILE, "9223372036854775808", "up to 9223372036854775807"];
    pos_minus_1: "/sessions/0/files/1/pos", json!(-1), [FILE, "-1", "a whole number"];
    seals_0x40: "/sessions/0/files/1/seals", json!(0x40), [FILE, "64", "no bit outside 0x3f"];
    seals_2_to_32:
        "/sessions/0/files/1/seals", json!(1u64 << 32), [FILE, "4294967296", "no bit outside 0x3f"];
    flags_1: "/sessions/0/files/1/flags", json!(1), [FILE, "1", "0"];
    sha256_abc: "/sessions/0/files/1/sha256", json!("abc"), [FILE, "\"abc\"", "64 hexadecimal"];
    sha256_0_repeat_64: "/sessions/0/files/1/sha256", json!("0".repeat(64)), ["dir/a/two", "sha256", "0000"];
    path_up_outside:
        "/sessions/0/files/1/path", json!("../outside"), [FILE, "\"../outside\"", "inside the directory"];
    path_a_up_a_two:
        "/sessions/0/files/1/path", json!("a/../a/two"), [FILE, "\"a/../a/two\"", "inside the directory"];
    path_etc_passwd:
        "/sessions/0/files/1/path", json!("/etc/passwd"), [FILE, "\"/etc/passwd\"", "inside the directory"];
    path_a_out: "/sessions/0/files/1/path", json!("a/out"), [FILE, "which leads to", "inside the directory"];
    path_out_outside:
        "/sessions/0/files/1/path", json!("out/outside"), [FILE, "which leads to", "inside the directory"];
    path_empty: "/sessions/0/files/1/path", json!(""), [FILE, "\"\"", "inside the directory"];
    path_a_none: "/sessions/0/files/1/path", json!("a/none"), [FILE, "\"a/none\"", "a file there"];
    path_a: "/sessions/0/files/1/path", json!("a"), [FILE, "\"a\"", "a regular file"];
    path_a_pipe: "/sessions/0/files/1/path", json!("a/pipe"), [FILE, "\"a/pipe\"", "a regular file"];
    nr_folios_3: "/sessions/0/files/1/nr_folios", json!(3), [FILE, "3", "2, its pages"];
}

orders! {
    orders_object: json!({}), "{}", "an array";
    orders_0_1: json!([[0, 1]]), "[[0,1]]", "up to page 2";
    orders_0_3: json!([[0, 3]]), "[0,3]", "behind the file's 2 pages";
    orders_0_2_0_1: json!([[0, 2], [0, 1]]), "[0,1]", "behind the file's 2 pages";
    orders_11_1: json!([[11, 1]]), "[11,1]", "0 to 10";
    orders_256_1: json!([[256, 1]]), "[256,1]", "0 to 10";
    orders_minus_1_1: json!([[-1, 1]]), "[-1,1]", "0 to 10";
    orders_text_1: json!([["0", 1]]), "[\"0\",1]", "0 to 10";
    orders_0_0: json!([[0, 0]]), "[0,0]", "at least 1";
    orders_0_max: json!([[0, u64::MAX]]), "[0,18446744073709551615]", "behind the file's";
    orders_10_max: json!([[10, u64::MAX]]), "[10,18446744073709551615]", "behind the file's";
    orders_0_1_1_1: json!([[0, 1], [1, 1]]), "[1,1]", "multiples of their 2 pages, not at page 1";
    orders_0_2_0: json!([[0, 2, 0]]), "[0,2,0]", "[ORDER or null, COUNT]";
    orders_0_2: json!([0, 2]), "0", "[ORDER or null, COUNT]";
}

/// A list of the second file's folios beside a count is refused with `words`.
fn refuses_count(name: &str, orders: Value, words: &str) {
    let temp = directory(name);
    let before = names_in(&temp);
    let mut manifest = least();
    manifest["sessions"][0]["files"][1]["folio_orders"] = orders;
    manifest["sessions"][0]["files"][1]["nr_folios"] = json!(2);
    let dir = of_manifest(&temp, &manifest);
    let output = kho(&["pack", &dir, "--out", &temp.path("image")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(words));
    assert_eq!(names_in(&temp), before);
}

#[test]
fn another_count_than_the_list_has() {
    refuses_count("count", json!([[1, 1]]), "1, as many as `folio_orders` has");
}

#[test]
fn contents_where_there_is_a_hole() {
    refuses_count("hole", json!([[0, 1], [null, 1]]), "not 0 at offset 0x1000");
}

#[test]
fn a_manifest_that_is_no_json_and_what_went_wrong_for_programs() {
    let temp = directory("json");
    let before = names_in(&temp);
    temp.file(
        "dir/manifest.json",
        b"{\n  \"format\": \"kho-restore-v1\",\n}",
    );
    let image = temp.path("image");
    let output = kho(&["pack", &temp.path("dir"), "--out", &image, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("manifest.json, line 3 column 1"));
    let failure: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(failure["failure"]["kind"], "refused");
    assert_eq!(failure["failure"]["details"][0][0], "where");
    assert_eq!(names_in(&temp), before);
}

#[test]
fn a_manifest_that_is_elsewhere() {
    let temp = directory("elsewhere");
    let before = names_in(&temp);
    fs::remove_file(temp.path("dir/manifest.json")).unwrap();
    symlink("../outside", temp.path("dir/manifest.json")).unwrap();
    let output = kho(&["pack", &temp.path("dir"), "--out", &temp.path("image")]);
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
