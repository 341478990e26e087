//! The init of a guest: it follows the plan that the kernel's command line names, reports what it
//! finds, and powers the machine off.

mod archive;
mod checks;
mod kexec;
mod memfd;
mod port;
mod sessions;
mod system;

use std::process::ExitCode;

use kho_guest::{Fact, Plan, Step};

use port::Port;
use sessions::Sessions;
use system::Parameters;

/// Why the plan ends before its end: at what, and what did not work.
type Fatal = (String, kho_guest::Wrong);

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("kho-guest: this is the init of a guest: cargo xtask vm --help");
        return ExitCode::from(2);
    }
    if let Err((what, wrong)) = run() {
        // The port may be what did not work: the console has it in any case.
        println!("kho-guest: {what}: {wrong}");
    }
    system::power_off()
}

fn run() -> Result<(), Fatal> {
    system::mount_all()?;
    let parameters = Parameters::read()?;
    let mut port = Port::open(&parameters.port)?;
    let done = follow(&parameters, &mut port);
    if let Err((what, wrong)) = &done {
        port.say(Fact::Failed {
            what: what.clone(),
            wrong: wrong.clone(),
        });
    }
    port.drain();
    done
}

fn follow(parameters: &Parameters, port: &mut Port) -> Result<(), Fatal> {
    port.say(Fact::Boot {
        release: system::release(),
        command_line: parameters.command_line.clone(),
        plan: parameters.plan,
    });
    let plan: Plan = system::plan(parameters.plan)?;
    system::allow_many_files()?;
    let mut sessions = Sessions::default();
    for step in &plan.steps {
        self::step(step, &mut sessions, port)?;
    }
    port.say(Fact::Done);
    Ok(())
}

fn step(step: &Step, sessions: &mut Sessions, port: &mut Port) -> Result<(), Fatal> {
    match step {
        Step::Write { path, text } => system::write(path, text, port),
        Step::Create { session, files } => sessions.create(session, files, port),
        Step::Retrieve { session, tokens } => sessions.retrieve(session, tokens, port),
        Step::Finish { session } => sessions.finish(session, port),
        Step::Again { from, into } => sessions.again(from, into, port),
        Step::Checks => checks::outgoing(sessions, port),
        Step::ChecksIncoming { session, token } => {
            checks::incoming(sessions, session, *token, port);
        }
        Step::Debugfs => system::debugfs(port),
        Step::Journal => system::journal(port),
        Step::Kexec {
            command_line,
            initramfs,
            wait,
        } => return kexec::run(command_line, *initramfs, *wait, port),
    }
    Ok(())
}
