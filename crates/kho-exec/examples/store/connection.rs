//! What clients say of their connections: `HELLO`, `CLIENT`, `AUTH` and `RESET`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::answer::{Answers, Protocol};
use super::resp::{Args, number};

/// All connections by number.
pub(crate) type Roster = BTreeMap<u64, Rc<Connection>>;

/// What a connection is known by, beside its bytes.
#[derive(Default, Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    /// The other side's address.
    pub(crate) address: String,
    pub(crate) protocol: Cell<Protocol>,
    /// What the client calls itself, its library and that library's version.
    pub(crate) names: RefCell<[Vec<u8>; NAMES]>,
}

pub(crate) const NAMES: usize = 3;
const NAME: usize = 0;
const LIBRARY: usize = 1;
const LIBRARY_VERSION: usize = 2;
/// The longest name.
const MAX_NAME: usize = 4096;

/// Who may call himself by which password: the one user has none.
const USER: &[u8] = b"default";

impl Connection {
    fn name(&self, which: usize) -> Vec<u8> {
        self.names.borrow().get(which).cloned().unwrap_or_default()
    }

    fn set_name(&self, which: usize, name: &[u8]) {
        if let Some(slot) = self.names.borrow_mut().get_mut(which) {
            *slot = name.to_vec();
        }
    }

    /// As new.
    pub(crate) fn reset(&self) {
        self.protocol.set(Protocol::Two);
        self.set_name(NAME, b"");
    }
}

/// A line of `CLIENT LIST`.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, library, version] = [NAME, LIBRARY, LIBRARY_VERSION]
            .map(|which| self.name(which).escape_ascii().to_string());
        writeln!(
            f,
            "id={} addr={} name={name} db=0 resp={} lib-name={library} lib-ver={version}",
            self.id,
            self.address,
            self.protocol.get().number(),
        )
    }
}

