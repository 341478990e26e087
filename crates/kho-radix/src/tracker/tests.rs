//! Trackers that are broken on purpose: each step finds it, and leaves all as it was.

use alloc::format;
use alloc::vec::Vec;

use kho_mem::{Arena, ArenaConfig, Order, PageRun, Pfn, PhysAddr};

use super::nodes::{Below, Link, NO_LEAF, Near, ROOT, TABLES};
use super::{Tracker, TrackerError};
use crate::key::slot;
use crate::v1::LEAF_BITS;
use crate::{Key, KeyRun, Preserver};

const fn frame(pfn: u64) -> Pfn {
    Pfn::new(pfn).unwrap()
}

/// A place that no node has.
const LOST: Link = 77;

fn arena() -> Arena {
    Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20)).unwrap()
}

fn key(pfn: u64) -> Key {
    Key::encode(PhysAddr::new(pfn << 12), Order::ZERO).unwrap()
}

fn prefix(key: Key) -> u64 {
    key.get() >> LEAF_BITS
}

/// All that a tracker consists of, and what is free beside it.
#[derive(PartialEq, Debug)]
struct State {
    counts: (u64, u64),
    nodes: Vec<(PhysAddr, Vec<u8>)>,
    below: Vec<Below>,
    free: Vec<(usize, usize)>,
}

fn state(tracker: &Tracker) -> State {
    let nodes = tracker.tables.iter().chain(&tracker.leaves);
    State {
        counts: (tracker.keys(), tracker.pages()),
        nodes: nodes
            .map(|node| (node.page.addr(), node.page.to_vec()))
            .collect(),
        below: tracker.below.clone(),
        free: tracker.arena.free_blocks(),
    }
}

/// `step` fails for a tracker with the key 1 that `damage` has broken, and changes nothing.
#[track_caller]
fn fails(damage: impl Fn(&mut Tracker), step: impl Fn(&mut Tracker) -> Result<(), TrackerError>) {
    let mut tracker = Tracker::new(arena()).unwrap();
    tracker.add(key(1)).unwrap();
    step(&mut tracker).expect("it succeeds where nothing is broken");
    let mut tracker = Tracker::new(arena()).unwrap();
    tracker.add(key(1)).unwrap();
    damage(&mut tracker);
    let before = state(&tracker);
    let error = step(&mut tracker).unwrap_err();
    assert!(matches!(error, TrackerError::Broken(_)), "{error}");
    assert_eq!(state(&tracker), before);
}

/// The leaf that was used last is not where it was.
fn lose_leaf(tracker: &mut Tracker) {
    let prefix = prefix(key(1));
    tracker.near = Near { prefix, link: LOST };
}

/// The root names a table that is not there.
fn lose_table(tracker: &mut Tracker) {
    let root = tracker.below.first_mut().unwrap();
    root[slot(prefix(key(1 << 50)), TABLES)] = LOST;
}

/// The second leaf of a row that goes on behind the first leaf is not there.
fn lose_next_leaf(tracker: &mut Tracker) {
    tracker.near = Near::NOWHERE;
    let next = slot(prefix(key(1 << LEAF_BITS)), 1);
    tracker.below.last_mut().unwrap()[next] = LOST;
}

const ROW: KeyRun = KeyRun {
    pfn: frame(2),
    keys: 1 << LEAF_BITS,
    order: Order::ZERO,
};

#[test]
fn a_key_is_not_put_into_a_lost_leaf() {
    fails(lose_leaf, |tracker| tracker.add(key(2)));
}

#[test]
fn a_key_is_not_taken_out_of_a_lost_leaf() {
    fails(lose_leaf, |tracker| tracker.remove(key(1)));
}

#[test]
fn a_leaf_is_not_made_below_a_lost_table() {
    fails(lose_table, |tracker| tracker.add(key(1 << 50)));
}

#[test]
fn a_node_without_an_entry_takes_no_page() {
    let mut tracker = Tracker::new(arena()).unwrap();
    let before = state(&tracker);
    for (above, slot, level) in [(LOST, 0, 1), (LOST, 0, 2), (ROOT, 512, 2)] {
        let error = tracker.add_node(above, slot, level).unwrap_err();
        assert!(matches!(error, TrackerError::Broken(_)), "{error}");
        assert_eq!(state(&tracker), before);
    }
}

#[test]
fn a_row_is_not_put_into_a_lost_leaf() {
    fails(lose_leaf, |tracker| {
        tracker.add_folios(KeyRun { keys: 3, ..ROW })
    });
}

#[test]
fn a_row_whose_second_leaf_is_lost_is_not_put_in() {
    fails(lose_next_leaf, |tracker| tracker.add_folios(ROW));
}

