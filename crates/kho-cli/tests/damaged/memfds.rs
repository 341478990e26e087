//! The state of memfds.

use kho_testkit::{Anatomy, Builder, Memory};

use crate::{SMALL, file_of};

/// A word of the state of the file that is damaged.
pub(crate) fn set(offset: u64, value: u64) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(file_of(a).data + offset, value)
}

damaged!(
    pos_negative,
    SMALL,
    ["pos", "impossible value"],
    set(0, u64::MAX)
);
damaged!(
    size_negative,
    SMALL,
    ["size", "impossible value"],
    set(8, 1 << 63)
);
damaged!(
    size_past_its_folios,
    SMALL,
    ["nr_folios", "does not agree"],
    set(8, 1 << 40)
);
damaged!(
    size_a_page_more,
    SMALL,
    ["nr_folios", "does not agree"],
    |m, a| {
        let at = file_of(a).data + 8;
        m.set_u64(at, m.u64(at) + 4096);
    }
);
damaged!(
    size_a_page_less,
    SMALL,
    ["index", "offset out of range"],
    |m, a| {
        let at = file_of(a).data + 8;
        m.set_u64(at, m.u64(at) - 4096);
    }
);
damaged!(
    size_0_with_folios,
    SMALL,
    ["nr_folios", "file of size 0"],
    set(8, 0)
);
damaged!(seals_unknown, SMALL, ["seals", "0x40"], |m, a| {
    m.set_u32(file_of(a).data + 16, 0x40)
});
damaged!(flags, SMALL, ["flags", "0x1"], |m, a| {
    m.set_u32(file_of(a).data + 20, 1)
});
damaged!(nr_folios_0, SMALL, ["nr_folios"], set(24, 0));
damaged!(
    nr_folios_one_less,
    SMALL,
    ["nr_folios", "does not agree"],
    |m, a| {
        let at = file_of(a).data + 24;
        m.set_u64(at, m.u64(at) - 1);
    }
);
damaged!(nr_folios_one_more, SMALL, ["folio 7", "index"], |m, a| {
    let at = file_of(a).data + 24;
    m.set_u64(at, m.u64(at) + 1);
});
damaged!(
    nr_folios_above_its_list,
    SMALL,
    ["nr_folios", "at most 256"],
    set(24, 257)
);
damaged!(
    nr_folios_huge,
    SMALL,
    ["nr_folios", "at most 256"],
    set(24, u64::MAX)
);

built!(
    of_size_0_with_an_area,
    ["nr_folios", "file of size 0"],
    || {
        let mut b = Builder::new();
        let area = b.vmalloc(&[0; 16], 0);
        let mut ser = vec![0; 32];
        ser.extend(area);
        let data = b.blob(&ser);
        b.session(b"s", &[Builder::file("memfd-v2", data, 1)]);
        b.finish().mem
    }
);
