//! What becomes of what is not restored: a table beside the verdict. No policy asks it; the commands and
//! abi-check, which stands on this crate alone, print it.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Display, Formatter};

use crate::{Carrier, Finding, Outcome, Owned, Reason};

/// Who is handed something over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Receiver {
    /// A kernel. What it does was measured on Linux 7.3.4, by handing it altered memory.
    #[default]
    Kernel,
    /// A program built on these crates.
    Program,
}

/// What happens where somebody is handed something that it does not restore.
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
    /// A program refuses the handover, and hands it back.
    HandedBack,
    /// A program goes on without it, if it may.
    DoneWithout,
    /// A program leaves it alone.
    LeftAlone,
}

/// The release on which was measured what a kernel does.
const MEASURED: &str = "7.3.4";

impl Consequence {
    /// What a kernel does when it is handed a string that it does not know in `carrier`.
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

    /// What `receiver` does about a string in `carrier` of which `outcome` becomes.
    ///
    /// ```
    /// use kho_compat::{Carrier, Consequence, Outcome, Receiver};
    ///
    /// let at = |receiver| Consequence::at(receiver, Carrier::Luo, Outcome::Rejected);
    /// assert_eq!(at(Receiver::Kernel), Consequence::Panic);
    /// assert_eq!(at(Receiver::Program), Consequence::HandedBack);
    /// ```
    #[must_use]
    pub fn at(receiver: Receiver, carrier: Carrier, outcome: Outcome) -> Self {
        match (receiver, outcome) {
            (_, Outcome::Restorable) => Self::None,
            (Receiver::Kernel, _) => Self::of(carrier),
            (Receiver::Program, Outcome::Rejected) => Self::HandedBack,
            (Receiver::Program, Outcome::Lost) => Self::DoneWithout,
            (Receiver::Program, Outcome::LeftAlone) => Self::LeftAlone,
        }
    }

    /// What a kernel does, after its name, if it was measured.
    const fn measured(self) -> Option<&'static str> {
        Some(match self {
            Self::ColdBoot => {
                "boots as if nothing had been handed over: all preserved state is lost"
            }
            Self::Panic => "stops with a kernel panic: the whole machine is lost",
            Self::SessionsLost => {
                "fails every open of /dev/liveupdate with EIO: all sessions are lost"
            }
            Self::Warns => "warns and restores everything else",
            Self::MiscountsFlbs => {
                "restores everything; where an FLB that it expects is missing, the last finish corrupts a reference count and warns"
            }
            Self::Ignored => "passes it over and restores everything",
            _ => return None,
        })
    }

    /// The releases with which it was measured: their own builds, and no distribution's.
    const fn with(self) -> &'static [&'static str] {
        match self {
            Self::ColdBoot => &["6.17.8", "6.18.15", "6.19.10", "7.1.13", "7.2.6", MEASURED],
            Self::Panic => &["6.19.10", "7.1.13", "7.2.6", MEASURED],
            Self::SessionsLost | Self::Warns => &["7.1.13", "7.2.6", MEASURED],
            _ => &[MEASURED],
        }
    }

    /// The consequence in words, at a kernel of `release`, where that is known: another release is taken to do what
    /// the measured one does, and that is said.
    ///
    /// ```
    /// use kho_compat::Consequence;
    ///
    /// let words = |release| Consequence::Warns.of_release(release);
    /// assert_eq!(words(Some("7.2.6")), "Linux 7.2.6 warns and restores everything else");
    /// let other = "Linux 7.3.4-rt warns and restores everything else (measured with Linux 7.3.4)";
    /// assert_eq!(words(Some("7.3.4-rt")), other);
    /// assert!(words(None).starts_with("the next kernel warns"));
    /// ```
    #[must_use]
    pub fn of_release(self, release: Option<&str>) -> String {
        let Some(words) = self.measured() else {
            return format!("{self}");
        };
        match release {
            Some(release) if self == Self::SessionsLost && release.starts_with("6.19.") => {
                const CUT: &str = "drops the file and the later ones of its session without a word";
                let measured = if release == "6.19.10" {
                    ""
                } else {
                    " (measured with Linux 6.19.10)"
                };
                format!("Linux {release} {CUT}{measured}")
            }
            Some(release) if self.with().contains(&release) => format!("Linux {release} {words}"),
            Some(release) => format!("Linux {release} {words} (measured with Linux {MEASURED})"),
            None => format!("the next kernel {words} (measured with Linux {MEASURED})"),
        }
    }
}

impl Finding {
    /// What becomes of it at those who take such components over.
    #[must_use]
    pub fn consequence(&self) -> Consequence {
        self.consequence_at(self.receiver)
    }

    /// What becomes of it at `receiver`.
    #[must_use]
    pub fn consequence_at(&self, receiver: Receiver) -> Consequence {
        let carrier = match self.reason {
            Some(Reason::OtherRoot) => Carrier::Root,
            _ => self.entry.carrier,
        };
        Consequence::at(receiver, carrier, self.outcome)
    }
}

impl Display for Consequence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(words) = self.measured() {
            return write!(f, "Linux {MEASURED} {words}");
        }
        f.write_str(match self {
            Self::NotMeasured => "not measured",
            Self::WithoutKho => {
                "a kernel without KHO boots as if nothing had been handed over: all preserved state is lost"
            }
            Self::WithoutLuo => {
                "a kernel without LUO does not look at it: all sessions are lost (not measured)"
            }
            Self::ContentsLost => "what it holds is lost (not measured)",
            Self::HandedBack => "a program refuses the handover, and hands all of it back",
            Self::DoneWithout => "a program goes on without it if it is allowed to, and else refuses",
            Self::LeftAlone => "a program leaves it alone",
            _ => "",
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
