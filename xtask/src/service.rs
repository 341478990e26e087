//! A service of the examples, and a client of it: what the tasks share that upgrade one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use xtask::{cargo, executable};

/// Longer than anything here takes, on however slow a machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Why there is no result: it can not be run, or something failed.
pub(crate) enum Failure {
    CanNot(String),
    Failed(String),
}

pub(crate) fn failed<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Failed(text.into()))
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Builds the target `name` of `package` in release mode, of the kind `kind`; returns where it is.
pub(crate) fn build(package: &str, kind: &str, name: &str) -> Result<PathBuf, Failure> {
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--release", "--locked"]);
    cargo.args(["--package", package, kind, name]);
    executable(&mut cargo, name).map_err(Failure::CanNot)
}

/// A service that runs. Dropped, it is ended.
pub(crate) struct Service {
    pub(crate) child: Child,
    pub(crate) port: u16,
    said: Option<JoinHandle<Vec<String>>>,
}

impl Service {
    /// Starts it: it says on its first line at which port it listens.
    pub(crate) fn start(program: &mut Command) -> Result<Self, Failure> {
        let mut child = program
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
        let line = line.trim();
        match line.rsplit(':').next().and_then(|port| port.parse().ok()) {
            Some(port) => this.port = port,
            None => return failed(format!("the service said \"{line}\"")),
        }
        Ok(this)
    }

    pub(crate) fn hang_up(&self) -> Result<(), Failure> {
        // The shell has a `kill` of its own.
        let process = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -HUP \"$1\"", "sh", &process])
            .status()?;
        if sent.success() {
            return Ok(());
        }
        failed(format!("process {process} is gone"))
    }

    /// Ends it; returns what it said on standard error.
    pub(crate) fn end(mut self) -> Result<Vec<String>, Failure> {
        if let Some(status) = self.child.try_wait()? {
            return failed(format!("the service ended: {status}"));
        }
        self.child.kill()?;
        let said = self.said.take().and_then(|said| said.join().ok());
        Ok(said.unwrap_or_default())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// A connection that asks one thing at a time.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) input: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.set_write_timeout(Some(LONG))?;
        let input = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, input })
    }

    /// A line of the answer, or the bytes that it announces; `None` for a value that is not there.
    pub(crate) fn answer(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        let Some(line) = line.strip_suffix("\r\n") else {
            return Err(std::io::Error::other("the service closed the connection"));
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

    pub(crate) fn ask(&mut self, request: &str) -> std::io::Result<Option<String>> {
        self.stream.write_all(format!("{request}\r\n").as_bytes())?;
        self.answer()
    }

    pub(crate) fn number(&mut self, request: &str) -> Result<u64, Failure> {
        let answer = self.ask(request)?.unwrap_or_default();
        let number = answer.strip_prefix(':').map(str::parse);
        match number {
            Some(Ok(number)) => Ok(number),
            _ => failed(format!("{request} is answered with {answer}")),
        }
    }
}