#[test]
fn a_row_whose_second_leaf_is_lost_is_not_taken_out() {
    let mut tracker = Tracker::new(arena()).unwrap();
    tracker.add_folios(ROW).unwrap();
    let before = state(&tracker);
    lose_next_leaf(&mut tracker);
    let done = tracker.set(key(ROW.pfn.get()), ROW.keys, false);
    assert_eq!(done, Err(NO_LEAF));
    tracker.below.clone_from(&before.below);
    assert_eq!(state(&tracker), before);
}

#[test]
fn pages_whose_second_key_has_a_lost_leaf_are_not_put_in() {
    // A key of one page, and one of two.
    let pages = PageRun {
        pfn: frame(3),
        pages: 3,
    };
    let lose = |tracker: &mut Tracker| {
        let second = Key::encode(PhysAddr::new(4 << 12), Order::new(1).unwrap()).unwrap();
        tracker.add(second).unwrap();
        tracker.remove(second).unwrap();
        let prefix = prefix(second);
        tracker.near = Near::NOWHERE;
        let table = tracker.below.last_mut().unwrap();
        table[slot(prefix, 1)] = LOST;
    };
    fails(lose, |tracker| tracker.add_pages(pages));
}

#[test]
fn pages_are_not_taken_out_in_part() {
    let mut tracker = Tracker::new(arena()).unwrap();
    let pages = PageRun {
        pfn: frame(3),
        pages: 7,
    };
    tracker.add_pages(pages).unwrap();
    let before = state(&tracker);
    let keys = tracker.page_keys(pages).unwrap();
    for failing in keys.clone() {
        let remove = |tracker: &mut Tracker, key| match key {
            key if key == failing => Err(NO_LEAF),
            key => tracker.remove(key),
        };
        let done = tracker.each_or_none(&keys, remove, Tracker::add);
        assert_eq!(done, Err(NO_LEAF));
        assert_eq!(state(&tracker), before);
    }
    // What can not be undone is an error of its own.
    let undo = |_: &mut Tracker, key| Err(super::error::absent(key));
    let step = |_: &mut Tracker, key| match key {
        key if key == keys[0] => Ok(()),
        _ => Err(NO_LEAF),
    };
    let done = tracker.each_or_none(&keys, step, undo);
    assert_eq!(done, Err(super::error::absent(keys[0])));
}

#[test]
fn a_node_that_no_entry_names_is_not_freed() {
    for is_leaf in [true, false] {
        let mut tracker = Tracker::new(arena()).unwrap();
        let savepoint = tracker.savepoint();
        tracker.add(key(1)).unwrap();
        tracker.remove(key(1)).unwrap();
        let nodes = if is_leaf {
            &mut tracker.leaves
        } else {
            tracker.leaves.clear();
            &mut tracker.tables
        };
        let last = nodes.last_mut().unwrap();
        last.above = LOST;
        let before = {
            // A table is freed once its entries are gone.
            last.page.fill(0);
            state(&tracker)
        };
        let error = tracker.rollback(savepoint).unwrap_err();
        assert!(matches!(error, TrackerError::Broken(_)), "{error}");
        assert_eq!(state(&tracker), before);
    }
}

#[track_caller]
fn is_called_off(preserver: Preserver) {
    let error = preserver.check().unwrap_err();
    assert!(matches!(error, TrackerError::Broken(_)), "{error}");
    assert!(format!("{error}").starts_with("invalid tracker state: expected "));
    let preserver = preserver.hand_over().unwrap_err();
    assert_eq!(preserver.check(), Err(error));
}

#[test]
fn an_owner_whose_key_is_gone_calls_the_handover_off() {
    let preserver = Preserver::new(arena()).unwrap();
    let folio = preserver.alloc_preserve(1).unwrap();
    let kept = Key::encode(folio.addr(), folio.order()).unwrap();
    preserver.undo(|tracker| tracker.remove(kept));
    assert_eq!(preserver.check(), Ok(()));
    drop(folio);
    is_called_off(preserver);
}

#[test]
fn an_owner_whose_pages_are_gone_calls_the_handover_off() {
    let preserver = Preserver::new(arena()).unwrap();
    let pages = preserver.arena().alloc_pages(7).unwrap();
    let pages = preserver.preserve_pages(pages).unwrap();
    preserver.undo(|tracker| tracker.remove_pages(pages.run()));
    assert_eq!(preserver.check(), Ok(()));
    drop(pages.unpreserve());
    is_called_off(preserver);
}

#[test]
fn a_step_whose_nodes_stay_calls_the_handover_off() {
    let preserver = Preserver::new(arena()).unwrap();
    let done: Result<(), ()> = preserver.step(|| {
        drop(preserver.alloc_preserve(1).unwrap());
        preserver.undo(|tracker| {
            tracker.leaves.last_mut().unwrap().above = LOST;
            Ok(())
        });
        Err(())
    });
    assert_eq!(done, Err(()));
    is_called_off(preserver);
}
