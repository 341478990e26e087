//! The shapes of packed files, made here.

use std::hash::Hasher as _;

use super::*;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A member with every field that its header may have.
fn gzip_with_fields(bytes: &[u8]) -> Vec<u8> {
    let builder = flate2::GzBuilder::new();
    let builder = builder.extra(&b"BC\x02\0\0\0"[..]).filename("vmcore");
    let builder = builder.comment("a dump").mtime(1);
    let mut encoder = builder.write(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    let mut packed = encoder.finish().unwrap();
    // The header's own checksum: after it, the two low bytes of its CRC-32.
    let end = packed.windows(7).position(|w| w == b"a dump\0").unwrap() + 7;
    packed[3] |= 2;
    let mut crc = flate2::Crc::new();
    crc.update(&packed[..end]);
    packed.splice(end..end, (crc.sum() as u16).to_le_bytes());
    packed
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn zstd_with(bytes: &[u8], set: impl Fn(&mut zstd::Encoder<'_, Vec<u8>>)) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    set(&mut encoder);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn skippable(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u32).to_le_bytes();
    [&[0x50 | kind, 0x2a, 0x4d, 0x18], &len[..], content].concat()
}

fn xz_with(bytes: &[u8], options: lzma_rust2::XzOptions) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn xz(bytes: &[u8]) -> Vec<u8> {
    xz_with(bytes, lzma_rust2::XzOptions::with_preset(1))
}

fn lzma_with(bytes: &[u8], [lc, lp, pb]: [u32; 3], dictionary: u32, known: bool) -> Vec<u8> {
    let mut options = lzma_rust2::LzmaOptions::with_preset(1);
    (options.lc, options.lp, options.pb) = (lc, lp, pb);
    options.dict_size = dictionary;
    let size = known.then_some(bytes.len() as u64);
    let mut encoder = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, size).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn lzma(bytes: &[u8]) -> Vec<u8> {
    lzma_with(bytes, [3, 0, 2], 1 << 20, false)
}

pub(super) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn lz4_legacy(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![2, 0x21, 0x4c, 0x18];
    for block in bytes.chunks(8 << 20) {
        let packed = lz4_flex::block::compress(block);
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend(packed);
    }
    out
}

/// How a frame is made.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) linked: bool,
    pub(super) checksums: bool,
    pub(super) sized: bool,
    /// Blocks end after this many bytes, full or not.
    pub(super) block: usize,
}

pub(super) const FRAME: Frame = Frame {
    kind: 4,
    linked: true,
    checksums: true,
    sized: true,
    block: 64 << 10,
};

pub(super) fn lz4_frame(bytes: &[u8], frame: Frame) -> Vec<u8> {
    let bit = |set: bool, bit: u8| u8::from(set) << bit;
    let flags = 0x40
        | bit(!frame.linked, 5)
        | bit(frame.checksums, 4)
        | bit(frame.sized, 3)
        | bit(frame.checksums, 2);
    let mut head = vec![flags, frame.kind << 4];
    if frame.sized {
        head.extend((bytes.len() as u64).to_le_bytes());
    }
    let sum = |bytes: &[u8]| twox_hash::XxHash32::oneshot(0, bytes).to_le_bytes();
    let check = sum(&head)[1];
    let mut out = [&[4, 0x22, 0x4d, 0x18], &head[..], &[check]].concat();
    let mut done = 0;
    for block in bytes.chunks(frame.block) {
        let from = if frame.linked {
            done - done.min(64 << 10)
        } else {
            done
        };
        let packed = lz4_flex::block::compress_with_dict(block, &bytes[from..done]);
        let stored = packed.len() >= block.len();
        let packed = if stored { block } else { &packed };
        out.extend((packed.len() as u32 | u32::from(stored) << 31).to_le_bytes());
        out.extend(packed);
        if frame.checksums {
            out.extend(sum(packed));
        }
        done += block.len();
    }
    out.extend([0; 4]);
    if frame.checksums {
        let mut whole = twox_hash::XxHash32::with_seed(0);
        whole.write(bytes);
        out.extend(whole.finish_32().to_le_bytes());
    }
    out
}

type Pack = fn(&[u8]) -> Vec<u8>;

pub(super) const PACKS: &[(Compression, Pack)] = &[
    (Compression::Gzip, gzip),
    (Compression::Gzip, gzip_with_fields),
    (Compression::Zstd, zstd),
    (Compression::Xz, xz),
    (Compression::Lz4, lz4_legacy),
    (Compression::Lz4, |bytes| lz4_frame(bytes, FRAME)),
    (Compression::Lzma, lzma),
    (Compression::Bzip2, bzip2),
];

#[test]
fn one_and_several() {
    let plain = content(700_000);
    for (compression, pack) in PACKS {
        same("one", *compression, &pack(&plain), &plain);
        same("nothing", *compression, &pack(b""), b"");
        if *compression == Compression::Lzma {
            continue;
        }
        let (one, rest) = plain.split_at(123_456);
        let (two, three) = rest.split_at(1);
        let parts = [pack(one), pack(b""), pack(two), pack(three), pack(b"")];
        same("several", *compression, &parts.concat(), &plain);
        // From a source that gives a byte at a time.
        let mut slow = Vec::new();
        let parts = parts.concat();
        Unpacker::open(Slow(&parts))
            .unwrap()
            .unwrap()
            .read_to_end(&mut slow)
            .unwrap();
        assert!(slow == plain, "{compression}");
    }
}

/// Gives a byte at a time.
struct Slow<'b>(&'b [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(1);
        self.0.read(&mut buf[..len])
    }
}

#[test]
fn gzip_padding_and_what_is_no_member() {
    let packed = [gzip(b"one"), gzip(b"two")].concat();
    for trailing in [
        &[0; 1][..],
        &[0; 5000],
        b"\xd0\x0d\xfe\xed and a device tree",
        b"\x1f",
    ] {
        same(
            "padded",
            Compression::Gzip,
            &[&packed, trailing].concat(),
            b"onetwo",
        );
    }
}

#[test]
fn zstd_frames() {
    let plain = content(900_000);
    let unsized_frame = zstd_with(&plain, |_| ());
    let sized = zstd_with(&plain, |encoder| {
        encoder
            .set_pledged_src_size(Some(plain.len() as u64))
            .unwrap();
        encoder.include_checksum(true).unwrap();
    });
    // As --long=27 does.
    let long = zstd_with(&plain, |encoder| {
        encoder.long_distance_matching(true).unwrap();
        encoder.window_log(27).unwrap();
    });
    for frame in [&unsized_frame, &sized, &long] {
        same("frame", Compression::Zstd, frame, &plain);
        // As pzstd begins each frame, and as a seek table ends the file.
        let head = skippable(0, &(frame.len() as u32).to_le_bytes());
        let table = skippable(0xe, &[0xb1; 5000]);
        let file = [&head[..], frame, &head, frame, &table].concat();
        same("pzstd", Compression::Zstd, &file, &plain.repeat(2));
        let head = skippable(7, &[1; 300]);
        same(
            "long skippable",
            Compression::Zstd,
            &[&head[..], frame].concat(),
            &plain,
        );
    }
    let larger = zstd_with(&plain, |encoder| encoder.window_log(28).unwrap());
    assert!(
        error(&larger).to_string().contains("memory"),
        "{}",
        error(&larger)
    );
    let only = [skippable(0, b""), skippable(1, b"1234")].concat();
    same("no frame at all", Compression::Zstd, &only, b"");
}

#[test]
fn xz_streams_blocks_and_checks() {
    use lzma_rust2::CheckType;
    let plain = content(400_000);
    for check in [
        CheckType::None,
        CheckType::Crc32,
        CheckType::Crc64,
        CheckType::Sha256,
    ] {
        let mut options = lzma_rust2::XzOptions::with_preset(1);
        options.set_check_sum_type(check);
        let one = xz_with(&plain, options.clone());
        options.lzma_options.dict_size = 64 << 10;
        options.set_block_size(std::num::NonZeroU64::new(100_000));
        let blocks = xz_with(&plain, options);
        assert_ne!(blocks.len(), one.len());
        same("one block", Compression::Xz, &one, &plain);
        let file = [&blocks[..], &[0; 8], &one, &[0; 4]].concat();
        same("padded streams", Compression::Xz, &file, &plain.repeat(2));
    }
    for filter in [
        lzma_rust2::FilterType::BcjX86,
        lzma_rust2::FilterType::BcjArm,
        lzma_rust2::FilterType::BcjArmThumb,
        lzma_rust2::FilterType::BcjArm64,
        lzma_rust2::FilterType::BcjRiscv,
        lzma_rust2::FilterType::BcjPpc,
        lzma_rust2::FilterType::BcjSparc,
        lzma_rust2::FilterType::BcjIa64,
    ] {
        let mut options = lzma_rust2::XzOptions::with_preset(1);
        options.prepend_pre_filter(filter, 0);
        same("filter", Compression::Xz, &xz_with(&plain, options), &plain);
    }
}

#[test]
fn lzma_properties() {
    let plain = content(200_000);
    for known in [false, true] {
        for properties in [[3, 0, 2], [0, 0, 0], [0, 4, 0], [4, 0, 4], [1, 3, 4]] {
            for dictionary in [4 << 10, 6 << 10, 1 << 20, 3 << 19, 8 << 20] {
                let packed = lzma_with(&plain, properties, dictionary, known);
                let what = format!("{properties:?}, {dictionary:#x}, {known}");
                same(&what, Compression::Lzma, &packed, &plain);
            }
        }
    }
    // A dictionary that the file can not use is no memory.
    let mut packed = lzma_with(&plain, [3, 0, 2], 1 << 20, true);
    packed[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    same("dictionary", Compression::Lzma, &packed, &plain);
    // A size and an end marker as well.
    let mut packed = lzma_with(&plain, [3, 0, 2], 1 << 20, false);
    packed[5..13].copy_from_slice(&(plain.len() as u64).to_le_bytes());
    same("size and marker", Compression::Lzma, &packed, &plain);
}

#[test]
fn lz4_frames() {
    let plain = content(1_200_000);
    for (kind, linked, checksums, sized) in [
        (4, true, true, true),
        (4, false, false, false),
        (5, true, false, true),
        (6, false, true, false),
        (7, true, true, false),
    ] {
        let full = 1 << (8 + 2 * kind);
        for block in [full, full - 1, 1000] {
            let frame = Frame {
                kind,
                linked,
                checksums,
                sized,
                block,
            };
            let what = format!("kind {kind}, linked {linked}, {block}");
            same(&what, Compression::Lz4, &lz4_frame(&plain, frame), &plain);
        }
    }
    // Both frames, and skippable ones, in one file.
    let frame = lz4_frame(&plain, FRAME);
    let file = [
        skippable(3, b"first"),
        frame.clone(),
        lz4_legacy(b"legacy"),
        skippable(0, b""),
        lz4_legacy(b"again"),
        frame,
    ];
    let expected = [&plain[..], b"legacyagain", &plain].concat();
    same("mixed", Compression::Lz4, &file.concat(), &expected);
    // More than a block of the legacy frame, with what a kernel's build appends.
    let plain = content((8 << 20) + 12_345);
    let size = (plain.len() as u32).to_le_bytes();
    same(
        "legacy",
        Compression::Lz4,
        &[&lz4_legacy(&plain)[..], &size].concat(),
        &plain,
    );
    let small = [&lz4_legacy(b"small")[..], &5u32.to_le_bytes()].concat();
    same("legacy", Compression::Lz4, &small, b"small");
}

#[test]
fn what_follows_the_last_stream() {
    for (compression, pack) in PACKS {
        let packed = [pack(b"plain"), b"something else".to_vec()].concat();
        assert_eq!(lenient(&packed).unwrap(), b"plain", "{compression}");
        let ignored = matches!(
            compression,
            Compression::Gzip | Compression::Lz4 | Compression::Bzip2
        );
        match unpack(&packed) {
            Ok(found) => assert!(ignored && found == b"plain", "{compression}"),
            Err(error) => {
                let expected = format!("no {compression} stream after the last one");
                assert!(
                    !ignored && error.to_string() == expected,
                    "{compression}: {error}"
                );
            }
        }
    }
    let odd = [&xz(b"plain")[..], &[0; 3]].concat();
    assert_eq!(error(&odd).kind(), io::ErrorKind::InvalidData);
}

#[test]
fn dumps_in_every_shape() {
    let core = fs::read(kho_testkit::capture_path("small.core.zst")).unwrap();
    let core = zstd::decode_all(&core[..]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("core");
    let plain = {
        fs::write(&path, &core).unwrap();
        Image::open(&path, &ImageOptions::default(), &mut |_, _| true).unwrap()
    };
    for (compression, pack) in PACKS {
        let (one, two) = core.split_at(core.len() / 3);
        let packed = match compression {
            Compression::Lzma => pack(&core),
            _ => [pack(one), pack(two)].concat(),
        };
        fs::write(&path, &packed).unwrap();
        let mut last = (0, None);
        let image = Image::open(&path, &ImageOptions::default(), &mut |done, total| {
            last = (done, total);
            true
        });
        let image = image.unwrap_or_else(|error| panic!("{compression}: {error}"));
        assert!(image.is_compressed());
        assert_eq!(last.1, Some(packed.len() as u64));
        assert_eq!(image.memory(), plain.memory());
        assert_eq!(
            kho_image::scan(&image, &mut |_, _| true).roots.len(),
            1,
            "{compression}"
        );
        let small = ImageOptions {
            max_unpacked: 1 << 19,
            ..ImageOptions::default()
        };
        let error = Image::open(&path, &small, &mut |_, _| true).err().unwrap();
        assert!(error.to_string().contains("--max-unpacked"), "{error}");
        let stopped = Image::open(&path, &ImageOptions::default(), &mut |_, _| false);
        assert!(
            matches!(stopped, Err(ImageError::Interrupted)),
            "{compression}"
        );
        // What came before the cut is there, and what is missing is said.
        // Behind the first of two streams: of one, what comes out before a cut is the compression's matter.
        let cut = match compression {
            Compression::Lzma => packed.len() / 2,
            _ => pack(one).len() + 60,
        };
        fs::write(&path, &packed[..cut]).unwrap();
        let image = Image::open(&path, &ImageOptions::default(), &mut |_, _| true);
        let image = image.unwrap_or_else(|error| panic!("{compression}: {error}"));
        let note = image.notes().last().unwrap();
        assert!(
            note.contains("stream is cut short"),
            "{compression}: {note}"
        );
        fs::write(&path, &packed[..40]).unwrap();
        let error = Image::open(&path, &ImageOptions::default(), &mut |_, _| true)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("cut short"),
            "{compression}: {error}"
        );
    }
}
