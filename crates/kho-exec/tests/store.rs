//! The examples: most of all the store, upgraded under its clients.
//!
//! They are not built here: `cargo test` builds examples, and so does
//! `cargo build -p kho-exec --examples`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

// The example's own tests: `cargo test` runs none of an example's.
#[allow(dead_code)]
#[path = "../examples/store/main.rs"]
mod store;

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

struct Store {
    child: Child,
    port: u16,
    said: Option<ChildStderr>,
}

impl Store {
    fn start(args: &[&str]) -> Self {
        Self::at(&example(), args)
    }

    fn at(program: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening on 127.0.0.1:");
        let port = port.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        let said = child.stderr.take();
        Self { child, port, said }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        let input = BufReader::new(stream.try_clone().unwrap());
        Client { stream, input }
    }

    fn hang_up(&self) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }

    /// Ends it; returns what it said on standard error, all the time.
    fn end(mut self) -> Vec<String> {
        assert!(self.child.try_wait().unwrap().is_none(), "it still runs");
        self.child.kill().unwrap();
        let lines = BufReader::new(self.said.take().unwrap()).lines();
        lines.map(Result::unwrap).collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

fn bulk(text: impl AsRef<[u8]>) -> Reply {
    Reply::Bulk(text.as_ref().to_vec())
}

fn ok() -> Reply {
    Reply::Simple("OK".to_owned())
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(*word);
        out.extend(b"\r\n");
    }
    out
}

/// A request of words without spaces.
fn words(text: &str) -> Vec<u8> {
    let words: Vec<_> = text.split(' ').map(str::as_bytes).collect();
    request(&words)
}

struct Client {
    stream: TcpStream,
    input: BufReader<TcpStream>,
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.input.read_line(&mut line).unwrap();
        let line = line.strip_suffix("\r\n").expect("a whole line");
        let (kind, rest) = line.split_at(1);
        match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Integer(rest.parse().unwrap()),
            "$" if rest == "-1" => Reply::Null,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.input.read_exact(&mut bytes).unwrap();
                assert!(bytes.ends_with(b"\r\n"));
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            "*" => Reply::Array((0..rest.parse().unwrap()).map(|_| self.reply()).collect()),
            _ => panic!("{line}"),
        }
    }

    fn ask(&mut self, text: &str) -> Reply {
        self.send(&words(text));
        self.reply()
    }

    /// The other side has closed the connection, and sent nothing more.
    fn is_at_its_end(&mut self) -> bool {
        match self.input.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn wait_for_upgrades(&mut self, count: i64) {
        let start = Instant::now();
        while self.ask("UPGRADES") != Reply::Integer(count) {
            assert!(start.elapsed() < LONG, "upgrade {count} did not come");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Asks for as much as fits until `stop`: keys that nobody else has, and counters. Returns what
/// keys it made, and how often it counted.
fn load(mut client: Client, worker: usize, stop: &AtomicBool) -> (HashMap<String, String>, i64) {
    let (mut keys, mut counted) = (HashMap::new(), 0);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let (mut out, mut wanted) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let key = format!("key:{worker}:{number}");
            let value = format!("{number:0width$}", width = 1 + number % 100);
            out.extend(words(&format!("SET {key} {value}")));
            out.extend(words(&format!("GET key:{worker}:{}", number / 2)));
            out.extend(words(&format!("INCR own:{worker}")));
            out.extend(words("INCR shared"));
            keys.insert(key, value);
            counted += 1;
            let earlier = bulk(&keys[&format!("key:{worker}:{}", number / 2)]);
            wanted.push([ok(), earlier, Reply::Integer(counted)]);
            number += 1;
        }
        client.send(&out);
        for wanted in wanted {
            assert_eq!([client.reply(), client.reply(), client.reply()], wanted);
            assert!(matches!(client.reply(), Reply::Integer(1..)));
        }
    }
    (keys, counted)
}

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

#[test]
fn requests_are_answered_as_redis_does() {
    let store = Store::start(&[]);
    let mut client = store.connect();
    let error = |text: &str| Reply::Error(format!("ERR {text}"));
    let arguments = |name: &str| error(&format!("wrong number of arguments for '{name}' command"));
    let cases = [
        ("PING", Reply::Simple("PONG".to_owned())),
        ("PING hello", bulk("hello")),
        ("ECHO hello", bulk("hello")),
        ("GET a", Reply::Null),
        ("set a 9", ok()),
        ("INCR a", Reply::Integer(10)),
        ("INCR b", Reply::Integer(1)),
        ("MSET b x c y", ok()),
        ("INCR b", error("value is not an integer or out of range")),
        ("SET b 9223372036854775807", ok()),
        ("INCR b", error("increment or decrement would overflow")),
        (
            "MGET a b nothing c",
            Reply::Array(vec![
                bulk("10"),
                bulk("9223372036854775807"),
                Reply::Null,
                bulk("y"),
            ]),
        ),
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
        ("CONFIG GET save", Reply::Array(vec![])),
        ("COMMAND DOCS", Reply::Array(vec![])),
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
