//! What the store can do.

use super::kv::{Kv, KvError};
use super::resp::{Answer, Args, number};

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

/// Does what `args` say and appends the answer to `out`.
pub(crate) fn execute(args: Args<'_>, kv: &mut Kv, upgrades: u64, out: &mut Vec<u8>) -> Then {
    let Some(name) = args.get(0) else {
        // A line or an array of nothing is answered with nothing.
        return Then::GoOn;
    };
    let mut upper = [0; 8];
    let command = match upper.get_mut(..name.len()) {
        Some(upper) => {
            upper.copy_from_slice(name);
            upper.make_ascii_uppercase();
            &*upper
        }
        None => name,
    };
    let start = out.len();
    let done = match (command, args.len()) {
        (b"GET", 2) => args.get(1).map_or(Ok(()), |key| get(kv, key, out)),
        (b"MGET", 2..) => {
            out.array(args.len() - 1);
            let mut keys = args.rest();
            keys.try_for_each(|key| get(kv, key, out)).map(|()| {
                if out.len() - start > MAX_ANSWER {
                    out.truncate(start);
                    out.failure("the values are longer than 1 GiB together");
                }
            })
        }
        (b"SET", 3) | (b"MSET", 3..) if args.len() % 2 == 1 => {
            set(kv, args).map(|()| out.simple("OK"))
        }
        (b"DEL", 2..) => count(args, |key| kv.remove(key)).map(|count| out.integer(count)),
        (b"EXISTS", 2..) => {
            let there = |key: &[u8]| kv.get(key).map(|value| value.is_some());
            count(args, there).map(|count| out.integer(count))
        }
        (b"INCR", 2) => args.get(1).map_or(Ok(()), |key| increment(kv, key, out)),
        (b"DBSIZE", 1) => {
            out.integer(i64::try_from(kv.len()).unwrap_or(i64::MAX));
            Ok(())
        }
        (b"PING", 1) => {
            out.simple("PONG");
            Ok(())
        }
        (b"PING" | b"ECHO", 2) => {
            let text = args.get(1).unwrap_or_default();
            out.bulk(text.len() as u64);
            out.extend_from_slice(text);
            out.end();
            Ok(())
        }
        (b"UPGRADES", 1) => {
            out.integer(i64::try_from(upgrades).unwrap_or(i64::MAX));
            Ok(())
        }
        (b"UPGRADE", 1) => return Then::Upgrade,
        (b"QUIT", _) => {
            out.simple("OK");
            return Then::Quit;
        }
        // What redis-benchmark and redis-cli ask when they start.
        (b"CONFIG", _)
            if args
                .get(1)
                .is_some_and(|sub| sub.eq_ignore_ascii_case(b"GET")) =>
        {
            out.array(0);
            Ok(())
        }
        (b"COMMAND", _) => {
            out.array(0);
            Ok(())
        }
        (
            b"GET" | b"MGET" | b"SET" | b"MSET" | b"DEL" | b"EXISTS" | b"INCR" | b"DBSIZE"
            | b"PING" | b"ECHO" | b"UPGRADE" | b"UPGRADES",
            _,
        ) => {
            let name = command.escape_ascii().to_string().to_lowercase();
            out.failure(&format!("wrong number of arguments for '{name}' command"));
            Ok(())
        }
        _ => {
            let name = name.get(..128).unwrap_or(name).escape_ascii();
            out.failure(&format!("unknown command '{name}'"));
            Ok(())
        }
    };
    if let Err(error) = done {
        if let KvError::Damaged { .. } = error {
            super::say(format_args!("{error}"));
        }
        out.truncate(start);
        out.failure(&error.to_string());
    }
    Then::GoOn
}

fn get(kv: &Kv, key: &[u8], out: &mut Vec<u8>) -> Result<(), KvError> {
    if out.len() > MAX_ANSWER {
        return Ok(());
    }
    match kv.get(key)? {
        Some(value) => {
            out.bulk(value.len());
            value.append_to(out)?;
            out.end();
        }
        None => out.null(),
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

fn increment(kv: &mut Kv, key: &[u8], out: &mut Vec<u8>) -> Result<(), KvError> {
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
    let Some(found) = found else {
        out.failure("value is not an integer or out of range");
        return Ok(());
    };
    let Some(next) = found.checked_add(1) else {
        out.failure("increment or decrement would overflow");
        return Ok(());
    };
    kv.set(key, next.to_string().as_bytes())?;
    out.integer(next);
    Ok(())
}
