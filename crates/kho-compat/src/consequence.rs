//! What a real kernel does about what it does not restore.

use crate::{Carrier, Owned};

/// What happens where a real kernel is handed something that it does not restore. Its words name the
/// release that was measured, by handing it altered memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Consequence {
    /// Nothing: it is restorable.
    #[default]
    None,
    /// It boots as if nothing had been handed over.
    ColdBoot,
    /// It panics.
    Panic,
    /// All sessions are lost: the device does not open.
    SessionsLost,
    /// It warns and restores the rest.
    Warns,
    /// It restores everything; a finish may corrupt the reference count of an object.
    MiscountsFlbs,
    /// It ignores it and restores everything.
    Ignored,
    /// Nobody measured it.
    NotMeasured,
    /// A kernel without KHO finds nothing.
    WithoutKho,
    /// A kernel without LUO finds no session.
    WithoutLuo,
    /// The contents of one object are lost.
    ContentsLost,
}

impl Consequence {
    /// What Linux 7.3.4 does when it is handed a string that it does not know in `carrier`.
    #[must_use]
    pub fn of(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Root => Self::ColdBoot,
            Carrier::Luo => Self::Panic,
            Carrier::FileHandler => Self::SessionsLost,
            Carrier::Owned(owned) if owned == Owned::KEXEC_METADATA => Self::Warns,
            Carrier::Flb => Self::MiscountsFlbs,
            Carrier::Table | Carrier::Features => Self::Ignored,
            Carrier::Owned(_) | Carrier::Subtree => Self::NotMeasured,
        }
    }
}
