//! Invariants of the writer that are broken: a freeze that meets one is called off and undone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::string::String;
use std::sync::atomic::AtomicU64;
use std::vec;

use kho_compat::{Carrier, Component, Generation};
use kho_core::{Attached, KhoConfig};
use kho_mem::{Arena, ArenaConfig, Broken, PhysAddr};

use super::*;
use crate::{FileHandler, FlbHandler, HandlerError, Retrieve};

kho_compat::submit! { Component::new("number", &[Generation::new(1)]).carried_in(Carrier::FileHandler).field(48) }

const BASE: u64 = 0x1000_0000;
const SIZE: usize = 8 << 20;

/// Hands numbers over, and counts those that are frozen.
struct Numbers(Arc<AtomicU64>);

impl FileHandler for Numbers {
    type File = u64;
    type Preserved = ();

    fn component(&self) -> &'static str {
        "number"
    }

    fn writes(&self) -> &[u32] {
        &[1]
    }

    fn preserve(&self, _: &Kho, _: &Arc<u64>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn unpreserve(&self, _: &Arc<u64>, (): ()) {}

    fn freeze(&self, file: &Arc<u64>, (): &mut ()) -> Result<u64, HandlerError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(**file)
    }

    fn unfreeze(&self, _: &Arc<u64>, (): &mut ()) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn hand_over(&self, _: &Arc<u64>, (): ()) {}

    fn retrieve(&self, _: &mut Retrieve<'_>, data: u64) -> Result<Arc<u64>, HandlerError> {
        Ok(Arc::new(data))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<u64>>) {}
}

/// An object whose name grows when it is told to.
struct Object(Arc<AtomicBool>);

impl FlbHandler for Object {
    type Object = ();
    type Preserved = ();

    fn name(&self) -> &str {
        let name = "object-v1-of-a-name-that-does-not-fit-its-field-at-all";
        let len = if self.0.load(Ordering::Relaxed) {
            54
        } else {
            9
        };
        name.get(..len).unwrap()
    }

    fn preserve(&self, _: &Kho) -> Result<(u64, ()), HandlerError> {
        Ok((7, ()))
    }

    fn unpreserve(&self, (): ()) {}

    fn hand_over(&self, (): ()) {}

    fn retrieve(&self, _: &mut Retrieve<'_>, _: u64) -> Result<Arc<()>, HandlerError> {
        Ok(Arc::new(()))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<()>>) {}
}

struct World {
    luo: Orchestrator,
    sessions: Vec<OutgoingSession>,
    frozen: Arc<AtomicU64>,
    grow: Arc<AtomicBool>,
}

fn kho() -> Kho {
    let config = ArenaConfig::new(PhysAddr::new(BASE), SIZE as u64);
    Kho::new(Arena::memfd(&config).unwrap(), &KhoConfig::new()).unwrap()
}

/// Two sessions, of three files and of one.
fn world() -> World {
    let (frozen, grow) = (Arc::default(), Arc::default());
    let handlers = Handlers::new()
        .with(Numbers(Arc::clone(&frozen)))
        .with_flb(["number"], Object(Arc::clone(&grow)));
    let luo = Orchestrator::new(kho(), handlers, 4).unwrap();
    let sessions: Vec<_> = ["one", "two"]
        .iter()
        .map(|name| luo.create_session(name).unwrap())
        .collect();
    for (session, token) in [(0, 1), (0, 2), (1, 3), (0, 4)] {
        sessions[session].preserve(token, Arc::new(token)).unwrap();
    }
    World {
        luo,
        sessions,
        frozen,
        grow,
    }
}

/// The allocator, the tracker, and the bytes of all pages that are not free.
type Snapshot = (Vec<(usize, usize)>, u64, BTreeMap<usize, Vec<u8>>);

fn snapshot(kho: &Kho) -> Snapshot {
    let (arena, free) = (kho.arena(), kho.arena().free_blocks());
    let is_free = |page| {
        let mut blocks = free.iter();
        blocks.any(|(first, order)| (*first..first + (1 << order)).contains(&page))
    };
    let pages = (0..SIZE / PAGE_SIZE).filter(|page| !is_free(*page));
    let pages = pages.map(|page| {
        let mut bytes = vec![0; PAGE_SIZE];
        let file = arena.file().unwrap();
        file.read_exact_at(&mut bytes, (page * PAGE_SIZE) as u64)
            .unwrap();
        (page, bytes)
    });
    let pages = pages.collect();
    (free, kho.preserver().keys(), pages)
}

