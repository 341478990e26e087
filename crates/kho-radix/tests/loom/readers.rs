//! What a thread sees of what others do.

use super::*;

// The later key lies before the other one, on the way of a walk.
const FIRST: (u64, u64) = (1, 70);

const LATER: (u64, u64) = (0, 3);

fn add_both() -> Work<()> {
    work(|tracker| {
        let mut handle = tracker.handle();
        handle.add(key(FIRST.0, FIRST.1)).unwrap();
        handle.add(key(LATER.0, LATER.1)).unwrap();
    })
}

/// Who sees the later key in sees the first one too.
fn walk() -> Work<()> {
    work(|tracker| {
        let (first, later) = (key(FIRST.0, FIRST.1), key(LATER.0, LATER.1));
        let seen = all(tracker);
        assert!(seen.iter().all(|key| [first, later].contains(key)));
        assert!(!seen.contains(&later) || seen.contains(&first), "{seen:?}");
    })
}

fn look() -> Work<()> {
    work(|tracker| {
        let (first, later) = (key(FIRST.0, FIRST.1), key(LATER.0, LATER.1));
        let mut handle = tracker.handle();
        assert!(!handle.contains(later) || handle.contains(first));
    })
}

fn has_both(tracker: SharedTracker, _: Vec<()>) {
    let keys = [key(FIRST.0, FIRST.1), key(LATER.0, LATER.1)];
    check(&tracker, keys, tracker.nodes().count());
}

#[test]
fn what_a_reader_sees_is_a_tree() {
    let name = "a walk while leaves are made";
    let made = |arena: &Arena| tracker(arena, &[2], 2);
    model(name, None, made, [walk(), add_both()], has_both);
    let name = "a walk while all is made";
    let nothing = |arena: &Arena| tracker(arena, &[], PATH);
    model(name, Some(4), nothing, [walk(), add_both()], has_both);
    let name = "two that look while leaves are made";
    model(name, Some(3), made, [look(), look(), add_both()], has_both);
    // Made by one, put in by another, seen by a third.
    let name = "a walk while two make leaves";
    let other = || {
        work(|tracker: &SharedTracker| {
            // Seen, or made: then the other one sees it.
            let key = key(FIRST.0, FIRST.1 + 1);
            tracker.add(key).unwrap();
            tracker.remove(key).unwrap();
        })
    };
    let looks = || work(|tracker: &SharedTracker| drop(all(tracker)));
    let made = |arena: &Arena| tracker(arena, &[2], 3);
    model(
        name,
        Some(2),
        made,
        [looks(), other(), add_both()],
        has_both,
    );
}

#[test]
fn memory_that_a_key_stands_for_is_seen_with_it() {
    // What one thread did before, and what another sees who knows of it by `seen`.
    loom::lazy_static! {
        static ref MEMORY: AtomicU64 = AtomicU64::new(0);
    }
    type Seen = fn(&SharedTracker) -> bool;
    type Step = fn(&SharedTracker) -> Done;
    const ROW: KeyRun = run(2, 66);
    #[rustfmt::skip]
    let known: [(&str, Step, Step, Seen); 7] = [
        ("contains", |_| Ok(()), |t| t.add(key(0, 5)), |t| t.contains(key(0, 5))),
        ("a walk", |_| Ok(()), |t| t.add(key(0, 5)), |t| !all(t).is_empty()),
        ("a count", |_| Ok(()), |t| t.add(key(0, 5)), |t| t.keys() == 1),
        (
            "an error",
            |_| Ok(()),
            |t| t.add(key(0, 5)).or(Ok(())),
            |t| t.add(key(0, 5)).is_err(),
        ),
        ("taking out", |_| Ok(()), |t| t.add(key(0, 5)), |t| t.remove(key(0, 5)).is_ok()),
        ("contains of a row", |_| Ok(()), |t| t.add_folios(ROW), |t| t.contains_folios(ROW)),
        ("putting in again", |t| t.add(key(0, 5)), |t| t.remove(key(0, 5)), |t| t.add(key(0, 5)).is_ok()),
    ];
    for (name, before, step, seen) in known {
        let write = work(move |tracker: &SharedTracker| {
            MEMORY.store(7, Relaxed);
            step(tracker).unwrap();
        });
        let read = work(move |tracker: &SharedTracker| {
            if seen(tracker) {
                assert_eq!(MEMORY.load(Relaxed), 7);
            }
        });
        let made = move |arena: &Arena| {
            let tracker = tracker(arena, &[0], 0);
            before(&tracker).unwrap();
            tracker
        };
        let name = format!("memory that is known of by {name}");
        model(&name, None, made, [write, read], |_, _| {});
    }
}
