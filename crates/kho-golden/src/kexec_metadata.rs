//! The kexec metadata.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_core::metadata::v1::METADATA_SUBTREE;
use kho_core::{KhoConfig, Metadata};
use kho_mem::PhysAddr;

use crate::edits::{Edit, behind, bytes, word};
use crate::kho::fdt::Fdt;
use crate::kho::handed::{Handed, hand_over, kho};

kho_abi_check::vectors!("kexec-metadata", [
    "release 7.3.4, 258 kexecs; releases of 64 and 65 bytes" => written,
    "what is read of metadata: release 7.3.4, 258 kexecs" => read,
    "what is read of metadata that is shorter than its version's number" => short,
]);

/// The kexec metadata.
pub(crate) fn written() -> Result<Text, Failure> {
    let mut handed = hand_over(kho(KhoConfig::new().metadata("7.3.4", 258))?)?;
    handed.add_blob(METADATA_SUBTREE)?;
    let mut out = handed.dump.finish();
    let long = "x".repeat(64);
    let mut handed = hand_over(kho(KhoConfig::new().metadata(long, 0xa1b2_c3d4))?)?;
    handed.add_blob(METADATA_SUBTREE)?;
    out.push_str(&handed.dump.finish());
    let refused = kho(KhoConfig::new().metadata("x".repeat(65), 1)).is_err();
    let _ = writeln!(out, "65 bytes refused: {refused}");
    Ok(out.into())
}

/// The kexec metadata.
pub(crate) fn read() -> Result<Text, Failure> {
    let mut handed = hand_over(kho(KhoConfig::new().metadata("7.3.4", 258))?)?;
    let fdt = Fdt::new(&handed.dump, handed.entry.fdt_addr)?;
    let at = PhysAddr::new(
        handed
            .dump
            .word(fdt.value(METADATA_SUBTREE, "preserved-data")?)?,
    );
    let size = fdt.value(METADATA_SUBTREE, "blob-size")?;
    let version = |value: u32| bytes(format!("version: {value}"), at, &value.to_le_bytes());
    let release = |what: &str, text: &[u8]| bytes(format!("release: {what}"), behind(at, 4), text);
    let mut edits = Vec::from([0, 2, 0x0100_0000].map(version));
    edits.extend([3, 4, 72, 74].map(|bytes| word(format!("blob-size: {bytes}"), size, bytes)));
    edits.extend([
        version(2).word(size, 4),
        release("empty", b"\0"),
        release("64 bytes", &[b'x'; 64]),
        release("65 bytes", &[b'x'; 65]),
        release("no text", b"7.3\xff4"),
        release("a control character", b"7.3\n4"),
        release("a space", b"7.3 4"),
        bytes("count: 0", behind(at, 69), &[0; 4]),
        bytes("count: 2^32 - 1", behind(at, 69), &[0xff; 4]),
        bytes(
            "subtree: Kexec-metadata",
            behind(fdt.find(METADATA_SUBTREE, None)?, 4),
            b"K",
        ),
    ]);
    metadata(&mut handed, &edits)?;
    Ok(handed.dump.finish().into())
}

/// Metadata without a whole version.
pub(crate) fn short() -> Result<Text, Failure> {
    let mut handed = hand_over(kho(KhoConfig::new().metadata("7.3.4", 258))?)?;
    let fdt = Fdt::new(&handed.dump, handed.entry.fdt_addr)?;
    let at = handed
        .dump
        .word(fdt.value(METADATA_SUBTREE, "preserved-data")?)?;
    let size = fdt.value(METADATA_SUBTREE, "blob-size")?;
    let other = bytes("version: 2, blob-size: 3", PhysAddr::new(at), &[2]).word(size, 3);
    metadata(&mut handed, &[other])?;
    Ok(handed.dump.finish().into())
}

/// Adds what is read of metadata, and of it with each of `edits`.
fn metadata(handed: &mut Handed, edits: &[Edit]) -> Result<(), Failure> {
    let opened = handed.open()?;
    handed.dump.readings(edits, |mem, _| {
        let (handover, _) = opened.again(mem)?;
        Ok(match Metadata::read(&handover)? {
            Some(Metadata::V1 {
                previous_release,
                kexec_count,
            }) => {
                format!("release {previous_release}, {kexec_count} kexecs")
            }
            Some(Metadata::Other { version }) => format!("version {version} alone"),
            None => "none".to_string(),
        })
    })
}
