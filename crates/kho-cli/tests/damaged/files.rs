//! The file that a dump comes in.

/// A word of the file.
fn word(offset: usize, value: u64) -> impl Fn(&mut Vec<u8>) {
    move |bytes| bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes())
}

file! {
    empty: ["empty file"], Vec::clear;
    cut_in_the_headers: ["program headers"], |b| b.truncate(200);
    cut_in_the_elf_header: ["ELF header"], |b| b.truncate(40);
    elf_magic: ["damaged", "raw memory"], |b| b[1] = b'e';
    elf_of_32_bits: ["refused", "32-bit"], |b| b[4] = 1;
    elf_big_endian: ["ELF header", "byte order 2"], |b| b[5] = 2;
    elf_of_no_class: ["ELF header", "class 3"], |b| b[4] = 3;
    elf_executable: ["refused", "ELF program"], |b| b[16] = 2;
    program_headers_outside: ["program headers"], word(32, 1 << 40);
    too_many_program_headers: ["damaged"], |b| b[56..58].copy_from_slice(&60000u16.to_le_bytes());
    no_program_headers: ["no PT_LOAD"], |b| b[56..58].copy_from_slice(&0u16.to_le_bytes());
    segment_offset_wrapping: ["leaves the file"], word(64 + 8, u64::MAX - 4095);
    segment_wrapping: ["wraps"], word(64 + 24, 0xffff_ffff_ffff_f000);
    segment_filesz_above_memsz: ["p_filesz"], word(64 + 40, 0x1000);
    segments_overlap: ["overlap"], word(64 + 56 + 24, 0x15f_0000);
    segments_share_bytes: ["overlap in the file"], word(64 + 56 + 8, 0x2000);
    gzip: ["gzip"], |b| b[..4].copy_from_slice(&[0x1f, 0x8b, 8, 0]);
    zstd_cut_short: ["zstd", "cut short"], |b| {
        *b = std::fs::read(kho_testkit::capture_path("small.core.zst")).unwrap();
        b.truncate(40);
    };
    zstd_corrupt: ["zstd"], |b| {
        *b = std::fs::read(kho_testkit::capture_path("small.core.zst")).unwrap();
        let middle = b.len() / 2;
        b[middle..middle + 64].fill(0x55);
    };
    zeros: ["no handover"], |b| *b = vec![0; 1 << 20];
}
