//! Shared trackers that are broken on purpose: each step finds it, and leaves the keys as they were.
#![cfg(not(loom))]

use alloc::vec::Vec;

use kho_mem::{Arena, ArenaConfig, Order, Pfn, PhysAddr};

use super::SharedTracker;
use super::sync::Ordering;
use crate::key::slot;
use crate::tracker::TABLES;
use crate::v1::LEAF_BITS;
use crate::{Key, KeyRun, TrackerError};

const fn frame(pfn: u64) -> Pfn {
    Pfn::new(pfn).unwrap()
}

const ROW: KeyRun = KeyRun {
    pfn: frame(2),
    keys: 1 << LEAF_BITS,
    order: Order::ZERO,
};

fn key(pfn: u64) -> Key {
    Key::encode(PhysAddr::new(pfn << 12), Order::ZERO).unwrap()
}

/// A tracker with the key 1, and room for more.
fn tracker() -> SharedTracker {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20)).unwrap();
    let tracker = SharedTracker::new(&arena, 64).unwrap();
    tracker.add(key(1)).unwrap();
    tracker
}

#[track_caller]
fn is_broken<T: core::fmt::Debug>(done: Result<T, TrackerError>) {
    assert!(matches!(done, Err(TrackerError::Broken(_))), "{done:?}");
}

/// `step` fails for a tracker that `damage` has broken, and changes no key.
#[track_caller]
fn fails(
    damage: impl Fn(&mut SharedTracker),
    step: impl Fn(&SharedTracker) -> Result<(), TrackerError>,
) {
    step(&tracker()).expect("it succeeds where nothing is broken");
    let mut tracker = tracker();
    damage(&mut tracker);
    let keys = |tracker: &SharedTracker| {
        let mut keys = Vec::new();
        tracker.for_each(|key| keys.push(key));
        keys
    };
    let before = keys(&tracker);
    is_broken(step(&tracker));
    assert_eq!(keys(&tracker), before);
}

/// The root names memory that is no node.
fn lose_table(tracker: &mut SharedTracker) {
    let entry = slot(key(1 << 50).get() >> LEAF_BITS, TABLES);
    let root = tracker.pool.root().unwrap();
    root[entry].store(0x1000u64.to_le(), Ordering::Relaxed);
}

#[test]
fn a_key_is_not_put_below_a_lost_table() {
    fails(lose_table, |tracker| tracker.add(key(1 << 50)));
}

#[test]
fn a_row_is_not_put_below_a_lost_table() {
    let row = KeyRun {
        pfn: frame(1 << 50),
        ..ROW
    };
    fails(lose_table, |tracker| tracker.add_folios(row));
}

#[test]
fn a_page_without_memory_is_no_node() {
    let lose = |tracker: &mut SharedTracker| {
        // The pages that are there are used up.
        *tracker.pool.next.get_mut() = 64;
        tracker.pool.count = 128;
    };
    fails(lose, |tracker| tracker.add(key(1 << 50)));
}

#[test]
fn a_page_that_can_not_be_given_back_is_no_node() {
    let lose = |tracker: &mut SharedTracker| tracker.pool.returned.clear();
    fails(lose, |tracker| tracker.add(key(1 << 50)));
}

#[test]
fn a_row_whose_second_leaf_is_lost_is_taken_back() {
    let tracker = tracker();
    let mut handle = tracker.handle();
    is_broken(handle.set(key(ROW.pfn.get()), ROW.keys, true));
    assert_eq!(tracker.keys(), 1);
    is_broken(handle.take_back(key(ROW.pfn.get()), ROW.keys, false));
}
