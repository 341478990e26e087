//! `kho inspect --live` over made-up /proc and /sys trees: what a kernel shows, what it does not, and
//! what no kernel should.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::process::Output;

use common::{Temp, has, kho, text};
use kho_testkit::{Builder, Built, MemfdSpec, Random, prop};
use serde_json::Value;

const KHO: &str = "sys/kernel/debug/kho";
const SETUP: &str = "sys/kernel/boot_params/setup_data";

/// A handover with all that debugfs can show.
fn handover() -> Built {
    let mut builder = Builder::new();
    builder.session_of("vm", &[MemfdSpec::new(vec![1; 5000])]);
    builder.metadata(1, "7.3.3", 4);
    builder.memblock("memblock-v1", &[("oops", 0x2000), ("trace", 0x1000)]);
    builder.finish()
}

/// The root FDT of `built`, as the file has it: what is used of the page.
fn fdt(built: &Built) -> Vec<u8> {
    let total = u32::from_be_bytes(built.mem.read(built.fdt + 4, 4).try_into().unwrap());
    built.mem.read(built.fdt, total as usize)
}

/// The blob of a subtree of `built`.
fn blob(built: &Built, name: &str) -> Vec<u8> {
    let at = |property| built.mem.u64(prop(&built.mem, built.fdt, name, property));
    built
        .mem
        .read(at("preserved-data"), at("blob-size") as usize)
}

const BLOBS: [&str; 3] = ["LUO", "kexec-metadata", "memblock"];

/// Shows `built` below `dir`.
fn show(temp: &Temp, dir: &str, built: &Built) {
    temp.file(&format!("{KHO}/{dir}/fdt"), fdt(built));
    for name in BLOBS {
        temp.file(&format!("{KHO}/{dir}/sub_fdts/{name}"), blob(built, name));
    }
}

/// The data of a KHO node.
fn setup(built: &Built) -> Vec<u8> {
    let numbers = [built.fdt, 4096, built.scratch.0, built.scratch.1];
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// A system that was booted by a handover and makes another.
fn system(name: &str) -> (Temp, Built) {
    let (temp, built) = (Temp::new(name), handover());
    temp.file("proc/sys/kernel/osrelease", "7.3.4\n");
    temp.file("proc/cmdline", "quiet kho=off kho=on liveupdate=on\n");
    temp.file("dev/liveupdate", "");
    temp.file(&format!("{SETUP}/0/type"), "0x9\n");
    temp.file(&format!("{SETUP}/0/data"), "");
    temp.file(&format!("{SETUP}/1/type"), "0xa\n");
    temp.file(&format!("{SETUP}/1/data"), setup(&built));
    show(&temp, "in", &built);
    show(&temp, "out", &built);
    temp.file(&format!("{KHO}/out/scratch_phys"), "0x4000000\n0x8000000\n");
    temp.file(&format!("{KHO}/out/scratch_len"), "0x400000\n0x0\n");
    (temp, built)
}

fn live(temp: &Temp, more: &[&str]) -> Output {
    let root = temp.path("");
    kho(&[&["inspect", "--live", "--root", &root], more].concat())
}

/// Exit code and JSON.
fn report(temp: &Temp) -> (i32, Value) {
    let output = live(temp, &["--json"]);
    let value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), value)
}

