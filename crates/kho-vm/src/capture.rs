//! `vm capture`: what a real kernel hands over.

use std::fs;
use std::path::PathBuf;

use kho_guest::{Fact, FileSpec, Plan, SessionName, Step, seed_of};
use kho_mem::PAGE_SIZE_U64;
use serde_json::{Value, json};

use crate::boot::BzImage;
use crate::cut;
use crate::failure::{Failure, of_file};
use crate::guest;
use crate::inject::{compare_preserved, say, seconds, tempdir};
use crate::options::{Options, Vm};
use crate::qemu::{Machine, command_line};
use crate::reading::{self, Reading};
use crate::run::Outcome;

/// Have a real kernel hand memfds over, and save what its successor would find.
///
/// The guest makes sessions, fills memfds and preserves them, loads the same kernel once more and executes
/// it. That one is stopped as it enters kho_populate, the function that looks for what was handed over; the
/// machine's memory is saved and cut down to what the handover reaches. OUT is an ELF core, compressed if its
/// name ends in .zst, and beside it stand the facts that were read from it. What is read is compared with
/// what the guest put in.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm capture --out three.core.zst --files 3
  cargo xtask vm capture --out mixed.core.zst --files 8 --sizes 300000,64K,1M,5000 --folios mixed
  cargo xtask vm capture --out reserve.core.zst --reserve-mem 2M:4096:one --reserve-mem 12K:4096:two
  cargo xtask vm capture --out own.core.zst --plan plan.json")]
pub(crate) struct Args {
    /// The capture.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sessions, among which the files are spread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=100_000))]
    sessions: u64,
    /// Files in all.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    files: u64,
    /// The files' sizes in turn; K and M count in 1024s.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = bytes, default_value = "5000,40000,4096")]
    sizes: Vec<u64>,
    /// What contents follow from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How large the folios are that the kernel puts the files in.
    #[arg(long, value_enum, default_value_t = Folios::Small)]
    folios: Folios,
    /// The same as --folios huge.
    #[arg(long, conflicts_with = "folios")]
    huge: bool,
    /// Memory that the kernel reserves by name, and hands over; may be given several times.
    #[arg(long, value_name = "SIZE:ALIGN:NAME")]
    reserve_mem: Vec<String>,
    /// What else the kernels are told.
    #[arg(long, value_name = "TEXT", default_value = "")]
    command_line: String,
    /// What the guest does before the kexec, instead of making files: a plan (JSON).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sessions", "files", "sizes", "folios", "huge"])]
    plan: Option<PathBuf>,
    /// The guest's memory.
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "256M")]
    memory: u64,
    /// Print JSON: what was captured.
    #[arg(long)]
    json: bool,
    /// Write the kernel's log there.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// How large folios are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Folios {
    /// A page each.
    Small,
    /// 2 MiB each.
    Huge,
    /// Of every size, as large as what is written at once.
    Mixed,
}

/// A number of bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let units = [('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30)].into_iter();
    let mut units = units.filter_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)));
    let (digits, unit) = units.next().unwrap_or((text, 1u64));
    let number = digits.parse::<u64>().ok();
    let number = number.and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| format!("`{text}`: expected a number of bytes, like 5000, 40K or 2M"))
}

pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let vm = args.options.vm()?;
    let plan = match &args.plan {
        Some(path) => {
            let text = fs::read(path).map_err(of_file(path))?;
            serde_json::from_slice(&text).map_err(|error| Failure::of(path.display(), error))?
        }
        None => args.plan()?,
    };
    let (arguments, memory) = (args.arguments(), args.memory);
    let wanted = Wanted {
        plan,
        arguments,
        memory,
    };
    let captured = wanted.capture(&vm, &args.out)?;
    captured.outcome.write_log(args.log.as_deref())?;
    captured.print(args, vm.qemu.accel.name());
    Ok(captured.wrong.is_empty())
}

impl Args {
    fn arguments(&self) -> String {
        let reserved = self.reserve_mem.iter();
        let reserved = reserved.map(|it| format!("reserve_mem={it} "));
        let reserved: String = reserved.collect();
        format!("{reserved}{}", self.command_line).trim().to_owned()
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let folios = if self.huge { Folios::Huge } else { self.folios };
        let mut steps = folios.knobs();
        let mut from = 0;
        for index in 0..self.sessions {
            let to = self.files * (index + 1) / self.sessions;
            steps.push(Step::Create {
                session: session_name(&format!("session-{index}"))?,
                files: (from..to).map(|file| self.file(file, folios)).collect(),
            });
            from = to;
        }
        Ok(Plan { steps })
    }

    fn file(&self, index: u64, folios: Folios) -> FileSpec {
        let which = usize::try_from(index).unwrap_or_default() % self.sizes.len().max(1);
        let size = self.sizes.get(which).copied().unwrap_or_default();
        folios.file(index + 1, size, seed_of(self.seed, index))
    }
}

/// A small handover of files in such folios.
pub(crate) fn small(folios: Folios) -> Result<Plan, Failure> {
    const SIZES: [u64; 7] = [5000, 300_000, 0, 64 << 10, 20_000, 1, 100_000];
    let mut steps = folios.knobs();
    for (session, sizes) in SIZES.chunks(4).enumerate() {
        let files = (1..).zip(sizes).map(|(token, size)| FileSpec {
            pos: size / 2,
            seals: if token == 2 { 0x6 } else { 0 },
            ..folios.file(token, *size, token)
        });
        steps.push(Step::Create {
            session: session_name(&format!("session {session}"))?,
            files: files.collect(),
        });
    }
    Ok(Plan { steps })
}

