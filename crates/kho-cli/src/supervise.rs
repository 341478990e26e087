//! `kho run`: a supervisor for programs that hand over.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use kho_exec::Event;

use crate::args::RunArgs;
use crate::error::Failure;

pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::Usage("no program to run".to_owned()));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let quiet = args.quiet;
    let status = kho_exec::supervise(command, |event| {
        if !quiet {
            say(&event);
        }
    });
    let status = status.map_err(|error| Failure::Write {
        path: program.into(),
        error,
    })?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        // As a shell has it.
        (Some(code), _) => Err(Failure::Ended(u8::try_from(code).unwrap_or(1))),
        (None, signal) => Err(Failure::Ended(
            128u8.saturating_add(u8::try_from(signal.unwrap_or(0)).unwrap_or(0)),
        )),
    }
}

fn say(event: &Event) {
    match event {
        Event::Started(process) => eprintln!("kho run: process {process} started"),
        Event::Sealed => eprintln!("kho run: a handover is sealed, and held here"),
        Event::CalledOff => eprintln!("kho run: the handover was called off; the program goes on"),
        Event::Finished => eprintln!("kho run: the handover is finished"),
        Event::BroughtBack { program, reason } => {
            eprintln!("kho run: {reason}; {program} is brought back");
        }
        Event::GivenUp => eprintln!("kho run: brought back too often, given up"),
        _ => {}
    }
}
