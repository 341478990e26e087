//! Every policy over every ordered pair of releases.

use std::collections::{BTreeMap, BTreeSet};

use kho_compat::policy::{When, judged_alone};
use kho_compat::{Carrier, Decision, Manifest, Outcome, Policy, RegistryError, Side, Writing};
use serde::{Serialize, Serializer};

use crate::cost::{forced_edits, version_bytes};
use crate::history::{History, Release};
use crate::measured::Measured;
use crate::why::Why;

/// What becomes of an update from one release to another under a policy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Accepted, and everything is read as it was written.
    Accepted,
    /// Accepted without its optional components, and the rest is read as it was written.
    Degraded,
    /// Refused before anything was restored.
    Rejected,
    /// Refused after some components were restored.
    Late,
    /// Accepted, and something is read that was not written so.
    Silent,
}

impl Kind {
    /// All kinds, the best first.
    pub const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Degraded,
        Self::Rejected,
        Self::Late,
        Self::Silent,
    ];

    /// The kind as programs see it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Degraded => "degraded",
            Self::Rejected => "rejected",
            Self::Late => "late",
            Self::Silent => "silent",
        }
    }

    /// The kind in a sentence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Degraded => "degraded",
            Self::Rejected => "rejected upfront",
            Self::Late => "failed late",
            Self::Silent => "silently wrong",
        }
    }
}

/// An update from one release to another under a policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cell {
    /// What becomes of it.
    pub kind: Kind,
    /// Components that were restored before it failed, where it failed late.
    pub restored: usize,
    /// Whether it was refused although the next release has a reader for everything mandatory.
    pub false_reject: bool,
    /// Bytes that the versions take in memory.
    pub bytes: u64,
    /// Why it is not accepted, or what goes wrong.
    pub why: Vec<Why>,
    /// What real kernels did, where they were asked about this update. They follow their own policy,
    /// whatever policy the cell is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

// serde passes references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn writing_id<S: Serializer>(writing: &Writing, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(writing.id())
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn when_id<S: Serializer>(when: &When, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(when.id())
}

/// A policy's cells.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// The policy's name.
    pub policy: &'static str,
    /// What it promises, in a line.
    pub summary: &'static str,
    /// How it writes versions.
    #[serde(rename = "dialect", serialize_with = "writing_id")]
    pub writing: Writing,
    /// When it finds a mismatch.
    #[serde(serialize_with = "when_id")]
    pub when: When,
    /// The cells: by the release that hands over, then by the one that takes over.
    pub cells: Vec<Vec<Cell>>,
    /// The totals.
    pub totals: Totals,
}

/// What a policy's cells come to. Every ordered pair of releases counts, a release and itself included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Totals {
    /// Pairs.
    pub pairs: usize,
    /// Accepted and right.
    pub accepted: usize,
    /// Accepted without optional components, and right.
    pub degraded: usize,
    /// Refused upfront.
    pub rejected: usize,
    /// Failed late.
    pub late: usize,
    /// Silently wrong: false accepts.
    pub silent: usize,
    /// Refused, upfront or late, although it would have worked.
    pub false_rejects: usize,
    /// Bytes that the versions of the newest release take.
    pub bytes: u64,
    /// The fewest and the most bytes that the versions of any release take.
    pub bytes_range: (u64, u64),
    /// Strings, entries or masks of other components that had to be edited over the history, because a
    /// component changed its version.
    pub edits: usize,
}

/// Every policy over a history.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The history's name.
    pub history: String,
    /// What it is, in a line.
    pub title: String,
    /// What it tells.
    pub text: String,
    /// The releases' names, the oldest first.
    pub releases: Vec<String>,
    /// By release: its date, its source, and what is particular about it.
    pub notes: Vec<(String, String, String)>,
    /// Pairs of components' layouts that were written and read, and that were compared by hash.
    pub trials: (usize, usize),
    /// The policy that the real kernels of this history follow, and how they were measured.
    pub kernels: Option<Kernels>,
    /// A matrix per policy.
    pub policies: Vec<Matrix>,
}

