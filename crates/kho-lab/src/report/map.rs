//! Heat maps.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::text::{NAME, WHY, bounded, clean, counted, lines, name, width};
use crate::run::{Cell, Kind, Matrix};

/// What maps look like. Nothing in it is an id: a page has many maps.
pub(super) const STYLE: &str = include_str!("map.css");

/// Around everything, in a file; a page has room around its maps.
const PAD: f64 = 12.0;
/// Beside the rows' labels, and above the columns' labels.
const AXIS: f64 = 18.0;
/// Pixels of the side of a square of cells, about.
const SIDE: u32 = 560;
/// The side of a cell.
const CELL: (u32, u32) = (3, 36);
/// Releases with a glyph in every cell, at most; beyond it a row's cells of one kind are one shape.
const SINGLE: usize = 48;
/// Releases that have room for long tooltips, at most.
const ROOMY: usize = 16;
/// A label's characters.
const LABEL: usize = 18;
/// The text of the legend.
const LEGEND: u32 = 12;
/// A square in the legend.
const SWATCH: f64 = 16.0;

/// Where a map stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file of its own, with title and style.
    File,
    /// In a page that has both.
    Page,
}

/// How columns are labelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slant {
    Level,
    Half,
    Upright,
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

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn place(index: usize, cell: u32) -> f64 {
    f64::from(small(index)) * f64::from(cell)
}

/// Where everything is.
struct Frame {
    /// Around everything.
    pad: f64,
    /// Releases.
    count: usize,
    /// The side of a cell.
    cell: u32,
    /// The space between two cells.
    gap: u32,
    /// The size of labels.
    font: u32,
    /// Every which label is there.
    step: usize,
    labels: Vec<String>,
    slant: Slant,
    /// Where the cells begin.
    left: f64,
    top: f64,
    /// The whole width.
    width: f64,
    /// Title and summary.
    title: Vec<String>,
    summary: Vec<String>,
    /// The legend's columns, and their width.
    columns: usize,
    column: f64,
}

