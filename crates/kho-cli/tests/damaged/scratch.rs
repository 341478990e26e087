//! The scratch table.

use kho_testkit::{Builder, MemfdSpec};

use crate::SMALL;

// The captures' tables: two areas and an empty one.
const TABLE: u64 = 0xf3f_0000;
damaged! { SMALL;
    scratch_over_preserved_memory:
        ["scratch", "overlaps", "preserved range"], |m, _| m.set_u64(TABLE + 32, 0x140_0000);
    scratch_unaligned: ["scratch", "not aligned"], |m, _| m.set_u64(TABLE, m.u64(TABLE) + 4096);
    scratch_size_unaligned: ["scratch", "not aligned"], |m, _| m.set_u64(TABLE + 8, m.u64(TABLE + 8) + 1);
    scratch_wrapping: ["scratch", "wraps"], |m, _| m.set_u64(TABLE + 8, 0xffff_ffff_ffc0_0000);
    scratch_above_52_bits: ["scratch", "outside memory", "52 bits"], |m, _| m.set_u64(TABLE, 1 << 56);
    scratch_up_to_the_top: ["scratch", "52 bits"], |m, _| m.set_u64(TABLE + 8, 0u64.wrapping_sub(0xcc0_0000));
    scratch_table_of_ones: ["scratch", "not aligned"], |m, _| m.write(TABLE, &[0xff; 48]);
    scratch_areas_overlap: ["scratch", "overlaps"], |m, _| m.set_u64(TABLE + 32, m.u64(TABLE));
}

built! {
    scratch_table_of_setup_data_outside: ["scratch table", "outside memory"], || {
        let b = Builder::new();
        let built = b.finish();
        let mut mem = built.mem;
        mem.remove(built.scratch.0);
        mem
    };
    scratch_over_preserved_memory_by_setup_data: ["scratch", "overlaps"], || {
        let mut b = Builder::new();
        b.session_of("s", &[MemfdSpec::new(vec![1; 5000])]);
        let built = b.finish();
        let mut mem = built.mem;
        mem.set_u64(built.scratch.0, 0x1000_0000);
        mem
    };
    two_handovers: ["2 handovers", "--fdt"], || {
        let mut b = Builder::new();
        let pa = b.folio(0);
        let built = b.finish();
        let mut mem = built.mem;
        mem.write(pa, &mem.read(built.fdt, 4096));
        mem
    };
}
