//! Thousands of altered handovers, taken over in place: none makes a reader panic or run away, none
//! changes a byte before it is finished, and in the end each page is free once. Deterministic;
//! `ATTACH_MUTANTS=200000 ATTACH_SEED=7 cargo test --release -p kho-memfd --test attach_mutants`
//! runs more of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    missing_docs
)]

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kho_compat::{Registry, Writing, policy};
use kho_core::{Attached, Entry, Handover, Kho, KhoConfig, PreservedFolio};
use kho_fd::{FdFile, FdHandler, FdTable};
use kho_luo::{
    FlbHandler, HandlerError, Handlers, Incoming, IncomingError, Luo, Orchestrator, Retrieve,
};
use kho_mem::{
    Arena, ArenaConfig, Folio, Handed, Link, Order, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr, PhysRange,
};
use kho_memfd::{FilePiece, MemFile, Memfd, MemfdHandler};
use kho_radix::Key;
use kho_testkit::Random;

const SIZE: u64 = 8 << 20;
/// Where the scratch area begins: the arena's second half.
const SCRATCH: u64 = 4 << 20;
const PAGES: usize = SIZE as usize / PAGE_SIZE;
const FLB: &str = "test-flb-v0";

/// Pseudo-random numbers of their own for each seed.
fn seeded(seed: u64) -> Random {
    // The first few numbers of small seeds are much alike.
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..8).for_each(|_| _ = random.next());
    random
}

/// A folio that files depend on.
struct TestFlb;

struct Object(PhysAddr, Mutex<Option<Folio>>);

impl FlbHandler for TestFlb {
    type Object = Object;
    type Preserved = PreservedFolio;

    fn name(&self) -> &'static str {
        FLB
    }

    fn preserve(&self, kho: &Kho) -> Result<(u64, PreservedFolio), HandlerError> {
        let mut folio = kho.preserver().alloc_preserve(3 * PAGE_SIZE).unwrap();
        folio.fill(0xfb);
        Ok((folio.addr().get(), folio))
    }

    fn unpreserve(&self, preserved: PreservedFolio) {
        drop(preserved);
    }

    fn hand_over(&self, preserved: PreservedFolio) {
        preserved.hand_over();
    }

    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<Object>, HandlerError> {
        let at = PhysAddr::new(data);
        let link = retrieve.link(data, "test FLB");
        let folio = retrieve.claims.folio(link);
        folio.map_err(HandlerError::new)?;
        Ok(Arc::new(Object(at, Mutex::default())))
    }

    fn finish(&self, attached: &mut Attached, _data: u64, object: Option<Arc<Object>>) {
        if let Some(object) = object {
            let order = {
                let handover = attached.handover();
                let at = object.0;
                handover
                    .preserved()
                    .folio_at(Link::given(at, "test FLB"))
                    .unwrap()
                    .order
            };
            *object.1.lock().unwrap() = attached.handed_mut().adopt(object.0, order).ok();
        }
    }
}

fn handlers(table: &FdTable) -> Handlers {
    Handlers::new()
        .with(MemfdHandler)
        .with(FdHandler::new(table.clone()))
        .with_flb("memfd", TestFlb)
        .with_flb("fd", TestFlb)
}

/// A handover in an arena, as the predecessor left it, and what is known of it.
struct World {
    file: File,
    base: u64,
    entry: Entry,
    bytes: Vec<u8>,
    // Addresses of pages: with structures in them, and of every kind.
    structures: Vec<u64>,
    interesting: Vec<u64>,
    // Where descriptors' numbers are written down.
    numbers: Vec<u64>,
    sessions: usize,
    tracker: u64,
}

