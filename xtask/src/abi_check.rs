//! `cargo xtask abi-check`: does what lies in memory still look as its version says.

use std::path::PathBuf;
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use kho_abi_check::{Format, Options, Project, kernel, rules};
use kho_golden::{INTERFACES, components};

use crate::{exit, root};

/// Compare every component's format with the history of its versions and with a real kernel's types.
///
/// Exit codes: 0 clean, 1 the format changed without a version, 2 usage, 3 allowed changes only.
#[derive(clap::Args)]
pub struct Args {
    /// The revision to compare with; what HEAD has in common with it counts. By default what it has
    /// in common with the main branch.
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// The report's form: human, json, markdown, github or sarif.
    #[arg(long, default_value = "human")]
    format: Format,
    /// Say what a rule means, why it is there and what mends it.
    #[arg(long, value_name = "RULE")]
    explain: Option<String>,
    /// Write the snapshots of versions that are not in the base, composites.snap and the generated
    /// parts of docs/abi.md. A version that the base or a release has is never written over.
    #[arg(long)]
    bless: bool,
    /// Check the generated parts of docs/abi.md alone.
    #[arg(long, conflicts_with_all = ["base", "bless"])]
    check_docs: bool,
    /// The kernel's types: a vmlinux or object file with DWARF or BTF, or a facts file as pahole
    /// printed it.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "tests/facts/linux-7.3.4-layouts.json"
    )]
    kernel: PathBuf,
}

/// Runs the check and says what it found.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    exit("abi-check", check(args))
}

/// This workspace as the check takes it.
#[must_use]
pub fn project() -> Project {
    Project::new(root()).docs("docs/abi.md")
}

fn check(args: &Args) -> Result<u8, String> {
    if let Some(id) = &args.explain {
        let rule = rules::find(id).ok_or_else(|| {
            let ids: Vec<_> = rules::RULES.iter().map(|rule| rule.id).collect();
            format!("there is no rule `{id}`; the rules are {}", ids.join(", "))
        })?;
        print!("{}", rule.explain());
        return Ok(0);
    }
    // Refers to the component crates, which links them. What is wrong with them as a registry is
    // the check's to tell.
    let registry = components();
    if args.check_docs {
        let registry = registry.map_err(|error| error.to_string())?;
        let all = registry.components().chain(&INTERFACES);
        let report = kho_abi_check::check_docs(all, &project());
        print!("{}", report.render(args.format));
        return Ok(report.exit_code());
    }
    // A path of the workspace, wherever this is run from; or one of whoever runs it.
    let path = if args.kernel.exists() {
        args.kernel.clone()
    } else {
        root().join(&args.kernel)
    };
    let types = kernel::open(&path).map_err(|error| error.to_string())?;
    let mut options = Options::default().bless(args.bless).kernel(&types);
    options.base.clone_from(&args.base);
    let report = kho_abi_check::check_linked(&project(), &options).map_err(|e| e.to_string())?;
    let text = if args.format == Format::Human {
        let colours = AutoStream::choice(&std::io::stdout()) != ColorChoice::Never;
        report.human(colours)
    } else {
        report.render(args.format)
    };
    print!("{text}");
    Ok(report.exit_code())
}
