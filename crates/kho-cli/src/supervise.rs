//! `kho run`: a supervisor for programs that hand over.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use kho_exec::{Event, POLICY_ENV};

use crate::args::RunArgs;
use crate::error::Failure;

pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::Usage("no program to run".to_owned()));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(policy) = args.policy {
        command.env(POLICY_ENV, policy.0.name());
    }
    let quiet = args.quiet;
    let mut lost = false;
    let status = kho_exec::supervise_within(command, args.takeover_timeout, |event| {
        lost |= event == Event::GivenUp;
        if !quiet {
            say(&event);
        }
    });
    let status = status.map_err(|error| {
        // As a shell has it.
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => 127,
            std::io::ErrorKind::PermissionDenied => 126,
            _ => 125,
        };
        Failure::NotRun(program.display().to_string(), error, code)
    })?;
    match (status.code(), status.signal()) {
        (Some(0), _) if lost => Err(Failure::Ended(1)),
        (Some(0), _) => Ok(()),
        // As a shell has it.
        (Some(code), _) => Err(Failure::Ended(u8::try_from(code).unwrap_or(1))),
        (None, signal) => Err(Failure::Ended(
            128u8.saturating_add(u8::try_from(signal.unwrap_or(0)).unwrap_or(0)),
        )),
    }
}

/// What happens, on standard error. A log that nobody takes must not end the supervisor.
fn say(event: &Event) {
    let text = match event {
        Event::Started(process) => format!("process {process} started"),
        Event::Sealed => "a handover is sealed, and held here".to_owned(),
        Event::CalledOff => "the handover was called off; the program goes on".to_owned(),
        Event::Finished => "the next program has taken over: the handover is finished".to_owned(),
        Event::HandedBack { reason } => {
            format!("refused and handed back, the previous program goes on: {reason}")
        }
        Event::WentOn => "the program that was brought back goes on".to_owned(),
        Event::BroughtBack { program, reason } => format!("{reason}; {program} is brought back"),
        Event::NotStarted(error) => format!("it could not be started again: {error}"),
        Event::Refused(error) => format!("the program sent what can not be held: {error}"),
        Event::GivenUp => "given up: what was handed over is lost".to_owned(),
        _ => return,
    };
    let _ = writeln!(std::io::stderr(), "kho run: {text}");
}
