//! The state of memfds.

use kho_testkit::{Anatomy, Builder, Memory};

use crate::{SMALL, file_of};

/// A word of the state of the file that is damaged.
pub(crate) fn set(offset: u64, value: u64) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(file_of(a).data + offset, value)
}

damaged! { SMALL;
    pos_negative: ["pos", "impossible value"], set(0, u64::MAX);
    size_negative: ["size", "impossible value"], set(8, 1 << 63);
    size_past_its_folios: ["nr_folios", "does not agree"], set(8, 1 << 40);
    size_a_page_more: ["nr_folios", "does not agree"], |m, a| {
        let at = file_of(a).data + 8;
        m.set_u64(at, m.u64(at) + 4096);
    };
    size_a_page_less: ["index", "offset out of range"], |m, a| {
        let at = file_of(a).data + 8;
        m.set_u64(at, m.u64(at) - 4096);
    };
    size_0_with_folios: ["nr_folios", "file of size 0"], set(8, 0);
    seals_unknown: ["seals", "0x40"], |m, a| m.set_u32(file_of(a).data + 16, 0x40);
    flags: ["flags", "0x1"], |m, a| m.set_u32(file_of(a).data + 20, 1);
    nr_folios_0: ["nr_folios"], set(24, 0);
    nr_folios_one_less: ["nr_folios", "does not agree"], |m, a| {
        let at = file_of(a).data + 24;
        m.set_u64(at, m.u64(at) - 1);
    };
    nr_folios_one_more: ["folio 7", "index"], |m, a| {
        let at = file_of(a).data + 24;
        m.set_u64(at, m.u64(at) + 1);
    };
    nr_folios_above_its_list: ["nr_folios", "at most 256"], set(24, 257);
    nr_folios_huge: ["nr_folios", "at most 256"], set(24, u64::MAX);
}

built! {
    of_size_0_with_an_area: ["nr_folios", "file of size 0"], || {
        let mut b = Builder::new();
        let area = b.vmalloc(&[0; 16], 0);
        let mut ser = vec![0; 32];
        ser.extend(area);
        let data = b.blob(&ser);
        b.session(b"s", &[Builder::file("memfd-v2", data, 1)]);
        b.finish().mem
    };
}
