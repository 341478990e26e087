//! The vmalloc areas that folio lists lie in.

use kho_testkit::{Anatomy, Builder, Memory};

use crate::memfds::set;
use crate::{SMALL, file_of};

fn vmalloc_total_pages(pages: u32) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u32(file_of(a).data + 40, pages)
}

fn vmalloc_order(order: u16) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u16(file_of(a).data + 46, order)
}

damaged! { SMALL;
    first_null: ["vmalloc", "null"], set(32, 0);
}

address! { SMALL;
    first: |a| file_of(a).data + 32, |a| a.sessions[0].files[0].chunks[0];
    page: |a| file_of(a).chunks[0] + 8, |a| a.sessions[0].files[0].list[0];
}

damaged! { SMALL;
    total_pages_0: ["total_pages", "does not agree"], vmalloc_total_pages(0);
    total_pages_2: ["total_pages", "does not agree"], vmalloc_total_pages(2);
    total_pages_huge: ["total_pages", "does not agree"], vmalloc_total_pages(u32::MAX);
    flags_unknown: ["vmalloc", "flags", "0x5"], |m, a| m.set_u16(file_of(a).data + 44, 5);
    order_1: ["vmalloc", "impossible order"], vmalloc_order(1);
    order_60: ["vmalloc", "impossible order"], vmalloc_order(60);
    order_65535: ["vmalloc", "impossible order"], vmalloc_order(65535);
    order_of_other_pages: ["vmalloc"], |m, a| {
        m.set_u32(file_of(a).data + 40, 2);
        m.set_u16(file_of(a).data + 46, 1);
    };
    chunk_empty: ["total_pages"], |m, a| m.set_u64(file_of(a).chunks[0] + 8, 0);
}

damaged! { SMALL;
    page_twice: ["damaged"], |m, a| m.set_u64(file_of(a).chunks[0] + 16, file_of(a).list[0]);
    chunk_after_one_that_is_not_full:
        ["chunk list", "malformed"], |m, a| m.set_u64(file_of(a).chunks[0], a.sessions[0].files[0].chunks[0]);
}

built! {
    chunk_is_its_own_next: ["chunk list", "cycle"], || two_chunks(|_, first, _| (first, first));
    first_chunk_lost: ["total_pages", "does not agree"], || two_chunks(|_, first, second| (second, first));
    second_chunk_unaligned:
        ["vmalloc chunk", "not aligned"], || two_chunks(|_, first, second| (first, second + 8));
    second_chunk_lost: ["chunk list", "malformed"], || two_chunks(|_, first, _| (first, 0));
}

/// A memfd whose folio list needs two chunks; `links` says what its descriptor's `first` and the
/// first chunk's `next` become.
fn two_chunks(links: fn(&Memory, u64, u64) -> (u64, u64)) -> Memory {
    let mut b = Builder::new();
    // 512 pages of records: one more than a chunk lists. Most folios are holes.
    let pages = 512 * 256;
    let data = hole_memfd(&mut b, pages);
    b.session(b"s", &[Builder::file("memfd-v2", data, 1)]);
    let mut mem = b.finish().mem;
    let first = mem.u64(data + 32);
    let second = mem.u64(first);
    let (to_first, to_second) = links(&mem, first, second);
    mem.set_u64(data + 32, to_first);
    mem.set_u64(first, to_second);
    mem
}

fn hole_memfd(b: &mut Builder, pages: usize) -> u64 {
    let mut records = Vec::new();
    for index in 0..pages as u64 {
        records.extend(0u64.to_le_bytes());
        records.extend(index.to_le_bytes());
    }
    let area = b.vmalloc(&records, 0);
    let mut ser = Vec::new();
    for value in [0, pages as u64 * 4096, 0, pages as u64] {
        ser.extend(value.to_le_bytes());
    }
    ser.extend(area);
    b.blob(&ser)
}
