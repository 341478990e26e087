//! `vm debian-kernels`: whether Debian's kernels take a handover, by their packages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kho_compat::Registry;
use kho_compat::policy::SemverRange;
use kho_preflight::{End, EndOptions, EndRole, Preflight};
use serde_json::{Value, json};

use crate::command;
use crate::failure::{Failure, of_file};
use crate::kernel::{self, source::Apt};
use crate::place;
use crate::wait::check_interrupt;

/// Judge by `kho preflight` whether Debian's kernels take what other kernels hand over.
///
/// The packages come from the mirror that apt already uses, with Debian's signatures checked; nothing of the system is
/// changed. Of each package the kernel and its configuration are kept below the target directory (vm/debian), so that
/// it is fetched once. No kernel is booted. A package that is listed and can not be had is a row that says so.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm debian-kernels                         all of the suite, judged against the kernel of `vm kernel`
  cargo xtask vm debian-kernels --quick                 the oldest, one in the middle, the newest
  cargo xtask vm debian-kernels --kernels DIR --write   against each bzImage-* of DIR; rewrites docs/kernels.md")]
pub(crate) struct Args {
    /// Debian's suite.
    #[arg(long, value_name = "SUITE", default_value = "trixie-backports")]
    suite: String,
    /// Debian's flavour of kernels.
    #[arg(long, value_name = "NAME", default_value = "cloud-amd64")]
    flavour: String,
    /// A directory of kernels (bzImage-*, vmlinuz-*) that hand over. Without it, the one that guests run.
    #[arg(long, value_name = "DIR")]
    kernels: Option<PathBuf>,
    /// Three kernels alone.
    #[arg(long)]
    quick: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Rewrite the table in docs/kernels.md.
    #[arg(long, conflicts_with = "quick")]
    write: bool,
}

const DOCUMENT: &str = "docs/kernels.md";
const START: &str = "<!-- generated: kernels -->";
const END: &str = "<!-- end of what is generated -->";
/// The options that a kernel needs to take sessions of memfds over, and the release that has them first.
const OPTIONS: [(&str, [u32; 2]); 3] = [
    ("CONFIG_KEXEC_HANDOVER", [6, 16]),
    ("CONFIG_LIVEUPDATE", [6, 19]),
    ("CONFIG_LIVEUPDATE_MEMFD", [7, 1]),
];
const HANDOVER: [u32; 2] = [6, 16];

/// A kernel of Debian's.
struct Row {
    release: String,
    package: String,
    measured: Result<Measured, String>,
}

/// What was seen of it.
struct Measured {
    release: Option<String>,
    evidence: Vec<String>,
    // `None` where the package of the configuration is gone.
    lacks: Option<Vec<&'static str>>,
    // By the kernel that hands over: decision and headline.
    verdicts: Vec<(String, String, String)>,
}

pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let dir = place::dir()?.join("debian");
    fs::create_dir_all(&dir).map_err(of_file(&dir))?;
    let apt = Apt::new(&dir, &args.suite)?;
    let (update, log) = (apt.command(&["update"]), dir.join("update.log"));
    let read = command::run(update, "reading the mirror's list", &log);
    read.map_err(|failure| match failure {
        Failure::Failed(text) => Failure::CanNot(text),
        failure => failure,
    })?;
    let mut packages = packages(&apt, &args.flavour)?;
    if args.quick {
        packages = three(packages);
    }
    let registry = Registry::linked().map_err(|error| Failure::of("components", error))?;
    let preflight = Preflight::new(registry);
    let from = ends(&from(args)?)?;
    let mut rows = Vec::new();
    for (release, names) in &packages {
        check_interrupt()?;
        let measured = match fetch(&apt, &dir, release, names) {
            Ok(kernel) => Ok(measure(&preflight, &from, &kernel, release)?),
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => Err(gone(&failure)),
        };
        if !args.json {
            eprintln!("{}", line(release, &measured));
        }
        rows.push(Row {
            release: release.clone(),
            package: names.first().cloned().unwrap_or_default(),
            measured,
        });
    }
    let pairs = pairs(&preflight, &from)?;
    let table = table(&rows, &pairs, args);
    if args.json {
        println!("{:#}", json(&rows, &pairs, args));
    } else {
        println!("{table}");
    }
    if args.write {
        write(&table)?;
    }
    let measured = rows.iter().filter(|row| row.measured.is_ok()).count();
    eprintln!("{measured} measured, {} not", rows.len() - measured);
    Ok(measured > 0)
}

