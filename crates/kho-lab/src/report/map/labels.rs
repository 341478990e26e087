//! The labels of releases.

use crate::report::text::{WHY, bounded, name};
/// A label's characters.
pub(super) const LABEL: usize = 18;

/// The labels of releases. Where names are too long, what all of them begin and end with is left out,
/// in whole words.
pub(super) fn labels(releases: &[String]) -> Vec<String> {
    let names: Vec<_> = releases.iter().map(|text| bounded(text, WHY)).collect();
    let long = names.iter().any(|text| text.chars().count() > LABEL);
    let Some(first) = names.first().filter(|_| long && names.len() > 1) else {
        return names.iter().map(|text| name(text, LABEL)).collect();
    };
    let ends = |c: char| !c.is_alphanumeric();
    let begin = names.iter().fold(first.as_str(), |begin, text| {
        let same = begin.chars().zip(text.chars()).take_while(|(a, b)| a == b);
        let same: usize = same.map(|(c, _)| c.len_utf8()).sum();
        begin.get(..same).unwrap_or("")
    });
    let begin = begin.char_indices().rfind(|(_, c)| ends(*c));
    let begin = begin.map_or(0, |(at, c)| at + c.len_utf8());
    let rest: Vec<_> = names
        .iter()
        .map(|text| text.get(begin..).unwrap_or(""))
        .collect();
    let end = rest
        .iter()
        .fold(first.get(begin..).unwrap_or(""), |end, text| {
            let both = end.chars().rev().zip(text.chars().rev());
            let same = both.take_while(|(a, b)| a == b);
            let same: usize = same.map(|(c, _)| c.len_utf8()).sum();
            end.get(end.len().saturating_sub(same)..).unwrap_or("")
        });
    let end = end.find(ends).map_or(0, |at| end.len().saturating_sub(at));
    let dots = |left_out: usize| if left_out > 0 { "…" } else { "" };
    let short = |text: &&str| {
        let middle = text.get(..text.len().saturating_sub(end)).unwrap_or(text);
        format!("{}{}{}", dots(begin), name(middle, LABEL), dots(end))
    };
    rest.iter().map(short).collect()
}
