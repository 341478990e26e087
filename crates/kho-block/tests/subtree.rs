//! A set in a subtree of one's own, whose component has no string: restored in every dialect.
#![allow(clippy::unwrap_used)]

use kho_block::{BlockSet, OutgoingBlockSet};
use kho_compat::{Component, Decision, Generation, Manifest, Outcome, Registry, Writing, policy};
use kho_core::{Attached, Kho, KhoConfig, OpenOptions};
use kho_mem::{Arena, ArenaConfig, Link, PhysAddr, PhysMemExt};
use kho_radix::RestoreError;
use zerocopy::little_endian::U64;

static NOTES: Component =
    Component::new("notes", &[Generation::new(1).needs(&[("block", 1)])]).subtree("notes");
/// The same subtree in the hands of a program whose notes need no blocks.
static FLAT: Component = Component::new("notes", &[Generation::new(1)]).subtree("notes");

fn registry(notes: &'static Component) -> Registry {
    let linked = Registry::linked().unwrap();
    Registry::new(linked.components().chain([notes])).unwrap()
}

/// A handover with a set of 3 entries in the subtree.
fn handed_over(writing: Writing, registry: &Registry) -> Attached {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20)).unwrap();
    let config = KhoConfig::new()
        .writing(writing)
        .side(registry.side().clone());
    let kho = Kho::new(arena, &config).unwrap();
    let mut set = OutgoingBlockSet::<U64>::new(kho.preserver().clone());
    set.grow(3).unwrap();
    for value in 1..=3 {
        *set.reserve_entry().unwrap() = U64::new(value);
    }
    let mut blob = kho.preserver().alloc_preserve(8).unwrap();
    let head = set.head().get();
    blob.get_mut(..8)
        .unwrap()
        .copy_from_slice(&head.to_le_bytes());
    kho.add_subtree("notes", blob, 8).unwrap();
    set.hand_over();
    let entry = kho.entry();
    let handed = kho.hand_over().unwrap().into_handed().unwrap();
    Attached::open(handed, OpenOptions::new(entry).registry(registry)).unwrap()
}

fn restore(attached: &Attached, registry: &Registry) -> Result<Vec<u64>, RestoreError> {
    let handover = attached.handover();
    let mut manifest = Manifest::new();
    handover.add_to(&mut manifest);
    let admitted = registry.admit(&policy::SemverRange, manifest).unwrap();
    let verdict = admitted.verdict();
    assert_eq!(verdict.decision, Decision::Accept);
    let mut findings = verdict.findings.iter();
    let notes = findings.find(|finding| finding.entry.found == "notes");
    assert_eq!(notes.unwrap().outcome, Outcome::Restorable);
    let at = handover.subtree("notes").unwrap().addr;
    let head = attached.handed().read::<U64>(at).unwrap().get();
    let link = Link {
        to: PhysAddr::new(head),
        at,
        name: "notes",
    };
    let mut reading = handover.reading().unwrap();
    let set = BlockSet::<U64>::restore(&mut reading.admitted(&admitted), link)?;
    let entries = set.iter().map(|entry| entry.unwrap().get());
    Ok(entries.collect())
}

#[test]
fn what_is_restorable_can_be_restored_in_every_dialect() {
    let registry = registry(&NOTES);
    for writing in Writing::ALL {
        let attached = handed_over(writing, &registry);
        let restored = restore(&attached, &registry);
        assert_eq!(restored.unwrap(), [1, 2, 3], "{writing}");
    }
}

#[test]
fn a_subtree_covers_nothing_but_what_its_component_needs() {
    let attached = handed_over(Writing::PLAIN, &registry(&NOTES));
    let error = restore(&attached, &registry(&FLAT)).unwrap_err();
    assert!(matches!(error, RestoreError::NotAdmitted(_)), "{error}");
}
