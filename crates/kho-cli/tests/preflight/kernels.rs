//! Kernel images against each other.

use super::*;

#[test]
fn a_kernel_takes_over_from_itself() {
    let temp = Temp::new("same");
    let kernel = linux(&["memfd-v2"]);
    let plain = temp.file("vmlinux", &kernel);
    let packed = temp.file("bzImage", bzimage(&kernel));
    let (code, value) = report(&packed, &plain, &[]);
    assert_eq!(code, 0);
    assert_eq!(value["from"]["kind"], "kernel-image");
    assert_eq!(value["from"]["release"], "7.3.4");
    assert_eq!(value["from"]["arch"], "x86_64");
    assert_eq!(value["from"]["form"], "x86 boot image, gzip");
    assert_eq!(value["to"]["form"], "vmlinux");
    assert_eq!(value["to"]["evidence"], json!(["strings in its data"]));
    let memfd = finding(&value, "memfd-v2");
    assert_eq!(memfd["outcome"], "restorable");
    assert_eq!(memfd["where"]["what"], ".data");
    assert_eq!(
        memfd["expected_where"][0]["file_offset"],
        memfd["where"]["file_offset"]
    );
    assert_eq!(value["losses"]["sessions"], 0);
    // What has no string is not judged, and said not to be.
    said(&value, "kexec metadata's version and subtrees");
    // Under every policy.
    for policy in kho_compat::policy::ALL {
        assert_eq!(report(&plain, &packed, &["--policy", policy.name()]).0, 0);
    }
}

