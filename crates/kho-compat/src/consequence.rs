//! What a real kernel does about what it does not restore: a table beside the verdict. No policy asks it;
//! the commands and abi-check, which stands on this crate alone, print it.

use core::fmt::{self, Display, Formatter};

use crate::{Carrier, Finding, Outcome, Owned, Reason};

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

impl Finding {
    /// What Linux 7.3.4 does about it.
    #[must_use]
    pub fn consequence(&self) -> Consequence {
        match (self.outcome, &self.reason) {
            (Outcome::Restorable, _) => Consequence::None,
            (_, Some(Reason::OtherRoot)) => Consequence::of(Carrier::Root),
            _ => Consequence::of(self.entry.carrier),
        }
    }
}

impl Display for Consequence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::ColdBoot => {
                "Linux 7.3.4 boots as if nothing had been handed over: all preserved state is lost"
            }
            Self::Panic => "Linux 7.3.4 stops with a kernel panic: the whole machine is lost",
            Self::SessionsLost => {
                "Linux 7.3.4 fails every open of /dev/liveupdate with EIO: all sessions are lost"
            }
            Self::Warns => "Linux 7.3.4 warns and restores everything else",
            Self::MiscountsFlbs => {
                "Linux 7.3.4 restores everything; where an FLB that it expects is missing, the last finish corrupts a reference count and warns"
            }
            Self::Ignored => "Linux 7.3.4 passes it over and restores everything",
            Self::NotMeasured => "not measured",
            Self::WithoutKho => {
                "a kernel without KHO boots as if nothing had been handed over: all preserved state is lost"
            }
            Self::WithoutLuo => {
                "a kernel without LUO does not look at it: all sessions are lost (not measured)"
            }
            Self::ContentsLost => "what it holds is lost (not measured)",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_carrier_has_a_consequence_in_words() {
        for carrier in Carrier::ALL {
            let words = Consequence::of(carrier).to_string();
            let measured = words.starts_with("Linux 7.3.4 ");
            assert!(measured || words == "not measured", "{carrier:?}: {words}");
        }
        assert_eq!(Consequence::default().to_string(), "");
    }
}
