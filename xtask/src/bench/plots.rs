//! `cargo xtask bench --plots`: what it costs at many sizes, as figures and as drawings.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::{self, meminfo};
use super::{process, spinner, svg};

/// Where they are kept.
const DIR: &str = "docs/performance";
/// For how long each size is measured, about.
const BUDGET: Duration = Duration::from_millis(300);
/// All of it takes no longer than this, about: what is left out then is said.
const LIMIT: Duration = Duration::from_secs(600);

/// What is plotted: the name of its files and of what is measured, what it shows, and what its sizes are.
type About = (&'static str, &'static str, &'static str);

const PLOTS: &[About] = &[
    (
        "keys-contiguous",
        "Contiguous pages in the tracker",
        "keys of order 0",
    ),
    (
        "keys-random",
        "Random pages of 1 TiB in the tracker",
        "keys of order 0",
    ),
    ("entries", "Entries of 32 bytes in linked blocks", "entries"),
    ("files", "Files over two sessions", "files"),
    ("sessions", "Sessions of one file each", "sessions"),
    (MEMORY, "A handover by exec", "bytes preserved"),
];

/// The plot whose sizes are bytes.
const MEMORY: &str = "memory";

/// A plot's figures, as they are kept.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    /// What the sizes are.
    pub(super) sizes: String,
    pub(super) machine: String,
    pub(super) command: String,
    pub(super) series: Vec<Series>,
}

/// A line of a plot.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// `kho`, or a peer.
    pub(super) by: String,
    /// Sizes, each with what it took in nanoseconds.
    pub(super) points: Vec<(u64, u64)>,
}

impl Plot {
    /// Whether sizes are bytes, which are counted in powers of two.
    pub(super) fn in_bytes(&self) -> bool {
        self.sizes.starts_with("bytes")
    }

    fn add(&mut self, name: &str, by: &str, size: u64, nanos: u64) {
        let mut all = self.series.iter_mut();
        match all.find(|series| series.name == name && series.by == by) {
            Some(series) => series.points.push((size, nanos)),
            None => self.series.push(Series {
                name: name.to_owned(),
                by: by.to_owned(),
                points: vec![(size, nanos)],
            }),
        }
    }
}

/// Measures, unless the figures there are will do, and draws.
pub(super) fn run(root: &Path, program: Option<&Path>, only: Option<&str>) -> Result<(), String> {
    let dir = root.join(DIR);
    std::fs::create_dir_all(&dir).map_err(|error| format!("{DIR}: {error}"))?;
    let start = Instant::now();
    let mut plots = PLOTS.to_vec();
    plots.retain(|(name, ..)| only.is_none_or(|only| name.contains(only)));
    if plots.is_empty() {
        let all: Vec<_> = PLOTS.iter().map(|(name, ..)| *name).collect();
        let all = all.join(", ");
        return Err(format!("no plot has such a name: there are {all}"));
    }
    for about @ (name, ..) in plots {
        let figures = dir.join(format!("{name}.json"));
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", figures.display());
        if let Some(program) = program {
            if start.elapsed() > LIMIT {
                println!("{name}: left as it is: {} s are over", LIMIT.as_secs());
                continue;
            }
            let plot = measure(program, about)?;
            let text = serde_json::to_string(&plot).map_err(|error| error.to_string())?;
            let text = text.replace("{\"name\"", "\n{\"name\"");
            write(&figures, &format!("{text}\n"))?;
        }
        let text = std::fs::read_to_string(&figures).map_err(|error| failed(&error))?;
        let plot: Plot = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        write(&figures.with_extension("svg"), &svg::draw(&plot))?;
        let (series, seconds) = (plot.series.len(), start.elapsed().as_secs());
        println!("{DIR}/{name}.svg: {series} series, {seconds} s");
    }
    Ok(())
}

