//! Upgrades under load, and what waits for them.

use super::*;

#[test]
fn ten_upgrades_under_load_lose_nothing() {
    let store = Store::start(&["--port", "0"]);
    let mut client = store.connect();
    let stop = AtomicBool::new(false);
    let done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| (worker, store.connect()))
            .map(|(worker, client)| {
                scope.spawn({
                    let stop = &stop;
                    move || load(client, worker, stop)
                })
            })
            .collect();
        for count in 1..=10 {
            // Meanwhile much is asked and answered.
            thread::sleep(Duration::from_millis(30));
            store.hang_up();
            client.wait_for_upgrades(count);
        }
        stop.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    let counted: i64 = done.iter().map(|(_, counted)| counted).sum();
    let keys: usize = done.iter().map(|(keys, _)| keys.len()).sum();
    assert_eq!(client.ask("GET shared"), bulk(counted.to_string()));
    assert_eq!(client.ask("DBSIZE"), Reply::Integer((keys + 5) as i64));
    for (worker, (keys, counted)) in done.iter().enumerate() {
        assert_eq!(
            client.ask(&format!("GET own:{worker}")),
            bulk(counted.to_string())
        );
        let keys: Vec<_> = keys.iter().collect();
        for keys in keys.chunks(500) {
            let names: Vec<_> = keys.iter().map(|(key, _)| key.as_str()).collect();
            let wanted = keys.iter().map(|(_, value)| bulk(value)).collect();
            assert_eq!(
                client.ask(&format!("MGET {}", names.join(" "))),
                Reply::Array(wanted)
            );
        }
    }
    // One process, which said what each upgrade took.
    let said = store.end();
    assert_eq!(said.len(), 10, "{said:?}");
    for (line, count) in said.iter().zip(1..) {
        assert!(
            line.starts_with(&format!("store: upgrade {count}: pause ")),
            "{line}"
        );
    }
}

#[test]
fn half_a_request_before_an_upgrade_and_half_after_it() {
    let store = Store::start(&[]);
    let whole = words("SET half whole!");
    let mut clients: Vec<_> = (1..whole.len()).map(|at| (at, store.connect())).collect();
    for (at, client) in &mut clients {
        client.send(&words("PING"));
        client.send(&whole[..*at]);
        assert_eq!(client.reply(), Reply::Simple("PONG".to_owned()));
    }
    // What this is answered after is read.
    let mut other = store.connect();
    assert_eq!(other.ask("PING"), Reply::Simple("PONG".to_owned()));
    assert_eq!(other.ask("UPGRADE"), ok());
    for (at, client) in &mut clients {
        client.send(&whole[*at..]);
        assert_eq!(client.reply(), ok(), "cut at {at}");
    }
    assert_eq!(other.ask("GET half"), bulk("whole!"));
}

#[test]
fn answers_that_nobody_read_come_after_an_upgrade() {
    let store = Store::start(&[]);
    let mut client = store.connect();
    let value: Vec<u8> = (0..1 << 20).map(|at: u32| (at / 1000) as u8).collect();
    client.send(&request(&[b"SET", b"large", &value]));
    assert_eq!(client.reply(), ok());
    // More than is kept unsent for one client, so that requests wait as well.
    for _ in 0..40 {
        client.send(&words("GET large"));
    }
    client.send(&words("INCR after"));
    let mut other = store.connect();
    for count in 1..=3 {
        assert_eq!(other.ask("UPGRADE"), ok());
        assert_eq!(other.ask("UPGRADES"), Reply::Integer(count));
    }
    assert_eq!(
        other.ask("EXISTS after"),
        Reply::Integer(0),
        "its turn has not come"
    );
    for number in 0..40 {
        assert!(client.reply() == bulk(&value), "answer {number}");
    }
    assert_eq!(client.reply(), Reply::Integer(1));
}

#[test]
fn what_waits_for_an_upgrade_is_answered_in_order() {
    let store = Store::start(&[]);
    let mut clients: Vec<_> = (0..5).map(|_| store.connect()).collect();
    for client in &mut clients {
        let requests = ["INCR n", "UPGRADE", "INCR n", "UPGRADE", "PING"];
        client.send(&requests.map(words).concat());
    }
    for client in &mut clients {
        assert!(matches!(client.reply(), Reply::Integer(1..=10)));
        assert_eq!(client.reply(), ok());
        assert!(matches!(client.reply(), Reply::Integer(1..=10)));
        assert_eq!(client.reply(), ok());
        assert_eq!(client.reply(), Reply::Simple("PONG".to_owned()));
    }
    assert_eq!(clients[0].ask("GET n"), bulk("10"));
}

#[test]
fn a_signal_during_an_upgrade_waits_for_its_end() {
    let store = Store::start(&[]);
    let mut client = store.connect();
    for _ in 0..500 {
        store.hang_up();
        thread::sleep(Duration::from_micros(200));
    }
    // However many they became.
    let Reply::Integer(before) = client.ask("UPGRADES") else {
        panic!("no number")
    };
    assert!(before > 1, "{before} upgrades");
    assert_eq!(client.ask("UPGRADE"), ok());
}

