//! Where everything of a map is.

use super::Place;
use super::labels::labels;
use super::legend::Entry;
use crate::report::text::{NAME, WHY, bounded, lines, width};
use crate::run::Matrix;
/// Around everything, in a file; a page has room around its maps.
const PAD: f64 = 12.0;
/// Beside the rows' labels, and above the columns' labels.
const AXIS: f64 = 18.0;
/// Pixels of the side of a square of cells, about.
const SIDE: u32 = 560;
/// The side of a cell.
const CELL: (u32, u32) = (3, 36);

/// How columns are labelled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slant {
    Level,
    Half,
    Upright,
}

pub(super) fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn place(index: usize, cell: u32) -> f64 {
    f64::from(small(index)) * f64::from(cell)
}

/// Where everything is.
pub(super) struct Frame {
    /// Around everything.
    pub(super) pad: f64,
    /// Releases.
    pub(super) count: usize,
    /// The side of a cell.
    pub(super) cell: u32,
    /// The space between two cells.
    pub(super) gap: u32,
    /// The size of labels.
    pub(super) font: u32,
    /// Every which label is there.
    pub(super) step: usize,
    pub(super) labels: Vec<String>,
    pub(super) slant: Slant,
    /// Where the cells begin.
    pub(super) left: f64,
    pub(super) top: f64,
    /// The whole width.
    pub(super) width: f64,
    /// Title and summary.
    pub(super) title: Vec<String>,
    pub(super) summary: Vec<String>,
    /// The legend's columns, and their width.
    pub(super) columns: usize,
    pub(super) column: f64,
}

impl Frame {
    pub(super) fn new(
        releases: &[String],
        matrix: &Matrix,
        legend: &[Entry],
        place_: Place,
    ) -> Self {
        let pad = if place_ == Place::File { PAD } else { 1.0 };
        let count = releases.len();
        let cell = SIDE.checked_div(small(count)).unwrap_or(CELL.1);
        let cell = cell.clamp(CELL.0, CELL.1);
        let gap = u32::from(cell >= 8) + u32::from(cell >= 14);
        let font = [11, 13, 16]
            .iter()
            .fold(9, |font, least| font + u32::from(cell >= *least));
        let step = usize::try_from((font + 1).div_ceil(cell)).unwrap_or(1);
        let labels = labels(releases);
        let widths = labels.iter().map(|label| width(label, font));
        let widest = widths.fold(0.0, f64::max);
        let slant = if step == 1 && widest <= f64::from(cell) - 2.0 {
            Slant::Level
        } else if step == 1 && cell >= 22 {
            Slant::Half
        } else {
            Slant::Upright
        };
        let half = widest * 0.71;
        let (above, beyond) = match slant {
            Slant::Level => (f64::from(font) + 4.0, 0.0),
            Slant::Half => (half + f64::from(font) + 2.0, half),
            Slant::Upright => (widest + 6.0, 0.0),
        };
        let left = pad + AXIS + widest + 6.0;
        let column = legend.iter().map(Entry::width).fold(0.0, f64::max).ceil();
        let cells = left + place(count, cell) + beyond;
        let whole = cells.max(pad + 2.0 * column).ceil() + pad;
        let inner = whole - 2.0 * pad;
        let fits = |columns: &usize| f64::from(small(*columns)) * column <= inner;
        let columns = (1..=legend.len()).rev().find(fits).unwrap_or(1);
        // Rows of one length.
        let rows = legend.len().div_ceil(columns);
        let columns = legend.len().div_ceil(rows.max(1)).max(1);
        let (title, summary) = match place_ {
            Place::File => (
                lines(&bounded(matrix.policy, NAME), 16, inner),
                lines(&bounded(matrix.summary, WHY), 12, inner),
            ),
            Place::Page => (Vec::new(), Vec::new()),
        };
        let heading = place(title.len(), 21) + place(summary.len(), 16);
        let heading = if heading > 0.0 { heading + 8.0 } else { 0.0 };
        Self {
            pad,
            count,
            cell,
            gap,
            font,
            step,
            labels,
            slant,
            left,
            top: pad + heading + AXIS + above,
            width: whole,
            title,
            summary,
            columns,
            column,
        }
    }

    /// The side of the square that all cells make.
    pub(super) fn side(&self) -> f64 {
        place(self.count, self.cell)
    }

    pub(super) fn height(&self, legend: usize) -> f64 {
        let rows = legend.div_ceil(self.columns.max(1));
        (self.top + self.side() + 10.0 + place(rows, 22) + self.pad).ceil()
    }

    pub(super) fn x(&self, to: usize) -> f64 {
        self.left + place(to, self.cell)
    }

    pub(super) fn y(&self, from: usize) -> f64 {
        self.top + place(from, self.cell)
    }

    /// The side of what is coloured of a cell.
    pub(super) fn inner(&self) -> f64 {
        f64::from(self.cell.saturating_sub(self.gap))
    }
}
