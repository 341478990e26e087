//! What every part that boots something can be told.

use std::path::PathBuf;
use std::time::Duration;

use crate::failure::Failure;
use crate::kernel;
use crate::place;
use crate::qemu::{Choice, Qemu, choose};

/// How guests are run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// The kernel, a bzImage. Without it $KHO_VM_KERNEL, else the one that `vm kernel` finds.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The program.
    #[arg(long, value_name = "PROGRAM", default_value = PROGRAM)]
    qemu: PathBuf,
    /// What runs the guest's instructions.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    accel: Choice,
    /// How long a guest may take, in seconds.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
}

const PROGRAM: &str = "qemu-system-x86_64";

/// A QEMU that works, and a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Vm {
    pub(crate) qemu: Qemu,
    pub(crate) kernel: PathBuf,
}

impl Options {
    /// Makes sure that there is what it takes.
    pub(crate) fn vm(&self) -> Result<Vm, Failure> {
        let name = self.qemu.display();
        let program = if self.qemu.components().count() > 1 {
            self.qemu.is_file().then(|| self.qemu.clone())
        } else {
            place::program(&name.to_string())
        };
        let program = program.ok_or_else(|| {
            let text = format!("{name} is not there; on Debian: apt-get install qemu-system-x86");
            Failure::CanNot(text)
        })?;
        let kernel = kernel::find(self.kernel.as_deref())?;
        let accel = choose(self.accel, &program, &kernel)?;
        Ok(Vm {
            qemu: Qemu {
                program,
                accel,
                limit: Duration::from_secs(self.timeout),
            },
            kernel,
        })
    }
}
