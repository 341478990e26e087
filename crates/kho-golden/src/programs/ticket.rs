//! Tickets, and the environment that names them.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_exec::wire;

use super::json;

const TICKET: &str = r#"{
    "format": "kho-ticket-v1",
    "previous": {
        "exe": 4,
        "path": "/usr/bin/service",
        "args": ["service", [255, 49]],
        "env": [["LANG", "C"]],
        "directory": "/"
    },
    "arena": 3,
    "base": 4294967296,
    "size": 4194304,
    "fdt": 4294971392,
    "scratch": [4296015872, 2097152],
    "fds": { "7": 9 },
    "marks": [{ "what": "freeze", "at": 5 }]
}"#;

/// The members of a ticket.
const MEMBERS: [&str; 14] = [
    "/format",
    "/previous/exe",
    "/previous/path",
    "/previous/args",
    "/previous/env",
    "/previous/directory",
    "/arena",
    "/base",
    "/size",
    "/fdt",
    "/scratch",
    "/fds",
    "/marks/0/what",
    "/marks/0/at",
];

/// The ticket's file, without the descriptors that its first line would list.
fn file(ticket: &str) -> Vec<u8> {
    [b"\n", ticket.as_bytes()].concat()
}

pub(crate) fn written() -> Result<Text, Failure> {
    let text = String::from_utf8(wire::ticket(&file(TICKET))?)?;
    let (first, ticket) = text.split_once('\n').ok_or("no first line")?;
    Ok(format!(
        "first line: {first:?}\n{}",
        json::members(ticket, &MEMBERS)?
    )
    .into())
}

pub(crate) fn read() -> Result<Text, Failure> {
    let take = |text: &str| wire::ticket(&file(text)).map(drop);
    let objects = ["", "/previous", "/marks/0"];
    let mut out = json::edits(TICKET, &MEMBERS, &objects, take)?;
    let other = TICKET.replace("-v1", "-v2");
    writeln!(out, "in kho-ticket-v2 {}", json::outcome(take(&other)))?;
    let none = TICKET.replace("[4296015872, 2097152]", "null");
    writeln!(out, "/scratch = null {}", json::outcome(take(&none)))?;
    Ok(out.into())
}

pub(crate) fn previous() -> Result<Text, Failure> {
    let mut out = String::new();
    let next = TICKET
        .replace("-v1", "-v2")
        .replace("\"arena\": 3", "\"memory\": [3]");
    for (what, text) in [
        ("kho-ticket-v1", TICKET.to_owned()),
        (
            "kho-ticket-v2, with `memory` instead of `arena`",
            next.clone(),
        ),
        (
            "kho-ticket-v2, with a member of it more",
            next.replace("\"exe\": 4", "\"exe\": 4, \"more\": 1"),
        ),
        (
            "kho-ticket-v2, without its executable",
            next.replace("\"exe\": 4,", ""),
        ),
        (
            "kho-ticket-v2, without it",
            next.replace("\"previous\"", "\"before\""),
        ),
    ] {
        let found = wire::previous(&file(&text));
        let found = found.map_or("nobody".to_owned(), |(exe, path)| {
            format!("{path}, open as {exe}")
        });
        writeln!(out, "{what}: {found}")?;
    }
    Ok(out.into())
}

pub(crate) fn environment() -> Result<Text, Failure> {
    let [own, child] = wire::addresses(12, 7);
    Ok(format!(
        "for itself: {own}\nfor a child: {child}\ndescriptor 7: {}\n",
        wire::stored(7)
    )
    .into())
}

pub(crate) fn addressed() -> Result<Text, Failure> {
    let mut out = String::new();
    for text in [
        "process:12:7",
        "parent:11:7",
        "process:11:7",
        "parent:12:7",
        "12:7",
        "process:12",
        "process:12:7:1",
        "next:12:7",
        "",
    ] {
        let found = wire::addressed(text, 12, 11);
        let found = found.map_or("nothing".to_owned(), |number| {
            format!("descriptor {number}")
        });
        writeln!(out, "{text:?}: {found}")?;
    }
    Ok(out.into())
}
