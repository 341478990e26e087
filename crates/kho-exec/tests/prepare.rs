//! What is done of a handover while the program still serves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kho_exec::{Config, Host};
use kho_mem::PhysAddr;
use kho_memfd::MemFile;

const MIB: u64 = 1 << 20;

/// Bytes of shared memory that stand in this process's page tables.
fn mapped() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssShmem:"));
    let word = line.unwrap().split_whitespace().nth(1).unwrap();
    word.parse::<u64>().unwrap() << 10
}

#[test]
fn prepared_memory_is_out_of_the_page_tables_and_keeps_its_bytes() {
    let host = Host::start(Config::new().arena(PhysAddr::new(1 << 32), 256 * MIB)).unwrap();
    assert!(host.is_prepared(), "nothing is under way");
    let file = Arc::new(MemFile::new(host.arena()));
    for at in 0..64 * MIB / 4096 {
        file.write_at(at * 4096, &at.to_le_bytes()).unwrap();
    }
    assert!(mapped() >= 60 * MIB, "{} bytes", mapped());
    for _ in 0..3 {
        host.prepare();
        // Another one changes nothing.
        host.prepare();
        let since = Instant::now();
        while !host.is_prepared() {
            assert!(since.elapsed() < Duration::from_secs(30));
            // It serves meanwhile.
            file.write_at(8, b"touched").unwrap();
        }
        assert!(mapped() < 8 * MIB, "{} bytes", mapped());
        for at in 0..64 * MIB / 4096 {
            let mut bytes = [0; 8];
            file.read_at(at * 4096, &mut bytes).unwrap();
            assert_eq!(u64::from_le_bytes(bytes), at);
        }
        let mut bytes = [0; 7];
        file.read_at(8, &mut bytes).unwrap();
        assert_eq!(&bytes, b"touched");
        assert!(mapped() >= 60 * MIB, "{} bytes", mapped());
    }
    let faults = host.marks().iter().map(|mark| mark.faults.unwrap());
    assert!(faults.is_sorted() && host.marks().len() >= 2);
}
