//! Keeps a file's contents over a kernel update.
//!
//!     keep hold NAME FILE     before the kexec; stays until it comes
//!     keep fetch NAME         after it; writes to standard output

use std::error::Error;
use std::fs::File;
use std::io;
use std::process::ExitCode;

use liveupdate::Device;
use rustix::fs::{MemfdFlags, memfd_create};

/// Under which the one file is preserved.
const TOKEN: u64 = 0;

fn hold(name: &str, path: &str) -> Result<(), Box<dyn Error>> {
    let mut memfd = File::from(memfd_create("keep", MemfdFlags::CLOEXEC)?);
    let bytes = io::copy(&mut File::open(path)?, &mut memfd)?;
    let session = Device::open()?.create_session(name)?;
    session.preserve(&memfd, TOKEN)?;
    eprintln!("session `{name}` holds {bytes} bytes until the kexec; Ctrl-C lets go of them");
    loop {
        std::thread::park();
    }
}

fn fetch(name: &str) -> Result<(), Box<dyn Error>> {
    let session = Device::open()?.retrieve_session(name)?;
    let mut memfd = File::from(session.retrieve(TOKEN)?);
    // It comes with the position that it had: at its end.
    io::Seek::rewind(&mut memfd)?;
    io::copy(&mut memfd, &mut io::stdout())?;
    Ok(session.finish()?)
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["hold", name, path] => hold(name, path),
        ["fetch", name] => fetch(name),
        _ => Err("usage: keep hold NAME FILE | keep fetch NAME".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keep: {error}");
            ExitCode::FAILURE
        }
    }
}
