//! Arenas in memfds: memory that outlives the program, since an exec keeps the descriptor.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use memmap2::{MmapOptions, UncheckedAdvice};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::backing::Backing;
use super::buddy::LARGEST;
use super::{Arena, ArenaConfig, ArenaError, Handed, Inner};
use crate::sync::Mutex;
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

/// Bytes that [`Arena::unmap_ahead`] takes out at once: what a thread that maps memory meanwhile waits for.
const AHEAD: usize = 16 << 20;

/// The memfds that are mapped in this process, by device and inode: each once.
static MAPPED: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// The right to map a memfd: there is one per memfd and process.
#[derive(Debug)]
pub(crate) struct Sole((u64, u64));

impl Sole {
    fn new(file: &File) -> Result<Self, ArenaError> {
        let meta = file.metadata().map_err(|error| ArenaError::System {
            what: "the arena's memfd",
            error,
        })?;
        let key = (meta.dev(), meta.ino());
        if !MAPPED.lock().insert(key) {
            let text = "this process has it already".to_owned();
            return Err(ArenaError::NotAnArena(text));
        }
        Ok(Self(key))
    }
}

impl Drop for Sole {
    fn drop(&mut self) {
        MAPPED.lock().remove(&self.0);
    }
}

fn map(file: File, len: usize, huge: HugePages) -> Result<Backing, ArenaError> {
    let sole = Sole::new(&file)?;
    let mut options = MmapOptions::new();
    options.len(len);
    if huge != HugePages::Pool {
        // The pool's pages are set aside now, or a later touch would end the process.
        options.no_reserve_swap();
    }
    let map = options.map_raw(&file).map_err(|error| ArenaError::System {
        what: "mapping the arena",
        error,
    })?;
    let backing = Backing::Mapped {
        map,
        file,
        huge,
        sole,
    };
    backing.advise().map_err(|error| ArenaError::System {
        what: "madvise(MADV_HUGEPAGE)",
        error,
    })?;
    Ok(backing)
}

impl Backing {
    /// Asks for huge pages, where they are wanted.
    fn advise(&self) -> io::Result<()> {
        match self {
            Self::Mapped {
                map,
                huge: HugePages::Advise,
                ..
            } => map.advise(memmap2::Advice::HugePage),
            _ => Ok(()),
        }
    }
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
        let backing = map(file, len, config.huge)?;
        Ok(Self::fresh(backing, config))
    }

    /// Takes what is mapped of the arena out of this process's page tables, piece by piece, so that little is left
    /// to [`Arena::unmap`]. For a thread of its own, while others use the arena: a page that is touched again costs a
    /// fault. No memory is given back and no byte changes.
    ///
    /// # Errors
    ///
    /// The system refuses. Nothing is lost by that: [`Arena::unmap`] does all of it.
    #[allow(unsafe_code)]
    pub fn unmap_ahead(&self) -> io::Result<()> {
        let Backing::Mapped { map, .. } = &self.0.backing else {
            return Ok(());
        };
        for from in (0..map.len()).step_by(AHEAD) {
            let len = AHEAD.min(map.len() - from);
            // SAFETY:
            // - The piece lies in a mapping that `self` owns and keeps alive.
            // - The mapping is shared, of a file: the advice drops this process's entries for its pages, and the next
            //   access finds the same page in the file. So the bytes under every view stay what they are, on every
            //   thread.
            unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, from, len)? };
        }
        Ok(())
    }

    /// Maps the arena anew, at the same place: its page tables are freed, and filled again as
    /// pages are touched. No memory is given back and no byte changes. Done before an exec, it makes
    /// the exec itself independent of how much memory was touched.
    ///
    /// A system that can not map it again ends the process.
    ///
    /// # Errors
    ///
    /// The advice to use huge pages is refused; everything else is done.
    #[allow(unsafe_code)]
    pub fn unmap(&self) -> io::Result<()> {
        let Backing::Mapped {
            map, file, huge, ..
        } = &self.0.backing
        else {
            return Ok(());
        };
        let mut flags = MapFlags::SHARED | MapFlags::FIXED;
        if *huge != HugePages::Pool {
            flags |= MapFlags::NORESERVE;
        }
        // SAFETY:
        // - The range is exactly that of a mapping that `self` owns and keeps alive; nothing else is
        //   replaced.
        // - It is replaced by the same bytes: the same file from its start on, shared, readable and
        //   writable, as `map` made it. The system replaces a mapping as one step that no access sees
        //   the middle of: a fault in between waits for it. So the bytes under every view, shared or
        //   exclusive, on every thread, stay what they are.
        // - Where the system fails half way there is no mapping under those views any more: the
        //   process ends below, before anything else can be mapped there.
        // - The mapping's owner unmaps the same range in the end, whichever mapping it holds then.
        let mapped = unsafe {
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            mmap(map.as_mut_ptr().cast(), map.len(), prot, flags, file, 0)
        };
        if mapped.is_err() {
            std::process::abort();
        }
        self.0.backing.advise()
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
    /// more: it has ended, or it became this process by an exec. Nobody else may map it, or write to
    /// it: like a mapped file's, that is not this process's to check.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense, this process has the arena mapped already, or the file is not a memfd of that size that can not be
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
        let backing = map(file, len, config.huge)?;
        Ok(Self::new(Arc::new(Inner::new(backing, config.base))))
    }
}