/// What was measured of the real kernels of a history.
#[derive(Clone, Debug, Serialize)]
pub struct Kernels {
    /// The policy that they follow.
    pub policy: String,
    /// How they were measured.
    pub source: String,
}

/// An update that real kernels were asked about, beside what the model says of it.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredCell<'r> {
    /// The place of the release that hands over.
    pub from: usize,
    /// The place of the release that takes over.
    pub to: usize,
    /// What the model says under the policy that the kernels follow; `None` where that was not run.
    pub model: Option<Kind>,
    /// What real kernels did.
    pub measured: &'r Measured,
}

impl MeasuredCell<'_> {
    /// Whether the model says something else than what happened.
    #[must_use]
    pub fn differs(&self) -> bool {
        let happened = self.measured.happened.kind();
        self.model.is_some_and(|model| model != happened)
    }
}

impl Run {
    /// Sends `policies` over `history`. `progress` is told pairs done and pairs in all, and says
    /// whether to go on; `None` where it said no.
    ///
    /// # Errors
    ///
    /// A component's name is none that a compat string could hold.
    pub fn new(
        history: &History,
        policies: &[&dyn Policy],
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Option<Self>, RegistryError> {
        let mut trials = Trials::new(history);
        let all = history.releases.len();
        let total = all * all * policies.len();
        let mut matrices = Vec::new();
        for policy in policies {
            let mut cells = Vec::new();
            for (place, from) in history.releases.iter().enumerate() {
                let mut row = Vec::new();
                for to in &history.releases {
                    let mut cell = trials.cell(*policy, from, to)?;
                    let measured = history.measurements.as_ref();
                    cell.measured = measured.and_then(|m| m.get(place, row.len()).cloned());
                    row.push(cell);
                    let done = matrices.len() * all * all + cells.len() * all + row.len();
                    if !progress(done, total) {
                        return Ok(None);
                    }
                }
                cells.push(row);
            }
            let totals = totals(history, *policy, &cells)?;
            matrices.push(Matrix {
                policy: policy.name(),
                summary: policy.summary(),
                writing: policy.writing(),
                when: policy.when(),
                cells,
                totals,
            });
        }
        let notes = history.releases.iter();
        let notes = notes.map(|r| (r.date.clone(), r.source.clone(), r.text.clone()));
        Ok(Some(Self {
            history: history.name.clone(),
            title: history.title.clone(),
            text: history.text.clone(),
            releases: history.releases.iter().map(|r| r.name.clone()).collect(),
            notes: notes.collect(),
            trials: trials.counts(),
            kernels: history.measurements.as_ref().map(|m| Kernels {
                policy: m.policy.clone(),
                source: m.source.clone(),
            }),
            policies: matrices,
        }))
    }

    /// The matrix of the policy `name`.
    #[must_use]
    pub fn matrix(&self, name: &str) -> Option<&Matrix> {
        self.policies.iter().find(|matrix| matrix.policy == name)
    }

    /// The updates that real kernels were asked about.
    #[must_use]
    pub fn measured(&self) -> Vec<MeasuredCell<'_>> {
        let followed = self.kernels.as_ref().and_then(|k| self.matrix(&k.policy));
        let cells = self.policies.first().map_or(&[][..], |first| &first.cells);
        let mut all = Vec::new();
        for (from, row) in cells.iter().enumerate() {
            for (to, cell) in row.iter().enumerate() {
                let Some(measured) = &cell.measured else {
                    continue;
                };
                let model = followed.and_then(|matrix| matrix.cell(from, to));
                let model = model.map(|cell| cell.kind);
                all.push(MeasuredCell {
                    from,
                    to,
                    model,
                    measured,
                });
            }
        }
        all
    }
}

impl Matrix {
    /// The cell of the update from release `from` to release `to`, by their places in the history.
    #[must_use]
    pub fn cell(&self, from: usize, to: usize) -> Option<&Cell> {
        self.cells.get(from)?.get(to)
    }
}

