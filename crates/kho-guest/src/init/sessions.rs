//! Sessions and their files.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use kho_guest::{Fact, FileSpec, Found, Seen, SessionName, Tried, Wrong};
use liveupdate::{Device, Error, Session};

use crate::memfd;
use crate::port::Port;
use crate::system;

/// What this init holds.
#[derive(Default)]
pub(crate) struct Sessions {
    device: Option<Device>,
    incoming: BTreeMap<SessionName, Incoming>,
    // Kept open until the kexec: closed they are taken back.
    outgoing: Vec<Session>,
}

struct Incoming {
    // Until it is finished.
    session: Option<Session>,
    files: Vec<(u64, OwnedFd)>,
}

/// What did not work, from the client's error.
pub(crate) fn wrong(error: &Error) -> Wrong {
    let shown = format!("{error:?}");
    let kind = shown.split([' ', '(', '{']).next().unwrap_or_default();
    let source = std::error::Error::source(error);
    let errno = source.and_then(|source| source.downcast_ref::<rustix::io::Errno>());
    Wrong {
        kind: kind.to_owned(),
        errno: errno.map(|errno| errno.raw_os_error()),
        text: error.to_string(),
    }
}

/// What is said of a file of `session`.
fn seen(session: &SessionName, token: u64, looked: Result<Found, Wrong>) -> Seen {
    let wrong = looked.as_ref().err().cloned();
    Seen {
        session: *session,
        token,
        found: looked.ok(),
        wrong,
    }
}

/// What is behind a descriptor.
fn look(file: impl AsFd) -> Result<Found, Wrong> {
    memfd::look(file).map_err(|error| system::wrong("look", &error))
}

/// Preserves a file, and looks at it.
fn preserve(session: &Session, file: impl AsFd, token: u64) -> Result<Found, Wrong> {
    let preserved = session.preserve(&file, token);
    preserved.map_err(|error| wrong(&error))?;
    look(file)
}

impl Sessions {
    /// The device, opened when it is first asked for; `None` where it does not open, which was said.
    pub(crate) fn device(&mut self, port: &mut Port) -> Option<&Device> {
        if self.device.is_none() {
            let opened = Device::open();
            port.say(Fact::Opened {
                wrong: opened.as_ref().err().map(wrong),
            });
            self.device = opened.ok();
        }
        self.device.as_ref()
    }

    /// Lets go of the device.
    pub(crate) fn close_device(&mut self) {
        self.device = None;
    }

    /// The session `name` that was retrieved.
    pub(crate) fn incoming(&self, name: &SessionName) -> Option<&Session> {
        self.incoming.get(name)?.session.as_ref()
    }

    pub(crate) fn create(&mut self, name: &SessionName, files: &[FileSpec], port: &mut Port) {
        let Some(session) = self.make(name, port) else {
            return;
        };
        for spec in files {
            let made = memfd::make(spec).map_err(|error| system::wrong("memfd", &error));
            let looked = made.and_then(|file| preserve(&session, file, spec.token));
            port.say(Fact::Preserved(seen(name, spec.token, looked)));
        }
        self.outgoing.push(session);
    }

    fn make(&mut self, name: &SessionName, port: &mut Port) -> Option<Session> {
        let device = self.device(port)?;
        let made = device.create_session(name);
        said(name, made, port)
    }

    pub(crate) fn retrieve(&mut self, name: &SessionName, tokens: &[u64], port: &mut Port) {
        let Some(device) = self.device(port) else {
            return;
        };
        let retrieved = device.retrieve_session(name);
        let Some(session) = said(name, retrieved, port) else {
            return;
        };
        let mut files = Vec::with_capacity(tokens.len());
        for token in tokens {
            let file = session.retrieve(*token).map_err(|error| wrong(&error));
            let looked = file.and_then(|file| {
                let looked = look(&file);
                files.push((*token, file));
                looked
            });
            port.say(Fact::Retrieved(seen(name, *token, looked)));
        }
        let session = Some(session);
        let incoming = Incoming { session, files };
        self.incoming.insert(*name, incoming);
    }

    pub(crate) fn finish(&mut self, name: &SessionName, port: &mut Port) {
        let Some(incoming) = self.incoming.get_mut(name) else {
            return;
        };
        let Some(session) = incoming.session.take() else {
            return;
        };
        let rejected = session.finish().err();
        let wrong = rejected.as_ref().map(|rejected| wrong(&rejected.error));
        incoming.session = rejected.map(|rejected| rejected.given);
        let session = *name;
        port.say(Fact::Finished(Tried { session, wrong }));
    }

    pub(crate) fn again(&mut self, from: &SessionName, into: &SessionName, port: &mut Port) {
        let Some(session) = self.make(into, port) else {
            return;
        };
        let files = self.incoming.remove(from).map(|incoming| incoming.files);
        for (token, file) in files.unwrap_or_default() {
            let looked = preserve(&session, file, token);
            port.say(Fact::Preserved(seen(into, token, looked)));
        }
        self.outgoing.push(session);
    }
}

/// The session `name`, and what is said of it.
fn said(name: &SessionName, session: Result<Session, Error>, port: &mut Port) -> Option<Session> {
    port.say(Fact::Session(Tried {
        session: *name,
        wrong: session.as_ref().err().map(wrong),
    }));
    session.ok()
}