/// What one kernel is, while it goes on.
fn line(release: &str, measured: &Result<Measured, String>) -> String {
    match measured {
        Ok(measured) => {
            let first = measured.verdicts.first();
            let headline = first.map_or("", |(_, _, headline)| headline);
            format!("{release}: {headline}")
        }
        Err(why) => format!("{release}: not measured: {why}"),
    }
}

/// Releases of the flavour, in order, each with the packages that have its kernel and configuration.
fn packages(apt: &Apt, flavour: &str) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let pattern = format!("^linux-(image|binary|base)-[0-9].*-{flavour}$");
    let output = apt
        .program("apt-cache", &["search", "--names-only", &pattern])
        .output()
        .map_err(|error| Failure::CanNot(format!("apt-cache does not start: {error}")))?;
    let mut releases: BTreeMap<Vec<u32>, (String, Vec<String>)> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(name) = line.split(' ').next() else {
            continue;
        };
        let mut parts = name.splitn(3, '-');
        let (Some(_), Some(part), Some(release)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let number = number(release);
        if number.as_slice() < HANDOVER.as_slice() {
            continue;
        }
        let entry = releases.entry(number).or_default();
        entry.0 = release.to_owned();
        entry.1.push(format!("linux-{part}-{release}"));
    }
    if releases.is_empty() {
        let text = format!("the mirror lists no kernel of the flavour {flavour}");
        return Err(Failure::CanNot(text));
    }
    // Where the image is a package of its own, linux-image-* only depends on it.
    let split = |(release, names): (String, Vec<String>)| {
        let binary = format!("linux-binary-{release}");
        let base = format!("linux-base-{release}");
        let names = match (names.contains(&binary), names.contains(&base)) {
            (true, true) => vec![binary, base],
            (true, false) => vec![binary],
            _ => vec![format!("linux-image-{release}")],
        };
        (release, names)
    };
    Ok(releases.into_values().map(split).collect())
}

/// The numbers that a release begins with.
fn number(release: &str) -> Vec<u32> {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
    let digits = release
        .get(..end.unwrap_or(release.len()))
        .unwrap_or_default();
    digits
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect()
}

fn three<T>(mut all: Vec<T>) -> Vec<T> {
    if all.len() > 3 {
        let last = all.len() - 1;
        all.swap(1, last.div_ceil(2));
        all.swap(2, last);
        all.truncate(3);
    }
    all
}

/// The kernels that hand over.
fn from(args: &Args) -> Result<Vec<PathBuf>, Failure> {
    let Some(dir) = &args.kernels else {
        return Ok(vec![kernel::find(None)?]);
    };
    let entries = fs::read_dir(dir).map_err(of_file(dir))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("bzImage") || name.starts_with("vmlinuz")
    });
    if paths.is_empty() {
        return Err(Failure::CanNot(format!(
            "{}: no bzImage-* in it",
            dir.display()
        )));
    }
    paths.sort_by_key(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        number(name.split_once('-').map_or("", |(_, release)| release))
    });
    Ok(paths)
}

fn ends(paths: &[PathBuf]) -> Result<Vec<End>, Failure> {
    paths.iter().map(|path| end(path)).collect()
}

fn end(path: &Path) -> Result<End, Failure> {
    End::kernel(path, &mut |_, _, _| check_interrupt().is_ok())
        .map_err(|error| Failure::of(path.display(), error))
}

