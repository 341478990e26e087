//! Damaged streams: an error, and no memory or time beyond what their bytes are worth.

use super::shapes::{FRAME, Frame, PACKS, gzip, lz4_frame, lz4_legacy, zstd};
use super::*;

#[test]
fn cut_streams_say_so_and_give_what_came_before() {
    let plain = content(300_000);
    for (compression, pack) in PACKS {
        let packed = pack(&plain);
        // The last bytes are a checksum's or an end's, but for the legacy LZ4 frame, which has none.
        for cut in [20, packed.len() / 3, packed.len() - 5, packed.len() - 1] {
            let mut out = Vec::new();
            let mut unpacker = Unpacker::open(&packed[..cut]).unwrap().unwrap();
            let error = unpacker.read_to_end(&mut out).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{compression} at {cut}"
            );
            assert!(plain.starts_with(&out), "{compression} at {cut}");
            assert!(
                unpacker.read(&mut [0; 9]).is_err(),
                "{compression} at {cut}"
            );
        }
        if *compression == Compression::Lzma {
            continue;
        }
        // In the second of two.
        let twice = [&packed[..], &packed[..packed.len() / 2]].concat();
        let mut out = Vec::new();
        let mut unpacker = Unpacker::open(&twice[..]).unwrap().unwrap();
        let error = unpacker.read_to_end(&mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{compression}");
        assert!(out.starts_with(&plain), "{compression}");
    }
}

#[test]
fn altered_streams_never_panic() {
    let plain = content(60_000);
    let mut random = Random(99);
    for (compression, pack) in PACKS {
        let mut parts = pack(&plain);
        if *compression != Compression::Lzma {
            parts.extend(pack(&plain[..1000]));
        }
        for _ in 0..300 {
            let mut altered = parts.clone();
            for _ in 0..=random.below(4) {
                let end = if random.below(2) == 0 {
                    40
                } else {
                    altered.len()
                };
                let at = random.below(end);
                altered[at] = [0, 1, 0x7f, 0x80, 0xff, random.below(256) as u8][random.below(6)];
            }
            if random.below(4) == 0 {
                altered.truncate(random.below(altered.len()));
            }
            if let Some(unpacker) = Unpacker::open(&altered[..]).unwrap() {
                let mut out = Vec::new();
                let _ = unpacker.take(4 << 20).read_to_end(&mut out);
            }
        }
    }
}

#[test]
fn checksums_are_checked() {
    let plain = content(200_000);
    let frame = lz4_frame(&plain, FRAME);
    let lens = [6, frame.len() - 1, frame.len() / 2];
    for at in lens {
        let mut altered = frame.clone();
        altered[at] ^= 1;
        assert_eq!(error(&altered).kind(), io::ErrorKind::InvalidData, "{at}");
    }
    for (compression, pack) in PACKS {
        let unchecked = [Compression::Lz4, Compression::Lzma, Compression::Zstd];
        if unchecked.contains(compression) {
            continue;
        }
        let mut altered = pack(&plain);
        let middle = altered.len() / 2;
        altered[middle] ^= 0x10;
        assert!(unpack(&altered).is_err(), "{compression}");
    }
}

#[test]
fn what_a_frame_merely_claims() {
    let frame = lz4_frame(
        b"plain",
        Frame {
            checksums: false,
            sized: false,
            ..FRAME
        },
    );
    let head = frame.iter().position(|byte| *byte == 0x40).unwrap();
    for (bytes, message) in [
        (vec![0x60 | 1, 0x40], "a dictionary"),
        (vec![0x60, 0x30], "a block size of kind 3"),
        (vec![0xa0, 0x40], "a frame descriptor a0 40"),
        (vec![0x60, 0xc0], "a frame descriptor 60 c0"),
        (vec![0x60, 0x40], "a wrong checksum of the frame descriptor"),
    ] {
        let mut altered = frame.clone();
        altered[head..head + 2].copy_from_slice(&bytes);
        assert!(
            error(&altered).to_string().contains(message),
            "{}",
            error(&altered)
        );
    }
    let mut altered = frame;
    altered[head + 3..head + 7].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    assert!(
        error(&altered)
            .to_string()
            .contains("a block of 0x7fffffff bytes")
    );
    for len in [0, u32::MAX] {
        let mut legacy = lz4_legacy(b"plain");
        legacy[4..8].copy_from_slice(&len.to_le_bytes());
        assert!(
            error(&legacy)
                .to_string()
                .contains(&format!("a block of {len:#x} bytes"))
        );
    }
    // A skippable frame that is longer than the file.
    let mut long = vec![0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff];
    long.extend(zstd(b"plain"));
    assert_eq!(error(&long).kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn much_of_nothing_costs_no_more_than_its_bytes() {
    // Empty members, frames and blocks; between members the caller may stop.
    let mut file = gzip(b"").repeat(20_000);
    file.extend(gzip(b"end"));
    assert_eq!(unpack(&file).unwrap(), b"end");
    let mut unpacker = Unpacker::open(&file[..]).unwrap().unwrap();
    let first = unpacker.read(&mut [0; 100]).unwrap_err();
    assert_eq!(first.kind(), io::ErrorKind::Interrupted);
    let file = [b"\x50\x2a\x4d\x18\0\0\0\0".repeat(200_000), zstd(b"end")].concat();
    assert_eq!(unpack(&file).unwrap(), b"end");
    let mut file = lz4_legacy(b"plain");
    file.extend([1, 0, 0, 0, 0].repeat(200_000));
    assert_eq!(unpack(&file).unwrap(), b"plain");
    // Stored blocks of one byte in a frame with a window.
    let plain = content(5_000);
    let frame = Frame {
        kind: 7,
        checksums: false,
        block: 1,
        ..FRAME
    };
    assert!(unpack(&lz4_frame(&plain, frame)).unwrap() == plain);
}

#[test]
fn memory_is_not_taken_for_a_packed_file() {
    let mut random = Random(5);
    let mut head = [0; 64];
    assert_eq!(Compression::of(&head), None);
    for round in 0..50_000 {
        for byte in &mut head {
            *byte = match round % 3 {
                0 => random.below(256) as u8,
                1 => [0, 0, 0, 0, 0xff, 1, 0x10, 0x80, 0x5d][random.below(9)],
                _ => random.below(2) as u8 * random.below(256) as u8,
            };
        }
        head[0] |= 0x80 * u8::from(round % 2 == 0);
        let found = Compression::of(&head);
        // .lzma has no magic: what may be taken for one has a dictionary's size and a length.
        if found == Some(Compression::Lzma) {
            let size = u64::from_le_bytes(head[5..13].try_into().unwrap());
            assert!(size == u64::MAX || size < 1 << 38);
            assert_eq!(head[13], 0);
        }
    }
    for kernel in [
        &b"MZ\0\0\0\0\0\0"[..],
        b"\x7fELF\x02\x01\x01\0",
        b"\x53\xff\x00\xf0\x53\xff\x00\xf0",
    ] {
        let mut head = kernel.to_vec();
        head.resize(64, 0);
        assert_eq!(Compression::of(&head), None);
    }
}
