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

    /// What was asked must be what is `expected`; else it is `shown`.
    fn is<T>(
        &mut self,
        check: &str,
        asked: Result<T, impl ToString>,
        expected: impl Fn(&T) -> bool,
        shown: impl Fn(&T) -> String,
    ) {
        let wrong = match asked {
            Ok(asked) => (!expected(&asked)).then(|| shown(&asked)),
            Err(error) => Some(error.to_string()),
        };
        self.check(check, wrong);
    }

    /// A session must be of this direction.
    fn direction(&mut self, check: &str, session: &Session, expected: Direction) {
        let direction = session.direction();
        let wrong = (direction != expected).then(|| format!("{direction:?}"));
        self.check(check, wrong);
    }

    /// It must fail in the way that `expected` knows.
    fn fails<T>(
        &mut self,
        check: &str,
        result: Result<T, impl Into<Error>>,
        expected: fn(&Error) -> bool,
    ) {
        let failed = match result.map_err(Into::into) {
            Ok(_) => Some("it works".to_owned()),
            Err(error) if expected(&error) => None,
            Err(error) => Some(format!("{error:?}: {error}")),
        };
        self.check(check, failed);
    }
}

/// What must fail, each with which of the client's errors.
macro_rules! fails {
    ($checks:ident; $($check:expr, $result:expr => $error:ident $(($name:ident))?;)*) => { $(
        $checks.fails($check, $result, |error| matches!(error, fails!(@ $error $($name)?)));
    )* };
    (@ Name $error:ident) => { Error::Name(NameError::$error { .. }) };
    (@ $error:ident) => { Error::$error { .. } };
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
    fails! { checks;
        "a second opener finds it busy", Device::open() => Busy;
        "no device, no support", Device::open_at("/dev/none") => NotSupported;
        "another device is refused", Device::open_at("/dev/null") => WrongFile;
        "a session that nobody handed over", device.retrieve_session("nobody's") => NoSuchSession;
    }
}

fn names(checks: &mut Checks<'_>, device: &Device, session: &Session) {
    fails! { checks;
        "a session's name is its own", device.create_session(NAME) => SessionExists;
        "a name of no bytes", device.create_session("") => Name(Empty);
        "a name of 64 bytes", device.create_session("x".repeat(64)) => Name(TooLong);
    }
    let made = device.create_session("x".repeat(63)).map(drop);
    checks.works("a name of 63 bytes", made);
    let made = device.create_session(b"\xff\n ").map(drop);
    checks.works("a name that is no text", made);
    let known = "the kernel knows a session's name";
    let is_its = |name: &_| name == session.name();
    checks.is(known, session.ask_name(), is_its, |name| {
        format!("`{name}`")
    });
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
    fails! { checks;
        "a token is a file's own", session.preserve(&two, 1) => TokenExists;
        "a file is preserved once", session.preserve(&one, 2) => FdBusy;
    }
    if let Some(other) = checks.works("another session", device.create_session("other")) {
        fails! { checks;
            "a file is preserved once over all sessions", other.preserve(&one, 1) => FdBusy;
        }
        checks.works("a token is a session's own", other.preserve(&two, 1));
    }
    let free = "a closed session's file is free again";
    checks.works(free, session.preserve(&two, u64::MAX));
    for path in ["/dev/null", "/proc/version", "/init", "/dev/console"] {
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
        match open(path, flags, Mode::empty()) {
            Ok(file) => {
                fails! { checks;
                    &format!("{path} is not preserved"), session.preserve(&file, 100) => NoHandler;
                }
            }
            Err(error) => checks.check(path, Some(error.to_string())),
        }
    }
    fails! { checks;
        "a session is not preserved", session.preserve(session, 100) => NoHandler;
    }
}

fn directions(checks: &mut Checks<'_>, session: &Session) {
    let made = "a session that is made is outgoing";
    checks.direction(made, session, Direction::Outgoing);
    fails! { checks;
        "an outgoing session gives no file", session.retrieve(1) => WrongDirection;
    }
    let Some(copy) = checks.works("a session is known by its descriptor", copy(session)) else {
        return;
    };
    fails! { checks;
        "an outgoing session is not finished", copy.finish() => WrongDirection;
    }
    let Ok(file) = memfd(3) else {
        return;
    };
    fails! { checks;
        "a memfd is no session", Session::from_fd(file.into()) => UnknownCall;
    }
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
    let again = sessions.device(port);
    let again = again.map(|device| device.retrieve_session(*name));
    let mut checks = Checks { port };
    if let Some(again) = again {
        fails! { checks;
            "a session is retrieved once", again => AlreadyRetrieved;
        }
    }
    let Some(session) = sessions.incoming(name) else {
        checks.check("a session was retrieved", Some(format!("`{name}` was not")));
        return;
    };
    let retrieved = "a session that is retrieved is incoming";
    checks.direction(retrieved, session, Direction::Incoming);
    fails! { checks;
        "a token that nothing was preserved under", session.retrieve(token ^ 0x5eed) => NoSuchToken;
    }
    let one = "a file that is retrieved twice is one file";
    checks.is(
        one,
        same(session, token),
        |same| *same,
        |_| "two files".to_owned(),
    );
    if let Ok(file) = memfd(4) {
        fails! { checks;
            "an incoming session preserves nothing", session.preserve(&file, 4) => WrongDirection;
        }
    }
    let known = "the kernel knows an incoming session's name";
    let is_its = |found: &SessionName| found == name;
    checks.is(known, session.ask_name(), is_its, |found| {
        format!("`{found}`")
    });
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
