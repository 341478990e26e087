//! A handover in a file, and damage to it.

use super::*;

/// A handover in an arena, as the predecessor left it, and what is known of it.
pub(super) struct World {
    pub(super) file: File,
    pub(super) base: u64,
    pub(super) entry: Entry,
    pub(super) bytes: Vec<u8>,
    // Addresses of pages: with structures in them, and of every kind.
    pub(super) structures: Vec<u64>,
    pub(super) interesting: Vec<u64>,
    // Where descriptors' numbers are written down.
    pub(super) numbers: Vec<u64>,
    pub(super) sessions: usize,
    pub(super) tracker: u64,
}

/// Which pages a handover keeps, from the base on.
pub(super) fn kept(handover: &Handover<'_>, base: u64) -> Vec<bool> {
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
pub(super) fn runs(kept: &[bool]) -> Vec<(usize, usize)> {
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
    pub(super) fn new(base: u64, dialect: Writing) -> Self {
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
        let luo = Luo::read(&handover, &mut reading, Registry::linked().unwrap())
            .unwrap()
            .unwrap();
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

    pub(super) fn word(&self, addr: u64) -> u64 {
        let at = (addr - self.base) as usize;
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    pub(super) fn write(&self, addr: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, addr - self.base).unwrap();
    }

    pub(super) fn handed(&self) -> Handed {
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
    pub(super) fn damage(&self, random: &mut Random) -> (String, u64, Vec<u8>) {
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

    pub(super) fn alter_entry(&self, random: &mut Random) -> Entry {
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