#[test]
fn both_directions_are_shown() {
    let (temp, built) = system("both");
    let (code, value) = report(&temp);
    assert_eq!(code, 0, "{value:#}");
    assert_eq!(value["release"], "7.3.4");
    assert_eq!(value["command_line"]["kho"], "on");
    assert_eq!(value["device"], true);
    assert_eq!(value["entries"].as_array().unwrap().len(), 1);
    assert_eq!(value["entries"][0]["fdt_addr"], built.fdt);
    assert_eq!(value["entries"][0]["scratch_size"], built.scratch.1);
    for side in ["in", "out"] {
        let side = &value[side];
        assert_eq!(side["compatible"], "kho-v4");
        assert_eq!(side["dialect"], "plain");
        assert_eq!(side["subtrees"]["LUO"]["size"], 32);
        let blobs = &side["blobs"];
        assert_eq!(blobs["LUO"]["compatible"], "luo-v5");
        assert_eq!(blobs["LUO"]["liveupdate_num"], 1);
        assert!(blobs["LUO"]["sessions_pa"].is_u64());
        assert_eq!(blobs["kexec-metadata"]["previous_release"], "7.3.3");
        assert_eq!(blobs["kexec-metadata"]["kexec_count"], 4);
        let regions = &blobs["memblock"]["regions"];
        assert_eq!(regions[0]["name"], "oops");
        assert_eq!(regions[0]["size"], 0x2000);
        assert_eq!(regions[1]["compatible"], "reserve-mem-v1");
    }
    assert_eq!(value["out"]["scratch"][0][1], 4 << 20);
    let output = live(&temp, &[]);
    let shown = text(&output.stdout);
    for said in [
        "Linux 7.3.4, kho=on, liveupdate=on",
        "/dev/liveupdate is there",
        &format!("root FDT at {:#x}", built.fdt),
        "luo-v5, live update 1",
        "Linux 7.3.3, kexec 4",
        "memblock-v1, 2 regions",
        "oops  8 KiB",
        "low memory  4 MiB",
        "global      empty",
    ] {
        assert!(shown.contains(said), "{said} in {shown}");
    }
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn what_the_kernel_took_over_is_gone() {
    let (temp, _) = system("gone");
    temp.file(
        &format!("{KHO}/in/sub_fdts/LUO"),
        b"\x7fELF\x02\x01\x01".repeat(5),
    );
    let (code, value) = report(&temp);
    assert_eq!(code, 0, "{value:#}");
    assert_eq!(value["in"]["blobs"]["LUO"]["kind"], "gone");
    assert!(text(&live(&temp, &[]).stdout).contains("taken over"));
    // The next kernel's is this one's own: there it is damage.
    temp.file(&format!("{KHO}/out/sub_fdts/LUO"), [0xff; 35]);
    let (code, value) = report(&temp);
    assert_eq!(code, 1);
    assert_eq!(value["damaged"][0]["defect"], "unterminated");
    assert_eq!(value["failure"]["kind"], "damaged");
}

#[test]
fn a_root_fdt_that_is_cut_says_its_version() {
    let (temp, built) = system("cut");
    temp.file(&format!("{KHO}/out/fdt"), &fdt(&built)[..200]);
    let (code, value) = report(&temp);
    assert_eq!(code, 0, "{value:#}");
    assert_eq!(value["out"]["compatible"], "kho-v4");
    assert_eq!(value["out"]["cut"]["shown"], 200);
    assert_eq!(value["out"]["blobs"]["LUO"]["compatible"], "luo-v5");
    assert!(text(&live(&temp, &[]).stdout).contains("of which debugfs shows 200 of"));
}

#[test]
fn a_first_boot_was_given_nothing() {
    let (temp, built) = system("first");
    std::fs::remove_dir_all(temp.path(SETUP)).unwrap();
    std::fs::remove_dir_all(temp.path(&format!("{KHO}/in"))).unwrap();
    std::fs::remove_file(temp.path(&format!("{KHO}/out/fdt"))).unwrap();
    let (code, value) = report(&temp);
    assert_eq!((code, &value["in"]), (0, &Value::Null));
    let shown = text(&live(&temp, &[]).stdout);
    assert!(shown.contains("it was not booted by a handover"), "{shown}");
    assert!(shown.contains("debugfs shows no root FDT"), "{shown}");
    // Given, and not taken.
    temp.file(&format!("{SETUP}/1/type"), "10\n");
    temp.file(&format!("{SETUP}/1/data"), setup(&built));
    let shown = text(&live(&temp, &[]).stdout);
    assert!(shown.contains("not taken"), "{shown}");
}

#[test]
fn a_device_tree_names_the_handover_too() {
    let (temp, _) = system("device-tree");
    std::fs::remove_dir_all(temp.path(SETUP)).unwrap();
    let base = "sys/firmware/devicetree/base";
    let cells =
        |numbers: &[u32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_be_bytes()).collect() };
    temp.file(&format!("{base}/#address-cells"), cells(&[2]));
    temp.file(&format!("{base}/#size-cells"), cells(&[2]));
    temp.file(
        &format!("{base}/chosen/linux,kho-fdt"),
        cells(&[1, 0x1000, 0, 4096]),
    );
    temp.file(
        &format!("{base}/chosen/linux,kho-scratch"),
        cells(&[0, 0x3000, 0, 48]),
    );
    let (code, value) = report(&temp);
    assert_eq!(code, 0, "{value:#}");
    assert_eq!(value["entries"][0]["fdt_addr"], 0x1_0000_1000u64);
    assert_eq!(value["entries"][0]["scratch_size"], 48);
    for wrong in [cells(&[1]), cells(&[1; 5]), vec![]] {
        temp.file(&format!("{base}/chosen/linux,kho-fdt"), wrong);
        let (code, value) = report(&temp);
        assert_eq!(code, 1);
        assert_eq!(value["damaged"][0]["defect"], "bad-size");
    }
}

