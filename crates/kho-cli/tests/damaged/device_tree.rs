//! The root FDT: its header, its structure, its strings.

use kho_testkit::{Anatomy, Builder, Memory, node, prop};

use crate::SMALL;

/// A big-endian word of the FDT.
fn be(offset: u64, value: u32) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.write(a.fdt + offset, &value.to_be_bytes())
}

damaged! { SMALL;
    fdt_magic: ["wrong magic", "d00dfeee"], be(0, 0xd00d_feee);
    fdt_totalsize_0: ["totalsize", "found        0"], be(4, 0);
    fdt_totalsize_huge: ["totalsize", "4294967280"], be(4, 0xffff_fff0);
    fdt_totalsize_above_a_page: ["totalsize", "4097"], be(4, 4097);
    fdt_struct_offset_out_of_range: ["structure block", "offset 4096"], be(8, 4096);
    fdt_struct_offset_unaligned: ["structure block"], be(8, 57);
    fdt_strings_offset_out_of_range: ["strings block"], be(12, 0xffff_fff0);
    fdt_reserve_map_out_of_range: ["memory reservation map"], be(16, 0xffff_fff8);
    fdt_version_too_old: ["version 16"], be(20, 16);
    fdt_needs_a_newer_reader: ["readable from 18"], be(24, 18);
    fdt_strings_size_huge: ["strings block"], be(32, 0xffff_0000);
    fdt_strings_size_too_small: ["property name"], be(32, 4);
    fdt_struct_size_huge: ["structure block"], be(36, 0xffff_0000);
    fdt_struct_size_too_small: ["structure block"], be(36, 100);
    fdt_token_unknown: ["token 0x7"], |m, a| m.write(node(m, a.fdt, "kho_test"), &7u32.to_be_bytes());
    fdt_ends_inside_a_node:
        ["token 0x9"], |m, a| m.write(node(m, a.fdt, "kexec-metadata"), &9u32.to_be_bytes());
    fdt_node_unnamed: ["node name is empty"], |m, a| m.write(node(m, a.fdt, "LUO") + 4, &[0; 4]);
    fdt_property_longer_than_its_block: ["property length"],
        |m, a| m.write(prop(m, a.fdt, "LUO", "preserved-data") - 8, &0x7fff_ffffu32.to_be_bytes());
    fdt_property_of_4_bytes: ["8 bytes"], |m, a| {
        // A NOP takes the place of the value's second half.
        let at = prop(m, a.fdt, "LUO", "preserved-data");
        m.write(at - 8, &4u32.to_be_bytes());
        m.write(at + 4, &4u32.to_be_bytes());
    };
    fdt_property_name_out_of_range:
        ["property name"], |m, a| m.write(prop(m, a.fdt, "LUO", "blob-size") - 4, &57u32.to_be_bytes());
    fdt_property_twice: ["property `preserved-data`", "duplicate"], |m, a| {
        let (from, to) = (
            prop(m, a.fdt, "LUO", "preserved-data"),
            prop(m, a.fdt, "LUO", "blob-size"),
        );
        let name = m.read(from - 4, 4);
        m.write(to - 4, &name);
    };
    fdt_blob_address_missing: ["`preserved-data`", "missing"], |m, a| {
        let at = prop(m, a.fdt, "LUO", "preserved-data");
        let other = prop(m, a.fdt, "", "compatible");
        let name = m.read(other - 4, 4);
        m.write(at - 4, &name);
    };
}

built! {
    fdt_node_twice: ["node `dup`", "duplicate"], || {
        let mut b = Builder::new();
        for _ in 0..2 {
            let pa = b.folio(0);
            b.subtree("dup", pa, 8);
        }
        b.finish().mem
    };
}

damaged! { SMALL;
    root_compatible_unterminated:
        ["compatible", "not terminated"], |m, a| m.write(prop(m, a.fdt, "", "compatible"), b"kho-v44");
    root_compatible_empty: ["root FDT"], |m, a| m.write(prop(m, a.fdt, "", "compatible"), &[0; 7]);
    root_of_another_name: ["kha-v4", "kho-v"], |m, a| m.write(prop(m, a.fdt, "", "compatible"), b"kha-v4");
    root_version_unknown: ["refused", "kho-v5", "kho-v4", "all preserved state is lost"],
        |m, a| m.write(prop(m, a.fdt, "", "compatible"), b"kho-v5");
    root_version_not_a_number: ["refused", "kho-v4x"], |m, a| {
        let at = prop(m, a.fdt, "", "compatible");
        m.write(at - 8, &8u32.to_be_bytes());
        m.write(at, b"kho-v4x\0");
    };
}

built! {
    root_composite_of_two_versions: ["refused", "listed twice"], || {
        let mut b = Builder::new();
        b.root_compatible = "kho-v4;vmalloc-v1;radix-v1;vmalloc-v2".into();
        b.finish().mem
    };
    root_in_dash_form: ["refused", "dash form of the first drafts"], || {
        let mut b = Builder::new();
        b.root_compatible = "kho-v4-radix-v1-vmalloc-v1".into();
        b.finish().mem
    };
    root_composite_with_a_newer_part: ["refused", "radix-v2"], || {
        let mut b = Builder::new();
        b.root_compatible = "kho-v4;radix-v2;vmalloc-v1".into();
        b.finish().mem
    };
}
