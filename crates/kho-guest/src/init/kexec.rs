//! The next kernel.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use kho_guest::Fact;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::system::{RebootCommand, reboot};

use crate::Fatal;
use crate::archive::{self, KERNEL};
use crate::port::Port;
use crate::system::{symbol, wrong};

/// Where the next kernel learns that something was handed over.
const POPULATE: &str = "kho_populate";

/// Loads the kernel of the initramfs and runs it.
pub(crate) fn run(
    command_line: &str,
    initramfs: bool,
    wait: bool,
    port: &mut Port,
) -> Result<(), Fatal> {
    let failed = |error| {
        (
            "loading the next kernel".to_owned(),
            wrong("kexec_file_load", &error),
        )
    };
    load(command_line, initramfs).map_err(failed)?;
    if wait {
        // The next kernel is the same, and is not moved.
        if let Some(addr) = symbol(POPULATE) {
            let name = POPULATE.to_owned();
            port.say(Fact::Symbol { name, addr });
        }
        port.say(Fact::Ready);
        port.wait()?;
    }
    port.say(Fact::Leaving);
    port.drain();
    let left = reboot(RebootCommand::Kexec);
    let error = left.err().unwrap_or(rustix::io::Errno::NOSYS);
    Err(("leaving".to_owned(), wrong("reboot", &error)))
}

fn load(command_line: &str, initramfs: bool) -> io::Result<()> {
    let kernel = File::open(KERNEL)?;
    let mut archive = None;
    if initramfs {
        let mut file = File::from(memfd_create("initramfs", MemfdFlags::CLOEXEC)?);
        file.write_all(&archive::pack()?)?;
        archive = Some(file);
    }
    let archive = archive.as_ref().map(AsFd::as_fd);
    kexec_file_load(kernel.as_fd(), archive, &CString::new(command_line)?)
}

/// Has the running kernel load the next one, which changes nothing until it is run.
#[allow(unsafe_code)]
fn kexec_file_load(
    kernel: BorrowedFd<'_>,
    initramfs: Option<BorrowedFd<'_>>,
    command_line: &CString,
) -> io::Result<()> {
    /// No initramfs: its descriptor is not looked at.
    const NO_INITRAMFS: libc::c_ulong = 4;
    let (initramfs, flags) = match &initramfs {
        Some(fd) => (fd.as_raw_fd(), 0),
        None => (-1, NO_INITRAMFS),
    };
    let line = command_line.as_bytes_with_nul();
    // SAFETY:
    // - The call takes five numbers; the fourth is the address of as many bytes as the third says, NUL
    //   included, which the kernel reads before it returns and does not write to. They live in
    //   `command_line`, which is borrowed for longer.
    // - The descriptors are borrowed, so they are open; the kernel reads the files and keeps neither.
    // - Nothing of this process changes; the loaded kernel is run by another call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initramfs,
            line.len(),
            line.as_ptr(),
            flags,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
