//! What a dump does not store: it is filtered, or cut short; and what is no dump of a machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::path::Path;

use common::{Temp, has, kho, text};
use kho_testkit::{Anatomy, Builder, Built, Core, DIRECT_MAP, MemfdSpec};
use serde_json::{Value, json};

const PAGE: u64 = 4096;

/// Contents of which none is 0.
fn contents(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at / 9 + seed) % 255) as u8 + 1)
        .collect()
}

/// A handover of a session with two files of four pages and a bit.
fn built() -> Built {
    let mut b = Builder::new();
    let files = [1, 2].map(|seed| MemfdSpec::new(contents(seed, 4 * 4096 + 5)));
    b.session_of("vm", &files);
    b.metadata(1, "7.3.4", 1);
    b.finish()
}

/// Where the pages of a file lie.
fn pages(built: &Built, file: usize) -> Vec<u64> {
    let anatomy = Anatomy::of(&built.mem, built.fdt);
    let records = anatomy.sessions[0].files[file].folios.iter();
    let pfn = |record: &u64| built.mem.u64(*record) & ((1 << 52) - 1);
    records.map(|record| pfn(record) * PAGE).collect()
}

/// A core in which two pages in the middle of the first file are left out.
fn filtered(built: &Built) -> Core {
    let mut core = Core::of(&built.mem);
    for page in &pages(built, 0)[1..3] {
        core.leave_out(*page, PAGE);
    }
    core
}

