//! `cargo xtask store-load`: does the example store lose nothing while it is upgraded under load.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use xtask::root;

/// Upgrade the example store under load, and see that nothing is lost.
///
/// Builds the example `store` of kho-exec in release mode and starts it. While redis-benchmark asks
/// of it what it can, SIGHUP is sent again and again: each time the store executes itself and hands
/// over its keys and its connections. Beside redis-benchmark a client of this task's own writes one
/// unique key after the other, one request at a time, and notes how long each took. In the end every
/// one of its keys is asked for.
///
/// It passes if redis-benchmark ended well, no request failed, no key is lost, and every SIGHUP made
/// an upgrade, all of them while redis-benchmark ran.
///
/// Needs redis-benchmark (Debian: apt-get install redis-tools).
///
/// Exit codes: 0 passed, 1 something failed, 2 it can not be run.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask store-load                          ten upgrades in some twenty seconds
  cargo xtask store-load --seconds 5 --upgrades 50
  cargo xtask store-load --pipeline 1 --tests set,get

What the longest request took, an upgrade aside, is the load's doing: on a machine of few cores
redis-benchmark, this task and the store wait for each other.")]
pub(crate) struct Args {
    /// How long redis-benchmark is to run, about: a short run first finds out how fast it is here.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(2..=3600))]
    seconds: u32,
    /// Upgrades.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=10000))]
    upgrades: u32,
    /// What redis-benchmark asks: some of set, get, incr, mset, ping.
    #[arg(long, value_name = "LIST", default_value = "set,get,incr,mset", value_parser = tests_of)]
    tests: String,
    /// Its connections.
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// Requests that each of them sends at once.
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=10000))]
    pipeline: u32,
    /// How many keys it chooses from.
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
}

const TESTS: [&str; 5] = ["set", "get", "incr", "mset", "ping"];
/// Longer than anything here takes, on however slow a machine.
const LONG: Duration = Duration::from_secs(30);
/// Requests of each kind by which the load's speed is found out.
const FIRST: u64 = 50_000;
/// The upgrades end well before the load does, whose speed varies.
const UNDER_LOAD: f64 = 0.7;

fn tests_of(list: &str) -> Result<String, String> {
    match list.split(',').find(|test| !TESTS.contains(test)) {
        Some(test) => Err(format!("`{test}`: the store knows {}", TESTS.join(", "))),
        None => Ok(list.to_owned()),
    }
}

