//! What is passed to the kernel: the ioctl numbers and their arguments. All integers are the
//! machine's own; every argument begins with its size.

use rustix::ioctl::{Opcode, opcode};

/// The ioctl type of all calls.
pub const TYPE: u8 = 0xBA;

/// Bytes of a session's name, NUL included.
pub const SESSION_NAME_LEN: usize = 64;

/// On the device: make a session. Takes [`SessionArg`].
pub const CREATE_SESSION: Opcode = opcode::none(TYPE, 0x00);
/// On the device: take over a session of the kernel before. Takes [`SessionArg`].
pub const RETRIEVE_SESSION: Opcode = opcode::none(TYPE, 0x01);
/// On a session: preserve a file. Takes [`FileArg`].
pub const PRESERVE_FD: Opcode = opcode::none(TYPE, 0x40);
/// On a session: open a file that was preserved. Takes [`FileArg`].
pub const RETRIEVE_FD: Opcode = opcode::none(TYPE, 0x41);
/// On a session: its files are no longer the handover's. Takes [`FinishArg`].
pub const FINISH: Opcode = opcode::none(TYPE, 0x42);
/// On a session: what it is called. Takes [`NameArg`].
pub const GET_NAME: Opcode = opcode::none(TYPE, 0x43);

/// A session by its name.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SessionArg {
    /// Bytes of this struct.
    pub size: u32,
    /// Out: the session's descriptor.
    pub fd: i32,
    /// In: the name, NUL-padded.
    pub name: [u8; SESSION_NAME_LEN],
}

impl SessionArg {
    /// Its bytes, as `size` says them.
    pub const SIZE: u32 = 72;
}

const _: () = assert!(size_of::<SessionArg>() == SessionArg::SIZE as usize);
const _: () = assert!(core::mem::offset_of!(SessionArg, fd) == 4);
const _: () = assert!(core::mem::offset_of!(SessionArg, name) == 8);

/// A file by its token.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FileArg {
    /// Bytes of this struct.
    pub size: u32,
    /// In for [`PRESERVE_FD`], out for [`RETRIEVE_FD`]: the file's descriptor.
    pub fd: i32,
    /// In: the file's name within its session.
    pub token: u64,
}

impl FileArg {
    /// Its bytes, as `size` says them.
    pub const SIZE: u32 = 16;
}

const _: () = assert!(size_of::<FileArg>() == FileArg::SIZE as usize);
const _: () = assert!(core::mem::offset_of!(FileArg, fd) == 4);
const _: () = assert!(core::mem::offset_of!(FileArg, token) == 8);

/// The argument of [`FINISH`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FinishArg {
    /// Bytes of this struct.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
}

impl FinishArg {
    /// Its bytes, as `size` says them.
    pub const SIZE: u32 = 8;
}

const _: () = assert!(size_of::<FinishArg>() == FinishArg::SIZE as usize);

/// The argument of [`GET_NAME`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct NameArg {
    /// Bytes of this struct.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Out: the name, NUL-padded.
    pub name: [u8; SESSION_NAME_LEN],
}

impl NameArg {
    /// Its bytes, as `size` says them.
    pub const SIZE: u32 = 72;
}

const _: () = assert!(size_of::<NameArg>() == NameArg::SIZE as usize);
const _: () = assert!(core::mem::offset_of!(NameArg, name) == 8);
