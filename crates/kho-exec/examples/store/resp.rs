//! Requests of the Redis protocol, which are the same in version 2 and 3.
//!
//! A request is an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\na\r\n`), or a line of words
//! (`GET a\r\n`; quotes are nothing special here).

use std::ops::Range;

/// Bytes of a line that is a request, or that says how long something is.
const MAX_LINE: usize = 64 << 10;
/// Bytes of an argument, and arguments of a request, as Redis has it.
const MAX_BULK: usize = 512 << 20;
const MAX_ARGS: usize = 1 << 20;
/// Bytes of a request, all in all.
pub(crate) const MAX_REQUEST: usize = 1 << 30;

/// A request that is none. The connection is of no use afterwards: nobody knows where the next one
/// begins.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Protocol error: {0}")]
pub(crate) struct ProtocolError(String);

fn error<T>(text: impl Into<String>) -> Result<T, ProtocolError> {
    Err(ProtocolError(text.into()))
}

/// Reads a request that comes in piece by piece: what was read once is not read again.
#[derive(Default, Debug)]
pub(crate) struct Parser {
    // How far it is, from the request's start.
    at: usize,
    // No line ends before.
    seen: usize,
    // Arguments that are still to come; `None` before that is known.
    left: Option<usize>,
    // The argument that comes next, when its length is known.
    bulk: Option<usize>,
    args: Vec<Range<usize>>,
}

/// The words of a request.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
    input: &'a [u8],
    args: &'a [Range<usize>],
}

impl<'a> Args<'a> {
    pub(crate) const fn len(&self) -> usize {
        self.args.len()
    }

    /// Word `at`; 0 is the command's name.
    pub(crate) fn get(&self, at: usize) -> Option<&'a [u8]> {
        self.input.get(self.args.get(at)?.clone())
    }

    /// The words behind the command's name.
    pub(crate) fn rest(self) -> impl Iterator<Item = &'a [u8]> {
        (1..self.len()).filter_map(move |at| self.get(at))
    }
}

impl Parser {
    /// Reads on in `input`, which begins where the request does. Returns how long the request is as
    /// soon as all of it is there; its words are [`Parser::args`] then.
    pub(crate) fn parse(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        if input.is_empty() {
            return Ok(None);
        }
        if input.first() != Some(&b'*') {
            return self.parse_words(input);
        }
        let mut left = match self.left {
            Some(left) => left,
            None => {
                let Some(line) = self.line(input, "too big mbulk count string")? else {
                    return Ok(None);
                };
                // An empty array, or none, is a request of no words.
                let count = number(line.get(1..).unwrap_or_default());
                match count.map(|count| usize::try_from(count.max(0))) {
                    Some(Ok(count)) if count <= MAX_ARGS => count,
                    _ => return error("invalid multibulk length"),
                }
            }
        };
        while left > 0 {
            self.left = Some(left);
            let len = match self.bulk {
                Some(len) => len,
                None => {
                    let Some(line) = self.line(input, "too big bulk count string")? else {
                        return Ok(None);
                    };
                    let Some(digits) = line.strip_prefix(b"$") else {
                        let found = line.first().copied().unwrap_or(b'\r').escape_ascii();
                        return error(format!("expected '$', got '{found}'"));
                    };
                    match number(digits).map(usize::try_from) {
                        Some(Ok(len)) if len <= MAX_BULK => len,
                        _ => return error("invalid bulk length"),
                    }
                }
            };
            self.bulk = Some(len);
            let end = self.at + len;
            match input.get(end..end + 2) {
                None if end > MAX_REQUEST => return error("too big request"),
                None => return Ok(None),
                Some(b"\r\n") => {}
                Some(_) => return error("expected CRLF behind an argument"),
            }
            self.args.push(self.at..end);
            (self.at, self.bulk) = (end + 2, None);
            left -= 1;
        }
        Ok(Some(self.at))
    }

