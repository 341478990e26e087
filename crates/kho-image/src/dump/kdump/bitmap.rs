//! Which pages are memory, which of them are stored, and how many are stored before a page.

use std::io;
use std::ops::Range;

use crate::dump::kdump::header::Header;
use crate::dump::source::Source;
use crate::image::{ImageError, Progress};

/// More runs of memory than any machine has. They are kept in memory.
const RUNS: usize = 1 << 20;
/// At most so many counts are kept in memory.
const COUNTS: u64 = 1 << 17;
/// The least bytes of bitmap from one count to the next.
const STEP: u64 = 512;

/// The bitmaps of a dump. They stay in the file; runs of memory and counts of stored pages are kept.
#[derive(Debug)]
pub(crate) struct Bitmaps {
    runs: Vec<Range<u64>>,
    stored_at: u64,
    pages: u64,
    // Bytes of bitmap from one count to the next.
    step: u64,
    // Stored pages before each step.
    counts: Vec<u64>,
    stored: u64,
}

/// The bits of the pages from one on.
pub(crate) struct Window {
    /// Stored pages before the first page.
    pub(crate) index: u64,
    /// The pages, at least one.
    pub(crate) pages: Range<u64>,
    bytes: Vec<u8>,
    skip: u64,
}

impl Window {
    /// Whether the page `at` of the window is stored.
    pub(crate) fn is_stored(&self, at: u64) -> bool {
        let bit = self.skip + at;
        let byte = usize::try_from(bit / 8)
            .ok()
            .and_then(|byte| self.bytes.get(byte));
        byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }

    /// How many of the first `most` pages are alike in whether they are stored.
    pub(crate) fn alike(&self, most: u64) -> u64 {
        let most = most.min(self.pages.end - self.pages.start);
        let first = self.is_stored(0);
        (1..most)
            .find(|at| self.is_stored(*at) != first)
            .unwrap_or(most)
    }
}

/// The pages of a bitmap as a `u64` per 64 of them; those from `pages` on are none.
fn words(bytes: &[u8], first: u64, pages: u64) -> impl Iterator<Item = (u64, u64)> {
    let starts = (first..).step_by(64);
    bytes.chunks(8).zip(starts).map(move |(bytes, start)| {
        let mut word = [0; 8];
        let (own, _) = word.split_at_mut(bytes.len());
        own.copy_from_slice(bytes);
        let left = pages.saturating_sub(start);
        let mask = if left < 64 { (1 << left) - 1 } else { u64::MAX };
        (start, u64::from_le_bytes(word) & mask)
    })
}

impl Bitmaps {
    pub(crate) fn read(
        source: &Source,
        header: &Header,
        progress: &mut Progress<'_>,
        io: &dyn Fn(io::Error) -> ImageError,
    ) -> Result<Self, ImageError> {
        let len = header.pages.div_ceil(8);
        let step = len.div_ceil(COUNTS).next_power_of_two().max(STEP);
        let [first, second] = header.bitmaps;
        let mut bitmaps = Self {
            runs: Vec::new(),
            stored_at: second,
            pages: header.pages,
            step,
            counts: Vec::new(),
            stored: 0,
        };
        let (mut open, mut done) = (None, 0);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        while done < len {
            let part = usize::try_from(step.min(len - done)).unwrap_or(0);
            one.resize(part, 0);
            two.resize(part, 0);
            source.read_at(first + done, &mut one).map_err(io)?;
            source.read_at(second + done, &mut two).map_err(io)?;
            bitmaps.counts.push(bitmaps.stored);
            let stored = words(&two, done * 8, header.pages);
            for ((start, memory), (_, stored)) in words(&one, done * 8, header.pages).zip(stored) {
                bitmaps.stored += u64::from(stored.count_ones());
                bitmaps.add(&mut open, start, memory | stored);
            }
            if bitmaps.runs.len() > RUNS {
                let found = format!("more than {RUNS} runs up to page {:#x}", done * 8);
                let expected = "memory as a machine has it";
                return Err(ImageError::damaged(
                    "first bitmap of the kdump dump",
                    first,
                    found,
                    expected,
                ));
            }
            done += part as u64;
            if !progress(done, Some(len)) {
                return Err(ImageError::Interrupted);
            }
        }
        bitmaps.runs.extend(open.map(|start| start..header.pages));
        Ok(bitmaps)
    }

    /// Adds the 64 pages from `start` on. `open` is where the run begins that is not at its end yet.
    fn add(&mut self, open: &mut Option<u64>, start: u64, word: u64) {
        let mut bit = 0;
        while bit < 64 {
            let rest = word >> bit;
            let alike = if open.is_some() {
                rest.trailing_ones()
            } else {
                rest.trailing_zeros()
            };
            bit += alike.min(64 - bit);
            if bit == 64 {
                break;
            }
            let at = start + u64::from(bit);
            match open.take() {
                Some(start) => self.runs.push(start..at),
                None => *open = Some(at),
            }
        }
    }

    /// Memory: runs of pages, in order.
    pub(crate) fn runs(&self) -> &[Range<u64>] {
        &self.runs
    }

    /// How many pages are stored.
    pub(crate) const fn stored(&self) -> u64 {
        self.stored
    }

    /// The first run that ends above page `page`.
    pub(crate) fn run(&self, page: u64) -> Option<Range<u64>> {
        let at = self.runs.partition_point(|run| run.end <= page);
        self.runs.get(at).cloned()
    }

    /// The bits from page `page` on, up to the next count.
    pub(crate) fn window(&self, source: &Source, page: u64) -> io::Result<Window> {
        let step = page / (self.step * 8);
        let first = step * self.step * 8;
        let end = (first + self.step * 8).min(self.pages);
        let len = (end - first).div_ceil(8);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        source.read_at(self.stored_at + step * self.step, &mut bytes)?;
        let before = words(&bytes, first, page).map(|(_, word)| u64::from(word.count_ones()));
        let count = usize::try_from(step)
            .ok()
            .and_then(|step| self.counts.get(step));
        Ok(Window {
            index: count.copied().unwrap_or(0) + before.sum::<u64>(),
            pages: page..end,
            bytes,
            skip: page - first,
        })
    }
}
