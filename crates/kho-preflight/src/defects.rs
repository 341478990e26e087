//! Looks for the known defects that a move or a handover meets.

use kho_compat::{Carrier, Outcome};
use kho_survey::Survey;

use crate::condition::State;
use crate::conditions::Move;
use crate::defect::{DEFECTS, Defect, MetDefect, Trigger};
use crate::end::{EndKind, What};
use crate::facts::Facts;
use crate::report::MoveFinding;

/// The order of a block of 2 GiB.
const HUGE: u32 = 19;

/// Of the known defects those that the handover in memory meets or may meet, whatever kernel takes it.
#[must_use]
pub fn of_survey(survey: &Survey<'_>) -> Vec<MetDefect> {
    let facts = Facts::of(survey);
    let release = survey.release();
    let roots = survey.root.as_ref();
    let found = DEFECTS.iter().filter_map(|defect| {
        // Who takes it over is not known: of the strings of 7.2 and later no older kernel does.
        let to = defect.to.is_none_or(|to| {
            let is_new = roots.is_some_and(|root| root.compatible().starts_with("kho-v4"));
            !is_new || to.last >= [7, 2, 0]
        });
        let from = defect
            .from
            .is_none_or(|from| release.and_then(|r| from.has(r)) == Some(true));
        let (state, evidence) = of_facts(defect.when, &facts).filter(|_| to && from)?;
        Some(MetDefect {
            defect,
            state,
            evidence,
            is_measured: defect
                .measured
                .iter()
                .any(|measured| Some(*measured) == release),
        })
    });
    found.collect()
}

impl Move<'_> {
    /// The known defects that it meets, or may meet.
    pub(crate) fn defects(&self) -> Vec<MetDefect> {
        if !matches!(self.to.what, What::Kernel(_)) || !self.is_between_kernels() {
            return Vec::new();
        }
        DEFECTS
            .iter()
            .filter_map(|defect| self.met(defect))
            .collect()
    }

    fn met(&self, defect: &'static Defect) -> Option<MetDefect> {
        let (from, to) = (self.from.release.as_deref(), self.to.release.as_deref());
        let mut is_measured = true;
        for (releases, release) in [(defect.from, from), (defect.to, to)] {
            let Some(releases) = releases else { continue };
            let release = release?;
            if releases.has(release) != Some(true) {
                return None;
            }
            // A release string of a distribution's kernel is no proof.
            is_measured &= defect.measured.contains(&release);
        }
        let row = |test: fn(&MoveFinding) -> bool| self.rows.iter().find(|row| test(row));
        let is_taken = |row: &MoveFinding| row.outcome == Outcome::Restorable;
        let root = row(|row| row.item.entry.carrier == Carrier::Root);
        let needs_root = !matches!(
            defect.when,
            Trigger::CutFdt | Trigger::NoFdt | Trigger::CrashKernel | Trigger::SubtreeDropped
        );
        if needs_root && !root.is_some_and(is_taken) {
            return None;
        }
        let met = |evidence: String| Some((State::Met, evidence));
        let found = match defect.when {
            Trigger::Any => met(format!("{} to {}", self.from.title, self.to.title)),
            Trigger::Sessions => {
                let luo = row(|row| row.item.entry.carrier == Carrier::Luo)?;
                met(format!("`{}`", luo.item.entry.found))
            }
            Trigger::UnknownHandler | Trigger::Memfd => {
                let unknown = defect.when == Trigger::UnknownHandler;
                let mut rows = self.rows.iter();
                let row = rows.find(|row| {
                    let handler = row.item.entry.carrier == Carrier::FileHandler;
                    let wanted = match unknown {
                        true => row.outcome == Outcome::Rejected,
                        false => is_taken(row) && row.item.component() == "memfd",
                    };
                    handler && wanted
                })?;
                let found = format!("`{}`", row.item.entry.found);
                match unknown || self.uses.is_some() {
                    true => met(found),
                    false => Some((State::NotSeen, format!("whether {found} is in use"))),
                }
            }
            Trigger::FreshRegion => {
                let regions = &self.from.facts.regions.as_ref()?.all;
                let (line, of) = self.to.boot.parameters()?;
                let has = |name: &str| regions.iter().any(|region| region.name == name);
                let fresh = line.regions().into_iter().find(|asked| !has(&asked.name))?;
                met(format!("{fresh} in {of} is not in the handover"))
            }
            Trigger::AcrossNodes | Trigger::HugeBlock if self.from.kind == EndKind::Kernel => {
                Some((
                    State::NotSeen,
                    "an image does not show what is in use".to_owned(),
                ))
            }
            when => of_facts(when, &self.from.facts),
        };
        let (state, evidence) = found?;
        Some(MetDefect {
            defect,
            state,
            evidence,
            is_measured,
        })
    }
}

