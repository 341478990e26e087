//! Sessions and their file entries.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kho_block::BlockSet;
use kho_mem::{Damage, Defect, Link, Located, PhysAddr};
use kho_radix::Reading;

use crate::name::ascii;
use crate::token::Taken;
use crate::v5::{FileSer, SessionSer};
use crate::{FileToken, SessionName};

/// A session as it was handed over.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) name: SessionName,
    pub(crate) files: Vec<File>,
    pub(crate) blocks: usize,
    pub(crate) at: PhysAddr,
}

impl Session {
    /// Its name, unique in the handover.
    #[must_use]
    pub const fn name(&self) -> &SessionName {
        &self.name
    }

    /// Its files in order of preservation.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Blocks of its file set.
    #[must_use]
    pub const fn file_blocks(&self) -> usize {
        self.blocks
    }

    /// Where its entry lies.
    #[must_use]
    pub const fn at(&self) -> PhysAddr {
        self.at
    }

    /// The token of each file, by its place; 0 past the last.
    pub(crate) fn token(&self) -> impl Fn(usize) -> FileToken {
        |at| {
            self.files
                .get(at)
                .map_or(FileToken::default(), |file| file.token)
        }
    }
}

/// A file entry as it was handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File {
    /// The user's name for it, unique in the session.
    pub token: FileToken,
    /// Its handler's own: for memfds, the physical address of its state.
    pub data: u64,
    /// Where its entry lies.
    pub at: PhysAddr,
    // Index into the handlers of the body.
    pub(crate) handler: u32,
}

impl File {
    /// Its handler's index in [`Body::handlers`](crate::Body::handlers).
    #[must_use]
    pub const fn handler(&self) -> usize {
        self.handler as usize
    }

    /// Its data as a link to what errors call `name`.
    #[must_use]
    pub fn link(&self, name: &'static str) -> Link {
        Link {
            to: PhysAddr::new(self.data),
            at: data_at(self.at),
            name,
        }
    }
}

/// Where the data of the file entry at `at` stands.
pub(crate) fn data_at(at: PhysAddr) -> PhysAddr {
    Located::<FileSer>::zeroed(at).addr_of(|ser| &ser.data)
}

/// A file handler that the handover names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handler {
    /// Its compat string.
    pub compatible: String,
    /// How many files are its.
    pub files: u64,
    /// The first of them: where its entry lies, and what session it is of.
    pub first: (PhysAddr, SessionName),
}

/// The handlers by string, each once.
#[derive(Default)]
pub(crate) struct Handlers {
    pub(crate) list: Vec<Handler>,
    by_string: BTreeMap<String, u32>,
}

impl Handlers {
    fn add(&mut self, compatible: &str, at: PhysAddr, session: &SessionName) -> u32 {
        if let Some(index) = self.by_string.get(compatible) {
            if let Some(handler) = self.list.get_mut(*index as usize) {
                handler.files += 1;
            }
            return *index;
        }
        // One per distinct string, of which 10000 blocks hold less than a million.
        let index = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.by_string.insert(compatible.to_owned(), index);
        self.list.push(Handler {
            compatible: compatible.to_owned(),
            files: 1,
            first: (at, session.clone()),
        });
        index
    }
}

/// Reads all sessions of the set that `head` points to.
pub(crate) fn read(
    reading: &mut Reading<'_>,
    head: Link,
    handlers: &mut Handlers,
) -> Result<(usize, Vec<Session>), Damage> {
    let set = BlockSet::<SessionSer>::read(reading, head)?;
    let mut sessions: Vec<Session> = Vec::new();
    let mut names = BTreeSet::new();
    for (index, entry) in set.iter().enumerate() {
        let ser = entry?;
        let name = SessionName::read(&ser.name, ser.at())
            .map_err(|damage| damage.within(format!("session {index}")))?;
        if !names.insert(name.clone()) {
            return Err(Damage::new(Defect::Duplicate, "name", ser.at())
                .found(format!("`{name}`, as a session before it"))
                .expected("a name of its own")
                .within(format!("session {index}")));
        }
        let session = files(reading, &ser, name, handlers)?;
        sessions.push(session);
    }
    Ok((set.blocks(), sessions))
}

fn files(
    reading: &mut Reading<'_>,
    ser: &Located<SessionSer>,
    name: SessionName,
    handlers: &mut Handlers,
) -> Result<Session, Damage> {
    let mut session = Session {
        name,
        files: Vec::new(),
        blocks: 0,
        at: ser.at(),
    };
    fill(reading, ser, &mut session, handlers)
        .map_err(|damage| damage.within(format!("session `{}`", session.name)))?;
    Ok(session)
}

fn fill(
    reading: &mut Reading<'_>,
    ser: &Located<SessionSer>,
    session: &mut Session,
    handlers: &mut Handlers,
) -> Result<(), Damage> {
    let head = ser.link(|ser| &ser.file_set_ser.files, "file set");
    let set = BlockSet::<FileSer>::read(reading, head)?;
    let count = ser.file_set_ser.count.get();
    if count != set.len() {
        let at = ser.addr_of(|ser| &ser.file_set_ser.count);
        return Err(Damage::new(Defect::Mismatch, "count", at)
            .found(count)
            .expected(format!("{}, the files in its blocks", set.len())));
    }
    session.blocks = set.blocks();
    let mut tokens = Taken::default();
    for (index, entry) in set.iter().enumerate() {
        let file = entry?;
        let at = file.at();
        let within = |damage: Damage| damage.within(format!("file {index}"));
        let token = FileToken::from(file.token.get());
        let compatible = ascii(&file.compatible, "compatible", at).map_err(within)?;
        if tokens.has(token, session.files.iter().map(|file| file.token)) {
            let at = file.addr_of(|file| &file.token);
            return Err(within(
                Damage::new(Defect::Duplicate, "token", at)
                    .found(format!("{token:#x}, as a file before it"))
                    .expected("a token of its own"),
            ));
        }
        tokens.take(token);
        let handler = handlers.add(compatible, at, &session.name);
        session.files.push(File {
            token,
            data: file.data.get(),
            at,
            handler,
        });
    }
    Ok(())
}
