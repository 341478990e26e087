//! Reports as text: for a reader, for programs, for a pull request.

mod github;
mod human;
mod json;
mod markdown;
mod sarif;

use std::str::FromStr;

use crate::Finding;
use crate::finding::{Place, Report};

/// The form of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Format {
    /// For a terminal.
    Human,
    /// For programs.
    Json,
    /// For a comment in a pull request.
    Markdown,
    /// Workflow commands of GitHub: annotations at the lines.
    Github,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

impl Format {
    /// All forms.
    pub const ALL: [Self; 5] = [
        Self::Human,
        Self::Json,
        Self::Markdown,
        Self::Github,
        Self::Sarif,
    ];

    /// The form as commands take it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
            Self::Markdown => "markdown",
            Self::Github => "github",
            Self::Sarif => "sarif",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.id() == text);
        found.ok_or_else(|| {
            let ids = Self::ALL.map(Self::id);
            format!("expected one of {}", ids.join(", "))
        })
    }
}

impl Report {
    /// The report as text, without colours.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Human => self.human(false),
            Format::Json => json::render(self),
            Format::Markdown => markdown::render(self),
            Format::Github => github::render(self),
            Format::Sarif => sarif::render(self),
        }
    }

    /// The report for a terminal; with colours as ANSI sequences.
    #[must_use]
    pub fn human(&self, colours: bool) -> String {
        human::render(self, colours)
    }

    /// A place's file from the root of the repository.
    fn in_repository(&self, place: &Place) -> String {
        format!("{}{}", self.prefix, place.file)
    }
}

/// A finding in lines, for forms that have no tables.
fn plain(finding: &Finding) -> Vec<String> {
    let mut out = vec![finding.title.clone()];
    out.extend(finding.details.iter().map(|detail| detail.text.clone()));
    if let Some(reason) = &finding.allowed {
        out.push(format!("allowed: {reason}"));
    }
    if let Some(mend) = &finding.mend {
        out.push(format!("mend: {mend}"));
    }
    out
}
