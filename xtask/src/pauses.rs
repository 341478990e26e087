//! `cargo xtask pauses`: how long clients wait while a service is upgraded.

use std::io::{BufRead, Write};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use xtask::exit;

use crate::service::{Client, Failure, LONG, Service, build, failed, millis};

/// Measure how long clients wait while a service on one thread is upgraded.
///
/// Builds the example `touch` of kho-exec in release mode. For each size it starts one that holds so many bytes, and
/// upgrades it again and again; before each upgrade it writes to every page that it holds. Clients ask of it one thing
/// at a time, all the time. The pause of an upgrade is the longest that any of their requests took from the moment that
/// it was asked for, preparing included, until a client sees the next program serve.
///
/// Beside it stands how long a request took at most in a time as long without an upgrade: what is the machine's. The
/// steps are the program's own marks, with the page faults that were counted between them.
///
/// Exit codes: 0 measured, 1 an upgrade failed, 2 it can not be run.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask pauses                                     64 MiB, 1 GiB and 8 GiB, a hundred upgrades each
  cargo xtask pauses --sizes 64M,16G --upgrades 20 --json
  cargo xtask pauses --sizes 64M --descriptors 10000 [--supervised]

Let nothing else run meanwhile, and look at the load that is printed first.")]
pub(crate) struct Args {
    /// Bytes that the service holds, and touches before each upgrade.
    #[arg(long, value_name = "LIST", default_value = "64M,1G,8G", value_delimiter = ',', value_parser = size)]
    sizes: Vec<u64>,
    /// Upgrades of each.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    upgrades: u64,
    /// Clients that ask in a loop.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=1000))]
    clients: u64,
    /// Descriptors that it holds beside: sockets.
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    descriptors: u64,
    /// Under `kho run`.
    #[arg(long)]
    supervised: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Bytes, with a unit.
fn size(text: &str) -> Result<u64, String> {
    let expected = "expected a size, for instance 64M or 8G";
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| expected)?;
    let shift = match text.get(digits.len()..) {
        Some("M") => 20,
        Some("G") => 30,
        _ => return Err(expected.to_owned()),
    };
    let bytes = number
        .checked_mul(1 << shift)
        .filter(|bytes| (1..=1 << 40).contains(bytes));
    bytes.ok_or_else(|| expected.to_owned())
}