/// Why there is no result: it can not be run, or something failed.
enum Failure {
    CanNot(String),
    Failed(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs the load and says what came of it.
pub(crate) fn run(args: &Args) -> ExitCode {
    match load(args) {
        Ok(0) => {
            println!("store-load: passed");
            ExitCode::SUCCESS
        }
        Ok(failures) => {
            println!("store-load: {failures} failures");
            ExitCode::from(1)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("store-load: {error}");
            ExitCode::from(1)
        }
        Err(Failure::CanNot(error)) => {
            eprintln!("store-load: {error}");
            ExitCode::from(2)
        }
    }
}

fn load(args: &Args) -> Result<usize, Failure> {
    let there = Command::new("redis-benchmark").arg("--version").output();
    if there.is_err() {
        return Err(Failure::CanNot(
            "redis-benchmark is not there; on Debian: apt-get install redis-tools".to_owned(),
        ));
    }
    let store = Store::start(&build()?)?;
    let process = store.child.id();
    println!("store: process {process}, port {}", store.port);
    let first = benchmark(args, store.port, FIRST)?.result()?;
    // Every kind of request as often as every other.
    let seconds_each: f64 = first.iter().map(|(_, rate)| 1.0 / rate.max(1.0)).sum();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let each = (f64::from(args.seconds) / seconds_each) as u64;
    println!("load: {each} requests of each of {}", args.tests);

    let (mut failures, stop) = (Vec::new(), AtomicBool::new(false));
    let probe = Probe::new(store.port)?;
    let mut running = benchmark(args, store.port, each)?;
    let (probed, upgrades, result) = thread::scope(|scope| {
        let probe = scope.spawn(|| probe.run(&stop));
        let upgrades = upgrade(args, &store, &mut running);
        if upgrades.is_err() {
            running.end();
        }
        let result = running.result();
        stop.store(true, Ordering::Relaxed);
        (probe.join(), upgrades, result)
    });
    let ended = |_| Failure::Failed("the probing client ended".to_owned());
    let (probed, upgrades) = (probed.map_err(ended)?, upgrades?);
    let rates = result.unwrap_or_else(|failure| {
        let (Failure::Failed(error) | Failure::CanNot(error)) = failure;
        failures.push(error);
        Vec::new()
    });
    let lost = probed.verify(store.port)?;
    let mut client = Client::connect(store.port)?;
    let (counted, keys) = (client.number("UPGRADES")?, client.number("DBSIZE")?);
    let said = store.end()?;

    println!();
    for (test, rate) in &rates {
        println!("{test:<24}{rate:>12.0} requests/s");
    }
    let requests = each * rates.len() as u64 + probed.took.len() as u64;
    println!("{:<24}{requests:>12}", "requests");
    println!("{:<24}{counted:>12} of {}", "upgrades", args.upgrades);
    println!("{:<24}{:>12}", "failed requests", probed.failed);
    let written = probed.written.len();
    println!("{:<24}{lost:>12} of {written}", "lost keys");
    println!("{:<24}{keys:>12}", "keys in the store");
    let (within, aside) = probed.longest(&upgrades);
    println!(
        "{:<24}{:>9} ms",
        "longest request",
        millis(within.max(aside))
    );
    println!("{:<24}{:>9} ms", "  around an upgrade", millis(within));
    println!("{:<24}{:>9} ms", "  at other times", millis(aside));
    let pauses: Vec<u64> = said.iter().filter_map(|line| pause_of(line)).collect();
    let shown: Vec<_> = pauses
        .iter()
        .map(|us| millis(Duration::from_micros(*us)))
        .collect();
    println!("pauses, as the store says {} ms", shown.join(" "));

    let mut fails = |fails: bool, what: String| {
        if fails {
            failures.push(what);
        }
    };
    fails(
        probed.failed > 0,
        format!("{} requests failed", probed.failed),
    );
    fails(lost > 0, format!("{lost} keys are lost"));
    let wanted = usize::try_from(args.upgrades).unwrap_or(0);
    fails(
        counted != u64::from(args.upgrades) || pauses.len() != wanted,
        format!(
            "{counted} upgrades and {} pauses for {wanted} signals",
            pauses.len()
        ),
    );
    for failure in &failures {
        println!("failed: {failure}");
    }
    Ok(failures.len())
}

/// Builds the example; returns where it is.
fn build() -> Result<PathBuf, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--locked"])
        .args(["--package", "kho-exec", "--example", "store"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()?;
    if !built.status.success() {
        return Err(Failure::CanNot("the example is not built".to_owned()));
    }
    let text = String::from_utf8_lossy(&built.stdout);
    let messages = text.lines().rev().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let name = message.get("target")?.get("name")?.as_str()?;
        let path = message.get("executable")?.as_str()?;
        (name == "store").then(|| PathBuf::from(path))
    });
    let nowhere = || Failure::CanNot("cargo does not say where the example is".to_owned());
    messages.into_iter().next().ok_or_else(nowhere)
}

/// A store that runs. Dropped, it is ended.
struct Store {
    child: Child,
    port: u16,
    said: Option<JoinHandle<Vec<String>>>,
}

impl Store {
    fn start(program: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(program)
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (out, said) = (child.stdout.take(), child.stderr.take());
        let mut this = Self {
            child,
            port: 0,
            said: said.map(|said| {
                thread::spawn(|| BufReader::new(said).lines().map_while(Result::ok).collect())
            }),
        };
        let mut line = String::new();
        if let Some(out) = out {
            BufReader::new(out).read_line(&mut line)?;
        }
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let silent = || Failure::Failed(format!("the store said \"{}\"", line.trim()));
        this.port = port.ok_or_else(silent)?;
        Ok(this)
    }

