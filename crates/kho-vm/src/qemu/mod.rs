//! A guest under QEMU.

mod accel;
mod gdb;
mod process;
mod qmp;
mod socket;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kho_guest::frame::{Frames, Line};
use kho_guest::{Fact, PARAM_PLAN, PARAM_PORT};
use tempfile::TempDir;

use crate::failure::{Failure, of_file};
use crate::inject::tempdir;
use crate::journal;
use crate::wait::{Spinner, TICK};

use process::{OFTEN, Process};

pub(crate) use accel::{Accel, Choice, choose};
pub(crate) use gdb::Gdb;
pub(crate) use qmp::Qmp;

/// The machine type: with newer ones QEMU replaces the list of boot data by its own.
const MACHINE: &str = "pc-i440fx-7.1";
/// Where the memory of such a machine has its hole for devices.
pub(crate) const MEMORY_LIMIT: u64 = 3 << 30;
/// What every kernel is told. It restarts after a panic, where this QEMU ends. It does not look
/// whether its timer ticks, which is wrong about a guest that has to wait for a processor. Its own test of KHO
/// hands over little, since that is in every capture.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 panic=-1 nokaslr no_timer_check kho=on liveupdate=on test_kho.max_mem=65536";
/// The port for reports: nothing else is written there.
const REPORT_PORT: &str = "ttyS1";

/// How QEMU is run.
#[derive(Clone, Debug)]
pub(crate) struct Qemu {
    pub(crate) program: PathBuf,
    pub(crate) accel: Accel,
    /// How long a guest may take.
    pub(crate) limit: Duration,
}

/// A machine to be started.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Bytes of memory.
    pub(crate) memory: u64,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// What the kernel is told beside what every kernel is.
    pub(crate) arguments: String,
    /// Files that are in memory from the start, and where.
    pub(crate) loaded: Vec<(PathBuf, u64)>,
}

/// The command line of a kernel that follows plan `plan`.
pub(crate) fn command_line(plan: u32, more: &str) -> String {
    let line = format!("{KERNEL_ARGUMENTS} {PARAM_PORT}={REPORT_PORT} {PARAM_PLAN}={plan} {more}");
    line.trim_end().to_owned()
}

/// What a guest does next.
#[derive(Debug)]
pub(crate) enum Event {
    /// It says something.
    Fact(Fact),
    /// QEMU has ended.
    Ended,
}

/// A running guest. It is killed when this is dropped, and when this process ends in whatever way.
pub(crate) struct Guest {
    process: Process,
    dir: TempDir,
    port: UnixStream,
    frames: Frames,
    // Facts that were read and not asked for yet.
    waiting: VecDeque<Fact>,
    said: u64,
    end: Instant,
    limit: Duration,
    spinner: Spinner,
}

impl Machine {
    /// Starts the machine.
    pub(crate) fn start(&self, qemu: &Qemu, what: &str) -> Result<Guest, Failure> {
        let dir = tempdir()?;
        let errors = dir.path().join("qemu.err");
        let stderr = File::create(&errors).map_err(of_file(&errors))?;
        let mut process = Process::start(&qemu.program, |command| {
            command.args(self.words(qemu, dir.path())).stderr(stderr);
        })?;
        let end = Instant::now() + qemu.limit;
        let port = process.connect(&dir.path().join(PORT), end, &errors)?;
        let set = port.set_read_timeout(Some(TICK));
        set.map_err(|error| Failure::of("the port", error))?;
        Ok(Guest {
            process,
            dir,
            port,
            frames: Frames::default(),
            waiting: VecDeque::new(),
            said: 0,
            end,
            limit: qemu.limit,
            spinner: Spinner::new(what),
        })
    }

