//! What the store can do.

use super::answer::Answers;
use super::connection::{self, Connection, Roster};
use super::kv::{Kv, KvError};
use super::resp::{Args, number};

/// An answer of many values is no longer than this.
const MAX_ANSWER: usize = 1 << 30;

/// What a command wants beyond its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// Nothing.
    GoOn,
    /// The connection is closed.
    Quit,
    /// The program is upgraded. The answer is still to come.
    Upgrade,
}

/// What a command works on.
pub(crate) struct Store<'s> {
    pub(crate) kv: &'s mut Kv,
    pub(crate) upgrades: u64,
    pub(crate) clients: &'s Roster,
}

/// A command, as `COMMAND` tells of it.
struct Command {
    name: &'static str,
    /// Its words, the name included; at least as many if it is negative.
    arity: i64,
    flags: &'static [&'static str],
    /// The first key's place, the last one's (from the end if negative), and how far apart they are.
    keys: (i64, i64, i64),
    summary: &'static str,
}

const fn command(
    name: &'static str,
    arity: i64,
    flags: &'static [&'static str],
    keys: (i64, i64, i64),
    summary: &'static str,
) -> Command {
    Command {
        name,
        arity,
        flags,
        keys,
        summary,
    }
}

const NONE: (i64, i64, i64) = (0, 0, 0);
const ONE: (i64, i64, i64) = (1, 1, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);
const FAST: &[&str] = &["fast"];
const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom"];

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    command("auth", -2, FAST, NONE, "Checks a user and his password."),
    command("client", -2, &[], NONE, "Says and sets what a connection is known by."),
    command("command", -1, &[], NONE, "Lists the commands."),
    command("config", -2, &["admin"], NONE, "Says how the server is configured."),
    command("dbsize", 1, READ, NONE, "Counts the keys."),
    command("del", -2, &["write"], ALL, "Deletes keys."),
    command("echo", 2, FAST, NONE, "Returns its argument."),
    command("exists", -2, READ, ALL, "Counts which of the keys there are."),
    command("get", 2, READ, ONE, "Returns the value of a key."),
    command("hello", -1, FAST, NONE, "Chooses the protocol's version."),
    command("incr", 2, WRITE, ONE, "Adds one to the number that is the value of a key."),
    command("incrby", 3, WRITE, ONE, "Adds to the number that is the value of a key."),
    command("info", -1, &[], NONE, "Says what the server is and does."),
    command("mget", -2, READ, ALL, "Returns the values of keys."),
    command("mset", -3, WRITE, (1, -1, 2), "Sets the values of keys."),
    command("ping", -1, FAST, NONE, "Returns PONG, or its argument."),
    command("quit", -1, FAST, NONE, "Closes the connection."),
    command("reset", 1, FAST, NONE, "Makes the connection as a new one."),
    command("select", 2, FAST, NONE, "Chooses the database: there is one, 0."),
    command("set", 3, WRITE, ONE, "Sets the value of a key."),
    command("upgrade", 1, &["admin"], NONE, "Executes the program anew, with everything that it holds."),
    command("upgrades", 1, FAST, NONE, "Says how often that was done."),
];

/// What `CONFIG GET` knows, most of all for redis-benchmark.
const CONFIG: [(&str, &str); 3] = [("save", ""), ("appendonly", "no"), ("databases", "1")];

impl Command {
    fn named(name: &[u8]) -> Option<&'static Self> {
        let is = |known: &&Self| name.eq_ignore_ascii_case(known.name.as_bytes());
        COMMANDS.iter().find(is)
    }

    fn takes(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        words == self.arity || self.arity < 0 && words >= -self.arity
    }

    fn tell(&self, answers: &mut Answers<'_>) {
        answers.array(10);
        answers.text(self.name);
        answers.integer(self.arity);
        answers.set(self.flags.len());
        self.flags.iter().for_each(|flag| answers.simple(flag));
        let (first, last, step) = self.keys;
        for number in [first, last, step] {
            answers.integer(number);
        }
        // No categories, tips, key specifications and subcommands.
        answers.set(0);
        answers.set(0);
        answers.set(0);
        answers.array(0);
    }
}

