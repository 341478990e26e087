//! What the reader says of descriptors for given inputs: what it takes, and what it refuses.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock};

use kho_abi_check::{Failure, Text};
use kho_compat::{Ability, Component, Registry, Side};
use kho_core::{Attached, Entry, Kho, KhoConfig, OpenOptions, PreservedFolio};
use kho_fd::{COMPONENT, NAME};
use kho_fd::{FdFile, FdHandler, FdTable};
use kho_luo::{
    FileHandler, FileOwners, HandlerError, Handlers, Incoming, IncomingError, Luo, Orchestrator,
    Retrieve, Session,
};
use kho_mem::{Arena, Damage};
use rustix::fs::fstat;

use crate::dump::{Dump, arena};
use crate::edits::{Refusal, kind};
use crate::opened::Opened;
use crate::peers::{BLOCK, KHO, LUO};

static FD: Component = COMPONENT;
/// The version that is written.
static WRITTEN: LazyLock<[u32; 1]> = LazyLock::new(|| [COMPONENT.major()]);

/// A state that was written, or is said to be somewhere else.
struct State {
    bytes: Vec<u8>,
    // How far behind its page the entry says that it is; `None` for none at all.
    offset: Option<u64>,
    size: usize,
}

/// Writes states as they are.
struct States;

impl FileHandler for States {
    type File = State;
    type Preserved = PreservedFolio;

    fn component(&self) -> &'static str {
        NAME
    }

    fn writes(&self) -> &[u32] {
        &*WRITTEN
    }

    fn preserve(&self, kho: &Kho, file: &Arc<State>) -> Result<PreservedFolio, HandlerError> {
        let folio = kho.preserver().alloc_preserve(file.size);
        let mut folio = folio.map_err(HandlerError::new)?;
        let bytes = folio.iter_mut().zip(&file.bytes);
        bytes.for_each(|(to, byte)| *to = *byte);
        Ok(folio)
    }

    fn unpreserve(&self, _: &Arc<State>, preserved: PreservedFolio) {
        drop(preserved);
    }

    fn freeze(&self, file: &Arc<State>, at: &mut PreservedFolio) -> Result<u64, HandlerError> {
        Ok(file
            .offset
            .map_or(0, |offset| at.addr().get().wrapping_add(offset)))
    }

    fn unfreeze(&self, _: &Arc<State>, _: &mut PreservedFolio) {}

    fn hand_over(&self, _: &Arc<State>, preserved: PreservedFolio) {
        preserved.hand_over();
    }

    fn retrieve(&self, _: &mut Retrieve<'_>, _: u64) -> Result<Arc<State>, HandlerError> {
        Err(HandlerError::new("never retrieved"))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<State>>) {}
}

fn refusal(error: &IncomingError) -> Refusal {
    let IncomingError::Retrieve { error, .. } = error else {
        return Refusal::new(kind(error));
    };
    match error.get().downcast_ref::<Damage>() {
        Some(damage) => damage.clone().into(),
        None => Refusal::new("not damage"),
    }
}

