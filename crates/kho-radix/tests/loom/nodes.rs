//! Nodes, made by several threads.

use super::*;

#[test]
fn one_leaf_is_made_by_two_threads() {
    // An arena for each order, to see what comes back to it.
    let of = Arc::new(Mutex::new(None));
    let its = Arc::clone(&of);
    model(
        "one leaf, two threads",
        None,
        move |_| tracker(its.lock().unwrap().insert(arena()), &[0], 3),
        [add(key(1, 1)), add(key(1, 2))],
        move |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(())]);
            check(&tracker, [key(1, 1), key(1, 2)], PATH + 1);
            tracker.hand_over();
            let free = of.lock().unwrap().take().unwrap().free_pages();
            assert_eq!(free, 1024 - 7, "nodes alone are given away");
        },
    );
}

#[test]
fn one_leaf_is_made_by_three_threads() {
    model(
        "one leaf, three threads",
        Some(2),
        |arena| tracker(arena, &[0], 3),
        [1, 2, 3].map(|bit| add(key(1, bit))),
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(()), Ok(())]);
            check(&tracker, [1, 2, 3].map(|bit| key(1, bit)), PATH + 1);
        },
    );
}

#[test]
fn a_whole_path_is_made_by_two_threads() {
    model(
        "a whole path, two threads",
        Some(3),
        |arena| tracker(arena, &[], PATH + 1),
        [add(key(0, 1)), add(key(0, 64))],
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(())]);
            check(&tracker, [key(0, 1), key(0, 64)], PATH);
        },
    );
}

#[test]
fn siblings_are_made_by_two_threads() {
    model(
        "two leaves side by side",
        None,
        |arena| tracker(arena, &[0], 2),
        [add(key(1, 1)), add(key(2, 1))],
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(())]);
            check(&tracker, [key(1, 1), key(2, 1)], PATH + 2);
        },
    );
    model(
        "two leaves and their tables",
        Some(2),
        |arena| tracker(arena, &[], PATH + 2),
        [add(key(1, 1)), add(key(2, 1))],
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(())]);
            check(&tracker, [key(1, 1), key(2, 1)], PATH + 1);
        },
    );
}

#[test]
fn pages_that_were_given_back_are_used() {
    // Two threads race for leaf 1, and one of them has leaf 2 to make, with the page that the other may
    // have given back by then; a third one looks.
    model(
        "a page given back",
        Some(2),
        |arena| tracker(arena, &[0], 2),
        [
            work(|tracker: &SharedTracker| tracker.add(key(1, 1))),
            work(|tracker: &SharedTracker| {
                let mut handle = tracker.handle();
                handle.add(key(1, 2)).unwrap();
                handle.add(key(2, 0))
            }),
            work(|tracker: &SharedTracker| {
                let _ = tracker.contains(key(2, 0));
                Ok(())
            }),
        ],
        |tracker, done| {
            assert_eq!(done[0], Ok(()));
            match done[1] {
                Ok(()) => check(&tracker, [key(1, 1), key(1, 2), key(2, 0)], PATH + 2),
                // The other thread had it still.
                Err(error) => {
                    assert_eq!(error, TrackerError::NoNode(PATH + 2));
                    check(&tracker, [key(1, 1), key(1, 2)], PATH + 1);
                    tracker.add(key(2, 0)).unwrap();
                }
            }
        },
    );
}

#[test]
fn pages_that_were_given_back_are_used_once() {
    for pages in [1, 2] {
        model(
            &format!("{pages} pages given back, two threads"),
            None,
            move |arena| {
                let tracker = tracker(arena, &[0], pages);
                (0..pages).for_each(|_| tracker.set_aside());
                tracker
            },
            [add(key(1, 1)), add(key(2, 1))],
            move |tracker, done| {
                assert_eq!(done.iter().filter(|done| done.is_ok()).count(), pages);
                let keys = [key(1, 1), key(2, 1)].into_iter().zip(&done);
                let keys = keys.filter(|(_, done)| done.is_ok()).map(|(key, _)| key);
                check(&tracker, keys, PATH + pages);
            },
        );
    }
}

#[test]
fn nodes_are_used_up() {
    model(
        "one page for one leaf, two threads",
        None,
        |arena| tracker(arena, &[0], 1),
        [add(key(1, 1)), add(key(1, 2))],
        |tracker, done| {
            // Who is not given the page fails, unless the other one's leaf is there by then.
            assert!(done.iter().any(Result::is_ok));
            let keys = [key(1, 1), key(1, 2)].into_iter().zip(&done);
            let keys = keys.filter(|(_, done)| done.is_ok()).map(|(key, _)| key);
            check(&tracker, keys, PATH + 1);
        },
    );
    model(
        "one page for two leaves, two threads",
        None,
        |arena| tracker(arena, &[0], 1),
        [add(key(1, 1)), add(key(2, 1))],
        |tracker, done| {
            assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
            let keys = [key(1, 1), key(2, 1)].into_iter().zip(&done);
            let keys = keys.filter(|(_, done)| done.is_ok()).map(|(key, _)| key);
            check(&tracker, keys, PATH + 1);
        },
    );
}
