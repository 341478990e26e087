//! `cargo xtask abi-check`: does what lies in memory still look as its version says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kho_compat::{Component, Registry};
use similar::{ChangeTag, TextDiff};

use crate::{KernelTypes, compare, root};

/// Compare every component's layout with its snapshot and with a real kernel's types.
///
/// Exit codes: 0 clean, 1 something differs, 2 usage.
#[derive(clap::Args)]
pub struct Args {
    /// Write the snapshots of versions that have none yet. One that is there is history and is
    /// never written over: a changed layout takes a new version.
    #[arg(long)]
    bless: bool,
    /// The kernel's types, as pahole printed them.
    #[arg(
        long,
        value_name = "FACTS",
        default_value = "tests/facts/linux-7.3.4-layouts.json"
    )]
    kernel: PathBuf,
}

/// Runs the check and says what it found.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match check(args) {
        Ok(0) => {
            println!("abi-check: clean");
            ExitCode::SUCCESS
        }
        Ok(found) => {
            println!("abi-check: {found} differences");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("abi-check: {error}");
            ExitCode::from(2)
        }
    }
}

/// The linked components, referred to by name: the linker drops what nothing refers to.
///
/// # Errors
///
/// They contradict each other, or one was lost.
pub fn components() -> Result<&'static Registry, String> {
    let names = [
        kho_core::abi::NAME,
        kho_radix::abi::NAME,
        kho_vmalloc::abi::NAME,
        kho_block::abi::NAME,
        kho_luo::abi::NAME,
        kho_memfd::abi::NAME,
        kho_fd::abi::NAME,
    ];
    let registry = Registry::linked().map_err(ToString::to_string)?;
    match names.iter().find(|name| registry.get(name).is_none()) {
        Some(lost) => Err(format!("component `{lost}` is not registered")),
        None => Ok(registry),
    }
}

fn check(args: &Args) -> Result<usize, String> {
    let registry = components()?;
    let facts = root().join(&args.kernel);
    let text =
        fs::read_to_string(&facts).map_err(|error| format!("{}: {error}", facts.display()))?;
    let kernel =
        KernelTypes::parse(&text).map_err(|error| format!("{}: {error}", facts.display()))?;
    let mut found = 0;
    for component in registry.components() {
        let token = format!("{}-v{}", component.name, component.major());
        let mut problems = snapshot(component, args.bless)?;
        let mut equal = 0;
        for layout in component.all_layouts() {
            match compare(&layout, &kernel) {
                Some(differences) if differences.is_empty() => equal += 1,
                Some(differences) => problems.extend(differences),
                None => {}
            }
        }
        if problems.is_empty() {
            println!("{token:<20} as its snapshot; {equal} structs as the kernel's");
        } else {
            println!("{token:<20} differs");
            problems
                .iter()
                .for_each(|problem| println!("    {problem}"));
        }
        found += problems.len();
    }
    Ok(found)
}

/// Compares `component` with its snapshot.
fn snapshot(component: &Component, bless: bool) -> Result<Vec<String>, String> {
    let version = component.major();
    let path = root()
        .join("abi-snapshots")
        .join(component.name)
        .join(format!("v{version}.snap"));
    let shown = format!("abi-snapshots/{}/v{version}.snap", component.name);
    let now = component.describe();
    if !path.exists() {
        if !bless {
            return Ok(vec![format!(
                "{shown} is missing: cargo xtask abi-check --bless writes it"
            )]);
        }
        write(&path, component, &now)?;
        println!("wrote {shown}");
        return Ok(Vec::new());
    }
    let file = fs::read_to_string(&path).map_err(|error| format!("{shown}: {error}"))?;
    // insta's files: metadata between two lines of dashes, then the contents.
    let then = file
        .splitn(3, "---\n")
        .nth(2)
        .ok_or_else(|| format!("{shown}: no snapshot file"))?;
    if then.trim_end() == now.trim_end() {
        return Ok(Vec::new());
    }
    let diff = TextDiff::from_lines(then.trim_end(), now.trim_end());
    let mut out: Vec<_> = diff
        .iter_all_changes()
        .filter_map(|change| {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => return None,
            };
            Some(format!("{sign} {}", change.value().trim_end()))
        })
        .collect();
    out.push(format!(
        "{shown} is history: give `{}` version {} and run cargo xtask abi-check --bless, or undo the change",
        component.name,
        version + 1
    ));
    Ok(out)
}

fn write(path: &Path, component: &Component, text: &str) -> Result<(), String> {
    let error = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(error)?;
    }
    let source = format!("crates/{}/tests/abi.rs", component.crate_name);
    fs::write(
        path,
        format!("---\nsource: {source}\n---\n{}\n", text.trim_end()),
    )
    .map_err(error)
}
