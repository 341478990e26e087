//! An arena that is filled to the last page, and handed over: this test's own executable, run as the program.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::Command;
use std::sync::Arc;

use kho_exec::{Config, FileRef, Host};
use kho_fd::FdFile;
use kho_mem::PhysAddr;
use kho_memfd::{FileError, MemFile};

const ROLE: &str = "KHO_TEST_ROLE";
const SESSION: &str = "state";
/// The token of the first descriptor.
const FDS: u64 = 1 << 32;

/// How the arena is filled: its bytes, how many files it is written to in turn, the bytes of a write, how far the next
/// one lies, and descriptors beside.
struct Plan {
    size: u64,
    files: u64,
    write: usize,
    step: u64,
    fds: u64,
}

const PLANS: [(&str, Plan); 6] = [
    ("pages", plan(32 << 20, 1, 4096, 4096, 1)),
    ("holes", plan(32 << 20, 1, 1, 8192, 1)),
    ("small", plan(16 << 20, 3, 4096, 4096, 4)),
    ("large", plan(32 << 20, 2, 4 << 20, 4 << 20, 1)),
    ("files", plan(64 << 20, 100, 4096, 4096, 28)),
    ("descriptors", plan(64 << 20, 8, 1 << 20, 1 << 20, 120)),
];

const fn plan(size: u64, files: u64, write: usize, step: u64, fds: u64) -> Plan {
    Plan {
        size,
        files,
        write,
        step,
        fds,
    }
}

impl Plan {
    /// What is written at `at` of file `file`.
    fn contents(&self, file: u64, at: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.write];
        for (page, bytes) in (at >> 12..).zip(bytes.chunks_mut(4096)) {
            bytes.fill((page * 31 + file * 7).to_le_bytes()[0] | 1);
        }
        bytes
    }

    /// Writes until there is no memory. Returns how many writes there were.
    fn fill(&self, files: &[Arc<MemFile>]) -> u64 {
        for write in 0.. {
            let (file, at) = (write % self.files, write / self.files * self.step);
            let bytes = self.contents(file, at);
            match files[usize::try_from(file).unwrap()].write_at(at, &bytes) {
                Ok(written) if written == bytes.len() => {}
                Ok(_) | Err(FileError::OutOfMemory(_)) => return write,
                Err(error) => panic!("{error}"),
            }
        }
        0
    }

    fn check(&self, files: &[Arc<MemFile>], writes: u64) {
        let mut bytes = vec![0; self.write];
        for write in 0..writes {
            let (file, at) = (write % self.files, write / self.files * self.step);
            let read = files[usize::try_from(file).unwrap()].read_at(at, &mut bytes);
            assert_eq!(read.unwrap(), bytes.len());
            let right = bytes == self.contents(file, at);
            assert!(right, "write {write} of file {file} at {at:#x}");
        }
    }
}

#[test]
fn program() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (_, plan) = PLANS.iter().find(|(name, _)| *name == role).unwrap();
    let mut host = Host::start(Config::new().arena(PhysAddr::new(1 << 32), plan.size)).unwrap();
    let mut files = Vec::new();
    for token in 0..plan.files {
        let file = host.retrieve::<MemFile>(SESSION, token).unwrap();
        files.push(file.unwrap_or_else(|| Arc::new(MemFile::new(host.arena()))));
    }
    let mut fds = Vec::new();
    for token in FDS..FDS + plan.fds {
        let fd = host.retrieve::<FdFile>(SESSION, token).unwrap();
        fds.push(fd.unwrap_or_else(|| {
            let file = std::fs::File::open("/dev/null").unwrap();
            Arc::new(FdFile::from(file))
        }));
    }
    // How many writes there were, as the program before says.
    let writes = std::env::args().find_map(|arg| arg.strip_prefix("writes-")?.parse().ok());
    let writes = match writes {
        Some(writes) => {
            plan.check(&files, writes);
            host.finish().unwrap();
            // What the handover took is free again, and kept for the next one.
            let rest = plan.fill(&files);
            assert!(rest >= writes, "{rest} of {writes}");
            if host.generation() == 3 {
                println!("upgraded with {writes} writes");
                std::process::exit(0);
            }
            writes
        }
        None => plan.fill(&files),
    };
    let arena = host.arena();
    assert!(arena.alloc_pages(1).is_err(), "not a page is left");
    assert!(arena.free_pages() <= arena.reserve() + plan.write as u64 / 4096);
    let tokens = (0..).zip(files.into_iter().map(|file| file as FileRef));
    let fds = (FDS..).zip(fds.into_iter().map(|file| file as FileRef));
    let mut next = Command::new(std::env::current_exe().unwrap());
    next.args(["--exact", "program", "--nocapture"]);
    next.args(["--skip", &format!("writes-{writes}")]);
    panic!("{}", host.hand_over(SESSION, tokens.chain(fds), next));
}

#[test]
fn a_full_arena_is_handed_over_with_every_byte() {
    for (name, _) in PLANS {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "program", "--nocapture"])
            .env(ROLE, name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(said.contains("upgraded with "), "{name}: {said}");
    }
}
