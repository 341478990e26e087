//! Dumps that the tools themselves write, where they are installed: makedumpfile and QEMU.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kho_image::{Image, ImageError, ImageKind, ImageOptions};
use kho_mem::{Chunk, PhysAddr, PhysMem, PhysMemExt};
use kho_testkit::{Memory, capture};

use super::{assert_same, with_note};

/// Whether `program` is there; where not, the test says that it is skipped.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

fn open(path: &Path) -> Image {
    Image::open(path, &ImageOptions::default(), &mut |_, _| true).unwrap()
}

/// Where the kernel that makedumpfile is shown lies, and is mapped.
const KERNEL: u64 = 0x20_0000;
const TEXT: u64 = 0xffff_ffff_8020_0000;
const DIRECT: u64 = 0xffff_8880_0000_0000;

/// A vmcore of `memory` in which makedumpfile finds what it asks a kernel for: its name, and page tables that lead
/// there.
fn vmcore(memory: &mut Memory) -> Vec<u8> {
    memory.add(KERNEL, 0x4000);
    for (at, value) in [
        (511 * 8, KERNEL + 0x1063),
        (0x1000 + 510 * 8, KERNEL + 0x2063),
        (0x2000 + 8, KERNEL | 0x1e3),
        (0x3800, DIRECT + KERNEL),
    ] {
        memory.set_u64(KERNEL + at, value);
    }
    for (field, text) in ["Linux", "node", "6.1.0", "#1", "x86_64", "(none)"]
        .iter()
        .enumerate()
    {
        memory.write(KERNEL + 0x3004 + 65 * field as u64, text.as_bytes());
    }
    let symbol = |name: &str, at: u64| format!("SYMBOL({name})={:x}\n", TEXT + at);
    let page = [
        ("flags", 0),
        ("_refcount", 52),
        ("mapping", 24),
        ("lru", 8),
        ("_mapcount", 48),
        ("private", 40),
    ];
    let mut note = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSIZE(page)=64\nOFFSET(uts_namespace.name)=4\n\
                    NUMBER(phys_base)=0\nKERNELOFFSET=0\n"
        .to_owned();
    note += &[
        ("init_uts_ns", 0x3000),
        ("mem_map", 0x3800),
        ("_stext", 0),
        ("swapper_pg_dir", 0),
        ("init_top_pgt", 0),
    ]
    .map(|(name, at)| symbol(name, at))
    .concat();
    note += &page
        .map(|(field, at)| format!("OFFSET(page.{field})={at}\n"))
        .concat();
    let mut core = with_note(memory, b"VMCOREINFO\0\0", note.as_bytes());
    // The kernel maps all memory.
    for header in (64..).step_by(56).take(memory.runs().len()) {
        let physical = u64::from_le_bytes(core[header + 24..header + 32].try_into().unwrap());
        core[header + 16..header + 24].copy_from_slice(&(DIRECT + physical).to_le_bytes());
    }
    core
}

