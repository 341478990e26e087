//! The legend of a map.

use maud::{Markup, html};

use super::frame::{Frame, small};
use super::num;
use super::sign::{SWATCH, swatch};
use crate::report::text::width;
use crate::run::{Cell, Kind};
/// The text of the legend.
const LEGEND: u32 = 12;

/// A line of the legend: a kind, or those refused that could have been read.
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) mark: bool,
    pub(super) title: &'static str,
    pub(super) count: usize,
}

impl Entry {
    pub(super) fn all(cells: &[(usize, usize, &Cell)]) -> Vec<Self> {
        let of_kind = |kind: Kind| Self {
            kind,
            mark: false,
            title: kind.title(),
            count: cells.iter().filter(|cell| cell.2.kind == kind).count(),
        };
        let readable = Self {
            kind: Kind::Rejected,
            mark: true,
            title: "could have been read",
            count: cells.iter().filter(|cell| cell.2.false_reject).count(),
        };
        Kind::ALL
            .into_iter()
            .map(of_kind)
            .chain([readable])
            .collect()
    }

    pub(super) fn width(&self) -> f64 {
        let text = format!("{} {}", self.title, self.count);
        SWATCH + 6.0 + width(&text, LEGEND) + 8.0
    }
}

/// The legend, square by square.
pub(super) fn squares(frame: &Frame, legend: &[Entry]) -> Markup {
    let top = frame.top + frame.side() + 10.0;
    html! {
        g font-size=(LEGEND) {
            @for (index, entry) in legend.iter().enumerate() {
                @let column = f64::from(small(index % frame.columns.max(1)));
                @let row = f64::from(small(index / frame.columns.max(1)));
                @let (x, y) = (frame.pad + column * frame.column, top + row * 22.0);
                (swatch(entry.kind, entry.mark, x, y))
                text x=(num(x + SWATCH + 6.0)) y=(num(y + 12.5)) {
                    (entry.title) " " tspan.head { (entry.count) }
                }
            }
        }
    }
}
