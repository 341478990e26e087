//! The generated part of docs/performance.md.

use std::path::Path;

const PATH: &str = "docs/performance.md";
const BEGIN: &str = "<!-- generated: figures -->";
const END: &str = "<!-- end of what is generated -->";

/// Puts `part` into the document.
pub(super) fn write(root: &Path, part: &str) -> Result<(), String> {
    let path = root.join(PATH);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{PATH}: {error}"))?;
    let text = with(&text, part).ok_or_else(|| format!("{PATH}: no part from {BEGIN} to {END}"))?;
    std::fs::write(&path, text).map_err(|error| format!("{PATH}: {error}"))
}

fn with(text: &str, part: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        part.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_it_stays() {
        let text =
            "one\n<!-- generated: figures -->\nold\n<!-- end of what is generated -->\ntwo\n";
        let new = with(text, "new\n").unwrap();
        assert_eq!(
            new,
            "one\n<!-- generated: figures -->\n\nnew\n\n<!-- end of what is generated -->\ntwo\n"
        );
        assert_eq!(with(&new, "new").unwrap(), new);
        assert_eq!(with("nothing", "new"), None);
    }
}