fn totals(
    history: &History,
    policy: &dyn Policy,
    cells: &[Vec<Cell>],
) -> Result<Totals, RegistryError> {
    let all = || cells.iter().flatten();
    let count = |kind| all().filter(|cell| cell.kind == kind).count();
    let own = |index: usize| Some(cells.get(index)?.get(index)?.bytes);
    let bytes = || (0..cells.len()).filter_map(own);
    let pairs = history.releases.iter().zip(history.releases.iter().skip(1));
    let edits = |(before, after): (&Release, &Release)| -> Result<usize, RegistryError> {
        let changed = after.side.abilities().filter(|ability| {
            let before = before.side.get(&ability.name);
            before.is_some_and(|b| b.version != ability.version)
        });
        changed
            .map(|ability| forced_edits(policy, &after.side, &ability.name))
            .sum()
    };
    Ok(Totals {
        pairs: all().count(),
        accepted: count(Kind::Accepted),
        degraded: count(Kind::Degraded),
        rejected: count(Kind::Rejected),
        late: count(Kind::Late),
        silent: count(Kind::Silent),
        false_rejects: all().filter(|cell| cell.false_reject).count(),
        bytes: own(cells.len().saturating_sub(1)).unwrap_or(0),
        bytes_range: (bytes().min().unwrap_or(0), bytes().max().unwrap_or(0)),
        edits: pairs.map(edits).sum::<Result<_, _>>()?,
    })
}

/// Layouts written and read, each pair once.
struct Trials<'h> {
    history: &'h History,
    done: BTreeMap<(&'h str, &'h str), Vec<String>>,
}

impl<'h> Trials<'h> {
    const fn new(history: &'h History) -> Self {
        Self {
            history,
            done: BTreeMap::new(),
        }
    }

    fn counts(&self) -> (usize, usize) {
        let known = |name: &str| self.history.layouts.get(name).is_some_and(|l| l.is_known());
        let pairs = self.done.keys();
        let written = pairs.filter(|(one, other)| known(one) && known(other));
        let written = written.count();
        (written, self.done.len() - written)
    }

    fn misread(&mut self, written: &'h str, read: &'h str) -> &[String] {
        let layouts = &self.history.layouts;
        self.done.entry((written, read)).or_insert_with(|| {
            match (layouts.get(written), layouts.get(read)) {
                (Some(one), Some(other)) => one.misread_by(other),
                _ => Vec::new(),
            }
        })
    }

