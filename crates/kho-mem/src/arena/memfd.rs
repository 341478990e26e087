//! Arenas in memfds: memory that outlives the program, since an exec keeps the descriptor.

use std::fs::File;
use std::io;
use std::sync::Arc;

use memmap2::MmapOptions;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::backing::Backing;
use super::buddy::LARGEST;
use super::{Arena, ArenaConfig, ArenaError, Handed, Inner};
use crate::{PAGE_SIZE, PAGE_SIZE_U64};

/// Whether an arena asks for huge pages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum HugePages {
    /// Small pages.
    #[default]
    Never,
    /// The system is advised to use huge pages where it can (`shmem_enabled` must say `advise`
    /// or more).
    Advise,
    /// Huge pages of 2 MiB from the system's pool, which must have enough of them.
    Pool,
}

impl ArenaConfig {
    /// Asks for huge pages.
    #[must_use]
    pub const fn huge_pages(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }
}

fn system(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> ArenaError {
    move |error| ArenaError::System {
        what,
        error: error.into(),
    }
}

fn map(file: File, len: usize) -> Result<Backing, ArenaError> {
    let map = MmapOptions::new()
        .len(len)
        .no_reserve_swap()
        .map_raw(&file)
        .map_err(|error| ArenaError::System {
            what: "mapping the arena",
            error,
        })?;
    Ok(Backing::Mapped { map, file })
}

impl Arena {
    /// An arena in a new memfd: sparse (only pages that are used take memory), of a size that
    /// nobody can change, mapped shared.
    ///
    /// The descriptor ([`Arena::file`]) is the arena: one process at a time may map it. Whoever
    /// passes it on hands the memory over.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense, or the system refuses.
    pub fn memfd(config: &ArenaConfig) -> Result<Self, ArenaError> {
        let len = config.check()?;
        let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        if config.huge == HugePages::Pool {
            flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        }
        let fd = rustix::fs::memfd_create("kho-arena", flags).map_err(system("memfd_create"))?;
        let file = File::from(fd);
        file.set_len(config.size)
            .map_err(|error| ArenaError::System {
                what: "sizing the arena's memfd",
                error,
            })?;
        // A file that can not shrink can not end a reader with SIGBUS.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(system("sealing the arena's size"))?;
        let backing = map(file, len)?;
        if let (HugePages::Advise, Backing::Mapped { map, .. }) = (config.huge, &backing)
            && let Err(error) = map.advise(memmap2::Advice::HugePage)
        {
            return Err(ArenaError::System {
                what: "madvise(MADV_HUGEPAGE)",
                error,
            });
        }
        Ok(Self::fresh(backing, config))
    }

    /// Maps the arena anew, at the same place: its page tables are freed, and filled again as
    /// pages are touched. No memory is given back and no byte changes. Done before an exec, it makes
    /// the exec itself independent of how much memory was touched.
    ///
    /// # Errors
    ///
    /// The system refuses; the arena stays mapped as it was.
    #[allow(unsafe_code)]
    pub fn unmap(&self) -> io::Result<()> {
        let Backing::Mapped { map, file } = &self.0.backing else {
            return Ok(());
        };
        let flags = MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY:
        // - The range is exactly that of a mapping that `self` owns and keeps alive; nothing else is
        //   replaced.
        // - It is replaced by the same bytes: the same file from its start on, shared, readable and
        //   writable, as `map` made it. The system replaces a mapping as one step that no access sees
        //   the middle of: a fault in between waits for it. So the bytes under every view, shared or
        //   exclusive, on every thread, stay what they are.
        // - The mapping's owner unmaps the same range in the end, whichever mapping it holds then.
        let mapped = unsafe {
            mmap(
                map.as_mut_ptr().cast(),
                map.len(),
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
                file,
                0,
            )
        };
        mapped.map(|_| ()).map_err(Into::into)
    }

    /// Gives the memory of free largest blocks (4 MiB) back to the system; it is zero when it is
    /// used again. Returns how many bytes that were.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn trim(&self) -> io::Result<u64> {
        let Some(file) = self.file() else {
            return Ok(0);
        };
        // Under the lock, so that nobody is given such a block meanwhile.
        let buddy = self.0.buddy.lock();
        let mut bytes = 0;
        let mut punch = |first: usize, blocks: usize| {
            let len = (blocks * LARGEST * PAGE_SIZE) as u64;
            bytes += len;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(file, flags, (first * LARGEST) as u64 * PAGE_SIZE_U64, len)
        };
        let mut run: Option<(usize, usize)> = None;
        for block in buddy.largest() {
            run = match run {
                Some((first, count)) if first + count == block => Some((first, count + 1)),
                Some((first, count)) => {
                    punch(first, count)?;
                    Some((block, 1))
                }
                None => Some((block, 1)),
            };
        }
        if let Some((first, count)) = run {
            punch(first, count)?;
        }
        drop(buddy);
        Ok(bytes)
    }
}

impl Handed {
    /// Attaches to the arena that a predecessor left in `file`: `config` says where it lies (its
    /// scratch areas are not looked at: they are learned from the handover).
    ///
    /// From here on the memory is this process's to read. The predecessor must not touch it any
    /// more: it has ended, or it became this process by an exec. Nobody else may map it.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense, or the file is not a memfd of that size that can not be
    /// changed in size.
    pub fn attach(file: File, config: &ArenaConfig) -> Result<Self, ArenaError> {
        let len = config.check()?;
        let not = |text: String| Err(ArenaError::NotAnArena(text));
        let seals = match rustix::fs::fcntl_get_seals(&file) {
            Ok(seals) => seals,
            Err(error) => return not(format!("it has no seals ({error})")),
        };
        if !seals.contains(SealFlags::SHRINK) {
            return not("it may be made shorter by others".to_owned());
        }
        let found = file.metadata().map(|meta| meta.len()).unwrap_or(0);
        if found != config.size {
            return not(format!("it has {found:#x} bytes, not {:#x}", config.size));
        }
        let backing = map(file, len)?;
        Ok(Self::new(Arc::new(Inner::new(backing, config.base))))
    }
}
