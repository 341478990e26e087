//! Taking over: checked, judged, and its sessions opened.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::AtomicBool;

use kho_compat::{Admitted, Announced, Carrier, Compat, Finding, Grammar, NotAdmitted, Registry};
use kho_core::{Attached, Failed, Handover, Metadata};
use kho_radix::Claims;

use super::{
    Flb, Incoming, Kind, Object, Session, Shared, State, TakeOverError, TakeOverOptions, survey,
};
use crate::steps::Steps;
use crate::token::ByToken;
use crate::{Body, Handlers, Held};

struct Checked {
    admitted: Admitted,
    claims: Claims,
    announced: Announced,
    body: Body,
    kexec_count: Option<u32>,
    kinds: Vec<Kind>,
    // What must not be lost and is, of a policy that judges while restoring.
    lost: Vec<Finding>,
}

/// The handler of each kind of file in `body`; none for those that are lost.
fn kinds(
    body: &Body,
    admitted: &Admitted,
    announced: &Announced,
    registry: &Registry,
    handlers: &Handlers,
) -> Result<Vec<Kind>, TakeOverError> {
    let side = registry.side();
    let losses = admitted.verdict().losses();
    let kind = |handler: &crate::Handler| {
        let compatible = &handler.compatible;
        let announced = announced.in_string(compatible);
        let base = Compat::parse_as(compatible, Grammar::Lenient).ok();
        let name = base.as_ref().map_or("", |compat| compat.base().name());
        let need = losses.need(name, side);
        let is_lost = losses.get(Carrier::FileHandler, compatible).is_some();
        let own = side.get(name);
        if let Some(need) = need
            && !own.is_some_and(kho_compat::Ability::is_optional)
            && !is_lost
        {
            // A file that must not be lost needs what is.
            let version = admitted.manifest().listed(need).unwrap_or_default();
            let error = NotAdmitted::new(need, version, "no version of it");
            return Err(TakeOverError::NotAdmitted(error));
        }
        let is_lost = is_lost || need.is_some();
        let found = handlers.of_component(name).filter(|_| !is_lost);
        if found.is_none() && !is_lost && !admitted.is_late() {
            return Err(TakeOverError::NoHandler {
                compatible: compatible.clone(),
                files: handler.files,
            });
        }
        Ok(Kind {
            announced,
            handler: found,
            is_lost,
        })
    };
    body.handlers().iter().map(kind).collect()
}

fn check(
    handover: &Handover<'_>,
    handlers: &Handlers,
    options: &TakeOverOptions<'_>,
) -> Result<Checked, TakeOverError> {
    let TakeOverOptions { judge, degrade } = *options;
    handlers.check()?;
    let mut reading = handover.reading()?;
    let (manifest, luo) = survey(handover, &mut reading, judge)?;
    let admitted = judge.admit(manifest)?;
    handover.require(&admitted)?;
    let losses = admitted.verdict().losses();
    let lost = losses.of_sessions(judge.registry.side());
    let lost: Vec<_> = lost.filter(|_| !degrade).cloned().collect();
    if !lost.is_empty() && !admitted.is_late() {
        return Err(TakeOverError::Degraded { lost });
    }
    let Some(luo) = luo else {
        return Err(TakeOverError::NoLuo);
    };
    luo.restore(&admitted)?;
    let body = luo.body().cloned().ok_or(TakeOverError::NoLuo)?;
    let announced = admitted.announced(reading.announced());
    let kinds = kinds(&body, &admitted, &announced, judge.registry, handlers)?;
    let kexec_count = match Metadata::read(handover)? {
        Some(Metadata::V1 { kexec_count, .. }) => Some(kexec_count),
        _ => None,
    };
    Ok(Checked {
        admitted,
        claims: reading.into_claims(),
        announced,
        body,
        kexec_count,
        kinds,
        lost,
    })
}

impl Incoming {
    /// Checks what was handed over, judges it, and opens the sessions, whose files `handlers` make. `options` are the
    /// components that judge it, or [`TakeOverOptions`]. Nothing of the handover changes. Contents of files are
    /// their handlers' affair: they are checked when they are retrieved.
    ///
    /// # Errors
    ///
    /// It is damaged, rejected, has files of a kind that none of `handlers` makes, or parts that are
    /// optional and would be lost; or two of `handlers` have one component, or two FLBs one name. The handover comes back as it was.
    pub fn take_over<'r>(
        attached: Attached,
        handlers: Handlers,
        options: impl Into<TakeOverOptions<'r>>,
    ) -> Result<Self, Failed<Attached, TakeOverError>> {
        let checked = match check(&attached.handover(), &handlers, &options.into()) {
            Ok(checked) => checked,
            Err(error) => {
                tracing::warn!(%error, "not taken over");
                return Err(Failed {
                    error,
                    returned: attached,
                });
            }
        };
        let Checked {
            admitted,
            claims,
            announced,
            body,
            kexec_count,
            kinds,
            lost,
        } = checked;
        let sessions = body.sessions.iter().map(|session| Session {
            retrieved: false,
            finished: false,
            objects: vec![Object::Waiting; session.files.len()],
            by_token: ByToken::default(),
            next: 0,
        });
        let losses = admitted.verdict().losses();
        let flbs = body.flbs.iter().map(|flb| {
            let mut known = handlers.flbs.iter();
            let handler = known.position(|entry| entry.handler.name() == flb.name);
            Flb {
                announced: announced.in_string(&flb.name),
                handler: handler.filter(|_| losses.get(Carrier::Flb, &flb.name).is_none()),
                object: Object::Waiting,
            }
        });
        let by_name = body.sessions.iter().enumerate();
        let by_name = by_name.map(|(index, session)| (session.name.clone(), index));
        let state = State {
            sessions: sessions.collect(),
            own_claims: claims.count(),
            claims,
            flbs: flbs.collect(),
        };
        let incoming = Self(Arc::new(Shared {
            by_name: by_name.collect(),
            held: Held::new(attached),
            handlers,
            kinds,
            lost,
            admitted,
            body,
            kexec_count,
            finished: AtomicBool::new(false),
            state: Steps::new(state),
        }));
        let (sessions, files) = (incoming.0.body.sessions.len(), incoming.files());
        let (number, lost) = (incoming.number(), incoming.lost());
        tracing::info!(number, sessions, files, lost, "taken over");
        Ok(incoming)
    }
}
