//! `cargo xtask bare`: do the crates that say they are `no_std` build where there is no system.

use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::Value;
use xtask::{cargo, exit, metadata};

/// Build the no_std crates for a target that has no operating system.
///
/// A crate is no_std if its manifest says so:
///
///     [package.metadata.kho]
///     no-std = true
///
/// Each one is built alone, without its default features: for a target of the machine itself the
/// standard library would be there, and a use of it in a dependency would not be seen.
///
/// A target that is not installed is added with rustup.
///
/// Exit codes: 0 all build, 1 a crate does not build, 2 nothing can be built.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bare                      build every no_std crate
  cargo xtask bare kho-luo              build one
  cargo xtask bare --list               print their names, build nothing
  cargo xtask bare --target aarch64-unknown-none")]
pub(crate) struct Args {
    /// Build these crates only.
    crates: Vec<String>,
    /// Print the names of the crates and exit.
    #[arg(long)]
    list: bool,
    /// The target to build for.
    #[arg(long, value_name = "TRIPLE", default_value = "x86_64-unknown-none")]
    target: String,
}

/// Builds the crates and prints the result of each.
pub(crate) fn run(args: &Args) -> ExitCode {
    exit("bare", build_all(args).map(|built| u8::from(!built)))
}

fn build_all(args: &Args) -> Result<bool, String> {
    let all = members(&metadata()?)?.into_iter();
    let mut names: Vec<_> = all.filter(|all| all.1).map(|all| all.0).collect();
    names.sort_unstable();
    if let Some(other) = args.crates.iter().find(|name| !names.contains(name)) {
        return Err(format!(
            "the manifest of `{other}` has no `[package.metadata.kho] no-std = true`: expected one of {}",
            names.join(", ")
        ));
    }
    names.retain(|name| args.crates.is_empty() || args.crates.contains(name));
    if names.is_empty() {
        return Err("no manifest has `[package.metadata.kho] no-std = true`".to_owned());
    }
    if args.list {
        names.iter().for_each(|name| println!("{name}"));
        return Ok(true);
    }
    add_target(&args.target)?;
    let mut failed = 0;
    for name in &names {
        let status = cargo()
            .args(["build", "--quiet", "--locked", "--no-default-features"])
            .args(["--package", name, "--target", &args.target])
            .status()
            .map_err(|error| format!("cargo: {error}"))?;
        let result = if status.success() { "builds" } else { "FAILED" };
        println!("{name:<12} {result}");
        failed += usize::from(!status.success());
    }
    println!(
        "bare: {} of {} crates build for {}",
        names.len() - failed,
        names.len(),
        args.target
    );
    Ok(failed == 0)
}

/// The members of the workspace that `metadata` describes: name, and whether its manifest says no_std.
fn members(metadata: &Value) -> Result<Vec<(String, bool)>, String> {
    let packages = metadata.get("packages").and_then(Value::as_array);
    let packages = packages.ok_or("cargo metadata: expected `packages`")?;
    let member = |package: &Value| {
        let name = package.get("name").and_then(Value::as_str);
        let no_std = package.pointer("/metadata/kho/no-std");
        let no_std = no_std.and_then(Value::as_bool).unwrap_or(false);
        Ok((
            name.ok_or("cargo metadata: expected `name`")?.into(),
            no_std,
        ))
    };
    packages.iter().map(member).collect()
}

/// Adds the target `target` to the toolchain, unless it is there.
fn add_target(target: &str) -> Result<(), String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libdir = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    if !libdir.status.success() {
        let error = String::from_utf8_lossy(&libdir.stderr);
        return Err(format!("unknown target `{target}`: {}", error.trim_end()));
    }
    if Path::new(String::from_utf8_lossy(&libdir.stdout).trim_end()).is_dir() {
        return Ok(());
    }
    println!("bare: rustup target add {target}");
    let missing = format!("the libraries core and alloc for the target `{target}` are missing");
    let added = Command::new("rustup")
        .args(["target", "add", target])
        .status()
        .map_err(|error| format!("{missing}, and rustup can not be started: {error}"))?;
    if added.success() {
        return Ok(());
    }
    Err(format!(
        "{missing}, and `rustup target add {target}` failed"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_manifest_says_whether_a_crate_is_no_std() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "says-nothing", "metadata": null },
            { "name": "says-no", "metadata": { "kho": { "no-std": false } } },
            { "name": "says-yes", "metadata": { "kho": { "no-std": true } } },
        ]});
        let expected = [
            ("says-nothing", false),
            ("says-no", false),
            ("says-yes", true),
        ];
        let expected = expected.map(|(name, no_std)| (name.to_owned(), no_std));
        assert_eq!(members(&metadata).unwrap(), expected);
        assert!(members(&serde_json::json!({})).is_err());
    }

    /// A crate that is no_std and does not say so would not be built.
    #[test]
    fn every_no_std_crate_says_so() {
        let metadata = metadata().unwrap();
        let members = members(&metadata).unwrap();
        let packages = metadata.get("packages").unwrap().as_array().unwrap();
        for (package, (name, said)) in packages.iter().zip(members) {
            let manifest = package.get("manifest_path").unwrap().as_str().unwrap();
            let lib = Path::new(manifest).with_file_name("src").join("lib.rs");
            let lib = std::fs::read_to_string(lib).unwrap_or_default();
            let no_std = lib
                .lines()
                .any(|line| line.starts_with("#![") && line.contains("no_std"));
            assert_eq!(said, no_std, "{name}");
        }
    }
}