/// The directory with the release's kernel and configuration, fetched where they are not there.
fn fetch(apt: &Apt, dir: &Path, release: &str, names: &[String]) -> Result<PathBuf, Failure> {
    let kept = dir.join(release);
    let names_of = ["vmlinuz", "config"].map(|name| format!("{name}-{release}"));
    let [image, config] = &names_of;
    if kept.join(image).is_file() && (names.len() == 1 || kept.join(config).is_file()) {
        return Ok(kept);
    }
    let files = tempfile::tempdir_in(dir).map_err(of_file(dir))?;
    let log = dir.join("download.log");
    for name in names {
        let what = format!("fetching {name}");
        let mut download = apt.command(&["download", name]);
        download.current_dir(files.path());
        command::run(download, &what, &log)?;
    }
    let debs = fs::read_dir(files.path()).map_err(of_file(files.path()))?;
    for deb in debs.filter_map(|entry| Some(entry.ok()?.path())) {
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("-x").arg(&deb).arg(files.path().join("files"));
        command::run(dpkg, "unpacking the package", &log)?;
    }
    fs::create_dir_all(&kept).map_err(of_file(&kept))?;
    for name in &names_of {
        let modules = files.path().join("files/usr/lib/modules").join(release);
        let plain = name.split('-').next().unwrap_or_default();
        let boot = files.path().join("files/boot").join(name);
        let modules = modules.join(plain);
        let found = [boot, modules].into_iter().find(|path| path.is_file());
        // The package with the configuration alone may be gone.
        let Some(found) = found else {
            match name == image {
                true => {
                    return Err(Failure::Failed(format!(
                        "no kernel in {}",
                        names.join(" and ")
                    )));
                }
                false => continue,
            }
        };
        fs::rename(&found, kept.join(name)).map_err(of_file(&found))?;
    }
    Ok(kept)
}

/// Why a package could not be had, in a line.
fn gone(failure: &Failure) -> String {
    let text = failure.to_string();
    let missing = ["404", "Unable to fetch", "Unable to locate", "no candidate"];
    match missing.iter().any(|part| text.contains(part)) {
        true => "listed, but gone from the mirror".to_owned(),
        false => text.lines().last().unwrap_or_default().trim().to_owned(),
    }
}

fn measure(
    preflight: &Preflight,
    from: &[End],
    dir: &Path,
    release: &str,
) -> Result<Measured, Failure> {
    let path = dir.join(format!("vmlinuz-{release}"));
    let go_on = &mut |_, _, _| check_interrupt().is_ok();
    let to = preflight
        .open(&path, &EndOptions::new(EndRole::To), go_on)
        .map_err(|error| Failure::of(path.display(), error))?;
    let path = dir.join(format!("config-{release}"));
    let config = match fs::read_to_string(&path) {
        Ok(config) => Some(config),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(of_file(&path)(error)),
    };
    let known = number(release);
    let lacks = config.map(|config| {
        let has = |option: &str| config.lines().any(|line| line == format!("{option}=y"));
        let wanted = OPTIONS
            .iter()
            .filter(|(option, since)| known.as_slice() >= since.as_slice() && !has(option));
        wanted.map(|(option, _)| *option).collect()
    });
    let beside = format!("{}/", dir.display());
    let mut verdicts = Vec::new();
    for from in from {
        let report = preflight
            .judge(from, &to, &SemverRange)
            .map_err(|error| Failure::of(&from.title, error))?;
        let (decision, headline) = (
            report.decision.id().to_owned(),
            report.headline().replace(&beside, ""),
        );
        verdicts.push((from.title.clone(), decision, headline));
    }
    Ok(Measured {
        release: to.release.clone(),
        evidence: to.evidence.clone(),
        lacks,
        verdicts,
    })
}

/// What the kernels that hand over do to each other: the titles of two, and the decision.
fn pairs(preflight: &Preflight, ends: &[End]) -> Result<Vec<[String; 3]>, Failure> {
    let mut pairs = Vec::new();
    for from in ends {
        for to in ends {
            let report = preflight
                .judge(from, to, &SemverRange)
                .map_err(|error| Failure::of(&from.title, error))?;
            let decision = report.decision.id().to_owned();
            pairs.push([from.title.clone(), to.title.clone(), decision]);
        }
    }
    Ok(pairs)
}

/// A row per kernel that hands over, a column per kernel that takes over.
fn matrix(pairs: &[[String; 3]]) -> String {
    let mut titles: Vec<_> = pairs.iter().map(|[_, to, _]| to.as_str()).collect();
    titles.dedup();
    titles.truncate(pairs.len().isqrt());
    let mut text = format!(
        "\nBetween the kernels that hand over, by their images alone:\n\n| from, to | {} |\n|---{}|\n",
        titles.join(" | "),
        "|---".repeat(titles.len())
    );
    for row in pairs.chunks(titles.len().max(1)) {
        let from = row.first().map_or("", |[from, ..]| from);
        let decisions: Vec<_> = row.iter().map(|[.., decision]| decision.as_str()).collect();
        let _ = writeln!(text, "| {from} | {} |", decisions.join(" | "));
    }
    text
}

