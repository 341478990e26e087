//! Plots with two logarithmic axes.

use maud::{Markup, html};

use super::plots::{Plot, Series};

const WIDTH: f64 = 900.0;
/// The area of the lines.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 430.0;
const HEIGHT: f64 = 530.0;
/// The legend.
const LEGEND: f64 = 664.0;
const LINE: f64 = 22.0;
/// Characters of a line of the footer.
const CHARS: usize = 140;

const INK: &str = "#1f2328";
const FAINT: &str = "#59636e";
const GRID: &str = "#d8dee4";

/// Colours that the colour-blind tell apart, for ours.
const OURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#aa3377", "#b58900", "#332288",
];
/// For peers: thinner, and dashed.
const PEERS: [(&str, &str); 3] = [
    ("#7a7a7a", "7 4"),
    ("#66aadd", "2 3"),
    ("#998866", "9 3 2 3"),
];

/// How a line looks.
struct Style {
    colour: &'static str,
    dash: &'static str,
    width: f64,
    ours: bool,
}

fn pick<T: Copy>(from: &[T], index: usize, other: T) -> T {
    let index = index % from.len().max(1);
    from.get(index).copied().unwrap_or(other)
}

/// How each line looks: ours by number, a peer by its name and how often it came before.
fn styles(series: &[Series]) -> Vec<Style> {
    let mut names: Vec<&str> = Vec::new();
    let styles = series.iter().enumerate().map(|(index, line)| {
        let before = series.iter().take(index);
        let before = before.filter(|other| other.by == line.by).count();
        if line.by == "kho" {
            let colour = pick(&OURS, before, INK);
            let (dash, width, ours) = ("none", 2.2, true);
            return Style {
                colour,
                dash,
                width,
                ours,
            };
        }
        let known = names.iter().position(|name| *name == line.by);
        let name = known.unwrap_or_else(|| {
            names.push(&line.by);
            names.len() - 1
        });
        let (colour, _) = pick(&PEERS, name, (FAINT, ""));
        let (_, dash) = pick(&PEERS, before, (FAINT, "7 4"));
        let (width, ours) = (1.6, false);
        Style {
            colour,
            dash,
            width,
            ours,
        }
    });
    styles.collect()
}

/// A logarithmic axis: values from `from` to `to`, in pixels from `start` to `end`.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Around `values`: to the next decade on either side where `whole`, with a little room otherwise.
    fn around(
        values: impl Iterator<Item = f64> + Clone,
        whole: bool,
        (start, end): (f64, f64),
    ) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let least = least.max(1.0).log10();
        let most = values.fold(1.0, f64::max).log10().max(least);
        let (from, to) = if whole {
            (least.floor(), most.ceil().max(least.floor() + 1.0))
        } else {
            let room = ((most - least) * 0.03).max(0.05);
            (least - room, most + room)
        };
        Self {
            from,
            to,
            start,
            end,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.max(1.0).log10() - self.from) / (self.to - self.from);
        self.start + part * (self.end - self.start)
    }

    /// Powers of `base` on it.
    fn ticks(&self, base: f64) -> Vec<f64> {
        let (from, to) = (self.from / base.log10(), self.to / base.log10());
        let powers = std::iter::successors(Some((from - 1e-9).ceil()), |power| Some(power + 1.0));
        let powers = powers.take_while(|power| *power <= to + 1e-9);
        powers.map(|power| base.powf(power).round()).collect()
    }
}

/// At most one digit behind the point.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0")
        .map_or(text.clone(), ToOwned::to_owned)
}

/// A value in the largest of the units that it has one of.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let unit = units.iter().find(|(unit, _)| value >= *unit);
    unit.map_or_else(
        || px(value),
        |(unit, name)| format!("{}{name}", px(value / unit)),
    )
}

/// A number of things: 1, 10, 100, 1 k...
fn amount(value: f64) -> String {
    scaled(value, &[(1e9, "G"), (1e6, "M"), (1e3, "k")])
}

fn bytes(value: f64) -> String {
    const KIB: f64 = 1024.0;
    scaled(
        value,
        &[
            (KIB * KIB * KIB, " GiB"),
            (KIB * KIB, " MiB"),
            (KIB, " KiB"),
        ],
    )
}

