//! JSON, member by member: their order is no part of a format.

use std::fmt::Write as _;

use kho_abi_check::Failure;
use serde_json::{Value, json};

/// The members `pointers` of `text`, a line each. Members that are not named come with later minor versions.
pub(crate) fn members(text: &str, pointers: &[&str]) -> Result<String, Failure> {
    let value: Value = serde_json::from_str(text)?;
    let mut out = String::new();
    for pointer in pointers {
        match value.pointer(pointer) {
            Some(member) => writeln!(out, "{pointer} = {member}")?,
            None => writeln!(out, "{pointer} is not written")?,
        }
    }
    Ok(out)
}

/// Why a text is refused: what of it is wrong, without the reader's words.
fn refusal(error: &str) -> String {
    let quoted = error.split('`').nth(1).unwrap_or_default();
    for (words, kind) in [
        ("missing field", "without"),
        ("unknown field", "unknown"),
        ("unknown variant", "unknown"),
    ] {
        if error.contains(words) {
            return format!("{kind} `{quoted}`");
        }
    }
    if error.contains("format") {
        return format!("of format `{quoted}`");
    }
    let types = [
        "invalid type",
        "invalid value",
        "did not match any variant",
        "invalid length",
    ];
    let is_type = types.iter().any(|words| error.contains(words));
    if is_type {
        "of another type"
    } else {
        "no such text"
    }
    .to_owned()
}

/// What is read of a text, in a line.
pub(crate) fn outcome(read: Result<(), String>) -> String {
    match read {
        Ok(()) => "is read".to_owned(),
        Err(error) => format!("is refused: {}", refusal(&error)),
    }
}

/// What is read of `text` as it is, without each of the members `pointers`, with each of another type, and with a
/// member more in each of the objects `inside`.
pub(crate) fn edits(
    text: &str,
    pointers: &[&str],
    inside: &[&str],
    read: impl Fn(&str) -> Result<(), String>,
) -> Result<String, Failure> {
    let value: Value = serde_json::from_str(text)?;
    let mut out = format!("as it is {}\n", outcome(read(text)));
    for pointer in pointers {
        let (parent, key) = pointer.rsplit_once('/').ok_or("no pointer")?;
        let mut without = value.clone();
        let object = without.pointer_mut(parent).and_then(Value::as_object_mut);
        object
            .and_then(|object| object.remove(key))
            .ok_or_else(|| format!("no {pointer}"))?;
        let mut other = value.clone();
        let member = other
            .pointer_mut(pointer)
            .ok_or_else(|| format!("no {pointer}"))?;
        *member = if member.is_boolean() {
            json!(7)
        } else {
            json!(true)
        };
        writeln!(
            out,
            "without {pointer} {}",
            outcome(read(&without.to_string()))
        )?;
        writeln!(
            out,
            "{pointer} = {} {}",
            other.pointer(pointer).unwrap_or(&Value::Null),
            outcome(read(&other.to_string()))
        )?;
    }
    for pointer in inside {
        let mut more = value.clone();
        let object = more.pointer_mut(pointer).and_then(Value::as_object_mut);
        object
            .ok_or_else(|| format!("no {pointer}"))?
            .insert("more".to_owned(), json!(1));
        writeln!(
            out,
            "{pointer}/more = 1 {}",
            outcome(read(&more.to_string()))
        )?;
    }
    Ok(out)
}
