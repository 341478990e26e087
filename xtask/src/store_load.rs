//! `cargo xtask store-load`: does the example store lose nothing while it is upgraded under load.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use xtask::exit;

use crate::service::{Client, Failure, LONG, Service, build, failed, millis};

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

/// Runs the load and says what came of it.
pub(crate) fn run(args: &Args) -> ExitCode {
    let done = match load(args) {
        Ok(0) => {
            println!("store-load: passed");
            Ok(0)
        }
        Ok(failures) => {
            println!("store-load: {failures} failures");
            Ok(1)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("store-load: {error}");
            Ok(1)
        }
        Err(Failure::CanNot(error)) => Err(error),
    };
    exit("store-load", done)
}

fn load(args: &Args) -> Result<usize, Failure> {
    let there = Command::new("redis-benchmark").arg("--version").output();
    if there.is_err() {
        return Err(Failure::CanNot(
            "redis-benchmark is not there; on Debian: apt-get install redis-tools".to_owned(),
        ));
    }
    let store = Service::start(
        Command::new(build("kho-exec", "--example", "store")?).args(["--port", "0"]),
    )?;
    let process = store.child.id();
    println!("store: process {process}, port {}", store.port);
    let first = benchmark(args, store.port, FIRST)?.result()?;
    // Every kind of request as often as every other.
    let seconds_each: f64 = first.iter().map(|(_, rate)| 1.0 / rate.max(1.0)).sum();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let each = (f64::from(args.seconds) / seconds_each) as u64;
    println!("load: {each} requests of each of {}", args.tests);

    let (mut failures, stop) = (Vec::new(), AtomicBool::new(false));
    let probe = Client::connect(store.port)?;
    let mut running = benchmark(args, store.port, each)?;
    let (probed, upgrades, result) = thread::scope(|scope| {
        let probe = scope.spawn(|| Probed::write(probe, &stop));
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
    for (what, longest) in [
        ("longest request", within.max(aside)),
        ("  around an upgrade", within),
        ("  at other times", aside),
    ] {
        println!("{what:<24}{:>9} ms", millis(longest));
    }
    let pauses: Vec<_> = said.iter().filter_map(|line| pause_of(line)).collect();
    let shown = pauses.iter().map(|us| millis(Duration::from_micros(*us)));
    let shown: Vec<_> = shown.collect();
    println!("pauses, as the store says {} ms", shown.join(" "));

    let (failed, paused) = (probed.failed, pauses.len() as u64);
    let wanted = u64::from(args.upgrades);
    if failed > 0 {
        failures.push(format!("{failed} requests failed"));
    }
    if lost > 0 {
        failures.push(format!("{lost} keys are lost"));
    }
    if (counted, paused) != (wanted, wanted) {
        let text = format!("{counted} upgrades and {paused} pauses for {wanted} signals");
        failures.push(text);
    }
    for failure in &failures {
        println!("failed: {failure}");
    }
    Ok(failures.len())
}

/// redis-benchmark, running.
struct Running {
    child: Child,
    out: Option<JoinHandle<String>>,
    errors: Option<JoinHandle<String>>,
}

fn benchmark(args: &Args, port: u16, each: u64) -> Result<Running, Failure> {
    let numbers = [
        ("-p", u64::from(port)),
        ("-n", each),
        ("-c", args.clients.into()),
        ("-P", args.pipeline.into()),
        ("-r", args.keys.into()),
    ];
    let numbers = numbers.map(|(name, number)| [name.to_owned(), number.to_string()]);
    let mut child = Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-t", &args.tests, "--csv"])
        .args(numbers.as_flattened())
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
        let mut lines = out.lines().chain(errors.lines());
        if let Some(line) = lines.find(|line| line.to_ascii_lowercase().contains("err")) {
            return failed(format!("redis-benchmark: {line}"));
        }
        if !status.success() {
            return failed(format!("redis-benchmark: {status}"));
        }
        match rates(&out) {
            rates if rates.is_empty() => failed("redis-benchmark measured nothing"),
            rates => Ok(rates),
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

/// Sends the signals. Returns when each was sent, and when the upgrade was seen to be done.
fn upgrade(
    args: &Args,
    store: &Service,
    running: &mut Running,
) -> Result<Vec<(Instant, Instant)>, Failure> {
    let mut client = Client::connect(store.port)?;
    let between = f64::from(args.seconds) * UNDER_LOAD / f64::from(args.upgrades + 1);
    let (mut done, start) = (Vec::new(), Instant::now());
    for count in 1..=args.upgrades {
        let due = start + Duration::from_secs_f64(between * f64::from(count));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if running.has_ended()? {
            return failed(format!("redis-benchmark ended before upgrade {count}"));
        }
        let sent = Instant::now();
        store.hang_up()?;
        while client.number("UPGRADES")? < u64::from(count) {
            if sent.elapsed() > LONG {
                return failed(format!("upgrade {count} did not come"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        done.push((sent, Instant::now()));
    }
    Ok(done)
}

/// What the client that writes unique keys did.
#[derive(Default)]
struct Probed {
    written: Vec<u64>,
    failed: u64,
    // When each request was sent, and how long it took.
    took: Vec<(Instant, Duration)>,
}

fn value_of(key: u64) -> String {
    format!("value:{:016x}", key.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Probed {
    /// Writes until it is to stop.
    fn write(mut client: Client, stop: &AtomicBool) -> Self {
        let mut probed = Self::default();
        for key in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let request = format!("SET probe:{key} {}", value_of(key));
            let sent = Instant::now();
            let answer = client.ask(&request);
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

    /// How many of the keys that were written are not there, or not as they were written.
    fn verify(&self, port: u16) -> Result<u64, Failure> {
        let (mut client, mut lost) = (Client::connect(port)?, 0);
        for keys in self.written.chunks(200) {
            let requests = keys.iter().map(|key| format!("GET probe:{key}\r\n"));
            client
                .stream
                .write_all(requests.collect::<String>().as_bytes())?;
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
        let wanted = wanted.map(|(test, rate)| (test.to_owned(), rate));
        assert_eq!(rates(csv), wanted);
        let line = "store: upgrade 3: pause 2005 us (until freeze 60); 1 keys, 1 clients";
        assert_eq!(pause_of(line), Some(2005));
        assert_eq!(pause_of("store: not upgraded: no such file"), None);
        assert!(tests_of("set,get").is_ok() && tests_of("set,lpush").is_err());
    }
}