/// All but the scratch area, into which nothing is ever written.
fn read_all(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; SCRATCH as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Which pages a handover keeps, from the base on.
fn kept(handover: &Handover<'_>, base: u64) -> Vec<bool> {
    let mut kept = vec![false; PAGES];
    let mut keep = |addr: u64, bytes: u64| {
        for page in (addr - base) / PAGE_SIZE_U64..(addr - base + bytes).div_ceil(PAGE_SIZE_U64) {
            kept[page as usize] = true;
        }
    };
    for folio in handover.preserved().iter() {
        keep(folio.addr().get(), folio.order.bytes().unwrap());
    }
    for node in handover.preserved().nodes() {
        keep(node.get(), PAGE_SIZE_U64);
    }
    keep(handover.root().at().get(), PAGE_SIZE_U64);
    if let Some((at, size)) = handover.entry().scratch {
        keep(at.get(), size);
    }
    kept
}

/// The runs of pages that are kept, first to one past the last.
fn runs(kept: &[bool]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (page, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
        match runs.last_mut() {
            Some((_, end)) if *end == page => *end += 1,
            _ => runs.push((page, page + 1)),
        }
    }
    runs
}

fn config(base: u64) -> ArenaConfig {
    let scratch = PhysRange::new(PhysAddr::new(base + SCRATCH), 4 << 20).unwrap();
    ArenaConfig::new(PhysAddr::new(base), SIZE).scratch(scratch)
}

impl World {
    fn new(base: u64, dialect: Writing) -> Self {
        let scratch = PhysRange::new(PhysAddr::new(base + SCRATCH), 4 << 20).unwrap();
        let arena = Arena::memfd(&config(base)).unwrap();
        let file = arena.file().unwrap().try_clone().unwrap();
        let metadata = KhoConfig::new()
            .scratch([scratch])
            .metadata("7.3.4", 3)
            .writing(dialect);
        let kho = Kho::new(arena.clone(), &metadata).unwrap();
        kho.reserve_mem("log", arena.alloc_pages_zeroed(3).unwrap())
            .unwrap();
        kho.reserve_mem("state", arena.alloc_pages_zeroed(8).unwrap())
            .unwrap();
        let luo = Orchestrator::new(kho, handlers(&FdTable::default()), 4).unwrap();
        let made = |len: usize, at: u64, mark: u8| {
            let file = MemFile::new(&arena);
            if len > 0 {
                file.write_at(at, &vec![mark; len]).unwrap();
            }
            Arc::new(file)
        };
        let vm = luo.create_session("vm").unwrap();
        vm.preserve(0, made(100, 0, 1)).unwrap();
        vm.preserve(1, made(1 << 20, 0, 2)).unwrap();
        vm.preserve(2, made(70_000, 65_536, 3)).unwrap();
        vm.preserve(3, made(0, 0, 0)).unwrap();
        let holes = made(5000, 40_960, 4);
        holes.write_at(4096, &[5; 9000]).unwrap();
        holes.set_pos(77).unwrap();
        vm.preserve(0xffff_ffff_ffff_ffff, holes).unwrap();
        let null = || Arc::new(FdFile::from(File::open("/dev/null").unwrap()));
        vm.preserve(5, null()).unwrap();
        let two = luo.create_session("two").unwrap();
        two.preserve(1, null()).unwrap();
        let sealed = made(20_000, 0, 6);
        sealed.add_seals(6).unwrap();
        two.preserve(2, sealed).unwrap();
        let _empty = luo.create_session("empty").unwrap();
        let many = luo.create_session("many").unwrap();
        for token in 0..66u64 {
            many.preserve(token, made(100 + token as usize, 0, token as u8))
                .unwrap();
        }
        let frozen = luo.freeze().unwrap();
        drop((vm, two, _empty, many, luo));
        let (gone, entry) = frozen.hand_over().map_err(|_| "still shared").unwrap();
        drop(arena);
        let handed = gone.into_handed().unwrap();

        let handover = Handover::open(&handed, entry).unwrap();
        let mut reading = handover.reading().unwrap();
        let luo = Luo::read(&handover, &mut reading).unwrap().unwrap();
        let kept = kept(&handover, base);
        let mut contents = BTreeSet::new();
        let mut numbers = Vec::new();
        let body = luo.body().unwrap();
        for file in body.sessions().iter().flat_map(|session| session.files()) {
            if !body.compatible_of(file).starts_with("memfd") {
                numbers.push(file.data);
                continue;
            }
            for folio in Memfd::read(&mut reading, file).unwrap().folios() {
                let Some(addr) = folio.addr else { continue };
                contents.extend((0..folio.order.pages()).map(|page| addr.pfn().get() + page));
            }
        }
        let (mut structures, mut interesting) = (Vec::new(), Vec::new());
        for (page, kept) in kept.iter().enumerate() {
            let addr = base + page as u64 * PAGE_SIZE_U64;
            let single = handover
                .preserved()
                .lookup(PhysAddr::new(addr))
                .is_none_or(|folio| folio.order == Order::ZERO);
            if *kept && single && !contents.contains(&(addr / PAGE_SIZE_U64)) {
                structures.push(addr);
                interesting.push(addr);
            }
            if !*kept && page % 150 == 3 {
                interesting.push(addr);
            }
        }
        interesting.extend(contents.iter().step_by(16).map(|pfn| pfn * PAGE_SIZE_U64));
        interesting.extend([
            base,
            base + SIZE - PAGE_SIZE_U64,
            base + SIZE,
            base + SCRATCH,
            base + SCRATCH + 0x5000,
            base.wrapping_sub(PAGE_SIZE_U64),
            0,
        ]);
        let sessions = body.sessions().len();
        let tracker = handover.root().tracker().unwrap().to.get();
        drop(handed);
        let mut bytes = read_all(&file);
        bytes.resize(SIZE as usize, 0);
        Self {
            file,
            base,
            entry,
            bytes,
            structures,
            interesting,
            numbers,
            sessions,
            tracker,
        }
    }

    fn word(&self, addr: u64) -> u64 {
        let at = (addr - self.base) as usize;
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn write(&self, addr: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, addr - self.base).unwrap();
    }

    fn handed(&self) -> Handed {
        let file = self.file.try_clone().unwrap();
        Handed::attach(file, &ArenaConfig::new(PhysAddr::new(self.base), SIZE)).unwrap()
    }

    /// A key's bit in the tracker: the leaf's byte, where the tree has that leaf.
    fn bit_of(&self, key: Key) -> Option<(u64, u8)> {
        let mut node = self.tracker;
        for level in (1..6).rev() {
            let index = key.get() >> (15 + 9 * (level - 1)) & 511;
            node = self.word(node + 8 * index);
            if node == 0 {
                return None;
            }
        }
        let bit = key.get() & 32767;
        Some((node + bit / 8, 1 << (bit % 8)))
    }

    fn word_at4(&self, addr: u64) -> u64 {
        let at = (addr - self.base) as usize;
        let end = (at + 8).min(self.bytes.len());
        let mut word = [0; 8];
        word[..end - at].copy_from_slice(&self.bytes[at..end]);
        u64::from_le_bytes(word)
    }

    /// Damages one place; says what it did.
    fn damage(&self, random: &mut Random) -> (String, u64, Vec<u8>) {
        let pick = random.below(100);
        if pick < 6 {
            // A page over another.
            let (from, to) = (random.of(&self.structures), random.of(&self.structures));
            let at = (from - self.base) as usize;
            return (
                format!("page {from:#x}"),
                to,
                self.bytes[at..at + PAGE_SIZE].to_vec(),
            );
        }
        if pick < 16 {
            // A key set or cleared.
            let addr = random.of(&self.interesting);
            let order = Order::new(random.of(&[0, 0, 0, 1, 2, 4, 8, 10, 11])).unwrap();
            let addr = addr & !(order.bytes().unwrap() - 1);
            if let Some(key) = Key::encode(PhysAddr::new(addr), order)
                && let Some((at, bit)) = self.bit_of(key)
            {
                let byte = self.bytes[(at - self.base) as usize] ^ bit;
                return (format!("key of {addr:#x}, order {order}"), at, vec![byte]);
            }
        }
        let page = if random.once_in(8) {
            self.entry.fdt_addr.get()
        } else {
            random.of(&self.structures)
        };
        if pick < 30 {
            let mut at = page + random.below(PAGE_SIZE) as u64;
            for _ in 0..64 {
                if self.bytes[(at - self.base) as usize] != 0 {
                    break;
                }
                at = page + random.below(PAGE_SIZE) as u64;
            }
            let old = self.bytes[(at - self.base) as usize];
            let new = match random.below(3) {
                0 => old ^ 1 << random.below(8),
                1 => random.of(&[0, 1, 0x7f, 0x80, 0xff]),
                _ => random.next() as u8,
            };
            return ("byte".to_owned(), at, vec![new]);
        }
        // Words that are not zero matter most: they are addresses, counts and strings.
        let step = if page == self.entry.fdt_addr.get() {
            4
        } else {
            8
        };
        let mut at = page;
        for _ in 0..64 {
            at = page + (step * random.below((PAGE_SIZE - 8) / step)) as u64;
            if self.word_at4(at) != 0 {
                break;
            }
        }
        let old = self.word_at4(at);
        let other = random.of(&self.interesting);
        let new = match random.below(14) {
            0 => random.next(),
            1 => old.wrapping_add(random.of(&[1, 8, 4096, 1 << 21, 1 << 52])),
            2 => old.wrapping_sub(random.of(&[1, 8, 4096, 1 << 21])),
            3 => random.of(&[
                0,
                1,
                u64::MAX,
                1 << 63,
                1 << 52,
                (1 << 63) - 1,
                0xffff_ffff_ffff_f000,
                4096,
            ]),
            4..=7 => other,
            // As a folio record has it.
            8 => other >> 12 | 3 << 52,
            9 => old & 0xfff << 52 | other >> 12,
            10 => old ^ 1 << random.below(64),
            11 => old & !(0xff << (8 * random.below(8))),
            12 => old | 0xff << (8 * random.below(8)),
            _ => self.word(random.of(&self.structures) + 8 * random.below(64) as u64),
        };
        (
            format!("word {old:#x} -> {new:#x}"),
            at,
            new.to_le_bytes().to_vec(),
        )
    }

    fn alter_entry(&self, random: &mut Random) -> Entry {
        let mut entry = self.entry;
        match random.below(7) {
            0 => entry.fdt_addr = PhysAddr::new(random.of(&self.interesting)),
            1 => entry.fdt_size = random.of(&[0, 1, 4095, 8192, u64::MAX]),
            2 => entry.scratch = None,
            3 => {
                let at = random.of(&self.interesting) + random.of(&[0, 16, 8, 4088]);
                entry.scratch = Some((PhysAddr::new(at), 16));
            }
            4 => entry.scratch = Some((entry.fdt_addr, random.of(&[16, 32, 4096, 16416]))),
            5 => entry.scratch = Some((PhysAddr::new(random.next()), random.next())),
            _ => {
                let at = entry.scratch.unwrap().0;
                let size = random.of(&[0, 15, 32, 4096, 16416, u64::MAX, 1 << 63]);
                entry.scratch = Some((at, size));
            }
        }
        entry
    }
}

/// Descriptors that can be inherited, a few for each handover that is finished.
struct Pool {
    table: FdTable,
    left: Vec<RawFd>,
}

impl Pool {
    fn new(count: usize) -> Self {
        // By numbers that are nobody else's.
        let open = |number| {
            Some((
                number,
                Arc::new(OwnedFd::from(File::open("/dev/null").ok()?)),
            ))
        };
        let fds: Vec<(RawFd, Arc<OwnedFd>)> = (10_000..).take(count).map_while(open).collect();
        let left = fds.iter().map(|(number, _)| *number).collect();
        Self {
            table: FdTable::new(fds),
            left,
        }
    }

    /// Writes numbers that are still there into the handover.
    fn renew(&mut self, world: &mut World) {
        for at in world.numbers.clone() {
            let Some(number) = self.left.last().copied() else {
                return;
            };
            self.left.rotate_right(1);
            let at_byte = (at - world.base) as usize;
            world.bytes[at_byte..at_byte + 4].copy_from_slice(&number.to_le_bytes());
            world.write(at, &number.to_le_bytes());
        }
    }
}

#[derive(Default, Debug)]
struct Counts {
    not_opened: u64,
    not_taken: u64,
    taken: u64,
    finished: u64,
    handed_back: u64,
    can_not_finish: u64,
    files: u64,
    files_failed: u64,
    flbs: u64,
    descriptors: u64,
    pages_checked: u64,
}

fn contents(file: &MemFile, limit: u64) -> (u64, Vec<u8>) {
    let (mut len, mut bytes) = (0, Vec::new());
    let size = file.size();
    file.read_with(0, u64::MAX, |piece| match piece {
        FilePiece::Data(data) => {
            len += data.len() as u64;
            let room = (limit as usize).saturating_sub(bytes.len());
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
        FilePiece::Hole(hole) => {
            len += hole;
            let room = (limit as usize).saturating_sub(bytes.len());
            bytes.resize(bytes.len() + room.min(hole as usize), 0);
        }
    })
    .unwrap_or_else(|error| panic!("reading a file of {size} bytes: {error}"));
    assert_eq!(len, size, "the pieces are the file");
    (len, bytes)
}

/// Whether each byte is `mark`.
fn is_all(bytes: &[u8], mark: u8) -> bool {
    // By comparing memory: this is run some million times.
    let page = [mark; PAGE_SIZE];
    bytes
        .chunks(PAGE_SIZE)
        .all(|chunk| chunk == &page[..chunk.len()])
}

/// Allocates every free page by itself, fills it, and checks where it lies.
fn all_free(arena: &Arena, base: u64, fill: u8, allowed: impl Fn(usize) -> bool) -> Vec<Folio> {
    let mut folios = Vec::new();
    let mut seen = vec![false; PAGES];
    let free = arena.free_pages();
    while let Ok(mut folio) = arena.alloc(Order::ZERO) {
        let page = ((folio.addr().get() - base) / PAGE_SIZE_U64) as usize;
        assert!(
            !std::mem::replace(&mut seen[page], true),
            "page {page:#x} is free twice"
        );
        assert!(allowed(page), "page {page:#x} is given out");
        folio.fill(fill);
        folios.push(folio);
    }
    assert_eq!(folios.len() as u64, free, "as many as it says");
    folios
}

/// Takes the handover in `world` at `entry` over and does everything to it that a program may.
/// Returns whether memory may have changed.
fn attack(world: &World, entry: Entry, pool: &Pool, random: &mut Random, n: &mut Counts) -> bool {
    let base = world.base;
    let handed = world.handed();
    let deep = random.once_in(16);
    let found = deep.then(|| read_all(&world.file));
    let unchanged = |what: &str| {
        if let Some(found) = &found {
            assert!(
                *found == read_all(&world.file),
                "{what}: memory has changed"
            );
        }
    };
    let mut attached = match Attached::open(handed, entry) {
        Ok(attached) => attached,
        Err(failed) => {
            n.not_opened += 1;
            let _ = failed.error.to_string();
            assert_eq!(failed.returned.pages(), PAGES as u64, "as it was");
            unchanged("opening");
            return false;
        }
    };
    let kept = kept(&attached.handover(), base);
    let areas: Vec<PhysRange> = attached
        .handover()
        .scratch()
        .map(|table| table.areas().to_vec())
        .unwrap_or_default();
    let carved = |page: usize| {
        let addr = PhysAddr::new(base + page as u64 * PAGE_SIZE_U64);
        addr.is_null() || areas.iter().any(|area| area.contains(addr))
    };
    let kept_runs = runs(&kept);
    let read_kept = || {
        let mut bytes = vec![0; kept.iter().filter(|kept| **kept).count() * PAGE_SIZE];
        let mut rest = &mut bytes[..];
        for (from, to) in &kept_runs {
            let head = rest.split_off_mut(..(to - from) * PAGE_SIZE).unwrap();
            let at = (from * PAGE_SIZE) as u64;
            world.file.read_exact_at(head, at).unwrap();
        }
        bytes
    };
    let before = read_kept();
    // What was kept is as it was found, whatever was written elsewhere.
    let same = |what: &str| assert!(before == read_kept(), "{what}: memory has changed");
    let mut dirty = false;
    let mut mine = Vec::new();
    let usable = |page: usize| !kept[page] && !carved(page);
    if random.once_in(4) {
        let arena = attached.settle();
        mine = all_free(&arena, base, 0xa1, usable);
        dirty = true;
    }
    let registry = Registry::linked().unwrap();
    let handlers = handlers(&pool.table);
    let mut incoming =
        match Incoming::take_over(attached, registry, &policy::SemverRange, handlers.clone()) {
            Ok(incoming) => incoming,
            Err(failed) => {
                n.not_taken += 1;
                let _ = failed.error.to_string();
                let handed = failed.returned.into_handed();
                if !dirty {
                    assert_eq!(handed.pages(), PAGES as u64, "as it was");
                    unchanged("taking over");
                }
                same("refused");
                return dirty;
            }
        };
    n.taken += 1;
    for again in 0..2 {
        if mine.is_empty() && random.once_in(2) {
            mine = all_free(&incoming.settle(), base, 0xa2, usable);
            dirty = true;
        }
        let names = incoming.sessions();
        let mut sessions: Vec<_> = names
            .iter()
            .map(|name| incoming.session(name.as_bytes()).unwrap())
            .collect();
        for name in &names {
            assert!(incoming.session(name.as_bytes()).is_err(), "once");
        }
        let mut files: Vec<Arc<MemFile>> = Vec::new();
        let mut others = Vec::new();
        let all = !random.once_in(4);
        for session in &sessions {
            for token in session.tokens() {
                if !all && random.once_in(2) {
                    continue;
                }
                match session.retrieve_any(token) {
                    Ok(file) => {
                        n.files += 1;
                        assert!(Arc::ptr_eq(&file, &session.retrieve_any(token).unwrap()));
                        match file.clone().downcast::<MemFile>() {
                            Ok(file) => files.push(file),
                            Err(_) => {
                                let fd = file.clone().downcast::<FdFile>().unwrap();
                                drop(fd.duplicate().unwrap());
                                n.descriptors += 1;
                                others.push(file);
                            }
                        }
                    }
                    Err(error) => {
                        n.files_failed += 1;
                        assert!(matches!(error, IncomingError::Retrieve { .. }), "{error}");
                        let twice = session.retrieve_any(token).unwrap_err();
                        assert_eq!(error.to_string(), twice.to_string());
                    }
                }
            }
        }
        let flb = incoming.flb::<Object>(FLB).ok();
        n.flbs += u64::from(flb.is_some());
        let held: Vec<_> = files.iter().map(|file| contents(file, 2 << 20)).collect();
        for file in &files {
            assert!(file.write_at(0, b"x").is_err() && file.truncate(0).is_err());
            let _ = file.set_pos(5);
        }
        same("retrieved");
        if again == 0 && random.once_in(3) {
            // Back, and again.
            let kept_file = random.once_in(2).then(|| files.first().cloned()).flatten();
            drop((files, others, flb, sessions));
            let back = match incoming.into_attached() {
                Ok(back) => {
                    assert!(kept_file.is_none());
                    back
                }
                Err(incoming) => {
                    let kept_file = kept_file.expect("nothing is in use");
                    contents(&kept_file, 1);
                    drop(kept_file);
                    incoming
                        .into_attached()
                        .expect("nothing is in use any more")
                }
            };
            n.handed_back += 1;
            same("handed back");
            let handed = back.into_handed();
            let reopened = Attached::open(handed, entry);
            let reopened = reopened.map_err(|failed| failed.error).expect("as it was");
            let taken =
                Incoming::take_over(reopened, registry, &policy::SemverRange, handlers.clone());
            incoming = taken.map_err(|failed| failed.error).expect("as it was");
            continue;
        }
        if random.once_in(5) {
            // Never finished: it stays what it was.
            drop((incoming, sessions));
            held.iter().zip(&files).for_each(|(held, file)| {
                assert!(contents(file, 2 << 20) == *held);
            });
            same("dropped");
            return dirty;
        }
        // Finished, by session or as a whole.
        let by_session = random.once_in(2);
        let done = if by_session {
            let mut done = Ok(());
            for session in sessions.drain(..).rev() {
                done = done.and_then(|()| session.finish());
                if !incoming.is_finished() {
                    same("a session finished");
                }
            }
            done.and_then(|()| incoming.finish())
        } else {
            incoming.finish()
        };
        let arena = match done {
            Ok(arena) => arena,
            Err(error) => {
                // Every folio was claimed once.
                n.can_not_finish += 1;
                panic!("{error}");
            }
        };
        n.finished += 1;
        assert!(incoming.is_finished());
        assert!(incoming.finish().is_ok(), "and stays so");
        // Everything that is free is written to; no file sees it.
        mine.extend(all_free(&arena, base, 0xa3, |page| !carved(page)));
        for (held, file) in held.iter().zip(&files) {
            assert!(contents(file, 2 << 20) == *held, "a file changed");
        }
        // Every file is written to; none sees the other.
        mine.clear();
        let mut written = HashMap::new();
        for (at, file) in files.iter().enumerate() {
            let len = file.size().min(2 << 20) as usize;
            if let Ok(done) = file.write_at(0, &vec![at as u8 ^ 0x55; len]) {
                written.insert(at, done);
            }
        }
        let object = flb.as_ref().and_then(|flb| {
            let mut folio = flb
                .1
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()?;
            folio.fill(0xf1);
            Some(folio)
        });
        mine = all_free(&arena, base, 0xa4, |page| !carved(page));
        for (at, done) in written {
            let (_, bytes) = contents(&files[at], 2 << 20);
            let mark = at as u8 ^ 0x55;
            assert!(is_all(&bytes[..done], mark), "two owners of a page");
        }
        assert!(object.is_none_or(|folio| is_all(&folio, 0xf1)));
        for folio in &mine {
            assert!(is_all(folio, 0xa4), "two owners of a page");
        }
        mine.clear();
        for file in &files {
            let size = file.size();
            let _ = file.truncate(size / 2);
            let _ = file.truncate(size.saturating_add(10_000));
            if file.truncate(size / 3).is_ok() && file.seals() == 0 {
                let _ = file.write_at(size / 2 + 5000, b"far");
            }
            contents(file, 1 << 20);
        }
        drop((files, others, flb, sessions, incoming, handlers));
        let whole = (0..PAGES).filter(|page| !carved(*page)).count() as u64;
        assert_eq!(
            arena.free_pages(),
            whole,
            "not a page is lost, and none is there twice"
        );
        let all = all_free(&arena, base, 0xa5, |page| !carved(page));
        n.pages_checked += all.len() as u64;
        drop(all);
        // All is free: in the largest blocks that there can be.
        let sum: usize = arena
            .free_blocks()
            .iter()
            .map(|(_, order)| 1 << order)
            .sum();
        assert_eq!(sum as u64, whole);
        assert!(
            arena.into_handed().is_ok(),
            "nothing owns anything any more"
        );
        return true;
    }
    unreachable!("the second time ends")
}

#[cfg(not(miri))]
#[test]
fn no_mutant_in_place_breaks_anything() {
    let number = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let mutants = number("ATTACH_MUTANTS", 2000);
    let seed = number("ATTACH_SEED", 1);
    let mut pool = Pool::new(number("ATTACH_FDS", 400) as usize);
    let mut worlds: Vec<World> = [
        (0x1000_0000, Writing::PLAIN),
        (0, Writing::COMPOSITE),
        (0x1000_0000, Writing::COMPOSITE),
        (0, Writing::PLAIN),
    ]
    .into_iter()
    .map(|(base, dialect)| World::new(base, dialect))
    .collect();
    // A mutant that runs away is named.
    static AT: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(|| {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let at = AT.load(Ordering::Relaxed);
            if at != last {
                (last, since) = (at, Instant::now());
            } else if since.elapsed() > Duration::from_secs(60) {
                eprintln!("mutant {at} runs away");
                std::process::abort();
            }
        }
    });
    let mut n = Counts::default();
    let (mut slowest, mut failures) = (Duration::ZERO, Vec::new());
    for index in 0..mutants {
        AT.store(index, Ordering::Relaxed);
        let mut random = seeded(seed << 40 | index);
        let world = &mut worlds[(index % 4) as usize];
        pool.renew(world);
        assert!(world.sessions == 4 && world.file.as_raw_fd() > 2);
        // Now and then none at all: what was handed over is still to be had.
        let count = if index % 64 < 4 {
            0
        } else {
            random.of(&[1, 1, 1, 2, 3, 6])
        };
        let (mut entry, mut what, mut damaged) = (world.entry, Vec::new(), Vec::new());
        if count > 0 && random.once_in(25) {
            entry = world.alter_entry(&mut random);
            what.push(format!("{entry:x?}"));
        } else {
            for _ in 0..count {
                let (text, at, bytes) = world.damage(&mut random);
                what.push(format!("{text} at {at:#x}"));
                let end = world.base + SIZE;
                let room = (end - at).min(bytes.len() as u64) as usize;
                world.write(at, &bytes[..room]);
                damaged.push((at, room));
            }
        }
        let taken = n.taken;
        let started = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| {
            attack(world, entry, &pool, &mut random, &mut n)
        }));
        slowest = slowest.max(started.elapsed());
        if done.is_err() {
            eprintln!("mutant {index} of seed {seed}: {what:#?}");
            failures.push(index);
            assert!(failures.len() < 20, "{failures:?}");
        }
        assert!(count > 0 || n.taken > taken, "undamaged");
        // As it was: all of it, or what was damaged.
        if done.unwrap_or(true) {
            world.write(world.base, &world.bytes[..SCRATCH as usize]);
        } else {
            for (at, len) in damaged {
                let from = (at - world.base) as usize;
                world.write(at, &world.bytes[from..from + len]);
            }
        }
    }
    println!("{n:#?}, the slowest took {slowest:?}");
    assert!(failures.is_empty(), "{failures:?}");
    assert!(n.taken > mutants / 10 && n.not_opened > mutants / 10);
    assert!(slowest < Duration::from_secs(10));
}
