//! Numbers and other people's text in words, as reports have them.

use std::fmt::Display;

/// `1 file`, `2 files`.
///
/// ```
/// assert_eq!(kho_preflight::words::count(2, "file"), "2 files");
/// ```
pub fn count(n: u64, what: impl Display) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

/// Bytes in a unit that gives a number below 1024: exact where it is whole, else one decimal.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: &[&str] = &["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    let name = UNITS.get(unit).copied().unwrap_or("bytes");
    let scale = 1u64 << (10 * unit);
    if unit == 0 && bytes == 1 {
        return "1 byte".to_owned();
    }
    if bytes.is_multiple_of(scale) {
        return format!("{} {name}", bytes / scale);
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(scale) / 2) / u128::from(scale);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// Text of others as it may be printed: escaped where a terminal would not show it.
#[must_use]
pub fn printable(text: &str) -> String {
    if kho_mem::is_printable(text) {
        text.to_owned()
    } else {
        text.escape_debug().to_string()
    }
}

/// The first of `names`, and how many more there are.
pub(crate) fn shown(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let first: Vec<_> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_or_rounded() {
        let cases: &[(u64, &str)] = &[
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (4 << 20, "4 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(*bytes), *text);
        }
    }
}