/// What was measured of one size.
#[derive(Serialize)]
struct Measured {
    bytes: u64,
    descriptors: u64,
    supervised: bool,
    upgrades: u64,
    clients: u64,
    /// What clients waited, in microseconds.
    pause_us: Spread,
    /// The same without an upgrade.
    quiet_us: Spread,
    /// Medians.
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Spread {
    median: u64,
    p99: u64,
    max: u64,
}

#[derive(Serialize)]
struct Step {
    what: String,
    us: u64,
    faults: Option<u64>,
}

/// What the service says of its last upgrade.
#[derive(Deserialize)]
struct Pause {
    generation: u64,
    steps: Vec<(String, u64, Option<u64>)>,
}

impl Spread {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |part: usize| {
            let rank = (all.len() * part).div_ceil(100).max(1) - 1;
            all.get(rank).map_or(0, |time| {
                u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
            })
        };
        Self {
            median: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

fn median(mut all: Vec<u64>) -> Option<u64> {
    all.sort_unstable();
    all.get(all.len().checked_sub(1)? / 2).copied()
}

/// Measures and prints.
pub(crate) fn run(args: &Args) -> ExitCode {
    let done = match measure(args) {
        Ok(()) => Ok(0),
        Err(Failure::Failed(error)) => {
            eprintln!("pauses: {error}");
            Ok(1)
        }
        Err(Failure::CanNot(error)) => Err(error),
    };
    exit("pauses", done)
}

fn measure(args: &Args) -> Result<(), Failure> {
    let service = build("kho-exec", "--example", "touch")?;
    let supervisor = match args.supervised {
        true => Some(build("kho-cli", "--bin", "kho")?),
        false => None,
    };
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    if !args.json {
        println!("load before: {load}");
    }
    let mut all = Vec::new();
    for bytes in &args.sizes {
        let mut command = match &supervisor {
            Some(kho) => {
                let mut command = Command::new(kho);
                command.args(["run", "-q", "--"]).arg(&service);
                command
            }
            None => Command::new(&service),
        };
        command.args([bytes.to_string(), args.descriptors.to_string()]);
        let measured = of_size(args, *bytes, &mut command)?;
        if !args.json {
            measured.print();
        }
        all.push(measured);
    }
    if args.json {
        let text = serde_json::json!({ "load": load, "measured": all });
        println!("{text:#}");
    }
    Ok(())
}

fn of_size(args: &Args, bytes: u64, command: &mut Command) -> Result<Measured, Failure> {
    let service = Service::start(command)?;
    let ended = AtomicBool::new(false);
    let took = Mutex::new(Vec::new());
    let mut asking = Vec::new();
    for _ in 0..args.clients {
        asking.push(Client::connect(service.port)?);
    }
    let mut client = Client::connect(service.port)?;
    let bar = ProgressBar::new(args.upgrades);
    let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(shown(bytes));
    thread::scope(|scope| {
        let (ended, took) = (&ended, &took);
        for client in asking {
            scope.spawn(move || ask(client, ended, took));
        }
        let done = upgrade(args, &mut client, took, &bar);
        ended.store(true, Ordering::Relaxed);
        bar.finish_and_clear();
        // Its supervisor, where it has one, ends with it.
        let _ = line(&mut client, "quit");
        let (pauses, quiet, steps) = done?;
        Ok(Measured {
            bytes,
            descriptors: args.descriptors,
            supervised: args.supervised,
            upgrades: args.upgrades,
            clients: args.clients,
            pause_us: Spread::of(pauses),
            quiet_us: Spread::of(quiet),
            steps,
        })
    })
}

/// Asks one thing after the other, and notes when each was sent and how long it took.
fn ask(mut client: Client, ended: &AtomicBool, took: &Mutex<Vec<(Instant, Duration)>>) {
    while !ended.load(Ordering::Relaxed) {
        let sent = Instant::now();
        if line(&mut client, "ping").is_err() {
            // It is missed when the pauses are looked for.
            return;
        }
        if let Ok(mut took) = took.lock() {
            took.push((sent, sent.elapsed()));
        }
    }
}

fn line(client: &mut Client, request: &str) -> Result<String, Failure> {
    client.stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    client.input.read_line(&mut answer)?;
    match answer.strip_suffix('\n') {
        Some(answer) => Ok(answer.to_owned()),
        None => failed("the service closed the connection"),
    }
}

type Done = (Vec<Duration>, Vec<Duration>, Vec<Step>);

fn upgrade(
    args: &Args,
    client: &mut Client,
    took: &Mutex<Vec<(Instant, Duration)>>,
    bar: &ProgressBar,
) -> Result<Done, Failure> {
    // The longest of the requests since the last look.
    let longest = || {
        let mut took = took
            .lock()
            .map_err(|_| Failure::Failed("a client panicked".to_owned()))?;
        let longest = took.iter().map(|(_, took)| *took).max();
        took.clear();
        longest.ok_or_else(|| Failure::Failed("no client was answered".to_owned()))
    };
    let (mut pauses, mut quiet, mut steps) = (Vec::new(), Vec::new(), Vec::<Vec<_>>::new());
    for count in 1..=args.upgrades {
        line(client, "touch")?;
        // Whoever waited for that is answered, and does not count.
        thread::sleep(Duration::from_millis(50));
        longest()?;
        let since = Instant::now();
        line(client, "upgrade")?;
        let pause = loop {
            let said = line(client, "pause")?;
            let pause: Option<Pause> = serde_json::from_str(&said)
                .map_err(|error| Failure::Failed(format!("the service said {said}: {error}")))?;
            if let Some(pause) = pause.filter(|pause| pause.generation == count) {
                break pause;
            }
            if since.elapsed() > LONG {
                return failed(format!("upgrade {count} did not come"));
            }
            thread::sleep(Duration::from_millis(1));
        };
        // Until who waited is answered.
        thread::sleep(Duration::from_millis(20));
        let all = since.elapsed();
        pauses.push(longest()?);
        steps.push(pause.steps);
        thread::sleep(all);
        quiet.push(longest()?);
        bar.inc(1);
    }
    let names = steps
        .first()
        .into_iter()
        .flatten()
        .map(|(what, _, _)| what.clone());
    let of = |at: usize| steps.iter().filter_map(move |steps| steps.get(at));
    let steps = names.enumerate().map(|(at, what)| Step {
        what,
        us: median(of(at).map(|(_, us, _)| *us).collect()).unwrap_or(0),
        faults: median(of(at).filter_map(|(_, _, faults)| *faults).collect()),
    });
    Ok((pauses, quiet, steps.collect()))
}

fn shown(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

impl Measured {
    fn print(&self) {
        let line = |what: &str, spread: &Spread| {
            let times = [spread.median, spread.p99, spread.max].map(Duration::from_micros);
            let [median, p99, max] = times.map(millis);
            println!("  {what:<26} median {median} ms, p99 {p99} ms, max {max} ms");
        };
        let under = if self.supervised {
            ", under kho run"
        } else {
            ""
        };
        println!(
            "{}, {} descriptors{under}: {} upgrades, {} clients",
            shown(self.bytes),
            self.descriptors,
            self.upgrades,
            self.clients
        );
        line("clients wait", &self.pause_us);
        line("without an upgrade", &self.quiet_us);
        for step in &self.steps {
            let faults = step.faults.map(|faults| format!("{faults:>8} faults"));
            println!(
                "    {:<12}{:>9} us{}",
                step.what,
                step.us,
                faults.unwrap_or_default()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spreads() {
        assert_eq!([size("64M"), size("8G")], [Ok(64 << 20), Ok(8 << 30)]);
        for wrong in ["", "8", "8g", "G", "0M", "-1M", "2000000000G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        let all = (1..=200).map(Duration::from_micros).collect();
        let Spread { median, p99, max } = Spread::of(all);
        assert_eq!((median, p99, max), (100, 198, 200));
        assert_eq!(
            (super::median(vec![3, 1, 2]), super::median(vec![])),
            (Some(2), None)
        );
    }
}