/// A time of so many nanoseconds.
fn time(value: f64) -> String {
    scaled(
        value,
        &[(1e9, " s"), (1e6, " ms"), (1e3, " us"), (1.0, " ns")],
    )
}

/// `text` in lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= CHARS => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[allow(clippy::cast_precision_loss)]
const fn float(value: u64) -> f64 {
    value as f64
}

/// The mark of a point: filled for ours, hollow for a peer.
fn mark(x: f64, y: f64, style: &Style) -> Markup {
    let fill = if style.ours { style.colour } else { "#ffffff" };
    html! {
        circle cx=(px(x)) cy=(px(y)) r="3" fill=(fill) stroke=(style.colour) stroke-width="1.4" {}
    }
}

fn text(x: f64, y: f64, size: u32, colour: &str, anchor: &str, text: &str) -> Markup {
    html! {
        text x=(px(x)) y=(px(y)) font-size=(size) fill=(colour) text-anchor=(anchor) { (text) }
    }
}

/// `plot` as an SVG file.
pub(super) fn draw(plot: &Plot) -> String {
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let x = Axis::around(points().map(|(size, _)| float(*size)), false, (LEFT, RIGHT));
    let y = Axis::around(
        points().map(|(_, nanos)| float(*nanos)),
        true,
        (BOTTOM, TOP),
    );
    let styles = styles(&plot.series);
    let in_bytes = plot.in_bytes();
    let footer: Vec<_> = [&plot.machine, &plot.command]
        .into_iter()
        .flat_map(|text| wrapped(text))
        .collect();
    let named = |series: &Series| match series.by.as_str() {
        "kho" | "memory" => series.name.clone(),
        by => format!("{by}: {}", series.name),
    };
    let guide = guide(plot, &x, &y);
    let rows = || (0u32..).map(f64::from);
    let legend_end = TOP + LINE * f64::from(u32::try_from(plot.series.len()).unwrap_or(0));
    let markup = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(px(WIDTH)) height=(px(HEIGHT))
            viewBox=(format!("0 0 {} {}", px(WIDTH), px(HEIGHT)))
            font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" role="img" {
            title { (plot.title) }
            rect x="0.5" y="0.5" width=(px(WIDTH - 1.0)) height=(px(HEIGHT - 1.0)) rx="6" fill="#ffffff" stroke=(GRID) {}
            text x=(px(LEFT)) y="32" font-size="17" font-weight="600" fill=(INK) { (plot.title) }
            @for tick in y.ticks(10.0) {
                line x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(y.at(tick))) y2=(px(y.at(tick))) stroke=(GRID) {}
                (text(LEFT - 8.0, y.at(tick) + 4.0, 12, INK, "end", &time(tick)))
            }
            @for tick in x.ticks(if in_bytes { 4.0 } else { 10.0 }) {
                line x1=(px(x.at(tick))) x2=(px(x.at(tick))) y1=(px(TOP)) y2=(px(BOTTOM)) stroke=(GRID) {}
                (text(x.at(tick), BOTTOM + 18.0, 12, INK, "middle", &if in_bytes { bytes(tick) } else { amount(tick) }))
            }
            rect x=(px(LEFT)) y=(px(TOP)) width=(px(RIGHT - LEFT)) height=(px(BOTTOM - TOP)) fill="none" stroke=(FAINT) {}
            (text(f64::midpoint(LEFT, RIGHT), BOTTOM + 40.0, 13, INK, "middle", &plot.sizes))
            text x="18" y=(px(f64::midpoint(TOP, BOTTOM))) font-size="13" fill=(INK) text-anchor="middle"
                transform=(format!("rotate(-90 18 {})", px(f64::midpoint(TOP, BOTTOM)))) { "time" }
            @if let Some(path) = &guide {
                path d=(path) stroke="#8c959f" stroke-width="1" stroke-dasharray="1 4" stroke-linecap="round" fill="none" {}
            }
            @for (series, style) in plot.series.iter().zip(&styles) {
                path d=(path(&series.points, &x, &y)) stroke=(style.colour) stroke-width=(style.width)
                    stroke-dasharray=(style.dash) stroke-linejoin="round" fill="none" {}
                @for (size, nanos) in &series.points {
                    (mark(x.at(float(*size)), y.at(float(*nanos)), style))
                }
            }
            @for ((series, style), row) in plot.series.iter().zip(&styles).zip(rows()) {
                @let middle = TOP + LINE * row + 8.0;
                line x1=(px(LEGEND)) x2=(px(LEGEND + 30.0)) y1=(px(middle)) y2=(px(middle))
                    stroke=(style.colour) stroke-width=(style.width) stroke-dasharray=(style.dash) {}
                (mark(LEGEND + 15.0, middle, style))
                (text(LEGEND + 38.0, middle + 4.0, 12, INK, "start", &named(series)))
            }
            @if guide.is_some() {
                line x1=(px(LEGEND)) x2=(px(LEGEND + 30.0)) y1=(px(legend_end + 8.0)) y2=(px(legend_end + 8.0))
                    stroke="#8c959f" stroke-width="1" stroke-dasharray="1 4" stroke-linecap="round" {}
                (text(LEGEND + 38.0, legend_end + 12.0, 12, FAINT, "start", "in proportion to the work"))
            }
            @for (line, row) in footer.iter().zip(rows()) {
                (text(LEFT, BOTTOM + 66.0 + 15.0 * row, 11, FAINT, "start", line))
            }
        }
    };
    format!("{}\n", markup.into_string())
}

