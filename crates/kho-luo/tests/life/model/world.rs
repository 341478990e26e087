//! What is done and what the model says, step by step.

use super::*;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(0x006b_686f),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// `items` in an order of the seed's.
fn shuffled<T>(seed: u64, items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut keyed: Vec<_> = (1u64..)
        .zip(items)
        .map(|(at, item)| (at.wrapping_mul(seed | 1).rotate_left(17), item))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, item)| item).collect()
}

/// The real thing. Its sessions are open until they are closed, or the update happens.
struct World {
    arena: Arena,
    whole: u64,
    base: u64,
    stage: Stage,
    luo: Orchestrator,
    frozen: Option<Frozen>,
    open: BTreeMap<usize, OutgoingSession>,
    files: Vec<Arc<FakeFile>>,
}

impl World {
    fn new(arena: Arena, stage: Stage, files: Vec<Arc<FakeFile>>, generation: u64) -> Self {
        let whole = arena.free_pages();
        let dialect = Writing::ALL[(3 + generation as usize) % Writing::ALL.len()];
        let kho = kho(arena.clone(), dialect);
        let luo = Orchestrator::new(kho, handlers(&stage), generation).unwrap();
        Self {
            base: luo.kho().preserver().pages(),
            arena,
            whole,
            stage,
            luo,
            frozen: None,
            open: BTreeMap::new(),
            files,
        }
    }

    fn first() -> Self {
        let files = FILES.iter().enumerate();
        let files = files.map(|(id, (kind, size))| FakeFile::new(id as u64, kind, *size));
        Self::new(arena(), Stage::default(), files.collect(), 0)
    }

    /// Takes the step, and has the model take it; `None` where it makes no sense.
    fn step(&mut self, model: &mut Model, op: &Op) -> Option<(Result<(), LuoError>, Done)> {
        let both = match *op {
            Op::Create(name) => {
                let done = self.luo.create_session(NAMES[name]);
                let done = done.map(|session| drop(self.open.insert(name, session)));
                (done, model.create(name))
            }
            Op::Preserve(name, token, file) => {
                let session = self.open.get(&name)?;
                let done = session.preserve(token, self.files[file].clone());
                (done, model.preserve(name, token, file))
            }
            Op::Close(name) => {
                self.open.remove(&name)?.close();
                model.close(name);
                (Ok(()), Ok(()))
            }
            Op::Freeze => {
                let done = self.luo.freeze();
                let done = done.map(|frozen| self.frozen = Some(frozen));
                (done, model.freeze())
            }
            Op::Unfreeze => {
                self.frozen.take()?.unfreeze();
                model.unfreeze();
                (Ok(()), Ok(()))
            }
            Op::Fail(kind, after) => {
                self.stage.fail(kind, after);
                model.faults.insert(kind, after);
                (Ok(()), Ok(()))
            }
            Op::Update(..) => return None,
        };
        Some(both)
    }

    fn check(&self, model: &Model) {
        let sessions = &model.sessions;
        assert_eq!(self.luo.sessions(), sessions.len());
        for (name, files) in sessions {
            if let Some(session) = self.open.get(name) {
                assert_eq!(session.files(), files.len());
            }
        }
        let flbs = model.flbs.iter().filter(|count| **count > 0).count();
        assert_eq!(
            self.stage.alive(),
            (model.files().len() as u64, flbs as u64)
        );
        let preserver = self.luo.kho().preserver();
        let pages = self.base + model.blocks() + model.pages();
        assert_eq!(preserver.pages(), pages);
        let nodes = preserver.tracker(|tracker| tracker.nodes().count()) as u64;
        // The scratch table is not preserved.
        assert_eq!(self.arena.free_pages(), self.whole - pages - nodes - 1);
    }

