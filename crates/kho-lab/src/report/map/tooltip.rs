//! What a map says of a cell, in words.

use std::fmt::Write;

use super::labels::LABEL;
use crate::report::text::{NAME, WHY, bounded, counted, name};
use crate::run::{Cell, Kind};
/// Releases that have room for long tooltips, at most.
const ROOMY: usize = 16;

pub(super) fn tooltip(releases: &[String], from: usize, to: usize, cell: &Cell) -> String {
    let most = WHY / if releases.len() <= ROOMY { 1 } else { 2 };
    let of = |index: usize| name(releases.get(index).map_or("", String::as_str), NAME);
    let mut text = format!("{} → {}: {}", of(from), of(to), cell.kind.title());
    if cell.kind == Kind::Late {
        let components = counted(cell.restored, "component", "components");
        let _ = write!(text, " after {components}");
    }
    if cell.false_reject {
        text.push_str(", could have been read");
    }
    if !cell.why.is_empty() {
        let _ = write!(text, "\n{}", bounded(&reasons(cell, 4), most));
    }
    if let Some(measured) = &cell.measured {
        let _ = write!(text, "\nmeasured: {}", bounded(&measured.to_string(), most));
    }
    text
}

/// Why a cell is what it is, on a line: the first `most` reasons.
pub(in crate::report) fn reasons(cell: &Cell, most: usize) -> String {
    let first = cell.why.iter().take(most);
    let first: Vec<_> = first.map(|why| bounded(&why.to_string(), WHY)).collect();
    let more = cell.why.len().saturating_sub(first.len());
    let mut text = first.join("; ");
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    text
}

pub(super) fn strip(
    releases: &[String],
    from: usize,
    kind: Kind,
    runs: &[(usize, usize)],
) -> String {
    let of = |index: usize| name(releases.get(index).map_or("", String::as_str), LABEL);
    let first = runs
        .iter()
        .take(6)
        .map(|(first, last)| match first == last {
            true => of(*first),
            false => format!("{} … {}", of(*first), of(*last)),
        });
    let first: Vec<_> = first.collect();
    let more = match runs.len().saturating_sub(first.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (from, kind) = (of(from), kind.title());
    format!("{from} → {}{more}: {kind}", first.join(", "))
}
