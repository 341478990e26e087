//! Why a string can not be restored, and what could be: data. [`View`](crate::View) has the words.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Carrier, Compat, GrammarError, RegistryError, Token};

/// Why a policy finds that a string can not be restored.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// No component has this name.
    UnknownComponent {
        /// The name.
        name: String,
    },
    /// No component has this subtree.
    UnknownSubtree,
    /// The string is not in the grammar.
    NotACompatString(GrammarError),
    /// The component is known, and its string stands somewhere else.
    NotWhatCarrierNames {
        /// The component.
        name: String,
        /// What carries the string.
        carrier: Carrier,
    },
    /// The component restores other versions.
    NotRestorable {
        /// The component and its version.
        token: Token,
        /// What it restores.
        restorable: Vec<Token>,
    },
    /// The version must be the receiver's own.
    NotTheVersion {
        /// The component and its version.
        token: Token,
        /// The receiver's version.
        own: u32,
    },
    /// The string must be the receiver's own.
    NotTheString {
        /// The receiver's string.
        own: Compat,
    },
    /// The receiver's own string can not be written.
    NoOwnString(RegistryError),
    /// The root has another version, and that stands for everything.
    OtherRoot,
    /// The table lists one version, and a string announces another.
    TableContradicts {
        /// The version that the string announces.
        version: u32,
    },
    /// The handover has no masks of the component.
    MasksMissing,
    /// The receiver has no masks of the component.
    NoMasks,
    /// The writer requires features that the receiver does not support.
    NotSupported {
        /// The features, a bit each.
        features: u64,
    },
    /// The receiver requires features that the writer does not support.
    NotProvided {
        /// The features, a bit each.
        features: u64,
    },
    /// Something that it needs is lost.
    NeedLost {
        /// The component that is lost.
        need: String,
    },
    /// A reason of a policy from elsewhere, in its own words.
    Other(String),
}

/// Something that could have been restored.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Alternative {
    /// A compat string.
    Compat(Compat),
    /// Masks that ask for no more than is supported, and support what is required.
    Masks {
        /// What is supported.
        supported: u64,
        /// What is required.
        required: u64,
    },
    /// A subtree of the root FDT.
    Subtree(String),
}

impl From<Compat> for Alternative {
    fn from(compat: Compat) -> Self {
        Self::Compat(compat)
    }
}

/// What could have been restored in place of a string.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// Any of these; none where nothing could be.
    pub any_of: Vec<Alternative>,
    /// Components whose alternatives are not among them, where a side has many.
    pub more: usize,
}

impl Expected {
    /// Components whose alternatives are listed.
    const SHOWN: usize = 8;

    /// Any of the alternatives of any of `components`: of the first few, where there are many.
    pub(crate) fn of<I: IntoIterator<Item = Compat>>(components: impl Iterator<Item = I>) -> Self {
        let mut components = components;
        let first = components.by_ref().take(Self::SHOWN);
        let any_of = first.flatten().map(Alternative::Compat).collect();
        Self {
            any_of,
            more: components.count(),
        }
    }
}

impl<T: Into<Alternative>> FromIterator<T> for Expected {
    fn from_iter<I: IntoIterator<Item = T>>(alternatives: I) -> Self {
        Self {
            any_of: alternatives.into_iter().map(Into::into).collect(),
            more: 0,
        }
    }
}