/// The states of a socket and of another, each with an edit, and what is retrieved of them.
pub(crate) fn states() -> Result<Text, Failure> {
    let (socket, other) = UnixStream::pair()?;
    let (socket, other) = (
        Arc::new(OwnedFd::from(socket)),
        Arc::new(OwnedFd::from(other)),
    );
    let inode = |fd: &OwnedFd| fstat(fd.as_fd()).map(|stat| (stat.st_dev, stat.st_ino));
    let (dev, ino) = inode(&socket)?;
    let of = |number: u32, kind: u32, dev: u64, ino: u64| {
        let (number, kind) = (number.to_le_bytes(), kind.to_le_bytes());
        let (dev, ino) = (dev.to_le_bytes(), ino.to_le_bytes());
        State {
            bytes: [&number[..], &kind, &dev, &ino].concat(),
            offset: Some(0),
            size: 24,
        }
    };
    // The type of a socket, S_IFSOCK.
    let sock = 0o140_000;
    let right = || of(7, sock, dev, ino);
    let (_, others) = inode(&other)?;
    #[rustfmt::skip]
    let states = [
        ("as written", right()),
        ("once more, in another entry", right()),
        ("number: 9", of(9, sock, dev, ino)),
        ("number: 9, inode: the other's", of(9, sock, dev, others)),
        ("number: 8", of(8, sock, dev, ino)),
        ("number: 0", of(0, sock, dev, ino)),
        ("number: 2^31 + 7", of(1 << 31 | 7, sock, dev, ino)),
        ("number: 2^32 - 1", of(u32::MAX, sock, dev, ino)),
        ("kind: a regular file's", of(7, 0o100_000, dev, ino)),
        ("kind: with permissions", of(7, sock | 0o777, dev, ino)),
        ("kind: 0", of(7, 0, dev, ino)),
        ("device: another", of(7, sock, dev ^ 1 << 40, ino)),
        ("inode: another", of(7, sock, dev, ino ^ 1 << 40)),
        ("data: 0", State { offset: None, ..right() }),
        ("data: unaligned", State { offset: Some(8), ..right() }),
        ("data: not preserved", State { offset: Some(1 << 40), ..right() }),
        ("data: a folio of order 1", State { size: 8192, ..right() }),
        (
            "more behind it",
            State {
                bytes: [right().bytes, vec![0xff; 8]].concat(),
                ..right()
            },
        ),
    ];

    let (arena, entry, titles) = hand_over(states)?;
    let handed = arena.into_handed().map_err(|_| "still shared")?;

    let registry = Registry::new([*KHO, *LUO, &FD])?;
    let attached = Attached::open(handed, OpenOptions::new(entry).registry(&registry));
    let attached = attached.map_err(|failed| failed.error)?;
    let numbers: [RawFd; 2] = [7, 9];
    let open = [&socket, &other].map(Arc::downgrade);
    let table = FdTable::new(numbers.into_iter().zip([socket, other]));
    let handlers = Handlers::new().with(FdHandler::new(table));
    let incoming = Incoming::take_over(attached, handlers, &registry);
    let incoming = incoming.map_err(|failed| failed.error)?;
    let session = incoming.session("session")?;
    let mut text = String::new();
    for (token, title) in titles {
        let said = match session.retrieve::<FdFile>(token) {
            Ok(file) => match fstat(file.as_fd())?.st_ino {
                found if found == ino => "the socket".to_owned(),
                found if found == others => "the other socket".to_owned(),
                _ => "none of them".to_owned(),
            },
            Err(error) => refusal(&error).to_string(),
        };
        let _ = writeln!(text, "{title}: {said}");
    }
    let left = || {
        let left = numbers.iter().zip(&open);
        let left = left.filter(|(_, fd)| fd.strong_count() > 0);
        left.map(|(number, _)| format!(" {number}"))
            .collect::<String>()
    };
    let _ = writeln!(text, "open before the end:{}", left());
    incoming.finish()?;
    let _ = writeln!(text, "open after the end:{}", left());
    Ok(text.into())
}

/// What the file of each token is called.
type Titles<'t> = Vec<(u64, &'t str)>;

/// An arena with a session of these states, each with a title.
fn hand_over<'t>(
    states: impl IntoIterator<Item = (&'t str, State)>,
) -> Result<(Arena, Entry, Titles<'t>), Failure> {
    let mut abilities = vec![Ability::new(BLOCK.name, BLOCK.major())?];
    for component in [*KHO, *LUO, &FD] {
        abilities.push(Ability::try_from(component)?);
    }
    let kho = Kho::new(arena()?, &KhoConfig::new().side(Side::new(abilities)?))?;
    let outgoing = Orchestrator::new(kho, Handlers::new().with(States), 0)?;
    let session = outgoing.create_session("session")?;
    let mut titles = Vec::new();
    for (token, (title, state)) in (0..).zip(states) {
        session.preserve(token, Arc::new(state))?;
        titles.push((token, title));
    }
    let frozen = outgoing.freeze()?;
    drop((session, outgoing));
    let (arena, entry) = frozen.hand_over().map_err(|_| "still shared")?;
    Ok((arena, entry, titles))
}

/// What a survey says of states: it opens nothing.
pub(crate) fn surveyed() -> Result<Text, Failure> {
    let state = |offset, size| State {
        bytes: [7; 24].into(),
        offset: Some(offset),
        size,
    };
    let (arena, entry, titles) = hand_over([
        ("a page", state(0, 24)),
        ("not preserved", state(1 << 40, 24)),
        ("a folio of order 1", state(0, 8192)),
    ])?;
    let (dump, registry) = (Dump::new(arena)?, Registry::new([*KHO, *LUO, &FD])?);
    let opened = Opened::new(&dump, entry, &registry)?;
    let (handover, mut reading) = opened.again(dump.mem())?;
    let luo = Luo::read(&handover, &mut reading, &registry)?.ok_or("no LUO")?;
    let body = luo.body().ok_or("no sessions")?;
    let (owners, mut text) = (FileOwners::linked()?, String::new());
    for file in body.sessions().iter().flat_map(Session::files) {
        let owner = owners.of(body.compatible_of(file));
        let said = owner.ok_or("no owner")?.survey(&mut reading, file);
        let said = said.map_err(|damage| Refusal::from(damage).to_string());
        let said = said.map_or_else(|why| why, |_| "surveyed".to_owned());
        let title = titles.iter().find(|(token, _)| *token == file.token.get());
        let _ = writeln!(
            text,
            "{}: {said}",
            title.map_or("another", |(_, title)| title)
        );
    }
    Ok(text.into())
}
