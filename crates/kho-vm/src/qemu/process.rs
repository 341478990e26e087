//! The process of a QEMU.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::{place, wait};

/// How often it is looked whether something has happened that happens soon.
pub(crate) const OFTEN: Duration = Duration::from_millis(5);

/// A process that is killed when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts `program` with what `set` says.
    pub(crate) fn start(program: &Path, set: impl FnOnce(&mut Command)) -> Result<Self, Failure> {
        let mut command = bound_to_us(program);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        set(&mut command);
        let child = command.spawn().map_err(|error| {
            Failure::CanNot(format!("{} does not start: {error}", program.display()))
        })?;
        Ok(Self(child))
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let ended = self.0.try_wait();
        ended.map_err(|error| Failure::of("QEMU", error))
    }

    /// Connects to the socket `path`, which it makes. `errors` is where it says why it does not.
    pub(crate) fn connect(
        &mut self,
        path: &Path,
        end: Instant,
        errors: &Path,
    ) -> Result<UnixStream, Failure> {
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > end => return Err(Failure::of("QEMU", error)),
                Err(_) => {}
            }
            if let Some(status) = self.ended()? {
                let errors = fs::read_to_string(errors).unwrap_or_default();
                let text = format!("QEMU: {status}\n{}", errors.trim_end());
                return Err(Failure::Failed(text));
            }
            wait::check_interrupt()?;
            std::thread::sleep(OFTEN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended can not be killed, which is as well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The command `program`, which the system kills when the thread that starts it ends, in whatever way.
/// Where there is no setpriv, which Debian always has, a guest outlives whoever is killed.
fn bound_to_us(program: &Path) -> Command {
    let Some(setpriv) = place::program("setpriv") else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}