/// Does what `args` say and appends the answer.
pub(crate) fn execute(
    args: Args<'_>,
    store: &mut Store<'_>,
    own: &Connection,
    answers: &mut Answers<'_>,
) -> Then {
    let Some(name) = args.get(0) else {
        // A line or an array of nothing is answered with nothing.
        return Then::GoOn;
    };
    let Some(command) = Command::named(name) else {
        let name = name.get(..128).unwrap_or(name).escape_ascii();
        answers.failure(&format!("unknown command '{name}'"));
        return Then::GoOn;
    };
    let pairs = command.name != "mset" || args.len() % 2 == 1;
    let most = command.name != "ping" || args.len() <= 2;
    if !(command.takes(args.len()) && pairs && most) {
        let name = command.name;
        answers.failure(&format!("wrong number of arguments for '{name}' command"));
        return Then::GoOn;
    }
    let start = answers.out.len();
    let first = args.get(1).unwrap_or_default();
    let kv = &mut *store.kv;
    let done = match command.name {
        "get" => get(kv, first, answers),
        "mget" => {
            answers.array(args.len() - 1);
            let mut keys = args.rest();
            keys.try_for_each(|key| get(kv, key, answers)).map(|()| {
                if answers.out.len() - start > MAX_ANSWER {
                    answers.out.truncate(start);
                    answers.failure("the values are longer than 1 GiB together");
                }
            })
        }
        "set" | "mset" => set(kv, args).map(|()| answers.simple("OK")),
        "del" => count(args, |key| kv.remove(key)).map(|count| answers.integer(count)),
        "exists" => {
            let there = |key: &[u8]| kv.get(key).map(|value| value.is_some());
            count(args, there).map(|count| answers.integer(count))
        }
        "incr" => increment(kv, first, b"1", answers),
        "incrby" => increment(kv, first, args.get(2).unwrap_or_default(), answers),
        _ => {
            match command.name {
                "upgrade" => return Then::Upgrade,
                "quit" => {
                    answers.simple("OK");
                    return Then::Quit;
                }
                "dbsize" => answers.integer(i64::try_from(kv.len()).unwrap_or(i64::MAX)),
                "ping" if args.len() == 1 => answers.simple("PONG"),
                "ping" | "echo" => answers.text(first),
                "upgrades" => answers.integer(i64::try_from(store.upgrades).unwrap_or(i64::MAX)),
                "hello" => connection::hello(args, own, answers),
                "auth" => connection::auth(args, answers),
                "client" => connection::client(args, own, store.clients, answers),
                "reset" => {
                    own.reset();
                    answers.simple("RESET");
                }
                "select" => match number(first) {
                    Some(0) => answers.simple("OK"),
                    Some(_) => answers.failure("DB index is out of range"),
                    None => answers.failure("value is not an integer or out of range"),
                },
                "config" => config(args, answers),
                "info" => answers.verbatim(&info(store)),
                _ => commands(args, answers),
            }
            Ok(())
        }
    };
    if let Err(error) = done {
        if let KvError::Damaged { .. } = error {
            super::say(format_args!("{error}"));
        }
        answers.out.truncate(start);
        answers.failure(&error.to_string());
    }
    Then::GoOn
}

/// `CONFIG GET name...`.
fn config(args: Args<'_>, answers: &mut Answers<'_>) {
    let wanted = || (2..args.len()).filter_map(|at| args.get(at));
    if !args
        .get(1)
        .is_some_and(|sub| sub.eq_ignore_ascii_case(b"GET"))
        || args.len() < 3
    {
        return connection::unknown(args, answers);
    }
    let is = |name: &str, word: &[u8]| word == b"*" || word.eq_ignore_ascii_case(name.as_bytes());
    let found: Vec<_> = CONFIG
        .iter()
        .filter(|(name, _)| wanted().any(|word| is(name, word)))
        .collect();
    answers.map(found.len());
    for (name, value) in found {
        answers.text(name);
        answers.text(value);
    }
}

