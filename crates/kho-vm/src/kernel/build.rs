//! The build.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Wanted, kernels};
use crate::command::run;
use crate::failure::{Failure, of_file};

/// Builds `source` as it is `wanted`.
pub(crate) fn build(source: &Path, wanted: &Wanted) -> Result<(), Failure> {
    let out = directory("build")?;
    let options = out.path().join("options");
    fs::write(&options, &wanted.config).map_err(of_file(&options))?;
    let make = |targets: &[&str]| {
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(source)
            .arg(format!("O={}", out.path().display()))
            .args([
                "ARCH=x86_64",
                "KBUILD_BUILD_USER=lab",
                "KBUILD_BUILD_HOST=lab",
            ])
            .env("KCONFIG_ALLCONFIG", &options)
            .args(targets);
        make
    };
    step(make(&["allnoconfig"]), "configuring", "configure")?;
    let taken = fs::read_to_string(out.path().join(".config"));
    for option in not_taken(&wanted.config, &taken.unwrap_or_default()) {
        eprintln!("vm kernel: this source does not take {option}");
    }
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let image = make(&[&format!("-j{jobs}"), "bzImage"]);
    step(image, "building", "build")?;
    fs::create_dir_all(&wanted.dir).map_err(of_file(&wanted.dir))?;
    if wanted.debug_info {
        keep(&out.path().join("vmlinux"), &wanted.dir.join("vmlinux"))?;
    }
    keep(&out.path().join(".config"), &wanted.dir.join("config"))?;
    // Last of all: it says that the rest is there.
    keep(&out.path().join("arch/x86/boot/bzImage"), &wanted.image())
}

/// A directory for something large: it is not in the system's temporary directory.
pub(super) fn directory(what: &str) -> Result<TempDir, Failure> {
    let prefix = format!("{what}-");
    let dir = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(kernels()?);
    dir.map_err(|error| Failure::of(format!("a directory for the {what}"), error))
}

/// Copies a file, which is there as a whole or not at all.
fn keep(from: &Path, to: &Path) -> Result<(), Failure> {
    let staged = to.with_extension("new");
    fs::copy(from, &staged).map_err(of_file(from))?;
    fs::rename(&staged, to).map_err(of_file(to))
}

/// The options of `wanted` that `taken` does not have.
fn not_taken<'w>(wanted: &'w str, taken: &str) -> Vec<&'w str> {
    let is_there = |option: &str| match option.strip_suffix("=n") {
        Some(name) => !taken
            .lines()
            .any(|line| line.starts_with(&format!("{name}="))),
        None => taken.lines().any(|line| line == option),
    };
    let options = wanted.lines().filter(|line| line.starts_with("CONFIG_"));
    options.filter(|option| !is_there(option)).collect()
}

/// Runs a step, whose output is kept until the next time.
pub(crate) fn step(command: Command, what: &str, name: &str) -> Result<(), Failure> {
    let log = kernels()?.join(format!("{name}.log"));
    run(command, what, &log).map_err(|failure| match failure {
        Failure::Failed(text) => {
            let log = log.display();
            Failure::Failed(format!("{text}\n  all of it is in {log}"))
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_not_taken_are_named() {
        let wanted = "# one\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=n\nCONFIG_D=n\n";
        let taken = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=y\n";
        assert_eq!(not_taken(wanted, taken), ["CONFIG_B=y", "CONFIG_D=n"]);
    }
}
