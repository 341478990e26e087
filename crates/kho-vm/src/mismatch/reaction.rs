//! What a kernel does.

use std::fmt;

use kho_guest::{Fact, Seen, Tried, Wrong};

use crate::inject::compare;
use crate::journal;
use crate::reading::SessionRead;
use crate::run::Outcome;

/// What a kernel does with what it is handed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reaction {
    /// Every file comes back, and nothing is said.
    Restored,
    /// Every file comes back; something is said.
    RestoredWithWarning,
    /// Some files come back.
    Partly,
    /// The device works; none of the sessions is there.
    Ignored,
    /// The device does not open.
    OpenFails,
    /// A kernel panic.
    Panic,
    /// The machine does not come to an end.
    Hangs,
}

impl Reaction {
    /// The reaction as programs see it, and in words, with ` and ** around what is marked.
    const fn shown(self) -> [&'static str; 2] {
        match self {
            Self::Restored => ["restored", "everything is restored"],
            Self::RestoredWithWarning => [
                "restored-with-warning",
                "everything is restored, with a complaint",
            ],
            Self::Partly => ["partly", "a part is lost"],
            Self::Ignored => [
                "ignored",
                "it boots as if nothing had been handed over: everything is lost",
            ],
            Self::OpenFails => [
                "open-fails",
                "open of `/dev/liveupdate` fails: every session is lost",
            ],
            Self::Panic => ["panic", "**kernel panic**: the whole machine is lost"],
            Self::Hangs => ["hangs", "it hangs: the whole machine is lost"],
        }
    }

    pub(crate) const fn id(self) -> &'static str {
        let [id, _] = self.shown();
        id
    }

    /// The reaction as plain text; as Markdown it is displayed.
    pub(crate) fn plain(self) -> String {
        self.to_string().replace(['`', '*'], "")
    }
}

impl fmt::Display for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown()[1])
    }
}

/// What was observed.
pub(crate) struct Observed {
    pub(crate) reaction: Reaction,
    /// What exactly is lost; empty where the reaction says it all.
    pub(crate) detail: String,
    /// What the kernel said.
    pub(crate) says: Vec<String>,
    pub(crate) release: String,
}

impl Observed {
    /// What a guest that was handed `sessions` made of it.
    pub(crate) fn of(sessions: &[SessionRead], outcome: &Outcome) -> Self {
        let says = said(outcome);
        let (reaction, detail) = judge(sessions, outcome, !says.is_empty());
        Self {
            reaction,
            detail,
            says,
            release: release(outcome),
        }
    }
}

fn judge(sessions: &[SessionRead], outcome: &Outcome, says: bool) -> (Reaction, String) {
    if outcome.log.contains("Kernel panic") {
        return (Reaction::Panic, String::new());
    }
    if outcome.finished().is_err() {
        return (Reaction::Hangs, String::new());
    }
    let opened = outcome.facts.iter().find_map(|fact| match fact {
        Fact::Opened { wrong } => wrong.as_ref(),
        _ => None,
    });
    if let Some(wrong) = opened {
        return (Reaction::OpenFails, errno(wrong));
    }
    let missing = sessions.iter().all(|session| {
        outcome.facts.iter().any(|fact| {
            matches!(fact, Fact::Session(Tried { session: name, wrong: Some(wrong) })
                if *name == session.name && wrong.kind == "NoSuchSession")
        })
    });
    if missing {
        return (Reaction::Ignored, String::new());
    }
    if !compare(sessions, &outcome.facts).is_empty() {
        return (Reaction::Partly, lost(sessions, &outcome.facts));
    }
    let complained = (Reaction::RestoredWithWarning, String::new());
    if says {
        complained
    } else {
        (Reaction::Restored, String::new())
    }
}

/// What is lost, by how many and by which errors.
fn lost(sessions: &[SessionRead], facts: &[Fact]) -> String {
    let files: usize = sessions.iter().map(|session| session.files.len()).sum();
    let (mut opened, mut back, mut finished) = (0, 0, 0);
    let mut errors = Vec::new();
    let mut note = |what: &str, wrong: &Wrong| {
        let error = format!("{what} fails with {}", errno(wrong));
        if !errors.contains(&error) {
            errors.push(error);
        }
    };
    for fact in facts {
        let (count, what, wrong) = match fact {
            Fact::Session(Tried { wrong, .. }) => (&mut opened, "retrieving a session", wrong),
            Fact::Retrieved(Seen { wrong, .. }) => (&mut back, "retrieving a file", wrong),
            Fact::Finished(Tried { wrong, .. }) => (&mut finished, "finishing a session", wrong),
            _ => continue,
        };
        match wrong {
            Some(wrong) => note(what, wrong),
            None => *count += 1,
        }
    }
    let all = sessions.len();
    let counts = format!(
        "{opened} of {all} sessions and {back} of {files} files come back, {finished} sessions are finished"
    );
    [vec![counts], errors].concat().join("; ")
}

