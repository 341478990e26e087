//! What criterion wrote down, read again.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::rows::Unit;

/// How much work a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Work {
    pub(super) elements: u64,
    pub(super) bytes: u64,
}

/// What came of one workload.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Measured {
    pub(super) name: String,
    /// `kho`, or a peer.
    pub(super) by: String,
    pub(super) best: Duration,
    pub(super) median: Duration,
    pub(super) runs: usize,
    pub(super) work: Work,
    /// How the cost grew from a tenth of the work on: 1 where it grew with it.
    pub(super) exponent: Option<f64>,
}

impl Measured {
    /// Of runs of one kind; `None` without any.
    pub(super) fn of(name: &str, by: &str, work: Work, mut runs: Vec<Duration>) -> Option<Self> {
        runs.sort_unstable();
        Some(Self {
            name: name.to_owned(),
            by: by.to_owned(),
            best: *runs.first()?,
            median: *runs.get(runs.len() / 2)?,
            runs: runs.len(),
            work,
            exponent: None,
        })
    }

    pub(super) fn best(&self, unit: Unit) -> f64 {
        unit.of(self.best, self.work)
    }

    pub(super) fn median(&self, unit: Unit) -> f64 {
        unit.of(self.median, self.work)
    }
}

/// Adds another round to `all`: the best of each counts, and so does the better median.
pub(super) fn merge(all: &mut Vec<Measured>, round: Vec<Measured>) {
    for new in round {
        let same = |old: &&mut Measured| old.name == new.name && old.by == new.by;
        match all.iter_mut().find(same) {
            Some(old) => {
                old.best = old.best.min(new.best);
                old.median = old.median.min(new.median);
                old.runs += new.runs;
            }
            None => all.push(new),
        }
    }
}

/// criterion's `sample.json`: how many iterations each sample had, and its nanoseconds.
#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// Its `benchmark.json`.
#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
enum Throughput {
    Elements(u64),
    Bytes(u64),
    ElementsAndBytes { elements: u64, bytes: u64 },
}

impl Benchmark {
    fn work(&self) -> Work {
        match self.throughput {
            None => Work::default(),
            Some(Throughput::Elements(elements)) => Work { elements, bytes: 0 },
            Some(Throughput::Bytes(bytes)) => Work { elements: 0, bytes },
            Some(Throughput::ElementsAndBytes { elements, bytes }) => Work { elements, bytes },
        }
    }
}

fn parse(benchmark: &str, sample: &str) -> Result<Measured, String> {
    let benchmark: Benchmark = serde_json::from_str(benchmark).map_err(|e| e.to_string())?;
    let sample: Sample = serde_json::from_str(sample).map_err(|e| e.to_string())?;
    let runs = sample.times.iter().zip(&sample.iters);
    let each = |(time, iters)| Duration::try_from_secs_f64(time / iters / 1e9).ok();
    let runs = runs.filter_map(each);
    let by = benchmark.function_id.as_deref().unwrap_or("kho");
    Measured::of(&benchmark.group_id, by, benchmark.work(), runs.collect())
        .ok_or_else(|| format!("no samples of {}", benchmark.group_id))
}

/// Everything below criterion's directory `home`, in no order.
pub(super) fn read(home: &Path) -> Result<Vec<Measured>, String> {
    let mut all = Vec::new();
    let mut open = vec![home.to_owned()];
    while let Some(dir) = open.pop() {
        let wrong = |error: std::io::Error| format!("{}: {error}", dir.display());
        let sample = dir.join("sample.json");
        if dir.ends_with("new") && sample.exists() {
            let text = |path: &Path| std::fs::read_to_string(path).map_err(wrong);
            let (sample, benchmark) = (text(&sample)?, text(&dir.join("benchmark.json"))?);
            all.push(parse(&benchmark, &sample).map_err(|e| format!("{}: {e}", dir.display()))?);
            continue;
        }
        for entry in std::fs::read_dir(&dir).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str =
        r#"{"sampling_mode":"Flat","iters":[1.0,2.0,1.0],"times":[2000.0,3000.0,1800.0]}"#;

    #[test]
    fn the_best_is_per_iteration() {
        let benchmark = r#"{"group_id":"block_read_32B","function_id":"rkyv","value_str":null,
            "throughput":{"ElementsAndBytes":{"elements":10,"bytes":320}},"full_id":"block_read_32B/rkyv"}"#;
        let measured = parse(benchmark, SAMPLE).unwrap();
        assert_eq!([&*measured.name, &*measured.by], ["block_read_32B", "rkyv"]);
        let times = [measured.best, measured.median];
        assert_eq!(times, [1500, 1800].map(Duration::from_nanos));
        assert_eq!((measured.runs, measured.work.bytes), (3, 320));
        assert!((measured.best(Unit::MegaEntries) - 6.666).abs() < 0.01);
    }

    #[test]
    fn rounds_become_one() {
        let of = |times: [u64; 2]| {
            let runs = times.map(Duration::from_nanos).to_vec();
            Measured::of("one", "kho", Work::default(), runs).unwrap()
        };
        let mut all = Vec::new();
        merge(&mut all, vec![of([5, 9])]);
        merge(&mut all, vec![of([4, 20])]);
        let one = all.pop().unwrap();
        let times = (one.best.as_nanos(), one.median.as_nanos());
        assert_eq!((all.len(), times, one.runs), (0, (4, 9), 4));
    }

    #[test]
    fn work_may_be_none() {
        let benchmark = r#"{"group_id":"compat_verdict","function_id":"kho","throughput":null}"#;
        assert_eq!(parse(benchmark, SAMPLE).unwrap().work, Work::default());
        assert!(parse(benchmark, r#"{"iters":[],"times":[]}"#).is_err());
        assert!(parse("{}", SAMPLE).is_err());
    }
}