    /// The words of the request that [`Parser::parse`] found in `input`.
    pub(crate) fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args {
            input,
            args: &self.args,
        }
    }

    /// The next request begins.
    pub(crate) fn reset(&mut self) {
        // A request of many words leaves no memory behind.
        self.args.clear();
        self.args.shrink_to(1024);
        (self.at, self.seen) = (0, 0);
        (self.left, self.bulk) = (None, None);
    }

    /// A line up to its CRLF, which is passed.
    fn line<'a>(
        &mut self,
        input: &'a [u8],
        too_long: &str,
    ) -> Result<Option<&'a [u8]>, ProtocolError> {
        let start = self.at.max(self.seen);
        let rest = input.get(start..).unwrap_or_default();
        if let Some(len) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let (from, to) = (self.at, start + len);
            if to - from > MAX_LINE {
                return error(too_long);
            }
            self.at = to + 2;
            return Ok(input.get(from..to));
        }
        if input.len() - self.at > MAX_LINE {
            return error(too_long);
        }
        // The last byte may be the first of the two.
        self.seen = input.len().saturating_sub(1);
        Ok(None)
    }

    fn parse_words(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let rest = input.get(self.seen..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            if input.len() > MAX_LINE {
                return error("too big inline request");
            }
            self.seen = input.len();
            return Ok(None);
        };
        let end = self.seen + end;
        let mut start = None;
        for (at, byte) in (0..).zip(input.get(..=end).unwrap_or_default()) {
            match (start, byte.is_ascii_whitespace()) {
                (None, false) => start = Some(at),
                (Some(from), true) => {
                    self.args.push(from..at);
                    start = None;
                }
                _ => {}
            }
        }
        Ok(Some(end + 1))
    }
}

/// A whole number, as the protocol writes it: no plus, no spaces, nothing left over.
pub(crate) fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = digits == b"0" && digits.len() == text.len()
        || digits
            .first()
            .is_some_and(|first| matches!(first, b'1'..=b'9'));
    let text = std::str::from_utf8(text).ok().filter(|_| canonical)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of `input`, which comes in pieces of `step` bytes.
    fn requests(input: &[u8], step: usize) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        let (mut start, mut end) = (0, 0);
        while end < input.len() {
            end = input.len().min(end + step);
            while let Some(len) = parser.parse(&input[start..end])? {
                let args = parser.args(&input[start..end]);
                out.push(
                    (0..args.len())
                        .map(|at| args.get(at).unwrap().to_vec())
                        .collect(),
                );
                parser.reset();
                start += len;
            }
        }
        Ok(out)
    }

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ')
            .map(|word| word.as_bytes().to_vec())
            .collect()
    }

    #[test]
    fn a_request_is_the_same_however_it_is_cut() {
        let input = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\nPING\r\n*0\r\n*-1\r\n SET  k v \n*1\r\n$0\r\n\r\n\r\n";
        let wanted = vec![
            vec![b"GET".to_vec(), b"a\r\nb".to_vec()],
            words("PING"),
            vec![],
            vec![],
            words("SET k v"),
            vec![vec![]],
            vec![],
        ];
        for step in 1..=input.len() {
            assert_eq!(
                requests(input, step),
                Ok(wanted.clone()),
                "pieces of {step}"
            );
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = vec![b'x'; MAX_LINE + 2];
        let long_count = [b"*".as_slice(), &long].concat();
        let long_bulk = [b"*1\r\n$".as_slice(), &long].concat();
        let cases: [(&[u8], &str); 14] = [
            (b"*x\r\n", "invalid multibulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*99999999999999999999\r\n", "invalid multibulk length"),
            (b"*1\r\n:1\r\n", "expected '$', got ':'"),
            (b"*1\r\n\x00\r\n", "expected '$', got '\\x00'"),
            (b"*1\r\n\r\n", "expected '$', got '\\r'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"*1\r\n$ 1\r\n", "invalid bulk length"),
            (b"*1\r\n$01\r\n", "invalid bulk length"),
            (b"*1\r\n$1\r\nabc", "expected CRLF behind an argument"),
            (&long, "too big inline request"),
            (&long_count, "too big mbulk count string"),
            (&long_bulk, "too big bulk count string"),
        ];
        for (input, wanted) in cases {
            for step in [1, 7, input.len()] {
                let found = requests(input, step).unwrap_err().to_string();
                assert_eq!(found, format!("Protocol error: {wanted}"));
            }
        }
    }

    #[test]
    fn numbers_are_written_in_one_way() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(number(text.as_bytes()), wanted, "{text:?}");
        }
    }
}
