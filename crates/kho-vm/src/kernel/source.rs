//! Debian's package of the kernel's source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::build::{directory, step};
use super::kernels;
use crate::failure::{Failure, of_file};

/// Debian's keys, with which the package's list is signed.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The source of `version`, unpacked. The package itself is kept for the next time.
pub(crate) fn unpacked(version: &str, suite: &str) -> Result<TempDir, Failure> {
    let package = format!("linux-source-{version}");
    let kept = kernels()?.join(format!("{package}.tar.xz"));
    if !kept.is_file() {
        fetch(&package, suite, &kept)?;
    }
    let dir = directory("source")?;
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(dir.path())
        .args(["--strip-components=1", "-xf"])
        .arg(&kept);
    step(tar, "unpacking the source", "unpack")?;
    Ok(dir)
}

/// Puts the archive that is in `package` to `kept`.
fn fetch(package: &str, suite: &str, kept: &Path) -> Result<(), Failure> {
    let dir = directory("package")?;
    let apt = Apt::new(dir.path(), suite)?;
    let list = "reading the mirror's list";
    step(apt.command(&["update"]), list, "update")?;
    let what = format!("fetching {package}");
    step(apt.command(&["download", package]), &what, "download")?;
    let deb = only_file(dir.path(), ".deb")?;
    let files = dir.path().join("files");
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("-x").arg(&deb).arg(&files);
    step(dpkg, "unpacking the package", "dpkg")?;
    let archive = only_file(&files.join("usr/src"), ".tar.xz")?;
    fs::rename(&archive, kept).map_err(of_file(kept))
}

/// apt with a state of its own: the system's is neither needed nor changed.
pub(crate) struct Apt {
    dir: PathBuf,
}

impl Apt {
    pub(crate) fn new(dir: &Path, suite: &str) -> Result<Self, Failure> {
        let list = dir.join("sources.list");
        let mirror = mirror()?;
        let line = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        fs::write(&list, line).map_err(of_file(&list))?;
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = dir.join(part);
            fs::create_dir_all(&part).map_err(of_file(&part))?;
        }
        let dir = dir.to_owned();
        Ok(Self { dir })
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.program("apt-get", words)
    }

    /// One of apt's programs.
    pub(crate) fn program(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new(name);
        let mut set = |name: &str, value: PathBuf| {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        };
        set("Dir::Etc::sourcelist", self.dir.join("sources.list"));
        set("Dir::Etc::sourceparts", "-".into());
        set("Dir::State::lists", self.dir.join("lists"));
        set("Dir::Cache", self.dir.join("cache"));
        // apt gives the download up to a user who can not reach this directory.
        set("APT::Sandbox::User", "root".into());
        command.arg("-q").args(words).current_dir(&self.dir);
        command
    }
}

/// The mirror that apt takes this system's packages from.
fn mirror() -> Result<String, Failure> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let mut lines = release.lines();
    let codename = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.unwrap_or_default().trim_matches('"');
    let output = Command::new("apt-get")
        .args(["indextargets", "--format"])
        .arg("$(REPO_URI)|$(CODENAME)|$(CREATED_BY)")
        .output();
    let output = output.map_err(|error| {
        let text = format!("apt-get does not start: {error}; --source takes a source tree");
        Failure::CanNot(text)
    })?;
    mirror_of(&String::from_utf8_lossy(&output.stdout), codename).ok_or_else(|| {
        let text = "apt has no mirror of Debian here: --source takes a source tree";
        Failure::CanNot(text.to_owned())
    })
}

/// The first address of `targets` that has the packages of the release `codename` itself.
fn mirror_of(targets: &str, codename: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut fields = line.split('|');
        let (address, of, by) = (fields.next()?, fields.next()?, fields.next()?);
        (of == codename && by == "Packages").then(|| address.to_owned())
    })
}

/// The one file of `dir` whose name ends in `end`.
fn only_file(dir: &Path, end: &str) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(dir).map_err(of_file(dir))?;
    let mut files = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(end));
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file),
        _ => Err(Failure::of(
            dir.display(),
            format!("expected one file *{end}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_of_this_release() {
        let targets = "\
http://mirror.example/debian-security/|bookworm-security|Packages
http://mirror.example/debian/|bookworm|DEP-11
http://mirror.example/debian/|bookworm|Packages
http://mirror.example/debian/|bookworm-updates|Packages
";
        let mirror = mirror_of(targets, "bookworm");
        assert_eq!(mirror.as_deref(), Some("http://mirror.example/debian/"));
        assert_eq!(mirror_of(targets, "trixie"), None);
        assert_eq!(mirror_of("", ""), None);
    }
}