/// The name of an error as C has it.
fn errno(wrong: &Wrong) -> String {
    const NAMES: [(i32, &str); 8] = [
        (2, "ENOENT"),
        (5, "EIO"),
        (12, "ENOMEM"),
        (16, "EBUSY"),
        (17, "EEXIST"),
        (22, "EINVAL"),
        (61, "ENODATA"),
        (95, "EOPNOTSUPP"),
    ];
    // Errors whose meaning the client knows carry no number.
    let known = match wrong.kind.as_str() {
        "RestoreFailed" => Some(5),
        "NoSuchSession" | "NoSuchToken" => Some(2),
        "AlreadyRetrieved" | "WrongDirection" => Some(22),
        "Busy" | "FdBusy" => Some(16),
        _ => None,
    };
    let number = wrong.errno.or(known);
    let name = number.and_then(|number| NAMES.iter().find(|(known, _)| *known == number));
    match (name, number) {
        (Some((_, name)), _) => (*name).to_owned(),
        (None, Some(number)) => format!("errno {number}"),
        (None, None) => wrong.kind.clone(),
    }
}

/// What the kernel said of it; numbers that differ from build to build are left out.
fn said(outcome: &Outcome) -> Vec<String> {
    let complaints = outcome.complaints();
    let mut says: Vec<_> = complaints.iter().map(|it| plain(it)).collect();
    // A kernel that panics says before why, and nobody was left to report how weighty that was.
    let mut before = "";
    for line in journal::lines(&outcome.log) {
        if line.contains("Kernel panic") && !before.is_empty() {
            says.insert(0, plain(before));
        }
        before = line;
    }
    says.dedup();
    says
}

/// The message without what differs from build to build: offsets, lines, processors.
fn plain(text: &str) -> String {
    let text = text.split(", CPU#").next().unwrap_or(text);
    let words = text.split(' ').map(|word| match word.split_once("+0x") {
        Some((name, _)) => name.to_owned(),
        None => match word.split_once(".c:") {
            Some((file, _)) => format!("{file}.c"),
            None => word.to_owned(),
        },
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The release of the kernel: what init says, or else the console.
fn release(outcome: &Outcome) -> String {
    let said = outcome.release();
    if !said.is_empty() {
        return said;
    }
    let after = |line: &str| {
        let (_, rest) = line.split_once("Linux version ")?;
        rest.split(' ').next().map(str::to_owned)
    };
    journal::lines(&outcome.log)
        .find_map(after)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_is_marked_up_for_the_document_alone() {
        let panic = "**kernel panic**: the whole machine is lost";
        let open = "open of `/dev/liveupdate` fails: every session is lost";
        for (reaction, marked, plain) in [
            (Reaction::Panic, panic, &panic.replace('*', "")),
            (Reaction::OpenFails, open, &open.replace('`', "")),
        ] {
            assert_eq!((&*reaction.to_string(), &reaction.plain()), (marked, plain));
        }
    }

    #[test]
    fn what_differs_from_build_to_build_is_left_out() {
        let text = "WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x1b/0x70, CPU#0: init/1";
        let expected = "WARNING: lib/refcount.c at refcount_warn_saturate";
        assert_eq!(plain(text), expected);
        assert_eq!(plain("luo: bad"), "luo: bad");
    }

    #[test]
    fn a_panic_is_told_with_what_came_before() {
        let said = ["luo: incompatible", "Kernel panic - not syncing: no"];
        let log = ["Linux version 7.3.4 (x)", said[0], said[1], ""].join("\r\n");
        let observed = Observed::of(&[], &Outcome::hung(log));
        assert_eq!(observed.reaction, Reaction::Panic);
        assert_eq!(
            (&*observed.release, &*observed.says),
            ("7.3.4", &said.map(str::to_owned)[..])
        );
    }
}