fn read_json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_file_that_is_not_all_stored_is_left_out_and_the_others_are_restored() {
    let (temp, built) = (Temp::new("left-out"), built());
    let mut core = filtered(&built);
    let image = temp.file("core", core.vmcoreinfo().finish());
    let out = temp.path("out");
    let done = kho(&["restore", &image, "--out", &out]);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(4), "{said}");
    has(
        &said,
        "not stored: the dump does not store all contents of 1 file: not restored",
    );
    has(&said, "session `vm`, token 0x1: 8 KiB of 16.0 KiB");
    has(&text(&done.stdout), "restored 1 file of 1 session");
    let dir = Path::new(&out).join("vm");
    assert!(!dir.join("0000000000000001.bin").exists());
    let other = std::fs::read(dir.join("0000000000000002.bin")).unwrap();
    assert!(other == contents(2, 4 * 4096 + 5));
    let manifest = read_json(Path::new(&out).join("manifest.json"));
    assert_eq!(manifest["complete"], json!(false));
    assert_eq!(
        manifest["sessions"][0]["files"].as_array().unwrap().len(),
        1
    );
    let missing = &manifest["missing"][0];
    let expected =
        json!({ "session": "vm", "token": 1, "reason": "not-stored", "size": 4 * 4096 + 5 });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&missing[key], value, "{key}");
    }
    assert_eq!(missing["not_stored"], json!([[4096, 8192]]));

    // Half of what was handed over is no whole to be packed.
    let packed = temp.path("packed");
    let refused = kho(&["pack", &out, "--out", &packed]);
    assert_eq!(refused.status.code(), Some(1));
    has(
        &text(&refused.stderr),
        "not all that was handed over is here",
    );
    has(&text(&refused.stderr), "manifest.json, missing");
    assert!(!Path::new(&packed).exists());
    let done = kho(&["pack", &out, "--out", &packed, "--allow-missing"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    has(
        &text(&done.stdout),
        "note: manifest.json, missing: left out, or zeros",
    );
}

#[test]
fn with_allow_missing_it_has_holes_and_the_manifest_says_where() {
    let (temp, built) = (Temp::new("holes"), built());
    let mut core = filtered(&built);
    let image = temp.file("core", core.vmcoreinfo().finish());
    let out = temp.path("out");
    let done = kho(&[
        "restore",
        &image,
        "--out",
        &out,
        "--allow-missing",
        "--hash",
        "--json",
    ]);
    assert_eq!(done.status.code(), Some(4), "{}", text(&done.stderr));
    has(&text(&done.stderr), "restored with holes there");
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let manifest = read_json(Path::new(&out).join("manifest.json"));
    assert_eq!(told, manifest, "one document");
    assert_eq!(manifest["complete"], json!(true));
    let files = &manifest["sessions"][0]["files"];
    assert_eq!(files[0]["not_stored"], json!([[4096, 8192]]));
    assert_eq!(files[0].get("sha256"), None, "of zeros that nobody had");
    assert!(files[1]["sha256"].is_string() && files[1].get("not_stored").is_none());
    let mut expected = contents(1, 4 * 4096 + 5);
    expected[4096..3 * 4096].fill(0);
    let found = std::fs::read(Path::new(&out).join("vm/0000000000000001.bin")).unwrap();
    assert!(found == expected);
    let refused = kho(&["pack", &out, "--out", &temp.path("packed")]);
    assert_eq!(refused.status.code(), Some(1));
    has(
        &text(&refused.stderr),
        "manifest.json, sessions[0].files[0].not_stored",
    );
}

#[test]
fn inspect_says_how_much_of_which_file_is_not_stored() {
    let (temp, built) = (Temp::new("inspected"), built());
    let mut core = filtered(&built);
    let image = temp.file("core", core.vmcoreinfo().finish());
    let shown = kho(&["inspect", &image]);
    assert!(shown.status.success());
    has(&text(&shown.stdout), "8192 bytes not stored in this dump");
    has(&text(&shown.stdout), "the dump does not store 8 KiB of");
    let hashed = kho(&["inspect", &image, "--hash", "--json"]);
    assert_eq!(hashed.status.code(), Some(4));
    has(
        &text(&hashed.stderr),
        "not stored: the dump does not store all contents of 1 file",
    );
    let report: Value = serde_json::from_slice(&hashed.stdout).unwrap();
    assert_eq!(report["image"]["not_stored"], json!(8192));
    let files = &report["luo"]["sessions"][0]["files"];
    assert_eq!(files[0]["not_stored"], json!(8192));
    assert_eq!(files[0].get("sha256"), None);
    assert!(files[1]["sha256"].is_string() && files[1].get("not_stored").is_none());
}

#[test]
fn who_wrote_the_core_says_what_a_segments_tail_is() {
    type Note = fn(&mut Core) -> &mut Core;
    let notes: [(&str, Note, i32); 9] = [
        ("none", |core| core, 0),
        ("a linker's", |core| core.note("GNU", 3, &[7; 20]), 0),
        ("kdump's", |core| core.vmcoreinfo(), 4),
        (
            "kdump's registers",
            |core| core.note("CORE", 1, &[0; 336]),
            4,
        ),
        (
            "makedumpfile's",
            |core| core.note("ERASEINFO", 0, b"erase x"),
            4,
        ),
        ("QEMU's", |core| core.note("QEMU", 0, &[0; 400]), 4),
        ("Xen's", |core| core.note("VMCOREINFO_XEN", 0, b"X=1"), 4),
        (
            "VirtualBox's",
            |core| core.note("VBCORE", 0xb00, &[0; 24]),
            4,
        ),
        (
            "several",
            |core| core.note("CORE", 1, &[0; 336]).vmcoreinfo(),
            4,
        ),
    ];
    let (temp, built) = (Temp::new("tails"), built());
    for (whose, note, code) in notes {
        let mut core = filtered(&built);
        note(&mut core);
        let image = temp.file("core", core.finish());
        let out = temp.path("out");
        let done = kho(&["restore", &image, "--out", &out, "--force"]);
        assert_eq!(
            done.status.code(),
            Some(code),
            "{whose}: {}",
            text(&done.stderr)
        );
        if code == 0 {
            let found = std::fs::read(Path::new(&out).join("vm/0000000000000001.bin")).unwrap();
            assert!(
                found[4096..3 * 4096].iter().all(|byte| *byte == 0),
                "{whose}"
            );
        }
    }
}

#[test]
fn metadata_that_is_not_stored_is_no_damage() {
    let (temp, built) = (Temp::new("metadata"), built());
    let anatomy = Anatomy::of(&built.mem, built.fdt);
    let session = &anatomy.sessions[0];
    let places = [
        ("the root FDT", built.fdt),
        ("a node of the tracker", anatomy.level(0).pa),
        ("LUO's subtree", anatomy.luo),
        ("a block of sessions", anatomy.blocks[0]),
        ("a block of files", session.blocks[0]),
        ("a memfd's state", session.files[0].data),
        ("a list of folios", session.files[0].list[0]),
    ];
    for (what, place) in places {
        let mut core = Core::of(&built.mem);
        let page = place & !(PAGE - 1);
        let image = temp.file("core", core.leave_out(page, PAGE).vmcoreinfo().finish());
        let (table, len) = built.scratch;
        let scratch = format!("{table:#x}:{len}");
        let fdt = format!("{:#x}", built.fdt);
        for more in [&["--fdt", &fdt, "--scratch", &scratch][..], &[]] {
            let out = temp.path("out");
            let refused = kho(&[&["restore", &image, "--out", &out], more].concat());
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(4), "{what}: {said}");
            assert!(said.starts_with("not stored: "), "{what}: {said}");
            assert!(!said.contains("damaged"), "{what}: {said}");
            has(&said, "not stored in this dump");
            assert!(!Path::new(&out).exists(), "{what}");
            let shown = kho(&[&["inspect", &image, "--json"], more].concat());
            assert_eq!(shown.status.code(), Some(4), "{what}");
            let report: Value = serde_json::from_slice(&shown.stdout).unwrap();
            assert_eq!(report["failure"]["kind"], "not-stored", "{what}");
            let shown = text(&kho(&[&["inspect", &image], more].concat()).stdout);
            has(&shown, "since the dump does not store all of the handover");
        }
    }
}

