//! Moves between kernels: conditions, known defects, the verdict in one line.

use super::*;

pub(super) const BOTH: &str = "quiet kho=on liveupdate=on";

/// A vmlinux of `release` with these constants and handlers.
pub(super) fn of_release(release: &str, strings: &[&str], handlers: &[&str]) -> Vec<u8> {
    let banner = format!("Linux version {release} (a@b) #1 SMP");
    let rodata = kernel::texts(&[&[banner.as_str()], strings].concat());
    elf(
        2,
        true,
        false,
        &[section(".rodata", rodata), fields(handlers)],
    )
}

/// The exit code, the report, and what a person sees.
#[track_caller]
pub(super) fn judged(from: &str, to: &str, more: &[&str]) -> (i32, Value, String) {
    let output = preflight(from, to, &[more, &["--json"]].concat());
    assert_eq!(text(&output.stderr), "");
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = output.status.code().unwrap();
    let decisions = [(0, "accept"), (1, "reject"), (3, "degrade")];
    let decision = decisions.iter().find(|(of, _)| *of == code).unwrap().1;
    assert_eq!(value["decision"], decision, "{value:#}");
    let human = preflight(from, to, more);
    assert_eq!(human.status.code(), Some(code));
    let human = text(&human.stdout);
    let first = format!("verdict: {}\n", value["headline"].as_str().unwrap());
    assert!(human.starts_with(&first), "{human}");
    (code, value, human)
}

/// The state of the condition `id`, and what shows it.
#[track_caller]
fn condition<'v>(value: &'v Value, id: &str) -> (&'v str, &'v str) {
    let all = value["conditions"].as_array().unwrap();
    let found = all.iter().find(|condition| condition["id"] == id);
    let found = found.unwrap_or_else(|| panic!("no condition {id} in {value:#}"));
    let text = |member: &str| found[member].as_str().unwrap();
    (text("state"), text("evidence"))
}

/// The states of the known defects that are reported.
pub(super) fn defects(value: &Value) -> Vec<(&str, &str)> {
    let all = value["known_defects"].as_array().unwrap().iter();
    let text = |found: &'_ Value, member: &str| found[member].as_str().unwrap().to_owned();
    let all = all.map(|found| (text(found, "id"), text(found, "state")));
    all.map(|(id, state)| (&*id.leak(), &*state.leak()))
        .collect()
}

#[test]
fn an_accept_says_what_else_it_takes() {
    let temp = Temp::new("accept");
    let next = temp.file("next", linux(&["memfd-v2"]));
    let (code, value, human) = judged(&capture("small"), &next, &[]);
    assert_eq!(code, 0);
    let headline = "accept, if: kexec -s; kho=on; liveupdate=on";
    assert_eq!(value["headline"], headline);
    for id in ["kexec-file-load", "kho-on-next", "liveupdate-on-next"] {
        assert_eq!(condition(&value, id).0, "not-seen", "{id}");
    }
    has(&human, "`kexec -s -l IMAGE`");
    let (code, value, _) = judged(&capture("small"), &next, &["--cmdline", BOTH]);
    assert_eq!(
        (code, &value["headline"]),
        (0, &json!("accept, if: kexec -s"))
    );
    // Between programs there is none of it.
    let program = env!("CARGO_BIN_EXE_kho");
    let (_, value, _) = judged(program, program, &[]);
    assert_eq!(value["conditions"], json!([]));
}