    fn hang_up(&self) -> Result<(), Failure> {
        // The shell has a `kill` of its own.
        let process = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -HUP \"$1\"", "sh", &process])
            .status()?;
        if sent.success() {
            return Ok(());
        }
        Err(Failure::Failed(format!("process {process} is gone")))
    }

    /// Ends it; returns what it said on standard error.
    fn end(mut self) -> Result<Vec<String>, Failure> {
        if let Some(status) = self.child.try_wait()? {
            return Err(Failure::Failed(format!("the store ended: {status}")));
        }
        self.child.kill()?;
        let said = self.said.take().and_then(|said| said.join().ok());
        Ok(said.unwrap_or_default())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// redis-benchmark, running.
struct Running {
    child: Child,
    out: Option<JoinHandle<String>>,
    errors: Option<JoinHandle<String>>,
}

fn benchmark(args: &Args, port: u16, each: u64) -> Result<Running, Failure> {
    let mut child = Command::new("redis-benchmark")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-t",
            &args.tests,
        ])
        .args(["-n", &each.to_string(), "-c", &args.clients.to_string()])
        .args([
            "-P",
            &args.pipeline.to_string(),
            "-r",
            &args.keys.to_string(),
        ])
        .arg("--csv")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    fn all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What came before an error is enough.
            let _ = from.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }
    let (out, errors) = (child.stdout.take().map(all), child.stderr.take().map(all));
    Ok(Running { child, out, errors })
}

impl Running {
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn has_ended(&mut self) -> Result<bool, Failure> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it measured: each test, and its requests per second.
    fn result(mut self) -> Result<Vec<(String, f64)>, Failure> {
        let status = self.child.wait()?;
        let text = |lines: Option<JoinHandle<String>>| lines.and_then(|lines| lines.join().ok());
        let out = text(self.out.take()).unwrap_or_default();
        let errors = text(self.errors.take()).unwrap_or_default();
        let wrong = out
            .lines()
            .chain(errors.lines())
            .find(|line| line.to_ascii_lowercase().contains("err"));
        match wrong {
            Some(line) => Err(Failure::Failed(format!("redis-benchmark: {line}"))),
            None if !status.success() => Err(Failure::Failed(format!("redis-benchmark: {status}"))),
            None => match rates(&out) {
                rates if rates.is_empty() => Err(Failure::Failed(
                    "redis-benchmark measured nothing".to_owned(),
                )),
                rates => Ok(rates),
            },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tests and their rates, of redis-benchmark's table. What is no row of it is left out.
fn rates(csv: &str) -> Vec<(String, f64)> {
    let row = |line: &str| {
        let mut fields = line.strip_prefix('"')?.split("\",\"");
        let (test, rate) = (fields.next()?, fields.next()?);
        Some((test.to_owned(), rate.trim_end_matches('"').parse().ok()?))
    };
    csv.lines().filter_map(row).collect()
}

/// The pause in microseconds that a line of the store's speaks of.
fn pause_of(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(": pause ")?;
    rest.split_once(" us")?.0.parse().ok()
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// Sends the signals. Returns when each was sent, and when the upgrade was seen to be done.
fn upgrade(
    args: &Args,
    store: &Store,
    running: &mut Running,
) -> Result<Vec<(Instant, Instant)>, Failure> {
    let mut client = Client::connect(store.port)?;
    let between = f64::from(args.seconds) * UNDER_LOAD / f64::from(args.upgrades + 1);
    let (mut done, start) = (Vec::new(), Instant::now());
    for count in 1..=args.upgrades {
        let due = start + Duration::from_secs_f64(between * f64::from(count));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if running.has_ended()? {
            let text = format!("redis-benchmark ended before upgrade {count}");
            return Err(Failure::Failed(text));
        }
        let sent = Instant::now();
        store.hang_up()?;
        while client.number("UPGRADES")? < u64::from(count) {
            if sent.elapsed() > LONG {
                return Err(Failure::Failed(format!("upgrade {count} did not come")));
            }
            thread::sleep(Duration::from_millis(1));
        }
        done.push((sent, Instant::now()));
    }
    Ok(done)
}

/// A connection that asks one thing at a time.
struct Client {
    stream: TcpStream,
    input: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.set_write_timeout(Some(LONG))?;
        let input = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, input })
    }

    /// A line of the answer, or the bytes that it announces; `None` for a value that is not there.
    fn answer(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        let Some(line) = line.strip_suffix("\r\n") else {
            return Err(std::io::Error::other("the store closed the connection"));
        };
        let Some(len) = line.strip_prefix('$') else {
            return Ok(Some(line.to_owned()));
        };
        let Ok(len) = len.parse::<usize>() else {
            return Ok(None);
        };
        let mut bytes = vec![0; len + 2];
        self.input.read_exact(&mut bytes)?;
        bytes.truncate(len);
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn ask(&mut self, request: &str) -> std::io::Result<Option<String>> {
        self.stream.write_all(format!("{request}\r\n").as_bytes())?;
        self.answer()
    }

    fn number(&mut self, request: &str) -> Result<u64, Failure> {
        let answer = self.ask(request)?.unwrap_or_default();
        let number = answer
            .strip_prefix(':')
            .and_then(|number| number.parse().ok());
        number.ok_or_else(|| Failure::Failed(format!("{request} is answered with {answer}")))
    }
}

/// The client that writes unique keys.
struct Probe {
    client: Client,
}

/// What it did.
struct Probed {
    written: Vec<u64>,
    failed: u64,
    // When each request was sent, and how long it took.
    took: Vec<(Instant, Duration)>,
}

fn value_of(key: u64) -> String {
    format!("value:{:016x}", key.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Probe {
    fn new(port: u16) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::connect(port)?,
        })
    }

    fn run(mut self, stop: &AtomicBool) -> Probed {
        let mut probed = Probed {
            written: Vec::new(),
            failed: 0,
            took: Vec::new(),
        };
        for key in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let request = format!("SET probe:{key} {}", value_of(key));
            let sent = Instant::now();
            let answer = self.client.ask(&request);
            probed.took.push((sent, sent.elapsed()));
            match answer {
                Ok(Some(answer)) if answer == "+OK" => probed.written.push(key),
                Ok(_) => probed.failed += 1,
                // The connection is gone, and with it everything that would follow.
                Err(error) => {
                    eprintln!("store-load: request {key} of the probing client: {error}");
                    probed.failed += 1;
                    break;
                }
            }
        }
        probed
    }
}

