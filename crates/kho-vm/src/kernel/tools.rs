//! What it takes to build a kernel.

use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::place::program;

/// Packages of Debian, each with a program or a file by which it is known that it is there.
const BUILD: [(&str, &str); 8] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl"),
    ("libelf-dev", "/usr/include/gelf.h"),
    ("libssl-dev", "/usr/include/openssl/ssl.h"),
];

/// To unpack the package of the source.
const SOURCE: [(&str, &str); 3] = [("dpkg", "dpkg"), ("tar", "tar"), ("xz-utils", "xz")];

fn is_there(name: &str) -> bool {
    match name.starts_with('/') {
        true => Path::new(name).exists(),
        false => program(name).is_some(),
    }
}

/// Makes sure of what it takes; with `source` also of what it takes to unpack a source package.
pub(crate) fn ready(install: bool, source: bool) -> Result<(), Failure> {
    let all = BUILD.iter().chain(SOURCE.iter().filter(|_| source));
    let missing = all.filter(|(_, known_by)| !is_there(known_by));
    let missing: Vec<_> = missing.map(|(package, _)| *package).collect();
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
    let mut command = Command::new("sudo");
    command.arg("apt-get");
    if rustix::process::geteuid().is_root() {
        command = Command::new("apt-get");
    }
    // Standard output is for what was asked for.
    let status = command.args(words).stdout(std::io::stderr()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::CanNot(format!("apt-get: {status}"))),
        Err(error) => Err(Failure::CanNot(format!("apt-get does not start: {error}"))),
    }
}
