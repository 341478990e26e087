//! `cargo xtask bench --check`: do the hot operations take the instructions that they took.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use serde::{Deserialize, Serialize};

use super::{machine, process};

/// Where the counts stand that are the measure.
const BASELINE: &str = "crates/kho-bench/baseline.json";
/// Percent above the baseline that a count may be.
const MORE: u128 = 3;
/// The C library copies and fills in the same way on every processor.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load";

/// Counts, and what they are of: another compiler or C library counts otherwise.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Baseline {
    of: String,
    instructions: BTreeMap<String, Count>,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
struct Count {
    count: u64,
    instructions: u64,
}

/// What `kho-bench counted` says there is.
#[derive(Deserialize)]
struct Known {
    region: String,
    all: Vec<Work>,
}

#[derive(Deserialize)]
struct Work {
    name: String,
    count: u64,
}

/// What this machine's counts are of.
fn of() -> String {
    let libc = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let libc = libc.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    let libc = libc.unwrap_or_else(|_| "another C library".to_owned());
    format!("{}, {libc}, {}", machine::rustc(), std::env::consts::ARCH)
}

/// How a count compares with the baseline.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Verdict {
    New,
    Same,
    Less,
    More,
}

/// Percent that `now` is above `before`; the verdict on it.
fn judge(before: Option<Count>, now: Count) -> (f64, Verdict) {
    let Some(before) = before.filter(|before| before.count == now.count) else {
        return (0.0, Verdict::New);
    };
    #[allow(clippy::cast_precision_loss)]
    let more = (now.instructions as f64 / before.instructions.max(1) as f64 - 1.0) * 100.0;
    // In whole instructions: at the limit itself nothing is rounded.
    let [now, before] = [now, before].map(|count| u128::from(count.instructions));
    let now = now * 100;
    let verdict = if now > before * (100 + MORE) {
        Verdict::More
    } else if now < before * (100 - MORE) {
        Verdict::Less
    } else {
        Verdict::Same
    };
    (more, verdict)
}

/// Counts, compares or blesses. Returns whether nothing takes more than it did.
pub(super) fn run(
    root: &Path,
    program: &Path,
    bless: bool,
    only: Option<&str>,
) -> Result<bool, String> {
    let there = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if there.is_err() {
        return Err("valgrind is not there; on Debian: apt-get install valgrind".to_owned());
    }
    let path = root.join(BASELINE);
    let text = std::fs::read_to_string(&path).ok();
    let baseline = text.map(|text| serde_json::from_str::<Baseline>(&text));
    let baseline = baseline
        .transpose()
        .map_err(|e| format!("{BASELINE}: {e}"))?;
    let (of, counts) = (of(), counts(program, only)?);
    let same = baseline.as_ref().is_none_or(|baseline| baseline.of == of);
    let before = |name: &str| baseline.as_ref()?.instructions.get(name).copied();
    let rows: Vec<_> = counts
        .iter()
        .map(|(name, now)| (name.as_str(), *now, judge(before(name), *now)))
        .collect();
    print!("{}", table(&rows, before));
    if bless {
        let mut instructions = match baseline {
            Some(baseline) if same && only.is_some() => baseline.instructions,
            _ => BTreeMap::new(),
        };
        instructions.extend(counts);
        let text = serde_json::to_string_pretty(&Baseline { of, instructions });
        let text = text.map_err(|error| error.to_string())?;
        std::fs::write(&path, format!("{text}\n"))
            .map_err(|error| format!("{BASELINE}: {error}"))?;
        println!("\n{BASELINE} is written");
        return Ok(true);
    }
    let verdicts = || rows.iter().map(|(_, _, (_, verdict))| *verdict);
    let more = verdicts()
        .filter(|verdict| *verdict == Verdict::More)
        .count();
    let less = verdicts().any(|verdict| matches!(verdict, Verdict::Less | Verdict::New));
    let bless = "cargo xtask bench --check --bless";
    match &baseline {
        None => println!("\nthere is no {BASELINE}: {bless} writes it"),
        Some(baseline) if !same => {
            println!(
                "\nbaseline is of {}\n    this is of {of}: nothing fails; {bless} writes it anew",
                baseline.of
            );
            return Ok(true);
        }
        _ if more > 0 => println!(
            "\n{more} take over {MORE} % more instructions than they did; if that is meant: {bless}"
        ),
        _ if less => {
            println!("\nnone takes more than it did; {bless} holds on to what is better or new")
        }
        _ => println!("\nnone takes more than it did"),
    }
    Ok(more == 0)
}

