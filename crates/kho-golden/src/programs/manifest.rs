//! Manifest files.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_compat::file::ManifestFile;

use super::json;

const FILE: &str = r#"{
    "format": "kho-manifest-v1",
    "name": "service 1.2",
    "dialect": "composite",
    "components": {
        "block": {
            "version": 2,
            "minor": 1,
            "restores": "1 || 2",
            "writes": [1],
            "needs": ["vmalloc"],
            "lists": { "vmalloc": 1 },
            "optional": true,
            "carrier": "subtree",
            "subtree": "blocks",
            "features": { "supported": 3, "required": 1, "active": 1 }
        }
    },
    "in_use": {
        "strings": [{ "carrier": "subtree", "found": "block-v2", "uses": 3 }],
        "sessions": 1,
        "files": 2,
        "bytes": 4096
    }
}"#;

const LEAST: &str = r#"{
    "format": "kho-manifest-v1",
    "name": "service 1.2",
    "components": { "block": { "version": 2, "features": { "supported": 3, "required": 1 } } },
    "in_use": { "strings": [{ "carrier": "subtree", "found": "block-v2" }] }
}"#;

/// The members of a file.
const MEMBERS: [&str; 22] = [
    "/format",
    "/name",
    "/dialect",
    "/components/block/version",
    "/components/block/minor",
    "/components/block/restores",
    "/components/block/writes",
    "/components/block/needs",
    "/components/block/lists",
    "/components/block/optional",
    "/components/block/carrier",
    "/components/block/subtree",
    "/components/block/features/supported",
    "/components/block/features/required",
    "/components/block/features/active",
    "/in_use/strings/0/carrier",
    "/in_use/strings/0/found",
    "/in_use/strings/0/uses",
    "/in_use/sessions",
    "/in_use/files",
    "/in_use/bytes",
    "/in_use/strings",
];

/// The objects in a file.
const OBJECTS: [&str; 5] = [
    "",
    "/components/block",
    "/components/block/features",
    "/in_use",
    "/in_use/strings/0",
];

/// What a side says of how it judges.
const JUDGES: &str = r#"{
    "format": "kho-manifest-v1",
    "name": "service 1.2",
    "takes": ["plain"],
    "policy": "exact",
    "degrade": true,
    "components": { "memfd": { "version": 2, "carrier": "file-handler", "handler": true } }
}"#;

/// The members of that.
const OF_JUDGES: [&str; 4] = ["/takes", "/policy", "/degrade", "/components/memfd/handler"];

fn take(text: &str) -> Result<(), String> {
    let read = ManifestFile::parse(text).map(drop);
    read.map_err(|error| error.to_string())
}

pub(crate) fn judges() -> Result<Text, Failure> {
    let text = ManifestFile::parse(JUDGES)?.to_json()?;
    let written = json::members(&text, &OF_JUDGES)?;
    Ok((written + &json::edits(JUDGES, &OF_JUDGES, &[], take)?).into())
}

fn rewritten(text: &str) -> Result<Text, Failure> {
    let text = ManifestFile::parse(text)?.to_json()?;
    Ok(json::members(&text, &MEMBERS)?.into())
}

pub(crate) fn written() -> Result<Text, Failure> {
    rewritten(FILE)
}

pub(crate) fn least() -> Result<Text, Failure> {
    rewritten(LEAST)
}

pub(crate) fn read() -> Result<Text, Failure> {
    let mut out = json::edits(FILE, &MEMBERS, &OBJECTS, take)?;
    let other = FILE.replace("-v1", "-v2");
    writeln!(out, "in kho-manifest-v2 {}", json::outcome(take(&other)))?;
    let other = other.replace("\"dialect\"", "\"dialects\"");
    writeln!(
        out,
        "in kho-manifest-v2, with another member {}",
        json::outcome(take(&other))
    )?;
    Ok(out.into())
}
