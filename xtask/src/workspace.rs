//! Where things are, and what every task does with cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// The cargo that started this task, in the workspace's root.
#[must_use]
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// The exit code of `task`: what it came to, or 2 where it could not be done, which is printed.
#[must_use]
pub fn exit(task: &str, done: Result<u8, String>) -> ExitCode {
    let code = done.unwrap_or_else(|error| {
        eprintln!("{task}: {error}");
        2
    });
    ExitCode::from(code)
}

/// What `cargo metadata` prints of the workspace.
///
/// # Errors
///
/// cargo fails.
pub fn metadata() -> Result<Value, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cargo metadata: {error}");
    let words = ["metadata", "--no-deps", "--locked", "--format-version", "1"];
    let output = cargo().args(words).output().map_err(|e| failed(&e))?;
    if !output.status.success() {
        return Err(failed(&String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| failed(&e))
}

/// Runs `cargo`, which builds; finds the program of the target `name` among what it says.
///
/// # Errors
///
/// It is not built.
pub fn executable(cargo: &mut Command, name: &str) -> Result<PathBuf, String> {
    let built = cargo
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !built.status.success() {
        return Err(format!("{name} is not built"));
    }
    let text = String::from_utf8_lossy(&built.stdout);
    let path = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = message.get("executable")?.as_str()?;
        (message.pointer("/target/name")? == name).then(|| PathBuf::from(path))
    };
    let found = text.lines().rev().find_map(path);
    found.ok_or_else(|| format!("cargo does not say where {name} is"))
}