#[test]
fn what_is_not_there_is_said_with_what_helps() {
    let temp = Temp::new("blind");
    temp.file("proc/sys/kernel/osrelease", "7.3.4\n");
    #[rustfmt::skip]
    let cases = [
        (None, "there is no place for debugfs", "CONFIG_DEBUG_FS"),
        (Some("sys/kernel/debug/"), "debugfs is not mounted", "mount -t debugfs"),
        (Some("sys/kernel/debug/x"), "debugfs has no `kho`", "CONFIG_KEXEC_HANDOVER_DEBUGFS"),
        (Some("proc/cmdline"), "KHO is switched off: kho=0", "boot with kho=on"),
    ];
    for (file, found, hint) in cases {
        match file {
            Some(dir) if dir.ends_with('/') => std::fs::create_dir_all(temp.path(dir)).unwrap(),
            Some(file) => drop(temp.file(file, "kho=0")),
            None => {}
        }
        let output = live(&temp, &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains("can not be seen"), "{error}");
        assert!(error.contains(found) && error.contains(hint), "{error}");
        let (_, value) = report(&temp);
        let why = value["unread"][0]["why"].as_str().unwrap();
        assert!(why.starts_with(found), "{why}");
        assert!(value.get("in").is_none() && value.get("out").is_none());
    }
}