#[test]
fn without_the_root_and_what_names_it_the_handover_may_be_in_what_is_not_stored() {
    let (temp, built) = (Temp::new("nowhere"), built());
    let mut core = Core::of(&built.mem);
    for (start, len) in built.mem.runs() {
        core.leave_out(start, len);
    }
    let image = temp.file("core", core.vmcoreinfo().finish());
    let shown = kho(&["inspect", &image]);
    assert_eq!(shown.status.code(), Some(4));
    has(
        &text(&shown.stderr),
        "not stored: no handover found in what the dump stores",
    );
}

#[test]
fn a_dump_that_is_cut_short_is_read_as_far_as_it_goes() {
    let (temp, built) = (Temp::new("cut"), built());
    // The second file's last page comes last in the file.
    let last = *pages(&built, 1).last().unwrap();
    let mut core = Core::of(&built.mem);
    core.leave_out(last, PAGE);
    let at = core.bytes(&built.mem.read(last, PAGE as usize));
    core.load(DIRECT_MAP + last, last, at, PAGE, PAGE);
    let whole = core.finish();
    for (cut, code) in [(1, 0), (PAGE as usize - 4, 4), (PAGE as usize, 4)] {
        let image = temp.file("core", &whole[..whole.len() - cut]);
        let out = temp.path(&format!("out-{cut}"));
        let done = kho(&["restore", &image, "--out", &out]);
        assert_eq!(
            done.status.code(),
            Some(code),
            "{cut}: {}",
            text(&done.stderr)
        );
        has(&text(&done.stdout), "the file is cut short");
        let first = std::fs::read(Path::new(&out).join("vm/0000000000000001.bin")).unwrap();
        assert!(first == contents(1, 4 * 4096 + 5));
        let shown = kho(&["inspect", &image, "--json"]);
        assert!(shown.status.success());
        let report: Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(report["image"]["cut"], json!(cut));
        has(
            &text(&kho(&["inspect", &image]).stdout),
            "the file is cut short",
        );
    }
}

