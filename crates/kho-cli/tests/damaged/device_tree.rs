//! The root FDT: its header, its structure, its strings.

use kho_testkit::{Anatomy, Builder, Memory, node, prop};

use crate::SMALL;

/// A big-endian word of the FDT.
fn be(offset: u64, value: u32) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.write(a.fdt + offset, &value.to_be_bytes())
}

damaged!(
    fdt_magic,
    SMALL,
    ["wrong magic", "d00dfeee"],
    be(0, 0xd00d_feee)
);
damaged!(
    fdt_totalsize_0,
    SMALL,
    ["totalsize", "found        0"],
    be(4, 0)
);
damaged!(
    fdt_totalsize_huge,
    SMALL,
    ["totalsize", "4294967280"],
    be(4, 0xffff_fff0)
);
damaged!(
    fdt_totalsize_above_a_page,
    SMALL,
    ["totalsize", "4097"],
    be(4, 4097)
);
damaged!(
    fdt_struct_offset_out_of_range,
    SMALL,
    ["structure block", "offset 4096"],
    be(8, 4096)
);
damaged!(
    fdt_struct_offset_unaligned,
    SMALL,
    ["structure block"],
    be(8, 57)
);
damaged!(
    fdt_strings_offset_out_of_range,
    SMALL,
    ["strings block"],
    be(12, 0xffff_fff0)
);
damaged!(
    fdt_reserve_map_out_of_range,
    SMALL,
    ["memory reservation map"],
    be(16, 0xffff_fff8)
);
damaged!(fdt_version_too_old, SMALL, ["version 16"], be(20, 16));
damaged!(
    fdt_needs_a_newer_reader,
    SMALL,
    ["readable from 18"],
    be(24, 18)
);
damaged!(
    fdt_strings_size_huge,
    SMALL,
    ["strings block"],
    be(32, 0xffff_0000)
);
damaged!(
    fdt_strings_size_too_small,
    SMALL,
    ["property name"],
    be(32, 4)
);
damaged!(
    fdt_struct_size_huge,
    SMALL,
    ["structure block"],
    be(36, 0xffff_0000)
);
damaged!(
    fdt_struct_size_too_small,
    SMALL,
    ["structure block"],
    be(36, 100)
);
damaged!(fdt_token_unknown, SMALL, ["token 0x7"], |m, a| {
    let at = node(m, a.fdt, "kho_test");
    m.write(at, &7u32.to_be_bytes());
});
damaged!(fdt_ends_inside_a_node, SMALL, ["token 0x9"], |m, a| {
    let at = node(m, a.fdt, "kexec-metadata");
    m.write(at, &9u32.to_be_bytes());
});
damaged!(fdt_node_unnamed, SMALL, ["node name is empty"], |m, a| {
    let at = node(m, a.fdt, "LUO");
    m.write(at + 4, &[0; 4]);
});
damaged!(
    fdt_property_longer_than_its_block,
    SMALL,
    ["property length"],
    |m, a| {
        let at = prop(m, a.fdt, "LUO", "preserved-data");
        m.write(at - 8, &0x7fff_ffffu32.to_be_bytes());
    }
);
damaged!(fdt_property_of_4_bytes, SMALL, ["8 bytes"], |m, a| {
    // A NOP takes the place of the value's second half.
    let at = prop(m, a.fdt, "LUO", "preserved-data");
    m.write(at - 8, &4u32.to_be_bytes());
    m.write(at + 4, &4u32.to_be_bytes());
});
damaged!(
    fdt_property_name_out_of_range,
    SMALL,
    ["property name"],
    |m, a| {
        let at = prop(m, a.fdt, "LUO", "blob-size");
        m.write(at - 4, &57u32.to_be_bytes());
    }
);
damaged!(
    fdt_property_twice,
    SMALL,
    ["property `preserved-data`", "duplicate"],
    |m, a| {
        let (from, to) = (
            prop(m, a.fdt, "LUO", "preserved-data"),
            prop(m, a.fdt, "LUO", "blob-size"),
        );
        let name = m.read(from - 4, 4);
        m.write(to - 4, &name);
    }
);
damaged!(
    fdt_blob_address_missing,
    SMALL,
    ["`preserved-data`", "missing"],
    |m, a| {
        let at = prop(m, a.fdt, "LUO", "preserved-data");
        let other = prop(m, a.fdt, "", "compatible");
        let name = m.read(other - 4, 4);
        m.write(at - 4, &name);
    }
);
built!(fdt_node_twice, ["node `dup`", "duplicate"], || {
    let mut b = Builder::new();
    for _ in 0..2 {
        let pa = b.folio(0);
        b.subtree("dup", pa, 8);
    }
    b.finish().mem
});
damaged!(
    root_compatible_unterminated,
    SMALL,
    ["compatible", "not terminated"],
    |m, a| {
        let at = prop(m, a.fdt, "", "compatible");
        m.write(at, b"kho-v44");
    }
);
damaged!(root_compatible_empty, SMALL, ["root FDT"], |m, a| {
    let at = prop(m, a.fdt, "", "compatible");
    m.write(at, &[0; 7]);
});
damaged!(root_of_another_name, SMALL, ["kha-v4", "kho-v"], |m, a| {
    let at = prop(m, a.fdt, "", "compatible");
    m.write(at, b"kha-v4");
});
damaged!(
    root_version_unknown,
    SMALL,
    ["refused", "kho-v5", "kho-v4", "all preserved state is lost"],
    |m, a| {
        let at = prop(m, a.fdt, "", "compatible");
        m.write(at, b"kho-v5");
    }
);
damaged!(
    root_version_not_a_number,
    SMALL,
    ["refused", "kho-v4x"],
    |m, a| {
        let at = prop(m, a.fdt, "", "compatible");
        m.write(at - 8, &8u32.to_be_bytes());
        m.write(at, b"kho-v4x\0");
    }
);
built!(
    root_composite_unsorted,
    ["refused", "out of alphabetical order"],
    || {
        let mut b = Builder::new();
        b.root_compatible = "kho-v4;vmalloc-v1;radix-v1".into();
        b.finish().mem
    }
);
built!(
    root_composite_with_a_newer_part,
    ["refused", "radix-v2"],
    || {
        let mut b = Builder::new();
        b.root_compatible = "kho-v4;radix-v2;vmalloc-v1".into();
        b.finish().mem
    }
);
