//! The calls themselves: the only place that is not safe Rust.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

use crate::abi::{
    CREATE_SESSION, FINISH, FileArg, FinishArg, GET_NAME, NameArg, PRESERVE_FD, RETRIEVE_FD,
    RETRIEVE_SESSION, SESSION_NAME_LEN, SessionArg,
};

/// An argument that goes to the kernel by address, and comes back.
struct Passed<const OPCODE: Opcode, A>(A);

// SAFETY:
// - The private `call` makes the only values, for the six pairs of number and argument below,
//   which are the kernel's: each argument is a `repr(C)` struct whose size and offsets are asserted in
//   `abi`, it holds plain integers, and any bytes are a value of it.
// - Each argument begins with its own size, and the kernel touches no byte behind that.
// - `as_ptr` is the address of the argument, which lives and is not moved until after
//   `output_from_ptr`; that reads it from the same address.
// - The kernel may write to it, and `IS_MUTATING` says so.
unsafe impl<const OPCODE: Opcode, A: Copy> Ioctl for Passed<OPCODE, A> {
    type Output = A;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, arg: *mut c_void) -> rustix::io::Result<A> {
        // SAFETY:
        // - `arg` came from `as_ptr`: it is aligned for `A` and points to an initialised one, in which
        //   the kernel may have replaced bytes; any bytes are an `A`.
        Ok(unsafe { arg.cast::<A>().read() })
    }
}

fn call<const OPCODE: Opcode, A: Copy>(fd: BorrowedFd<'_>, arg: A) -> Result<A, Errno> {
    // SAFETY:
    // - The number belongs to one driver, that of the live update orchestrator: the kernel's register
    //   of ioctl numbers gives type 0xBA to it alone. Any other file answers ENOTTY and touches
    //   nothing. `Device` and `Session` check in addition that the descriptor is a device of the kind, or
    //   answers to the name of a session.
    // - The argument is what that driver expects for the number: see the implementation of `Ioctl`.
    unsafe { ioctl(fd, Passed::<OPCODE, A>(arg)) }
}

/// Owns the descriptor `fd` that the kernel has just made; it is closed on exec.
fn own(fd: i32) -> Result<OwnedFd, Errno> {
    // An answer that is no descriptor: nothing is owned by it.
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY:
    // - The call succeeded, so the kernel has installed a new descriptor in this process and written its
    //   number here; it is open, and nobody else knows of it.
    // - It is not negative, so it is not the number that `OwnedFd` must not hold.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let flags = fcntl_getfd(&fd)?;
    if !flags.contains(FdFlags::CLOEXEC) {
        fcntl_setfd(&fd, flags | FdFlags::CLOEXEC)?;
    }
    Ok(fd)
}

const fn session_arg(name: [u8; SESSION_NAME_LEN]) -> SessionArg {
    SessionArg {
        size: SessionArg::SIZE,
        fd: -1,
        name,
    }
}

pub(crate) fn create_session(
    device: BorrowedFd<'_>,
    name: [u8; SESSION_NAME_LEN],
) -> Result<OwnedFd, Errno> {
    own(call::<CREATE_SESSION, _>(device, session_arg(name))?.fd)
}

pub(crate) fn retrieve_session(
    device: BorrowedFd<'_>,
    name: [u8; SESSION_NAME_LEN],
) -> Result<OwnedFd, Errno> {
    own(call::<RETRIEVE_SESSION, _>(device, session_arg(name))?.fd)
}

/// Preserves the file whose descriptor has the number `fd`.
pub(crate) fn preserve(session: BorrowedFd<'_>, fd: i32, token: u64) -> Result<(), Errno> {
    let arg = FileArg {
        size: FileArg::SIZE,
        fd,
        token,
    };
    call::<PRESERVE_FD, _>(session, arg).map(drop)
}

pub(crate) fn retrieve(session: BorrowedFd<'_>, token: u64) -> Result<OwnedFd, Errno> {
    let arg = FileArg {
        size: FileArg::SIZE,
        fd: -1,
        token,
    };
    own(call::<RETRIEVE_FD, _>(session, arg)?.fd)
}

pub(crate) fn finish(session: BorrowedFd<'_>) -> Result<(), Errno> {
    let arg = FinishArg {
        size: FinishArg::SIZE,
        reserved: 0,
    };
    call::<FINISH, _>(session, arg).map(drop)
}

pub(crate) fn name(session: BorrowedFd<'_>) -> Result<[u8; SESSION_NAME_LEN], Errno> {
    let arg = NameArg {
        size: NameArg::SIZE,
        reserved: 0,
        name: [0; SESSION_NAME_LEN],
    };
    Ok(call::<GET_NAME, _>(session, arg)?.name)
}
