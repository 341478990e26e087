//! Vectors: what a component's code writes, and reads, for given inputs.

use alloc::string::{String, ToString};
use core::fmt::Write as _;

/// What a component's code does for a given input: the part of a format that no struct shows, such as
/// a key's bits or the order in which things are written. Snapshots keep it.
///
/// ```
/// use kho_compat::Vector;
///
/// let mut page = vec![0; 64];
/// page[..4].copy_from_slice(b"kho!");
/// let vector = Vector::bytes("a page", &page);
/// assert_eq!(
///     vector.text,
///     "64 bytes\n\
///      0000  6b 68 6f 21 00 00 00 00  00 00 00 00 00 00 00 00\n\
///      *     zeros to 0040\n"
/// );
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vector {
    /// What was written, with its input.
    pub name: String,
    /// What came out, in lines.
    pub text: String,
}

impl Vector {
    /// What came out as text, in lines.
    #[must_use]
    pub fn text(name: impl ToString, text: impl ToString) -> Self {
        let mut text = text.to_string();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Self {
            name: name.to_string(),
            text,
        }
    }

    /// The bytes that were written, as a dump in which lines of zeros are left out.
    #[must_use]
    pub fn bytes(name: impl ToString, bytes: &[u8]) -> Self {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = writeln!(text, "{} bytes", bytes.len());
        let mut zeros = false;
        for (index, line) in bytes.chunks(16).enumerate() {
            let at = index * 16;
            if line.iter().all(|byte| *byte == 0) {
                zeros = true;
                continue;
            }
            if core::mem::take(&mut zeros) {
                let _ = writeln!(text, "*     zeros to {at:04x}");
            }
            let _ = write!(text, "{at:04x} ");
            for (column, byte) in line.iter().enumerate() {
                let gap = if column == 8 { "  " } else { " " };
                let _ = write!(text, "{gap}{byte:02x}");
            }
            text.push('\n');
        }
        if zeros {
            let _ = writeln!(text, "*     zeros to {:04x}", bytes.len());
        }
        Self::text(name, text)
    }
}
