//! Entries of the Boot Loader Specification, type 1: which kernel is booted, and with what.

use std::path::{Path, PathBuf};

use crate::boot::Boot;
use crate::command_line::CommandLine;
use crate::initrd::Initrd;
use crate::{EndOptions, Error};

/// An entry: lines of a key and a value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct BootEntry {
    /// The kernel, or the unified kernel image.
    pub(crate) kernel: PathBuf,
    initrds: Vec<PathBuf>,
    options: Option<String>,
}

impl BootEntry {
    /// The entry in `text`; `None` for what names no kernel.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut entry = Self::default();
        for line in text.lines().map(str::trim) {
            let Some((key, value)) = line.split_once(|c: char| c.is_ascii_whitespace()) else {
                continue;
            };
            let value = value.trim();
            match key {
                "linux" | "uki" | "efi" => entry.kernel = value.into(),
                "initrd" => entry.initrds.push(value.into()),
                "options" => {
                    let options = entry.options.get_or_insert_default();
                    options.push(' ');
                    options.push_str(value);
                }
                _ => {}
            }
        }
        (entry.kernel != Path::new("")).then_some(entry)
    }

    /// Where its kernel lies. Its paths begin at the top of the partition that it stands on: `at` is the entry's own.
    pub(crate) fn find(&self, at: &Path, options: &EndOptions<'_>) -> Result<PathBuf, Error> {
        find(&self.kernel, at, options.root)
    }

    /// What it boots its kernel with.
    pub(crate) fn boot(&self, at: &Path, options: &EndOptions<'_>) -> Result<Boot, Error> {
        let initrds = self.initrds.iter();
        // Those of a boot loader's variables are not known.
        let initrds = initrds.filter(|path| !path.to_string_lossy().starts_with('$'));
        let initrds = initrds.map(|path| find(path, at, options.root));
        let of = at.display().to_string();
        let line = self.options.as_deref().map(CommandLine::parse);
        Ok(Boot {
            command_line: line.map(|line| (line, of)),
            initrds: Initrd::all(&initrds.collect::<Result<Vec<_>, _>>()?)?,
            ..Boot::default()
        })
    }
}

/// The file `named` of the entry `at`: below the directory that has the entry in loader/entries, below `root`, or
/// where the partition is usually mounted there.
fn find(named: &Path, at: &Path, root: &Path) -> Result<PathBuf, Error> {
    let below = named.strip_prefix("/").unwrap_or(named);
    let own = at.parent().filter(|dir| dir.ends_with("loader/entries"));
    let own = own.and_then(|dir| dir.ancestors().nth(2));
    let mounts = ["", "boot", "efi", "boot/efi"].map(|mount| root.join(mount));
    let places = own.map(Path::to_owned).into_iter().chain(mounts);
    let places: Vec<_> = places.map(|dir| dir.join(below)).collect();
    match places.iter().find(|place| place.is_file()) {
        Some(found) => Ok(found.clone()),
        None => Err(Error::NoFile {
            named: named.display().to_string(),
            looked: places.iter().map(|p| p.display().to_string()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_be_repeated() {
        let text = "title Linux\nlinux  /vmlinuz-7.3.4\ninitrd /ucode\ninitrd\t/initrd\noptions kho=on\n\
                    # a comment\noptions liveupdate=on\n";
        let entry = BootEntry::parse(text).unwrap();
        assert_eq!(entry.kernel, Path::new("/vmlinuz-7.3.4"));
        assert_eq!(entry.initrds, [Path::new("/ucode"), Path::new("/initrd")]);
        assert_eq!(entry.options.as_deref(), Some(" kho=on liveupdate=on"));
        assert_eq!(BootEntry::parse("title Linux\noptions kho=on\n"), None);
    }
}
