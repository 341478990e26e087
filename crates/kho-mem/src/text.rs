//! Text that is fit to be shown.

/// Whether `text` shows as itself: nothing in it moves a cursor, changes colours, reverses the
/// direction of what follows, or is invisible.
///
/// ```
/// assert!(kho_mem::is_printable("größe #1"));
/// assert!(!kho_mem::is_printable("a\u{1b}[2Jb"));
/// assert!(!kho_mem::is_printable("a\u{202e}b"));
/// ```
#[must_use]
pub fn is_printable(text: &str) -> bool {
    text.chars().all(|c| match c {
        ' '..='~' => true,
        // The standard library knows what is not printable: it escapes it.
        other => other.escape_debug().count() == 1,
    })
}
