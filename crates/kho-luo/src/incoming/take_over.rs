//! Taking over: checked, judged, and its sessions opened.

use alloc::borrow::ToOwned;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::AtomicBool;

use kho_compat::{Admitted, Announced, Carrier, Compat, Grammar, NotAdmitted, Registry};
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
            return Err(TakeOverError::NotAdmitted(NotAdmitted {
                component: need.to_owned(),
                version: admitted.manifest().listed(need).unwrap_or_default(),
                covered: "no version of it".to_owned(),
            }));
        }
        if is_lost || need.is_some() {
            return Ok(Kind {
                announced,
                handler: None,
            });
        }
        match handlers.of_component(name) {
            Some(found) => Ok(Kind {
                announced,
                handler: Some(found),
            }),
            None => Err(TakeOverError::NoHandler {
                compatible: compatible.clone(),
                files: handler.files,
            }),
        }
    };
    body.handlers().iter().map(kind).collect()
}

fn check(
    handover: &Handover<'_>,
    handlers: &Handlers,
    options: &TakeOverOptions<'_>,
) -> Result<Checked, TakeOverError> {
    let TakeOverOptions {
        registry,
        policy,
        degrade,
    } = *options;
    handlers.check()?;
    let mut reading = handover.reading()?;
    let (manifest, luo) = survey(handover, &mut reading, registry)?;
    let admitted = registry.admit(policy, manifest)?;
    let losses = admitted.verdict().losses();
    let lost: Vec<_> = losses.of_sessions(registry.side()).cloned().collect();
    if !degrade && !lost.is_empty() {
        return Err(TakeOverError::Degraded { lost });
    }
    let Some(luo) = luo else {
        return Err(TakeOverError::NoLuo);
    };
    luo.restore(&admitted)?;
    let body = luo.body().cloned().ok_or(TakeOverError::NoLuo)?;
    let announced = reading.announced().clone();
    let kinds = kinds(&body, &admitted, &announced, registry, handlers)?;
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
        Ok(Self(Arc::new(Shared {
            by_name: by_name.collect(),
            held: Held::new(attached),
            handlers,
            kinds,
            admitted,
            body,
            kexec_count,
            finished: AtomicBool::new(false),
            state: Steps::new(state),
        })))
    }
}