fn info(store: &Store<'_>) -> String {
    let (server, version) = (connection::SERVER, connection::VERSION);
    format!(
        "# Server\r\nserver_name:{server}\r\nredis_version:{version}\r\nredis_mode:standalone\r\n\
         process_id:{}\r\nupgrades:{}\r\n\r\n# Clients\r\nconnected_clients:{}\r\n\r\n\
         # Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n\
         # Keyspace\r\ndb0:keys={},expires=0,avg_ttl=0\r\n",
        std::process::id(),
        store.upgrades,
        store.clients.len(),
        store.kv.len(),
    )
}

/// `COMMAND`, `COMMAND COUNT`, `COMMAND LIST`, `COMMAND INFO` and `COMMAND DOCS`.
fn commands(args: Args<'_>, answers: &mut Answers<'_>) {
    let sub = args.get(1).unwrap_or(b"INFO").to_ascii_uppercase();
    let named = || {
        (2..args.len())
            .filter_map(|at| args.get(at))
            .map(Command::named)
    };
    match (sub.as_slice(), args.len()) {
        (b"COUNT", 2) => answers.integer(i64::try_from(COMMANDS.len()).unwrap_or(i64::MAX)),
        (b"LIST", 2) => {
            answers.array(COMMANDS.len());
            COMMANDS
                .iter()
                .for_each(|command| answers.text(command.name));
        }
        (b"INFO", ..=2) => {
            answers.array(COMMANDS.len());
            COMMANDS.iter().for_each(|command| command.tell(answers));
        }
        (b"INFO", _) => {
            answers.array(args.len() - 2);
            named().for_each(|command| match command {
                Some(command) => command.tell(answers),
                None => answers.null_array(),
            });
        }
        (b"DOCS", len) => {
            let told: Vec<&Command> = match len {
                2 => COMMANDS.iter().collect(),
                _ => named().flatten().collect(),
            };
            answers.map(told.len());
            for command in told {
                answers.text(command.name);
                answers.map(1);
                answers.text("summary");
                answers.text(command.summary);
            }
        }
        _ => connection::unknown(args, answers),
    }
}

fn get(kv: &Kv, key: &[u8], answers: &mut Answers<'_>) -> Result<(), KvError> {
    if answers.out.len() > MAX_ANSWER {
        return Ok(());
    }
    match kv.get(key)? {
        Some(value) => {
            answers.bulk(value.len());
            value.append_to(answers.out)?;
            answers.end();
        }
        None => answers.null(),
    }
    Ok(())
}

fn set(kv: &mut Kv, args: Args<'_>) -> Result<(), KvError> {
    let mut words = args.rest();
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        kv.set(key, value)?;
    }
    Ok(())
}

/// How many of the keys `is` holds for.
fn count(
    args: Args<'_>,
    mut is: impl FnMut(&[u8]) -> Result<bool, KvError>,
) -> Result<i64, KvError> {
    let mut count = 0;
    for key in args.rest() {
        count += i64::from(is(key)?);
    }
    Ok(count)
}

fn increment(kv: &mut Kv, key: &[u8], by: &[u8], answers: &mut Answers<'_>) -> Result<(), KvError> {
    let mut text = Vec::new();
    let found = match kv.get(key)? {
        None => Some(0),
        // The longest number has 20 digits.
        Some(value) if value.len() > 20 => None,
        Some(value) => {
            value.append_to(&mut text)?;
            number(&text)
        }
    };
    let (Some(found), Some(by)) = (found, number(by)) else {
        answers.failure("value is not an integer or out of range");
        return Ok(());
    };
    let Some(next) = found.checked_add(by) else {
        answers.failure("increment or decrement would overflow");
        return Ok(());
    };
    kv.set(key, next.to_string().as_bytes())?;
    answers.integer(next);
    Ok(())
}