impl Frame {
    fn new(releases: &[String], matrix: &Matrix, legend: &[Entry], place_: Place) -> Self {
        let pad = if place_ == Place::File { PAD } else { 1.0 };
        let count = releases.len();
        let cell = SIDE
            .checked_div(small(count))
            .unwrap_or(CELL.1)
            .clamp(CELL.0, CELL.1);
        let gap = match cell {
            14.. => 2,
            8.. => 1,
            _ => 0,
        };
        let font: u32 = match cell {
            16.. => 12,
            13.. => 11,
            11.. => 10,
            _ => 9,
        };
        let step = usize::try_from((font + 1).div_ceil(cell)).unwrap_or(1);
        let labels = labels(releases);
        let widest = labels
            .iter()
            .map(|label| width(label, font))
            .fold(0.0, f64::max);
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
        let fitting = (1..=legend.len()).rev();
        let columns = fitting
            .clone()
            .find(|columns| f64::from(small(*columns)) * column <= inner);
        let columns = columns.unwrap_or(1);
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
    fn side(&self) -> f64 {
        place(self.count, self.cell)
    }

    fn height(&self, legend: usize) -> f64 {
        let rows = legend.div_ceil(self.columns.max(1));
        (self.top + self.side() + 10.0 + place(rows, 22) + self.pad).ceil()
    }

    fn x(&self, to: usize) -> f64 {
        self.left + place(to, self.cell)
    }

    fn y(&self, from: usize) -> f64 {
        self.top + place(from, self.cell)
    }

    /// The side of what is coloured of a cell.
    fn inner(&self) -> f64 {
        f64::from(self.cell.saturating_sub(self.gap))
    }
}

/// The labels of releases. Where names are too long, what all of them begin and end with is left out,
/// in whole words.
fn labels(releases: &[String]) -> Vec<String> {
    let names: Vec<_> = releases.iter().map(|text| bounded(text, WHY)).collect();
    let long = names.iter().any(|text| text.chars().count() > LABEL);
    let Some(first) = names.first().filter(|_| long && names.len() > 1) else {
        return names.iter().map(|text| name(text, LABEL)).collect();
    };
    let ends = |c: char| !c.is_alphanumeric();
    let begin = names.iter().fold(first.as_str(), |begin, text| {
        let same = begin.chars().zip(text.chars()).take_while(|(a, b)| a == b);
        begin
            .get(..same.map(|(c, _)| c.len_utf8()).sum())
            .unwrap_or("")
    });
    let begin = begin.rfind(ends).map_or(0, |at| {
        at + begin
            .get(at..)
            .and_then(|rest| rest.chars().next())
            .map_or(0, char::len_utf8)
    });
    let rest: Vec<_> = names
        .iter()
        .map(|text| text.get(begin..).unwrap_or(""))
        .collect();
    let end = rest
        .iter()
        .fold(first.get(begin..).unwrap_or(""), |end, text| {
            let same = end
                .chars()
                .rev()
                .zip(text.chars().rev())
                .take_while(|(a, b)| a == b);
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

/// A line of the legend: a kind, or those refused that could have been read.
struct Entry {
    kind: Kind,
    mark: bool,
    title: &'static str,
    count: usize,
}

impl Entry {
    fn all(cells: &[(usize, usize, &Cell)]) -> Vec<Self> {
        let of = |kind| cells.iter().filter(|cell| cell.2.kind == kind).count();
        let mut all: Vec<_> = Kind::ALL
            .into_iter()
            .map(|kind| Self {
                kind,
                mark: false,
                title: kind.title(),
                count: of(kind),
            })
            .collect();
        all.push(Self {
            kind: Kind::Rejected,
            mark: true,
            title: "could have been read",
            count: cells.iter().filter(|cell| cell.2.false_reject).count(),
        });
        all
    }

    fn width(&self) -> f64 {
        let text = format!("{} {}", self.title, self.count);
        SWATCH + 6.0 + width(&text, LEGEND) + 8.0
    }
}

/// A kind's sign around the middle `(x, y)`: drawn, so that no font must have it.
fn glyph(kind: Kind, x: f64, y: f64, half: f64) -> String {
    let n = |share: f64| num(half * share);
    let at = |dx: f64, dy: f64| format!("M{} {}", num(x + half * dx), num(y + half * dy));
    match kind {
        Kind::Accepted => {
            let start = at(-1.0, 0.05);
            format!("{start}l{} {} {} {}", n(0.65), n(0.7), n(1.35), n(-1.5))
        }
        Kind::Degraded => {
            let start = at(-1.0, 0.3);
            let (rise, half) = (n(-1.1), n(1.0));
            format!(
                "{start}q{} {rise} {half} {} t{half} {}",
                n(0.5),
                n(-0.3),
                n(-0.3)
            )
        }
        Kind::Rejected => {
            let (side, back) = (n(1.5), n(-1.5));
            let (one, other) = (at(-0.75, -0.75), at(0.75, -0.75));
            format!("{one}l{side} {side}{other}l{back} {side}")
        }
        Kind::Late => format!("{}v{}{}v.1", at(0.0, -1.05), n(1.15), at(0.0, 1.0)),
        Kind::Silent => {
            let start = at(-0.65, -0.5);
            format!(
                "{start}c0 {} {} {} {} 0c0 {} {} {} {} {}{}v.1",
                n(-0.85),
                n(1.3),
                n(-0.85),
                n(1.3),
                n(0.5),
                n(-0.65),
                n(0.45),
                n(-0.65),
                n(0.95),
                at(0.0, 1.05)
            )
        }
    }
}

/// The corner of a cell whose right upper corner is `(x, y)`.
fn mark(x: f64, y: f64, side: f64) -> String {
    let side = num((side * 0.32).clamp(2.0, 9.0));
    format!("M{} {}h-{side}l{side} {side}z", num(x), num(y))
}

/// A square of the legend, with the sign of `kind`.
pub(super) fn swatch(kind: Kind, marked: bool, x: f64, y: f64) -> Markup {
    let middle = SWATCH / 2.0;
    html! {
        rect class=(kind.id()) x=(num(x)) y=(num(y)) width=(num(SWATCH)) height=(num(SWATCH)) rx="2" {}
        @if marked {
            path class={"mark-" (kind.id())} d=(mark(x + SWATCH, y, SWATCH * 1.4)) {}
        } @else {
            path class={"ink on-" (kind.id())} d=(glyph(kind, x + middle, y + middle, 4.2)) {}
        }
    }
}

/// The square of the legend as a picture in a line of text.
pub(super) fn key(kind: Kind, marked: bool) -> Markup {
    html! {
        svg class="hm key" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" {
            (swatch(kind, marked, 0.0, 0.0))
        }
    }
}

/// A map of `matrix`.
pub(super) fn svg(releases: &[String], matrix: &Matrix, place: Place) -> Markup {
    let count = releases.len();
    let rows = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
    let cells: Vec<_> = rows
        .filter_map(|(from, to)| Some((from, to, matrix.cell(from, to)?)))
        .collect();
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
            (legend_of(&frame, &legend))
        }
    }
}

/// What a map shows, for those who do not see it.
fn label(matrix: &Matrix, count: usize, legend: &[Entry]) -> String {
    let policy = bounded(matrix.policy, NAME);
    let kinds = legend
        .iter()
        .map(|entry| format!("{} {}", entry.count, entry.title));
    let kinds: Vec<_> = kinds.collect();
    let releases = counted(count, "release", "releases");
    format!(
        "{policy}: what becomes of every update among {releases}: {}",
        kinds.join(", ")
    )
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
    let heading = if heading > frame.pad {
        heading + 8.0
    } else {
        frame.pad
    };
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

/// A shape per cell.
fn singles(frame: &Frame, releases: &[String], cells: &[(usize, usize, &Cell)]) -> Markup {
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
                    path class={"ink on-" (kind.id())} style={"stroke-width:" (stroke)} d=(joined(&of, |from, to, cell| {
                        // A marked corner has its room.
                        let aside = if cell.false_reject { side * 0.07 } else { 0.0 };
                        let middle = side / 2.0;
                        let (x, y) = (frame.x(to) + middle - aside, frame.y(from) + middle + aside);
                        Some(glyph(kind, x, y, half))
                    })) {}
                    (marks(frame, kind, &of))
                }
            }
        }
    }
}

