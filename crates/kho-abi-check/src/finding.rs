//! What a check finds, and what that comes to.

use serde::{Serialize, Serializer};

use crate::diff::StructDiff;
use crate::rules::Rule;

/// How much a finding weighs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Must not land.
    Error,
    /// Worth a look; does not block.
    Warning,
    /// A change that was made properly, or that the allow-list names.
    Allowed,
    /// A consequence of a change.
    Info,
}

impl Severity {
    /// The severity in a word.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Allowed => "allowed",
            Self::Info => "info",
        }
    }
}

/// Where a finding is shown: a file of the project and a line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// The path from the project's root, with `/` between its parts.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl Place {
    /// Line `line` of `file`.
    #[must_use]
    pub fn new(file: impl Into<String>, line: usize) -> Self {
        Self {
            file: file.into(),
            line: line.max(1),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A line about a finding. As JSON it is its text.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Detail {
    /// The line.
    pub text: String,
    /// Whether a table of the finding's structs shows the same.
    pub in_table: bool,
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self {
            text,
            in_table: false,
        }
    }
}

impl PartialEq<&str> for Detail {
    fn eq(&self, text: &&str) -> bool {
        self.text == *text
    }
}

impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The rule's id.
    pub rule: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// The component that it is about; empty where it is about the project.
    pub component: String,
    /// What it is, in a sentence.
    pub title: String,
    /// More of it, a line each.
    pub details: Vec<Detail>,
    /// Structs whose fields moved, old and new side by side.
    pub structs: Vec<StructDiff>,
    /// Where.
    pub place: Option<Place>,
    /// What mends it: a command or an edit.
    pub mend: Option<String>,
    /// Why the allow-list lets it pass.
    pub allowed: Option<String>,
}

impl Rule {
    /// What this rule found.
    pub(crate) fn found(&self, component: &str, title: impl Into<String>) -> Finding {
        Finding {
            rule: self.id,
            severity: self.severity,
            component: component.to_owned(),
            title: title.into(),
            details: Vec::new(),
            structs: Vec::new(),
            place: None,
            mend: None,
            allowed: None,
        }
    }

    /// What this rule found, with what mends it whatever it is.
    pub(crate) fn with_mend(&self, component: &str, title: impl Into<String>) -> Finding {
        self.found(component, title).mend(self.mend)
    }
}

impl Finding {
    pub(crate) fn details(mut self, details: impl IntoIterator<Item: Into<Detail>>) -> Self {
        self.details.extend(details.into_iter().map(Into::into));
        self
    }

    pub(crate) fn structs(mut self, structs: Vec<StructDiff>) -> Self {
        self.structs = structs;
        self
    }

    pub(crate) fn at(mut self, place: impl Into<Option<Place>>) -> Self {
        self.place = place.into();
        self
    }

    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

/// What a check comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing changed.
    Clean,
    /// Something must not land.
    Broken,
    /// What changed, changed properly.
    Allowed,
}

impl Verdict {
    /// The verdict in a word.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Broken => "broken",
            Self::Allowed => "allowed",
        }
    }
}

/// Everything that a check found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What it was compared with.
    pub base: String,
    /// The project's directory in its repository, with a slash at its end, or nothing.
    pub prefix: String,
    /// What there was to compare: components of the project.
    pub components: usize,
    /// The findings: the heaviest first.
    pub findings: Vec<Finding>,
    /// Files that were written.
    pub written: Vec<String>,
    /// Files that would have been written, but for the errors.
    pub withheld: Vec<String>,
}

impl Report {
    /// What the findings come to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        // A warning that the allow-list names is as if it were not there.
        let warning = |f: &Finding| {
            crate::rules::find(f.rule).is_some_and(|rule| rule.severity == Severity::Warning)
        };
        let counts = |f: &&Finding| f.severity != Severity::Allowed || !warning(f);
        let any = |severity| {
            let mut findings = self.findings.iter().filter(counts);
            findings.any(|f| f.severity == severity)
        };
        if any(Severity::Error) {
            Verdict::Broken
        } else if any(Severity::Allowed) || any(Severity::Info) {
            Verdict::Allowed
        } else {
            Verdict::Clean
        }
    }

    /// Whether it may land: nothing changed, or what changed did so properly.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.verdict() != Verdict::Broken
    }

    /// 0 clean, 1 broken, 3 allowed changes only. 2 is left for a check that could not be made.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            Verdict::Clean => 0,
            Verdict::Broken => 1,
            Verdict::Allowed => 3,
        }
    }

    /// How many findings weigh `severity`.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let same = self.findings.iter().filter(|f| f.severity == severity);
        same.count()
    }

    /// The verdict in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{}: {}", self.verdict().id(), self.counts())
    }

    /// What the verdict counts, and against what.
    pub(crate) fn counts(&self) -> String {
        let count = |n: usize, what: &str| match n {
            0 => None,
            1 => Some(format!("1 {what}")),
            n => Some(format!("{n} {what}s")),
        };
        let warnings = count(self.count(Severity::Warning), "warning");
        let tail = warnings.map_or_else(String::new, |text| format!(", {text}"));
        let against = format!("against {}", self.base);
        match self.verdict() {
            Verdict::Clean => {
                let components = count(self.components, "component").unwrap_or_default();
                let components = if components.is_empty() {
                    "no component".to_owned()
                } else {
                    components
                };
                format!("{components} as their versions say, {against}{tail}")
            }
            Verdict::Broken => {
                let errors = count(self.count(Severity::Error), "error").unwrap_or_default();
                format!("{errors}{tail}, {against}")
            }
            Verdict::Allowed => {
                let changes = count(self.count(Severity::Allowed), "proper change");
                let parts: Vec<_> = changes
                    .into_iter()
                    .chain(count(self.count(Severity::Info), "consequence"))
                    .collect();
                format!("{}{tail}, {against}", parts.join(", "))
            }
        }
    }

    /// Sorts the findings: the heaviest first, and what changed before what follows from it, by the steps that a
    /// component is above those that it needs.
    pub(crate) fn sort(&mut self, steps: impl Fn(&str) -> usize) {
        self.findings.sort_by_cached_key(|one| {
            // What is of no component follows from what is.
            let last = one.component.is_empty();
            let steps = steps(&one.component);
            (one.severity, last, steps, one.component.clone())
        });
    }
}
