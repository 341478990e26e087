//! The table against a plain one, and when memory runs out.

use std::collections::HashMap;

use kho_mem::{ArenaConfig, PhysAddr};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

fn arena(size: u64) -> Arena {
    Arena::heap(&ArenaConfig::new(PhysAddr::new(1 << 30), size)).unwrap()
}

/// What an upgrade does to a table.
fn again(kv: Kv) -> Result<Kv> {
    let segments: HashMap<_, _> = kv.segments().collect();
    let (arena, index) = (kv.arena.clone(), kv.index());
    drop(kv);
    Kv::open(&arena, index, |number| {
        Ok::<_, KvError>(segments.get(&number).cloned())
    })
}

fn value(kv: &Kv, key: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    kv.get(key).unwrap()?.append_to(&mut out).unwrap();
    Some(out)
}

fn made_up(seed: u64, len: usize) -> Vec<u8> {
    let bytes = (0..).map(|at: u64| seed.wrapping_mul(31).wrapping_add(at).to_le_bytes()[0]);
    bytes.take(len).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Set(u16, usize),
    Remove(u16),
    Get(u16),
    Rest(bool),
    Upgrade,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = || prop_oneof![0..40u16, 0..2000u16];
    let len = prop_oneof![4 => 0..200usize, 1 => 0..6000usize];
    let op = prop_oneof![
        12 => (key(), len).prop_map(|(key, len)| Op::Set(key, len)),
        5 => key().prop_map(Op::Remove),
        2 => key().prop_map(Op::Get),
        1 => any::<bool>().prop_map(Op::Rest),
        1 => Just(Op::Upgrade),
    ];
    prop::collection::vec(op, 1..2500)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(0x006b_686f),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

fn run(ops: &[Op]) -> (Kv, HashMap<u16, Vec<u8>>) {
    let mut kv = Kv::with_segments_of(&arena(64 << 20), 8192).unwrap();
    let mut model = HashMap::new();
    for (count, op) in (0u64..).zip(ops) {
        match op {
            Op::Set(key, len) => {
                let value = made_up(count, *len);
                kv.set(&key.to_be_bytes(), &value).unwrap();
                model.insert(*key, value);
            }
            Op::Remove(key) => {
                let was = kv.remove(&key.to_be_bytes()).unwrap();
                assert_eq!(was, model.remove(key).is_some());
            }
            Op::Get(key) => assert_eq!(
                value(&kv, &key.to_be_bytes()).as_ref(),
                model.get(key),
                "key {key}"
            ),
            Op::Rest(resting) => kv.rest(*resting),
            Op::Upgrade => kv = again(kv).unwrap(),
        }
        assert_eq!(kv.len(), model.len() as u64);
    }
    (kv, model)
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn it_is_a_map(ops in ops()) {
        let (kv, model) = run(&ops);
        let kv = again(kv).unwrap();
        for (key, wanted) in &model {
            assert_eq!(value(&kv, &key.to_be_bytes()).as_ref(), Some(wanted));
        }
        let used: u64 = kv.segments.iter().flatten().map(|segment| segment.used).sum();
        assert_eq!(kv.used, used);
    }

    #[test]
    fn damage_is_an_error(
        ops in ops(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), 0..4096u64, any::<u64>(), 0..64u32), 1..8),
    ) {
        let (kv, model) = run(&ops);
        let mut files = vec![kv.index()];
        files.extend(kv.segments().map(|(_, file)| file));
        for (file, at, word, shift) in hits {
            let file = file.get(&files);
            // Small numbers hit more.
            let at = at * 8 % file.size();
            file.write_at(at, &(word >> shift).to_le_bytes()).unwrap();
        }
        // Whatever comes of it, it ends, and does not panic.
        let Ok(mut kv) = again(kv) else { return Ok(()) };
        for key in model.keys() {
            let key = key.to_be_bytes();
            if let Ok(Some(value)) = kv.get(&key) {
                let _ = value.append_to(&mut Vec::new());
            }
            let _ = kv.set(&key, b"something else, longer than before");
            let _ = kv.remove(&key);
            let _ = kv.set(&key, b"again");
        }
    }
}

#[test]
fn it_grows_bucket_by_bucket() {
    let mut kv = Kv::with_segments_of(&arena(64 << 20), 1 << 20).unwrap();
    for key in 0..10_000u32 {
        kv.set(&key.to_be_bytes(), &key.to_le_bytes()).unwrap();
    }
    assert_eq!((kv.len(), kv.buckets), (10_000, 10_000));
    for key in 0..10_000u32 {
        assert_eq!(
            value(&kv, &key.to_be_bytes()),
            Some(key.to_le_bytes().to_vec())
        );
    }
}

#[test]
fn garbage_is_vacated() {
    let mut kv = Kv::with_segments_of(&arena(64 << 20), 64 << 10).unwrap();
    for round in 0..200u64 {
        for key in 0..50u64 {
            // Ever another length, so that values do not fit where they stood.
            let len = 100 + usize::try_from((round * 7 + key) % 9).unwrap() * 150;
            kv.set(&key.to_be_bytes(), &made_up(round + key, len))
                .unwrap();
        }
    }
    let live = 50 * (SEGMENT_HEAD + 8 + 1300);
    assert!(
        kv.used < 4 * live + (128 << 10),
        "{} bytes for at most {live}",
        kv.used
    );
    for key in 0..50u64 {
        kv.remove(&key.to_be_bytes()).unwrap();
    }
    let left = kv.segments.iter().flatten().count();
    assert!(left <= 2, "{left} segments for nothing");
}

#[test]
fn a_full_arena_is_an_error_and_what_was_there_stays() {
    let arena = arena(8 << 20);
    let mut kv = Kv::with_segments_of(&arena, 256 << 10).unwrap();
    let mut count = 0u64;
    while kv.set(&count.to_be_bytes(), &made_up(count, 5000)).is_ok() {
        count += 1;
    }
    assert!(arena.free_pages() > 100, "room for an upgrade is left");
    assert!(count > 1000 && kv.len() == count);
    for key in 0..count {
        assert_eq!(value(&kv, &key.to_be_bytes()), Some(made_up(key, 5000)));
    }
    // What is removed can be used again.
    for key in (0..count).step_by(2).chain((1..count).step_by(4)) {
        assert!(kv.remove(&key.to_be_bytes()).unwrap());
    }
    for key in 0..count / 2 {
        kv.set(&(key | 1 << 32).to_be_bytes(), &made_up(key, 5000))
            .unwrap();
    }
}

#[test]
fn files_stay_as_large_as_they_are_while_it_rests() {
    let mut kv = Kv::with_segments_of(&arena(64 << 20), 64 << 10).unwrap();
    for key in 0..600u32 {
        kv.set(&key.to_be_bytes(), b"first").unwrap();
    }
    let before: HashMap<_, _> = kv.segments().map(|(at, file)| (at, file.size())).collect();
    let index = kv.index().size();
    kv.rest(true);
    for key in 0..20_000u32 {
        kv.set(&key.to_be_bytes(), b"second, which is longer than first")
            .unwrap();
    }
    assert_eq!(kv.index().size(), index);
    for (number, file) in kv.segments() {
        if let Some(before) = before.get(&number) {
            assert_eq!(file.size(), *before);
        }
    }
    kv.rest(false);
    for key in 0..20_000u32 {
        let wanted = b"second, which is longer than first".to_vec();
        assert_eq!(value(&kv, &key.to_be_bytes()), Some(wanted));
    }
}
