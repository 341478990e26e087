//! Answers of the Redis protocol, in the version that the connection speaks.

use std::fmt;
use std::io::Write;

/// The protocol's version: what `HELLO` chooses. A new connection speaks the second.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Protocol {
    #[default]
    Two,
    Three,
}

impl Protocol {
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

/// Answers, appended to what is to be sent.
pub(crate) struct Answers<'o> {
    pub(crate) out: &'o mut Vec<u8>,
    pub(crate) protocol: Protocol,
}

impl Answers<'_> {
    fn head(&mut self, kind: u8, text: impl fmt::Display) {
        self.out.push(kind);
        // Memory takes whatever is written.
        let _ = write!(self.out, "{text}\r\n");
    }

    fn of(&self, two: u8, three: u8) -> u8 {
        match self.protocol {
            Protocol::Two => two,
            Protocol::Three => three,
        }
    }

    pub(crate) fn simple(&mut self, text: &str) {
        self.head(b'+', text);
    }

    /// An error, whose first word is `ERR`.
    pub(crate) fn failure(&mut self, text: &str) {
        self.refusal("ERR", text);
    }

    /// An error, whose first word is its kind.
    pub(crate) fn refusal(&mut self, kind: &str, text: &str) {
        // One line, whatever the text is.
        let line = |byte| if byte < b' ' { b' ' } else { byte };
        self.out.push(b'-');
        self.out.extend_from_slice(kind.as_bytes());
        self.out.push(b' ');
        self.out.extend(text.bytes().map(line));
        self.end();
    }

    pub(crate) fn integer(&mut self, number: i64) {
        self.head(b':', number);
    }

    pub(crate) fn null(&mut self) {
        let null: &[u8] = match self.protocol {
            Protocol::Two => b"$-1\r\n",
            Protocol::Three => b"_\r\n",
        };
        self.out.extend_from_slice(null);
    }

    /// An array that is not there.
    pub(crate) fn null_array(&mut self) {
        match self.protocol {
            Protocol::Two => self.out.extend_from_slice(b"*-1\r\n"),
            Protocol::Three => self.null(),
        }
    }

    /// `len` answers follow.
    pub(crate) fn array(&mut self, len: usize) {
        self.head(b'*', len);
    }

    /// `len` answers follow, in no order: version 2 has no sets.
    pub(crate) fn set(&mut self, len: usize) {
        let kind = self.of(b'*', b'~');
        self.head(kind, len);
    }

    /// `len` pairs of answers follow: version 2 has no maps.
    pub(crate) fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Two => self.array(2 * len),
            Protocol::Three => self.head(b'%', len),
        }
    }

    /// A bulk string's head: its bytes and [`Answers::end`] follow.
    pub(crate) fn bulk(&mut self, len: u64) {
        self.head(b'$', len);
    }

    pub(crate) fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    /// A whole bulk string.
    pub(crate) fn text(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        self.bulk(text.len() as u64);
        self.out.extend_from_slice(text);
        self.end();
    }

    /// Text for people: version 2 has bulk strings alone.
    pub(crate) fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Two => self.text(text),
            Protocol::Three => {
                self.head(b'=', text.len() + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text.as_bytes());
                self.end();
            }
        }
    }
}
