//! What must fail, and what must not: the client against a real kernel.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use kho_guest::{Fact, FileSpec, SessionName};
use liveupdate::{Device, Direction, Error, NameError, Session};
use rustix::fs::{Mode, OFlags, open};

use crate::memfd;
use crate::port::Port;
use crate::sessions::Sessions;

/// Reports what came of each thing tried.
struct Checks<'p> {
    port: &'p mut Port,
}

impl Checks<'_> {
    fn check(&mut self, check: &str, failed: Option<String>) {
        let check = check.to_owned();
        self.port.say(Fact::Check { check, failed });
    }

    /// It must work. Gives what comes of it.
    fn works<T>(&mut self, check: &str, result: Result<T, impl ToString>) -> Option<T> {
        let failed = result.as_ref().err().map(ToString::to_string);
        self.check(check, failed);
        result.ok()
    }

    /// It must fail in the way that `expected` knows.
    fn fails<T, E>(&mut self, check: &str, result: Result<T, E>, expected: fn(&Error) -> bool)
    where
        E: Into<Error>,
    {
        let failed = match result.map_err(Into::into) {
            Ok(_) => Some("it works".to_owned()),
            Err(error) if expected(&error) => None,
            Err(error) => Some(format!("{error:?}: {error}")),
        };
        self.check(check, failed);
    }
}

const NAME: &str = "checks";

/// The device, and sessions that go to the next kernel. What is made here is taken back.
pub(crate) fn outgoing(sessions: &mut Sessions, port: &mut Port) {
    sessions.close_device();
    let mut checks = Checks { port };
    let Some(device) = checks.works("the device opens", Device::open()) else {
        return;
    };
    the_device(&mut checks, &device);
    if let Some(session) = checks.works("a session is made", device.create_session(NAME)) {
        names(&mut checks, &device, &session);
        preserving(&mut checks, &device, &session);
        directions(&mut checks, &session);
        drop(session);
        taken_back(&mut checks, &device);
    }
    drop(device);
    checks.works("a closed device opens again", Device::open().map(drop));
}

fn the_device(checks: &mut Checks<'_>, device: &Device) {
    checks.fails("a second opener finds it busy", Device::open(), |error| {
        matches!(error, Error::Busy { .. })
    });
    checks.fails(
        "no device, no support",
        Device::open_at("/dev/none"),
        |error| matches!(error, Error::NotSupported { .. }),
    );
    checks.fails(
        "another device is refused",
        Device::open_at("/dev/null"),
        |error| matches!(error, Error::WrongFile { .. }),
    );
    let session = device.retrieve_session("nobody's");
    checks.fails("a session that nobody handed over", session, |error| {
        matches!(error, Error::NoSuchSession { .. })
    });
}

fn names(checks: &mut Checks<'_>, device: &Device, session: &Session) {
    checks.fails(
        "a session's name is its own",
        device.create_session(NAME),
        |error| matches!(error, Error::SessionExists { .. }),
    );
    checks.fails("a name of no bytes", device.create_session(""), |error| {
        matches!(error, Error::Name(NameError::Empty))
    });
    let long = device.create_session("x".repeat(64));
    checks.fails("a name of 64 bytes", long, |error| {
        matches!(error, Error::Name(NameError::TooLong { .. }))
    });
    checks.works(
        "a name of 63 bytes",
        device.create_session("x".repeat(63)).map(drop),
    );
    checks.works(
        "a name that is no text",
        device.create_session(b"\xff\n ").map(drop),
    );
    let asked = session.ask_name();
    let wrong = match asked {
        Ok(name) if name == *session.name() => None,
        Ok(name) => Some(format!("`{name}`")),
        Err(error) => Some(error.to_string()),
    };
    checks.check("the kernel knows a session's name", wrong);
}

fn memfd(token: u64) -> Result<File, String> {
    let made = memfd::make(&FileSpec::new(token, 5000, token));
    made.map_err(|error| error.to_string())
}

