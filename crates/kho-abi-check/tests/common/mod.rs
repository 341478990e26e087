//! A project that is made up, in a directory and a repository of its own.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kho_abi_check::{Error, Finding, Format, Options, Project, Report, Severity, check};
use kho_abi_check::{Failure, Text, Vector, Vectors};
use kho_compat::{Component, Generation};
use tempfile::TempDir;

pub struct Fake {
    dir: TempDir,
}

/// Keeps a component for good, as a linked one is.
pub fn leak(component: Component) -> &'static Component {
    Box::leak(Box::new(component.of_crate("fmt")))
}

/// Keeps generations for good.
pub fn kept<const N: usize>(generations: [Generation; N]) -> &'static [Generation] {
    Box::leak(Box::new(generations))
}

impl Fake {
    /// A project with one crate, `fmt` 0.1.0, whose `abi.rs` is `source`; no repository yet.
    pub fn bare(source: &str) -> Self {
        let fake = Self {
            dir: TempDir::new().unwrap(),
        };
        fake.write(
            "Cargo.toml",
            "[workspace]\nmembers = [\"crates/*\"]\n\n[workspace.package]\nversion = \"0.1.0\"\n",
        );
        fake.write(
            "crates/fmt/Cargo.toml",
            "[package]\nname = \"fmt\"\nversion.workspace = true\n",
        );
        fake.write("crates/fmt/src/abi.rs", source);
        fake
    }