fn write(path: &PathBuf, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn measure(program: &Path, (name, title, sizes): About) -> Result<Plot, String> {
    let mut plot = Plot {
        title: title.to_owned(),
        sizes: sizes.to_owned(),
        machine: machine::describe(false),
        command: format!("cargo xtask bench --plots --only {name}"),
        series: Vec::new(),
    };
    if name == MEMORY {
        handovers(program, &mut plot)?;
        scaling(program, "copies", &mut plot)?;
    } else {
        scaling(program, name, &mut plot)?;
    }
    // Ours first.
    plot.series.sort_by_key(|series| series.by != "kho");
    Ok(plot)
}

/// Memory that may be used: what is there, with room left for others.
fn memory() -> u64 {
    meminfo("MemAvailable:").unwrap_or(4 << 30) / 4 * 3
}

/// Runs `kho-bench scaling NAME`.
fn scaling(program: &Path, name: &str, plot: &mut Plot) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(["scaling", name])
        .args(["--budget", &BUDGET.as_millis().to_string()])
        .args(["--memory", &memory().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let bar = spinner();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some((series, by, size, nanos)) = point(&line) {
                bar.set_message(format!("{name}: {size}"));
                plot.add(&series, &by, size, nanos);
            }
        }
    }
    bar.finish_and_clear();
    let status = child.wait().map_err(|error| error.to_string())?;
    let failed = || format!("scaling {name}: {status}");
    status.success().then_some(()).ok_or_else(failed)
}

/// A line of what it prints.
fn point(line: &str) -> Option<(String, String, u64, u64)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| value.get(key)?.as_str().map(ToOwned::to_owned);
    let number = |key: &str| value.get(key)?.as_u64();
    Some((text("series")?, text("by")?, number("size")?, number("ns")?))
}

/// The steps of a handover that are drawn: which marks end them, and what they are called.
const STEPS: [(&[&str], &str); 3] = [
    (&["start"], "the exec"),
    (
        &["attached", "checked", "judged", "reclaimed"],
        "opened, checked, judged",
    ),
    (&["frozen"], "frozen"),
];

/// 64 MiB and four times as much again and again; in the end the largest power of two that there is
/// memory for.
fn preserved(memory: u64) -> Vec<u64> {
    let fits = |size: &u64| size + size / 4 <= memory;
    let largest = (26..=40).map(|power| 1 << power).filter(fits).max();
    let sizes = (13..=20).map(|power| 1u64 << (2 * power)).filter(fits);
    let mut sizes: Vec<_> = sizes.chain(largest).collect();
    sizes.dedup();
    sizes
}

/// Handovers by exec.
fn handovers(program: &Path, plot: &mut Plot) -> Result<(), String> {
    let bar = spinner();
    for size in preserved(memory()) {
        bar.set_message(format!("memory: {} MiB", size >> 20));
        let runs = if size > 1 << 30 { 2 } else { 5 };
        let mut best: Option<(Duration, Value)> = None;
        for _ in 0..runs {
            let value = process::json(program, &["handover", "--size", &size.to_string()])?;
            let blackout = process::nanos(&value, "/blackout_ns").ok_or("no blackout")?;
            if best.as_ref().is_none_or(|(least, _)| blackout < *least) {
                best = Some((blackout, value));
            }
        }
        if let Some((blackout, value)) = best {
            let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            plot.add("blackout", "kho", size, nanos(blackout));
            let until = |mark: &&str| process::nanos(&value, &format!("/until_ns/{mark}"));
            for (marks, name) in STEPS {
                let parts = marks.iter().filter_map(until).sum();
                plot.add(name, "kho", size, nanos(parts));
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_points() {
        let line = r#"{"series":"put in","by":"roaring","size":300,"ns":41}"#;
        let expected = ("put in".to_owned(), "roaring".to_owned(), 300, 41);
        assert_eq!(point(line), Some(expected));
        assert_eq!(point(r#"{"points":80}"#), None);
        assert_eq!(point("no JSON"), None);
    }

    #[test]
    fn as_much_is_preserved_as_there_is() {
        assert_eq!(preserved(100 << 20), [64 << 20]);
        let all = [64 << 20, 256 << 20, 1 << 30, 4 << 30, 8 << 30];
        assert_eq!(preserved(16 << 30), all);
        assert_eq!(preserved(20 << 30).last(), Some(&(16 << 30)));
    }

    #[test]
    fn what_is_kept_is_drawn() {
        let dir = xtask::root().join(DIR);
        for (name, ..) in PLOTS {
            let path = dir.join(format!("{name}.json"));
            let text = std::fs::read_to_string(&path).unwrap();
            let plot: Plot = serde_json::from_str(&text).unwrap();
            let drawn = std::fs::read_to_string(path.with_extension("svg")).unwrap();
            let stale = "is stale: cargo xtask bench --plots --redraw";
            assert!(svg::draw(&plot) == drawn, "{name} {stale}");
        }
    }
}
