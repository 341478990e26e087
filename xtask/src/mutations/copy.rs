//! A copy of the workspace that may be changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::cases::Case;
use super::files::Files;
use super::readers::OFF;
use super::verdict::Report;

/// A copy of the workspace, in a repository of its own whose only commit is the source as it is.
pub(super) struct Copy {
    pub(super) tree: PathBuf,
    target: PathBuf,
}

/// The check, without the tasks that it has nothing to do with.
const CHECK_ALONE: [&str; 3] = ["--package", "xtask", "--no-default-features"];

/// What it is asked.
const CHECK: [&str; 5] = ["abi-check", "--base", "HEAD", "--format", "json"];

/// What the compiler said.
pub(super) enum Built {
    Ready,
    /// It refused, in these words.
    Refused(String),
}

fn run(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.output().map_err(|error| format!("{name}: {error}"))
}

fn ok(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = run(command)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {words}", output.status))
}

/// What the check said.
fn report(output: &Output) -> Result<Report, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).map_err(|error| {
        let words = String::from_utf8_lossy(&output.stderr);
        format!("the check's JSON: {error}; it said: {words}")
    })?;
    Report::new(output.status.code(), &report)
}

/// An error of the file `path`.
fn of(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

impl Copy {
    /// Brings the copy up to the workspace at `root`, as it lies there. Files that are the same are left
    /// alone: they need not be built again.
    pub(super) fn make(root: &Path) -> Result<Self, String> {
        let dir = root.join("target/mutations");
        let (tree, target) = (dir.join("tree"), dir.join("target"));
        fs::create_dir_all(&tree).map_err(of(&tree))?;
        let copy = Self { tree, target };
        let mut list = Command::new("git");
        list.args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let files = ok(list.current_dir(root))?;
        let files = String::from_utf8(files).map_err(|_| "a file's name is no text".to_owned())?;
        let files: BTreeSet<_> = files.split('\0').filter(|name| !name.is_empty()).collect();
        for name in &files {
            // Deleted, but not yet in the index.
            if let Ok(content) = fs::read(root.join(name)) {
                copy.put(name, &content)?;
            }
        }
        for name in copy.files("")? {
            if !files.contains(name.as_str()) || !root.join(&name).exists() {
                fs::remove_file(copy.tree.join(&name)).map_err(of(Path::new(&name)))?;
            }
        }
        let git = copy.tree.join(".git");
        if git.exists() {
            fs::remove_dir_all(&git).map_err(of(&git))?;
        }
        copy.git(&["init", "--quiet", "--initial-branch=main"])?;
        copy.git(&["add", "--all", "--force"])?;
        copy.git(&["commit", "--quiet", "--no-verify", "--message=base"])?;
        Ok(copy)
    }

    /// The files of the copy below `dir`, without those of the repository.
    fn files(&self, dir: &str) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        let path = self.tree.join(dir);
        for entry in fs::read_dir(&path).map_err(of(&path))? {
            let entry = entry.map_err(of(&path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = match dir {
                "" => name,
                dir => format!("{dir}/{name}"),
            };
            if name == ".git" {
                continue;
            }
            if entry.file_type().map_err(of(&path))?.is_dir() {
                out.extend(self.files(&name)?);
            } else {
                out.push(name);
            }
        }
        Ok(out)
    }

    fn git(&self, args: &[&str]) -> Result<(), String> {
        let mut git = Command::new("git");
        git.args([
            "-c",
            "user.name=mutations",
            "-c",
            "user.email=mutations@localhost",
        ]);
        git.args(["-c", "commit.gpgsign=false", "-c", "core.autocrlf=false"]);
        ok(git.args(args).current_dir(&self.tree)).map(drop)
    }

    /// Writes a file, if that changes it.
    fn put(&self, name: &str, content: &[u8]) -> Result<(), String> {
        let path = self.tree.join(name);
        if fs::read(&path).is_ok_and(|old| old == content) {
            return Ok(());
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(of(&path))?;
        }
        fs::write(&path, content).map_err(of(&path))
    }

    fn cargo(&self) -> Command {
        let mut cargo = crate::cargo();
        cargo
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            // Nobody debugs it.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_TERM_COLOR", "never")
            .env_remove("RUSTFLAGS");
        cargo
    }

    /// Builds the check with what the source is now.
    pub(super) fn build(&self) -> Result<Built, String> {
        let output = run(self.cargo().args(["build", "--quiet"]).args(CHECK_ALONE))?;
        if output.status.success() {
            return Ok(Built::Ready);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let mut errors = text.lines().filter(|line| line.starts_with("error"));
        let first = errors.next().unwrap_or("error: without a word");
        // The next lines say which assertion it was.
        let detail = text.lines().find(|line| line.contains("assertion failed"));
        Ok(Built::Refused(match detail {
            Some(detail) => format!("{first}: {}", detail.trim()),
            None => first.to_owned(),
        }))
    }

    /// Runs the check against the commit.
    pub(super) fn check(&self, bless: bool) -> Result<Report, String> {
        let mut cargo = self.cargo();
        cargo.args(["run", "--quiet"]).args(CHECK_ALONE);
        cargo.arg("--");
        let output = run(cargo.args(CHECK).args(bless.then_some("--bless")))?;
        report(&output)
    }

    /// Runs the check with checks of readers off, as it was built. One that does not end is taken for one that
    /// fails.
    pub(super) fn check_off(&self, off: &[usize]) -> Result<Report, String> {
        let off: Vec<_> = off.iter().map(ToString::to_string).collect();
        let mut timeout = Command::new("timeout");
        let program = self.target.join("debug/xtask");
        timeout.arg("60").arg(program).args(CHECK);
        timeout.current_dir(&self.tree).env(OFF, off.join(","));
        let output = run(&mut timeout)?;
        match output.status.code() {
            Some(0 | 1 | 3) => report(&output),
            // It was ended, ran out of memory, or overflowed its stack.
            _ => Report::new(
                Some(1),
                &json!({ "findings": [{ "rule": "vector-failed" }] }),
            ),
        }
    }

    /// Checks that nothing is found before anything is changed.
    pub(super) fn starts_clean(&self) -> Result<(), String> {
        if let Built::Refused(words) = self.build()? {
            return Err(format!("the source does not compile as it is: {words}"));
        }
        let report = self.check(false)?;
        let words = || format!("the source is not clean as it is: {}", report.words());
        (report.exit == 0).then_some(()).ok_or_else(words)
    }

    /// Makes the edits of a case.
    pub(super) fn apply(&self, case: &Case, files: &mut Files) -> Result<(), String> {
        files.edited.clear();
        case.apply(files)?;
        self.put_all(files)
    }

    /// Writes the files that were edited.
    pub(super) fn put_all(&self, files: &Files) -> Result<(), String> {
        for (name, content) in &files.edited {
            match content {
                Some(content) => self.put(name, content.as_bytes())?,
                None => fs::remove_file(self.tree.join(name)).map_err(of(Path::new(name)))?,
            }
        }
        Ok(())
    }

    /// Makes the copy what it was: without the edits, and what `--bless` and cargo wrote.
    pub(super) fn take_back(&self) -> Result<(), String> {
        self.git(&["checkout", "--quiet", "--", "."])?;
        self.git(&["clean", "--quiet", "--force", "-dx"])
    }
}
