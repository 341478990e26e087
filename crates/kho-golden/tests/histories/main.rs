//! Histories of the laboratory, run with real writers and readers: every pair of releases under every policy, in
//! memory that is handed over. Each release is a registry of components with the generations that it has; what the
//! laboratory says of a pair is compared with what becomes of the files.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod block_need;
mod vmalloc_field;

use kho_compat::policy::ALL;
use kho_compat::{Component, Policy, Registry, Role, Side};
use kho_core::{Attached, Kho, KhoConfig, KhoError, OpenOptions};
use kho_lab::{Cell, History, Kind, Release, Run, builtin};
use kho_luo::{
    Handlers, Incoming, IncomingSession, LuoError, Orchestrator, OutgoingSession, TakeOverOptions,
};
use kho_mem::{Arena, ArenaConfig, PhysAddr};

/// A history with what its releases write and read.
trait Story {
    /// The real component in the place of the one that the history calls `name`; `None` for those that never change.
    fn component(&self, name: &str) -> Option<&'static Component>;

    /// The handlers of a release.
    fn handlers(&self, history: &History, release: &Release) -> Handlers;

    /// Hands files over.
    fn preserve(&self, session: &OutgoingSession, arena: &Arena) -> Result<(), LuoError>;

    /// Whether they come back as they were; or why they do not.
    fn is_restored(&self, session: &IncomingSession) -> Result<bool, String>;
}

/// What became of the files of an update.
#[derive(PartialEq, Eq, Debug)]
enum Outcome {
    /// The dialect can not say a version that was to be written.
    Unsaid(String),
    /// They were refused.
    Refused(String),
    /// They came back as they were.
    Restored,
    /// They came back, and not as they were.
    Wrong,
}

/// The components of `release`: the linked ones, with the generations that it has of those that change.
fn registry(story: &dyn Story, release: &Release) -> Registry {
    let abilities = release.side.abilities();
    let changing = abilities.filter_map(|ability| {
        let component = story.component(&ability.name)?;
        let known = component.generations.iter().cloned();
        let known = known.filter(|one| ability.restores(one.number));
        let generations = known.map(|mut one| {
            let is_written = ability.writable().any(|version| version == one.number);
            one.role = if is_written {
                Role::Written
            } else {
                Role::ReadOnly
            };
            one
        });
        let generations = generations.collect::<Vec<_>>().leak();
        Some(&*Box::leak(Box::new(
            component.clone().generations(generations),
        )))
    });
    let changing: Vec<&'static Component> = changing.collect();
    let linked = Registry::linked().unwrap().components();
    let others = linked.filter(|one| changing.iter().all(|other| other.name != one.name));
    Registry::new(others.chain(changing.iter().copied())).unwrap()
}

fn written(side: &Side, policy: &dyn Policy) -> Result<(Kho, Arena), KhoError> {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20)).unwrap();
    let config = KhoConfig::new()
        .writing(policy.writing())
        .side(side.clone());
    Ok((Kho::new(arena.clone(), &config)?, arena))
}

/// Hands over from one release to the other.
fn update(
    story: &dyn Story,
    history: &History,
    policy: &dyn Policy,
    from: &Release,
    to: &Release,
) -> Outcome {
    let (writer, reader) = (registry(story, from), registry(story, to));
    let side = match policy.name() {
        "newest-common" => writer.side().newest_common(reader.side()),
        _ => writer.side().clone(),
    };
    let (kho, arena) = match written(&side, policy) {
        Ok(made) => made,
        Err(error) => return Outcome::Unsaid(error.to_string()),
    };
    let luo = Orchestrator::new(kho, story.handlers(history, from), 0).unwrap();
    let session = luo.create_session("s").unwrap();
    story.preserve(&session, &arena).unwrap();
    let frozen = luo.freeze().unwrap();
    drop((session, luo, arena));
    let (arena, entry) = frozen.hand_over().unwrap();
    let handed = arena.into_handed().unwrap();
    let attached = match Attached::open(handed, OpenOptions::new(entry).registry(&reader)) {
        Ok(attached) => attached,
        Err(failed) => return Outcome::Refused(failed.error.to_string()),
    };
    let options = TakeOverOptions::new(&reader).policy(policy);
    let incoming = match Incoming::take_over(attached, story.handlers(history, to), options) {
        Ok(incoming) => incoming,
        Err(failed) => return Outcome::Refused(failed.error.to_string()),
    };
    match story.is_restored(&incoming.session("s").unwrap()) {
        Err(error) => Outcome::Refused(error),
        Ok(true) => Outcome::Restored,
        Ok(false) => Outcome::Wrong,
    }
}

/// Runs the history `name` and compares. Returns, by policy, how many updates were restored, refused, and not written
/// for want of words.
fn compare(name: &str, story: &dyn Story) -> Vec<(&'static str, [usize; 3])> {
    let history = History::parse(builtin(name).unwrap()).unwrap();
    let policies: Vec<_> = ALL.iter().map(|policy| *policy as &dyn Policy).collect();
    let run = Run::new(&history, &policies, &mut |_, _| true)
        .unwrap()
        .unwrap();
    let mut counts = Vec::new();
    for policy in policies {
        let matrix = run.matrix(policy.name()).unwrap();
        let mut count = [0; 3];
        for (row, from) in history.releases.iter().enumerate() {
            for (column, to) in history.releases.iter().enumerate() {
                let outcome = update(story, &history, policy, from, to);
                let cell = matrix.cell(row, column).unwrap();
                let pair = format!("{name}, {}, {} to {}", policy.name(), from.name, to.name);
                assert!(agrees(cell, &outcome), "{pair}: {cell:?}, and {outcome:?}");
                count[match outcome {
                    Outcome::Restored => 0,
                    Outcome::Refused(_) => 1,
                    Outcome::Unsaid(_) => 2,
                    Outcome::Wrong => panic!("{pair}: wrong contents"),
                }] += 1;
            }
        }
        counts.push((policy.name(), count));
    }
    counts
}

/// Whether the laboratory says what became of an update. Readers here follow a verdict, and a writer says what it writes:
/// what would be read wrongly in silence is not written, or refused, or after all read as what it is.
fn agrees(cell: &Cell, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Wrong => false,
        Outcome::Restored => matches!(cell.kind, Kind::Accepted | Kind::Silent),
        Outcome::Refused(_) => cell.kind != Kind::Accepted,
        // Nothing was read.
        Outcome::Unsaid(_) => true,
    }
}
