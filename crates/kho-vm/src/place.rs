//! Where things are, and what cargo builds for guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::failure::{Failure, of_file};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().nth(2);
    root.unwrap_or(manifest).to_owned()
}

/// The directory of all that is made here, in cargo's target directory.
pub(crate) fn dir() -> Result<PathBuf, Failure> {
    let dir = target().join("vm");
    if !dir.exists() {
        // Kernels that were built under the directory's earlier name.
        drop(fs::rename(target().join("lab"), &dir));
    }
    fs::create_dir_all(&dir).map_err(of_file(&dir))?;
    Ok(dir)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), absolute)
}

/// The path as it is seen from the workspace's root, where cargo runs.
fn absolute(path: std::ffi::OsString) -> PathBuf {
    std::path::absolute(&path).unwrap_or_else(|_| path.into())
}

/// Builds the `kho` command, once; returns where it is.
pub(crate) fn kho() -> Result<PathBuf, Failure> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    once(&BUILT, || {
        let mut command = cargo();
        command.args(["--package", "kho-cli", "--bin", "kho"]);
        build(&mut command, &target(), "kho")
    })
}

/// What `build` builds, which a run builds once.
fn once(
    built: &OnceLock<PathBuf>,
    build: impl FnOnce() -> Result<PathBuf, Failure>,
) -> Result<PathBuf, Failure> {
    if let Some(path) = built.get() {
        return Ok(path.clone());
    }
    let path = build()?;
    Ok(built.get_or_init(|| path).clone())
}

/// Builds the guest's init, a static program, once; returns where it is.
pub(crate) fn guest_init() -> Result<PathBuf, Failure> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    once(&BUILT, || {
        // One that is built otherwise than the rest has its own directory, or each build would undo the
        // other.
        let dir = dir()?.join("guest");
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let flags = "-C target-feature=+crt-static -C strip=symbols";
        let mut command = cargo();
        command
            .args(["--package", "kho-guest", "--bin", "kho-guest"])
            .args(["--target", &target, "--target-dir"])
            .arg(&dir)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", flags);
        build(&mut command, &dir.join(target), "kho-guest")
    })
}

fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--locked", "--quiet"])
        .current_dir(root());
    command
}

fn build(command: &mut Command, target: &Path, program: &str) -> Result<PathBuf, Failure> {
    // cargo shows its own progress.
    let text = match command.status() {
        Ok(status) if status.success() => return Ok(target.join("release").join(program)),
        Ok(status) => format!("cargo build of {program}: {status}"),
        Err(error) => format!("cargo does not start: {error}"),
    };
    Err(Failure::CanNot(text))
}

/// Looks for the program `name` where programs are.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let mut paths = std::env::split_paths(&paths).map(|dir| dir.join(name));
    paths.find(|path| path.is_file())
}
