//! The folio lists of memfds.

use crate::{SMALL, THP, file_of};

damaged! { SMALL;
    outside: ["memfd folio", "not preserved"],
        |m, a| m.set_u64(file_of(a).folios[1], 0xf_ffff_ffff_ffff | 3 << 52);
    not_preserved: ["memfd folio", "not preserved"],
        |m, a| m.set_u64(file_of(a).folios[1], a.level(0).pa >> 12 | 3 << 52);
    twice_in_a_file:
        ["memfd folio", "is shared"], |m, a| m.set_u64(file_of(a).folios[1], m.u64(file_of(a).folios[0]));
    of_another_file: ["memfd folio", "is shared"],
        |m, a| m.set_u64(file_of(a).folios[1], m.u64(a.sessions[0].files[0].folios[0]));
    is_the_luo_header:
        ["memfd folio", "is shared", "blob"], |m, a| m.set_u64(file_of(a).folios[0], a.luo >> 12 | 3 << 52);
    null: ["folio 1", "pfn is null"], |m, a| m.set_u64(file_of(a).folios[1], 3 << 52);
    left_out: ["folio 6", "index is missing"], |m, a| {
        // One page more, and the last folio moved there.
        let size = file_of(a).data + 8;
        m.set_u64(size, m.u64(size) + 4096);
        m.set_u64(file_of(a).folios[6] + 8, 7);
    };
}

damaged! { THP;
    smaller_than_it_was: ["index is missing"], |m, a| {
        // Its key of order 9 becomes one of order 8.
        let pfn = m.u64(a.sessions[0].files[0].folios[0]) & ((1 << 52) - 1);
        let leaf = |order: u32| {
            let leaves = a.nodes.iter().filter(|node| node.level == 0);
            let mut leaves: Vec<_> = leaves.map(|node| node.pa).collect();
            // Leaves are in order of key: large orders first.
            if order == 9 {
                leaves.remove(0)
            } else {
                leaves.remove(1)
            }
        };
        let bit = |order: u32| (pfn >> order) & 32767;
        let nine = leaf(9) + 8 * (bit(9) / 64);
        m.set_u64(nine, m.u64(nine) & !(1 << (bit(9) % 64)));
        // A leaf for order 8: the node page of an unused order, found in the tree of order 9.
        let eight = 0x1_0000_0000;
        m.add(eight, 0x5000);
        let key = 1u64 << 44 | pfn >> 8;
        let mut node = a.nodes[0].pa;
        for level in (1..6).rev() {
            let entry = node + 8 * (key >> (15 + 9 * (level - 1)) & 511);
            if m.u64(entry) == 0 {
                m.set_u64(entry, eight + 0x1000 * (5 - level));
            }
            node = m.u64(entry);
        }
        let word = node + 8 * (bit(8) / 64);
        m.set_u64(word, m.u64(word) | 1 << (bit(8) % 64));
    };
}

damaged! { SMALL;
    flags_unknown: ["folio 1", "flags", "0x7"], |m, a| {
        let at = file_of(a).folios[1];
        m.set_u64(at, m.u64(at) | 7 << 52);
    };
    index_twice: ["folio 2", "index"], |m, a| m.set_u64(file_of(a).folios[2] + 8, 1);
    index_past_the_end:
        ["index is missing", "found        page 7"], |m, a| m.set_u64(file_of(a).folios[6] + 8, 7);
    index_huge: ["index"], |m, a| m.set_u64(file_of(a).folios[6] + 8, u64::MAX);
}

damaged! { THP;
    inside_a_larger_one: ["memfd folio", "inside the order 9 range"], |m, a| {
        let at = a.sessions[0].files[0].folios[0];
        m.set_u64(at, m.u64(at) + 1);
    };
    index_one_more: ["index is missing", "page 1025"], |m, a| {
        let at = a.sessions[0].files[0].folios[2] + 8;
        m.set_u64(at, m.u64(at) + 1);
    };
    folios_overlap_in_the_file:
        ["index", "overlaps"], |m, a| m.set_u64(a.sessions[0].files[0].folios[1] + 8, 0);
}
