//! One member, frame or stream: its bytes, and the input after it.

use std::io::{self, Read};

use super::compression::Compression;
use super::lz4::Lz4;
use super::source::Source;

/// Memory that a decompressor may take for its window. Kernels are packed with at most 128 MiB.
const WINDOW_KIB: u32 = 160 << 10;
const WINDOW_LOG: u32 = 27;

pub(super) enum Member<'d> {
    Gzip(Box<flate2::bufread::GzDecoder<Source<'d>>>),
    Zstd(zstd::stream::read::Decoder<'static, Source<'d>>),
    Xz(Box<lzma_rust2::XzReader<Source<'d>>>),
    Lz4(Box<Lz4<'d>>),
    Lzma(Box<lzma_rust2::LzmaReader<Source<'d>>>),
    Bzip2(bzip2::bufread::BzDecoder<Source<'d>>),
}

impl<'d> Member<'d> {
    pub(super) fn new(compression: Compression, source: Source<'d>) -> io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => Self::Gzip(Box::new(flate2::bufread::GzDecoder::new(source))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?.single_frame();
                decoder.window_log_max(WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            Compression::Xz => Self::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(
                source, false, WINDOW_KIB,
            ))),
            Compression::Lz4 => Self::Lz4(Box::new(Lz4::new(source)?)),
            Compression::Lzma => Self::Lzma(Box::new(lzma(source)?)),
            Compression::Bzip2 => Self::Bzip2(bzip2::bufread::BzDecoder::new(source)),
        })
    }

    /// The input after the member, all of which was read.
    pub(super) fn finish(self) -> Source<'d> {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Lz4(decoder) => decoder.finish(),
            Self::Lzma(decoder) => {
                let (mut source, ahead) = decoder.into_parts();
                source.give_back(ahead);
                source
            }
            Self::Bzip2(decoder) => decoder.into_inner(),
        }
    }
}

impl Read for Member<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buf),
            Self::Zstd(decoder) => decoder.read(buf),
            Self::Xz(decoder) => decoder.read(buf),
            Self::Lz4(decoder) => decoder.read(buf),
            Self::Lzma(decoder) => decoder.read(buf),
            Self::Bzip2(decoder) => decoder.read(buf),
        }
    }
}

/// A `.lzma` file. Where it says how long it is, no larger dictionary is of use.
fn lzma(mut source: Source<'_>) -> io::Result<lzma_rust2::LzmaReader<Source<'_>>> {
    let [properties, dictionary @ ..]: [u8; 5] = source.array()?;
    let size = u64::from_le_bytes(source.array()?);
    let useful = u32::try_from(size).unwrap_or(u32::MAX).max(4 << 10);
    let dictionary = u32::from_le_bytes(dictionary).min(useful);
    if dictionary >> 10 > WINDOW_KIB {
        return Err(io::Error::other(format!(
            "a dictionary of {dictionary:#x} bytes"
        )));
    }
    let mut decoder =
        lzma_rust2::LzmaReader::new_with_props(source, size, properties, dictionary, None)?;
    // A size and an end marker may both be there.
    decoder.set_relaxed_end_condition(false);
    Ok(decoder)
}
