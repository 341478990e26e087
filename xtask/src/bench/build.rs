//! The programs that measure, built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What was built.
pub(super) struct Built {
    /// The criterion bench.
    pub(super) bench: PathBuf,
    /// What runs in processes of its own.
    pub(super) program: PathBuf,
    /// The directory that cargo built in.
    pub(super) target: PathBuf,
}

/// How kho-bench is built.
struct Cargo<'a> {
    root: &'a Path,
    target: PathBuf,
    native: bool,
}

impl<'a> Cargo<'a> {
    /// In release mode; `native`: for this machine's processor, in a directory apart.
    fn new(root: &'a Path, native: bool) -> Result<Self, String> {
        let mut target = target(root)?;
        if native {
            target.push("bench-native");
        }
        Ok(Self {
            root,
            target,
            native,
        })
    }

    /// Runs `task`, and finds the program of `kind` among what cargo says.
    fn build(&self, task: &[&str], kind: &str) -> Result<PathBuf, String> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(task)
            .args(["--quiet", "--locked", "--package", "kho-bench"]);
        if self.native {
            let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
            cargo.env("RUSTFLAGS", format!("{flags} -Ctarget-cpu=native"));
            cargo.arg("--target-dir").arg(&self.target);
        }
        executable(cargo, self.root, kind)
    }

    fn program(&self) -> Result<PathBuf, String> {
        self.build(&["build", "--release", "--bin", "kho-bench"], "bin")
    }
}

/// Builds all of kho-bench.
pub(super) fn build(root: &Path, native: bool) -> Result<Built, String> {
    let cargo = Cargo::new(root, native)?;
    Ok(Built {
        program: cargo.program()?,
        bench: cargo.build(&["bench", "--no-run", "--bench", "kho"], "bench")?,
        target: cargo.target,
    })
}

/// Builds the program alone.
pub(super) fn program(root: &Path, native: bool) -> Result<PathBuf, String> {
    Cargo::new(root, native)?.program()
}

fn executable(mut cargo: Command, root: &Path, kind: &str) -> Result<PathBuf, String> {
    let built = cargo
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !built.status.success() {
        return Err("kho-bench is not built".to_owned());
    }
    let text = String::from_utf8_lossy(&built.stdout);
    let path = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let kinds = message.get("target")?.get("kind")?.as_array()?;
        let path = message.get("executable")?.as_str()?;
        kinds
            .iter()
            .any(|is| is == kind)
            .then(|| PathBuf::from(path))
    };
    let found = text.lines().rev().find_map(path);
    found.ok_or_else(|| "cargo does not say where kho-bench is".to_owned())
}

/// The directory that cargo builds in.
fn target(root: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let said: serde_json::Value =
        serde_json::from_slice(&said.stdout).map_err(|e| e.to_string())?;
    let target = said
        .get("target_directory")
        .and_then(|target| target.as_str());
    target
        .map(PathBuf::from)
        .ok_or_else(|| "cargo does not say where it builds".to_owned())
}
