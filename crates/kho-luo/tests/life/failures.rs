//! Every failure point of one life, each in a life of its own.

use super::*;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The allocation after so many.
    Allocation(u64),
    /// The call of a kind after so many.
    Call(&'static str, u64),
}

/// All that a failed step could have changed: the allocator, the tracker, and every byte of every
/// page that is not free.
#[derive(PartialEq)]
struct Snapshot {
    free: Vec<(usize, usize)>,
    alive: (u64, u64),
    tracker: Option<(Vec<Key>, Vec<PhysAddr>)>,
    pages: BTreeMap<usize, Vec<u8>>,
}

fn snapshot(arena: &Arena, stage: &Stage, kho: Option<&Kho>) -> Snapshot {
    let free = arena.free_blocks();
    let is_free = |page: usize| {
        let block = free.partition_point(|(first, _)| *first <= page);
        let block = block.checked_sub(1).map(|index| free[index]);
        block.is_some_and(|(first, order)| page < first + (1 << order))
    };
    let read = |page: usize| {
        let mut bytes = vec![0; PAGE_SIZE];
        let file = arena.file().expect("an arena in a memfd");
        file.read_exact_at(&mut bytes, (page * PAGE_SIZE) as u64)
            .unwrap();
        (page, bytes)
    };
    // Scratch is nobody's.
    let end = ((scratch().start().get() - BASE) / PAGE_SIZE_U64) as usize;
    let pages = (0..end).filter(|page| !is_free(*page)).map(read).collect();
    let tracker = kho.map(|kho| {
        kho.preserver()
            .tracker(|tracker| (tracker.iter().collect(), tracker.nodes().collect()))
    });
    Snapshot {
        alive: stage.alive(),
        tracker,
        pages,
        free,
    }
}

impl Snapshot {
    fn check(&self, before: &Self, what: &str) {
        assert_eq!(self.free, before.free, "{what}: free blocks");
        assert_eq!(self.alive, before.alive, "{what}: states of handlers");
        assert_eq!(self.tracker, before.tracker, "{what}: the tracker");
        for (page, bytes) in &self.pages {
            assert!(*bytes == before.pages[page], "{what}: bytes of page {page}");
        }
        assert!(self == before, "{what}");
    }
}

/// Goes through a life's steps and has one of them fail once.
struct Script {
    stage: Stage,
    fault: Option<(usize, Fault)>,
    at: usize,
    names: Vec<String>,
    fired: bool,
}

impl Script {
    fn new(fault: Option<(usize, Fault)>) -> Self {
        Self {
            stage: Stage::default(),
            fault,
            at: 0,
            names: Vec::new(),
            fired: false,
        }
    }

    fn arm(&self, arena: &Arena, fault: Fault) {
        match fault {
            Fault::Allocation(after) => arena.fail_after(after),
            Fault::Call(kind, after) => self.stage.fail(kind, after),
        }
    }

    /// Takes the fault back; returns whether it was still to come.
    fn disarm(&self, arena: &Arena) -> bool {
        let alloc = arena.no_fault();
        let call = !std::mem::take(&mut self.stage.lock().faults).is_empty();
        alloc || call
    }

    /// Takes a step; if it is the one that is to fail, it fails first, and nothing has changed
    /// then. Returns the error of it as well.
    fn try_step<T, E: Debug + Display>(
        &mut self,
        name: &str,
        (arena, kho): (&Arena, Option<&Kho>),
        step: impl Fn() -> Result<T, E>,
    ) -> (Option<String>, Result<T, E>) {
        let number = self.at;
        self.at += 1;
        self.names.push(name.to_owned());
        let Some((_, fault)) = self.fault.filter(|(at, _)| *at == number) else {
            return (None, step());
        };
        let before = snapshot(arena, &self.stage, kho);
        self.arm(arena, fault);
        let done = step();
        if self.disarm(arena) {
            return (None, done);
        }
        self.fired = true;
        let what = format!("{name}, {fault:?}");
        let Err(error) = done else {
            panic!("{what}: it went well")
        };
        snapshot(arena, &self.stage, kho).check(&before, &what);
        (Some(error.to_string()), step())
    }

    fn step<T, E: Debug + Display>(
        &mut self,
        name: &str,
        on: (&Arena, Option<&Kho>),
        step: impl Fn() -> Result<T, E>,
    ) -> T {
        self.try_step(name, on, step).1.unwrap()
    }

    /// A step that is not tried again: where it failed it keeps failing.
    fn sticky<T, E: Debug + Display>(
        &mut self,
        name: &str,
        arena: &Arena,
        step: impl Fn() -> Result<T, E>,
    ) -> Option<T> {
        match self.try_step(name, (arena, None), step) {
            (None, done) => Some(done.unwrap()),
            (Some(first), done) => {
                assert_eq!(done.err().map(|error| error.to_string()), Some(first));
                None
            }
        }
    }
}

