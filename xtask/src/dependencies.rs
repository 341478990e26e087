//! `cargo xtask dependencies`: the crates that each component crate pulls in, as a checked-in table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use crate::{cargo, metadata, root};

/// The table, from the root.
const TABLE: &str = "docs/dependencies.md";

/// Check docs/dependencies.md: which crates each published crate pulls in.
///
/// Exit codes: 0 the table is current or was written, 1 it is not, or cargo fails.
#[derive(clap::Args)]
pub struct Args {
    /// Write the table.
    #[arg(long)]
    bless: bool,
}

/// Runs the check, or writes the table.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let done = if args.bless { bless() } else { check() };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dependencies: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bless() -> Result<(), String> {
    std::fs::write(root().join(TABLE), table()?).map_err(|error| format!("{TABLE}: {error}"))
}

/// Compares the table with what cargo resolves.
///
/// # Errors
///
/// They differ, or cargo fails.
pub fn check() -> Result<(), String> {
    let path = root().join(TABLE);
    let found = std::fs::read_to_string(&path).map_err(|error| format!("{TABLE}: {error}"))?;
    let expected = table()?;
    if found == expected {
        return Ok(());
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let mut text = format!("{TABLE} is not current: `cargo xtask dependencies --bless` writes it");
    for line in lines(&expected).difference(&lines(&found)) {
        let _ = write!(text, "\n+ {line}");
    }
    Err(text)
}

fn table() -> Result<String, String> {
    let mut text = String::from(
        "# Dependencies\n\n\
         The crates that each published crate pulls in with its default features, on Linux on x86-64: \
         `cargo tree -e normal`.\nWritten by `cargo xtask dependencies --bless`.\n\n\
         | crate | pulls | of this family | others |\n|---|---|---|---|\n",
    );
    let published = published(&metadata()?);
    let pulled = published.into_iter().map(|name| Ok((pulled(&name)?, name)));
    let mut rows = pulled.collect::<Result<Vec<_>, String>>()?;
    rows.sort_by_key(|(all, name)| (all.len(), name.clone()));
    for (all, name) in rows {
        let (ours, others): (Vec<&str>, Vec<&str>) = all
            .iter()
            .map(String::as_str)
            .partition(|other| other.starts_with("kho-"));
        let (count, ours, others) = (all.len(), ours.join(", "), others.join(", "));
        let _ = writeln!(text, "| {name} | {count} | {ours} | {others} |");
    }
    Ok(text)
}

/// The crates of the workspace that are published.
fn published(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let published = packages.filter(|package| package["publish"].is_null());
    let names = published.filter_map(|package| package["name"].as_str());
    names.map(str::to_owned).collect()
}

/// The names of the crates that `name` pulls in, itself left out.
fn pulled(name: &str) -> Result<BTreeSet<String>, String> {
    let output = cargo()
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--package", name])
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo tree --package {name}: {said}"));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let names = lines.lines().filter_map(|line| line.split(' ').next());
    let others = names.filter(|other| !other.is_empty() && *other != name);
    Ok(others.map(str::to_owned).collect())
}
