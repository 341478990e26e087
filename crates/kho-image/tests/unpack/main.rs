//! Packed files in every way that tools write them, made here and by the tools where they are installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod hostile;
mod shapes;
mod tools;

use std::fs::{self, File};
use std::io::{self, Read, Write};

use kho_image::{Compression, Image, ImageError, ImageOptions, Unpacker};
use kho_testkit::Random;

/// Text, numbers and zeros: what packs, what does not, and what becomes a hole.
fn content(len: usize) -> Vec<u8> {
    let mut random = Random(0x1234_5678_9abc_def0);
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        match random.below(3) {
            0 => bytes.extend(b"Kexec HandOver, preserved memory. ".repeat(random.below(60) + 1)),
            1 => bytes.extend((0..random.below(3000)).map(|_| random.below(256) as u8)),
            _ => bytes.extend(vec![0; random.below(20_000)]),
        }
    }
    bytes.truncate(len);
    bytes
}

fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let opened = Unpacker::open(packed)?;
    opened.expect("a packed file").read_to_end(&mut out)?;
    Ok(out)
}

fn lenient(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let opened = Unpacker::open(packed)?;
    opened
        .expect("a packed file")
        .lenient()
        .read_to_end(&mut out)?;
    Ok(out)
}

/// That `packed` is of `compression` and unpacks to `plain`.
#[track_caller]
fn same(what: &str, compression: Compression, packed: &[u8], plain: &[u8]) {
    assert_eq!(Compression::of(packed), Some(compression), "{what}");
    match unpack(packed) {
        Ok(found) => assert!(
            found == plain,
            "{what}: {} bytes of {}",
            found.len(),
            plain.len()
        ),
        Err(error) => panic!("{what}: {error}"),
    }
}

/// The error of `packed`.
#[track_caller]
fn error(packed: &[u8]) -> io::Error {
    unpack(packed).map(|out| out.len()).unwrap_err()
}
