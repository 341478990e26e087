//! The programs that measure, built.

use std::path::PathBuf;

use xtask::{cargo, executable, metadata};

/// What was built.
pub(super) struct Built {
    /// The criterion bench.
    pub(super) bench: PathBuf,
    /// What runs in processes of its own.
    pub(super) program: PathBuf,
    /// The directory that cargo built in.
    pub(super) target: PathBuf,
}

/// Builds all of kho-bench in release mode; `native`: for this machine's processor, in a directory apart.
pub(super) fn build(native: bool) -> Result<Built, String> {
    let metadata = metadata()?;
    let target = metadata.get("target_directory").and_then(|it| it.as_str());
    let mut target = PathBuf::from(target.ok_or("cargo does not say where it builds")?);
    if native {
        target.push("bench-native");
    }
    let build = |words: &[&str], name: &str| {
        let mut cargo = cargo();
        cargo.args(words).arg(name);
        cargo.args(["--quiet", "--locked", "--package", "kho-bench"]);
        if native {
            let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
            cargo.env("RUSTFLAGS", format!("{flags} -Ctarget-cpu=native"));
            cargo.arg("--target-dir").arg(&target);
        }
        executable(&mut cargo, name)
    };
    Ok(Built {
        program: build(PROGRAM, "kho-bench")?,
        bench: build(&["bench", "--no-run", "--bench"], "kho")?,
        target,
    })
}

const PROGRAM: &[&str] = &["build", "--release", "--bin"];

/// Builds the program alone.
pub(super) fn program() -> Result<PathBuf, String> {
    let mut cargo = cargo();
    cargo.args(PROGRAM).arg("kho-bench");
    cargo.args(["--quiet", "--locked", "--package", "kho-bench"]);
    executable(&mut cargo, "kho-bench")
}
