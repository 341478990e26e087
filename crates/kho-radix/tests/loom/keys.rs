//! Keys, put in and taken out by several threads.

use super::*;

fn is_present(done: &Done) -> bool {
    match done {
        Ok(()) => false,
        Err(TrackerError::Present { addr, .. }) => *addr == key(0, 5).addr(),
        Err(_) => unreachable!("{done:?}"),
    }
}

#[test]
fn a_key_is_put_in_once() {
    model(
        "one key and its leaf, two threads",
        None,
        |arena| tracker(arena, &[1], 2),
        [add(key(0, 5)), add(key(0, 5))],
        |tracker, done| {
            assert_eq!(done.iter().filter(|done| is_present(done)).count(), 1);
            check(&tracker, [key(0, 5)], PATH + 1);
        },
    );
    model(
        "one key, three threads",
        None,
        |arena| tracker(arena, &[0], 0),
        [add(key(0, 5)), add(key(0, 5)), add(key(0, 5))],
        |tracker, done| {
            assert_eq!(done.iter().filter(|done| is_present(done)).count(), 2);
            check(&tracker, [key(0, 5)], PATH);
        },
    );
}

#[test]
fn a_key_is_put_in_and_taken_out() {
    model(
        "a key put in and taken out",
        None,
        |arena| tracker(arena, &[1], 2),
        [add(key(0, 5)), remove(key(0, 5))],
        |tracker, done| {
            assert_eq!(done[0], Ok(()));
            check(&tracker, done[1].is_err().then_some(key(0, 5)), PATH + 1);
        },
    );
    model(
        "a key taken out twice and put in",
        None,
        |arena| {
            let tracker = tracker(arena, &[0], 0);
            tracker.add(key(0, 5)).unwrap();
            tracker.add(key(0, 6)).unwrap();
            tracker
        },
        [add(key(0, 5)), remove(key(0, 5)), remove(key(0, 5))],
        |tracker, done| {
            let ok: Vec<_> = done.iter().map(|done| usize::from(done.is_ok())).collect();
            let left = (1 + ok[0]).checked_sub(ok[1] + ok[2]).unwrap();
            assert!(ok[1] + ok[2] > 0 && left < 2);
            let left = (left == 1).then_some(key(0, 5));
            check(&tracker, left.into_iter().chain([key(0, 6)]), PATH);
        },
    );
}

#[test]
fn rows_that_overlap_are_put_in_whole_or_not_at_all() {
    let rows_of = |name, bound, rows: &'static [KeyRun]| {
        model(
            name,
            bound,
            |arena| tracker(arena, &[0], 0),
            rows.iter().map(|row| add_folios(*row)),
            move |tracker, done| {
                let mut left = BTreeSet::new();
                for (row, done) in rows.iter().zip(done) {
                    match done {
                        Ok(()) => assert!(keys_of(*row).all(|key| left.insert(key)), "twice"),
                        Err(TrackerError::Present { addr, .. }) => {
                            assert!(keys_of(*row).any(|key| key.addr() == addr));
                        }
                        Err(_) => unreachable!("{done:?}"),
                    }
                }
                assert!(!left.is_empty(), "all of them failed");
                check(&tracker, left, PATH);
            },
        );
    };
    static WORD: [KeyRun; 2] = [run(60, 8), run(66, 70)];
    rows_of("two rows that share a word", None, &WORD);
    static KEY: [KeyRun; 2] = [run(0, 65), run(64, 1)];
    rows_of("two rows that share a key", None, &KEY);
    static SAME: [KeyRun; 2] = [run(3, 180), run(3, 180)];
    rows_of("one row, two threads", None, &SAME);
    static CHAIN: [KeyRun; 3] = [run(0, 66), run(65, 64), run(128, 2)];
    rows_of("three rows in a chain", None, &CHAIN);
}

#[test]
fn a_row_is_put_in_beside_keys() {
    const ROW: KeyRun = run(62, 4);
    model(
        "a row and one of its keys",
        None,
        |arena| tracker(arena, &[0], 0),
        [add_folios(ROW), add(key(0, 64))],
        |tracker, done| match done[..] {
            [Ok(()), Err(_)] => check(&tracker, keys_of(ROW), PATH),
            [Err(_), Ok(())] => check(&tracker, [key(0, 64)], PATH),
            _ => unreachable!("{done:?}"),
        },
    );
    model(
        "a row beside keys of the same words, put in and taken out",
        None,
        |arena| {
            let tracker = tracker(arena, &[0], 0);
            tracker.add(key(0, 0)).unwrap();
            tracker
        },
        [add_folios(ROW), add(key(0, 66)), remove(key(0, 0))],
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(()), Ok(())]);
            check(&tracker, keys_of(ROW).chain([key(0, 66)]), PATH);
        },
    );
    // One that fails takes back what it did, and nothing of what others do meanwhile.
    model(
        "a row that fails beside a key that is put in",
        None,
        |arena| tracker(arena, &[0], 0),
        [add_folios(run(62, 70)), add(key(0, 131)), add(key(0, 61))],
        |tracker, done| {
            assert_eq!(done[2], Ok(()));
            let row = done[0].is_ok().then(|| keys_of(run(62, 70)));
            let key_ = done[1].is_ok().then_some(key(0, 131));
            assert!(row.is_some() != key_.is_some());
            let keys = row.into_iter().flatten().chain(key_);
            check(&tracker, keys.chain([key(0, 61)]), PATH);
        },
    );
}

#[test]
fn a_row_is_taken_out_once() {
    model(
        "a row taken out by two threads",
        None,
        |arena| {
            let tracker = tracker(arena, &[0], 0);
            tracker.add_folios(run(62, 4)).unwrap();
            tracker
        },
        [0, 1].map(|_| work(|tracker: &SharedTracker| tracker.remove_folios(run(62, 4)))),
        |tracker, done| {
            assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
            check(&tracker, [], PATH);
        },
    );
}