impl Probed {
    /// How many of the keys that were written are not there, or not as they were written.
    fn verify(&self, port: u16) -> Result<u64, Failure> {
        let (mut client, mut lost) = (Client::connect(port)?, 0);
        for keys in self.written.chunks(200) {
            let requests: String = keys
                .iter()
                .map(|key| format!("GET probe:{key}\r\n"))
                .collect();
            client.stream.write_all(requests.as_bytes())?;
            for key in keys {
                lost += u64::from(client.answer()? != Some(value_of(*key)));
            }
        }
        Ok(lost)
    }

    /// What the longest request took: of those that were under way during an upgrade, and of the
    /// others.
    fn longest(&self, upgrades: &[(Instant, Instant)]) -> (Duration, Duration) {
        let (mut within, mut aside) = (Duration::ZERO, Duration::ZERO);
        for (sent, took) in &self.took {
            let during = |(from, to): &(Instant, Instant)| sent <= to && *sent + *took >= *from;
            let longest = if upgrades.iter().any(during) {
                &mut within
            } else {
                &mut aside
            };
            *longest = (*longest).max(*took);
        }
        (within, aside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_print_is_understood() {
        let csv = "WARNING: Could not fetch server CONFIG\n\
            \"test\",\"rps\",\"avg_latency_ms\"\n\"SET\",\"1041666.69\",\"0.711\"\n\
            \"MSET (10 keys)\",\"174703.00\",\"4.487\"\n";
        let wanted = [("SET", 1_041_666.69), ("MSET (10 keys)", 174_703.0)];
        assert_eq!(
            rates(csv),
            wanted.map(|(test, rate)| (test.to_owned(), rate))
        );
        let line = "store: upgrade 3: pause 2005 us (until freeze 60); 1 keys, 1 clients";
        assert_eq!(pause_of(line), Some(2005));
        assert_eq!(pause_of("store: not upgraded: no such file"), None);
        assert!(tests_of("set,get").is_ok() && tests_of("set,lpush").is_err());
    }
}
