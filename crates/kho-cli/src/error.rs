//! Failures, as the command reports them.

use std::io::{self, Write};
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use kho_compat::{Refused, RegistryError, View};
use kho_image::{FindError, Image, ImageError, ImageKind};
use kho_mem::{Damage, Defect};
use serde_json::{Value, json};

use crate::lacking;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The dump is damaged, or no dump.
    Image(ImageError),
    /// The dump holds no handover, or several; and whether it was taken as raw memory.
    Find(FindError, bool),
    /// What the dump stores holds no handover; and what it does not store.
    NotFound(String),
    /// The dump does not store all that was asked for: a word and a text per line.
    NotStored(Vec<(&'static str, String)>),
    /// What was handed over is damaged.
    Damaged {
        damage: Damage,
        file_offset: Option<u64>,
        note: Option<String>,
    },
    /// A policy refused it.
    Refused(Box<Refused>),
    /// The verdict does not cover it.
    Unrestorable(String),
    /// The linked components contradict each other: a defect of this program.
    Registry(RegistryError),
    /// The arguments name something that is not there.
    Usage(String),
    /// The output directory has something in the way, and whether --force was given.
    InTheWay(PathBuf, bool),
    /// What is to be packed is refused, or can not be read: a word and a text per line.
    Input(Vec<(&'static str, String)>),
    /// Writing failed.
    Write { path: PathBuf, error: io::Error },
    /// Standard output is gone.
    Output(io::Error),
    /// Ctrl-C.
    Interrupted,
    /// A program could not be run, and the exit code that says so.
    NotRun(String, io::Error, u8),
    /// This exit code, and nothing to say: the program that was run has said why itself, or a verdict
    /// stands on standard output.
    Ended(u8),
    /// A failure of one of several things that were given: which one.
    Of(String, Box<Failure>),
}

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// What may explain a failure of a dump that is no ELF core.
const RAW_NOTE: &str = "the image was taken as raw memory, since it does not begin with the ELF magic; \
                        --base says where raw memory begins";

const FDT_HINT: &str = "--fdt names its address where it can not be found";

/// The exit code where a dump does not store what was asked for.
pub(crate) const NOT_STORED: u8 = 4;

impl Failure {
    /// Damage of a handover in `image`, with the place in the file and what else may explain it.
    pub(crate) fn damaged(damage: Damage, image: &Image) -> Self {
        if damage.defect() == Defect::Unreadable
            && let Some(fault) = image.take_fault()
        {
            return Self::Image(fault);
        }
        let raw = (image.kind() == ImageKind::Raw).then(|| RAW_NOTE.to_owned());
        let note = lacking::note(image).or(raw);
        let file_offset = image.locate(damage.at());
        Self::Damaged {
            damage,
            file_offset,
            note,
        }
    }

    /// No handover, or several, in `image`.
    pub(crate) fn find(error: FindError, image: &Image) -> Self {
        match (&error, image.take_fault(), lacking::note(image)) {
            (FindError::None(_), Some(fault), _) => Self::Image(fault),
            (FindError::None(near), _, Some(note)) if near.is_empty() => Self::NotFound(note),
            _ => Self::Find(error, image.kind() == ImageKind::Raw),
        }
    }

    /// What ended a survey of `image`.
    pub(crate) fn of_survey(error: kho_survey::Error, image: &Image) -> Self {
        use kho_survey::Error;
        match error {
            Error::Find(error) => Self::find(error, image),
            Error::Damaged(damage) => Self::damaged(damage, image),
            Error::Interrupted => Self::Interrupted,
            Error::Registry(error) => Self::Registry(error),
            other => Self::Unrestorable(other.to_string()),
        }
    }

    /// The command's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            // A temporary directory that is full is not the command line's fault.
            Self::Image(ImageError::Io { path, .. }) if *path == std::env::temp_dir() => 1,
            Self::Image(ImageError::Io { .. }) | Self::Usage(_) => 2,
            Self::Interrupted | Self::Image(ImageError::Interrupted) => 130,
            Self::Ended(code) | Self::NotRun(_, _, code) => *code,
            Self::NotStored(_) | Self::NotFound(_) => NOT_STORED,
            Self::Damaged { damage, .. } if damage.defect() == Defect::NotStored => NOT_STORED,
            Self::Of(_, failure) => failure.code(),
            _ => 1,
        }
    }

    /// Prints the failure of `result` as JSON where `json` asks for it, and hands the result on. One that
    /// has been said already, and one of standard output itself, is not printed.
    pub(crate) fn told(json: bool, result: Result<(), Self>) -> Result<(), Self> {
        if let (true, Err(failure)) = (json, &result)
            && !matches!(
                failure,
                Self::Ended(_) | Self::Output(_) | Self::NotStored(_)
            )
        {
            let value = json!({ "failure": failure.json() });
            writeln!(io::stdout(), "{value:#}").map_err(Self::Output)?;
        }
        result
    }

    /// Says on standard error what went wrong, where, what was found and what was expected.
    pub(crate) fn print(&self) {
        // Where standard error can not be written there is nobody left to tell.
        let _ = self.write(&mut anstream::stderr().lock());
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let lines = self.lines();
        let mut lines = lines.iter();
        if let Some((word, text)) = lines.next() {
            writeln!(out, "{RED}{word}{RED:#}: {text}")?;
        }
        lines.try_for_each(|(word, text)| writeln!(out, "  {DIM}{word:<12}{DIM:#} {text}"))
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Image(ImageError::Damaged {
                what,
                offset,
                found,
                expected,
            }) => vec![
                ("damaged", what.clone()),
                ("where", format!("file offset {offset:#x}")),
                ("found", found.clone()),
                ("expected", expected.clone()),
            ],
            Self::Image(ImageError::Foreign { found, advice }) => vec![
                (
                    "refused",
                    format!("not a dump of physical memory that can be read: {found}"),
                ),
                ("hint", advice.clone()),
            ],
            Self::Image(ImageError::Interrupted) | Self::Interrupted => {
                vec![("interrupted", "nothing was changed".to_owned())]
            }
            Self::Ended(_) => Vec::new(),
            Self::Of(name, failure) => {
                let mut lines = failure.lines();
                lines.insert(lines.len().min(1), ("in", name.clone()));
                lines
            }
            Self::NotRun(program, error, _) => vec![("error", format!("{program}: {error}"))],
            Self::Input(lines) | Self::NotStored(lines) => lines.clone(),
            Self::NotFound(note) => vec![
                (
                    "not stored",
                    "no handover found in what the dump stores".to_owned(),
                ),
                ("note", note.clone()),
                ("hint", FDT_HINT.to_owned()),
            ],
            Self::Image(error) => vec![("error", error.to_string())],
            Self::Find(error, raw) => {
                let mut lines = find_lines(error);
                lines.extend(raw.then(|| ("note", RAW_NOTE.to_owned())));
                lines
            }
            Self::Damaged {
                damage,
                file_offset,
                note,
            } => {
                let place = match file_offset {
                    Some(offset) => format!("{} (file offset {offset:#x})", damage.at()),
                    None => damage.at().to_string(),
                };
                let word = match damage.defect() {
                    Defect::NotStored => "not stored",
                    _ => "damaged",
                };
                let mut lines = vec![(word, damage.headline()), ("where", place)];
                if !damage.found_text().is_empty() {
                    lines.push(("found", damage.found_text().to_owned()));
                }
                if !damage.expected_text().is_empty() {
                    lines.push(("expected", damage.expected_text().to_owned()));
                }
                lines.extend(note.clone().map(|note| ("note", note)));
                lines
            }
            Self::Refused(refused) => {
                let verdict = refused.verdict();
                let mut lines = vec![(
                    "refused",
                    format!(
                        "the handover can not be restored (policy `{}`)",
                        verdict.policy
                    ),
                )];
                const SHOWN: usize = 8;
                let all = verdict.rejected().count();
                for finding in verdict.rejected().take(SHOWN) {
                    let entry = &finding.entry;
                    let mut found = format!("`{entry}`");
                    if entry.uses > 1 {
                        found.push_str(&format!(", {} times", entry.uses));
                    }
                    if let Some(reason) = &finding.reason {
                        found.push_str(&format!(": {}", reason.view(View::Here)));
                    }
                    lines.push(("where", entry.place.to_string()));
                    lines.push(("found", found));
                    lines.push(("expected", finding.expected.to_string()));
                    lines.push(("consequence", finding.consequence().to_string()));
                }
                if all > SHOWN {
                    lines.push(("and", format!("{} more strings", all - SHOWN)));
                }
                lines
            }
            Self::Registry(error) => {
                vec![("error", format!("this program is inconsistent: {error}"))]
            }
            Self::Unrestorable(text) => vec![("refused", text.clone())],
            Self::Usage(text) => vec![("error", text.clone())],
            Self::InTheWay(path, forced) => vec![
                ("refused", format!("{} exists already", path.display())),
                if *forced {
                    (
                        "hint",
                        "it is not of an earlier restore: choose another directory".to_owned(),
                    )
                } else {
                    (
                        "hint",
                        "choose another directory, or replace an earlier restore with --force"
                            .to_owned(),
                    )
                },
            ],
            Self::Write { path, error } => vec![("error", format!("{}: {error}", path.display()))],
            Self::Output(error) => vec![("error", format!("standard output: {error}"))],
        }
    }

    /// The failure as JSON: a member for each line of [`Failure::print`].
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Damaged {
                damage,
                file_offset,
                note,
            } => json!({
                "note": note,
                "kind": match damage.defect() {
                    Defect::NotStored => "not-stored",
                    _ => "damaged",
                },
                "defect": damage.defect().id(),
                "what": damage.headline(),
                "subject": damage.subject(),
                "at": damage.at().get(),
                "file_offset": file_offset,
                "found": damage.found_text(),
                "expected": damage.expected_text(),
            }),
            Self::Image(ImageError::Damaged {
                what,
                offset,
                found,
                expected,
            }) => json!({
                "kind": "image",
                "what": what,
                "file_offset": offset,
                "found": found,
                "expected": expected,
            }),
            Self::Image(ImageError::Foreign { found, advice }) => json!({
                "kind": "foreign",
                "what": found,
                "hint": advice,
            }),
            Self::NotFound(note) => json!({
                "kind": "not-stored",
                "what": "no handover found in what the dump stores",
                "note": note,
            }),
            Self::Of(name, failure) => {
                let mut value = failure.json();
                if let Value::Object(members) = &mut value {
                    members.insert("in".into(), name.as_str().into());
                }
                value
            }
            Self::Find(FindError::Several(roots), _) => json!({
                "kind": "several",
                "what": "several handovers",
                "roots": roots.iter().map(|root| json!({
                    "fdt_addr": root.addr.get(), "compatible": root.compatible,
                })).collect::<Vec<_>>(),
            }),
            Self::Refused(refused) => json!({
                "kind": "refused",
                "what": refused.to_string(),
                "policy": refused.verdict().policy,
                "rejected": refused.verdict().rejected().map(|finding| json!({
                    "carrier": finding.entry.carrier.id(),
                    "found": finding.entry.to_string(),
                    "expected": finding.expected.to_string(),
                    "reason": finding.reason_text(View::Here),
                    "uses": finding.entry.uses,
                    "where": finding.entry.place.path,
                    "at": finding.entry.place.addr,
                    "consequence": finding.consequence().to_string(),
                })).collect::<Vec<_>>(),
            }),
            other => {
                let mut lines = other.lines().into_iter();
                let (kind, what) = lines.next().unwrap_or_default();
                let details: Vec<_> = lines.map(|(word, text)| json!([word, text])).collect();
                json!({ "kind": kind, "what": what, "details": details })
            }
        }
    }
}

