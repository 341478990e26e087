//! The figures, for a terminal, for programs and for a document.

use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use serde_json::{Value, json};

use super::rows::{Others, Reached, Row, Unit};

/// A row as it is shown.
struct Line<'a> {
    row: &'a Row,
    best: f64,
    median: f64,
    bytes: Option<f64>,
    runs: usize,
    yardstick: Option<f64>,
    reached: Option<Reached>,
    peers: Vec<(&'a str, f64)>,
}

/// All that was measured.
pub(super) struct Report<'a> {
    pub(super) machine: String,
    pub(super) command: String,
    pub(super) rows: &'a [Row],
    pub(super) others: Others<'a>,
}

/// As many digits as say something.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        v if v >= 0.01 => format!("{value:.4}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.6}"),
    }
}

impl<'a> Report<'a> {
    fn lines(&self) -> Vec<Line<'a>> {
        let all = self.others.measured;
        let line = |row: &'a Row| {
            let own = all.iter().find(|m| m.name == row.name && m.by == "kho")?;
            let mut peers: Vec<_> = all
                .iter()
                .filter(|m| m.name == row.name && m.by != "kho")
                .map(|m| (m.by.as_str(), m.best(row.unit)))
                .collect();
            peers.sort_by_key(|(name, _)| *name);
            Some(Line {
                row,
                best: own.best(row.unit),
                median: own.median(row.unit),
                bytes: (row.unit == Unit::MegaEntries).then(|| own.best(Unit::GigaBytes)),
                runs: own.runs,
                yardstick: self.others.yardstick(row.name),
                reached: self.others.reached(row, own),
                peers,
            })
        };
        self.rows.iter().filter_map(line).collect()
    }

    /// How many rows do not reach what they are to.
    pub(super) fn missed(&self) -> usize {
        let lines = self.lines();
        let reached = lines.iter().filter_map(|line| line.reached.as_ref());
        reached.filter(|reached| !reached.reached).count()
    }

    /// For a terminal.
    pub(super) fn human(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "workload", "best", "median", "", "C", "ours/C", "asked", "", "peers",
        ]);
        for line in self.lines() {
            let cells = line.cells("NO").into_iter().enumerate();
            table.add_row(cells.map(|(column, text)| match (column, &line.reached) {
                (1 | 2 | 4, _) => Cell::new(text).set_alignment(CellAlignment::Right),
                (7, Some(Reached { reached: true, .. })) => Cell::new(text).fg(Color::Green),
                (7, Some(_)) => Cell::new(text).fg(Color::Red),
                _ => Cell::new(text),
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        format!("{}\n{}\n\n{table}\n", self.machine, self.command)
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let lines = self.lines().into_iter().map(|line| {
            let reached = line.reached.as_ref();
            let peers: serde_json::Map<_, _> = line
                .peers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            json!({
                "name": line.row.name,
                "unit": line.row.unit.name(),
                "best": line.best,
                "median": line.median,
                "runs": line.runs,
                "gigabytes_per_second": line.bytes,
                "c": line.yardstick,
                "is": reached.map(|reached| &reached.is),
                "asked": reached.map(|reached| &reached.asked),
                "reached": reached.map(|reached| reached.reached),
                "peers": peers,
            })
        });
        json!({
            "machine": self.machine,
            "command": self.command,
            "rows": lines.collect::<Vec<_>>(),
        })
    }

    /// For a document.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("{}\n\n`{}`\n\n", self.machine, self.command);
        text.push_str("| workload | best | median | unit | C | ours/C | asked | | peers |\n");
        text.push_str("|---|--:|--:|---|--:|---|---|---|---|\n");
        for line in self.lines() {
            let [name, cells @ ..] = line.cells("**no**");
            text.push_str(&format!("| `{name}` | {} |\n", cells.join(" | ")));
        }
        text
    }
}

impl Line<'_> {
    fn unit(&self) -> String {
        match self.bytes {
            Some(bytes) => format!("{}, {} GB/s", self.row.unit.name(), number(bytes)),
            None => self.row.unit.name().to_owned(),
        }
    }

    /// What stands in each column; `no` where it is not reached.
    fn cells(&self, no: &str) -> [String; 9] {
        let (is, asked, mark) = self.reached.as_ref().map_or(("", "", ""), |reached| {
            let mark = if reached.reached { "yes" } else { no };
            (&reached.is, &reached.asked, mark)
        });
        let peers = self.peers.iter();
        let peers = peers.map(|(name, value)| format!("{name} {}", number(*value)));
        [
            self.row.name.to_owned(),
            number(self.best),
            number(self.median),
            self.unit(),
            self.yardstick.map(number).unwrap_or_default(),
            is.to_owned(),
            asked.to_owned(),
            mark.to_owned(),
            peers.collect::<Vec<_>>().join(", "),
        ]
    }
}
