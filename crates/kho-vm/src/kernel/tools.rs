//! What it takes to build a kernel.

use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::place::program;

/// A package of Debian, and how it is known that it is there.
struct Tool {
    package: &'static str,
    there: There,
}

enum There {
    Program(&'static str),
    File(&'static str),
}

const BUILD: [Tool; 8] = [
    tool("make", There::Program("make")),
    tool("gcc", There::Program("gcc")),
    tool("flex", There::Program("flex")),
    tool("bison", There::Program("bison")),
    tool("bc", There::Program("bc")),
    tool("perl", There::Program("perl")),
    tool("libelf-dev", There::File("/usr/include/gelf.h")),
    tool("libssl-dev", There::File("/usr/include/openssl/ssl.h")),
];

/// To unpack the package of the source.
const SOURCE: [Tool; 3] = [
    tool("dpkg", There::Program("dpkg")),
    tool("tar", There::Program("tar")),
    tool("xz-utils", There::Program("xz")),
];

const fn tool(package: &'static str, there: There) -> Tool {
    Tool { package, there }
}

impl Tool {
    fn is_there(&self) -> bool {
        match self.there {
            There::Program(name) => program(name).is_some(),
            There::File(path) => Path::new(path).exists(),
        }
    }
}

/// Makes sure of what it takes; with `source` also of what it takes to unpack a source package.
pub(crate) fn ready(install: bool, source: bool) -> Result<(), Failure> {
    let all = BUILD.iter().chain(SOURCE.iter().filter(|_| source));
    let missing: Vec<_> = all
        .filter(|tool| !tool.is_there())
        .map(|tool| tool.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" ");
    if !install {
        let text = format!("this is missing (--install installs it): apt-get install {missing}");
        return Err(Failure::CanNot(text));
    }
    eprintln!("vm kernel: installing {missing}");
    apt(&["update", "-q"])?;
    let mut words = vec!["install", "-y", "-q", "--no-install-recommends"];
    words.extend(missing.split(' '));
    apt(&words)
}

/// Runs apt-get as root.
fn apt(words: &[&str]) -> Result<(), Failure> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("apt-get")
    } else {
        let mut command = Command::new("sudo");
        command.arg("apt-get");
        command
    };
    // Standard output is for what was asked for.
    let status = command.args(words).stdout(std::io::stderr()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::CanNot(format!("apt-get: {status}"))),
        Err(error) => Err(Failure::CanNot(format!("apt-get does not start: {error}"))),
    }
}
