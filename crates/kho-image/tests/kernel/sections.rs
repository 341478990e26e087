//! The sections of the drafts.

use super::*;

#[test]
fn the_section_of_versions_is_the_evidence() {
    for big in [false, true] {
        let listed = versions(&["luo-v6", "luo-v5", "memfd-v3", "pci-v1"], big);
        #[rustfmt::skip]
        let sections = [
            rodata(&strings(&["kho-v4", "luo-v5", "memblock-v1", "memfd-v2", "kho-test-v1"])),
            Section(".liveupdate_versions", 1, ALLOC, listed),
        ];
        let image = read(&elf(2, true, big, &sections));
        assert_eq!(image.evidence(), [Evidence::Versions, Evidence::Strings]);
        let found = image.into_strings();
        assert_eq!(
            texts(&found),
            [
                "luo-v6",
                "luo-v5",
                "memfd-v3",
                "pci-v1",
                "kho-v4",
                "memblock-v1"
            ]
        );
        // What LUO's section does not list is no more than a candidate.
        assert_eq!(candidates(&found), ["memfd-v2", "kho-test-v1"]);
        let evidence: Vec<_> = found.strings.iter().map(|f| f.evidence).collect();
        assert_eq!(evidence[0], Evidence::Versions);
        assert_eq!(evidence[4], Evidence::Strings);
        assert_eq!(found.strings[1].address, Some(0x8101_0000 + 8 + 48));
        assert_eq!(found.strings[3].carrier(), None);
    }
}

#[test]
fn the_section_of_features() {
    for big in [false, true] {
        let listed = features(&[("luo", 7, 1, 3), ("memfd", u64::MAX, 0, 0)], big);
        let sections = [
            rodata(&strings(&["kho-v4", "luo-v5"])),
            Section(".liveupdate_features", 1, ALLOC, listed),
        ];
        let found = read(&elf(2, true, big, &sections)).into_strings();
        assert_eq!(found.evidence, [Evidence::Features, Evidence::Strings]);
        assert_eq!(texts(&found), ["kho-v4"]);
        assert_eq!(candidates(&found), ["luo-v5"]);
        let luo = &found.features[0];
        assert_eq!(luo.name.as_str(), "luo");
        assert_eq!(luo.bytes, 8);
        assert_eq!(luo.supported, 7);
        assert_eq!(luo.required, 1);
        assert_eq!(luo.active, 3);
        assert_eq!(found.features[1].address, Some(0x8101_0000 + 8 + 80));
        assert!(found.has_luo());
    }
}

#[test]
fn both_sections_in_images_without_section_headers() {
    let mut rest = strings(&["kho-v4"]);
    rest.resize(rest.len().next_multiple_of(8), 0);
    rest.extend(header(MAGIC, 1, false)); // Somewhere in code.
    rest.extend([0x90; 8]);
    rest.extend(versions(&["luo-v6", "memfd-v3"], false));
    rest.extend([0x90; 8]);
    rest.extend(features(&[("luo", 7, 1, 3)], false));
    rest.extend([0x90; 40]);
    let found = read(&flat(b"ARM\x64", &rest)).into_strings();
    assert_eq!(
        found.evidence,
        [Evidence::Versions, Evidence::Features, Evidence::Strings]
    );
    assert_eq!(texts(&found), ["luo-v6", "memfd-v3", "kho-v4"]);
    assert_eq!(found.features.len(), 1);
    // An ELF file whose section headers were cut off.
    let mut kernel = vmlinux(&[rodata(&rest)]);
    kernel[40..48].fill(0);
    kernel[58..64].fill(0);
    let found = read(&kernel).into_strings();
    assert_eq!(texts(&found), ["luo-v6", "memfd-v3", "kho-v4"]);
    assert_eq!(found.strings[2].section, None);
}

/// A kernel with a section, which lies behind the banner's, at 0x230.
fn image(name: &'static str, bytes: Vec<u8>) -> Vec<u8> {
    vmlinux(&[rodata(BANNER), Section(name, 1, ALLOC, bytes)])
}

fn listed(bytes: Vec<u8>) -> Vec<u8> {
    image(".liveupdate_versions", bytes)
}

fn bits(bytes: Vec<u8>) -> Vec<u8> {
    image(".liveupdate_features", bytes)
}

refused! {
    a_magic: listed(header(0x1234, 1, false)),
        ["magic of section .liveupdate_versions", "0x230", "found 0x1234", "0x4c565550"];
    a_version: listed(header(MAGIC, 2, false)),
        ["version of section .liveupdate_versions", "0x234", "found 0x2", "expected 0x1"];
    half_a_header: listed(vec![0; 7]), ["0x7 bytes", "a header of 8 bytes"];
    an_empty_token: listed(versions(&["luo-v5", ""], false)), ["0x268", "a token is expected"];
    a_version_that_is_no_number: listed(versions(&["luo-v5x"], false)), ["0x23e", "a decimal digit"];
    a_field_without_a_nul: listed(versions(&[&"a".repeat(48)], false)), ["no NUL in its field"];
}

#[test]
fn a_field_with_bytes_behind_its_nul() {
    let mut dirty = versions(&["luo-v5"], false);
    dirty[8 + 20] = 1;
    refused(&listed(dirty), &["0x24c", "bytes behind its NUL"]);
}

#[test]
fn an_entry_cut_short_unless_it_is_padding() {
    let mut odd = versions(&["luo-v5"], false);
    odd.extend([0; 8]);
    assert_eq!(texts(read(&listed(odd.clone())).strings()), ["luo-v5"]);
    odd.extend([1; 8]);
    refused(
        &listed(odd),
        &["last entry of section .liveupdate_versions", "16 bytes"],
    );
}

refused! {
    more_entries_than_a_kernel_has: listed(versions(&["luo-v5"; 5000], false)), ["5000 entries", "at most 4096"];
    names_of_features_out_of_the_grammar:
        bits(features(&[("luo-v", 0, 0, 0), ("Luo", 0, 0, 0)], false)), ["0x288", "'L'"];
}

#[test]
fn a_reserved_word_of_features() {
    let mut reserved = features(&[("luo", 0, 0, 0)], false);
    reserved[8 + 52] = 1;
    refused(
        &bits(reserved),
        &["0x26c", "a reserved word that is not zero"],
    );
}

#[test]
fn a_compressed_section() {
    let bytes = versions(&["luo-v5"], false);
    let packed = Section(".liveupdate_versions", 1, ALLOC | 0x800, bytes);
    refused(
        &vmlinux(&[rodata(BANNER), packed]),
        &["a compressed section"],
    );
}
