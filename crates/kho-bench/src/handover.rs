//! A handover from one program to the next: how long nobody serves.

use std::process::Command;
use std::sync::Arc;

use kho_exec::{Config, FileRef, Host};
use kho_mem::{ARENA_ALIGN, PhysAddr};
use kho_memfd::MemFile;
use serde_json::{Map, Value};

use crate::Result;

const BASE: PhysAddr = PhysAddr::new(1 << 40);
const SESSION: &str = "bench";
/// The most bytes that are written at once.
const CHUNK: u64 = 4 << 20;

/// Hands a file of `size` bytes over to this program again, which is to come back here. There it is
/// retrieved, and read from; the times of each step are returned, in nanoseconds of the monotonic clock,
/// with the blackout: from the freeze to the first byte read.
pub fn run(size: u64) -> Result<Value> {
    let arena = size + size / 64 + (64 << 20);
    let config = Config::new().arena(BASE, arena.next_multiple_of(ARENA_ALIGN));
    let mut host = Host::start(config)?;
    if !host.is_incoming() {
        let file = MemFile::new(host.arena());
        let bytes = vec![0x5a; usize::try_from(size.min(CHUNK))?];
        let mut at = 0;
        while at < size {
            let len = usize::try_from((size - at).min(CHUNK))?;
            let part = bytes.get(..len).unwrap_or_default();
            at += file.write_at(at, part)? as u64;
        }
        let mut next = Command::new(std::env::current_exe()?);
        next.args(std::env::args_os().skip(1));
        let files = [(1, Arc::new(file) as FileRef)];
        return Err(host.hand_over(SESSION, files, next).into());
    }
    if let Some(reason) = host.returned() {
        return Err(reason.into());
    }
    let file = host.retrieve::<MemFile>(SESSION, 1)?;
    let file = file.ok_or("the file did not arrive")?;
    let mut byte = [0];
    file.read_at(size.saturating_sub(1), &mut byte)?;
    host.mark("first byte");
    if file.size() != size || byte != [0x5a] {
        return Err("the file arrived altered".into());
    }
    let marks = host.marks();
    let at = |what: &str| {
        marks
            .iter()
            .find(|mark| mark.what == what)
            .map(|mark| mark.at)
    };
    let blackout = at("freeze").zip(at("first byte"));
    let blackout = blackout.and_then(|(from, to)| to.checked_sub(from));
    let blackout = blackout.ok_or("a mark is missing")?;
    let steps = marks.iter().zip(marks.iter().skip(1));
    let steps: Map<String, Value> = steps
        .map(|(from, to)| (to.what.clone(), to.at.saturating_sub(from.at).into()))
        .collect();
    host.finish()?;
    Ok(serde_json::json!({ "bytes": size, "blackout_ns": blackout, "until_ns": steps }))
}