fn find_lines(error: &FindError) -> Vec<(&'static str, String)> {
    match error {
        FindError::None(near) if near.is_empty() => vec![
            ("damaged", "no handover found in the image".to_owned()),
            (
                "found",
                "no page that is an FDT with a `kho-v*` root".to_owned(),
            ),
            (
                "expected",
                "a root FDT with a `preserved-memory-map`".to_owned(),
            ),
            ("hint", FDT_HINT.to_owned()),
        ],
        FindError::None(near) => {
            let mut lines = vec![(
                "damaged",
                "no intact root FDT found in the image".to_owned(),
            )];
            for miss in near.iter().take(8) {
                let damage = &miss.damage;
                lines.push(("where", format!("page {}", miss.addr)));
                lines.push(("what", damage.headline()));
                lines.push(("found", damage.found_text().to_owned()));
                lines.push(("expected", damage.expected_text().to_owned()));
            }
            lines.retain(|(_, text)| !text.is_empty());
            lines
        }
        FindError::Several(roots) => {
            let mut lines = vec![(
                "refused",
                format!("{} handovers found in the image", roots.len()),
            )];
            for root in roots.iter().take(32) {
                lines.push((
                    "root FDT",
                    format!("--fdt {}  ({})", root.addr, root.compatible),
                ));
            }
            lines.push(("hint", "choose one with --fdt".to_owned()));
            lines
        }
        FindError::SeveralScratch { fdt, nodes } => {
            let what = format!("several scratch tables named for the root FDT at {fdt}");
            let mut lines = vec![("refused", what)];
            for node in nodes.iter().take(32) {
                let (addr, size) = (node.scratch_addr, node.scratch_size);
                lines.push((
                    "setup_data",
                    format!("--scratch {addr}:{size}  (node at {})", node.addr),
                ));
            }
            lines.push(("hint", "choose one with --scratch".to_owned()));
            lines
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

/// What could not be judged.
impl From<kho_preflight::Error> for Failure {
    fn from(error: kho_preflight::Error) -> Self {
        use kho_preflight::Error;
        match error {
            Error::Image(error) => Self::Image(error),
            Error::Dump {
                error,
                raw,
                file_offset,
            } => match error {
                kho_survey::Error::Find(error) => Self::Find(error, raw),
                kho_survey::Error::Damaged(damage) => Self::Damaged {
                    damage,
                    file_offset,
                    note: raw.then(|| RAW_NOTE.to_owned()),
                },
                other => Self::Unrestorable(other.to_string()),
            },
            Error::In { path, error } => {
                let failure = Self::from(*error);
                Self::Of(path.display().to_string(), Box::new(failure))
            }
            Error::Interrupted => Self::Interrupted,
            Error::Modules(_) | Error::Booted(_) => Self::Usage(error.to_string()),
            Error::Registry(error) => Self::Registry(error),
            Error::Unread(_) => Self::Unrestorable(error.to_string()),
            error => {
                let mut lines = vec![("error", error.to_string())];
                lines.extend(error.details());
                if matches!(error, Error::Module) {
                    let hint = "--modules DIR reads a kernel's modules, --from-modules DIR those of --from";
                    lines.push(("hint", hint.to_owned()));
                }
                Self::Input(lines)
            }
        }
    }
}