/// Runs makedumpfile; whether it did it.
fn makedumpfile(args: &[&str], core: &Path, out: &[&Path]) -> bool {
    let mut command = Command::new("makedumpfile");
    command.args(args).arg(core);
    if args.contains(&"-F") {
        command.stdout(std::fs::File::create(out[0]).unwrap());
    } else {
        command.args(out);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if said.contains("is disabled") || said.contains("unsupported") {
        eprintln!("skipped: makedumpfile {args:?} is not built in");
        return false;
    }
    assert!(output.status.success(), "{args:?}: {said}");
    true
}

#[test]
fn what_makedumpfile_writes_reads_as_the_core() {
    if !has("makedumpfile") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let mut memory = capture("small");
    std::fs::write(file("core"), vmcore(&mut memory)).unwrap();
    for (number, args) in [
        &["-d0"][..],
        &["-c", "-d0"],
        &["-l", "-d0"],
        &["-p", "-d0"],
        &["-z", "-d0"],
        &["-c", "-d1"],
        &["-F", "-c", "-d0"],
        &["-F", "-l", "-d1"],
        &["-F", "-E", "-d0"],
        &["-E", "-d0"],
    ]
    .into_iter()
    .enumerate()
    {
        let out = file(&format!("dump{number}"));
        if !makedumpfile(args, &file("core"), &[&out]) {
            continue;
        }
        let image = open(&out);
        let kind = if args.contains(&"-E") {
            ImageKind::Elf
        } else {
            ImageKind::Kdump
        };
        assert_eq!(
            (image.kind(), image.is_flattened()),
            (kind, args.contains(&"-F")),
            "{args:?}"
        );
        assert_eq!(image.vmcoreinfo().unwrap().release(), Some("6.1.0"));
        assert!(image.notes().is_empty());
        assert_same(&image, &memory, &format!("{args:?}"));
    }
    // Of a dump in parts it is said what makes it whole, and that does.
    let (one, two, whole) = (file("one"), file("two"), file("whole"));
    assert!(makedumpfile(
        &["--split", "-c", "-d0"],
        &file("core"),
        &[&one, &two]
    ));
    for part in [&one, &two] {
        let error = Image::open(part, &ImageOptions::default(), &mut |_, _| true).unwrap_err();
        assert!(
            matches!(&error, ImageError::Foreign { advice, .. } if advice.contains("--reassemble")),
            "{error}"
        );
    }
    assert!(makedumpfile(&["--reassemble"], &one, &[&two, &whole]));
    assert_same(&open(&whole), &memory, "put together");
}

#[test]
fn what_qemu_writes_is_the_same_in_every_format() {
    const QEMU: &str = "qemu-system-x86_64";
    if !has(QEMU) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let memory = capture("small");
    let formats = ["elf", "kdump-zlib", "kdump-lzo", "kdump-snappy"];
    // The guest does not run: its memory is what was loaded.
    let loaders = memory.runs().into_iter().flat_map(|(pa, len)| {
        let path = file(&format!("{pa:#x}"));
        std::fs::write(&path, memory.read(pa, len as usize)).unwrap();
        [
            "-device".to_owned(),
            format!("loader,force-raw=on,file={},addr={pa:#x}", path.display()),
        ]
    });
    let mut qemu = Command::new(QEMU)
        .args([
            "-accel",
            "tcg",
            "-S",
            "-m",
            "256M",
            "-display",
            "none",
            "-nodefaults",
            "-qmp",
            "stdio",
        ])
        .args(loaders)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut control = qemu.stdin.take().unwrap();
    writeln!(control, r#"{{"execute": "qmp_capabilities"}}"#).unwrap();
    for format in formats {
        let path = file(format);
        writeln!(
            control,
            r#"{{"execute": "dump-guest-memory", "arguments": {{"paging": false, "protocol": "file:{}", "format": "{format}"}}}}"#,
            path.display()
        )
        .unwrap();
    }
    writeln!(control, r#"{{"execute": "quit"}}"#).unwrap();
    assert!(qemu.wait().unwrap().success());
    let elf = open(&file("elf"));
    for format in &formats[1..] {
        if !file(format).exists() {
            eprintln!("skipped: QEMU has no format {format}");
            continue;
        }
        let image = open(&file(format));
        assert_eq!(
            (image.kind(), image.is_flattened()),
            (ImageKind::Kdump, true),
            "{format}"
        );
        assert!(image.notes().is_empty());
        let mut pages = 0;
        assert!(elf.sweep(&mut |addr, piece| {
            if let Chunk::Bytes(bytes) = piece {
                for (addr, bytes) in (addr.get()..).step_by(4096).zip(bytes.chunks(4096)) {
                    assert!(
                        *image.bytes(PhysAddr::new(addr), bytes.len()).unwrap() == *bytes,
                        "{format}: {addr:#x}"
                    );
                    pages += 1;
                }
            }
            true
        }));
        assert!(pages > 100, "{pages}");
        let mut page = [0; 4096];
        for (start, len) in memory.runs() {
            for addr in (start..start + len).step_by(4096) {
                image.copy_to(PhysAddr::new(addr), &mut page).unwrap();
                assert!(page == *memory.read(addr, 4096), "{format}: {addr:#x}");
            }
        }
    }
}