impl World {
    fn state<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        step(&mut self.luo.0.state.enter().unwrap())
    }

    /// Breaks an invariant, freezes, and looks at what is left of the freeze.
    fn check(self, break_it: impl FnOnce(&Self), expected: Broken) {
        break_it(&self);
        let before = snapshot(self.luo.kho());
        for _ in 0..2 {
            match self.luo.freeze() {
                Err(LuoError::Broken(broken)) => assert_eq!(broken, expected),
                other => panic!("{other:?}"),
            }
            assert!(snapshot(self.luo.kho()) == before, "every byte as before");
            assert_eq!(self.frozen.load(Ordering::Relaxed), 0, "unfrozen");
            let data = |state: &mut State| {
                let sessions = state.sessions.iter().flatten();
                let files = sessions.flat_map(|session| &session.files);
                files.map(|file| file.data).sum::<u64>()
            };
            assert_eq!((self.state(data), self.luo.sessions()), (0, 2));
        }
        // It goes on.
        self.sessions[0].preserve(9, Arc::new(9u64)).unwrap();
    }
}

macro_rules! broken {
    ($($name:ident: $break:expr, ($what:literal, $expected:literal, $found:literal);)*) => {
        $(#[test]
        fn $name() {
            world().check($break, Broken::new($what, $expected, $found));
        })*
    };
}

fn first(state: &mut State) -> &mut Session {
    state.sessions[0].as_mut().unwrap()
}

broken! {
    a_file_set_without_room:
        |world| world.state(|state| first(state).set.shrink(0)),
        ("entries of a file set", 3, 0);
    a_session_set_without_room:
        |world| world.state(|state| state.set.shrink(0)),
        ("entries of the session set", 2, 0);
    a_file_without_a_handler:
        |world| world.state(|state| first(state).files[2].kind = 7),
        ("file handlers", 8, 1);
    a_session_that_no_name_leads_to:
        |world| world.state(|state| state.by_name.retain(|name, _| name.as_bytes() == b"one")),
        ("sessions", 1, 2);
    an_object_whose_name_has_grown:
        |world| world.grow.store(true, Ordering::Relaxed),
        ("bytes of an FLB's name", 48, 54);
    a_header_that_was_taken_out:
        |world| drop(world.luo.kho().remove_subtree(SUBTREE).unwrap()),
        ("LUO subtrees", 1, 0);
    a_header_of_another_size:
        |world| {
            let blob = world.luo.kho().remove_subtree(SUBTREE).unwrap();
            world.luo.kho().add_subtree(SUBTREE, blob, 40).unwrap();
        },
        ("bytes of the LUO header", 32, 40);
}

#[test]
fn what_is_not_broken_is_frozen() {
    let world = world();
    let before = snapshot(world.luo.kho());
    world.luo.freeze().unwrap().unfreeze();
    assert!(snapshot(world.luo.kho()) == before);
}

#[test]
fn entries_left_in_a_set_are_an_error() {
    let world = world();
    world.state(|state| first(state).set.reserve_entry().map(drop).unwrap());
    match world.luo.freeze() {
        Err(LuoError::Broken(broken)) => {
            assert_eq!(broken, Broken::new("files of a session", 3, 4));
        }
        other => panic!("{other:?}"),
    }
    // Taking the freeze back has cleared the set.
    world.luo.freeze().unwrap();
}

#[test]
fn an_update_that_can_not_be_counted_is_refused() {
    let kho = kho();
    let before = snapshot(&kho);
    let made = Orchestrator::new(kho.clone(), Handlers::new(), u64::MAX);
    let expected = "internal error: bits of the count of updates: expected 65, found 64";
    assert_eq!(made.unwrap_err().to_string(), expected);
    assert!(snapshot(&kho) == before);
    let text: String = Orchestrator::new(kho, Handlers::new(), u64::MAX - 1)
        .map(|luo| luo.number().to_string())
        .unwrap();
    assert_eq!(text, (u64::MAX - 1).to_string());
}
