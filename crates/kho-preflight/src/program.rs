//! A program built on these crates: it is asked.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use kho_compat::file::{ASK_ENV, ManifestFile};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::words::printable;
use crate::{Error, Progress, Step};

/// An answer is shorter.
const ANSWER_MAX: usize = 1 << 20;
/// What is kept of what it says on standard error.
const COMPLAINT_MAX: usize = 4096;
/// It answers before it does anything else.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether it ended.
const TICK: Duration = Duration::from_millis(20);

fn failure(what: &'static str, found: impl Into<String>) -> Error {
    let found = found.into();
    Error::Answer { what, found }
}

/// Asks the program at `path` for its manifest, by running it with `KHO_MANIFEST=1`. Whether it answers
/// is not looked at first: a program that does not answer does its work instead.
///
/// # Errors
///
/// It can not be run, does not answer in time or with a manifest; `progress` said stop.
pub fn ask(path: &Path, progress: &mut Progress<'_>) -> Result<ManifestFile, Error> {
    let not_run = |error: io::Error| failure("the program could not be started", error.to_string());
    // A bare name would be looked for elsewhere.
    let path = std::path::absolute(path).map_err(not_run)?;
    let mut child = Command::new(&path)
        .env(ASK_ENV, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(not_run)?;
    let answer = drain(child.stdout.take(), ANSWER_MAX);
    let complaint = drain(child.stderr.take(), COMPLAINT_MAX);
    let answer = listen(&mut child, &answer, progress);
    // All of its descendants that stayed in its group, too. It was not waited for yet, so the group is
    // still its own.
    kill(&child);
    let status = child.wait().map_err(not_run)?;
    let answer = answer?;
    if !status.success() {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("it ended with exit code {code}"),
            (None, signal) => format!("signal {} ended it", signal.unwrap_or(0)),
        };
        let said = complaint.recv_timeout(TICK).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let line = said.lines().find(|line| !line.trim().is_empty());
        let line = line.map_or_else(String::new, |line| format!(": {}", printable(line)));
        return Err(failure(
            "the program gave no answer",
            format!("{how}{line}"),
        ));
    }
    let Ok(text) = String::from_utf8(answer) else {
        return Err(failure(
            "the program's answer is no manifest",
            "bytes that are no text",
        ));
    };
    ManifestFile::parse(&text).map_err(|error| {
        failure(
            "the program's answer is no manifest",
            printable(&error.to_string()),
        )
    })
}

/// Reads `pipe` to its end in a thread of its own and sends its first bytes: one more than `max` where
/// there are more.
fn drain(pipe: Option<impl Read + Send + 'static>, max: usize) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut kept = Vec::new();
        let limit = max as u64 + 1;
        // What was read before an error is as good as all of it.
        let _ = pipe.by_ref().take(limit).read_to_end(&mut kept);
        // Nobody listens where the program was given up.
        let _ = sender.send(kept);
        let _ = io::copy(&mut pipe, &mut io::sink());
    });
    receiver
}

/// What the program says until it ends.
fn listen(
    child: &mut Child,
    answer: &Receiver<Vec<u8>>,
    progress: &mut Progress<'_>,
) -> Result<Vec<u8>, Error> {
    let deadline = Instant::now() + PATIENCE;
    let too_long = || {
        let seconds = PATIENCE.as_secs();
        failure(
            "the program gave no answer",
            format!("it was still running after {seconds} seconds, and was killed"),
        )
    };
    let mut said = None;
    loop {
        if !progress(Step::Program, 0, None) {
            return Err(Error::Interrupted);
        }
        if said.is_none() {
            match answer.recv_timeout(TICK) {
                Ok(text) if text.len() > ANSWER_MAX => {
                    let found = format!("more than {ANSWER_MAX} bytes");
                    return Err(failure("the program's answer is no manifest", found));
                }
                Ok(text) => said = Some(text),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => said = Some(Vec::new()),
            }
        }
        match (has_ended(child), said.is_some()) {
            (true, true) => return Ok(said.unwrap_or_default()),
            // A child of its own holds the pipe.
            (true, false) => kill(child),
            (false, true) => std::thread::sleep(TICK),
            (false, false) => {}
        }
        if Instant::now() > deadline {
            return Err(too_long());
        }
    }
}

/// Whether it ended. It is not waited for, so that its number stays its own.
fn has_ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(
        waitid(WaitId::Pid(Pid::from_child(child)), options),
        Ok(Some(_))
    )
}

fn kill(child: &Child) {
    if let Err(error) = kill_process_group(Pid::from_child(child), Signal::KILL) {
        tracing::debug!(%error, "the program's process group is gone");
    }
}
