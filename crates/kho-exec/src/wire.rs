//! What programs write for each other and read of each other, as text and bytes: for the vectors of these formats.

use std::os::fd::RawFd;

use crate::channel;
use crate::inherit::{address, supervisor_in, ticket_body, ticket_in};
use crate::store;
use crate::ticket::Ticket;

/// The ticket `text`, its first line included, read and written again.
///
/// # Errors
///
/// It is of another format, or damaged.
pub fn ticket(text: &[u8]) -> Result<Vec<u8>, String> {
    let ticket = Ticket::parse(ticket_body(text))?;
    ticket.text().map_err(|error| error.to_string())
}

/// The descriptor of the executable and the path of the program that wrote a ticket of whatever format.
#[must_use]
pub fn previous(text: &[u8]) -> Option<(RawFd, String)> {
    let program = Ticket::previous(ticket_body(text))?;
    Some((program.exe, program.path().to_owned()))
}

/// A message to a supervisor, read and written again.
///
/// # Errors
///
/// It is none.
pub fn message(text: &str) -> Result<String, String> {
    let message = channel::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    serde_json::to_string(&message).map_err(|error| error.to_string())
}

/// What the environment says of a ticket: for the process itself, and for a child of it.
#[must_use]
pub fn addresses(process: u32, number: RawFd) -> [String; 2] {
    ["process", "parent"].map(|who| address(who, process, number))
}

/// The descriptor that `text` names for the process `own`, whose parent is `parent`.
#[must_use]
pub fn addressed(text: &str, own: u32, parent: u32) -> Option<RawFd> {
    ticket_in(text, own, parent)
}

/// The supervisor's socket that `text` names for a child of `parent`, and the format of its messages.
#[must_use]
pub fn supervisor(text: &str, parent: u32) -> Option<(RawFd, String)> {
    supervisor_in(text, parent)
}

/// What a descriptor is stored as.
#[must_use]
pub fn stored(number: RawFd) -> String {
    store::name_of(number)
}
