//! The command as a user meets it: strings, lists, images of every kind, odd names, wrong input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use common::{Temp, has, kho, text};
use kho_testkit::{Builder, Built, MemfdSpec};
use serde_json::Value;

fn inspect(args: &[&str]) -> Value {
    let output = kho(&[&["inspect", "--json"], args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn strings_stand_alone_on_a_line() {
    for (name, dialect, expected) in [
        ("kho", "plain", "kho-v4\n"),
        ("kho", "composite", "kho-v4;radix-v1;vmalloc-v1\n"),
        ("luo", "plain", "luo-v5\n"),
        ("luo", "composite", "luo-v5;block-v1\n"),
        ("memfd", "plain", "memfd-v2\n"),
        ("memfd", "composite", "memfd-v2;vmalloc-v1\n"),
        ("block", "composite", "block-v1\n"),
    ] {
        let output = kho(&["compat", "string", name, "--dialect", dialect]);
        assert_eq!(text(&output.stdout), expected);
    }
    let output = kho(&["compat", "string", "zip"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no component `zip`; this build knows block,"));
}

#[test]
fn every_component_is_listed() {
    let list: Value = serde_json::from_slice(&kho(&["compat", "list", "--json"]).stdout).unwrap();
    let names = list.as_array().unwrap().iter();
    let names: Vec<_> = names.map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "block",
            "fd",
            "kexec-metadata",
            "kho",
            "luo",
            "memblock",
            "memfd",
            "radix",
            "reserve-mem",
            "vmalloc"
        ]
    );
    let human = text(&kho(&["compat", "list"]).stdout);
    assert!(names.iter().all(|name| human.contains(name)), "{human}");
}

#[test]
fn wrong_usage_is_told_from_damage() {
    let usage: &[&[&str]] = &[
        &[],
        &["inspect"],
        &["restore", "image"],
        &["inspect", "/nonexistent/image"],
        &["inspect", "/"],
        &["inspect", "image", "--fdt", "zzz"],
        &["inspect", "image", "--scratch", "0x1000"],
        &["compat", "string", "kho", "--dialect", "sideways"],
    ];
    for args in usage {
        let output = kho(args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            text(&output.stderr)
        );
        assert!(!output.stderr.is_empty());
    }
    let help = text(&kho(&["restore", "--help"]).stdout);
    has(&help, "manifest.json");
    has(&help, "Examples:");
}

fn built(order: u32) -> (Built, Vec<u8>) {
    let mut b = Builder::new();
    b.metadata(1, "7.3.4", 3);
    let contents: Vec<u8> = (0..30_000u32).map(|n| (n % 253) as u8).collect();
    let spec = MemfdSpec {
        order,
        ..MemfdSpec::new(contents.clone())
    };
    b.session_of("s", &[spec]);
    (b.finish(), contents)
}

#[test]
fn images_of_every_kind_are_recognised_by_content() {
    let temp = Temp::new("kinds");
    let (built, contents) = built(0);
    let (elf, raw) = (built.mem.to_elf(), built.mem.to_raw(0x1000_0000));
    let pack = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    for (name, bytes, base) in [
        // The names lie.
        ("core.raw", elf.clone(), None),
        ("core.txt", pack(&elf), None),
        ("raw.elf", raw.clone(), Some("0x10000000")),
        ("raw.core", pack(&raw), Some("268435456")),
        // As parallel compressors write it: a skippable frame first, then two frames.
        (
            "two.core",
            [
                &[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..],
                &pack(&elf[..5000]),
                &pack(&elf[5000..]),
            ]
            .concat(),
            None,
        ),
    ] {
        let image = temp.file(name, &bytes);
        let base = base.map_or(vec![], |base| vec!["--base", base]);
        let report = inspect(&[&[image.as_str()], &base[..]].concat());
        assert_eq!(report["entry"]["fdt_addr"], built.fdt, "{name}");
        assert_eq!(report["scratch_source"], "setup_data", "{name}");
        assert_eq!(report["entry"]["scratch_addr"], built.scratch.0);
        assert_eq!(report["kexec_metadata"]["kexec_count"], 3);
        let out = temp.path(&format!("{name}.out"));
        let output = kho(&[&["restore", &image, "--out", &out], &base[..]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(std::fs::read(Path::new(&out).join("s/0000000000000001.bin")).unwrap() == contents);
    }
    // Raw memory without its base: the address in the setup_data node says that it is elsewhere.
    let image = temp.file("raw", &raw);
    let output = kho(&["restore", &image, "--out", &temp.path("no")]);
    assert_eq!(output.status.code(), Some(1));
    has(&text(&output.stderr), "--base");
}

#[test]
fn an_image_with_unaligned_segments_is_read() {
    let (built, contents) = built(2);
    let mut elf = built.mem.to_elf();
    // Eight bytes in front of everything: no page of the file is aligned to a page of memory.
    let headers = 64 + 56 * built.mem.runs().len();
    elf.splice(headers..headers, [0xee; 8]);
    for index in 0..built.mem.runs().len() {
        let at = 64 + 56 * index + 8;
        let offset = u64::from_le_bytes(elf[at..at + 8].try_into().unwrap());
        elf[at..at + 8].copy_from_slice(&(offset + 8).to_le_bytes());
    }
    let temp = Temp::new("unaligned");
    let image = temp.file("image", &elf);
    let output = kho(&["restore", &image, "--out", &temp.path("out")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::read(temp.path("out/s/0000000000000001.bin")).unwrap() == contents);
}

#[test]
fn a_vmcore_with_a_segment_for_the_kernels_text_is_read() {
    let (built, contents) = built(0);
    let mut elf = built.mem.to_elf();
    // One more program header in the place of the padding: the kernel's text, which lies in RAM
    // that a segment holds as well, with bytes of its own in the file.
    let runs = built.mem.runs();
    let at = 64 + 56 * runs.len();
    let mut header = vec![1, 0, 0, 0, 5, 0, 0, 0];
    for value in [
        elf.len() as u64,
        0xffff_ffff_8100_0000,
        runs[0].0,
        4096,
        4096,
        4096,
    ] {
        header.extend(value.to_le_bytes());
    }
    elf[at..at + 56].copy_from_slice(&header);
    elf[56..58].copy_from_slice(&(runs.len() as u16 + 1).to_le_bytes());
    elf.extend(vec![0xcc; 4096]);
    let temp = Temp::new("text");
    let image = temp.file("image", &elf);
    let output = kho(&["restore", &image, "--out", &temp.path("out")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::read(temp.path("out/s/0000000000000001.bin")).unwrap() == contents);
}

#[test]
fn a_region_is_called_what_its_user_calls_it() {
    let mut b = Builder::new();
    let starts = b.memblock("memblock-v1", &[("log_1", 4096), ("state", 8192)]);
    let built = b.finish();
    let mut mem = built.mem;
    // The device tree specification knows no such name; the kernel's writer does not mind.
    let fdt = mem.u64(kho_testkit::prop(
        &mem,
        built.fdt,
        "memblock",
        "preserved-data",
    ));
    let at = kho_testkit::node(&mem, fdt, "log_1") + 4;
    mem.write(at, b"l/#g1");
    let temp = Temp::new("regions");
    let report = inspect(&[&temp.file("image", mem.to_elf())]);
    assert_eq!(report["memblock"]["regions"][0]["name"], "l/#g1");
    assert_eq!(report["memblock"]["regions"][1]["start"], starts[1]);
    // But what can not be shown is refused.
    mem.write(at, b"l\x1b[2m");
    let output = kho(&["inspect", &temp.file("image", mem.to_elf())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("node name is not valid text"));
}

#[test]
fn what_unpacks_to_too_much_is_refused() {
    let temp = Temp::new("limit");
    let image = temp.file(
        "image",
        zstd::encode_all(&vec![0; 20 << 20][..], 1).unwrap(),
    );
    let output = kho(&["inspect", &image, "--max-unpacked", "0x100000"]);
    assert_eq!(output.status.code(), Some(1));
    has(&text(&output.stderr), "--max-unpacked");
    let output = kho(&["inspect", &image]);
    has(&text(&output.stderr), "no handover found");
    has(&text(&output.stderr), "raw memory");
}

#[test]
fn session_names_become_safe_file_names() {
    let names: &[(&[u8], &str)] = &[
        (b"plain-Name_1.2~", "plain-Name_1.2~"),
        (b"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        (b"..", "%2E."),
        (b".", "%2E"),
        (b"a b%", "a%20b%25"),
        (b"manifest.json", "%6Danifest.json"),
        (b"n\xff\n", "n%FF%0A"),
        ("größe".as_bytes(), "gr%C3%B6%C3%9Fe"),
    ];
    let mut b = Builder::new();
    for (name, _) in names {
        let data = b.memfd(&MemfdSpec::new(name.to_vec()));
        b.session(name, &[Builder::file("memfd-v2", data, 0xab)]);
    }
    let temp = Temp::new("names");
    let image = temp.file("image", b.finish().mem.to_elf());
    let output = kho(&["restore", &image, "--out", &temp.path("out")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (name, dir) in names {
        let path = temp.path(&format!("out/{dir}/00000000000000ab.bin"));
        assert_eq!(std::fs::read(&path).unwrap(), *name, "{path}");
    }
    assert_eq!(
        std::fs::read_dir(temp.path("out")).unwrap().count(),
        names.len() + 1
    );
    // Chosen by its bytes.
    let output = Command::new(env!("CARGO_BIN_EXE_kho"))
        .args(["restore", &image, "--out", &temp.path("one"), "--session"])
        .arg(std::ffi::OsStr::from_bytes(b"n\xff\n"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(temp.path("one")).unwrap().count(), 2);
}

#[test]
fn composite_strings_are_recognised() {
    let mut b = Builder::new();
    b.root_compatible = "kho-v4;radix-v1;vmalloc-v1".into();
    b.luo_compatible = "luo-v5;block-v1".into();
    let data = b.memfd(&MemfdSpec::new(vec![5; 9000]));
    b.session(b"s", &[Builder::file("memfd-v2;vmalloc-v1", data, 1)]);
    let temp = Temp::new("composite");
    let image = temp.file("image", b.finish().mem.to_elf());
    let report = inspect(&[&image]);
    assert_eq!(report["verdict"]["decision"], "accept");
    assert_eq!(report["luo"]["sessions"][0]["files"][0]["size"], 9000);
    let output = kho(&["restore", &image, "--out", &temp.path("out")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        std::fs::read(temp.path("out/s/0000000000000001.bin")).unwrap(),
        vec![5; 9000]
    );
}

#[test]
fn strings_in_another_order_are_taken_and_told() {
    let mut b = Builder::new();
    b.root_compatible = "kho-v4;vmalloc-v1;radix-v1".into();
    b.luo_compatible = "luo-v5;block-v1;block-v1".into();
    let data = b.memfd(&MemfdSpec::new(vec![5; 9000]));
    b.session(
        b"s",
        &[Builder::file("memfd-v2;vmalloc-v1;memfd-v2", data, 1)],
    );
    let temp = Temp::new("order");
    let image = temp.file("image", b.finish().mem.to_elf());
    let report = inspect(&[&image]);
    assert_eq!(report["verdict"]["decision"], "accept");
    let findings = report["verdict"]["findings"].as_array().unwrap().iter();
    let notes: Vec<_> = findings
        .filter_map(|finding| finding["note"].as_str())
        .collect();
    assert_eq!(
        notes,
        [
            "byte 18: `radix` is out of alphabetical order",
            "byte 16: `block` is listed twice",
            "byte 20: `memfd` is listed twice",
        ]
    );
    let human = text(&kho(&["inspect", &image]).stdout);
    let line = "restorable  root FDT `kho-v4;vmalloc-v1;radix-v1` (byte 18: ";
    assert!(human.contains(line), "{human}");
    let output = kho(&["restore", &image, "--out", &temp.path("out")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let file = std::fs::read(temp.path("out/s/0000000000000001.bin")).unwrap();
    assert_eq!(file, vec![5; 9000]);
    // Left for this program it is the same, and said; who compares whole strings refuses it.
    let program = env!("CARGO_BIN_EXE_kho");
    let output = kho(&["preflight", "--from", &image, "--to", program]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = "note: root FDT `kho-v4;vmalloc-v1;radix-v1`: byte 18: ";
    assert!(
        text(&output.stdout).contains(told),
        "{}",
        text(&output.stdout)
    );
    let exact = ["--policy", "composite-exact"];
    let output = kho(&[
        &["preflight", "--from", &image, "--to", program][..],
        &exact,
    ]
    .concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("out of alphabetical order"));
}

#[test]
fn what_is_unknown_is_left_alone_and_what_is_of_another_version_lost() {
    let mut b = Builder::new();
    b.metadata(2, "9.9", 1);
    b.memblock("memblock-v2", &[("log", 4096)]);
    let page = b.folio(0);
    b.subtree("unheard-of", page, 10);
    let data = b.memfd(&MemfdSpec::new(vec![5; 9]));
    b.session(b"s", &[Builder::file("memfd-v2", data, 1)]);
    b.flb("iommu-v7", 0x1234, 1);
    let temp = Temp::new("optional");
    let image = temp.file("image", b.finish().mem.to_elf());
    let report = inspect(&[&image]);
    assert_eq!(report["verdict"]["decision"], "degrade");
    let of = |outcome: &str| -> Vec<String> {
        let findings = report["verdict"]["findings"].as_array().unwrap().iter();
        findings
            .filter(|finding| finding["outcome"] == outcome)
            .map(|finding| finding["found"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of("left-alone"), ["unheard-of", "iommu-v7"]);
    assert_eq!(of("lost"), ["kexec-metadata-v2", "memblock-v2"]);
    let human = text(&kho(&["inspect", &image]).stdout);
    for part in [
        "verdict: degrade",
        "lost  kexec metadata `kexec-metadata-v2`",
        "left alone  FLB `iommu-v7`",
    ] {
        assert!(human.contains(part), "{part:?} in {human}");
    }
    let output = kho(&["restore", &image, "--out", &temp.path("out")]);
    assert!(output.status.success());
    let report = text(&output.stdout);
    for part in [
        "restored 1 file of 1 session",
        "lost: kexec metadata `kexec-metadata-v2`: ",
        "lost: memblock FDT `memblock-v2`: ",
        "left alone: subtree `unheard-of`",
    ] {
        assert!(report.contains(part), "{part:?} in {report}");
    }
}

#[test]
fn a_refusal_is_told_to_programs_too() {
    let mut b = Builder::new();
    b.luo_compatible = "luo-v6".into();
    b.session_of("s", &[]);
    let temp = Temp::new("refused");
    let image = temp.file("image", b.finish().mem.to_elf());
    let output = kho(&["restore", &image, "--out", &temp.path("out"), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let failure: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rejected = &failure["failure"]["rejected"][0];
    assert_eq!(rejected["found"], "luo-v6");
    assert_eq!(rejected["expected"], "luo-v5");
    assert!(rejected["consequence"].as_str().unwrap().contains("panic"));
    // What programs alone take over no kernel fails at.
    let mut b = Builder::new();
    let page = b.blob(&[1; 64]);
    b.session(b"s", &[Builder::file("fd-v2", page, 1)]);
    let image = temp.file("fd", b.finish().mem.to_elf());
    let output = kho(&["restore", &image, "--out", &temp.path("out")]);
    let told = "consequence  a program refuses the handover, and hands all of it back";
    assert!(
        text(&output.stderr).contains(told),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn inspect_shows_what_there_is_of_a_damaged_handover() {
    let (mut built, _) = built(0);
    let anatomy = kho_testkit::Anatomy::of(&built.mem, built.fdt);
    built.mem.set_u64(anatomy.sessions[0].pa + 72, 9);
    let temp = Temp::new("damaged");
    let image = temp.file("image", built.mem.to_elf());
    let output = kho(&["inspect", &image]);
    assert_eq!(output.status.code(), Some(1));
    let human = text(&output.stdout);
    has(&human, "kho-v4");
    has(&human, "verdict: none");
    let output = kho(&["inspect", &image, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["compatible"], "kho-v4");
    assert_eq!(report["failure"]["defect"], "mismatch");
    assert_eq!(report["failure"]["at"], anatomy.sessions[0].pa + 72);
    assert!(report["failure"]["file_offset"].is_u64());
}

#[test]
fn without_a_scratch_table_a_handover_is_read_and_said_to_have_none() {
    let (mut built, _) = built(0);
    // The node goes, and with it what named the table; two pages are left over.
    built.mem.write(built.scratch.0 + 4096 + 0x108, &[0; 48]);
    let temp = Temp::new("scratch");
    let image = temp.file("image", built.mem.to_elf());
    let report = inspect(&[&image]);
    assert_eq!(report["scratch_source"], Value::Null);
    assert_eq!(report["entry"]["scratch_addr"], Value::Null);
    let human = text(&kho(&["inspect", &image]).stdout);
    assert!(human.contains("scratch  unknown"), "{human}");
}

#[test]
fn versions_beside_the_strings_are_read_and_judged() {
    let build = |list: &dyn Fn(&mut Builder)| {
        let mut b = Builder::new();
        let data = b.memfd(&MemfdSpec::new(vec![5; 9]));
        b.session(b"s", &[Builder::file("memfd-v2", data, 1)]);
        list(&mut b);
        b.finish().mem.to_elf()
    };
    let temp = Temp::new("listed");
    let image = temp.file(
        "table",
        build(&|b| {
            b.table("luo", 5, 0);
            b.table("block", 1, 0);
            // Nobody here knows it, and its writer says that the rest is worth having.
            b.table("guest-memory", 7, 1);
        }),
    );
    let report = inspect(&[&image]);
    assert_eq!(report["dialect"], "table");
    assert_eq!(
        report["listed"]["guest-memory"],
        serde_json::json!({"version": 7, "optional": true})
    );
    assert_eq!(report["verdict"]["decision"], "degrade");
    let output = kho(&["restore", &image, "--out", &temp.path("out")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("lost: version table `guest-memory-v7`"),
        "{}",
        text(&output.stdout)
    );

    let refused = |name: &str, list: &dyn Fn(&mut Builder), words: &[&str]| {
        let image = temp.file(name, build(list));
        let dir = temp.path("refused");
        let output = kho(&["restore", &image, "--out", &dir]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {error}");
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{name}: {error}"
        );
        assert!(!Path::new(&dir).exists(), "{name}");
    };
    refused(
        "mandatory",
        &|b| b.table("guest-memory", 7, 0),
        &["root FDT, compat/guest-memory", "no linked component"],
    );
    refused(
        "block",
        &|b| b.table("block", 2, 0),
        &["root FDT, compat/block", "`block-v2`", "block-v1"],
    );
    refused(
        "masks",
        &|b| b.features("memfd", [7, 7, 7]),
        &["root FDT, features/memfd", "features 0x4 are required"],
    );
    refused(
        "lacking",
        &|b| b.features("memfd", [1, 1, 1]),
        &["features 0x2 are required here"],
    );
    // And what is no table at all.
    refused(
        "short",
        &|b| b.list("compat", "luo", &[5, 0, 0, 0]),
        &["damaged", "4 bytes", "8 bytes"],
    );
    refused("flags", &|b| b.table("luo", 5, 2), &["damaged", "0x2"]);
    refused("name", &|b| b.table("LUO", 5, 0), &["damaged", "byte 0"]);
    refused(
        "long",
        &|b| b.list("features", "luo", &[0; 32]),
        &["damaged", "32 bytes", "24 bytes"],
    );
}

#[test]
fn each_v_of_three_says_more() {
    let temp = Temp::new("verbose");
    let image = temp.file("image", built(0).0.mem.to_elf());
    // A file of a kind that nobody here knows: refused, and warned of where that is asked for.
    let mut b = Builder::new();
    b.session(b"s", &[Builder::file("mystery-v1", 0, 1)]);
    let other = temp.file("other", b.finish().mem.to_elf());
    let out = temp.path("out");
    for (args, code, spans) in [
        (vec!["inspect", &image], 0, &["survey", "judge"][..]),
        (
            vec!["restore", &image, "--out", &out, "--force"],
            0,
            &["survey", "judge", "restore"],
        ),
        (
            vec!["preflight", "--from", &image, "--to", &image],
            0,
            &["judge"],
        ),
    ] {
        let mut before = 0;
        for (flag, level) in [
            ("-q", ""),
            ("-v", "INFO"),
            ("-vv", "DEBUG"),
            ("-vvv", "TRACE"),
        ] {
            let more = (flag != "-q").then_some(flag);
            let args: Vec<&str> = args.iter().copied().chain(more).collect();
            let output = kho(&args);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{said}");
            let lines = said.lines().count();
            match level {
                "" => assert_eq!(said, "", "{args:?}"),
                level => {
                    assert!(lines > before, "{args:?}: {said}");
                    has(&said, level);
                    spans.iter().for_each(|span| has(&said, span));
                }
            }
            before = lines;
        }
    }
    let quiet = text(&kho(&["restore", &other, "--out", &out]).stderr);
    assert!(!quiet.contains("WARN"), "{quiet}");
    let told = text(&kho(&["restore", &other, "--out", &out, "-v"]).stderr);
    has(&told, "WARN");
    has(&told, "mystery-v1");
}
