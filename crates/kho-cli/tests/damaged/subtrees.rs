//! Subtrees: their blobs, and the kexec metadata.

use kho_testkit::{Anatomy, Memory, prop};

use crate::SMALL;

fn luo_blob_size(size: u64) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(prop(m, a.fdt, "LUO", "blob-size"), size)
}

fn luo_blob(mem: &Memory, a: &Anatomy) -> u64 {
    prop(mem, a.fdt, "LUO", "preserved-data")
}
damaged!(luo_blob_null, SMALL, ["subtree `LUO`", "null"], |m, a| m
    .set_u64(luo_blob(m, a), 0));
damaged!(
    luo_blob_unaligned,
    SMALL,
    ["subtree `LUO`", "not aligned"],
    |m, a| {
        m.set_u64(luo_blob(m, a), a.luo + 16);
    }
);
damaged!(
    luo_blob_outside,
    SMALL,
    ["subtree `LUO`", "not preserved"],
    |m, a| {
        m.set_u64(luo_blob(m, a), 0x9_0000_0000);
    }
);
damaged!(
    luo_blob_not_preserved,
    SMALL,
    ["subtree `LUO`", "not preserved"],
    |m, a| {
        m.set_u64(luo_blob(m, a), a.level(0).pa);
    }
);
damaged!(blobs_shared, SMALL, ["is shared"], |m, a| {
    m.set_u64(luo_blob(m, a), a.metadata)
});
damaged!(blob_is_the_fdt, SMALL, ["is shared", "root FDT"], |m, a| m
    .set_u64(luo_blob(m, a), a.fdt));
damaged!(
    unknown_subtrees_blob_not_preserved,
    SMALL,
    ["subtree `kho_test`"],
    |m, a| {
        m.set_u64(prop(m, a.fdt, "kho_test", "preserved-data"), 0x1_0000_0000);
    }
);
damaged!(
    luo_blob_size_0,
    SMALL,
    ["blob-size", "LUO"],
    luo_blob_size(0)
);
damaged!(
    luo_blob_size_of_a_word,
    SMALL,
    ["LUO", "impossible size"],
    luo_blob_size(8)
);
damaged!(
    luo_blob_size_off_by_one,
    SMALL,
    ["LUO", "impossible size"],
    luo_blob_size(31)
);
damaged!(
    luo_blob_size_one_too_many,
    SMALL,
    ["LUO", "impossible size", "33 bytes"],
    luo_blob_size(33)
);
damaged!(
    luo_blob_size_composites,
    SMALL,
    ["LUO", "impossible size"],
    luo_blob_size(40)
);
damaged!(
    luo_blob_size_a_page_too_many,
    SMALL,
    ["LUO", "impossible size"],
    luo_blob_size(8192)
);
damaged!(
    luo_blob_size_huge,
    SMALL,
    ["subtree `LUO`", "wraps"],
    luo_blob_size(u64::MAX)
);
damaged!(
    metadata_size,
    SMALL,
    ["kexec metadata", "73 bytes"],
    |m, a| {
        m.set_u64(prop(m, a.fdt, "kexec-metadata", "blob-size"), 72);
    }
);
damaged!(
    metadata_release_unterminated,
    SMALL,
    ["previous_release", "not terminated"],
    |m, a| {
        m.write(a.metadata + 4, &[b'7'; 65]);
    }
);
damaged!(
    metadata_release_empty,
    SMALL,
    ["previous_release is empty"],
    |m, a| {
        m.write(a.metadata + 4, &[0; 65]);
    }
);
damaged!(
    metadata_release_no_text,
    SMALL,
    ["previous_release", "not valid text"],
    |m, a| {
        m.write(a.metadata + 4, &[0xff, 0xfe]);
    }
);
