//! Files mapped into memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Mmap, MmapOptions, UncheckedAdvice};

mod bus;

use bus::Registered;

/// How many viewed bytes may stay resident before the mapping lets go of them. A dump may be
/// larger than the machine's memory, and page cache that we map counts as ours.
const RESIDENT_BUDGET: usize = 32 << 20;

/// A file mapped read-only, whole.
///
/// The pages that were looked at are given back to the page cache from time to time, so that
/// reading through a file much larger than memory stays cheap.
///
/// The file must not be changed or truncated by anybody while it is mapped: the views are plain
/// slices, and a truncated page ends the process with SIGBUS. That is a mapping's nature, and
/// the reason why a dump is read where nobody writes it. A program that would rather say what
/// happened calls [`FileMap::guard`] at its start, and asks [`FileMap::was_cut`] before it hands out
/// what it made of the file.
#[derive(Debug)]
pub struct FileMap {
    // Before the mapping, so that the handler knows it no longer when it goes.
    guarded: Option<Registered>,
    map: Option<Mmap>,
    viewed: AtomicUsize,
    file: File,
}

impl FileMap {
    /// Maps all of `file`, which may be empty.
    ///
    /// # Errors
    ///
    /// The file can not be mapped: a pipe, a directory, no address space left.
    pub fn new(file: &File) -> io::Result<Self> {
        let own = file.try_clone()?;
        if file.metadata()?.len() == 0 {
            return Ok(Self {
                guarded: None,
                map: None,
                viewed: AtomicUsize::new(0),
                file: own,
            });
        }
        // SAFETY:
        // - The mapping is made by the operating system over a file descriptor that is valid for
        //   the length of the call, with the file's own length; `Mmap` owns it and unmaps it once.
        // - It is mapped read-only and never handed out mutably, so this process makes no
        //   aliasing write to it.
        // - That nobody changes or truncates the file meanwhile can not be checked here, and no type
        //   can promise it: it is the precondition that the type's documentation states. A program
        //   that breaks it sees bytes change under a slice. Known, and the price of not reading
        //   dumps in.
        let map = unsafe { MmapOptions::new().map(file)? };
        let guarded = Registered::new(&map);
        Ok(Self {
            guarded: Some(guarded),
            map: Some(map),
            viewed: AtomicUsize::new(0),
            file: own,
        })
    }

    /// From now on a mapped file that gets shorter, or can not be read any more, does not end this process with
    /// SIGBUS: the rest of the mapping becomes zeros, and [`FileMap::was_cut`] says so. Installs a handler of
    /// that signal for the whole process. What is no [`FileMap`]'s is treated as before.
    ///
    /// # Errors
    ///
    /// The system refuses the handler.
    pub fn guard() -> io::Result<()> {
        bus::install()
    }

    /// Whether the file got shorter than it was, or could not be read where [`FileMap::guard`] was called: what
    /// was read of it may not be what it held.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        // What is cut off inside a page reads as zeros, without a signal.
        let is_shorter = || {
            let now = self.file.metadata().map(|meta| meta.len());
            now.is_ok_and(|now| now < self.len() as u64)
        };
        self.guarded.as_ref().is_some_and(Registered::was_cut) || is_shorter()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.as_ref().map_or(0, |map| map.len())
    }

    /// Whether the file is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A view of the bytes in `range`; `None` where it leaves the file.
    #[must_use]
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        let Some(map) = &self.map else {
            return (range == (0..0)).then_some(&[]);
        };
        let view = map.get(range)?;
        let viewed = self.viewed.fetch_add(view.len(), Ordering::Relaxed);
        if viewed.saturating_add(view.len()) > RESIDENT_BUDGET {
            self.viewed.store(0, Ordering::Relaxed);
            // SAFETY:
            // - `DontNeed` on a private or shared mapping of a file that was never written
            //   through the mapping (it is read-only) drops page table entries only; the next
            //   access maps the same bytes of the file again, so live views keep their contents.
            // - The range is all of a mapping that `self` owns and that stays mapped.
            let dropped = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
            // Advice: where the system refuses it, more memory stays resident and nothing else.
            drop(dropped);
        }
        Some(view)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn views_survive_the_release_of_resident_pages() {
        let mut file = tempfile::tempfile().unwrap();
        let page: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        for _ in 0..40 {
            file.write_all(&page).unwrap();
        }
        let map = FileMap::new(&file).unwrap();
        assert_eq!(map.len(), 40 << 20);
        let first = map.get(0..1 << 20).unwrap();
        for megabyte in 0..40 {
            assert_eq!(map.get(megabyte << 20..(megabyte + 1) << 20).unwrap(), page);
        }
        assert_eq!(first, page);
        assert_eq!(map.get(0..(40 << 20) + 1), None);
    }

    #[test]
    fn a_file_that_is_cut_short_reads_as_zeros_and_says_so() {
        FileMap::guard().unwrap();
        // A second time: the handler is not its own predecessor.
        FileMap::guard().unwrap();
        let page = crate::PAGE_SIZE;
        let file_of = |byte: u8| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![byte; 16 * page]).unwrap();
            file
        };
        let whole = FileMap::new(&file_of(2)).unwrap();
        for round in 0..3 {
            let file = file_of(1);
            let map = FileMap::new(&file).unwrap();
            let all = map.get(0..16 * page).unwrap();
            assert!(!map.was_cut());
            file.set_len(page as u64 + 1).unwrap();
            assert_eq!(all.get(page - 1), Some(&1), "what is there stays");
            assert!(map.was_cut(), "round {round}: it is shorter");
            let zeros = all.get(5 * page..).unwrap();
            assert!(zeros.iter().all(|byte| *byte == 0));
            // A copy that began anew.
            file.set_len(16 * page as u64).unwrap();
            assert!(map.was_cut(), "round {round}: it was");
        }
        let all = whole.get(0..16 * page).unwrap();
        assert!(all.iter().all(|byte| *byte == 2) && !whole.was_cut());
    }

    #[test]
    fn many_threads_find_one_file_cut_short() {
        FileMap::guard().unwrap();
        let page = crate::PAGE_SIZE;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || {
                    for _ in 0..50 {
                        let mut file = tempfile::tempfile().unwrap();
                        file.write_all(&vec![1; 8 * page]).unwrap();
                        let map = FileMap::new(&file).unwrap();
                        file.set_len(0).unwrap();
                        let zeros = map.get(0..8 * page).unwrap();
                        assert!(zeros.iter().all(|byte| *byte == 0) && map.was_cut());
                    }
                });
            }
        });
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let map = FileMap::new(&tempfile::tempfile().unwrap()).unwrap();
        assert!(map.is_empty());
        assert_eq!(map.get(0..1), None);
    }
}