#[test]
fn memory_is_listed_as_often_as_real_dumps_do() {
    let (temp, built) = (Temp::new("aliases"), built());
    let runs = built.mem.runs();
    let (start, len) = runs[0];
    let restores = |what: &str, core: &mut Core| {
        let image = temp.file("core", core.vmcoreinfo().finish());
        let out = temp.path(&what.replace(' ', "-"));
        let done = kho(&["restore", &image, "--out", &out]);
        assert!(done.status.success(), "{what}: {}", text(&done.stderr));
        for (seed, name) in [(1, "0000000000000001.bin"), (2, "0000000000000002.bin")] {
            let found = std::fs::read(Path::new(&out).join("vm").join(name)).unwrap();
            assert!(found == contents(seed, 4 * 4096 + 5), "{what}");
        }
    };
    // The kernel's text, whose bytes are stored again, where each architecture has it.
    for virt in [
        0xffff_ffff_8100_0000u64,
        0xffff_ffff_b2e0_0000,
        0xffff_c000_8000_0000,
        0xffff_8000_8000_0000,
        0x3_ffe0_0010_0000,
    ] {
        let mut core = Core::new();
        let at = core.bytes(&built.mem.read(start, (len / 2) as usize));
        core.load(virt, start, at, len / 2, len / 2);
        for (start, len) in &runs {
            let at = core.bytes(&built.mem.read(*start, *len as usize));
            core.load(DIRECT_MAP + start, *start, at, *len, *len);
        }
        core.machine = if virt >> 44 == 0xfffff { 62 } else { 183 };
        restores(&format!("text at {virt:x}"), &mut core);
    }
    // Each page once more, at the same bytes; more segments than a header counts.
    let mut core = Core::of(&built.mem);
    for again in 0..70_000u64 {
        let page = again % (len / PAGE) * PAGE;
        core.load(
            0xffff_c900_0000_0000 + again * PAGE,
            start + page,
            page,
            PAGE,
            PAGE,
        );
    }
    restores("virtual mappings", &mut core);
    // Virtual memory that is nowhere.
    let mut core = Core::of(&built.mem);
    let at = core.bytes(&[7; 4096]);
    core.load(0xffff_c900_0000_0000, u64::MAX, at, PAGE, PAGE);
    core.load(0xffff_ea00_0000_0000, u64::MAX, 1 << 46, 1 << 40, 1 << 40);
    restores("vmalloc", &mut core);
    let mut core = Core::of(&built.mem);
    let at = core.bytes(&[7; 2 * 4096]);
    core.load(0xffff_c900_0000_0000, 0, at, PAGE, 1 << 45);
    core.load(0xffff_ea00_0000_0000, 0, at + PAGE, PAGE, 1 << 40);
    restores("vmalloc at zero", &mut core);
    // RAM begins higher up, and one range is all that stands at zero: it would hold all of memory.
    let mut core = Core::of(&built.mem);
    let at = core.bytes(&[7; 4096]);
    core.load(0xffff_c900_0000_0000, 0, at, 1 << 45, 1 << 45);
    restores("one vmalloc at zero", &mut core);
}