/// Whether `name` is shown in a list without being taken for more than a name.
fn is_name(name: &[u8]) -> bool {
    name.len() <= MAX_NAME && name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

const BAD_NAME: &str = "Client names cannot contain spaces, newlines or special characters.";

fn is(word: Option<&[u8]>, name: &str) -> bool {
    word.is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
pub(crate) fn hello(args: Args<'_>, own: &Connection, answers: &mut Answers<'_>) {
    let mut protocol = own.protocol.get();
    if let Some(version) = args.get(1) {
        protocol = match number(version) {
            Some(2) => Protocol::Two,
            Some(3) => Protocol::Three,
            Some(_) => return answers.refusal("NOPROTO", "unsupported protocol version"),
            None => {
                return answers.failure("Protocol version is not an integer or out of range");
            }
        };
    }
    let (mut at, mut name) = (2, None);
    while let Some(option) = args.get(at) {
        let (first, second) = (args.get(at + 1), args.get(at + 2));
        match (first, second) {
            (Some(user), Some(_)) if is(Some(option), "AUTH") => {
                if user != USER {
                    return wrong_password(answers);
                }
                at += 3;
            }
            (Some(word), _) if is(Some(option), "SETNAME") => {
                if !is_name(word) {
                    return answers.failure(BAD_NAME);
                }
                name = Some(word);
                at += 2;
            }
            _ => {
                let option = option.get(..128).unwrap_or(option).escape_ascii();
                return answers.failure(&format!("Syntax error in HELLO option '{option}'"));
            }
        }
    }
    if let Some(name) = name {
        own.set_name(NAME, name);
    }
    own.protocol.set(protocol);
    answers.protocol = protocol;
    answers.map(7);
    for (key, value) in [("server", SERVER), ("version", VERSION)] {
        answers.text(key);
        answers.text(value);
    }
    answers.text("proto");
    answers.integer(protocol.number());
    answers.text("id");
    answers.integer(i64::try_from(own.id).unwrap_or(i64::MAX));
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        answers.text(key);
        answers.text(value);
    }
    answers.text("modules");
    answers.array(0);
}

/// What this server is called, and its version.
pub(crate) const SERVER: &str = "kho-store";
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

fn wrong_password(answers: &mut Answers<'_>) {
    let text = "invalid username-password pair or user is disabled.";
    answers.refusal("WRONGPASS", text);
}

/// `AUTH [user] password`: there is one user, who needs no password.
pub(crate) fn auth(args: Args<'_>, answers: &mut Answers<'_>) {
    match (args.len(), args.get(1)) {
        (3, Some(USER)) => answers.simple("OK"),
        (3, _) => wrong_password(answers),
        _ => answers.failure(
            "AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        ),
    }
}

/// `CLIENT`, as far as clients ask when they connect.
pub(crate) fn client(args: Args<'_>, own: &Connection, all: &Roster, answers: &mut Answers<'_>) {
    let sub = args.get(1).unwrap_or_default().to_ascii_uppercase();
    let on = is(args.get(2), "ON");
    let switch = on || is(args.get(2), "OFF");
    match (sub.as_slice(), args.len()) {
        (b"ID", 2) => answers.integer(i64::try_from(own.id).unwrap_or(i64::MAX)),
        (b"GETNAME", 2) => match own.name(NAME) {
            name if name.is_empty() => answers.null(),
            name => answers.text(name),
        },
        (b"SETNAME", 3) => match args.get(2).filter(|name| is_name(name)) {
            Some(name) => {
                own.set_name(NAME, name);
                answers.simple("OK");
            }
            None => answers.failure(BAD_NAME),
        },
        (b"SETINFO", 4) => {
            let which = match args.get(2) {
                name if is(name, "LIB-NAME") => LIBRARY,
                name if is(name, "LIB-VER") => LIBRARY_VERSION,
                other => {
                    let other = other.unwrap_or_default();
                    let other = other.get(..128).unwrap_or(other).escape_ascii();
                    return answers.failure(&format!("Unrecognized option '{other}'"));
                }
            };
            match args.get(3).filter(|value| is_name(value)) {
                Some(value) => {
                    own.set_name(which, value);
                    answers.simple("OK");
                }
                None => {
                    let text = "lib-name and lib-ver cannot contain spaces, newlines or special characters.";
                    answers.failure(text);
                }
            }
        }
        (b"INFO", 2) => answers.verbatim(&own.to_string()),
        (b"LIST", 2) => {
            answers.verbatim(&all.values().map(ToString::to_string).collect::<String>())
        }
        (b"LIST", 4) if is(args.get(2), "TYPE") => {
            // Everybody is a normal client.
            let listed = all.values().filter(|_| is(args.get(3), "NORMAL"));
            answers.verbatim(&listed.map(ToString::to_string).collect::<String>());
        }
        (b"LIST", 4..) if is(args.get(2), "ID") => {
            let ids = (3..args.len()).filter_map(|at| args.get(at).and_then(number));
            let listed = ids.filter_map(|id| all.get(&u64::try_from(id).ok()?));
            answers.verbatim(&listed.map(ToString::to_string).collect::<String>());
        }
        (b"GETREDIR", 2) => answers.integer(-1),
        // Nothing is evicted, and nothing is aged.
        (b"NO-EVICT" | b"NO-TOUCH", 3) if switch => answers.simple("OK"),
        (b"REPLY", 3) if on => answers.simple("OK"),
        (b"TRACKING", 3..) if switch && !on => answers.simple("OK"),
        (b"TRACKING", 3..) if on => answers.failure("this server tracks no keys"),
        (
            b"ID" | b"GETNAME" | b"SETNAME" | b"SETINFO" | b"INFO" | b"LIST" | b"GETREDIR"
            | b"NO-EVICT" | b"NO-TOUCH" | b"REPLY" | b"TRACKING",
            _,
        ) => answers.failure("syntax error"),
        _ => unknown(args, answers),
    }
}

/// A subcommand that is none.
pub(crate) fn unknown(args: Args<'_>, answers: &mut Answers<'_>) {
    let sub = args.get(1).unwrap_or_default();
    let sub = sub.get(..128).unwrap_or(sub).escape_ascii();
    answers.failure(&format!("unknown subcommand '{sub}'"));
}
