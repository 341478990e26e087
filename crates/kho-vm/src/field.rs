//! `vm field`: files as the tools that people use write them, read here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kho_core::Entry;
use kho_image::ImageOptions;
use kho_image::kernel::{KernelImage, KernelKind, KernelOptions};
use kho_mem::PhysMem;
use serde_json::{Value, json};

use crate::capture::{Folios, small};
use crate::failure::{Failure, of_file};
use crate::guest;
use crate::image::open;
use crate::inject::tempdir;
use crate::options::{Options, Vm};
use crate::place;
use crate::qemu::{Machine, Qmp, command_line};
use crate::reading::{self, Reading};
use crate::wait::{Spinner, check_interrupt};

/// Have the tools that people use write dumps and kernels, and read them.
///
/// One guest hands a small handover over; where its next kernel would look for it, QEMU dumps the memory in each
/// format it has. A dump is packed by each packer that is installed, in the ways it has, and the kernel is made a unified
/// image with systemd's stub. Of each the handover's facts, checksums of contents included, are compared with those of
/// the memory itself. What is not installed is skipped, and named.
///
/// makedumpfile wants what this small kernel does not tell it: its dumps are tests of kho-image (`cargo test -p kho-image
/// tools`).
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm field
  cargo xtask vm field --require        a tool that is missing is a failure
  cargo xtask vm field --json")]
pub(crate) struct Args {
    /// Fail where anything is skipped.
    #[arg(long)]
    require: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

const MEMORY: u64 = 256 << 20;
/// What `dump-guest-memory` writes, and whether through the guest's page tables.
const FORMATS: [(&str, bool); 8] = [
    ("elf", false),
    ("elf", true),
    ("kdump-zlib", false),
    ("kdump-lzo", false),
    ("kdump-snappy", false),
    ("kdump-raw-zlib", false),
    ("kdump-raw-lzo", false),
    ("kdump-raw-snappy", false),
];
/// Packers, which read a file and write to standard output.
const PACKERS: [&str; 19] = [
    "gzip -1 -c",
    "pigz -1 -c",
    "bgzip -c",
    "zstd -1 -c",
    "zstd --long=27 -1 -c",
    "zstd -1 --no-check --no-content-size -T2 -c",
    "pzstd -1 -c",
    "xz -0 -c",
    "xz -0 -T2 --check=sha256 -c",
    "xz -0 --check=none -c",
    "lzma -0 -c",
    "lz4 -c",
    "lz4 -l -c",
    "lz4 -B4 -BD -BX -c",
    "bzip2 -1 -c",
    "pbzip2 -1 -c",
    "lbzip2 -1 -c",
    "gzip -1 -c twice",
    "zstd -1 -c twice",
];
const STUBS: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const COMMAND_LINE: &str = "kho=on liveupdate=on";

/// What came of one item.
enum Done {
    Passed,
    Failed(String),
    Skipped(String),
}

#[derive(Default)]
struct Results(Vec<(String, Done)>);

impl Results {
    fn add(&mut self, name: &str, done: Result<Done, Failure>) -> Result<(), Failure> {
        let done = match done {
            Ok(done) => done,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => Done::Failed(failure.to_string()),
        };
        self.0.push((name.to_owned(), done));
        check_interrupt()
    }

    fn count(&self, is: impl Fn(&Done) -> bool) -> usize {
        self.0.iter().filter(|(_, done)| is(done)).count()
    }
}

pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let vm = args.options.vm()?;
    let dir = tempdir()?;
    let mut results = Results::default();
    let dumped = dumps(&vm, dir.path(), &mut results)?;
    let mut spinner = Spinner::new("packing");
    for packer in PACKERS {
        spinner.say(packer);
        spinner.tick()?;
        results.add(packer, packed(packer, dir.path(), &dumped))?;
    }
    for maker in ["objcopy", "ukify"] {
        let name = format!("unified image by {maker}");
        results.add(&name, unified(maker, &vm.kernel, dir.path()))?;
    }
    drop(spinner);
    let failed = results.count(|done| matches!(done, Done::Failed(_)));
    let skipped = results.count(|done| matches!(done, Done::Skipped(_)));
    if args.json {
        println!("{:#}", json_of(&results));
    } else {
        for (name, done) in &results.0 {
            match done {
                Done::Passed => println!("passed   {name}"),
                Done::Failed(why) => println!("FAILED   {name}: {why}"),
                Done::Skipped(why) => println!("skipped  {name}: {why}"),
            }
        }
        let passed = results.0.len() - failed - skipped;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
    }
    Ok(failed == 0 && (skipped == 0 || !args.require))
}

