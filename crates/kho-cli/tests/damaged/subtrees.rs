//! Subtrees: their blobs, and the kexec metadata.

use kho_testkit::{Anatomy, Memory, prop};

use crate::SMALL;

fn luo_blob_size(size: u64) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(prop(m, a.fdt, "LUO", "blob-size"), size)
}

fn luo_blob(mem: &Memory, a: &Anatomy) -> u64 {
    prop(mem, a.fdt, "LUO", "preserved-data")
}
damaged! { SMALL;
    luo_blob_null: ["subtree `LUO`", "null"], |m, a| m.set_u64(luo_blob(m, a), 0);
    luo_blob_unaligned: ["subtree `LUO`", "not aligned"], |m, a| m.set_u64(luo_blob(m, a), a.luo + 16);
    luo_blob_outside: ["subtree `LUO`", "not preserved"], |m, a| m.set_u64(luo_blob(m, a), 0x9_0000_0000);
    luo_blob_not_preserved:
        ["subtree `LUO`", "not preserved"], |m, a| m.set_u64(luo_blob(m, a), a.level(0).pa);
    blobs_shared: ["is shared"], |m, a| m.set_u64(luo_blob(m, a), a.metadata);
    blob_is_the_fdt: ["is shared", "root FDT"], |m, a| m.set_u64(luo_blob(m, a), a.fdt);
    unknown_subtrees_blob_not_preserved:
        ["subtree `kho_test`"], |m, a| m.set_u64(prop(m, a.fdt, "kho_test", "preserved-data"), 0x1_0000_0000);
    luo_blob_size_0: ["blob-size", "LUO"], luo_blob_size(0);
    luo_blob_size_of_a_word: ["LUO", "impossible size"], luo_blob_size(8);
    luo_blob_size_off_by_one: ["LUO", "impossible size"], luo_blob_size(31);
    luo_blob_size_one_too_many: ["LUO", "impossible size", "33 bytes"], luo_blob_size(33);
    luo_blob_size_composites: ["LUO", "impossible size"], luo_blob_size(40);
    luo_blob_size_a_page_too_many: ["LUO", "impossible size"], luo_blob_size(8192);
    luo_blob_size_huge: ["subtree `LUO`", "wraps"], luo_blob_size(u64::MAX);
    metadata_size:
        ["kexec metadata", "73 bytes"], |m, a| m.set_u64(prop(m, a.fdt, "kexec-metadata", "blob-size"), 72);
    metadata_release_unterminated:
        ["previous_release", "not terminated"], |m, a| m.write(a.metadata + 4, &[b'7'; 65]);
    metadata_release_empty: ["previous_release is empty"], |m, a| m.write(a.metadata + 4, &[0; 65]);
    metadata_release_no_text:
        ["previous_release", "not valid text"], |m, a| m.write(a.metadata + 4, &[0xff, 0xfe]);
}