fn session_name(name: &str) -> Result<SessionName, Failure> {
    SessionName::new(name).map_err(|error| Failure::of(name, error))
}

/// Sizes that the kernel has a knob for, in KiB.
const SIZES: [u32; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];

impl Folios {
    /// A file that the kernel puts in such folios.
    fn file(self, token: u64, size: u64, seed: u64) -> FileSpec {
        let file = FileSpec::new(token, size, seed);
        match self {
            Self::Small => file,
            // As large as what is written at once; and captures stay small.
            Self::Mixed | Self::Huge => FileSpec {
                size_first: true,
                write_pages: size.div_ceil(PAGE_SIZE_U64).max(1),
                thin: true,
                ..file
            },
        }
    }

    /// The steps that have the kernel do so. A kernel without huge pages has no such knobs.
    pub(crate) fn knobs(self) -> Vec<Step> {
        let dir = "/sys/kernel/mm/transparent_hugepage";
        let write = |name: &str, text: &str| {
            let (path, text) = (format!("{dir}/{name}shmem_enabled"), text.to_owned());
            Step::Write { path, text }
        };
        let all = match self {
            Self::Small => return Vec::new(),
            Self::Huge => "always",
            Self::Mixed => "within_size",
        };
        let mut steps = vec![write("", all)];
        for size in SIZES {
            let inherit = self == Self::Mixed || size == 2048;
            let text = if inherit { "inherit" } else { "never" };
            steps.push(write(&format!("hugepages-{size}kB/"), text));
        }
        steps
    }
}

/// What is to be captured.
pub(crate) struct Wanted {
    /// What the guest does before the kexec.
    pub(crate) plan: Plan,
    /// What its kernels are told.
    pub(crate) arguments: String,
    pub(crate) memory: u64,
}

/// What was captured.
pub(crate) struct Captured {
    pub(crate) outcome: Outcome,
    pub(crate) reading: Reading,
    pub(crate) wrong: Vec<String>,
    bytes: u64,
}

impl Wanted {
    /// Captures it to the file `out`.
    pub(crate) fn capture(mut self, vm: &Vm, out: &std::path::Path) -> Result<Captured, Failure> {
        // It is one, or the guest would find out.
        BzImage::read(&vm.kernel)?;
        let dir = tempdir()?;
        self.plan.steps.push(Step::Journal);
        self.plan.steps.push(Step::Kexec {
            command_line: command_line(0, &self.arguments),
            initramfs: false,
            wait: true,
        });
        let initramfs = dir.path().join("initramfs");
        let archive = guest::initramfs(&[self.plan], Some(&vm.kernel))?;
        fs::write(&initramfs, archive).map_err(of_file(&initramfs))?;
        let machine = Machine {
            memory: self.memory,
            kernel: vm.kernel.clone(),
            initramfs,
            arguments: self.arguments,
            loaded: Vec::new(),
        };
        let stopped = machine.run_to_populate(vm, "capturing", dir.path())?;
        let memory = stopped.memory()?;
        let reading = reading::read(&memory, stopped.entry)?;
        let mut wrong = compare_preserved(&reading.sessions, &stopped.outcome.facts);
        wrong.extend(stopped.outcome.kernel_says());
        let bytes = cut::write(&memory, stopped.entry, &reading.facts, out)?;
        Ok(Captured {
            outcome: stopped.outcome,
            reading,
            wrong,
            bytes,
        })
    }
}

impl Captured {
    fn json(&self, accel: &str) -> Value {
        let symbol = self.outcome.find(|fact| match fact {
            Fact::Symbol { addr, .. } => Some(*addr),
            _ => None,
        });
        json!({
            "kernel": self.outcome.release(),
            "accel": accel,
            "seconds": seconds(self.outcome.seconds),
            "kho_populate": symbol,
            "bytes": self.bytes,
            "wrong": self.wrong,
            "facts": self.reading.facts,
        })
    }

    fn print(&self, args: &Args, accel: &str) {
        if args.json {
            println!("{:#}", self.json(accel));
            return;
        }
        let files: usize = self.reading.sessions.iter().map(|s| s.files.len()).sum();
        println!(
            "Linux {} ({accel}, {:.1} s): {} sessions, {files} files; {}, {} bytes",
            self.outcome.release(),
            self.outcome.seconds,
            self.reading.sessions.len(),
            args.out.display(),
            self.bytes,
        );
        if let Some(by_order) = self.reading.facts.pointer("/preserved/by_order") {
            println!("preserved ranges by order: {by_order}");
        }
        say(&self.wrong, "what is read from it is what the guest put in");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let read = ["5000", "40K", "2M", "3G"].map(|text| bytes(text).unwrap());
        assert_eq!(read, [5000, 40 << 10, 2 << 20, 3 << 30]);
        assert!(
            ["K", "1T", "99999999999G"]
                .iter()
                .all(|text| bytes(text).is_err())
        );
    }
}