fn path(points: &[(u64, u64)], x: &Axis, y: &Axis) -> String {
    let steps = std::iter::once('M').chain(std::iter::repeat('L'));
    let step = |((size, nanos), step): (&(u64, u64), char)| {
        let (x, y) = (px(x.at(float(*size))), px(y.at(float(*nanos))));
        format!("{step}{x} {y}")
    };
    points.iter().zip(steps).map(step).collect()
}

/// A line of a cost in proportion to the work, through the middle of our first series; none where the cost
/// is to be the same at any size.
fn guide(plot: &Plot, x: &Axis, y: &Axis) -> Option<String> {
    let series = plot.series.iter().find(|series| series.by == "kho");
    let points = &series.filter(|_| !plot.in_bytes())?.points;
    let (size, nanos) = points.get(points.len() / 2)?;
    let (size, nanos) = (float(*size).log10(), float(*nanos).log10());
    // As far as both axes go.
    let from = x.from.max(y.from - nanos + size);
    let to = x.to.min(y.to - nanos + size);
    let value = |log: f64| 10f64.powf(log);
    let end = |at: f64| {
        let (x, y) = (x.at(value(at)), y.at(value(nanos + at - size)));
        format!("{} {}", px(x), px(y))
    };
    (from < to).then(|| format!("M{}L{}", end(from), end(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_whole_and_labelled() {
        let axis = Axis::around([1000.0, 3e6].into_iter(), false, (0.0, 100.0));
        assert_eq!(axis.ticks(10.0), [1e3, 1e4, 1e5, 1e6]);
        assert_eq!([1e3, 3e4, 1e8].map(amount), ["1k", "30k", "100M"]);
        assert_eq!(
            [64.0 * 1_048_576.0, 1_073_741_824.0].map(bytes),
            ["64 MiB", "1 GiB"]
        );
        assert_eq!(
            [1.0, 1e4, 1e8, 1e10].map(time),
            ["1 ns", "10 us", "100 ms", "10 s"]
        );
    }

    #[test]
    fn long_lines_are_cut_between_words() {
        let lines = wrapped(&["word"; 60].join(" "));
        assert!(
            lines.len() == 3 && lines.iter().all(|line| line.len() <= CHARS),
            "{lines:?}"
        );
    }

    #[test]
    fn a_decade_is_the_least() {
        let axis = Axis::around([5.0, 7.0].into_iter(), true, (100.0, 0.0));
        assert!((axis.at(1.0) - 100.0).abs() < 0.01 && axis.at(10.0).abs() < 0.01);
    }
}
