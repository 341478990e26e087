//! The bits of a leaf, visited in order.

use kho_mem::PAGE_SIZE;

use crate::{Key, KeyRun};

const WORDS: usize = PAGE_SIZE / 8;
/// Words that are looked at together: those of a cache line.
const LINE: u16 = 8;
const LINES: usize = WORDS / LINE as usize;

/// Calls `visit` with the number of each bit that is set in `page`; its first bit has the number `base`.
#[inline]
pub(crate) fn each_key(page: &[u8], base: u64, mut visit: impl FnMut(u64)) {
    let mut base = base;
    for frame in page.chunks_exact(PAGE_SIZE) {
        each_key_of_frame(frame, base, &mut visit);
        base += PAGE_SIZE as u64 * 8;
    }
}

#[inline]
fn each_key_of_frame(page: &[u8], base: u64, mut visit: impl FnMut(u64)) {
    // Which words have bits: first by lines of eight, then by the word in lines that have some. Without a
    // branch for either, which nothing could predict where bits are few.
    let words = page.as_chunks::<8>().0;
    let lines = words.as_chunks::<{ LINE as usize }>().0;
    let (mut some_lines, mut line_count) = ([0u8; LINES], 0);
    for (index, line) in (0u8..).zip(lines.iter().take(LINES)) {
        // At most `index`, and so in the array: the mask lets the compiler know.
        if let Some(place) = some_lines.get_mut(line_count & (LINES - 1)) {
            *place = index;
        }
        let any = line
            .iter()
            .fold(0, |any, word| any | u64::from_ne_bytes(*word));
        line_count += usize::from(any != 0);
    }
    let (mut some, mut count) = ([0u16; WORDS], 0);
    for at in some_lines.iter().take(line_count) {
        let Some(line) = lines.get(usize::from(*at)) else {
            return;
        };
        for (index, word) in (u16::from(*at) * LINE..).zip(line) {
            if let Some(place) = some.get_mut(count & (WORDS - 1)) {
                *place = index;
            }
            count += usize::from(*word != [0; 8]);
        }
    }
    for index in some.iter().take(count) {
        let Some(word) = words.get(usize::from(*index)) else {
            return;
        };
        let mut bits = u64::from_le_bytes(*word);
        let first = base + u64::from(*index) * 64;
        if bits == u64::MAX {
            (first..first + 64).for_each(&mut visit);
            continue;
        }
        while bits != 0 {
            visit(first + u64::from(bits.trailing_zeros()));
            bits &= bits - 1;
        }
    }
}

/// Calls `visit` with each stretch of bits in a row that are set in `page`, the first one's number and how many:
/// by the word. What goes on in the next page is two.
#[inline]
pub(crate) fn each_stretch(page: &[u8], base: u64, mut visit: impl FnMut(u64, u64)) {
    // The stretch that is open: where it began, and up to where it goes.
    let (mut from, mut to) = (base, base);
    let mut first = base;
    for word in page.as_chunks::<8>().0 {
        let mut bits = u64::from_le_bytes(*word);
        if bits == u64::MAX && to == first {
            to += 64;
        } else if bits != 0 {
            let mut bit = 0;
            while bits != 0 {
                let gap = bits.trailing_zeros();
                bits >>= gap;
                bit += gap;
                let ones = bits.trailing_ones();
                let start = first + u64::from(bit);
                if start != to {
                    if to > from {
                        visit(from, to - from);
                    }
                    from = start;
                }
                to = start + u64::from(ones);
                bits = bits.checked_shr(ones).unwrap_or(0);
                bit += ones;
            }
        }
        first += 64;
        if to < first && to > from {
            visit(from, to - from);
            (from, to) = (first, first);
        } else if to < first {
            (from, to) = (first, first);
        }
    }
    if to > from {
        visit(from, to - from);
    }
}

/// Stretches of keys, put together as long as they are of one order and in a row.
#[derive(Default)]
pub(crate) struct OpenRun {
    // 0 for none: there is no key 0.
    first: u64,
    count: u64,
}

impl OpenRun {
    /// Adds `count` keys from `key` on; runs that have ended go to `visit`.
    #[inline]
    pub(crate) fn extend(&mut self, mut key: u64, mut count: u64, visit: &mut impl FnMut(KeyRun)) {
        while count > 0 {
            // The order changes at powers of two.
            let same_order = (2u64 << (key | 1).ilog2()) - key;
            let now = count.min(same_order);
            if self.first != 0 && self.first + self.count == key && !key.is_power_of_two() {
                self.count += now;
            } else {
                self.close(visit);
                (self.first, self.count) = (key, now);
            }
            key += now;
            count -= now;
        }
    }

    pub(crate) fn close(&mut self, visit: &mut impl FnMut(KeyRun)) {
        if let Some(first) = Key::new(self.first) {
            visit(KeyRun {
                pfn: first.pfn(),
                keys: self.count,
                order: first.order(),
            });
        }
        *self = Self::default();
    }
}
