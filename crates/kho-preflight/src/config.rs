//! A kernel's configuration, where it can be had.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::command_line::CommandLine;
use crate::system::{FILE_MAX, read, text};

/// Where the running kernel's configuration may be, with its release in place of the star.
pub(crate) const CONFIGS: &[&str] = &[
    "boot/config-*",
    "lib/modules/*/config",
    "usr/lib/modules/*/config",
];

/// What a kernel needs to hand anything over, and what it needs for sessions.
pub(crate) const KHO: &str = "CONFIG_KEXEC_HANDOVER";
pub(crate) const LUO: &str = "CONFIG_LIVEUPDATE";

/// A kernel's configuration, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) text: String,
    pub(crate) of: String,
}

impl Config {
    fn file(path: &Path, text: String) -> Self {
        let of = path.display().to_string();
        Self { text, of }
    }

    /// The running kernel's, below `root`.
    pub(crate) fn running(root: &Path, release: &str) -> Option<Self> {
        let packed = root.join("proc/config.gz");
        if let Ok(bytes) = read(&packed) {
            let mut text = String::new();
            let decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
            if decoder.take(FILE_MAX).read_to_string(&mut text).is_ok() {
                return Some(Self::file(&packed, text));
            }
        }
        first(
            CONFIGS
                .iter()
                .map(|path| root.join(path.replace('*', release))),
        )
    }

    /// That of the kernel image `path`: beside it under the names that distributions use.
    pub(crate) fn beside(path: &Path, release: &str) -> Option<Self> {
        let dir = path.parent()?;
        let mut names = vec![format!("config-{release}")];
        // A directory of one release's: /lib/modules/RELEASE/vmlinuz.
        if dir.file_name().is_some_and(|name| name == release) {
            names.push("config".to_owned());
        }
        first(names.into_iter().map(|name| dir.join(name)))
    }

    /// Whether `option` is built in.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.value(option) == Some("y")
    }

    fn value(&self, option: &str) -> Option<&str> {
        let mut lines = self.text.lines();
        lines.find_map(|line| line.trim_end().strip_prefix(option)?.strip_prefix('='))
    }

    /// What it says of `option`, and where.
    pub(crate) fn says(&self, option: &str) -> String {
        match self.value(option) {
            Some(value) => format!("{option}={value} in {}", self.of),
            None => format!("{option} is not set in {}", self.of),
        }
    }

    /// Whether KHO is on in a kernel of it without a word on its command line.
    pub(crate) fn is_on_by_default(&self) -> bool {
        self.has("CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT")
    }

    /// The parameters that a kernel of it sees of `given`, which the boot loader gives it.
    pub(crate) fn seen(&self, given: CommandLine) -> CommandLine {
        let own = self
            .value("CONFIG_CMDLINE")
            .map(|text| text.trim_matches('"'));
        let own = CommandLine::parse(own.unwrap_or_default());
        if self.has("CONFIG_CMDLINE_OVERRIDE") || self.has("CONFIG_CMDLINE_FORCE") {
            own
        } else if self.has("CONFIG_CMDLINE_BOOL") || self.has("CONFIG_CMDLINE_EXTEND") {
            own.then(given)
        } else {
            given
        }
    }
}

/// The first of `paths` that is a configuration.
fn first(mut paths: impl Iterator<Item = PathBuf>) -> Option<Config> {
    paths.find_map(|path| {
        let text = text(&path).ok()?;
        text.contains("CONFIG_").then(|| Config::file(&path, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_in_command_line_comes_first_or_alone() {
        let config = |text: &str| Config {
            text: text.to_owned(),
            of: "config".to_owned(),
        };
        let on = |text: &str, given: &str| {
            let seen = config(text).seen(CommandLine::parse(given));
            seen.switch("kho", false).on
        };
        let own = "CONFIG_CMDLINE=\"kho=on\"\n";
        assert!(!on(own, ""), "nothing says that it is used");
        assert!(on(&format!("{own}CONFIG_CMDLINE_BOOL=y\n"), "quiet"));
        assert!(!on(&format!("{own}CONFIG_CMDLINE_BOOL=y\n"), "kho=off"));
        let forced = format!("{own}CONFIG_CMDLINE_BOOL=y\nCONFIG_CMDLINE_OVERRIDE=y\n");
        assert!(on(&forced, "kho=off"));
        let config = config("# CONFIG_KEXEC_HANDOVER is not set\nCONFIG_KEXEC=y\r\n");
        assert_eq!(config.says("CONFIG_KEXEC"), "CONFIG_KEXEC=y in config");
        assert!(!config.has("CONFIG_KEXEC_HANDOVER"));
    }
}