/// What each operation takes, in instructions.
fn counts(program: &Path, only: Option<&str>) -> Result<BTreeMap<String, Count>, String> {
    let known = process::json(program, &["counted"])?;
    let mut known: Known = serde_json::from_value(known).map_err(|e| e.to_string())?;
    let all = &mut known.all;
    all.retain(|work| only.is_none_or(|only| work.name.contains(only)));
    if all.is_empty() {
        return Err("nothing that is counted has such a name".to_owned());
    }
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let left = Mutex::new(all.iter());
    let next = || left.lock().ok()?.next();
    let some = || -> Result<Vec<(String, Count)>, String> {
        let mut some = Vec::new();
        while let Some(Work { name, count }) = next() {
            let out = dir.path().join(name);
            let (count, instructions) = (*count, collect(program, name, &known.region, &out)?);
            let counted = Count {
                count,
                instructions,
            };
            some.push((name.clone(), counted));
        }
        Ok(some)
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let all: Result<Vec<_>, String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(4)).map(|_| scope.spawn(some)).collect();
        let threads = threads.into_iter();
        let joined = threads.map(|thread| thread.join().map_err(|_| "a thread ended")?);
        joined.collect()
    });
    Ok(all?.into_iter().flatten().collect())
}

/// Runs one operation under callgrind.
fn collect(program: &Path, name: &str, region: &str, out: &Path) -> Result<u64, String> {
    let file = format!("--callgrind-out-file={}", out.display());
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", &file])
        .arg(format!("--toggle-collect={region}"))
        .arg(program)
        .args(["counted", name])
        .env("GLIBC_TUNABLES", TUNABLES)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(format!("{name}: {}: {}", done.status, said.trim()));
    }
    let text = std::fs::read_to_string(out).map_err(|error| format!("{name}: {error}"))?;
    match summary(&text) {
        Some(0) => Err(format!("{name}: callgrind did not find {region}")),
        Some(instructions) => Ok(instructions),
        None => Err(format!("{name}: callgrind counted nothing")),
    }
}

/// The instructions of a callgrind profile.
fn summary(profile: &str) -> Option<u64> {
    let line = profile.lines().rev().find_map(|line| {
        line.strip_prefix("summary:")
            .or_else(|| line.strip_prefix("totals:"))
    })?;
    line.split_whitespace().next()?.parse().ok()
}

fn table(rows: &[(&str, Count, (f64, Verdict))], before: impl Fn(&str) -> Option<Count>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["operation", "instructions each", "baseline", "", ""]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    #[allow(clippy::cast_precision_loss)]
    let each = |of: Count| format!("{:.4}", of.instructions as f64 / of.count.max(1) as f64);
    for (name, now, (more, verdict)) in rows {
        let mark = match verdict {
            Verdict::New => Cell::new("new"),
            Verdict::Same => Cell::new(""),
            Verdict::Less => Cell::new("less").fg(Color::Green),
            Verdict::More => Cell::new("MORE").fg(Color::Red),
        };
        table.add_row([
            Cell::new(name),
            right(each(*now)),
            right(before(name).map(each).unwrap_or_default()),
            right(format!("{more:+.2} %")),
            mark,
        ]);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_one_sum() {
        let profile = "# callgrind format\nevents: Ir\nfn=(1) x\n1 20\n\ntotals: 2439873\n";
        assert_eq!(summary(profile), Some(2_439_873));
        assert_eq!(summary("events: Ir\nsummary: 0\n"), Some(0));
        assert_eq!(summary("events: Ir\n"), None);
    }

    #[test]
    fn three_percent_are_let_pass() {
        let of = |count, instructions| Count {
            count,
            instructions,
        };
        let count = |instructions| of(10, instructions);
        let verdict = |now| judge(Some(count(1000)), count(now)).1;
        assert_eq!([970, 1030].map(verdict), [Verdict::Same; 2]);
        assert_eq!([1031, 969].map(verdict), [Verdict::More, Verdict::Less]);
        assert_eq!(judge(Some(of(20, 1000)), count(1000)).1, Verdict::New);
        assert_eq!(judge(None, count(1)).1, Verdict::New);
    }
}