    fn words(&self, qemu: &Qemu, dir: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut say = |name: &str, value: OsString| words.extend([name.into(), value]);
        let socket = |id: &str, name: &str, wait: &str| {
            let path = quoted(&dir.join(name));
            format!("socket,id={id},path={path},server=on,wait={wait}").into()
        };
        say("-accel", qemu.accel.name().into());
        say("-cpu", qemu.accel.cpu().into());
        say("-machine", MACHINE.into());
        say("-m", format!("{}M", self.memory >> 20).into());
        say("-display", "none".into());
        say("-kernel", self.kernel.clone().into());
        say("-initrd", self.initramfs.clone().into());
        say("-append", command_line(0, &self.arguments).into());
        // The first port is the kernel's console, the second the guest's report.
        let log = format!("file,id=log,path={}", quoted(&dir.join(LOG)));
        say("-chardev", log.into());
        say("-serial", "chardev:log".into());
        say("-chardev", socket("port", PORT, "on"));
        say("-serial", "chardev:port".into());
        say("-chardev", socket("qmp", QMP, "off"));
        say("-mon", "chardev=qmp,mode=control".into());
        say("-chardev", socket("gdb", GDB, "off"));
        say("-gdb", "chardev:gdb".into());
        for (file, addr) in &self.loaded {
            let file = quoted(file);
            let device = format!("loader,force-raw=on,file={file},addr={addr:#x}");
            say("-device", device.into());
        }
        words.extend(["-nodefaults".into(), "-no-reboot".into()]);
        words
    }
}

const LOG: &str = "console.log";
const PORT: &str = "port";
const QMP: &str = "qmp";
const GDB: &str = "gdb";

impl Guest {
    /// What comes next; an error where nothing does in time, or where something of the report is lost.
    pub(crate) fn next(&mut self) -> Result<Event, Failure> {
        let mut bytes = [0; 16 << 10];
        loop {
            if let Some(fact) = self.waiting.pop_front() {
                return Ok(Event::Fact(fact));
            }
            match self.port.read(&mut bytes) {
                Ok(len) if len > 0 => self.take(bytes.get(..len).unwrap_or_default())?,
                Err(error) if is_timeout(&error) => {}
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                    return Err(Failure::of("the guest's port", error));
                }
                _ => {
                    self.wait_for_end()?;
                    return Ok(Event::Ended);
                }
            }
            self.tick()?;
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        for line in self.frames.push(bytes) {
            let report = match line {
                Line::Report(report) => report,
                Line::Torn(text) => return Err(self.failed(&format!("a report is torn: {text}"))),
            };
            // Each kernel's init counts from 0.
            if matches!(report.fact, Fact::Boot { .. }) {
                self.said = report.seq;
            }
            if report.seq != self.said {
                let text = format!("a report is lost: {} instead of {}", report.seq, self.said);
                return Err(self.failed(&text));
            }
            self.said += 1;
            self.waiting.push_back(report.fact);
        }
        Ok(())
    }

    /// An error where its time is over, or the user said stop.
    pub(crate) fn tick(&mut self) -> Result<(), Failure> {
        self.spinner.tick()?;
        if Instant::now() > self.end {
            return Err(Failure::NoEnd {
                after: self.limit,
                log: self.log(),
            });
        }
        Ok(())
    }

    fn wait_for_end(&mut self) -> Result<(), Failure> {
        while self.process.ended()?.is_none() {
            self.tick()?;
            std::thread::sleep(OFTEN);
        }
        Ok(())
    }

    /// Says to the guest that it may go on.
    pub(crate) fn go(&mut self) -> Result<(), Failure> {
        let sent = self.port.write_all(b"go\n");
        sent.map_err(|error| Failure::of("the guest's port", error))
    }

    /// The debugger's view of it. It stops as soon as there is one.
    pub(crate) fn gdb(&self) -> Result<Gdb, Failure> {
        Gdb::connect(&self.dir.path().join(GDB), self.end)
    }

    /// The control of its machine.
    pub(crate) fn qmp(&self) -> Result<Qmp, Failure> {
        Qmp::connect(&self.dir.path().join(QMP), self.end)
    }

    /// What its kernel wrote to the console so far.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.dir.path().join(LOG));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }

    /// The failure `text`, with the end of the kernel's log.
    pub(crate) fn failed(&self, text: &str) -> Failure {
        Failure::Failed(format!("{text}\n{}", journal::tail(&self.log())))
    }
}

/// The path as a part of an option of QEMU's, where a comma ends it.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