    /// As [`bare`](Self::bare), with `components` blessed and committed on `main`; the tree is on
    /// a branch `change`.
    pub fn new(source: &str, components: &[&'static Component]) -> Self {
        let fake = Self::bare(source);
        fake.start(components);
        fake
    }

    /// Blesses `components` and commits all that is there on `main`; goes on on a branch `change`.
    pub fn start(&self, components: &[&'static Component]) {
        self.init();
        self.bless(components);
        self.commit("first");
        self.git(&["checkout", "-q", "-b", "change"]);
    }

    pub fn init(&self) {
        self.git(&["init", "-q", "-b", "main"]);
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap()
    }

    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from:?}:\n{text}");
        self.write(path, &text.replace(from, to));
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.dir.path().join(path)).unwrap();
    }

    /// Gives the crates another version.
    pub fn release(&self, version: &str) {
        let text = self.read("Cargo.toml");
        let old = text.split("version = \"").nth(1).unwrap();
        let old = old.split('"').next().unwrap().to_owned();
        self.edit("Cargo.toml", &old, version);
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.dir.path())
            .env_remove("GIT_DIR")
            .env_remove("GIT_INDEX_FILE")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
            .args(args)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    /// Commits what is there, and has the main branch have it.
    pub fn land(&self, message: &str) {
        self.commit(message);
        self.git(&["branch", "-f", "main", "change"]);
    }

    /// Writes the allow-list, with one entry.
    pub fn allow(&self, rule: &str, component: &str, reason: &str, expires: &str) {
        let entry = [
            ("rule", rule),
            ("component", component),
            ("reason", reason),
            ("expires", expires),
        ];
        let entry = entry.map(|(key, value)| format!("{key} = \"{value}\"\n"));
        self.write("abi-allow.toml", &format!("[[allow]]\n{}", entry.concat()));
    }

    pub fn project(&self) -> Project {
        Project::new(self.root())
    }

    pub fn check(&self, components: &[&'static Component]) -> Report {
        self.check_with(components, &Options::default()).unwrap()
    }

    /// As [`check`](Self::check), with `vectors` instead of those that are linked.
    pub fn check_vectors(&self, components: &[&'static Component], vectors: &[Vectors]) -> Report {
        let options = Options::default().vectors(vectors);
        self.check_with(components, &options).unwrap()
    }

    /// As [`bless`](Self::bless), with `vectors` instead of those that are linked.
    pub fn bless_vectors(&self, components: &[&'static Component], vectors: &[Vectors]) -> Report {
        let options = Options::default().vectors(vectors).bless(true);
        self.check_with(components, &options).unwrap()
    }

    pub fn check_with(
        &self,
        components: &[&'static Component],
        options: &Options<'_>,
    ) -> Result<Report, Error> {
        check(components.iter().copied(), &self.project(), options)
    }

    pub fn bless(&self, components: &[&'static Component]) -> Report {
        self.check_with(components, &Options::default().bless(true))
            .unwrap()
    }
}

/// Structs of a format: the name in C, the name here, the fields; with constants where they have any.
macro_rules! structs {
    ($($c:literal $([$($constant:ident),*])? $name:ident { $($field:ident: $type:ty),* $(,)? })*) => { $(
        #[derive(kho_compat::AbiLayout)]
        #[repr(C)]
        #[abi(c_name = $c $(, constants($($constant),*))?)]
        #[allow(dead_code)]
        pub(crate) struct $name { $($field: $type),* }
    )* };
}
pub(crate) use structs;

/// The source of the format.
pub const ABI: &str = "crates/fmt/src/abi.rs";

/// The one finding of `rule`.
pub fn one<'a>(report: &'a Report, rule: &str) -> &'a Finding {
    let found: Vec<_> = report.findings.iter().filter(|f| f.rule == rule).collect();
    assert_eq!(found.len(), 1, "{rule}:\n{}", report.render(Format::Human));
    found[0]
}

/// The findings of `rule`, in words.
pub fn words(report: &Report, rule: &str) -> String {
    let found = report.findings.iter().filter(|f| f.rule == rule);
    let lines = found.flat_map(|f| {
        let rest = f.details.iter().map(|detail| &detail.text);
        let rest = rest.chain(&f.mend).cloned();
        std::iter::once(f.title.clone()).chain(rest)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether something of `rule` was found, with its severity before it.
pub fn has(report: &Report, rule: &str) -> bool {
    rules(report).iter().any(|found| found == rule)
}

/// Asserts that what `rule` found has this text in it.
#[track_caller]
pub fn told(report: &Report, rule: &str, text: &str) {
    let found = words(report, rule);
    assert!(found.contains(text), "{found}");
}

/// Asserts that `text` has this in it.
#[track_caller]
pub fn holds(text: &str, part: &str) {
    assert!(text.contains(part), "{text}");
}

/// The title of the one finding of `rule`.
pub fn title<'a>(report: &'a Report, rule: &str) -> &'a str {
    &one(report, rule).title
}

/// What mends the one finding of `rule`.
pub fn mend<'a>(report: &'a Report, rule: &str) -> &'a str {
    one(report, rule).mend.as_deref().unwrap()
}

/// Where the one finding of `rule` stands.
pub fn place(report: &Report, rule: &str) -> String {
    one(report, rule).place.as_ref().unwrap().to_string()
}

/// The ids of what was found, with their severities, each once, in order.
pub fn rules(report: &Report) -> Vec<String> {
    let found = report.findings.iter();
    let found = found.map(|f| format!("{} {}", f.severity.id(), f.rule));
    found.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Asserts what was found, and the exit code.
#[track_caller]
pub fn expect(report: &Report, code: u8, found: &[&str]) {
    assert_eq!(
        (report.exit_code(), rules(report)),
        (code, found.iter().map(ToString::to_string).collect()),
        "{}",
        report.render(Format::Human)
    );
    let errors = report.count(Severity::Error) > 0;
    assert_eq!(errors, !report.passes());
}

/// What makes a vector.
pub type Make = fn() -> Result<Text, Failure>;
pub const PAGE: Make = || Ok("a page".into());
pub const OTHER: Make = || Ok("another".into());

/// One vector, `page`, of a generation or of a variant of it.
pub fn vector(
    component: &'static str,
    generation: Option<u32>,
    variant: Option<&'static str>,
    make: Make,
) -> Vectors {
    Vectors {
        component,
        generation,
        variant,
        vectors: Box::leak(Box::new([Vector { name: "page", make }])),
    }
}
