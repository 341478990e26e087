//! The examples: most of all the store, upgraded under its clients.
//!
//! They are not built here: `cargo test` builds examples, and so does
//! `cargo build -p kho-exec --examples`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

// The example's own tests: `cargo test` runs none of an example's.
mod client;
mod protocol;
#[allow(dead_code)]
#[path = "../../examples/store/main.rs"]
mod store;
mod upgrades;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use client::{Client, Reply, Store, bulk, load, ok, request, words};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// An example, as it lies beside this test.
fn example_called(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let example = profile.join("examples").join(name);
    assert!(
        example.exists(),
        "{} is missing: cargo build -p kho-exec --examples",
        example.display()
    );
    example
}

fn example() -> PathBuf {
    example_called("store")
}

/// Copies the example, in a process of its own: what this one has open for writing, a child that
/// another thread starts meanwhile has as well, and such a file can not be executed.
fn copy(to: &Path) {
    let done = Command::new("cp").args([&example(), to]).status().unwrap();
    assert!(done.success());
}

#[test]
fn the_examples_answer_for_their_configuration() {
    for (name, own) in [
        ("handler", Some("counter")),
        ("store", None),
        ("visits", None),
    ] {
        let path = example_called(name);
        let answer = kho_preflight::ask(&path, &mut |_, _, _| true).unwrap();
        let said = (answer.dialect.as_deref(), answer.policy.as_deref());
        assert_eq!(said, (Some("composite"), Some("semver-range")), "{name}");
        assert_eq!(answer.degrade, Some(false), "{name}");
        for of_files in ["memfd", "fd"].into_iter().chain(own) {
            assert_eq!(answer.components[of_files].handler, None, "{of_files}");
        }
    }
}

#[test]
fn requests_are_answered_as_redis_does() {
    let store = Store::start(&[]);
    let mut client = store.connect();
    let error = |text: &str| Reply::Error(format!("ERR {text}"));
    let arguments = |name: &str| error(&format!("wrong number of arguments for '{name}' command"));
    #[rustfmt::skip]
    let cases = [
        ("PING", Reply::Simple("PONG".to_owned())),
        ("PING hello", bulk("hello")),
        ("ECHO hello", bulk("hello")),
        ("GET a", Reply::Null),
        ("set a 9", ok()),
        ("INCR a", Reply::Integer(10)),
        ("INCR b", Reply::Integer(1)),
        ("INCRBY b -3", Reply::Integer(-2)),
        ("INCRBY b x", error("value is not an integer or out of range")),
        ("MSET b x c y", ok()),
        ("INCR b", error("value is not an integer or out of range")),
        ("SET b 9223372036854775807", ok()),
        ("INCR b", error("increment or decrement would overflow")),
        ("MGET a b nothing c",
            Reply::Array(vec![bulk("10"), bulk("9223372036854775807"), Reply::Null, bulk("y")])),
        ("EXISTS a a nothing", Reply::Integer(2)),
        ("DBSIZE", Reply::Integer(3)),
        ("DEL a a c nothing", Reply::Integer(2)),
        ("DBSIZE", Reply::Integer(1)),
        ("GET", arguments("get")),
        ("SET a", arguments("set")),
        ("MSET a b c", arguments("mset")),
        ("SET a b EX 10", arguments("set")),
        ("DBSIZE now", arguments("dbsize")),
        ("FLUSHALL", error("unknown command 'FLUSHALL'")),
        ("CONFIG GET save", Reply::Array(vec![bulk("save"), bulk("")])),
        ("COMMAND DOCS nothing", Reply::Array(vec![])),
        ("PING a b", arguments("ping")),
        ("UPGRADES", Reply::Integer(0)),
    ];
    for (text, wanted) in &cases {
        assert_eq!(client.ask(text), *wanted, "{text}");
    }
    // All at once, as arrays and as lines.
    client.send(
        &cases
            .iter()
            .flat_map(|(text, _)| words(text))
            .collect::<Vec<_>>(),
    );
    client.send(
        &cases
            .iter()
            .flat_map(|(text, _)| format!("{text}\r\n").into_bytes())
            .collect::<Vec<_>>(),
    );
    for _ in 0..2 * cases.len() {
        client.reply();
    }
    let empty = request(&[b"SET", b"", b""]);
    client.send(&[empty, request(&[b"GET", b""])].concat());
    assert_eq!([client.reply(), client.reply()], [ok(), bulk("")]);
    client.send(&words("QUIT"));
    assert_eq!(client.reply(), ok());
    assert!(client.is_at_its_end());

    for wrong in [
        "*1\r\n:1\r\nPING\r\n",
        "*9999999\r\nPING\r\n",
        "*1\r\n$-4\r\nPING\r\n",
    ] {
        let mut client = store.connect();
        client.send(b"PING\r\n");
        client.send(wrong.as_bytes());
        assert_eq!(client.reply(), Reply::Simple("PONG".to_owned()));
        let Reply::Error(text) = client.reply() else {
            panic!("{wrong:?} was taken")
        };
        assert!(text.starts_with("ERR Protocol error: "), "{text}");
        assert!(client.is_at_its_end());
    }
    // Who sends no more is still answered.
    let mut client = store.connect();
    client.send(&[words("PING hello"), words("PING")[..5].to_vec()].concat());
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.reply(), bulk("hello"));
    assert!(client.is_at_its_end());
}

#[test]
fn the_command_line_is_checked() {
    let run = |args: &[&str]| Command::new(example()).args(args).output().unwrap();
    let help = run(&["--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--port N"));
    let wrong = run(&["--port", "x"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("expected a port"));
    let store = Store::start(&[]);
    let taken = run(&["--port", &store.port.to_string()]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&taken.stderr).contains("in use"));
}

#[test]
fn a_handler_of_ones_own_hands_over() {
    let done = Command::new(example_called("handler")).output().unwrap();
    let printed = String::from_utf8_lossy(&done.stdout);
    let wanted: String = (0..=3)
        .map(|n| format!("program {n}, upgrade {n}\n"))
        .collect();
    assert!(done.status.success() && printed == wanted, "{done:?}");
}

#[test]
fn visits_are_counted_across_upgrades() {
    let mut child = Command::new(example_called("visits"))
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
    let mut store = Store {
        child,
        port,
        said: None,
    };
    let visit = |store: &Store| {
        let mut line = String::new();
        let mut client = store.connect();
        client.input.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(visit(&store), "visit 1, upgrade 0\n");
    store.hang_up();
    // The signal may be seen at the end of the visit before, or of this one.
    let second = visit(&store);
    assert!(second.starts_with("visit 2, upgrade "), "{second}");
    assert_eq!(visit(&store), "visit 3, upgrade 1\n");
    assert_eq!(visit(&store), "visit 4, upgrade 1\n");
    assert!(store.child.try_wait().unwrap().is_none());
}
