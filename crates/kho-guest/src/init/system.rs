//! The machine around: file systems, parameters, knobs, the end.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use kho_guest::{Fact, PARAM_PLAN, PARAM_PORT, PLANS, Plan, Wrong};
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::system::{RebootCommand, reboot, uname};

use crate::Fatal;
use crate::port::Port;

/// An error of the system, however it was come by.
pub(crate) trait Error: std::fmt::Display {
    /// Its number.
    fn errno(&self) -> Option<i32>;
}

impl Error for io::Error {
    fn errno(&self) -> Option<i32> {
        self.raw_os_error()
    }
}

impl Error for rustix::io::Errno {
    fn errno(&self) -> Option<i32> {
        Some(self.raw_os_error())
    }
}

/// What did not work: `kind` did not.
pub(crate) fn wrong(kind: &str, error: &dyn Error) -> Wrong {
    Wrong {
        kind: kind.to_owned(),
        errno: error.errno(),
        text: error.to_string(),
    }
}

const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("debugfs", "/sys/kernel/debug"),
];

/// Mounts what there is to mount. A kernel without debugfs has no directory for it.
pub(crate) fn mount_all() -> Result<(), Fatal> {
    for (kind, at) in MOUNTS {
        if kind == "debugfs" && !Path::new(at).exists() {
            continue;
        }
        let failed = |error: &dyn Error| (format!("mounting {at}"), wrong("mount", error));
        fs::create_dir_all(at).map_err(|error| failed(&error))?;
        match mount(kind, at, kind, MountFlags::empty(), None) {
            // The kernel mounts devtmpfs by itself where it is configured to.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(())
}

/// What the kernel's command line says.
pub(crate) struct Parameters {
    pub(crate) command_line: String,
    pub(crate) plan: u32,
    pub(crate) port: String,
}

impl Parameters {
    pub(crate) fn read() -> Result<Self, Fatal> {
        let path = "/proc/cmdline";
        let failed = |error| (path.to_owned(), wrong("parameters", &error));
        let line = fs::read_to_string(path).map_err(failed)?;
        let line = line.trim_end();
        let value = |name: &str| {
            let words = line.split(' ');
            let mut values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            values.next_back()
        };
        let plan = value(PARAM_PLAN).and_then(|number| number.parse().ok());
        Ok(Self {
            command_line: line.to_owned(),
            plan: plan.unwrap_or_default(),
            port: value(PARAM_PORT).unwrap_or("console").to_owned(),
        })
    }
}

/// The plan `number`.
pub(crate) fn plan(number: u32) -> Result<Plan, Fatal> {
    let path = format!("{PLANS}/{number}.json");
    let read =
        fs::read(&path).and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
    read.map_err(|error| (path, wrong("plan", &error)))
}

/// The running kernel's release.
pub(crate) fn release() -> String {
    uname().release().to_string_lossy().into_owned()
}

/// Raises how many files may be open to more than any plan has.
pub(crate) fn allow_many_files() -> Result<(), Fatal> {
    const MANY: u64 = 1 << 20;
    let set = |maximum| {
        let current = maximum;
        setrlimit(Resource::Nofile, Rlimit { current, maximum })
    };
    // The system's own limit may be lower.
    let own = || set(getrlimit(Resource::Nofile).maximum);
    let failed = |error| {
        (
            "the limit of open files".to_owned(),
            wrong("setrlimit", &error),
        )
    };
    set(Some(MANY)).or_else(|_| own()).map_err(failed)
}

/// Sets a knob.
pub(crate) fn write(path: &str, text: &str, port: &mut Port) {
    if let Err(error) = fs::write(path, text) {
        port.say(Fact::NotWritten {
            path: path.to_owned(),
            wrong: wrong("write", &error),
        });
    }
}

/// The address of the kernel's symbol `name`.
pub(crate) fn symbol(name: &str) -> Option<u64> {
    let all = fs::read_to_string("/proc/kallsyms").ok()?;
    all.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (addr, found) = (words.next()?, words.nth(1)?);
        (found == name).then(|| u64::from_str_radix(addr, 16).ok())?
    })
}

const DEBUG: &str = "/sys/kernel/debug";
/// Larger files are shown up to here.
const SHOWN: usize = 16 << 10;

/// Reports every file of debugfs that is about the handover.
pub(crate) fn debugfs(port: &mut Port) {
    let mut todo = vec![Path::new(DEBUG).join("kho")];
    while let Some(path) = todo.pop() {
        if let Ok(dir) = fs::read_dir(&path) {
            let mut inside: Vec<_> = dir.filter_map(|entry| Some(entry.ok()?.path())).collect();
            // The first by name is looked at first.
            inside.sort_unstable_by(|one, two| two.cmp(one));
            todo.extend(inside);
            continue;
        }
        let name = path.strip_prefix(DEBUG).unwrap_or(&path);
        let read = fs::read(&path).map_err(|error| wrong("read", &error));
        let wrong = read.as_ref().err().cloned();
        let digits = |bytes: Vec<u8>| {
            let shown = bytes.iter().take(SHOWN);
            shown.map(|byte| format!("{byte:02x}")).collect()
        };
        port.say(Fact::Debugfs {
            path: name.display().to_string(),
            bytes: read.ok().map(digits),
            wrong,
        });
    }
}

/// The weight from which on the kernel's messages are reported: its warnings.
const WARNING: u8 = 4;
/// Larger than any message.
const MESSAGE: usize = 8 << 10;

/// Reports the kernel's messages of weight.
pub(crate) fn journal(port: &mut Port) {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(log) = open("/dev/kmsg", flags, Mode::empty()) else {
        return;
    };
    let mut message = vec![0; MESSAGE];
    // The end of the log is an error: nothing more is there yet.
    while let Ok(len) = rustix::io::read(&log, message.as_mut_slice()) {
        let message = String::from_utf8_lossy(message.get(..len).unwrap_or_default());
        if let Some((level, text)) = parse(&message)
            && level <= WARNING
        {
            let text = text.to_owned();
            port.say(Fact::Kernel { level, text });
        }
    }
}

/// A message of the log: its weight, and its first line, which is all that is its text. Before it stand
/// numbers, the first of them with the weight in its last three bits.
fn parse(message: &str) -> Option<(u8, &str)> {
    let (head, text) = message.split_once(';')?;
    let number: u32 = head.split(',').next()?.parse().ok()?;
    let level = u8::try_from(number & 7).ok()?;
    Some((level, text.lines().next()?))
}

/// Powers the machine off, or has it restart: one of them it can.
pub(crate) fn power_off() -> ! {
    for command in [RebootCommand::Restart, RebootCommand::PowerOff] {
        if let Err(error) = reboot(command) {
            println!("kho-guest: {command:?}: {error}");
        }
    }
    loop {
        // An init that ends is a kernel panic.
        std::thread::sleep(Duration::from_secs(1));
    }
}
