//! Messages between a program and its supervisor: JSON, with descriptors beside.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use kho_compat::{AbiMembers, Component, Generation, constant};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::config::POLICY_ENV;
use crate::inherit::SUPERVISOR_ENV;

/// The name in `kho-supervisor-v1`.
const NAME: &str = "kho-supervisor";
/// The number in `kho-supervisor-v1`.
const VERSION: u32 = 1;
/// The messages' format, as the environment of a program may name it.
pub(crate) const FORMAT: &str = "kho-supervisor-v1";

/// `kho-supervisor-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .constants(&[
        constant!(FORMAT),
        constant!(SUPERVISOR_ENV),
        constant!(POLICY_ENV),
        constant!(BATCH),
        constant!(LONGEST),
        constant!(DONE),
        constant!(REFUSED),
    ])
    .members(&[Message::members]);

/// The messages between a program and its supervisor, as an interface between programs.
pub const SUPERVISOR: Component = Component::new(NAME, &[GENERATION])
    .summary("messages between a program and its supervisor")
    .of_crate(env!("CARGO_PKG_NAME"))
    .interface();

kho_compat::submit! { SUPERVISOR }

/// What a program tells its supervisor. Each is answered with one byte: whether it was done.
#[derive(Debug, Serialize, Deserialize, AbiMembers)]
pub(crate) enum Message {
    /// Descriptors, by their numbers in the program; they come beside.
    Descriptors(Vec<RawFd>),
    /// A handover is sealed; its descriptors came before, and its ticket comes beside.
    Sealed,
    /// It did not happen: the program goes on.
    CalledOff,
    /// The handover is finished: there is no way back.
    Finished,
}

/// Descriptors that one message carries: the system allows 253.
pub(crate) const BATCH: usize = 200;
/// Characters that are shown of a message that is not understood.
const SHOWN: usize = 80;
/// The longest message.
const LONGEST: usize = 64 << 10;
/// The answer to a message that was understood and done, and to one that was not.
pub(crate) const DONE: u8 = 1;
pub(crate) const REFUSED: u8 = 0;

pub(crate) fn send(socket: impl AsFd, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    send_bytes(socket, &text, fds, SendFlags::empty())
}

pub(crate) fn send_bytes(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(fds).size()];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let sent = sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut beside,
        flags | SendFlags::NOSIGNAL,
    )?;
    if sent != bytes.len() {
        return Err(io::Error::other("a message was cut short"));
    }
    Ok(())
}

/// The next message with its descriptors; `None` where there is none at the moment.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = match recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut beside,
        flags,
    ) {
        Ok(received) => received,
        Err(rustix::io::Errno::AGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut fds = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::other("a message or its descriptors did not fit"));
    }
    let text = bytes.get(..received.bytes).unwrap_or_default();
    let message = parse(text).map_err(|error| {
        let text: String = String::from_utf8_lossy(text).chars().take(SHOWN).collect();
        io::Error::other(format!(
            "found message `{text}`, expected one of {FORMAT}: {error}"
        ))
    });
    Ok(Some((message?, fds)))
}

/// A message of this version. One with more to it is refused: a supervisor that passed over it would answer that
/// it is done.
pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Message> {
    serde_json::from_slice(text)
}
