//! What is measured in processes of its own: the life of a million files, and handovers by exec.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::machine::meminfo;
use super::measured::{Measured, Work};
use super::rows::{Reach, Row, Unit};

/// The exponent of a cost that grows with the work, and what caches and page faults add to it.
const LINEAR: f64 = 1.25;
/// How much longer a handover may take that preserves 128 times as much.
const INDEPENDENT: f64 = 1.5;

/// Runs `kho-bench` with `arguments`: a line of JSON.
pub(super) fn json(program: &Path, arguments: &[&str]) -> Result<Value, String> {
    let words = arguments.join(" ");
    let said = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if !said.status.success() {
        let error = String::from_utf8_lossy(&said.stderr);
        return Err(format!("{words}: {}: {}", said.status, error.trim()));
    }
    serde_json::from_slice(&said.stdout).map_err(|error| format!("{words}: {error}"))
}

pub(super) fn nanos(value: &Value, pointer: &str) -> Option<Duration> {
    value.pointer(pointer)?.as_u64().map(Duration::from_nanos)
}

/// The parts of a life that a row is of.
const PARTS: [&str; 5] = ["preserve", "freeze", "deserialize", "retrieve", "finish"];
/// Which of them peers have, and what it is called there.
const OF_PEERS: [(&str, &str); 2] = [("preserve", "write_ns"), ("deserialize", "read_ns")];

fn short(count: u64) -> String {
    match count {
        0 => "0".to_owned(),
        _ if count.is_multiple_of(1_000_000) => format!("{}M", count / 1_000_000),
        _ if count.is_multiple_of(1000) => format!("{}k", count / 1000),
        _ => count.to_string(),
    }
}

/// A part of the life of so many files.
fn life_of(files: u64, part: &str) -> String {
    format!("luo_{part}_{}", short(files))
}

/// What is measured here, with lives of so many files.
pub(super) fn names(files: u64) -> impl Iterator<Item = String> {
    let lives = PARTS.into_iter().map(move |part| life_of(files, part));
    lives.chain(SIZES.iter().map(|(name, _)| (*name).to_owned()))
}

/// What is to be run, and how often.
pub(super) struct Plan {
    pub(super) files: u64,
    pub(super) runs: usize,
    pub(super) large_runs: usize,
}

/// A row's name lives as long as the program: there are a handful.
fn row(name: String, unit: Unit, reach: Reach) -> Row {
    let name: &'static str = Box::leak(name.into_boxed_str());
    Row { name, unit, reach }
}

fn wanted(only: Option<&str>, name: &str) -> bool {
    only.is_none_or(|only| name.contains(only))
}

/// The life of `plan.files` files over two sessions.
pub(super) fn lives(
    program: &Path,
    plan: &Plan,
    only: Option<&str>,
) -> Result<(Vec<Row>, Vec<Measured>), String> {
    let name = |part: &str| life_of(plan.files, part);
    if !PARTS.iter().any(|part| wanted(only, &name(part))) {
        return Ok((Vec::new(), Vec::new()));
    }
    let lives = |files: u64| {
        let files = files.to_string();
        let words = ["luo", "--files", &files, "--sessions", "2"];
        let lives = (0..plan.runs).map(|_| json(program, &words));
        lives.collect::<Result<Vec<_>, _>>()
    };
    let (all, tenth) = (lives(plan.files)?, lives(plan.files / 10)?);
    let (elements, bytes) = (plan.files, 0);
    let work = Work { elements, bytes };
    let of = |all: &[Value], pointer: &str| -> Vec<Duration> {
        let times = all.iter().filter_map(|value| nanos(value, pointer));
        times.collect()
    };
    let (mut rows, mut measured) = (Vec::new(), Vec::new());
    for part in PARTS {
        let pointer = format!("/{part}_ns");
        let Some(mut whole) = Measured::of(&name(part), "kho", work, of(&all, &pointer)) else {
            continue;
        };
        let least = of(&tenth, &pointer).into_iter().min();
        whole.exponent = least
            .map(|tenth| (whole.best.as_secs_f64() / tenth.as_secs_f64()).log10())
            .filter(|exponent| exponent.is_finite());
        measured.push(whole);
        rows.push(row(name(part), Unit::Seconds, Reach::Linear(LINEAR)));
    }
    for (part, key) in OF_PEERS {
        for peer in ["rkyv", "bincode"] {
            let runs = of(&all, &format!("/{peer}/{key}"));
            measured.extend(Measured::of(&name(part), peer, work, runs));
        }
    }
    Ok((rows, measured))
}

/// The sizes that are handed over.
const SIZES: [(&str, u64); 2] = [
    ("handover_blackout_64M", 64 << 20),
    ("handover_blackout_8G", 8 << 30),
];

/// Handovers by exec. What the machine has no memory for is left out, and said.
pub(super) fn blackouts(
    program: &Path,
    plan: &Plan,
    only: Option<&str>,
) -> Result<(Vec<Row>, Vec<Measured>), String> {
    let (mut rows, mut measured) = (Vec::new(), Vec::new());
    for (index, (name, size)) in SIZES.iter().enumerate() {
        if !wanted(only, name) {
            continue;
        }
        let needed = size + size / 4;
        let available = meminfo("MemAvailable:").unwrap_or(u64::MAX);
        if available < needed {
            let (needed, available) = (needed >> 30, available >> 30);
            eprintln!(
                "bench: {name} is left out: it takes {needed} GiB, and {available} are available"
            );
            continue;
        }
        let runs = match index {
            0 => plan.runs.max(10),
            _ => plan.large_runs,
        };
        let handover = || {
            let value = json(program, &["handover", "--size", &size.to_string()])?;
            nanos(&value, "/blackout_ns").ok_or_else(|| format!("{name}: no blackout"))
        };
        let runs = (0..runs).map(|_| handover()).collect::<Result<_, _>>()?;
        let (elements, bytes) = (0, *size);
        let work = Work { elements, bytes };
        measured.extend(Measured::of(name, "kho", work, runs));
        let reach = match SIZES.first() {
            Some((first, _)) if index > 0 => Reach::Row(first, INDEPENDENT),
            _ => Reach::None,
        };
        rows.push(row((*name).to_owned(), Unit::Micros, reach));
    }
    Ok((rows, measured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_how_many() {
        let names = [1_000_000, 100_000, 1234, 10_000_000].map(short);
        assert_eq!(names, ["1M", "100k", "1234", "10M"]);
    }
}