fn json_of(results: &Results) -> Value {
    let rows = results.0.iter().map(|(name, done)| match done {
        Done::Passed => json!({ "name": name, "result": "passed" }),
        Done::Failed(why) => json!({ "name": name, "result": "failed", "why": why }),
        Done::Skipped(why) => json!({ "name": name, "result": "skipped", "why": why }),
    });
    Value::Array(rows.collect())
}

/// What the memory itself says, and a dump of it.
struct Dumped {
    entry: Entry,
    reading: Reading,
    core: PathBuf,
}

/// Runs the guest, and reads what QEMU dumps of it.
fn dumps(vm: &Vm, dir: &Path, results: &mut Results) -> Result<Dumped, Failure> {
    let mut plan = small(Folios::Small)?;
    plan.steps.push(kho_guest::Step::Kexec {
        command_line: command_line(0, ""),
        initramfs: false,
        wait: true,
    });
    let initramfs = dir.join("initramfs");
    let archive = guest::initramfs(&[plan], Some(&vm.kernel))?;
    fs::write(&initramfs, archive).map_err(of_file(&initramfs))?;
    let machine = Machine {
        memory: MEMORY,
        kernel: vm.kernel.clone(),
        initramfs,
        arguments: String::new(),
        loaded: Vec::new(),
    };
    let mut lacks = Vec::new();
    let stopped = machine.run_to_populate_then(vm, "dumping", dir, &mut |qmp: &mut Qmp| {
        for (format, paging) in FORMATS {
            let path = dir.join(name(format, paging));
            match qmp.dump(format, paging, &path) {
                Ok(()) => {}
                Err(Failure::Failed(text)) => lacks.push((name(format, paging), text)),
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    })?;
    let memory = stopped.memory()?;
    let dumped = Dumped {
        entry: stopped.entry,
        reading: reading::read(&memory, stopped.entry)?,
        core: dir.join(name("elf", false)),
    };
    for (format, paging) in FORMATS {
        let name = name(format, paging);
        let done = match lacks.iter().find(|(lacking, _)| *lacking == name) {
            Some((_, why)) => Ok(Done::Skipped(why.clone())),
            None => compare(&dir.join(&name), &dumped),
        };
        results.add(&format!("dump-guest-memory {name}"), done)?;
    }
    Ok(dumped)
}

fn name(format: &str, paging: bool) -> String {
    format!("{format}{}", if paging { "-paging" } else { "" })
}

/// Whether the dump at `path` has what the memory had.
fn compare(path: &Path, dumped: &Dumped) -> Result<Done, Failure> {
    let image = open(path, &ImageOptions::default())?;
    if let Some(note) = image.notes().first() {
        return Ok(Done::Failed(note.clone()));
    }
    let root = dumped.entry.fdt_addr;
    if image
        .region(root)
        .is_none_or(|region| !region.contains(root))
    {
        let why = "the guest's page tables do not map the handover yet";
        return Ok(Done::Skipped(why.to_owned()));
    }
    let reading = reading::read(&image, dumped.entry)?;
    let mut wrong = reading::differences(&dumped.reading.sessions, &reading.sessions);
    if reading.facts != dumped.reading.facts {
        wrong.push("the facts of the handover differ".to_owned());
    }
    match wrong.first() {
        None => Ok(Done::Passed),
        Some(first) => Ok(Done::Failed(first.clone())),
    }
}

/// The dump packed by `packer`, read. `twice` packs its two halves and puts them one after the other.
fn packed(packer: &str, dir: &Path, dumped: &Dumped) -> Result<Done, Failure> {
    let (command, twice) = match packer.strip_suffix(" twice") {
        Some(command) => (command, true),
        None => (packer, false),
    };
    let mut words = command.split(' ');
    let program = words.next().unwrap_or_default();
    let Some(program) = place::program(program) else {
        return Ok(Done::Skipped(format!("{program} is not installed")));
    };
    let words: Vec<_> = words.collect();
    let out = dir.join("packed");
    let file = File::create(&out).map_err(of_file(&out))?;
    let mut parts = vec![dumped.core.clone()];
    if twice {
        let bytes = fs::read(&dumped.core).map_err(of_file(&dumped.core))?;
        let (one, two) = bytes.split_at(bytes.len() / 3);
        parts = vec![dir.join("part-1"), dir.join("part-2")];
        for (part, bytes) in parts.iter().zip([one, two]) {
            fs::write(part, bytes).map_err(of_file(part))?;
        }
    }
    for part in &parts {
        let input = File::open(part).map_err(of_file(part))?;
        let output = file.try_clone().map_err(of_file(&out))?;
        let status = Command::new(&program)
            .args(&words)
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::null())
            .status()
            .map_err(of_file(&program))?;
        if !status.success() {
            return Ok(Done::Failed(format!("{command}: {status}")));
        }
    }
    compare(&out, dumped)
}

/// The kernel as a unified image, read as the kernel itself.
fn unified(maker: &str, kernel: &Path, dir: &Path) -> Result<Done, Failure> {
    let Some(program) = place::program(maker) else {
        return Ok(Done::Skipped(format!("{maker} is not installed")));
    };
    if !Path::new(STUBS).is_file() {
        return Ok(Done::Skipped(
            "systemd's stub is not installed (systemd-boot-efi)".to_owned(),
        ));
    }
    let out = dir.join(format!("{maker}.efi"));
    let (text, initrd) = (dir.join("cmdline"), dir.join("initrd"));
    fs::write(&text, COMMAND_LINE).map_err(of_file(&text))?;
    fs::write(&initrd, b"070701").map_err(of_file(&initrd))?;
    let mut command = Command::new(program);
    if maker == "objcopy" {
        let mut at = 0x100_0000u64;
        for (section, path) in [
            (".cmdline", &text),
            (".linux", &kernel.to_owned()),
            (".initrd", &initrd),
        ] {
            command
                .arg(format!("--add-section={section}={}", path.display()))
                .arg(format!("--change-section-vma={section}={at:#x}"));
            at += 0x400_0000;
        }
        command.arg(STUBS).arg(&out);
    } else {
        command
            .arg("build")
            .arg(format!("--linux={}", kernel.display()));
        command.arg(format!("--initrd={}", initrd.display()));
        command.arg(format!("--cmdline={COMMAND_LINE}"));
        command
            .arg(format!("--stub={STUBS}"))
            .arg(format!("--output={}", out.display()));
    }
    let output = command.output().map_err(of_file(&out))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Ok(Done::Failed(
            text.lines().last().unwrap_or_default().to_owned(),
        ));
    }
    let read = |path: &Path| {
        KernelImage::open(path, &KernelOptions::default(), &mut |_, _| true)
            .map_err(|error| Failure::of(path.display(), error))
    };
    let (plain, image) = (read(kernel)?, read(&out)?);
    let Some(unified) = image
        .unified()
        .filter(|_| image.kind() == KernelKind::Unified)
    else {
        return Ok(Done::Failed("not read as a unified image".to_owned()));
    };
    let initrd = unified.initrd.as_ref().map(|range| range.end - range.start);
    let same = image.strings() == plain.strings()
        && unified.cmdline.as_deref() == Some(COMMAND_LINE)
        && initrd.is_some_and(|len| len >= 6);
    Ok(match same {
        true => Done::Passed,
        false => Done::Failed(format!("{unified:?}")),
    })
}
