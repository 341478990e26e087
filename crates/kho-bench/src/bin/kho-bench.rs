//! What `cargo xtask bench` runs in processes of their own: one line of JSON each.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use kho_bench::{Result, counted, handover, luo, scaling};
use serde_json::{Map, Value, json};

/// Measure one thing, and print a line of JSON.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Preserve, freeze, find and retrieve files of no contents.
    Luo {
        /// Files.
        #[arg(long, default_value = "1000000")]
        files: u64,
        /// Sessions that they are spread over.
        #[arg(long, default_value = "2")]
        sessions: u64,
    },
    /// Do work whose instructions callgrind is to count; without a name, say what there is.
    Counted {
        /// Which.
        name: Option<String>,
        /// How much of it.
        #[arg(long)]
        count: Option<u64>,
    },
    /// Measure at many sizes, and print a line of JSON for each point; without a name, say what there is.
    Scaling {
        /// What.
        name: Option<String>,
        /// For how long at each size, about.
        #[arg(long, value_name = "MILLISECONDS", default_value = "300")]
        budget: u64,
        /// The most memory that may be used, in bytes.
        #[arg(long, default_value = "4294967296")]
        memory: u64,
    },
    /// Hand a file over by exec.
    Handover {
        /// Its size in bytes.
        #[arg(long, default_value = "67108864")]
        size: u64,
    },
}

fn run(task: &Task) -> Result<Value> {
    match *task {
        Task::Luo { files, sessions } => {
            let life = luo::life(files, sessions)?;
            let parts = luo::PARTS.into_iter().zip(life);
            let parts = parts.map(|((name, _), took)| (name.to_owned(), nanos(took).into()));
            let mut out: Map<_, _> = parts.collect();
            for (peer, [write, read]) in kho_bench::peers::file_times(files)? {
                let times = json!({ "write_ns": nanos(write), "read_ns": nanos(read) });
                out.insert(peer.to_owned(), times);
            }
            Ok(Value::Object(out))
        }
        Task::Counted {
            name: Some(ref name),
            count,
        } => Ok(json!({ "name": name, "count": counted::run(name, count)? })),
        Task::Counted { name: None, .. } => {
            let all = counted::ALL.iter();
            Ok(json!({
                "region": counted::REGION,
                "all": all.map(|work| json!({ "name": work.name, "count": work.count })).collect::<Vec<_>>(),
            }))
        }
        Task::Scaling {
            name: Some(ref name),
            budget,
            memory,
        } => {
            let found = scaling::ALL.iter().find(|scaling| scaling.name == name);
            let found = found.ok_or_else(|| format!("nothing is called `{name}`"))?;
            let budget = Duration::from_millis(budget);
            let mut points = 0u64;
            scaling::run(found, budget, memory, &mut |series, by, size, took| {
                points += 1;
                let took = nanos(took);
                let point = json!({ "series": series, "by": by, "size": size, "ns": took });
                println!("{point}");
            })?;
            Ok(json!({ "points": points }))
        }
        Task::Scaling { name: None, .. } => {
            Ok(scaling::ALL.iter().map(|scaling| scaling.name).collect())
        }
        Task::Handover { size } => handover::run(size),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn main() -> ExitCode {
    kho_exec::answer_manifest!(kho_exec::Config::new());
    match run(&Cli::parse().task) {
        Ok(value) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("kho-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