#[test]
fn a_process_core_is_called_so() {
    let (temp, bytes) = (Temp::new("process"), vec![0x55; 3 * 4096]);
    let core = |virt: [u64; 2]| {
        let mut core = Core::new();
        let at = core.bytes(&bytes);
        core.load(virt[0], 0, at, PAGE, PAGE);
        core.load(virt[1], 0, at + PAGE, 2 * PAGE, 2 * PAGE);
        core
    };
    let of_process = [0x40_0000, 0x7f00_0000_0000];
    let mut kernels = core(of_process);
    kernels
        .note("CORE", 1, &[0; 336])
        .note("CORE", 3, &[0; 136]);
    kernels
        .note("CORE", 6, &[0; 320])
        .note("CORE", 0x4649_4c45, &[0; 16]);
    let mut alone = Core::new();
    let at = alone.bytes(&bytes);
    alone
        .load(0x40_0000, 0, at, PAGE, PAGE)
        .note("CORE", 1, &[0; 336]);
    // Some write the virtual address in place of the physical one.
    let mut with_addresses = Core::new();
    let at = with_addresses.bytes(&bytes);
    with_addresses.load(0x40_0000, 0x40_0000, at, PAGE, PAGE);
    with_addresses
        .note("CORE", 1, &[0; 336])
        .note("CORE", 6, &[0; 320]);
    let mut of_gdb = core([0x5599_8d76_d000, 0xffff_ffff_ff60_0000]);
    of_gdb
        .note("CORE", 3, &[0; 136])
        .note("GDB", 0xff00_0000, &[1; 30]);
    let cores = [
        ("kernel's", kernels.finish()),
        ("without notes", core(of_process).finish()),
        ("one segment", alone.finish()),
        ("with addresses", with_addresses.finish()),
        ("gdb's", of_gdb.finish()),
    ];
    for (whose, core) in cores {
        let packed = zstd::encode_all(core.as_slice(), 1).unwrap();
        for bytes in [core, packed] {
            let image = temp.file("core", bytes);
            for args in [
                &["inspect", &image][..],
                &["restore", &image, "--out", "/dev/null/x"],
            ] {
                let refused = kho(args);
                let said = text(&refused.stderr);
                assert_eq!(refused.status.code(), Some(1), "{whose}: {said}");
                assert!(
                    said.starts_with("refused: not a dump of physical memory"),
                    "{whose}: {said}"
                );
                has(&said, "a process's core");
            }
        }
    }
    // A machine's core at address 0, with registers too.
    let built = built();
    let mut core = Core::of(&built.mem);
    let at = core.bytes(&bytes);
    core.load(DIRECT_MAP, 0, at, PAGE, PAGE)
        .note("CORE", 1, &[0; 336]);
    let image = temp.file("core", core.finish());
    let shown = kho(&["inspect", &image]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
}

#[test]
fn a_folio_that_nobody_used_is_restored_as_zeros() {
    let temp = Temp::new("unused");
    let mut expected = contents(1, 4 * 4096 + 5);
    expected[4096..2 * 4096].fill(0);
    let hashes = [
        MemfdSpec::new(expected.clone()),
        MemfdSpec {
            unused: vec![1],
            ..MemfdSpec::new(contents(1, 4 * 4096 + 5))
        },
    ]
    .map(|spec| {
        let mut b = Builder::new();
        b.session_of("vm", &[spec]);
        let image = temp.file("core", b.finish().mem.to_elf());
        let out = temp.path("out");
        let done = kho(&["restore", &image, "--out", &out, "--force"]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let found = std::fs::read(Path::new(&out).join("vm/0000000000000001.bin")).unwrap();
        assert!(found == expected);
        let shown = kho(&["inspect", &image, "--hash", "--json"]);
        let report: Value = serde_json::from_slice(&shown.stdout).unwrap();
        report["luo"]["sessions"][0]["files"][0]["sha256"].clone()
    });
    assert!(hashes[0].is_string());
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn a_compressed_dump_that_is_cut_short_is_read_as_far_as_it_goes() {
    let temp = Temp::new("cut-stream");
    let whole = std::fs::read(kho_testkit::capture_path("small.core.zst")).unwrap();
    let mut codes = Vec::new();
    for parts in 1..16 {
        let image = temp.file("core.zst", &whole[..whole.len() * parts / 16]);
        let out = temp.path("out");
        let done = kho(&["restore", &image, "--out", &out, "--force"]);
        let said = text(&done.stderr) + &text(&done.stdout);
        has(&said, "cut short");
        assert!(
            !said.contains("damaged: kho") && !said.contains("panicked"),
            "{said}"
        );
        codes.push(done.status.code().unwrap());
        let shown = kho(&["inspect", &image]);
        has(&(text(&shown.stderr) + &text(&shown.stdout)), "cut short");
    }
    // Nothing was unpacked; part of it.
    assert!(
        codes.iter().all(|code| matches!(code, 0 | 1 | 4)),
        "{codes:?}"
    );
    assert!(codes.contains(&4), "{codes:?}");
}

#[test]
fn what_gcore_writes_is_a_process_core() {
    let temp = Temp::new("gcore");
    let mut child = std::process::Command::new("sleep")
        .arg("100")
        .spawn()
        .unwrap();
    let (pid, prefix) = (child.id().to_string(), temp.path("core"));
    let made = std::process::Command::new("gcore")
        .args(["-o", &prefix, &pid])
        .output();
    child.kill().unwrap();
    child.wait().unwrap();
    // It is not installed everywhere, and may be forbidden to look at another process.
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("left out: gcore does not work here");
        return;
    }
    let image = format!("{prefix}.{pid}");
    let refused = kho(&["inspect", &image]);
    assert_eq!(refused.status.code(), Some(1));
    has(&text(&refused.stderr), "a process's core");
    // Its notes come last: without them its segments are still nowhere.
    let core = std::fs::read(&image).unwrap();
    let cut = temp.file("cut", &core[..core.len() / 2]);
    has(&text(&kho(&["inspect", &cut]).stderr), "a process's core");
}
