//! Messages to a supervisor, and the environment that names it.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_exec::wire;

use super::json;

const MESSAGES: [&str; 4] = [
    r#"{"Descriptors":[3,9]}"#,
    r#""Sealed""#,
    r#""CalledOff""#,
    r#""Finished""#,
];

pub(crate) fn written() -> Result<Text, Failure> {
    let written = MESSAGES.map(wire::message).into_iter();
    let written: Vec<_> = written.collect::<Result<_, _>>()?;
    Ok(written.join("\n").into())
}

pub(crate) fn read() -> Result<Text, Failure> {
    let mut out = String::new();
    let edited = [
        r#"{"Descriptors":["3"]}"#,
        r#"{"Descriptors":[3],"more":1}"#,
        r#"{"Sealed":{"format":"kho-supervisor-v2"}}"#,
        r#""Started""#,
        "",
    ];
    for text in MESSAGES.into_iter().chain(edited) {
        let found = json::outcome(wire::message(text).map(drop));
        writeln!(out, "{text:?} {found}")?;
    }
    Ok(out.into())
}

pub(crate) fn environment() -> Result<Text, Failure> {
    let mut out = String::new();
    for text in [
        "5:11",
        "5:12",
        "5:11:kho-supervisor-v1",
        "5:11:kho-supervisor-v2",
        "5",
        "x:11",
    ] {
        let found = wire::supervisor(text, 11);
        let found = found.map_or("nothing".to_owned(), |(number, format)| {
            format!("descriptor {number}, {format}")
        });
        writeln!(out, "{text:?}: {found}")?;
    }
    Ok(out.into())
}
