//! Heat maps.

mod cells;
mod frame;
mod labels;
mod legend;
mod sign;
mod tooltip;

use maud::{Markup, PreEscaped, html};

use self::cells::{singles, strips};
use self::frame::{Frame, Slant, place};
use self::legend::Entry;
use super::text::{NAME, WHY, bounded, clean, counted};
use crate::run::Matrix;

pub(super) use self::sign::key;
pub(super) use self::tooltip::reasons;

/// What maps look like. Nothing in it is an id: a page has many maps.
pub(super) const STYLE: &str = include_str!("../map.css");
/// Releases with a glyph in every cell, at most; beyond it a row's cells of one kind are one shape.
const SINGLE: usize = 48;

/// Where a map stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file of its own, with title and style.
    File,
    /// In a page that has both.
    Page,
}

/// A number as SVG has it: at most one digit behind the point.
pub(super) fn num(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// A map of `matrix`.
pub(super) fn svg(releases: &[String], matrix: &Matrix, place: Place) -> Markup {
    let count = releases.len();
    let rows = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
    let cells = rows.filter_map(|(from, to)| Some((from, to, matrix.cell(from, to)?)));
    let cells: Vec<_> = cells.collect();
    let legend = Entry::all(&cells);
    let frame = Frame::new(releases, matrix, &legend, place);
    let (wide, high) = (num(frame.width), num(frame.height(legend.len())));
    // On a narrow screen it shrinks by a quarter, and can be scrolled beyond that.
    let least = format!("min-width:{}px", num((frame.width * 0.75).floor()));
    html! {
        svg.hm xmlns="http://www.w3.org/2000/svg" viewBox={"0 0 " (wide) " " (high)} width=(wide)
            height=(high) style=[(place == Place::Page).then_some(least)] role="img"
            aria-label=(label(matrix, count, &legend)) {
            @if place == Place::File {
                title { (bounded(matrix.policy, NAME)) }
                style { (PreEscaped(STYLE)) }
                rect.paper width="100%" height="100%" {}
            }
            (headings(&frame))
            (axes(&frame, releases))
            @if count <= SINGLE {
                (singles(&frame, releases, &cells))
            } @else {
                (strips(&frame, releases, &cells))
            }
            (legend::squares(&frame, &legend))
        }
    }
}

/// What a map shows, for those who do not see it.
fn label(matrix: &Matrix, count: usize, legend: &[Entry]) -> String {
    let policy = bounded(matrix.policy, NAME);
    let kinds = legend
        .iter()
        .map(|entry| format!("{} {}", entry.count, entry.title));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let releases = counted(count, "release", "releases");
    format!("{policy}: what becomes of every update among {releases}: {kinds}")
}

fn headings(frame: &Frame) -> Markup {
    let under = frame.pad + place(frame.title.len(), 21);
    html! {
        @for (index, line) in frame.title.iter().enumerate() {
            text.head x=(num(frame.pad)) y=(num(frame.pad + place(index, 21) + 15.0)) font-size="16" { (line) }
        }
        @for (index, line) in frame.summary.iter().enumerate() {
            text.quiet x=(num(frame.pad)) y=(num(under + place(index, 16) + 12.0)) font-size="12" { (line) }
        }
    }
}

fn axes(frame: &Frame, releases: &[String]) -> Markup {
    let font = f64::from(frame.font);
    let middle = frame.inner() / 2.0;
    let labels = || frame.labels.iter().zip(releases).enumerate();
    let shown = || labels().filter(|(index, _)| index % frame.step == 0);
    // The title of the columns stands above their labels.
    let heading = frame.pad + place(frame.title.len(), 21) + place(frame.summary.len(), 16);
    let heading = heading + if heading > frame.pad { 8.0 } else { 0.0 };
    let (from_x, from_y) = (num(frame.pad + 10.0), num(frame.top + frame.side() / 2.0));
    html! {
        text.quiet.head x=(num(frame.left + frame.side() / 2.0)) y=(num(heading + 10.0)) font-size="12"
            text-anchor="middle" { "to" }
        text.quiet.head font-size="12" text-anchor="middle"
            transform={"translate(" (from_x) " " (from_y) ")rotate(-90)"} { "from" }
        g font-size=(frame.font) text-anchor="end" {
            @for (index, (label, full)) in shown() {
                text x=(num(frame.left - 6.0)) y=(num(frame.y(index) + middle + font * 0.35)) {
                    (label) (whole(label, full))
                }
            }
        }
        g font-size=(frame.font) text-anchor=[(frame.slant == Slant::Level).then_some("middle")] {
            @for (index, (label, full)) in shown() {
                @let x = frame.x(index) + middle;
                @match frame.slant {
                    Slant::Level => text x=(num(x)) y=(num(frame.top - 6.0)) { (label) (whole(label, full)) },
                    Slant::Half => text
                        transform={"translate(" (num(x)) " " (num(frame.top - 6.0)) ")rotate(-45)"} {
                        (label) (whole(label, full))
                    },
                    Slant::Upright => text transform={
                        "translate(" (num(x + font * 0.35)) " " (num(frame.top - 5.0)) ")rotate(-90)"
                    } { (label) (whole(label, full)) },
                }
            }
        }
    }
}

/// The whole name, where the label is not that.
fn whole(label: &str, full: &str) -> Markup {
    html! {
        @if label != clean(full.trim()) { title { (bounded(full, WHY)) } }
    }
}