fn preserving(checks: &mut Checks<'_>, device: &Device, session: &Session) {
    let (Ok(one), Ok(two)) = (memfd(1), memfd(2)) else {
        checks.check("memfds are made", Some("they are not".to_owned()));
        return;
    };
    checks.works("a memfd is preserved", session.preserve(&one, 1));
    checks.fails(
        "a token is a file's own",
        session.preserve(&two, 1),
        |error| matches!(error, Error::TokenExists { .. }),
    );
    checks.fails(
        "a file is preserved once",
        session.preserve(&one, 2),
        |error| matches!(error, Error::FdBusy { .. }),
    );
    if let Some(other) = checks.works("another session", device.create_session("other")) {
        checks.fails(
            "a file is preserved once over all sessions",
            other.preserve(&one, 1),
            |error| matches!(error, Error::FdBusy { .. }),
        );
        checks.works("a token is a session's own", other.preserve(&two, 1));
    }
    checks.works(
        "a closed session's file is free again",
        session.preserve(&two, u64::MAX),
    );
    for path in ["/dev/null", "/proc/version", "/init", "/dev/console"] {
        let file = open(
            path,
            OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let result = match file {
            Ok(file) => session.preserve(&file, 100),
            Err(error) => {
                checks.check(path, Some(error.to_string()));
                continue;
            }
        };
        checks.fails(&format!("{path} is not preserved"), result, |error| {
            matches!(error, Error::NoHandler { .. })
        });
    }
    checks.fails(
        "a session is not preserved",
        session.preserve(session, 100),
        |error| matches!(error, Error::NoHandler { .. }),
    );
}

fn directions(checks: &mut Checks<'_>, session: &Session) {
    let direction = session.direction();
    let wrong = (direction != Direction::Outgoing).then(|| format!("{direction:?}"));
    checks.check("a session that is made is outgoing", wrong);
    checks.fails(
        "an outgoing session gives no file",
        session.retrieve(1),
        |error| matches!(error, Error::WrongDirection { .. }),
    );
    let Some(copy) = checks.works("a session is known by its descriptor", copy(session)) else {
        return;
    };
    let finished = copy.finish();
    checks.fails("an outgoing session is not finished", finished, |error| {
        matches!(error, Error::WrongDirection { .. })
    });
    let Ok(file) = memfd(3) else {
        return;
    };
    checks.fails(
        "a memfd is no session",
        Session::from_fd(file.into()),
        |error| matches!(error, Error::UnknownCall { .. }),
    );
}

/// The session, by another descriptor.
fn copy(session: &Session) -> Result<Session, String> {
    let fd = session.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| error.to_string())?;
    Session::from_fd(fd).map_err(|rejected| rejected.to_string())
}

fn taken_back(checks: &mut Checks<'_>, device: &Device) {
    let again = device.create_session(NAME);
    if let Some(session) = checks.works("a closed session's name is free again", again) {
        let Ok(file) = memfd(1) else {
            return;
        };
        checks.works("and so are its tokens", session.preserve(&file, 1));
    }
}

/// A session of the kernel before that was retrieved, and a file in it. It is left as it was.
pub(crate) fn incoming(sessions: &mut Sessions, name: &SessionName, token: u64, port: &mut Port) {
    // The device stays open for the steps that come.
    let again = sessions
        .device(port)
        .map(|device| device.retrieve_session(*name));
    let mut checks = Checks { port };
    if let Some(again) = again {
        checks.fails("a session is retrieved once", again, |error| {
            matches!(error, Error::AlreadyRetrieved { .. })
        });
    }
    let Some(session) = sessions.incoming(name) else {
        checks.check("a session was retrieved", Some(format!("`{name}` was not")));
        return;
    };
    let direction = session.direction();
    let wrong = (direction != Direction::Incoming).then(|| format!("{direction:?}"));
    checks.check("a session that is retrieved is incoming", wrong);
    checks.fails(
        "a token that nothing was preserved under",
        session.retrieve(token ^ 0x5eed),
        |error| matches!(error, Error::NoSuchToken { .. }),
    );
    let one_file = same(session, token);
    let wrong = match one_file {
        Ok(true) => None,
        Ok(false) => Some("two files".to_owned()),
        Err(error) => Some(error),
    };
    checks.check("a file that is retrieved twice is one file", wrong);
    if let Ok(file) = memfd(4) {
        let preserved = session.preserve(&file, 4);
        checks.fails(
            "an incoming session preserves nothing",
            preserved,
            |error| matches!(error, Error::WrongDirection { .. }),
        );
    }
    let asked = session.ask_name();
    let wrong = match asked {
        Ok(found) if found.as_bytes() == name.as_bytes() => None,
        Ok(found) => Some(format!("`{found}`")),
        Err(error) => Some(error.to_string()),
    };
    checks.check("the kernel knows an incoming session's name", wrong);
}

/// Whether the file is the same one each time.
fn same(session: &Session, token: u64) -> Result<bool, String> {
    let inode = || -> Result<(u64, u64), String> {
        let file = session.retrieve(token).map_err(|error| error.to_string())?;
        let meta = File::from(file).metadata();
        let meta = meta.map_err(|error: io::Error| error.to_string())?;
        Ok((meta.dev(), meta.ino()))
    };
    Ok(inode()? == inode()?)
}
