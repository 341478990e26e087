//! Other people's text and long lists, as reports have them.

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