#[test]
fn hundreds_of_clients_come_along_and_new_ones_find_the_port() {
    let store = Store::start(&[]);
    let mut clients: Vec<_> = (0..300).map(|_| store.connect()).collect();
    for count in 1..=2 {
        store.hang_up();
        store.connect().wait_for_upgrades(count);
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(
                client.ask(&format!("ECHO {number}")),
                bulk(number.to_string())
            );
        }
        // Some go.
        clients.truncate(150);
    }
}

#[test]
fn a_program_that_can_not_be_executed_changes_nothing_and_the_next_one_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    copy(&path);
    let store = Store::at(&path, &[]);
    let mut client = store.connect();
    assert_eq!(client.ask("SET a b"), ok());
    let exe = format!("/proc/{}/exe", store.child.id());

    fs::rename(&path, dir.path().join("aside")).unwrap();
    let Reply::Error(text) = client.ask("UPGRADE") else {
        panic!("an upgrade to nothing")
    };
    assert!(text.contains("No such file"), "{text}");
    fs::write(&path, "no program").unwrap();
    let Reply::Error(text) = client.ask("UPGRADE") else {
        panic!("an upgrade to no program")
    };
    assert!(text.contains("Permission denied"), "{text}");
    // Files may grow again.
    let value = vec![7; 3 << 20];
    client.send(&request(&[b"SET", b"large", &value]));
    assert_eq!(client.reply(), ok());
    // Who goes away without reading what was answered ends nobody.
    let mut gone = store.connect();
    gone.send(&words("GET large").repeat(20));
    gone.stream.shutdown(Shutdown::Both).unwrap();
    drop(gone);
    assert_eq!(client.ask("GET a"), bulk("b"));

    let new = dir.path().join("new");
    copy(&new);
    fs::rename(&new, &path).unwrap();
    assert_ne!(fs::read_link(&exe).unwrap(), path);
    assert_eq!(client.ask("UPGRADE"), ok());
    assert_eq!(fs::read_link(&exe).unwrap(), path, "the new program runs");
    assert_eq!(client.ask("GET a"), bulk("b"));
    assert!(client.ask("GET large") == bulk(&value));
    assert_eq!(client.ask("UPGRADES"), Reply::Integer(1));
    let said = store.end();
    let failed = said
        .iter()
        .filter(|line| line.starts_with("store: not upgraded: "));
    assert_eq!((said.len(), failed.count()), (3, 2), "{said:?}");
}

/// A program that writes its index otherwise: the constant that says so lies in the program's code,
/// on this architecture in one piece.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_program_that_does_not_know_the_data_hands_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    copy(&path);
    let store = Store::at(&path, &[]);
    let mut client = store.connect();
    assert_eq!(client.ask("SET a b"), ok());
    let odd = dir.path().join("odd");
    let text = "sed s/kvindex1/kvindex2/g \"$1\" >\"$2\" && chmod +x \"$2\"";
    let made = Command::new("sh")
        .args(["-c", text, "sh"])
        .args([&path, &odd])
        .status();
    assert!(made.unwrap().success());
    assert_ne!(fs::read(&path).unwrap(), fs::read(&odd).unwrap());
    fs::rename(&odd, &path).unwrap();
    for _ in 0..2 {
        let Reply::Error(text) = client.ask("UPGRADE") else {
            panic!("it took over what it does not know")
        };
        assert!(
            text.contains("the index's magic number at 0x0 is"),
            "{text}"
        );
    }
    assert_eq!(client.ask("GET a"), bulk("b"));
    copy(&odd);
    fs::rename(&odd, &path).unwrap();
    assert_eq!(client.ask("UPGRADE"), ok());
    assert_eq!(client.ask("GET a"), bulk("b"));
    assert_eq!(client.ask("UPGRADES"), Reply::Integer(1));
}

#[test]
fn a_store_that_is_full_says_so_and_can_be_upgraded() {
    let store = Store::start(&["--memory", "64"]);
    let mut client = store.connect();
    let value = |key: u64| vec![key as u8; 300_000];
    let set = |client: &mut Client, key: u64| {
        client.send(&request(&[b"SET", key.to_string().as_bytes(), &value(key)]));
        client.reply()
    };
    let mut count = 0;
    let full = loop {
        match set(&mut client, count) {
            Reply::Simple(_) => count += 1,
            other => break other,
        }
    };
    assert_eq!(full, Reply::Error("ERR no memory is left".to_owned()));
    assert!(count > 150, "{count} values");
    assert_eq!(client.ask("UPGRADE"), ok());
    for key in 0..count {
        assert!(
            client.ask(&format!("GET {key}")) == bulk(value(key)),
            "key {key}"
        );
    }
    assert_eq!(client.ask("DBSIZE"), Reply::Integer(count as i64));
    for key in 0..count / 2 {
        assert_eq!(client.ask(&format!("DEL {key}")), Reply::Integer(1));
    }
    for key in 0..count / 4 {
        assert_eq!(
            set(&mut client, key + 1000),
            ok(),
            "key {key} of {}",
            count / 4
        );
    }
}
