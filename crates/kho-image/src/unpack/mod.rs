//! Packed files, unpacked: every compression in every way that its own tool takes. Several members, frames or
//! streams one after the other, skippable frames, padding, and bytes after the last that are none.

mod compression;
mod lz4;
mod member;
mod sink;
mod source;

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

pub use compression::Compression;
use member::Member;
pub(crate) use sink::{Limit, temporary, to_image, to_memory, too_long};
pub(crate) use source::Source;

/// Reads what a packed file unpacks to.
///
/// Memory is bounded: windows and dictionaries of more than 128 MiB are an error. [`io::ErrorKind::UnexpectedEof`]
/// is the error of a file that is cut short; what was read before it stands in the file.
///
/// ```
/// use std::io::Read;
/// use kho_image::Unpacker;
///
/// // Two members, each of which `gzip` wrote, and padding.
/// let empty = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// let packed = [&empty[..], &empty, &[0; 12]].concat();
/// let mut unpacker = Unpacker::open(&packed[..])?.expect("a packed file");
/// assert_eq!(unpacker.compression().name(), "gzip");
/// assert_eq!(unpacker.read_to_end(&mut Vec::new())?, 0);
/// assert!(Unpacker::open(&b"plain"[..])?.is_none());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Unpacker<'d> {
    compression: Compression,
    // Whether a member was found, so that it is known whose the skippable frames are.
    found: bool,
    lenient: bool,
    state: State<'d>,
    taken: Rc<Cell<u64>>,
}

enum State<'d> {
    Between(Source<'d>),
    Within(Member<'d>),
    End(Source<'d>),
    Failed,
}

impl<'d> Unpacker<'d> {
    /// Opens `input`; `None` where it does not begin as a packed file does.
    ///
    /// # Errors
    ///
    /// `input` can not be read.
    pub fn open(input: impl Read + 'd) -> io::Result<Option<Self>> {
        let taken = Rc::new(Cell::new(0));
        Self::of(Source::new(input, Rc::clone(&taken)), taken)
    }

    fn of(mut source: Source<'d>, taken: Rc<Cell<u64>>) -> io::Result<Option<Self>> {
        // Past the skippable frame that pzstd begins with.
        let head = source.peek(2 * compression::HEAD)?;
        let compression = Compression::of(head);
        Ok(compression.map(|compression| Self {
            compression,
            found: false,
            lenient: false,
            state: State::Between(source),
            taken,
        }))
    }

    /// Passes over bytes after the last stream that are none, also where the compression's own tool does not.
    #[must_use]
    pub const fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// How the file is compressed.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// Bytes of the packed file that were taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// The next state, between two members.
    fn next(&mut self, mut source: Source<'d>) -> io::Result<State<'d>> {
        let mut head = source.peek(compression::HEAD)?;
        if matches!(self.compression, Compression::Zstd | Compression::Lz4)
            && let Some(len) = compression::skippable(head)
        {
            source.skip(len)?;
            return Ok(State::Between(source));
        }
        let mut padding = 0u64;
        if self.compression == Compression::Xz && self.found {
            while head.first() == Some(&0) {
                source.skip(1)?;
                padding += 1;
                head = source.peek(compression::HEAD)?;
            }
        }
        if head.is_empty() && padding.is_multiple_of(4) {
            return Ok(State::End(source));
        }
        let next = Compression::of(head).filter(|next| {
            padding.is_multiple_of(4)
                && match self.found {
                    // A .lzma file is one stream.
                    true => *next == self.compression && *next != Compression::Lzma,
                    false => true,
                }
        });
        match next {
            Some(next) => {
                self.compression = next;
                self.found = true;
                Member::new(next, source).map(State::Within)
            }
            None if self.lenient || self.compression.ignores_trailing() => Ok(State::End(source)),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no {} stream after the last one", self.compression),
            )),
        }
    }
}

impl Read for Unpacker<'_> {
    /// Reads what comes next. [`io::ErrorKind::Interrupted`] is returned between members, so that work on many
    /// empty ones can be stopped.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Between(source) => {
                self.state = self.next(source)?;
                Err(io::ErrorKind::Interrupted.into())
            }
            State::Within(mut member) => {
                let read = member.read(buf)?;
                self.state = match read {
                    0 if !buf.is_empty() => State::Between(member.finish()),
                    _ => State::Within(member),
                };
                match self.state {
                    State::Between(_) => Err(io::ErrorKind::Interrupted.into()),
                    _ => Ok(read),
                }
            }
            State::End(source) => {
                self.state = State::End(source);
                Ok(0)
            }
            State::Failed => Err(io::Error::other("the stream failed before")),
        }
    }
}
