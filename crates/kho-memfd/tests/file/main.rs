//! A memfd over an arena, against a vector of bytes; what is preserved of it, by hand-made bytes;
//! and every failure undone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use kho_compat::Registry;
use kho_core::{Attached, Kho, KhoConfig};
use kho_luo::{FileHandler, Handlers, Incoming, Orchestrator};
use kho_mem::{Arena, ArenaConfig, Folio, Order, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr};
use kho_memfd::v2::{
    SEAL_EXEC, SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SEAL, SEAL_SHRINK, SEAL_WRITE, SEALS,
};
use kho_memfd::{FileError, FilePiece, MemFile, MemfdHandler, PreservedMemfd};
use kho_radix::Key;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

mod alone;
mod incoming;
mod model;
mod preserved;
mod unused;

const BASE: u64 = 0x1000_0000;
const PAGE: u64 = PAGE_SIZE_U64;
/// A file's largest offset.
const MAX: u64 = i64::MAX as u64;

fn arena_config(size: u64) -> ArenaConfig {
    ArenaConfig::new(PhysAddr::new(BASE), size)
}

fn arena() -> Arena {
    Arena::heap(&arena_config(16 << 20)).unwrap()
}

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

fn folios(file: &MemFile) -> Vec<(u64, u8)> {
    let folios = file.folios().into_iter();
    folios.map(|(index, order)| (index, order.get())).collect()
}

fn contents(file: &MemFile) -> Vec<u8> {
    let mut bytes = vec![0xee; file.size() as usize + 10];
    let read = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}

/// Bytes of which none is 0, so that what should be zero is seen.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at / 7 + seed as usize) % 255) as u8 + 1)
        .collect()
}

/// Bytes of an arena in a memfd, by their offset in it.
fn bytes_at(arena: &Arena, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let file = arena.file().expect("an arena in a memfd");
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// A file of folios of several orders, and holes.
fn scattered(arena: &Arena) -> Arc<MemFile> {
    let file = MemFile::new(arena);
    for (index, pages) in [(0u64, 1), (2, 2), (8, 8), (512, 512), (1100, 3)] {
        let bytes = pattern(index as u8, pages * PAGE_SIZE);
        file.write_at(index * PAGE, &bytes).unwrap();
    }
    let expected = [(0, 0), (2, 1), (8, 3), (512, 9), (1100, 1), (1102, 0)];
    assert_eq!(folios(&file), expected);
    file.truncate(1110 * PAGE - 7).unwrap();
    file.set_pos(77).unwrap();
    Arc::new(file)
}