    /// The update happens: everything is handed over, checked by the reader, and taken over.
    fn update(self, model: &mut Model, seed: u64, each: bool) -> Self {
        let Self {
            arena,
            whole,
            stage,
            luo,
            frozen,
            open,
            mut files,
            ..
        } = self;
        let number = luo.number() + 1;
        let dialect = luo.kho().writing();
        drop((open, luo, arena));
        let attached = attach(frozen.expect("it is frozen"));
        model.hand_over();
        assert_eq!(stage.calls(), std::mem::take(&mut model.calls));
        check_bytes(&attached.handover(), model, dialect);
        let incoming = take_over(attached, handlers(&stage));
        assert_eq!(incoming.number(), number);

        let sessions: Vec<_> = model
            .sessions
            .iter()
            .map(|(name, _)| incoming.session(NAMES[*name]).unwrap())
            .collect();
        let there = retrieve_some(&incoming, &sessions, model, seed);
        let arena = finish(&incoming, &sessions, model, &there, seed, each);
        for file in model.files() {
            // What was not retrieved is gone; there is a new one of its kind.
            let (kind, size) = FILES[file];
            files[file] = match there.get(&file) {
                Some(file) => {
                    assert!(file.is_whole() && file.is_own() == (size > 0));
                    file.release();
                    file.clone()
                }
                None => FakeFile::new(file as u64, kind, size),
            };
        }
        drop((sessions, there, incoming));
        assert_eq!(arena.free_pages(), whole, "not a page is lost");
        assert_eq!(stage.calls(), std::mem::take(&mut model.calls));
        *model = Model {
            faults: std::mem::take(&mut model.faults),
            ..Model::default()
        };
        Self::new(arena, stage, files, number)
    }
}

/// Reads the handover as a dump is read.
fn check_bytes(handover: &Handover<'_>, model: &Model, dialect: Writing) {
    let mut reading = handover.reading().unwrap();
    let (_, luo) = survey(handover, &mut reading, Registry::linked().unwrap()).unwrap();
    let luo = luo.unwrap();
    let body = luo.body().unwrap();
    let compat = |kind: &str| match (dialect, kind) {
        (_, FAKE) => "fake-v1",
        (Writing::COMPOSITE | Writing::COMPOSITE_DIRECT, _) => "decoy-v3;block-v1",
        _ => "decoy-v3",
    };
    let read = body.sessions().iter().map(|session| {
        let files = session.files().iter();
        let files = files.map(|file| (file.token.get(), body.compatible_of(file).to_owned()));
        (session.name().to_string(), files.collect::<Vec<_>>())
    });
    let expected = model.sessions.iter().map(|(name, files)| {
        let files = files.iter();
        let files = files.map(|(token, file)| (*token, compat(FILES[*file].0).to_owned()));
        (NAMES[*name].to_owned(), files.collect::<Vec<_>>())
    });
    assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    // What is listed is what is in use.
    let listed: BTreeSet<_> = handover.listed().iter().map(|l| l.name.as_str()).collect();
    let kinds = model.sessions.iter().flat_map(|(_, files)| files);
    let kinds = kinds.map(|(_, file)| FILES[*file].0);
    let own = ["block", "kexec-metadata", "kho", "luo", "radix"];
    let own = own.into_iter().chain(kinds);
    match dialect {
        // `vmalloc` is not linked: a table names it, masks of it there are none.
        Writing::TABLE => assert_eq!(listed, own.chain(["vmalloc"]).collect()),
        Writing::FEATURES => assert_eq!(listed, own.collect()),
        _ => assert!(listed.is_empty()),
    }
    let read = body.flbs().iter().map(|flb| (flb.name.as_str(), flb.count));
    let expected = FLBS.iter().zip(model.flbs);
    let expected = expected
        .map(|((name, _), count)| (*name, count))
        .filter(|(_, count)| *count > 0);
    assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(
        reading.claims().unclaimed().1,
        model.pages(),
        "all but the pages of files and FLBs is accounted for"
    );
}

/// Retrieves some files, each twice, and some FLBs. Returns those that are there, by number.
fn retrieve_some(
    incoming: &Incoming,
    sessions: &[IncomingSession],
    model: &mut Model,
    seed: u64,
) -> BTreeMap<usize, Arc<FakeFile>> {
    let all = model.sessions.iter().zip(sessions);
    let all = all.flat_map(|((_, files), session)| files.iter().map(move |file| (session, *file)));
    let all = shuffled(seed, all);
    let mut there = BTreeMap::new();
    for (session, (token, file)) in all {
        if seed >> (token + file as u64) & 1 == 1 {
            continue;
        }
        let first = session.retrieve::<FakeFile>(token);
        let second = session.retrieve::<FakeFile>(token);
        let expected = model.call("retrieve", file);
        match (first, second) {
            (Ok(first), Ok(second)) => {
                assert!(expected && Arc::ptr_eq(&first, &second));
                assert_eq!((first.id, first.kind), (file as u64, FILES[file].0));
                there.insert(file, first);
            }
            (Err(first), Err(second)) => {
                assert!(!expected);
                assert_eq!(first.to_string(), second.to_string());
            }
            _ => panic!("the second time is as the first"),
        }
    }
    for flb in (0..2).filter(|flb| seed >> (40 + flb) & 1 == 1) {
        let (name, _) = FLBS[flb];
        let made = incoming.flb::<FlbObject>(name);
        let expected = model.flbs[flb] > 0 && model.call("FLB retrieve", name);
        assert_eq!(
            made.ok(),
            expected.then(|| Arc::new(FlbObject(name.to_owned())))
        );
    }
    there
}