/// A shape per row and kind: a map of many releases stays small.
fn strips(frame: &Frame, releases: &[String], cells: &[(usize, usize, &Cell)]) -> Markup {
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

fn joined(
    cells: &[&(usize, usize, &Cell)],
    shape: impl Fn(usize, usize, &Cell) -> Option<String>,
) -> String {
    cells
        .iter()
        .filter_map(|(from, to, cell)| shape(*from, *to, cell))
        .collect()
}

fn marks(frame: &Frame, kind: Kind, cells: &[&(usize, usize, &Cell)]) -> Markup {
    let side = frame.inner();
    let d = joined(cells, |from, to, cell| {
        let corner = || mark(frame.x(to) + side, frame.y(from), side);
        cell.false_reject.then(corner)
    });
    html! {
        @if !d.is_empty() { path class={"mark-" (kind.id())} d=(d) {} }
    }
}

/// The columns of a row, as first and last ones of those that are neighbours.
fn runs(row: &[&(usize, usize, &Cell)]) -> Vec<(usize, usize)> {
    let neighbours = row.chunk_by(|one, other| one.1.saturating_add(1) == other.1);
    neighbours
        .filter_map(|run| Some((run.first()?.1, run.last()?.1)))
        .collect()
}

fn tooltip(releases: &[String], from: usize, to: usize, cell: &Cell) -> String {
    let most = if releases.len() <= ROOMY {
        WHY
    } else {
        WHY / 2
    };
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
    text
}

/// Why a cell is what it is, on a line: the first `most` reasons.
pub(super) fn reasons(cell: &Cell, most: usize) -> String {
    let first: Vec<_> = cell
        .why
        .iter()
        .take(most)
        .map(|why| bounded(&why.to_string(), WHY))
        .collect();
    let more = cell.why.len().saturating_sub(first.len());
    let mut text = first.join("; ");
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    text
}

fn strip(releases: &[String], from: usize, kind: Kind, runs: &[(usize, usize)]) -> String {
    let of = |index: usize| name(releases.get(index).map_or("", String::as_str), LABEL);
    let first: Vec<_> = runs
        .iter()
        .take(6)
        .map(|(first, last)| match first == last {
            true => of(*first),
            false => format!("{} … {}", of(*first), of(*last)),
        })
        .collect();
    let more = match runs.len().saturating_sub(first.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (from, kind) = (of(from), kind.title());
    format!("{from} → {}{more}: {kind}", first.join(", "))
}

fn legend_of(frame: &Frame, legend: &[Entry]) -> Markup {
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
