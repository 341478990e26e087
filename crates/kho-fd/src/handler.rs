//! The descriptor handler of a live update.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use kho_core::{Attached, Kho, PreservedFolio};
use kho_luo::{FileHandler, HandlerError, Retrieve};
use kho_mem::{Damage, Defect, PhysAddr, PhysMemExt, put};
use rustix::fs::{FileType, fstat};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::v1::{FdSer, VERSION};
use crate::{COMPONENT, NAME};
use crate::{FdFile, FdTable};

/// Hands [`FdFile`]s over.
///
/// What a descriptor must turn out to be is its file type, device and inode: that tells sockets, pipes
/// and files apart, each from each; eventfds, timerfds and epoll descriptors share one inode, and are
/// told from others only.
#[derive(Clone, Debug, Default)]
pub struct FdHandler {
    table: FdTable,
}

/// What preserving a descriptor makes.
#[derive(Debug)]
pub struct PreservedFd {
    ser: PreservedFolio,
    number: RawFd,
    // Its flags when it was preserved.
    flags: FdFlags,
}

impl FdHandler {
    /// The handler of the descriptors of `table`.
    #[must_use]
    pub const fn new(table: FdTable) -> Self {
        Self { table }
    }
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> HandlerError {
    HandlerError::new(error)
}

/// What a descriptor is: the file type bits, the device and the inode.
fn identity(fd: impl AsFd) -> Result<(u32, u64, u64), HandlerError> {
    let stat = fstat(fd).map_err(refused)?;
    let kind = FileType::from_raw_mode(stat.st_mode).as_raw_mode();
    Ok((kind, stat.st_dev, stat.st_ino))
}

impl FileHandler for FdHandler {
    type File = FdFile;
    type Preserved = PreservedFd;

    fn component(&self) -> &'static str {
        NAME
    }

    fn writes(&self) -> &[u32] {
        &[VERSION]
    }

    fn preserve(&self, kho: &Kho, file: &Arc<FdFile>) -> Result<PreservedFd, HandlerError> {
        let (kind, dev, ino) = identity(file.as_fd())?;
        let number = file.as_fd().as_raw_fd();
        if number <= 2 {
            let text = format!("descriptor {number} is the program's standard input or output");
            return Err(HandlerError::new(text));
        }
        let ser = FdSer {
            number: U32::new(u32::try_from(number).map_err(refused)?),
            kind: U32::new(kind),
            dev: U64::new(dev),
            ino: U64::new(ino),
        };
        let mut folio = kho
            .preserver()
            .alloc_preserve(size_of::<FdSer>())
            .map_err(refused)?;
        put(
            &mut folio,
            0,
            ser.as_bytes(),
            "bytes of a descriptor's page",
        )
        .map_err(refused)?;
        Ok(PreservedFd {
            ser: folio,
            number,
            // Here, while the program may serve still: the freeze is a call for each descriptor.
            flags: fcntl_getfd(file.as_fd()).map_err(refused)?,
        })
    }

    fn unpreserve(&self, _file: &Arc<FdFile>, preserved: PreservedFd) {
        drop(preserved);
    }

    fn freeze(&self, file: &Arc<FdFile>, preserved: &mut PreservedFd) -> Result<u64, HandlerError> {
        fcntl_setfd(file.as_fd(), FdFlags::empty()).map_err(refused)?;
        self.table.freeze(preserved.number, file);
        Ok(preserved.ser.addr().get())
    }

    fn unfreeze(&self, file: &Arc<FdFile>, preserved: &mut PreservedFd) {
        self.table.unfreeze(preserved.number);
        // An open descriptor's flags can be set. What is inherited too much is a nuisance only.
        let _ = fcntl_setfd(file.as_fd(), preserved.flags);
    }

    fn hand_over(&self, _file: &Arc<FdFile>, preserved: PreservedFd) {
        preserved.ser.hand_over();
    }

    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<FdFile>, HandlerError> {
        retrieve.found(&COMPONENT).map_err(refused)?;
        let link = retrieve.link(data, "descriptor");
        let read = retrieve.restoring(|restoring| {
            restoring.page(link)?;
            restoring.follow::<FdSer>(link)
        });
        let ser = read.map_err(refused)?;
        let damage = |defect, found: String, expected: &str| {
            refused(
                Damage::new(defect, "descriptor", ser.at())
                    .found(found)
                    .expected(expected),
            )
        };
        let number = ser.number.get();
        let open = RawFd::try_from(number).ok();
        let Some(fd) = open.and_then(|number| self.table.get(number)) else {
            let found = format!("{number}, which was not inherited");
            return Err(damage(
                Defect::Missing,
                found,
                "the number of a descriptor that the exec kept",
            ));
        };
        let (expected, found) = (
            (ser.kind.get(), ser.dev.get(), ser.ino.get()),
            identity(&fd)?,
        );
        if found != expected {
            let text = |(kind, dev, ino): (u32, u64, u64)| {
                format!("type {kind:#o}, device {dev:#x}, inode {ino}")
            };
            let found = format!("descriptor {number}: {}", text(found));
            return Err(damage(Defect::Mismatch, found, &text(expected)));
        }
        Ok(Arc::new(FdFile::shared(fd)))
    }

    fn finish(&self, attached: &mut Attached, data: u64, _file: Option<Arc<FdFile>>) {
        // Read when it was retrieved, or never looked at: then its number is all that is needed.
        let number = attached.handed().read::<FdSer>(PhysAddr::new(data));
        if let Ok(number) = number.map(|ser| ser.number.get())
            && let Ok(number) = RawFd::try_from(number)
        {
            self.table.close(number);
        }
    }
}