#[test]
fn switches_of_the_next_kernel() {
    let temp = Temp::new("switches");
    let kernel = linux(&["memfd-v2"]);
    let next = temp.file("boot/vmlinuz-7.3.4", &kernel);
    let small = capture("small");
    #[rustfmt::skip]
    let cases = [
        ("kho=on liveupdate=on", 0, "met", "met"),
        ("kho=1 liveupdate=Y", 0, "met", "met"),
        ("kho=off kho=on liveupdate=true", 0, "met", "met"),
        ("kho=on liveupdate", 1, "met", "not-met"),
        ("kho=on liveupdate=maybe", 1, "met", "not-met"),
        ("kho=on liveupdate=on liveupdate=2", 0, "met", "met"),
        ("kho=on", 1, "met", "not-met"),
        ("kho=off liveupdate=on", 1, "not-met", "met"),
        ("kho=on kho=0 liveupdate=on", 1, "not-met", "met"),
        ("liveupdate=on", 0, "not-seen", "met"),
        ("liveupdate=on -- kho=off", 0, "not-seen", "met"),
        ("kho=on liveupdate=on elfcorehdr=0x1000", 1, "not-met", "met"),
    ];
    for (line, expected, kho, luo) in cases {
        let (code, value, _) = judged(&small, &next, &["--cmdline", line]);
        let states = ["kho-on-next", "liveupdate-on-next"].map(|id| condition(&value, id).0);
        assert_eq!((code, states), (expected, [kho, luo]), "{line}");
        let lost = if expected == 0 { 0 } else { 3 };
        assert_eq!(value["losses"]["sessions"], lost, "{line}");
        // What the formats say is another question.
        assert_eq!(value["verdict"]["decision"], "accept", "{line}");
    }
    // A configuration beside the image, or in it, says what is on by default.
    let option = "CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT";
    let on = format!("CONFIG_KEXEC_HANDOVER=y\n{option}=y\n");
    let off = format!("CONFIG_KEXEC_HANDOVER=y\n# {option} is not set\n");
    let args = ["--cmdline", "liveupdate=on"];
    temp.file("boot/config-7.3.4", &off);
    let (code, value, _) = judged(&small, &next, &args);
    assert_eq!((code, condition(&value, "kho-on-next").0), (1, "not-met"));
    temp.file("boot/config-7.3.4", &on);
    let (code, value, _) = judged(&small, &next, &args);
    assert_eq!((code, condition(&value, "kho-on-next").0), (0, "met"));
    has(condition(&value, "kho-on-next").1, "boot/config-7.3.4");
    let embedded = [&b"IKCFG_ST"[..], &gzip(off.as_bytes()), b"IKCFG_ED"].concat();
    let own = with_section(CORE, &["memfd-v2"], &[section(".config", embedded)]);
    let own = temp.file("boot/own", own);
    let (code, value, _) = judged(&small, &own, &args);
    assert_eq!((code, condition(&value, "kho-on-next").0), (1, "not-met"));
    // A command line in a file; a file that is not there.
    let file = format!("@{}", temp.file("cmdline", format!("{BOTH}\n")));
    assert_eq!(judged(&small, &next, &["--cmdline", &file]).0, 0);
    let output = preflight(&small, &next, &["--cmdline", "@/nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    let output = preflight(&small, &small, &["--cmdline", BOTH]);
    assert_eq!(output.status.code(), Some(2));
    has(&text(&output.stderr), "belong to a kernel");
}

#[test]
fn a_kernel_without_sessions_needs_no_liveupdate() {
    let temp = Temp::new("regions");
    let mut b = Builder::new();
    b.metadata(1, "7.3.4", 1);
    b.memblock("memblock-v1", &[("trace", 0x20_0000), ("log", 0x1000)]);
    let dump = temp.file("dump", b.finish().mem.to_elf());
    let next = temp.file("next", linux(&["memfd-v2"]));
    #[rustfmt::skip]
    let cases = [
        ("kho=off reserve_mem=2M:4K:trace reserve_mem=4096:1:log", 0, ["met", "met"]),
        ("reserve_mem=0x200000:0x1000:trace reserve_mem=4K:4K:log", 0, ["met", "met"]),
        ("reserve_mem=1M:4K:trace reserve_mem=4K:4K:log", 3, ["not-met", "met"]),
        ("reserve_mem=2M:1G:trace reserve_mem=4K:4K:log", 3, ["not-met", "met"]),
        ("reserve_mem=2M:4K:other reserve_mem=4K:4K:log", 3, ["not-met", "met"]),
        ("", 3, ["not-met", "not-met"]),
    ];
    for (line, expected, states) in cases {
        let (code, value, human) = judged(&dump, &next, &["--cmdline", line]);
        assert_eq!(code, expected, "{line}");
        let all = value["conditions"].as_array().unwrap().iter();
        let of_regions = all.filter(|condition| condition["id"] == "reserve-mem");
        let found: Vec<_> = of_regions
            .map(|found| found["state"].as_str().unwrap())
            .collect();
        assert_eq!(found, states, "{line}");
        assert_eq!(
            defects(&value).contains(&("fresh-region", "met")),
            line.contains("other")
        );
        if states[0] == "not-met" {
            has(
                &human,
                "next: boot the next kernel with reserve_mem=2M:4K:trace",
            );
        }
        assert!(!human.contains("liveupdate=on"), "{human}");
    }
    let (code, value, _) = judged(&dump, &next, &[]);
    assert_eq!(code, 0);
    let headline = "accept, if: kexec -s; reserve_mem= repeated";
    assert_eq!(value["headline"], headline);
}

#[test]
fn scratch_areas_hold_the_next_kernel() {
    let temp = Temp::new("scratch");
    let mut image = bzimage(&linux(&["memfd-v2"]));
    let mut sized = |bytes: u32| {
        image[0x260..0x264].copy_from_slice(&bytes.to_le_bytes());
        temp.file("next", &image)
    };
    let initrd = temp.file("initrd", vec![0; 1 << 20]);
    let args = ["--cmdline", BOTH, "--initrd", &initrd];
    // The largest area has 120 MiB.
    let small = capture("small");
    let (code, value, _) = judged(&small, &sized(16 << 20), &args);
    assert_eq!((code, condition(&value, "scratch-size").0), (0, "met"));
    let (code, value, _) = judged(&small, &sized(16 << 20), &args[..2]);
    assert_eq!((code, condition(&value, "scratch-size").0), (0, "not-seen"));
    let (code, value, human) = judged(&small, &sized(121 << 20), &args);
    assert_eq!((code, condition(&value, "scratch-size").0), (1, "not-met"));
    assert_eq!(value["losses"]["sessions"], 0, "{value:#}");
    has(&human, "next: boot with a larger kho_scratch=");
    refused_with(
        &small,
        &sized(1),
        &["--initrd", "/nowhere/initrd"],
        "/nowhere/initrd",
    );
}

#[track_caller]
fn refused_with(from: &str, to: &str, more: &[&str], part: &str) {
    let output = preflight(from, to, more);
    assert_eq!(text(&output.stdout), "");
    assert!(!output.status.success());
    has(&text(&output.stderr), part);
}

#[test]
fn a_unified_kernel_image_says_what_it_is_booted_with() {
    let temp = Temp::new("uki");
    let mut kernel = bzimage(&linux(&["memfd-v2"]));
    kernel[0x260..0x264].copy_from_slice(&(2u32 << 20).to_le_bytes());
    let uki = |line: &[u8]| {
        let initrd = [1; 700];
        kernel::pe(&[
            (".linux", &kernel),
            (".initrd", &initrd),
            (".cmdline", line),
        ])
    };
    let good = temp.file("good.efi", uki(b"quiet kho=on liveupdate=on\0"));
    let (code, value, _) = judged(&capture("small"), &good, &[]);
    assert_eq!(
        (code, &value["headline"]),
        (0, &json!("accept, if: kexec -s"))
    );
    has(condition(&value, "kho-on-next").1, ".cmdline of ");
    has(
        condition(&value, "scratch-size").1,
        "an initrd of 700 bytes",
    );
    let bad = temp.file("bad.efi", uki(b"quiet kho=on"));
    assert_eq!(judged(&capture("small"), &bad, &[]).0, 1);
    // What is given goes before it.
    assert_eq!(judged(&capture("small"), &bad, &["--cmdline", BOTH]).0, 0);
    assert_eq!(judged(&capture("small"), &good, &["--cmdline", ""]).0, 1);
}

#[test]
fn an_entry_of_a_boot_loader() {
    let temp = Temp::new("entry");
    temp.file("boot/vmlinuz-7.3.4", bzimage(&linux(&["memfd-v2"])));
    temp.file("boot/initrd-7.3.4", vec![0; 4096]);
    let root = temp.path("");
    let entry = |options: &str| {
        let text = format!(
            "title Linux\nversion 7.3.4\nlinux /vmlinuz-7.3.4\ninitrd /initrd-7.3.4\n{options}"
        );
        temp.file("boot/loader/entries/7.3.4.conf", text)
    };
    let small = capture("small");
    let good = entry("options root=/dev/vda kho=on\noptions liveupdate=on\n");
    let (code, value, _) = judged(&small, &good, &[]);
    assert_eq!(
        (code, &value["headline"]),
        (0, &json!("accept, if: kexec -s"))
    );
    assert_eq!(value["to"]["release"], "7.3.4");
    has(condition(&value, "scratch-size").1, "an initrd of 4 KiB");
    assert_eq!(
        judged(&small, &entry("options root=/dev/vda kho=on\n"), &[]).0,
        1
    );
    // What a boot loader's variable holds is not known.
    let (code, value, _) = judged(&small, &entry("options $kernelopts\n"), &[]);
    assert_eq!((code, condition(&value, "kho-on-next").0), (0, "not-seen"));
    assert_eq!(condition(&value, "liveupdate-on-next").0, "not-seen");
    // Elsewhere its paths begin at the root, or where a boot partition is mounted.
    let copy = temp.file(
        "copy.conf",
        format!("linux vmlinuz-7.3.4\noptions {BOTH}\n"),
    );
    assert_eq!(judged(&small, &copy, &["--root", &root]).0, 0);
    let lost = temp.file("lost.conf", "linux /vmlinuz-0\n");
    refused_with(&small, &lost, &["--root", &root], "boot/vmlinuz-0");
    let none = temp.file("none.conf", "title Linux\noptions kho=on\n");
    refused_with(&small, &none, &[], "text");
}

/// The files of a running system of 7.3.4 with `line`, and a kernel to move to.
fn system(temp: &Temp, line: &str) -> (String, String) {
    temp.file("proc/sys/kernel/osrelease", "7.3.4\n");
    temp.file("proc/cmdline", format!("{line}\n"));
    temp.file("proc/modules", "");
    let config = "CONFIG_KEXEC_HANDOVER=y\n# CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT is not set\n";
    temp.file("boot/config-7.3.4", config);
    temp.file("lib/modules/7.3.4/none", "");
    let next = temp.file("boot/vmlinuz-7.3.4", bzimage(&linux(&["memfd-v2"])));
    (temp.path(""), next)
}

#[test]
fn nothing_is_handed_over_where_kho_is_not_switched_on() {
    let temp = Temp::new("off");
    let off = "KHO is not switched on, kho=on is not on the command line";
    for (line, why) in [
        ("quiet", off),
        ("quiet kho", off),
        ("kho=maybe", off),
        ("kho=0", "KHO is switched off: kho=0"),
        ("kho=on kho=n", "KHO is switched off: kho=n"),
    ] {
        let (root, next) = system(&temp, line);
        let (code, value, human) = judged("running", &next, &["--root", &root]);
        let headline = format!("accept: nothing is handed over: {why}");
        assert_eq!((code, &value["headline"]), (0, &json!(headline)), "{line}");
        has(
            &human,
            "next: to hand sessions over, boot the kernel that is left with kho=on",
        );
        assert_eq!(value["conditions"], json!([]));
    }
    // Nothing says whether it is on by default, but the image does.
    let (root, next) = system(&temp, "quiet");
    std::fs::remove_file(temp.path("boot/config-7.3.4")).unwrap();
    let (_, value, _) = judged("running", &next, &["--root", &root]);
    assert_eq!(condition(&value, "kho-on-here").0, "not-seen");
    let config = b"CONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n";
    let embedded = [&b"IKCFG_ST"[..], &gzip(config), b"IKCFG_ED"].concat();
    let own = with_section(CORE, &["memfd-v2"], &[section(".config", embedded)]);
    temp.file("boot/vmlinuz-7.3.4", bzimage(&own));
    let (_, value, _) = judged("running", &next, &["--root", &root]);
    has(value["headline"].as_str().unwrap(), off);
    // By default, or as the system shows: it is on.
    let (root, next) = system(&temp, "quiet");
    let config = "CONFIG_KEXEC_HANDOVER=y\nCONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT=y\n";
    temp.file("boot/config-7.3.4", config);
    let (_, value, human) = judged("running", &next, &["--root", &root]);
    assert_eq!(condition(&value, "kho-on-here").0, "met");
    let why = "LUO is not switched on, liveupdate=on is not on the command line";
    has(&human, &format!("no sessions are handed over: {why}"));
    let (root, next) = system(&temp, "quiet");
    temp.file("sys/kernel/debug/kho/out/scratch_phys", "0x40000000\n");
    temp.file("sys/kernel/debug/kho/out/scratch_len", "0x4000000\n");
    temp.file("dev/liveupdate", "");
    let (_, value, _) = judged("running", &next, &["--root", &root]);
    assert_eq!(condition(&value, "kho-on-here").0, "met");
    assert_eq!(condition(&value, "liveupdate-on-here").0, "met");
    has(
        condition(&value, "scratch-size").1,
        "the largest area has 64 MiB",
    );
}

#[test]
fn what_a_running_system_shows_of_its_move() {
    let temp = Temp::new("here");
    let (root, next) = system(
        &temp,
        &format!("{BOTH} reserve_mem=2M:4K:trace kho_scratch=1M,2M,1M"),
    );
    let args = ["--root", &root, "--cmdline", BOTH];
    let (code, value, _) = judged("running", &next, &args);
    assert_eq!(code, 3, "the region is not repeated");
    assert_eq!(condition(&value, "reserve-mem").0, "not-met");
    has(condition(&value, "scratch-size").1, "kho_scratch=1M,2M,1M");
    let line = format!("{BOTH} reserve_mem=2M:4K:trace");
    let args = ["--root", &root, "--cmdline", &line];
    for (loaded, part) in [
        ("0\n", "no kernel is loaded yet"),
        ("1\n", "a kernel is loaded"),
    ] {
        temp.file("sys/kernel/kexec_loaded", loaded);
        let (code, value, _) = judged("running", &next, &args);
        let found = condition(&value, "kexec-file-load");
        assert_eq!((code, found.0), (0, "not-seen"));
        has(found.1, part);
    }
    temp.file("sys/kernel/kexec_loaded", "0\n");
    temp.file("proc/sys/kernel/kexec_load_disabled", "1\n");
    let (code, value, _) = judged("running", &next, &args);
    assert_eq!(
        (code, condition(&value, "kexec-file-load").0),
        (1, "not-met")
    );
    temp.file("sys/kernel/kexec_loaded", "1\n");
    temp.file("sys/kernel/kexec_crash_loaded", "1\n");
    let (code, value, human) = judged("running", &next, &args);
    assert_eq!((code, condition(&value, "no-crash").0), (0, "not-seen"));
    has(&human, "kexec_crash_loaded is 1");
    let crash = format!("{line} crashkernel=256M");
    let (_, value, _) = judged("running", &next, &["--root", &root, "--cmdline", &crash]);
    has(
        condition(&value, "scratch-size").1,
        "crashkernel=256M, which comes out of them",
    );
    // One node has no border.
    temp.file("sys/devices/system/node/online", "0\n");
    assert_eq!(defects(&judged("running", &next, &args).1), []);
    temp.file("sys/devices/system/node/online", "0-1,3\n");
    let (_, value, human) = judged("running", &next, &args);
    assert_eq!(defects(&value), [("range-across-nodes", "not-seen")]);
    has(&human, "there are 3 nodes");
}

#[test]
fn debugfs_shows_what_is_handed_over_as_far_as_it_does() {
    let temp = Temp::new("shows");
    let (root, next) = system(&temp, &format!("{BOTH} reserve_mem=8K:4K:log"));
    temp.file("sys/devices/system/node/online", "0\n");
    let mut b = Builder::new();
    b.metadata(1, "7.3.4", 1);
    let start = b.memblock("memblock-v1", &[("log", 0x2000)])[0];
    let built = b.finish();
    let mut pages = built
        .mem
        .runs()
        .into_iter()
        .flat_map(|(at, len)| (at..at + len).step_by(4096));
    let is_memblock = |page: &Vec<u8>| page.windows(12).any(|part| part == b"memblock-v1\0");
    let blob = pages
        .find_map(|at| Some(built.mem.read(at, 4096)).filter(is_memblock))
        .unwrap();
    let out = "sys/kernel/debug/kho/out";
    temp.file(&format!("{out}/fdt"), built.mem.read(built.fdt, 100));
    temp.file(&format!("{out}/sub_fdts/memblock"), &blob);
    temp.file(&format!("{out}/scratch_phys"), "0x40000000\n");
    temp.file(&format!("{out}/scratch_len"), "0x4000000\n");
    let line = format!("{BOTH} reserve_mem=8K:4K:log");
    let args = ["--root", &root, "--cmdline", &line];
    let (code, value, human) = judged("running", &next, &args);
    assert_eq!((code, defects(&value)), (0, vec![("debugfs-cut", "met")]));
    has(&human, "measured with Linux 6.19.10, 7.1.13, 7.2.6, 7.3.4)");
    // A region in a scratch area.
    temp.file(
        &format!("{out}/scratch_phys"),
        format!("{:#x}\n", start & !0x3f_ffff),
    );
    let (code, value, _) = judged("running", &next, &args);
    assert!(
        defects(&value).contains(&("region-in-scratch", "met")),
        "{value:#}"
    );
    assert_eq!(code, 3);
    // The subtree is not there in a kernel that a handover booted.
    std::fs::remove_file(temp.path(&format!("{out}/sub_fdts/memblock"))).unwrap();
    std::fs::remove_file(temp.path(&format!("{out}/fdt"))).unwrap();
    temp.file("sys/kernel/debug/kho/in/fdt", "");
    let (code, value, _) = judged("running", &next, &args);
    let found = defects(&value);
    assert!(found.contains(&("memblock-dropped", "met")), "{value:#}");
    assert!(found.contains(&("debugfs-no-fdt", "met")), "{value:#}");
    assert_eq!(code, 3);
}

#[test]
fn modules_of_handlers_are_needed_early() {
    let temp = Temp::new("modules");
    let next = temp.file("next", linux(&[]));
    temp.file("modules/kernel/memfd.ko", module(&["memfd-v2"]));
    let modules = temp.path("modules");
    let args = ["--modules", &modules, "--cmdline", BOTH];
    let (code, value, _) = judged(&capture("small"), &next, &args);
    assert_eq!(
        (code, condition(&value, "handler-modules").0),
        (0, "not-seen")
    );
    let headline = "accept, if: kexec -s; handler modules loaded";
    assert_eq!(value["headline"], headline);
    // An archive with the module, one without it, and what is none.
    let archive = |name: &str| {
        // A file of 4 bytes.
        let entry = |name: &str| {
            let (zeros, len) = ("0".repeat(32), name.len() + 1);
            let header = format!("07070100000000000081a4{zeros}00000004{zeros}{len:08x}00000000");
            let mut bytes = (header + name + "\0").into_bytes();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let bytes = [&entry(name)[..], b"elf\n", &entry("TRAILER!!!")].concat();
        temp.file(&name.replace('/', "-"), bytes)
    };
    #[rustfmt::skip]
    let cases = [
        (archive("usr/lib/modules/7.3.4/memfd.ko.xz"), "met", "accept, if: kexec -s"),
        (archive("usr/lib/modules/7.3.4/other.ko"), "not-met", headline),
        (temp.file("none", "no archive"), "not-seen", headline),
    ];
    for (initrd, state, headline) in cases {
        let args = [&args[..], &["--initrd", &initrd]].concat();
        let (code, value, _) = judged(&capture("small"), &next, &args);
        assert_eq!((code, condition(&value, "handler-modules").0), (0, state));
        assert_eq!(value["headline"], headline);
        assert_eq!(value["losses"]["sessions"], 0);
    }
}

#[test]
fn a_kernel_without_kho_is_said_to_be_one_in_a_sentence() {
    let temp = Temp::new("short");
    let none = temp.file(
        "boot/vmlinuz-6.12.1",
        of_release("6.12.1", &["memblock-v1"], &[]),
    );
    let (code, value, human) = judged(&capture("small"), &none, &[]);
    let why = "nothing in its image shows CONFIG_KEXEC_HANDOVER";
    let headline = format!("reject: Linux 6.12.1 has no KHO: {why}");
    assert_eq!((code, &value["headline"]), (1, &json!(headline)));
    assert!(
        !human.contains("CARRIER") && human.lines().count() < 14,
        "{human}"
    );
    has(
        &human,
        "next: take a kernel that is built with CONFIG_KEXEC_HANDOVER=y",
    );
    let long = text(&preflight(&capture("small"), &none, &["-v"]).stdout);
    has(&long, "CARRIER");
    temp.file("boot/config-6.12.1", "# CONFIG_KEXEC_HANDOVER is not set\n");
    let (_, value, _) = judged(&capture("small"), &none, &[]);
    has(
        value["headline"].as_str().unwrap(),
        "CONFIG_KEXEC_HANDOVER is not set in ",
    );
    let luoless = temp.file("luoless", vmlinux(&["kho-v4"], &[]));
    let (_, value, human) = judged(&capture("small"), &luoless, &[]);
    has(
        value["headline"].as_str().unwrap(),
        "has KHO and no LUO: nothing in its image shows CONFIG_LIVEUPDATE",
    );
    has(
        &human,
        "next: take a kernel that is built with CONFIG_LIVEUPDATE=y",
    );
    temp.file("config-7.3.4", "CONFIG_KEXEC_HANDOVER=y\n");
    let (_, value, _) = judged(&capture("small"), &luoless, &[]);
    has(
        value["headline"].as_str().unwrap(),
        "no LUO: CONFIG_LIVEUPDATE is not set in ",
    );
}

#[test]
fn what_a_policy_takes_and_nobody_reads_is_said() {
    let temp = Temp::new("unread");
    let side = |name: &str, version: u32| {
        let memfd = json!({ "version": version, "carrier": "file-handler" });
        temp.file(name, manifest(json!({ "memfd": memfd })).to_string())
    };
    let (newer, older) = (side("newer", 9), side("older", 2));
    let by = ["--policy", "global-version"];
    let (code, value, human) = judged(&newer, &older, &by);
    let headline = "accept, if: a reader of memfd-v9";
    assert_eq!((code, &value["headline"]), (0, &json!(headline)));
    has(&human, "lists no reader of it, only of memfd-v2");
    let (_, value, _) = judged(&older, &older, &by);
    assert_eq!(value["headline"], "accept");
}

#[test]
fn reports_as_a_person_and_a_program_see_them() {
    let temp = Temp::new("golden");
    let next = temp.file("next", linux(&["memfd-v2"]));
    let older = temp.file("older", vmlinux(&["kho-v4", "luo-v6"], &["memfd-v2"]));
    let none = temp.file("none", of_release("6.12.1", &[], &[]));
    let root = temp.path("");
    let small = capture("small");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    let cases: [(&str, &str, &[&str]); 5] = [
        ("accept", &next, &["--cmdline", BOTH]),
        ("conditions", &next, &[]),
        ("unmet", &next, &["--cmdline", "quiet kho=on"]),
        ("other-luo", &older, &[]),
        ("no-kho", &none, &[]),
    ];
    settings.bind(|| {
        for (name, to, more) in cases {
            let plain = |bytes: &[u8]| {
                let text = text(bytes)
                    .replace(&small, "small.core.zst")
                    .replace(&root, "");
                let lines = text.lines().map(str::trim_end);
                lines.collect::<Vec<_>>().join("\n")
            };
            let human = plain(&preflight(&small, to, more).stdout);
            insta::assert_snapshot!(name, human);
            // What this adds is no wider than a terminal.
            let begin = human.find("conditions:").unwrap_or(human.len());
            let own = human[begin..]
                .lines()
                .take_while(|line| !line.starts_with("not judged"));
            for line in own {
                assert!(line.chars().count() <= 80, "{line}");
            }
            let json = preflight(&small, to, &[more, &["--json"]].concat());
            insta::assert_snapshot!(format!("{name}.json"), plain(&json.stdout));
        }
    });
}
