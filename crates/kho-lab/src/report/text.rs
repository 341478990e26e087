//! Text from elsewhere, made fit for a page.

use maud::{Markup, html};

/// A name in a picture or list, in characters.
pub(super) const NAME: usize = 60;
/// A reason, in characters.
pub(super) const WHY: usize = 240;
/// A paragraph, in characters.
const PARAGRAPH: usize = 4000;

/// `text` on one line, without characters that XML does not allow or that change what stands around
/// them: control characters, and those that turn the direction of writing.
pub(super) fn clean(text: &str) -> String {
    let cleaned = text.chars().map(|c| match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() => '\u{fffd}',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c => c,
    });
    cleaned.collect()
}

/// The first `most` characters of `text`, cleaned.
pub(super) fn bounded(text: &str, most: usize) -> String {
    // Nothing is looked at that is left out anyway.
    let end = text.char_indices().nth(most.saturating_add(1));
    let head = end.and_then(|(end, _)| text.get(..end)).unwrap_or(text);
    let cleaned = clean(head.trim());
    if cleaned.chars().count() <= most {
        return cleaned;
    }
    let kept: String = cleaned.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// `text` cleaned, and with its middle left out if it has more than `most` characters: names differ
/// at their ends.
pub(super) fn name(text: &str, most: usize) -> String {
    let cleaned = clean(text.trim());
    let all = cleaned.chars().count();
    if all <= most {
        return cleaned;
    }
    let tail = most.saturating_sub(1) / 2;
    let head = most.saturating_sub(1).saturating_sub(tail);
    let tail = cleaned.chars().skip(all.saturating_sub(tail));
    let tail: String = tail.collect();
    let head: String = cleaned.chars().take(head).collect();
    format!("{}…{}", head.trim_end(), tail.trim_start())
}

/// The width of `text` in a common sans serif font of `size`, rather too much than too little: there is
/// nothing here that could measure it.
pub(super) fn width(text: &str, size: u32) -> f64 {
    let em = |c| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '|' | '!' | '\'' | '(' | ')' | ' ' => 0.40,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' | '—' => 1.0,
        'A'..='Z' => 0.75,
        c if u32::from(c) < 0x1100 => 0.64,
        _ => 1.1,
    };
    text.chars().map(em).sum::<f64>() * f64::from(size)
}

/// `text` in lines of at most `most` wide.
pub(super) fn lines(text: &str, size: u32, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line, size) + width(word, size) + f64::from(size) < most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `text` with what stands between backticks as code.
pub(super) fn code(text: &str) -> Markup {
    let ticks = text.matches('`').count();
    html! {
        @if ticks % 2 == 1 {
            (text)
        } @else {
            @for (index, part) in text.split('`').enumerate() {
                @if index % 2 == 1 { code { (part) } } @else { (part) }
            }
        }
    }
}

/// The paragraphs of `text`, and its lists: lines that begin with `- `.
pub(super) fn prose(text: &str) -> Markup {
    let text = text.replace("\r\n", "\n");
    let blocks = text.split("\n\n").map(str::trim);
    html! {
        @for block in blocks.filter(|block| !block.is_empty()).take(100) {
            @let mut items = format!("\n{block}");
            @let list = items.split_off(items.find("\n- ").unwrap_or(items.len()));
            @if !items.trim().is_empty() { p { (code(&bounded(&items, PARAGRAPH))) } }
            @if !list.is_empty() {
                ul {
                    @for item in list.split("\n- ").skip(1).take(100) {
                        li { (code(&bounded(item, PARAGRAPH))) }
                    }
                }
            }
        }
    }
}

/// `text` with the addresses in it as links. Nothing but `http` and `https` is one.
pub(super) fn links(text: &str) -> Markup {
    let text = bounded(text, 2000);
    html! {
        @for (index, word) in text.split_whitespace().enumerate() {
            @let (address, rest) = word.split_at(word.trim_end_matches(['.', ',', ';', ')', '…']).len());
            @if index > 0 { " " }
            @if address.starts_with("http://") || address.starts_with("https://") {
                a href=(address) rel="noopener noreferrer" { (name(address, 120)) } (rest)
            } @else {
                (word)
            }
        }
    }
}

/// `count` and what is counted.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned_and_bounded() {
        let cleaned = clean("a\u{1}b\u{202e}c\nd\u{ffff}");
        assert_eq!(cleaned, "a\u{fffd}b\u{fffd}c d\u{fffd}");
        assert_eq!(bounded("abcdef", 6), "abcdef");
        assert_eq!(bounded("abcdefg", 6), "abcde…");
        assert_eq!(bounded(&"ä".repeat(1000), 10).chars().count(), 10);
        assert_eq!(name("linux-6.18-rc1", 20), "linux-6.18-rc1");
        assert_eq!(name("a-very-long-name-of-a-release-1", 11), "a-ver…ase-1");
        assert_eq!(lines("one two three", 10, 60.0), ["one two", "three"]);
        assert!(lines("", 10, 60.0).is_empty());
    }

    #[test]
    fn only_addresses_are_links() {
        let text = "see https://a.example/b, javascript:alert(1) httpx \"http://c\"";
        let html = links(text).into_string();
        assert_eq!(html.matches("<a ").count(), 1, "{html}");
        assert!(html.contains("href=\"https://a.example/b\""), "{html}");
        let hostile = links("http://x/\"><script>alert(1)</script>").into_string();
        let bad = ["<script", "\"><"];
        assert!(!bad.iter().any(|bad| hostile.contains(bad)), "{hostile}");
    }

    #[test]
    fn lists_are_lists() {
        assert_eq!(
            prose("One\nline:\n- a\n  b\n- `c`\n\n- d\n\n\n\nEnd - here.").into_string(),
            "<p>One line:</p><ul><li>a   b</li><li><code>c</code></li></ul><ul><li>d</li></ul>\
             <p>End - here.</p>"
        );
        assert_eq!(prose(" \n\n").into_string(), "");
    }

    #[test]
    fn backticks_are_code() {
        let html = code("a `<b>` c").into_string();
        assert_eq!(html, "a <code>&lt;b&gt;</code> c");
        assert_eq!(code("it`s").into_string(), "it`s");
    }
}