/// Finishes the sessions, and with the last one the handover.
fn finish(
    incoming: &Incoming,
    sessions: &[IncomingSession],
    model: &mut Model,
    there: &BTreeMap<usize, Arc<FakeFile>>,
    seed: u64,
    each: bool,
) -> Arena {
    let can = |model: &mut Model, files: &[(u64, usize)]| {
        files.iter().all(|(_, file)| match there.get(file) {
            Some(_) => model.call("can_finish", file),
            None => model.call("can_finish", "nobody's"),
        })
    };
    let mut retrieved_flbs = Vec::new();
    for call in &model.calls {
        let name = call.strip_prefix("FLB retrieve ").map(str::to_owned);
        retrieved_flbs.extend(name.filter(|name| incoming.flb::<FlbObject>(name).is_ok()));
    }
    if each {
        let pairs = model.sessions.clone().into_iter().zip(sessions);
        for ((_, files), session) in shuffled(!seed, pairs) {
            // One that is refused is tried again: faults come once.
            while !can(model, &files) {
                assert!(session.finish().is_err() && !incoming.is_finished());
            }
            session.finish().unwrap();
        }
    }
    let unfinished = if each {
        Vec::new()
    } else {
        model.sessions.concat()
    };
    while !can(model, &unfinished) {
        assert!(incoming.finish().is_err() && !incoming.is_finished());
    }
    assert_eq!(incoming.is_finished(), each && !sessions.is_empty());
    let arena = incoming.finish().unwrap();
    for file in model.files().into_iter().rev() {
        let how = if there.contains_key(&file) {
            ""
        } else {
            " unretrieved"
        };
        model.call("finish", format!("{file}{how}"));
    }
    for flb in (0..2)
        .rev()
        .filter(|flb| model.flbs[*flb] > 0)
        .collect::<Vec<_>>()
    {
        let (name, _) = FLBS[flb];
        let is_there = retrieved_flbs.iter().any(|other| other == name);
        let how = if is_there { "" } else { " unretrieved" };
        model.call("FLB finish", format!("{name}{how}"));
    }
    arena
}

trait Concat {
    fn concat(&self) -> Vec<(u64, usize)>;
}

impl Concat for Vec<(usize, Vec<(u64, usize)>)> {
    fn concat(&self) -> Vec<(u64, usize)> {
        self.iter().flat_map(|(_, files)| files.clone()).collect()
    }
}

proptest! {
    #![proptest_config(config(160))]

    #[test]
    fn a_life_is_what_a_model_says(ops in ops()) {
        let (mut world, mut model) = (World::first(), Model::default());
        for (op, fault) in ops {
            if let Op::Update(seed, each) = op {
                if world.frozen.is_none() {
                    let freeze = world.step(&mut model, &Op::Freeze).unwrap();
                    prop_assert_eq!(freeze.0.as_ref().map_err(why).copied(), freeze.1);
                    prop_assert_eq!(world.stage.calls(), std::mem::take(&mut model.calls));
                }
                if world.frozen.is_some() {
                    world = world.update(&mut model, seed, each);
                }
                world.check(&model);
                continue;
            }
            let before = (model.clone(), world.arena.free_blocks());
            if let Some(after) = fault {
                world.arena.fail_after(after);
            }
            let stepped = world.step(&mut model, &op);
            let failed = fault.is_some() && !world.arena.no_fault();
            if let Some((done, expected)) = stepped {
                let done = done.as_ref().map_err(why).copied();
                if failed {
                    // For want of memory; nothing but faults is used up then.
                    prop_assert!(matches!(op, Op::Create(_) | Op::Preserve(..)));
                    prop_assert!(matches!(done, Err("set" | "handler" | "FLB")), "{:?}", done);
                    prop_assert_eq!(world.arena.free_blocks(), before.1);
                    model = before.0;
                    model.faults = world.stage.lock().faults.clone();
                    world.stage.calls();
                } else {
                    prop_assert_eq!(done, expected, "{:?}", op);
                }
            }
            prop_assert_eq!(world.stage.calls(), std::mem::take(&mut model.calls));
            world.check(&model);
        }
        let World { arena, whole, stage, luo, frozen, open, .. } = world;
        drop((open, frozen, luo));
        prop_assert_eq!((arena.free_pages(), stage.alive()), (whole, (0, 0)));
    }
}