#[test]
fn a_file_that_can_not_be_read_is_said_and_the_rest_shown() {
    let (temp, _) = system("unread");
    let path = temp.path(&format!("{KHO}/out/sub_fdts/LUO"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    temp.file(&format!("{KHO}/out/sub_fdts/large"), vec![0; 70_000]);
    let (code, value) = report(&temp);
    assert_eq!(code, 1);
    let unread = value["unread"].as_array().unwrap();
    assert_eq!(unread.len(), 2, "{value:#}");
    assert_eq!(unread[0]["why"], "not a regular file");
    assert_eq!(unread[1]["why"], "longer than 64 KiB");
    assert_eq!(value["out"]["blobs"]["kexec-metadata"]["version"], 1);
    assert!(text(&live(&temp, &[]).stdout).contains("not read"));
}

#[test]
fn damage_is_told_by_file_and_offset() {
    let (temp, built) = system("damage");
    let whole = |name: &str, bytes: &[u8]| {
        let path = format!("{KHO}/{name}");
        let good = std::fs::read(temp.path(&path)).unwrap();
        temp.file(&path, bytes);
        let (code, value) = report(&temp);
        let output = live(&temp, &[]);
        temp.file(&path, good);
        assert_eq!(code, 1, "{name}: {value:#}");
        let damage = value["damaged"][0].clone();
        assert!(damage["path"].as_str().unwrap().ends_with(name), "{damage}");
        let what = damage["what"].as_str().unwrap();
        assert!(text(&output.stderr).contains(what), "{what}");
        damage
    };
    let fdt = fdt(&built);
    let mut wrong = fdt.clone();
    wrong[0] = 0;
    assert_eq!(whole("out/fdt", &wrong)["defect"], "bad-magic");
    let mut wrong = fdt.clone();
    wrong[8..12].copy_from_slice(&[0xff; 4]);
    let damage = whole("in/fdt", &wrong);
    assert_eq!(damage["defect"], "bad-offset");
    assert_eq!(damage["file_offset"], 8);
    assert_eq!(whole("out/fdt", b"")["defect"], "bad-magic");
    assert_eq!(
        whole("out/sub_fdts/kexec-metadata", b"\x01")["defect"],
        "bad-size"
    );
    assert_eq!(
        whole("out/sub_fdts/memblock", &[1; 100])["what"],
        "memblock FDT: device tree has a wrong magic"
    );
    assert_eq!(
        whole("out/scratch_phys", b"0x4000000\n")["defect"],
        "mismatch"
    );
    assert_eq!(
        whole("out/scratch_phys", b"0x4000001\n0x8000000\n")["defect"],
        "unaligned"
    );
    assert_eq!(whole("out/scratch_phys", b"x\n0\n")["defect"], "bad-text");
    temp.file(&format!("{SETUP}/2/type"), "ten\n");
    let (code, value) = report(&temp);
    assert_eq!(code, 1);
    assert_eq!(value["damaged"][0]["defect"], "bad-text");
    temp.file(&format!("{SETUP}/2/type"), "0xa\n");
    temp.file(&format!("{SETUP}/2/data"), [0; 31]);
    let (code, value) = report(&temp);
    assert_eq!(code, 1);
    assert_eq!(value["damaged"][0]["defect"], "bad-size");
    assert_eq!(value["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn names_that_are_no_text_are_escaped() {
    let (temp, _) = system("names");
    temp.file(&format!("{KHO}/in/sub_fdts/a\u{1b}[2J"), "?");
    let shown = text(&live(&temp, &[]).stdout);
    has(&shown, "a\\u{1b}[2J");
    assert!(!shown.contains("\u{1b}[2J"), "{shown}");
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let (temp, _) = system("fuzz");
    let mut random = Random(7);
    let files = [
        format!("{KHO}/in/fdt"),
        format!("{KHO}/out/fdt"),
        format!("{KHO}/out/sub_fdts/LUO"),
        format!("{KHO}/out/sub_fdts/kexec-metadata"),
        format!("{KHO}/out/sub_fdts/memblock"),
        format!("{KHO}/out/scratch_phys"),
        format!("{SETUP}/1/type"),
        format!("{SETUP}/1/data"),
    ];
    for _ in 0..60 {
        let name = &files[random.below(files.len())];
        let good = std::fs::read(temp.path(name)).unwrap();
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            if !bytes.is_empty() {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
        }
        if random.once_in(3) {
            bytes.truncate(random.below(bytes.len() + 1));
        }
        temp.file(name, &bytes);
        let (code, _) = report(&temp);
        assert!(code == 0 || code == 1, "{name}: {bytes:x?}");
        temp.file(name, good);
    }
}

#[test]
fn live_and_an_image_exclude_each_other() {
    for (args, said) in [
        (&["inspect"][..], "<IMAGE>"),
        (&["inspect", "x", "--live"], "cannot be used with"),
        (&["inspect", "--live", "--hash"], "cannot be used with"),
        (&["inspect", "--live", "--fdt", "1"], "cannot be used with"),
    ] {
        let output = kho(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}");
    }
}
