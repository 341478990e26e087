//! What is lost if one leaves all the same.

use kho_compat::{Carrier, Consequence, Decision, Outcome};

use crate::condition::{Condition, Cost, State};
use crate::defect::MetDefect;
use crate::end::EndKind;
use crate::item::{Amount, Uses};
use crate::next::Next;
use crate::report::MoveFinding;

/// What is lost. A number that is not known is `None`.
#[derive(Clone, Debug, Default)]
pub struct MoveLosses {
    /// The machine stops.
    pub machine: bool,
    /// All preserved memory, of whatever owner.
    pub everything: bool,
    /// Whether sessions are lost as a whole.
    pub all_sessions: bool,
    /// Sessions.
    pub sessions: Option<u64>,
    /// Files.
    pub files: Option<Amount>,
    /// Preserved pages.
    pub pages: Option<u64>,
    /// Of them, the files of the handlers that can not be restored.
    pub handlers: Vec<(String, Option<Amount>)>,
}

impl MoveLosses {
    pub(crate) fn of(
        rows: &[MoveFinding],
        conditions: &[Condition],
        defects: &[MetDefect],
        uses: Option<&Uses>,
        next: &Next<'_>,
    ) -> Self {
        let mut losses = Self::default();
        for row in rows.iter().filter(|row| row.outcome == Outcome::Rejected) {
            losses.reject(row, next);
        }
        let unmet = conditions
            .iter()
            .filter(|one| one.decision() != Decision::Accept);
        let met = defects.iter().filter(|one| one.state == State::Met);
        let costs = unmet
            .map(|one| one.cost)
            .chain(met.map(|one| one.defect.cost));
        for cost in costs {
            losses.machine |= cost == Cost::Machine;
            losses.everything |= cost >= Cost::Everything;
            losses.all_sessions |= cost >= Cost::Sessions;
        }
        let handlers = rows.iter().filter(|row| {
            row.item.entry.carrier == Carrier::FileHandler
                && matches!(row.outcome, Outcome::Rejected | Outcome::Lost)
        });
        let handlers = handlers.map(|row| (row.item.entry.found.clone(), row.files));
        losses.handlers = handlers.collect();
        if losses.all_sessions {
            losses.sessions = uses.map(|uses| uses.sessions);
            losses.files = uses.map(|uses| uses.all);
        } else {
            losses.sessions = Some(0);
            let mut files = losses.handlers.iter().map(|(_, files)| *files);
            losses.files = files.try_fold(Amount::default(), |sum, files| Some(sum.plus(files?)));
        }
        losses.pages = uses
            .and_then(|uses| uses.pages)
            .filter(|_| losses.everything);
        losses
    }

    fn reject(&mut self, row: &MoveFinding, next: &Next<'_>) {
        let entry = &row.item.entry;
        let carrier = match entry.carrier {
            // By what the component itself is carried in.
            Carrier::Table | Carrier::Features => {
                next.carrier_of(entry.component()).unwrap_or(entry.carrier)
            }
            carrier => carrier,
        };
        self.all_sessions = true;
        self.everything |= row.consequence == Consequence::WithoutKho || carrier == Carrier::Root;
        let quiet = [
            Consequence::WithoutKho,
            Consequence::WithoutLuo,
            Consequence::ColdBoot,
        ]
        .contains(&row.consequence);
        if carrier == Carrier::Luo && !quiet && next.end.kind != EndKind::Program {
            (self.machine, self.everything) = (true, true);
        }
    }
}
