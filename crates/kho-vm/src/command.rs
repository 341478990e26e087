//! Programs that take their time.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{Failure, of_file};
use crate::wait::Spinner;

/// How often a program is asked whether it has ended.
const OFTEN: Duration = Duration::from_millis(20);

/// Runs a command, whose output goes to `log`, and shows that it goes on.
pub(crate) fn run(mut command: Command, what: &str, log: &Path) -> Result<(), Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = File::create(log).map_err(of_file(log))?;
    let errors = output.try_clone().map_err(of_file(log))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn();
    let mut child =
        child.map_err(|error| Failure::CanNot(format!("{name} does not start: {error}")))?;
    let mut spinner = Spinner::new(what);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Err(Failure::of(name, error)),
        }
        if let Some(line) = last_line(log) {
            spinner.say(format!("{what}: {line}"));
        }
        if let Err(failure) = spinner.tick() {
            // What it has started ends with it: they write to the same terminal's group.
            drop(child.kill());
            drop(child.wait());
            return Err(failure);
        }
        std::thread::sleep(OFTEN);
    };
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(15);
    let last = lines.get(from..).unwrap_or_default().join("\n  ");
    Err(Failure::Failed(format!(
        "{what}: {name}: {status}\n  {last}"
    )))
}

/// The last whole line of a file, as far as it fits a terminal.
fn last_line(path: &Path) -> Option<String> {
    const PART: u64 = 400;
    let mut file = File::open(path).ok()?;
    let len = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(len.saturating_sub(PART))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().chars().take(60).collect())
}
