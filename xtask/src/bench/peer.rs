//! The kernel's own code in C, built and run beside ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a script printed: a figure's name and its value, in the unit that our row of that name has.
pub(super) type Figures = Vec<(String, f64)>;

/// The script to run: `given`, or the one that stands beside the repository.
pub(super) fn script(given: Option<&Path>, root: &Path) -> Result<PathBuf, String> {
    let beside = root.join("../shared/peers/kernel-c/run.sh");
    match given {
        Some(path) if path.exists() => Ok(path.to_owned()),
        Some(path) => Err(format!("{}: there is no such script", path.display())),
        None if beside.exists() => Ok(beside),
        None => Err("which script builds and runs the C: name it with --peer-script".to_owned()),
    }
}

/// Runs `script SOURCE`.
pub(super) fn run(script: &Path, source: &Path) -> Result<Figures, String> {
    let done = Command::new(script)
        .arg(source)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    let figures = parse(&String::from_utf8_lossy(&done.stdout));
    if !done.status.success() || figures.is_empty() {
        let (script, status, count) = (script.display(), done.status, figures.len());
        return Err(format!("{script}: {status}, {count} figures"));
    }
    Ok(figures)
}

/// Lines of a name, a value, and a unit. What is no such line is passed over.
pub(super) fn parse(text: &str) -> Figures {
    let figure = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, value, _unit) = (words.next()?, words.next()?, words.next()?);
        let value: f64 = value.parse().ok()?;
        (value.is_finite() && value > 0.0).then(|| (name.to_owned(), value))
    };
    text.lines().filter_map(figure).collect()
}

/// The best of several runs, figure by figure.
pub(super) fn best(runs: Vec<Figures>, is_rate: impl Fn(&str) -> bool) -> Figures {
    let mut best = Figures::new();
    for (name, value) in runs.into_iter().flatten() {
        match best.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) if is_rate(&name) => *old = value.max(*old),
            Some((_, old)) => *old = value.min(*old),
            None => best.push((name, value)),
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "block_grow_per_entry 87.43 M/s err 0 blocks 10000\n\
        warning: something\n\
        radix_add_1TiB_as_2M 1.628 ms\n\
        radix_walk_sparse 87.11 Mkeys/s (1046476) 12.013 ms\n\
        nothing nan M/s\n";

    #[test]
    fn lines_of_figures_are_found() {
        let figures = parse(PRINTED);
        let wanted = [
            ("block_grow_per_entry", 87.43),
            ("radix_add_1TiB_as_2M", 1.628),
            ("radix_walk_sparse", 87.11),
        ];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(figures, wanted);
    }

    #[test]
    fn the_better_run_counts() {
        let again = parse("radix_add_1TiB_as_2M 1.5 ms\nradix_walk_sparse 80 Mkeys/s\n");
        let best = best(vec![parse(PRINTED), again], |name| !name.ends_with("2M"));
        assert_eq!(best.get(1).map(|(_, value)| *value), Some(1.5));
        assert_eq!(best.get(2).map(|(_, value)| *value), Some(87.11));
    }
}
