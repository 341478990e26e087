//! LZ4: the frame and the legacy frame, block by block.

use std::hash::Hasher;
use std::io::{self, Read};

use twox_hash::XxHash32;

use super::compression::{LZ4_FRAME, LZ4_LEGACY, skippable};
use super::source::Source;

/// The legacy frame has blocks of this many unpacked bytes, but for its last.
const LEGACY_BLOCK: usize = 8 << 20;
/// What a block of [`LEGACY_BLOCK`] bytes may take where nothing in it repeats.
const LEGACY_BOUND: usize = LEGACY_BLOCK + LEGACY_BLOCK / 255 + 16;
/// How far back a block may refer.
const WINDOW: usize = 64 << 10;
/// A block's length has this bit where it is stored as it is.
const STORED: u32 = 1 << 31;

/// What the frame's descriptor says.
struct Frame {
    linked: bool,
    block_checksums: bool,
    content_checksum: Option<XxHash32>,
    size: Option<u64>,
    block: usize,
}

pub(super) struct Lz4<'d> {
    source: Source<'d>,
    /// `None` for the legacy frame.
    frame: Option<Frame>,
    packed: Vec<u8>,
    out: Vec<u8>,
    // What of the last block was not read yet. What lies before is the next block's window.
    rest: std::ops::Range<usize>,
    done: u64,
    finished: bool,
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

fn check(what: &str, bytes: &[u8], stored: [u8; 4]) -> io::Result<()> {
    let stored = u32::from_le_bytes(stored);
    match XxHash32::oneshot(0, bytes) == stored {
        true => Ok(()),
        false => Err(invalid(format!("a wrong checksum of the {what}"))),
    }
}

impl Frame {
    fn read(source: &mut Source<'_>) -> io::Result<Self> {
        const DICTIONARY: u8 = 1;
        let [flags, sizes] = source.array()?;
        let has = |bit: u8| flags >> bit & 1 == 1;
        if flags >> 6 != 1 || has(1) || sizes & 0x8f != 0 {
            return Err(invalid(format!(
                "a frame descriptor {flags:02x} {sizes:02x}"
            )));
        }
        let block = match sizes >> 4 {
            kind @ 4..=7 => 1 << (8 + 2 * kind),
            kind => return Err(invalid(format!("a block size of kind {kind}"))),
        };
        let mut descriptor = vec![flags, sizes];
        let mut size = None;
        if has(3) {
            let bytes = source.array()?;
            size = Some(u64::from_le_bytes(bytes));
            descriptor.extend(bytes);
        }
        if flags & DICTIONARY != 0 {
            return Err(invalid("a dictionary, which the file does not have"));
        }
        let [checksum] = source.array()?;
        if XxHash32::oneshot(0, &descriptor).to_le_bytes()[1] != checksum {
            return Err(invalid("a wrong checksum of the frame descriptor"));
        }
        Ok(Self {
            linked: !has(5),
            block_checksums: has(4),
            content_checksum: has(2).then(|| XxHash32::with_seed(0)),
            size,
            block,
        })
    }
}

impl<'d> Lz4<'d> {
    pub(super) fn new(mut source: Source<'d>) -> io::Result<Self> {
        let magic: [u8; 4] = source.array()?;
        let frame = match magic == LZ4_FRAME {
            true => Some(Frame::read(&mut source)?),
            false => None,
        };
        Ok(Self {
            source,
            frame,
            packed: Vec::new(),
            out: Vec::new(),
            rest: 0..0,
            done: 0,
            finished: false,
        })
    }

    pub(super) fn finish(self) -> Source<'d> {
        self.source
    }

    /// Unpacks a block of `len` bytes to at most `most`; `linked` ones refer to what came before.
    fn unpack(&mut self, len: usize, stored: bool, linked: bool, most: usize) -> io::Result<()> {
        self.packed.clear();
        self.source.append(len, &mut self.packed)?;
        let window = if linked { WINDOW } else { 0 };
        // Initialised once: small blocks cost no more than their bytes.
        if self.out.is_empty() {
            self.out = vec![0; if linked { 2 * most + WINDOW } else { most }];
        }
        let end = self.rest.end;
        let kept = end.saturating_sub(window)..end;
        let at = match end + most > self.out.len() {
            true => {
                let len = kept.len();
                self.out.copy_within(kept, 0);
                len
            }
            false => end,
        };
        let (before, block) = self.out.split_at_mut(at);
        let size = if stored {
            self.packed.as_slice().read(block)?
        } else {
            let window = before.get(at.saturating_sub(window)..).unwrap_or_default();
            let block = block.get_mut(..most).unwrap_or_default();
            lz4_flex::block::decompress_into_with_dict(&self.packed, block, window)
                .map_err(|error| invalid(error.to_string()))?
        };
        self.rest = at..at + size;
        self.done += size as u64;
        Ok(())
    }

    fn legacy_block(&mut self) -> io::Result<()> {
        let head = self.source.peek(8)?;
        let Some(word) = head.first_chunk::<4>() else {
            self.finished = head.is_empty();
            return match self.finished {
                true => Ok(()),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        };
        let len = u32::from_le_bytes(*word);
        // What a kernel's build appends: all the unpacked bytes' number.
        if head.len() == 4 && u64::from(len) == self.done & u64::from(u32::MAX) {
            self.finished = true;
            return self.source.skip(4);
        }
        let next = head.starts_with(LZ4_FRAME)
            || head.starts_with(LZ4_LEGACY)
            || skippable(head).is_some();
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        // As lz4 does: what can not be a length is the next frame, or no frame.
        if next || (size > LEGACY_BOUND && self.done > 0) {
            self.finished = true;
            return Ok(());
        }
        if !(1..=LEGACY_BOUND).contains(&size) {
            return Err(invalid(format!("a block of {len:#x} bytes")));
        }
        self.source.skip(4)?;
        self.unpack(size, false, false, LEGACY_BLOCK)
    }

    fn block(&mut self) -> io::Result<()> {
        let Some(frame) = &self.frame else {
            return self.legacy_block();
        };
        let (block, linked, checksums) = (frame.block, frame.linked, frame.block_checksums);
        let word = u32::from_le_bytes(self.source.array()?);
        if word == 0 {
            return self.end();
        }
        let len = usize::try_from(word & !STORED).unwrap_or(usize::MAX);
        if len > block {
            return Err(invalid(format!("a block of {len:#x} bytes")));
        }
        self.unpack(len, word & STORED != 0, linked, block)?;
        if checksums {
            check("block", &self.packed, self.source.array()?)?;
        }
        let content = self
            .frame
            .as_mut()
            .and_then(|frame| frame.content_checksum.as_mut());
        if let Some(content) = content {
            content.write(self.out.get(self.rest.clone()).unwrap_or_default());
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.finished = true;
        let Some(frame) = &self.frame else {
            return Ok(());
        };
        if let Some(size) = frame.size.filter(|size| *size != self.done) {
            let done = self.done;
            return Err(invalid(format!("{done:#x} bytes in a frame of {size:#x}")));
        }
        match &frame.content_checksum {
            Some(content) if content.finish_32().to_le_bytes() != self.source.array()? => {
                Err(invalid("a wrong checksum of the content"))
            }
            _ => Ok(()),
        }
    }
}

impl Read for Lz4<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut rest = self.out.get(self.rest.clone()).unwrap_or_default();
            if !rest.is_empty() {
                let len = rest.read(buf)?;
                self.rest.start += len;
                return Ok(len);
            }
            if self.finished {
                return Ok(0);
            }
            // Empty blocks cost input, so that this ends.
            self.block()?;
        }
    }
}