/// Three sessions at a block's border, files of two handlers at another, two FLBs; over there and
/// finished. Returns the script, with the fault that came or did not.
fn live(dialect: Writing, fault: Option<(usize, Fault)>) -> Script {
    let mut script = Script::new(fault);
    let stage = script.stage.clone();
    let arena = Arena::memfd(&arena_config()).unwrap();
    let whole = arena.free_pages();
    let kho = kho(arena.clone(), dialect);
    let on = (&arena, Some(&kho));
    let luo = script.step("new", on, || {
        Orchestrator::new(kho.clone(), handlers(&stage), 4)
    });
    let files = [
        FakeFile::new(1, FAKE, 100),
        FakeFile::new(2, DECOY, 9000),
        FakeFile::new(3, DECOY, 5000),
        FakeFile::new(4, FAKE, 40_000),
        FakeFile::new(5, FAKE, 1),
    ];
    let mut open: Vec<OutgoingSession> = Vec::new();
    open.push(script.step("create a", on, || luo.create_session("a")));
    script.step("preserve 1", on, || open[0].preserve(1, files[0].clone()));
    script.step("preserve 2", on, || open[0].preserve(2, files[1].clone()));
    open.push(script.step("create b", on, || luo.create_session("b")));
    script.step("preserve 3", on, || open[1].preserve(3, files[2].clone()));
    script.step("preserve 4", on, || open[1].preserve(4, files[3].clone()));
    // Up to the border of a block of sessions, and of one of files.
    for number in 2..51 {
        open.push(luo.create_session(format!("{number}")).unwrap());
    }
    for id in 102..163 {
        open[1].preserve(id, FakeFile::new(id, DECOY, 0)).unwrap();
    }
    open.push(script.step("create c", on, || luo.create_session("c")));
    script.step("preserve 5", on, || open[1].preserve(5, files[4].clone()));
    assert_eq!((open[1].files(), luo.sessions()), (64, 52));

    let before = fault
        .is_none()
        .then(|| snapshot(&arena, &stage, Some(&kho)));
    script.step("freeze", on, || luo.freeze()).unfreeze();
    if let Some(before) = before {
        snapshot(&arena, &stage, Some(&kho)).check(&before, "unfrozen");
    }
    let frozen = luo.freeze().unwrap();
    drop((open, luo, kho, arena, files));

    let incoming = take_over(attach(frozen), handlers(&stage));
    assert_eq!((incoming.number(), incoming.files()), (5, 66));
    let arena = incoming.reclaim();
    let objects =
        FLBS.map(|(name, _)| script.sticky(name, &arena, || incoming.flb::<FlbObject>(name)));
    let a = incoming.session("a").unwrap();
    let b = incoming.session("b").unwrap();
    let mut files: Vec<Arc<FakeFile>> = Vec::new();
    // One is never retrieved.
    for (session, token) in [(&b, 5), (&a, 1), (&b, 3), (&a, 2), (&b, 110)] {
        let name = format!("retrieve {token}");
        files.extend(script.sticky(&name, &arena, || session.retrieve::<FakeFile>(token)));
    }
    script.step("finish b", (&arena, None), || b.finish());
    script.step("finish", (&arena, None), || incoming.finish());
    assert!(incoming.is_finished());
    assert!(files.iter().all(|file| file.is_whole()));
    drop((incoming, a, b, files, objects));
    assert_eq!(arena.free_pages(), whole, "no page is lost: {fault:?}");
    assert_eq!(stage.alive(), (0, 0));
    drop(arena.into_handed().expect("nobody owns a page"));
    script
}

/// What fails in a life whose dialect is `dialect`: allocations and calls of handlers.
fn failures(dialect: Writing) -> (usize, usize) {
    let script = live(dialect, None);
    let mut counts = Vec::new();
    for (number, name) in script.names.iter().enumerate() {
        let points = |fault: &dyn Fn(u64) -> Fault| {
            (0..)
                .take_while(|after| live(dialect, Some((number, fault(*after)))).fired)
                .count()
        };
        let allocations = points(&Fault::Allocation);
        let calls: usize = CALLS
            .iter()
            .map(|kind| points(&|after| Fault::Call(kind, after)))
            .sum();
        println!("{name}: {allocations} allocations, {calls} calls");
        counts.push((allocations, calls));
    }
    let allocations: usize = counts.iter().map(|(count, _)| count).sum();
    let calls: usize = counts.iter().map(|(_, count)| count).sum();
    println!("{allocations} allocations and {calls} calls failed, each once");
    (allocations, calls)
}

#[test]
fn every_failure_of_a_life_is_undone_and_the_update_goes_on() {
    let (allocations, calls) = failures(Writing::PLAIN);
    assert!(allocations >= 33 && calls >= 146, "they do not get fewer");
    // With a list that says what is in use, which is undone as well.
    assert_eq!(failures(Writing::TABLE), (allocations, calls));
}