/// What `facts` say of what meets a defect.
fn of_facts(when: Trigger, facts: &Facts) -> Option<(State, String)> {
    let here = facts.here.as_ref();
    let regions = facts.regions.iter().flat_map(|shown| &shown.all);
    let met = |evidence: String| Some((State::Met, evidence));
    match when {
        Trigger::AcrossNodes => match facts.nodes {
            Some(nodes) if nodes > 1 && facts.across == Some(None) => None,
            Some(nodes) if nodes > 1 => {
                if let Some(at) = facts.across.flatten() {
                    let evidence = format!(
                        "{nodes} nodes meet in memory that is preserved, at {at:#x} or beyond"
                    );
                    return Some((State::NotSeen, evidence));
                }
                let evidence = format!("there are {nodes} nodes; where they meet is not seen");
                Some((State::NotSeen, evidence))
            }
            Some(_) => None,
            None => Some((
                State::NotSeen,
                "how many nodes there are is not seen".to_owned(),
            )),
        },
        Trigger::HugeBlock => match facts.largest_order {
            Some(order) if order >= HUGE => met(format!("a block of order {order} is preserved")),
            Some(_) => None,
            None => {
                let mut huge = regions.filter(|region| region.size >= 1 << (HUGE + 12));
                let region = huge.next()?;
                let evidence = format!("region {} is large enough", region.name);
                Some((State::NotSeen, evidence))
            }
        },
        Trigger::RegionInScratch => {
            let region = facts.region_in_scratch()?;
            met(format!("region {}", region.name))
        }
        Trigger::PartialPage => {
            let partial = |region: &&crate::facts::Region| !region.size.is_multiple_of(4096);
            let region = regions.into_iter().find(partial)?;
            met(format!("region {} of {} bytes", region.name, region.size))
        }
        Trigger::SubtreeDropped => {
            let here = here.filter(|here| here.booted_by_one && here.no_memblock)?;
            let region = here.asked_for.first()?;
            met(format!("region {}, and no subtree memblock", region.name))
        }
        Trigger::CutFdt => met(here.filter(|here| here.is_cut)?.root_at.clone()),
        Trigger::NoFdt => {
            let here = here.filter(|here| here.booted_by_one && !here.shows_root)?;
            met(format!("{} is not there", here.root_at))
        }
        Trigger::CrashKernel => {
            let loaded = here?.crash_loaded == Some(true);
            loaded.then(|| (State::Met, "kexec_crash_loaded is 1".to_owned()))
        }
        Trigger::Any
        | Trigger::Sessions
        | Trigger::Memfd
        | Trigger::UnknownHandler
        | Trigger::FreshRegion => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::release::Releases;

    fn range(releases: Option<Releases>) -> String {
        let number = |[major, minor, patch]: [u32; 3]| match patch {
            0 | u32::MAX => format!("{major}.{minor}"),
            _ => format!("{major}.{minor}.{patch}"),
        };
        releases.map_or_else(
            || "any".to_owned(),
            |of| match (number(of.first), number(of.last)) {
                (first, last) if first == last => first,
                (first, last) => format!("{first} to {last}"),
            },
        )
    }

    #[test]
    fn the_table_in_the_documentation_is_this_one() {
        let mut table =
            "| id | from | to | what happens | how it is known |\n|---|---|---|---|---|\n"
                .to_owned();
        for defect in DEFECTS {
            let (from, to) = (range(defect.from), range(defect.to));
            let measured = match defect.measured {
                [] => String::new(),
                all => format!("measured with {}; ", all.join(", ")),
            };
            let Defect {
                id,
                consequence,
                source,
                ..
            } = defect;
            writeln!(
                table,
                "| `{id}` | {from} | {to} | {consequence} | {measured}{source} |"
            )
            .unwrap();
        }
        let page = include_str!("../../../docs/real-kernel.md");
        assert!(
            page.contains(&table),
            "docs/real-kernel.md does not have\n{table}"
        );
    }
}
