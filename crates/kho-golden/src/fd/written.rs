//! What is written of a descriptor: the part of the format that no struct shows.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use kho_abi_check::{Failure, Text};
use kho_compat::{Ability, Side};
use kho_core::{Kho, KhoConfig};
use kho_fd::COMPONENT;
use kho_fd::{FdFile, FdHandler, FdTable};
use kho_luo::FileHandler;
use kho_mem::PhysAddr;
use rustix::fs::fstat;

use crate::dump::{Dump, arena};

/// A descriptor's state: what its number and inode are differs, where they stand does not.
pub(crate) fn socket() -> Result<Text, Failure> {
    let mut kho = Ability::try_from(&kho_core::COMPONENT)?;
    kho.needs.clear();
    let side = Side::new([kho, Ability::try_from(&COMPONENT)?])?;
    let kho = Kho::new(arena()?, &KhoConfig::new().side(side))?;
    let compat = kho.compat(FdHandler::default().component())?;

    let (socket, _peer) = UnixStream::pair()?;
    let file = Arc::new(FdFile::new(socket.into()));
    let (stat, number) = (fstat(file.as_fd())?, file.as_fd().as_raw_fd());
    let handler = FdHandler::new(FdTable::default());
    let mut preserved = handler.preserve(&kho, &file)?;
    let at = PhysAddr::new(handler.freeze(&file, &mut preserved)?);
    handler.unfreeze(&file, &mut preserved);
    handler.hand_over(&file, preserved);

    let tracker = kho.preserver().root();
    let mut dump = Dump::new(kho.hand_over().map_err(|_| "still shared")?)?;
    let page = dump.read(at, 4096)?;
    let mut written = page.as_slice();
    let number = u32::try_from(number)?.to_le_bytes();
    let (dev, ino) = (stat.st_dev.to_le_bytes(), stat.st_ino.to_le_bytes());
    // The type of a socket, S_IFSOCK.
    let kind = 0o140_000_u32.to_le_bytes();
    let shown = dump.name(at);
    dump.line(format!("{compat} at {shown}"));
    let fields: [(&str, &[u8]); 4] = [
        ("the descriptor's number", &number),
        ("0o140000, a socket's type", &kind),
        ("the device of its inode", &dev),
        ("the inode's number", &ino),
    ];
    let mut offset = 0;
    for (name, bytes) in fields {
        let (field, rest) = written.split_at_checked(bytes.len()).unwrap_or_default();
        let is = if field == bytes { "" } else { "not " };
        dump.line(format!("{offset:04x}  {} bytes: {is}{name}", bytes.len()));
        offset += bytes.len();
        written = rest;
    }
    let rest = if written.iter().all(|byte| *byte == 0) {
        "zeros"
    } else {
        "more"
    };
    dump.line(format!("{offset:04x}  {rest}"));
    dump.preserved(tracker)?;
    Ok(dump.finish().into())
}
