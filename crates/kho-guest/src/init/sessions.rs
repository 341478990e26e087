//! Sessions and their files.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use kho_guest::{Fact, FileSpec, Found, SessionName, Wrong};
use liveupdate::{Device, Error, Session};

use crate::memfd;
use crate::port::Port;
use crate::system;

/// What this init holds.
#[derive(Default)]
pub(crate) struct Sessions {
    device: Option<Device>,
    incoming: BTreeMap<SessionName, Incoming>,
    // Kept open until the kexec: closed they are taken back. With the descriptors that were given.
    outgoing: Vec<Outgoing>,
}

struct Incoming {
    // Until it is finished.
    session: Option<Session>,
    files: Vec<(u64, OwnedFd)>,
}

struct Outgoing {
    _session: Session,
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

/// What was found, or why nothing was.
fn seen(found: io::Result<Found>) -> (Option<Found>, Option<Wrong>) {
    match found {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(system::wrong("look", &error))),
    }
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
            let made = memfd::make(spec);
            let (found, wrong) = match &made {
                Ok(file) => match session.preserve(file, spec.token) {
                    Ok(()) => seen(memfd::look(file)),
                    Err(error) => (None, Some(wrong(&error))),
                },
                Err(error) => (None, Some(system::wrong("memfd", error))),
            };
            port.say(Fact::Preserved {
                session: *name,
                token: spec.token,
                found,
                wrong,
            });
        }
        self.outgoing.push(Outgoing { _session: session });
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
            let (found, wrong) = match session.retrieve(*token) {
                Ok(file) => {
                    let seen = seen(memfd::look(&file));
                    files.push((*token, file));
                    seen
                }
                Err(error) => (None, Some(wrong(&error))),
            };
            port.say(Fact::Retrieved {
                session: *name,
                token: *token,
                found,
                wrong,
            });
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
        let wrong = match session.finish() {
            Ok(()) => None,
            Err(rejected) => {
                incoming.session = Some(rejected.given);
                Some(wrong(&rejected.error))
            }
        };
        port.say(Fact::Finished {
            session: *name,
            wrong,
        });
    }

    pub(crate) fn again(&mut self, from: &SessionName, into: &SessionName, port: &mut Port) {
        let Some(session) = self.make(into, port) else {
            return;
        };
        let files = self.incoming.remove(from).map(|incoming| incoming.files);
        for (token, file) in files.unwrap_or_default() {
            let (found, wrong) = match session.preserve(&file, token) {
                Ok(()) => seen(memfd::look(&file)),
                Err(error) => (None, Some(wrong(&error))),
            };
            port.say(Fact::Preserved {
                session: *into,
                token,
                found,
                wrong,
            });
        }
        self.outgoing.push(Outgoing { _session: session });
    }
}

/// The session `name`, and what is said of it.
fn said(name: &SessionName, session: Result<Session, Error>, port: &mut Port) -> Option<Session> {
    port.say(Fact::Session {
        session: *name,
        wrong: session.as_ref().err().map(wrong),
    });
    session.ok()
}
