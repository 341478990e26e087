//! Strings that count, and strings that do not.

use super::*;

#[test]
fn parts_of_messages_do_not_count() {
    #[rustfmt::skip]
    let stray = [
        "Spectre-v2 mitigation is off", "incompatible with kho-v4", "luo-v5 is not known",
        "'memfd-v2'", "memblock-v1\n", "\u{1}3luo-v5", "reserve-mem-v01", "kho-v", "Kho-v4",
        "kho-v4;", "kho-v4294967296", "kho-v4;vmalloc-v1;radix-v1", "a/luo-v5", "luo-v5.2",
    ];
    let image = read(&vmlinux(&[rodata(&strings(&stray))]));
    assert_eq!(texts(image.strings()), [""; 0]);
    assert_eq!(candidates(image.strings()), [""; 0]);
    assert_eq!(image.strings().ignored, 0);
    assert!(!image.strings().has_kho() && !image.strings().has_luo());
}

#[test]
fn strings_without_an_end_or_in_code_do_not_count() {
    let sections = [
        rodata(BANNER),
        Section(".rodata.tail", 1, ALLOC, b"kho-v4".to_vec()),
        Section(".text", 1, ALLOC | EXEC, b"\0luo-v5\0".to_vec()),
        Section(".comment", 1, 0, b"\0memblock-v1\0".to_vec()),
        Section(".bss", 8, ALLOC, b"\0reserve-mem-v1\0".to_vec()),
    ];
    assert_eq!(texts(read(&vmlinux(&sections)).strings()), [""; 0]);
    // The start of a section is as good as a NUL.
    let start = Section(".rodata.str1.1", 1, ALLOC, b"kho-v4\0".to_vec());
    let image = read(&vmlinux(&[rodata(BANNER), start]));
    assert_eq!(texts(image.strings()), ["kho-v4"]);
    assert_eq!(image.strings().strings[0].standing, Standing::Constant);
}

#[test]
fn composites_count_by_their_base() {
    let all = [
        "kho-v4;radix-v1;vmalloc-v1",
        "luo-v5;block-v1",
        "memfd-v2;vmalloc-v1",
    ];
    let image = read(&vmlinux(&[rodata(&strings(&all))]));
    assert_eq!(texts(image.strings()), all);
    let carriers: Vec<_> = image.strings().carriers().map(|(c, _)| c).collect();
    assert_eq!(
        carriers,
        [Carrier::Root, Carrier::Luo, Carrier::FileHandler]
    );
}

#[test]
fn names_say_what_carries_them() {
    let all = [
        ("kho-v4", Some(Carrier::Root)),
        ("luo-v5", Some(Carrier::Luo)),
        ("memfd-v2", Some(Carrier::FileHandler)),
        ("fd-v1", Some(Carrier::FileHandler)),
        ("memblock-v1", Carrier::by_id("memblock")),
        ("reserve-mem-v1", Carrier::by_id("reserve-mem")),
        ("liveupdate-test-flb-v0", Some(Carrier::Flb)),
        ("luo-flb-v1", None),
        ("luo-session-v2", None),
    ];
    let names: Vec<_> = all.iter().map(|(text, _)| *text).collect();
    let image = read(&vmlinux(&[rodata(&strings(&names))]));
    let found = image.strings().strings.iter();
    let found: Vec<_> = found.map(|f| (f.text.as_str(), f.carrier())).collect();
    assert_eq!(found, all);
}

