//! Looking through all of a dump, without keeping what was unpacked.

use std::num::NonZero;
use std::ops::Range;
use std::thread;

use kho_mem::{Chunk, PhysAddr};

use crate::dump::kdump::{DESCRIPTOR, Descriptor, Fault, Kdump};
use crate::dump::pages::is_zero;

/// Bytes that are unpacked before they are looked at.
const WINDOW: usize = 8 << 20;
/// More threads than that wait for the one that looks.
const THREADS: usize = 4;
/// With fewer pages a thread does not pay.
const FEW: usize = 32;

/// A page to be unpacked.
struct Job<'b> {
    page: u64,
    descriptor: Descriptor,
    bytes: &'b mut [u8],
    // Whether there is something in it.
    data: bool,
}

impl Kdump {
    /// [`PhysMem::sweep`](kho_mem::PhysMem::sweep).
    pub(crate) fn sweep(&self, look: &mut dyn FnMut(PhysAddr, Chunk<'_>) -> bool) -> bool {
        let mut buffer = vec![0; WINDOW];
        self.bitmaps
            .runs()
            .iter()
            .all(|run| self.sweep_run(run.clone(), &mut buffer, look))
    }

    fn sweep_run(
        &self,
        mut run: Range<u64>,
        buffer: &mut [u8],
        look: &mut dyn FnMut(PhysAddr, Chunk<'_>) -> bool,
    ) -> bool {
        let page_size = self.header.page_size as usize;
        let most = (buffer.len() / page_size) as u64;
        while !run.is_empty() {
            let window = match self.bitmaps.window(&self.source, run.start) {
                Ok(window) => window,
                Err(error) => {
                    self.note(self.io(error));
                    return self.show_zeros(run, look);
                }
            };
            let pages = run.start..run.end.min(window.pages.end);
            let left = pages.end - pages.start;
            let alike = window.alike(left);
            if !window.is_stored(0) && (alike == left || alike > most) {
                // Nothing to unpack.
                run.start += alike;
                if !self.show_zeros(pages.start..run.start, look) {
                    return false;
                }
                continue;
            }
            let count = left.min(most);
            let stored: Vec<bool> = (0..count).map(|at| window.is_stored(at)).collect();
            let data = self.unpack_all(pages.start, window.index, &stored, buffer);
            if !self.show(pages.start, &data, buffer, look) {
                return false;
            }
            run.start += count;
        }
        true
    }

    /// Unpacks the pages from `first` on of which `stored` says that they are stored, the first of them as stored
    /// page number `index`, each to its place in `buffer`. Returns which of them have something in them.
    fn unpack_all(&self, first: u64, index: u64, stored: &[bool], buffer: &mut [u8]) -> Vec<bool> {
        let count = stored.iter().filter(|stored| **stored).count();
        let mut table = vec![0; count * DESCRIPTOR];
        let at = self.header.descriptors + index * DESCRIPTOR as u64;
        if let Err(error) = self.source.read_at(at, &mut table) {
            if !self.cut_short {
                self.note(self.io(error));
            }
            return vec![false; stored.len()];
        }
        let mut descriptors = table.chunks_exact(DESCRIPTOR).map(Descriptor::new);
        let places = buffer.chunks_exact_mut(self.header.page_size as usize);
        let mut jobs = Vec::with_capacity(count);
        for ((page, stored), bytes) in (first..).zip(stored).zip(places) {
            if let Some(descriptor) = stored.then(|| descriptors.next()).flatten()
                && !self.is_zero(descriptor)
            {
                jobs.push(Job {
                    page,
                    descriptor,
                    bytes,
                    data: false,
                });
            }
        }
        let threads = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(THREADS);
        let share = jobs.len().div_ceil(threads).max(FEW);
        thread::scope(|scope| {
            let mut shares = jobs.chunks_mut(share);
            let own = shares.next();
            for share in shares {
                scope.spawn(|| self.unpack_share(share));
            }
            self.unpack_share(own.unwrap_or_default());
        });
        let mut data = vec![false; stored.len()];
        for job in jobs.iter().filter(|job| job.data) {
            let at = usize::try_from(job.page - first).unwrap_or(usize::MAX);
            if let Some(data) = data.get_mut(at) {
                *data = true;
            }
        }
        data
    }

    fn unpack_share(&self, jobs: &mut [Job<'_>]) {
        self.with_unpacker(|unpacker| {
            for job in jobs {
                if self.is_zero(job.descriptor) {
                    continue;
                }
                match self.unpack(unpacker, job.descriptor, job.page, job.bytes) {
                    Ok(()) => job.data = !is_zero(job.bytes),
                    Err(Fault::NotStored) => continue,
                    Err(Fault::Error(error)) => {
                        self.note(error);
                        continue;
                    }
                }
                if !job.data {
                    *self.zero.lock() = Some(job.descriptor);
                }
            }
        });
    }

    /// Keeps the first error that was met on the way.
    fn note(&self, error: crate::ImageError) {
        self.fault.lock().get_or_insert(error);
    }

    /// Shows the pages from `first` on, those with data in one piece as far as they go.
    fn show(
        &self,
        first: u64,
        data: &[bool],
        buffer: &[u8],
        look: &mut dyn FnMut(PhysAddr, Chunk<'_>) -> bool,
    ) -> bool {
        let page_size = self.header.page_size as usize;
        let mut done = 0;
        data.chunk_by(|one, two| one == two).all(|alike| {
            let start = done;
            done += alike.len();
            let pages = first + start as u64..first + done as u64;
            let bytes = buffer.get(start * page_size..done * page_size);
            match bytes.filter(|_| alike.first() == Some(&true)) {
                Some(bytes) => look(
                    PhysAddr::new(pages.start * self.page()),
                    Chunk::Bytes(bytes),
                ),
                None => self.show_zeros(pages, look),
            }
        })
    }

    fn show_zeros(
        &self,
        pages: Range<u64>,
        look: &mut dyn FnMut(PhysAddr, Chunk<'_>) -> bool,
    ) -> bool {
        let len = (pages.end - pages.start) * self.page();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        look(PhysAddr::new(pages.start * self.page()), Chunk::Zeros(len))
    }
}