    fn cell(
        &mut self,
        policy: &dyn Policy,
        from: &'h Release,
        to: &'h Release,
    ) -> Result<Cell, RegistryError> {
        let manifest = policy.write(&from.side, Some(&to.side))?;
        let verdict = policy.judge(&manifest, &to.side);
        // While restoring each component is judged by itself.
        let alone = match policy.when() {
            When::BeforeRestoring => Vec::new(),
            When::WhileRestoring => judged_alone(policy, &manifest, &verdict.findings, &to.side),
        };
        let refused = alone.iter().filter(|one| one.outcome == Outcome::Rejected);
        let refused: Vec<_> = refused.map(|one| one.entry.component()).collect();
        let lost = verdict.losses().components(&from.side);
        let mut cell = Cell {
            kind: Kind::Accepted,
            restored: 0,
            false_reject: false,
            bytes: version_bytes(&manifest),
            why: Vec::new(),
            measured: None,
        };
        if verdict.decision == Decision::Reject {
            let before = match policy.when() {
                When::BeforeRestoring => 0,
                When::WhileRestoring => {
                    let order = restore_order(&from.side).into_iter();
                    let restored = order.take_while(|name| !refused.contains(name));
                    restored.filter(|name| !lost.contains(*name)).count()
                }
            };
            cell.kind = match before {
                0 => Kind::Rejected,
                _ => Kind::Late,
            };
            cell.restored = before;
            cell.false_reject = self.could_be_read(from, to);
            cell.why = once(verdict.rejected().map(Why::refused));
            return Ok(cell);
        }
        for ability in from.side.abilities() {
            let name = ability.name.as_str();
            if lost.contains(name) {
                continue;
            }
            // Numbers are not looked at by a policy that reads what nothing announces by its masks.
            let masks = manifest.features(name);
            let by_masks = masks.is_some_and(|_| {
                let read = policy.reads_as(name, None, &manifest, &to.side);
                read.is_some()
            });
            let version = said(&manifest, name).filter(|_| !by_masks);
            let Some(written) = from.layouts.get(name) else {
                continue;
            };
            // A version that it can write besides its own is written with that version's layout.
            let number = version.unwrap_or(ability.version);
            let written = written.of(number, ability.version).unwrap_or(&written.own);
            let Some(known) = to.layouts.get(name) else {
                // Metadata and the like: what nobody reads is not read wrongly.
                if !ability.is_optional() {
                    let (component, release) = (name.to_owned(), to.name.clone());
                    cell.why.push(Why::Unread { component, release });
                }
                continue;
            };
            let own = to.side.get(name).map_or(0, |ability| ability.version);
            // What the plain string of its user stands for, where the reader knows that.
            let stands_for = to
                .side
                .stands_for(name)
                .filter(|version| !by_masks && to.side.restores(name, *version));
            let version = version.or(stands_for);
            let seen = match version {
                // A version that it knows only to write it is not read.
                Some(version) if to.side.restores(name, version) => known.of(version, own),
                Some(_) => None,
                // Masks that differ say which layout it is, where it is known at all.
                None => {
                    let own = to.side.get(name).map(|own| own.features);
                    let differ = masks.filter(|_| by_masks).zip(own);
                    let differ = differ.is_some_and(|(found, own)| own != Some(found));
                    let mut readable = known.readable(&to.side, name).filter(|_| differ);
                    readable.find(|layout| self.misread(written, layout).is_empty())
                }
            };
            let wrong = self.misread(written, seen.unwrap_or(&known.own));
            cell.why.extend(wrong.iter().map(|what| Why::Misread {
                component: name.to_owned(),
                what: what.clone(),
            }));
        }
        cell.kind = match (cell.why.is_empty(), verdict.decision) {
            (false, _) => Kind::Silent,
            (true, Decision::Degrade) => Kind::Degraded,
            (true, _) => Kind::Accepted,
        };
        if cell.kind == Kind::Degraded {
            cell.why = once(verdict.lost().map(Why::lost));
        }
        Ok(cell)
    }

    /// Whether `to` has a reader for everything mandatory that `from` writes by itself.
    fn could_be_read(&mut self, from: &'h Release, to: &'h Release) -> bool {
        let mut mandatory = from.side.abilities().filter(|a| !a.is_optional());
        mandatory.all(|ability| {
            let written = from.layouts.get(&ability.name);
            let known = to.layouts.get(&ability.name);
            let (Some(written), Some(known)) = (written, known) else {
                return false;
            };
            let mut readable = known.readable(&to.side, &ability.name);
            readable.any(|layout| self.misread(&written.own, layout).is_empty())
        })
    }
}

/// The first of each that is there more than once.
fn once(all: impl Iterator<Item = Why>) -> Vec<Why> {
    let mut seen = BTreeSet::new();
    all.filter(|why| seen.insert(why.to_string())).collect()
}

/// The version that the handover says of the component `name`: the table's, or that of its own string,
/// or that of a string which lists it.
fn said(manifest: &Manifest, name: &str) -> Option<u32> {
    if let Some(version) = manifest.listed(name) {
        return Some(version);
    }
    let entries = manifest.entries().iter();
    let strings = entries.filter(|entry| entry.carrier != Carrier::Subtree);
    let strings = strings.filter_map(|entry| entry.compat().ok());
    let mut tokens = strings.flat_map(|compat| compat.tokens().cloned().collect::<Vec<_>>());
    let found = tokens.find(|token| token.name() == name)?;
    Some(found.version())
}

/// The order in which components are restored: the root, LUO, file handlers, the rest; what each needs
/// comes before it is used, and after its first user was looked at. It is the order of the engine's turns.
fn restore_order(side: &Side) -> Vec<&str> {
    let mut order: Vec<&str> = Vec::new();
    for user in side.as_read() {
        for name in side.in_turn(&user.name) {
            if !order.contains(&name) {
                order.push(name);
            }
        }
    }
    order
}