#[test]
fn fields_behind_a_pointer_count_where_they_are_fields() {
    let data = |bytes: Vec<u8>| {
        read(&vmlinux(&[
            rodata(BANNER),
            Section(".data", 1, ALLOC | 1, bytes),
        ]))
        .into_strings()
    };
    let found = data(handler("memfd-v2"));
    assert_eq!(texts(&found), ["memfd-v2"]);
    assert_eq!(found.strings[0].standing, Standing::Field);
    assert_eq!(found.strings[0].address, Some(0x8101_0008));
    assert_eq!(
        found.strings[0].to_string(),
        format!(
            "memfd-v2 at {:#x} (.data, 0x81010008)",
            found.strings[0].offset
        )
    );

    // Not aligned; not padded; behind text; cut short by the section's end.
    let mut shifted = vec![0xff; 4];
    shifted.extend(handler("memfd-v2"));
    assert_eq!(texts(&data(shifted)), [""; 0]);
    let mut dirty = handler("memfd-v2");
    dirty[8 + 40] = 1;
    assert_eq!(texts(&data(dirty)), [""; 0]);
    let mut text = handler("memfd-v2");
    text[7] = b' ';
    assert_eq!(texts(&data(text)), [""; 0]);
    let mut cut = handler("memfd-v2");
    cut.truncate(8 + 47);
    assert_eq!(texts(&data(cut)), [""; 0]);
    // 47 bytes and a NUL fill the field; 48 have no NUL.
    let long = format!("{}-v1", "a".repeat(44));
    assert_eq!(candidates(&data(handler(&long))), [long.as_str()]);
    let long = format!("a{long}");
    assert_eq!(candidates(&data(handler(&long))), [""; 0]);
}

#[test]
fn other_strings_of_the_grammar_are_candidates_only_where_they_may_be_some() {
    let constants = strings(&["arm-smmu-v3", "pci-v1", "kho-test-v1", "gic-v3"]);
    let mut fields = handler("pci-v1");
    fields.extend(handler("vfio-v3"));
    let sections = [rodata(&constants), Section(".data", 1, ALLOC | 1, fields)];
    let found = read(&vmlinux(&sections)).into_strings();
    assert_eq!(texts(&found), [""; 0]);
    assert_eq!(candidates(&found), ["kho-test-v1", "pci-v1", "vfio-v3"]);
    assert_eq!(found.ignored, 3);
    assert_eq!(found.carriers().count(), 0);
}

#[test]
fn a_string_is_listed_once_with_its_first_place() {
    let sections = [
        rodata(&strings(&["kho-v4", "kho-v4"])),
        Section(".init.rodata", 1, ALLOC, b"kho-v4\0kho-v3\0".to_vec()),
    ];
    let found = read(&vmlinux(&sections)).into_strings();
    assert_eq!(texts(&found), ["kho-v4", "kho-v3"]);
    assert_eq!((found.strings[0].times, found.strings[1].times), (3, 1));
    assert_eq!(found.strings[0].offset, 0x200 + BANNER.len() as u64);
}

#[test]
fn a_kernel_without_kho_and_one_whose_string_does_not_stand() {
    let none = read(&vmlinux(&[rodata(&strings(&["memblock-v1", "kho"]))])).into_strings();
    assert!(!none.has_kho() && !none.has_luo());

    let other = strings(&["preserved-memory-map", "kernel/liveupdate/luo_file.c"]);
    let found = read(&vmlinux(&[rodata(&other)])).into_strings();
    assert_eq!(texts(&found), [""; 0]);
    assert_eq!(found.kho.unwrap().text, "preserved-memory-map");
    assert_eq!(found.luo.unwrap().text, "kernel/liveupdate/luo_file.c");

    // Symbols of a vmlinux that was not stripped.
    let symbols = Section(".strtab", 3, 0, b"\0start_kernel\0kho_populate\0".to_vec());
    let found = read(&vmlinux(&[rodata(BANNER), symbols])).into_strings();
    let trace = found.kho.unwrap();
    assert_eq!(trace.text.as_str(), "kho_populate");
    assert_eq!(trace.section.as_deref(), Some(".strtab"));
    assert!(found.luo.is_none());

    let part = strings(&["no preserved-memory-map", "a kho_populate"]);
    assert!(!read(&vmlinux(&[rodata(&part)])).strings().has_kho());
}