#[test]
fn another_luo_is_a_panic() {
    let temp = Temp::new("luo");
    let this = temp.file("this", bzimage(&linux(&["memfd-v2"])));
    let next = vmlinux(&["kho-v4", "luo-v6", "memblock-v1", "reserve-mem-v1"], &[]);
    let next = temp.file("next", bzimage(&next));
    let (code, value) = report(&this, &next, &[]);
    assert_eq!(code, 1);
    let luo = finding(&value, "luo-v5");
    assert_eq!(luo["expected"], "luo-v6");
    assert_eq!(luo["outcome"], "rejected");
    assert_eq!(luo["expected_where"][0]["what"], ".rodata");
    has(value["consequence"].as_str().unwrap(), "kernel panic");
    assert_eq!(value["losses"]["machine"], true);
    assert_eq!(value["losses"]["sessions"], Value::Null);
    // Of a release that was not measured it is said.
    let other = vmlinux(&["kho-v4", "luo-v6"], &[]);
    let text_of = |bytes: &[u8], from: &str, to: &str| -> Vec<u8> {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        let mut bytes = bytes.to_vec();
        while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        bytes
    };
    let other = temp.file("other", text_of(&other, "7.3.4", "7.5.1"));
    let (_, value) = report(&this, &other, &[]);
    has(
        value["consequence"].as_str().unwrap(),
        "Linux 7.5.1 stops with a kernel panic",
    );
    has(
        value["consequence"].as_str().unwrap(),
        "(measured with Linux 7.3.4)",
    );
    // With what is in use known, it is counted.
    let (code, value) = report(&capture("small"), &next, &[]);
    assert_eq!(code, 1);
    let losses = &value["losses"];
    assert_eq!(losses["machine"], true);
    assert_eq!(losses["sessions"], 3);
    assert_eq!(losses["files"], 12);
    assert!(losses["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn what_is_not_in_use_is_not_judged() {
    let temp = Temp::new("use");
    let next = temp.file("next", linux(&["memfd-v3"]));
    assert_eq!(code(&capture("none"), &next, &[]), 0);
    let (code, value) = report(&capture("files"), &next, &[]);
    assert_eq!(code, 1);
    let memfd = finding(&value, "memfd-v2");
    assert_eq!(memfd["expected"], "memfd-v3");
    assert!(memfd["consequence"].as_str().unwrap().contains("EIO"));
    assert_eq!(memfd["files"]["files"], 200);
    assert!(memfd["where"]["address"].is_u64());
    let losses = &value["losses"];
    assert_eq!(losses["sessions"], 2);
    assert_eq!(losses["files"], 200);
    assert_eq!(losses["handlers"][0]["files"], 200);
    assert_eq!(losses["machine"], false);
    // A kernel's image says what it could use: all of it counts.
    let this = temp.file("this", linux(&["memfd-v2"]));
    assert_eq!(report(&this, &next, &[]).0, 1);
    let human = text(&preflight(&capture("files"), &next, &[]).stdout);
    for part in [
        "file handler `memfd-v2`: memfd-v2 is not restorable there, only memfd-v3",
        "lost: all sessions: 2 sessions, 200 files, ",
        "lost: of these, files of handler `memfd-v2`: 200 files, ",
        "memfd-v2 (200 times)",
    ] {
        assert!(human.contains(part), "{part:?} in {human}");
    }
}

#[test]
fn another_root_loses_everything_in_silence() {
    let temp = Temp::new("root");
    let next = temp.file("next", vmlinux(&["kho-v5", "luo-v5"], &["memfd-v2"]));
    let (code, value) = report(&capture("thp"), &next, &[]);
    assert_eq!(code, 1);
    said(&value, "boots as if nothing had been handed over");
    assert_eq!(value["losses"]["all_preserved_state"], true);
    assert_eq!(value["losses"]["machine"], false);
    assert_eq!(value["losses"]["files"], 3);
    assert!(value["losses"]["preserved_pages"].as_u64().unwrap() > 4000);
}

#[test]
fn several_versions_of_one_name_are_all_restorable() {
    let temp = Temp::new("several");
    let older = temp.file("older", linux(&["memfd-v1"]));
    let both = temp.file("both", linux(&["memfd-v1", "memfd-v2"]));
    let gap = temp.file("gap", linux(&["memfd-v1", "memfd-v3"]));
    let one = temp.file("one", linux(&["memfd-v2"]));
    assert_eq!(code(&older, &both, &[]), 0);
    assert_eq!(code(&one, &both, &[]), 0);
    // Both ways only from the newest: it is what is written.
    assert_eq!(code(&both, &one, &[]), 0);
    assert_eq!(code(&both, &older, &[]), 1);
    // What lies between two versions is none of them.
    let (code_of, value) = report(&one, &gap, &[]);
    assert_eq!(code_of, 1);
    assert_eq!(
        finding(&value, "memfd-v2")["expected"],
        "memfd-v1 or memfd-v3"
    );
    said(&value, "versions that do not follow each other: memfd");
    assert_eq!(code(&older, &gap, &[]), 0);
}

#[test]
fn an_flb_that_the_next_kernel_lacks_degrades() {
    let temp = Temp::new("flb");
    let next = temp.file("next", vmlinux(CORE, &["memfd-v2", FLBS[0], FLBS[2]]));
    for from in [capture("small"), temp.file("this", linux(&["memfd-v2"]))] {
        let (code, value) = report(&from, &next, &[]);
        assert_eq!(code, 3);
        assert_eq!(finding(&value, FLBS[1])["outcome"], "lost");
        assert_eq!(finding(&value, FLBS[2])["outcome"], "restorable");
        assert_eq!(value["losses"]["sessions"], 0);
    }
    // So does memblock.
    let next = temp.file(
        "no-memblock",
        vmlinux(&["kho-v4", "luo-v5"], &[&["memfd-v2"], FLBS].concat()),
    );
    let (code, value) = report(&capture("reserve"), &next, &[]);
    assert_eq!(code, 3);
    assert_eq!(finding(&value, "memblock-v1")["outcome"], "lost");
}

#[test]
fn metadata_of_another_version_does_not_show_in_an_image() {
    let temp = Temp::new("metadata");
    let mut b = Builder::new();
    b.metadata(2, "9.9", 1);
    b.session_of("s", &[MemfdSpec::new(vec![1; 100])]);
    let dump = temp.file("dump", b.finish().mem.to_elf());
    let next = temp.file("next", linux(&["memfd-v2"]));
    let (code_of, value) = report(&dump, &next, &[]);
    assert_eq!(code_of, 0);
    said(&value, "kexec metadata `kexec-metadata-v2`");
    // Who knows of it is asked.
    let (code, value) = report(&dump, env!("CARGO_BIN_EXE_kho"), &[]);
    assert_eq!(code, 3);
    assert_eq!(finding(&value, "kexec-metadata-v2")["outcome"], "lost");
    let consequence = "a program goes on without it if it is allowed to, and else refuses";
    assert_eq!(
        finding(&value, "kexec-metadata-v2")["consequence"],
        consequence
    );
}

#[test]
fn kernels_without_kho_or_luo() {
    let temp = Temp::new("without");
    let none = temp.file("none", vmlinux(&["memblock-v1"], &[]));
    let this = temp.file("this", linux(&["memfd-v2"]));
    let (code_of, value) = report(&capture("small"), &none, &[]);
    assert_eq!(code_of, 1);
    said(&value, "the next kernel has no KHO");
    said(
        &value,
        "boots as if nothing had been handed over: all preserved state is lost",
    );
    assert_eq!(value["losses"]["files"], 12);
    assert_eq!(value["to"]["kho"], false);
    let (code_of, value) = report(&none, &this, &[]);
    assert_eq!(code_of, 0);
    said(&value, "nothing is handed over");
    assert_eq!(code(&none, &none, &[]), 0);

    let no_luo = temp.file("no-luo", vmlinux(&["kho-v4", "memblock-v1"], &[]));
    let (code_of, value) = report(&capture("small"), &no_luo, &[]);
    assert_eq!(code_of, 1);
    said(&value, "nothing in its image shows LUO");
    assert!(!value.to_string().contains("panic"), "{value:#}");
    assert_eq!(value["losses"]["sessions"], 3);
    assert_eq!(value["losses"]["machine"], false);
    assert_eq!(code(&capture("none"), &no_luo, &[]), 0);

    // KHO that shows in its traces alone: nobody can tell which version.
    let traces = temp.file("traces", vmlinux(&["preserved-memory-map"], &[]));
    let (code_of, value) = report(&traces, &this, &[]);
    assert_eq!(code_of, 0);
    said(&value, "the root FDT's version");
    assert_eq!(code(&traces, &none, &[]), 1);
    let hidden = temp.file(
        "hidden",
        vmlinux(&["preserved-memory-map", "luo-v5"], &["memfd-v2"]),
    );
    let (code_of, value) = report(&this, &hidden, &[]);
    assert_eq!(code_of, 1);
    said(&value, "which version does not show in its image");
}

#[test]
fn composite_strings_are_judged_part_by_part() {
    let temp = Temp::new("composite");
    let composite = |block: &str| {
        let luo = format!("luo-v5;block-v{block}");
        vmlinux(
            &["kho-v4;radix-v1;vmalloc-v1", &luo],
            &["memfd-v2;vmalloc-v1"],
        )
    };
    let one = temp.file("one", composite("1"));
    let two = temp.file("two", composite("2"));
    assert_eq!(code(&one, &one, &["--policy", "composite-exact"]), 0);
    let (code_of, value) = report(&one, &two, &[]);
    assert_eq!(code_of, 1);
    said(&value, "block-v1 is not restorable there, only block-v2");
    assert_eq!(
        finding(&value, "kho-v4;radix-v1;vmalloc-v1")["outcome"],
        "restorable"
    );
    let (code_of, value) = report(&one, &two, &["--policy", "composite-exact"]);
    assert_eq!(code_of, 1);
    assert_eq!(
        finding(&value, "luo-v5;block-v1")["expected"],
        "luo-v5;block-v2"
    );
    // A kernel of plain strings knows no parts.
    let plain = temp.file("plain", linux(&["memfd-v2"]));
    assert_eq!(code(&one, &plain, &[]), 1);
    // It compares whole strings, whatever a policy takes; and so does one of composites.
    for policy in kho_compat::policy::ALL {
        for (from, to) in [(&one, &plain), (&plain, &one)] {
            let (code_of, value) = report(from, to, &["--policy", policy.name()]);
            assert_eq!(code_of, 1, "{}", policy.name());
            // Behind the other root it reads nothing, and boots.
            assert_eq!(value["losses"]["machine"], false);
            assert_eq!(value["losses"]["all_preserved_state"], true);
        }
    }
    // One of which a part is a composite is that, string by string.
    let mixed = vmlinux(&["kho-v4", "luo-v5;block-v1"], &["memfd-v2"]);
    let mixed = temp.file("mixed", mixed);
    assert_eq!(code(&mixed, &mixed, &["--policy", "composite-exact"]), 0);
    let (_, value) = report(&plain, &mixed, &["--policy", "composite-exact"]);
    assert_eq!(finding(&value, "kho-v4")["outcome"], "restorable");
    assert_eq!(finding(&value, "luo-v5")["expected"], "luo-v5;block-v1");
    // Of a string list a kernel looks for its own string, and takes no composite for one.
    let mut lists = manifest(json!({}));
    lists["in_use"] = json!({ "strings": [
        { "carrier": "root", "found": "kho-v4, radix-v1, vmalloc-v1" },
        { "carrier": "luo", "found": "luo-v5" },
    ]});
    let lists = temp.file("lists", lists.to_string());
    assert_eq!(code(&lists, &plain, &[]), 0);
    let (_, value) = report(&lists, &one, &[]);
    assert_eq!(
        finding(&value, "kho-v4, radix-v1, vmalloc-v1")["outcome"],
        "rejected"
    );
    // A program writes what the next one shows.
    let kho = env!("CARGO_BIN_EXE_kho");
    let (_, value) = report(kho, &plain, &[]);
    assert_eq!(finding(&value, "luo-v5")["outcome"], "restorable");
    let (_, value) = report(kho, &one, &[]);
    assert_eq!(finding(&value, "luo-v5;block-v1")["outcome"], "restorable");
    let (_, value) = report(kho, &two, &[]);
    assert_eq!(finding(&value, "luo-v5;block-v1")["outcome"], "rejected");
}

#[test]
fn sections_are_the_evidence() {
    let temp = Temp::new("sections");
    let this = temp.file("this", linux(&["memfd-v2"]));
    let listed = with_section(
        &["kho-v4", "luo-v5", "memblock-v1", "reserve-mem-v1"],
        &["memfd-v2"],
        &[versions(&[
            "luo-v5", "luo-v6", "memfd-v3", FLBS[0], FLBS[1], FLBS[2],
        ])],
    );
    let next = temp.file("next", listed);
    let (code_of, value) = report(&this, &next, &[]);
    assert_eq!(code_of, 1);
    said(&value, "section .liveupdate_versions");
    assert_eq!(finding(&value, "luo-v5")["outcome"], "restorable");
    // The string stands in the image, but the section does not list it.
    assert_eq!(finding(&value, "memfd-v2")["expected"], "memfd-v3");
    assert_eq!(
        finding(&value, "memfd-v2")["expected_where"][0]["what"],
        ".liveupdate_versions"
    );
}

#[test]
fn masks_are_judged_where_both_sides_have_them() {
    let temp = Temp::new("masks");
    let kernel = |luo: (u64, u64), memfd: (u64, u64)| {
        let section = features(&[("luo", luo.0, luo.1), ("memfd", memfd.0, memfd.1)]);
        with_section(&["kho-v4", "kernel/liveupdate/luo_file.c"], &[], &[section])
    };
    let old = temp.file("old", kernel((0b1, 0b1), (0b1, 0b1)));
    let new = temp.file("new", kernel((0b11, 0b1), (0b11, 0b11)));
    let (code_of, value) = report(&old, &new, &[]);
    assert_eq!(code_of, 1);
    said(&value, "section .liveupdate_features");
    assert_eq!(
        finding(&value, "luo supported 0x1, required 0x1, active 0x1")["outcome"],
        "restorable"
    );
    let memfd = finding(&value, "memfd supported 0x1, required 0x1, active 0x1");
    assert_eq!(memfd["outcome"], "rejected");
    assert_eq!(
        memfd["reason"],
        "features 0x2 are required by the next one, and not supported by this one"
    );
    assert_eq!(code(&old, &old, &[]), 0);
    assert_eq!(code(&new, &old, &[]), 1);
    // A program knows its masks; plain strings of a handover say nothing about them.
    let (_, value) = report(env!("CARGO_BIN_EXE_kho"), &old, &[]);
    said(&value, "\"carrier\":\"features\"");
    let (code_of, value) = report(&capture("small"), &new, &[]);
    assert_eq!(code_of, 1);
    assert_eq!(
        finding(&value, "luo-v5")["expected"],
        "supported 0x3, required 0x1"
    );
    // Masks alone against versions alone.
    let plain = temp.file("plain", linux(&["memfd-v2"]));
    let (code_of, value) = report(&old, &plain, &[]);
    assert_eq!(code_of, 1);
    said(&value, "the next kernel lists none");
}

#[test]
fn candidates_and_modules_count_where_they_are_used() {
    let temp = Temp::new("candidates");
    let mut b = Builder::new();
    let page = b.blob(&[1; 64]);
    b.session(b"vm", &[Builder::file("vfio-v3", page, 1)]);
    b.flb("iommu-v7", 0x1234, 1);
    let dump = temp.file("dump", b.finish().mem.to_elf());
    let with = temp.file("with", vmlinux(CORE, &["vfio-v3", "iommu-v7"]));
    let (code_of, value) = report(&dump, &with, &[]);
    assert_eq!(code_of, 0);
    said(
        &value,
        "vfio-v3, iommu-v7 in the next kernel's image are taken for what restores it",
    );
    let other = temp.file("other", vmlinux(CORE, &["vfio-v4", "iommu-v8"]));
    let (code_of, value) = report(&dump, &other, &[]);
    assert_eq!(code_of, 1);
    assert_eq!(finding(&value, "vfio-v3")["expected"], "vfio-v4");
    assert_eq!(finding(&value, "iommu-v7")["outcome"], "lost");
    assert_eq!(value["losses"]["handlers"][0]["bytes"], Value::Null);
    let human = text(&preflight(&dump, &other, &[]).stdout);
    assert!(human.contains("1 file, bytes unknown"), "{human}");

    let bare = temp.file("bare", vmlinux(CORE, &["memfd-v2"]));
    let (code_of, value) = report(&dump, &bare, &[]);
    assert_eq!(code_of, 1);
    said(&value, "--modules DIR");
    temp.file("modules/kernel/vfio.ko", module(&["vfio-v3", "iommu-v7"]));
    temp.file("modules/kernel/none.ko", module(&[]));
    temp.file("modules/kernel/bad.ko", b"no module");
    let modules = temp.path("modules");
    let (code_of, value) = report(&dump, &bare, &["--modules", &modules]);
    assert_eq!(code_of, 0);
    said(&value, "2 modules below");
    said(&value, "bad.ko: not a kernel image");
    assert_eq!(
        finding(&value, "vfio-v3")["expected_where"][0]["what"],
        "kernel/vfio.ko, .data"
    );
    // An FLB that a module of the old kernel has.
    temp.file("flb/x.ko", module(&["x-flb-v1"]));
    let flb = temp.path("flb");
    assert_eq!(code(&bare, &bare, &["--from-modules", &flb]), 3);
    assert_eq!(
        code(&bare, &bare, &["--from-modules", &flb, "--modules", &flb]),
        0
    );
    // A module is no kernel, and a handover has no modules.
    let module = temp.path("modules/kernel/vfio.ko");
    refused(&bare, &module, 1, &["a kernel module", "--modules DIR"]);
    let output = preflight(&dump, &bare, &["--from-modules", &modules]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("not to a handover in a memory dump"));
    let output = preflight(&dump, &bare, &["--modules", &temp.path("nowhere")]);
    assert_eq!(output.status.code(), Some(2));
}
