//! The conditions under which a move between kernels goes as its verdict says, as data.

use std::fmt;

use kho_compat::Decision;

/// What must hold beside the formats for a handover to arrive.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Condition {
    /// Which it is.
    pub kind: ConditionKind,
    /// Whether it is met, as far as that is seen.
    pub state: State,
    /// What shows that, or why nothing does.
    pub evidence: String,
    /// What is lost where it is not met.
    pub cost: Cost,
    /// What to do to meet it; empty where nothing is to be done.
    pub advice: String,
}

/// A kind of condition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ConditionKind {
    /// The next kernel is loaded by `kexec_file_load`.
    FileLoad,
    /// The handover is finalized before the next kernel is loaded (up to Linux 6.18).
    Finalized,
    /// The scratch areas hold the next kernel and its initrd.
    ScratchSize,
    /// KHO is on in the kernel that is left.
    KhoHere,
    /// LUO is on in the kernel that is left.
    LiveUpdateHere,
    /// KHO is on in the next kernel.
    KhoThere,
    /// LUO is on in the next kernel.
    LiveUpdateThere,
    /// A region is asked for again by its name, size and alignment.
    ReserveMem,
    /// The modules that restore files are there before they are needed.
    Modules,
    /// The move is a kexec, not a crash.
    NoCrash,
}

/// Whether a condition is met, or a known defect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// It is met.
    Met,
    /// It is not met.
    NotMet,
    /// That can not be seen from here.
    NotSeen,
}

/// What a condition that is not met costs, or a known defect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cost {
    /// Nothing of what is handed over.
    Nothing,
    /// A part that is optional, such as a region of `reserve_mem`.
    Part,
    /// The move: the next kernel can not be loaded. Nothing is lost.
    Move,
    /// All sessions.
    Sessions,
    /// All preserved state.
    Everything,
    /// The whole machine.
    Machine,
}

impl Cost {
    /// `nothing`, `part`, `move`, `sessions`, `everything` or `machine`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Part => "part",
            Self::Move => "move",
            Self::Sessions => "sessions",
            Self::Everything => "everything",
            Self::Machine => "machine",
        }
    }

    /// The best that can be decided where it has to be paid.
    #[must_use]
    pub const fn decision(self) -> Decision {
        match self {
            Self::Nothing => Decision::Accept,
            Self::Part => Decision::Degrade,
            Self::Move | Self::Sessions | Self::Everything | Self::Machine => Decision::Reject,
        }
    }
}

/// In words, as of a loss.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing is lost",
            Self::Part => "its contents are lost",
            Self::Move => "the next kernel is not loaded, and nothing is lost",
            Self::Sessions => "all sessions are lost",
            Self::Everything => "all preserved state is lost",
            Self::Machine => "the whole machine is lost",
        })
    }
}

impl State {
    /// `met`, `not-met` or `not-seen`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not-met",
            Self::NotSeen => "not-seen",
        }
    }
}

impl ConditionKind {
    /// As programs see it: `kexec-file-load`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::FileLoad => "kexec-file-load",
            Self::Finalized => "finalized-before-load",
            Self::ScratchSize => "scratch-size",
            Self::KhoHere => "kho-on-here",
            Self::LiveUpdateHere => "liveupdate-on-here",
            Self::KhoThere => "kho-on-next",
            Self::LiveUpdateThere => "liveupdate-on-next",
            Self::ReserveMem => "reserve-mem",
            Self::Modules => "handler-modules",
            Self::NoCrash => "no-crash",
        }
    }

    /// What must hold, in words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::FileLoad => "the next kernel is loaded with kexec_file_load (`kexec -s`)",
            Self::Finalized => "the handover is finalized before the next kernel is loaded",
            Self::ScratchSize => "the scratch areas hold the next kernel and its initrd",
            Self::KhoHere => "KHO is on in the kernel that is left",
            Self::LiveUpdateHere => "LUO is on in the kernel that is left",
            Self::KhoThere => "KHO is on in the next kernel (`kho=on`)",
            Self::LiveUpdateThere => "LUO is on in the next kernel (`liveupdate=on`)",
            Self::ReserveMem => "the next command line asks for the region again",
            Self::Modules => "the module is in the initrd, or loaded before the device is opened",
            Self::NoCrash => "the move is a kexec, not a crash",
        }
    }

    /// The same where a line lists several.
    #[must_use]
    pub const fn brief(self) -> &'static str {
        match self {
            Self::FileLoad => "kexec -s",
            Self::Finalized => "finalize first",
            Self::ScratchSize => "scratch areas large enough",
            Self::KhoHere => "KHO on here",
            Self::LiveUpdateHere => "LUO on here",
            Self::KhoThere => "kho=on",
            Self::LiveUpdateThere => "liveupdate=on",
            Self::ReserveMem => "reserve_mem= repeated",
            Self::Modules => "handler modules loaded",
            Self::NoCrash => "no crash",
        }
    }
}

impl Condition {
    /// What it decides by itself: a condition that is known not to be met costs what it costs. A module that is in
    /// no initrd may still be loaded in time.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match (self.state, self.kind) {
            (State::NotMet, ConditionKind::Modules) => Decision::Accept,
            (State::NotMet, _) => self.cost.decision(),
            (State::Met | State::NotSeen, _) => Decision::Accept,
        }
    }
}
