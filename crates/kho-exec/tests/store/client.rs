//! A client of the store, and the store as a process.

use super::*;

pub(crate) struct Store {
    pub(crate) child: Child,
    pub(crate) port: u16,
    pub(crate) said: Option<ChildStderr>,
}

impl Store {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::at(&example(), args)
    }

    pub(crate) fn at(program: &Path, args: &[&str]) -> Self {
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

    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        let input = BufReader::new(stream.try_clone().unwrap());
        Client { stream, input }
    }

    pub(crate) fn hang_up(&self) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }

    /// Ends it; returns what it said on standard error, all the time.
    pub(crate) fn end(mut self) -> Vec<String> {
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
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
    Set(Vec<Reply>),
    /// Keys and values, one after the other.
    Map(Vec<Reply>),
    Verbatim(String),
}

pub(crate) fn bulk(text: impl AsRef<[u8]>) -> Reply {
    Reply::Bulk(text.as_ref().to_vec())
}

pub(crate) fn ok() -> Reply {
    Reply::Simple("OK".to_owned())
}

pub(crate) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(*word);
        out.extend(b"\r\n");
    }
    out
}

/// A request of words without spaces.
pub(crate) fn words(text: &str) -> Vec<u8> {
    let words: Vec<_> = text.split(' ').map(str::as_bytes).collect();
    request(&words)
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) input: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.input.read_line(&mut line).unwrap();
        let line = line.strip_suffix("\r\n").expect("a whole line");
        let (kind, rest) = line.split_at(1);
        match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Integer(rest.parse().unwrap()),
            "$" | "*" if rest == "-1" => Reply::Null,
            "_" => Reply::Null,
            "=" => {
                let Reply::Bulk(bytes) = self.bulk(rest) else {
                    panic!("{line}")
                };
                let text = String::from_utf8(bytes).unwrap();
                Reply::Verbatim(text.strip_prefix("txt:").unwrap().to_owned())
            }
            "$" => self.bulk(rest),
            "*" => Reply::Array(self.replies(rest, 1)),
            "~" => Reply::Set(self.replies(rest, 1)),
            "%" => Reply::Map(self.replies(rest, 2)),
            _ => panic!("{line}"),
        }
    }

    fn replies(&mut self, count: &str, each: usize) -> Vec<Reply> {
        let count = each * count.parse::<usize>().unwrap();
        (0..count).map(|_| self.reply()).collect()
    }

    fn bulk(&mut self, len: &str) -> Reply {
        let mut bytes = vec![0; len.parse::<usize>().unwrap() + 2];
        self.input.read_exact(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"\r\n"));
        bytes.truncate(bytes.len() - 2);
        Reply::Bulk(bytes)
    }

    pub(crate) fn ask(&mut self, text: &str) -> Reply {
        self.send(&words(text));
        self.reply()
    }

    /// The other side has closed the connection, and sent nothing more.
    pub(crate) fn is_at_its_end(&mut self) -> bool {
        match self.input.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    pub(crate) fn wait_for_upgrades(&mut self, count: i64) {
        let start = Instant::now();
        while self.ask("UPGRADES") != Reply::Integer(count) {
            assert!(start.elapsed() < LONG, "upgrade {count} did not come");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Asks for as much as fits until `stop`: keys that nobody else has, and counters. Returns what
/// keys it made, and how often it counted.
pub(crate) fn load(
    mut client: Client,
    worker: usize,
    stop: &AtomicBool,
) -> (HashMap<String, String>, i64) {
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
