//! Reports on a serial line that others write to as well.
//!
//! A frame is a line: a mark, the length of the text, its checksum, and the text, a [`Report`] as JSON.
//! Whatever else is on the line is passed over. What was torn apart is found to be: by its checksum, or by
//! the number that is missing.

use crate::Report;

const MARK: &[u8] = b"~kho ";

/// The frame of `report`, with its line's end. Writing it as JSON does not fail.
pub fn frame(report: &Report) -> Result<Vec<u8>, serde_json::Error> {
    let text = serde_json::to_string(report)?;
    let sum = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
    Ok(format!("~kho {} {sum:016x} {text}\n", text.len()).into_bytes())
}

/// What came of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A report.
    Report(Report),
    /// What was a frame once.
    Torn(String),
}

/// Finds the frames of a stream that comes in pieces.
#[derive(Debug, Default)]
pub struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    /// Takes the next piece; gives the frames that it ends.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        let lines = lines.split(|byte| *byte == b'\n');
        lines.filter_map(line).collect()
    }
}

fn line(bytes: &[u8]) -> Option<Line> {
    let mut windows = bytes.windows(MARK.len());
    let at = windows.position(|window| window == MARK)?;
    let bytes = bytes.get(at + MARK.len()..)?;
    let torn = || Line::Torn(String::from_utf8_lossy(bytes).into_owned());
    Some(parse(bytes).map_or_else(torn, Line::Report))
}

fn parse(bytes: &[u8]) -> Option<Report> {
    let text = str::from_utf8(bytes).ok()?;
    let (len, text) = text.split_once(' ')?;
    let (sum, text) = text.split_once(' ')?;
    let text = text.get(..len.parse().ok()?)?;
    let expected = u64::from_str_radix(sum, 16).ok()?;
    if xxhash_rust::xxh3::xxh3_64(text.as_bytes()) != expected {
        return None;
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fact;

    fn report(seq: u64) -> Report {
        let fact = Fact::Ready;
        Report { seq, fact }
    }

    #[test]
    fn frames_stand_between_other_lines() {
        let mut stream = b"[    0.1] Linux\r\nnoise ".to_vec();
        stream.extend(frame(&report(0)).unwrap());
        stream.extend(b"more\n");
        stream.extend(frame(&report(1)).unwrap());
        for size in [1, 7, 1000] {
            let mut frames = Frames::default();
            let found: Vec<_> = stream.chunks(size).flat_map(|b| frames.push(b)).collect();
            assert_eq!(found, [0, 1].map(|seq| Line::Report(report(seq))), "{size}");
        }
    }

    #[test]
    fn a_carriage_return_does_no_harm() {
        let mut line = frame(&report(0)).unwrap();
        line.insert(line.len() - 1, b'\r');
        assert_eq!(Frames::default().push(&line), [Line::Report(report(0))]);
    }

    #[test]
    fn a_torn_frame_is_found_to_be() {
        let whole = frame(&report(0)).unwrap();
        let mut torn = whole.clone();
        torn.splice(20..20, *b"printk: wrong place");
        let mut cut = whole[..whole.len() - 4].to_vec();
        cut.push(b'\n');
        for bytes in [torn, cut] {
            let found = Frames::default().push(&bytes);
            assert!(matches!(&found[..], [Line::Torn(_)]));
        }
    }
}
