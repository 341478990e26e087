//! The cells of a map.

use std::fmt::Write;

use maud::{Markup, html};

use super::frame::Frame;
use super::num;
use super::sign::{glyph, mark};
use super::tooltip::{strip, tooltip};
use crate::run::{Cell, Kind};

/// A cell, and the releases that hand over and take over.
type Placed<'c> = (usize, usize, &'c Cell);

/// A shape per cell.
pub(super) fn singles(frame: &Frame, releases: &[String], cells: &[Placed<'_>]) -> Markup {
    let side = frame.inner();
    let round = if frame.cell >= 14 { "2" } else { "0" };
    let stroke = num((side * 0.07).clamp(1.3, 2.4));
    let half = (side * 0.22).max(2.4);
    html! {
        @for kind in Kind::ALL {
            @let of: Vec<_> = cells.iter().filter(|cell| cell.2.kind == kind).collect();
            @if !of.is_empty() {
                g class=(kind.id()) {
                    @for (from, to, cell) in &of {
                        rect x=(num(frame.x(*to))) y=(num(frame.y(*from))) width=(num(side))
                            height=(num(side)) rx=[(round != "0").then_some(round)] {
                            title { (tooltip(releases, *from, *to, cell)) }
                        }
                    }
                }
                g pointer-events="none" {
                    path class={"ink on-" (kind.id())} style={"stroke-width:" (stroke)} d=(of.iter().map(|(from, to, cell)| {
                        // A marked corner has its room.
                        let aside = if cell.false_reject { side * 0.07 } else { 0.0 };
                        let middle = side / 2.0;
                        let (x, y) = (frame.x(*to) + middle - aside, frame.y(*from) + middle + aside);
                        glyph(kind, x, y, half)
                    }).collect::<String>()) {}
                    (marks(frame, kind, &of))
                }
            }
        }
    }
}

/// A shape per row and kind: a map of many releases stays small.
pub(super) fn strips(frame: &Frame, releases: &[String], cells: &[Placed<'_>]) -> Markup {
    let side = frame.inner();
    let height = num(side);
    html! {
        @for kind in Kind::ALL {
            @let of: Vec<_> = cells.iter().filter(|cell| cell.2.kind == kind).collect();
            g class=(kind.id()) shape-rendering="crispEdges" {
                @for row in of.chunk_by(|one, other| one.0 == other.0) {
                    @let from = row.first().map_or(0, |cell| cell.0);
                    @let runs = runs(row);
                    path d=(runs.iter().fold(String::new(), |mut d, (first, last)| {
                        let (x, y) = (frame.x(*first), frame.y(from));
                        let long = frame.x(*last) + side - x;
                        let _ = write!(d, "M{} {}h{}v{height}h-{}z", num(x), num(y), num(long), num(long));
                        d
                    })) {
                        title { (strip(releases, from, kind, &runs)) }
                    }
                }
            }
            g pointer-events="none" { (marks(frame, kind, &of)) }
        }
    }
}

fn marks(frame: &Frame, kind: Kind, cells: &[&Placed<'_>]) -> Markup {
    let side = frame.inner();
    let marked = cells.iter().filter(|cell| cell.2.false_reject);
    let d = marked.map(|(from, to, _)| mark(frame.x(*to) + side, frame.y(*from), side));
    let d: String = d.collect();
    html! {
        @if !d.is_empty() { path class={"mark-" (kind.id())} d=(d) {} }
    }
}

/// The columns of a row, as first and last ones of those that are neighbours.
fn runs(row: &[&Placed<'_>]) -> Vec<(usize, usize)> {
    let neighbours = row.chunk_by(|one, other| one.1.saturating_add(1) == other.1);
    let ends = neighbours.filter_map(|run| Some((run.first()?.1, run.last()?.1)));
    ends.collect()
}