/// The tables, as the document has them.
fn table(rows: &[Row], pairs: &[[String; 3]], args: &Args) -> String {
    let mut text = format!(
        "Suite {}, flavour {}. Measured: the image and the configuration of the package were read; none was booted.\n\n\
         | package | measured | KHO options that it lacks | what is handed over to it by | verdict |\n|---|---|---|---|---|\n",
        args.suite, args.flavour
    );
    for row in rows {
        let _ = match &row.measured {
            Ok(measured) => {
                let (seen, lacks) = match &measured.lacks {
                    None => (
                        "the image; the package with its configuration is gone from the mirror",
                        "not known".to_owned(),
                    ),
                    Some(lacks) if lacks.is_empty() => ("yes", "none".to_owned()),
                    Some(lacks) => {
                        let lacks: Vec<_> = lacks.iter().map(|name| format!("`{name}`")).collect();
                        ("yes", lacks.join(", "))
                    }
                };
                // Kernels with the same verdict are one line.
                let mut by: Vec<(String, Vec<&str>)> = Vec::new();
                for (from, _, headline) in &measured.verdicts {
                    match by.iter_mut().find(|(known, _)| known == headline) {
                        Some((_, list)) => list.push(from),
                        None => by.push((headline.clone(), vec![from])),
                    }
                }
                let from: Vec<_> = by.iter().map(|(_, from)| from.join(", ")).collect();
                let verdicts: Vec<_> = by.into_iter().map(|(headline, _)| headline).collect();
                writeln!(
                    text,
                    "| `{}` | {seen} | {lacks} | {} | {} |",
                    row.package,
                    from.join("<br>"),
                    verdicts.join("<br>")
                )
            }
            Err(why) => writeln!(
                text,
                "| `{}` | no: {why} | not known | | none |",
                row.package
            ),
        };
    }
    text.push_str(&matrix(pairs));
    text
}

fn json(rows: &[Row], pairs: &[[String; 3]], args: &Args) -> Value {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|[from, to, decision]| json!({ "from": from, "to": to, "decision": decision }))
        .collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| match &row.measured {
            Ok(measured) => {
                let verdicts = measured.verdicts.iter().map(|(from, decision, headline)| {
                    json!({ "from": from, "decision": decision, "headline": headline })
                });
                json!({
                    "release": row.release,
                    "package": row.package,
                    "measured": true,
                    "image_release": measured.release,
                    "evidence": measured.evidence,
                    "configuration": measured.lacks.is_some(),
                    "lacks": measured.lacks,
                    "verdicts": verdicts.collect::<Vec<_>>(),
                })
            }
            Err(why) => json!({
                "release": row.release, "package": row.package, "measured": false, "why": why,
            }),
        })
        .collect();
    json!({ "suite": args.suite, "flavour": args.flavour, "kernels": rows, "pairs": pairs })
}

fn write(table: &str) -> Result<(), Failure> {
    let path = place::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).map_err(of_file(&path))?;
    let parts = text
        .split_once(START)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(Failure::of(
            path.display(),
            format!("no lines {START} and {END}"),
        ));
    };
    let text = format!("{before}{START}\n\n{}\n\n{END}{after}", table.trim_end());
    fs::write(&path, text).map_err(of_file(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        assert_eq!(number("6.16.12+deb13-cloud-amd64"), [6, 16, 12]);
        assert!(number("6.9.7") < number("6.16.3+deb13"));
        assert!(number("rt").is_empty());
    }

    #[test]
    fn three_are_the_oldest_one_in_the_middle_and_the_newest() {
        assert_eq!(three(vec![1, 2, 3, 4, 5, 6, 7]), [1, 4, 7]);
        assert_eq!(three(vec![1, 2]), [1, 2]);
    }

    #[test]
    fn a_package_that_is_gone_is_said_to_be() {
        let failure =
            Failure::Failed("fetching x: apt-get: 100\n  Err:1 404  Not Found".to_owned());
        assert_eq!(gone(&failure), "listed, but gone from the mirror");
        let failure = Failure::Failed("unpacking: tar\n  no room".to_owned());
        assert_eq!(gone(&failure), "no room");
    }
}
