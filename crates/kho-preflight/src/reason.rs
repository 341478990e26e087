//! Why something is judged as it is before leaving, or not judged.

use std::fmt;

use kho_compat::{Compat, Reason, Token, View};

/// Why something is not restorable there.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Why {
    /// What the policy says.
    Policy(Reason),
    /// There are only masks of the component, and they are not asked for.
    MasksAlone {
        /// The component and its version.
        token: Token,
    },
    /// The next kernel has no KHO: what shows it.
    NoKho {
        /// What shows it.
        evidence: String,
    },
    /// Nothing of the next kernel shows LUO.
    NoLuo,
    /// The next kernel has it: what shows that. Its version does not show.
    VersionUnseen {
        /// What it has.
        part: Part,
        /// What shows that it has it.
        evidence: String,
    },
    /// A kernel compares whole strings, and these are others.
    OtherStrings {
        /// Its strings.
        own: Vec<Compat>,
    },
    /// There are only masks of the component, and the next kernel lists none.
    NoMasksListed,
    /// The next kernel has no such FLB.
    NoFlb,
    /// The next program restores the version, and has no handler of such files.
    NoHandler,
}

/// A part of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Kexec HandOver.
    Kho,
    /// The Live Update Orchestrator.
    Luo,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(reason) => reason.view(View::There).fmt(f),
            Self::MasksAlone { token } => write!(
                f,
                "{token} is not restorable there, where masks of it are all there is"
            ),
            Self::NoKho { evidence } => write!(f, "the next kernel has no KHO: {evidence}"),
            Self::NoLuo => {
                f.write_str("the next kernel has KHO, but nothing in its image shows LUO")
            }
            Self::VersionUnseen { part, evidence } => {
                let part = match part {
                    Part::Kho => "KHO",
                    Part::Luo => "LUO",
                };
                write!(
                    f,
                    "the next kernel has {part} ({evidence}), but which version does not show in its image"
                )
            }
            Self::OtherStrings { own } => {
                let own: Vec<_> = own.iter().map(ToString::to_string).collect();
                let own = own.join("`, `");
                write!(f, "a kernel compares whole strings, and has `{own}`")
            }
            Self::NoMasksListed => {
                f.write_str("there are masks of it alone, and the next kernel lists none")
            }
            Self::NoFlb => f.write_str("no FLB of the next kernel is called so"),
            Self::NoHandler => f.write_str("the next program has no handler of such files"),
        }
    }
}

/// Why something is not judged.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unjudged {
    /// Subtrees have no versions.
    NoVersion,
    /// The handover that the next one is known by does not use it.
    Unused,
    /// No string of it would stand in a kernel's image.
    NoString,
    /// The next kernel lists no masks of it.
    NoMasks,
    /// The kernel that is left has KHO: what shows that. No string of it stands in the image.
    NoRootString {
        /// What shows that it has KHO.
        evidence: String,
    },
    /// No string of it stands in a kernel's image.
    NotInImages,
    /// The image does not say what carries it.
    UnknownCarrier,
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoVersion => "subtrees have no versions",
            Self::Unused => "the handover that stands for the next one has none",
            Self::NoString => "it has no string that would stand in a kernel image",
            Self::NoMasks => "the next kernel lists no masks of it",
            Self::NoRootString { evidence } => {
                return write!(
                    f,
                    "it has KHO ({evidence}), but no string of it stands in its image"
                );
            }
            Self::NotInImages => "no string of it stands in a kernel image",
            Self::UnknownCarrier => "whether a handover carries it can not be told from the image",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_of_the_next_one() {
        let token = || "block-v2".parse::<Token>().unwrap();
        let evidence = || "`kho` at 0x10".to_owned();
        let own = ["luo-v5", "luo-v5;block-v2"].map(|text| text.parse().unwrap());
        let restorable = vec!["block-v1".parse().unwrap()];
        let reason = Reason::NotRestorable {
            token: token(),
            restorable,
        };
        #[rustfmt::skip]
        let cases: [(Why, &str); 8] = [
            (Why::Policy(reason), "block-v2 is not restorable there, only block-v1"),
            (Why::MasksAlone { token: token() },
                "block-v2 is not restorable there, where masks of it are all there is"),
            (Why::NoKho { evidence: "it is off".to_owned() }, "the next kernel has no KHO: it is off"),
            (Why::NoLuo, "the next kernel has KHO, but nothing in its image shows LUO"),
            (Why::VersionUnseen { part: Part::Luo, evidence: evidence() },
                "the next kernel has LUO (`kho` at 0x10), but which version does not show in its image"),
            (Why::OtherStrings { own: own.to_vec() },
                "a kernel compares whole strings, and has `luo-v5`, `luo-v5;block-v2`"),
            (Why::NoMasksListed, "there are masks of it alone, and the next kernel lists none"),
            (Why::NoFlb, "no FLB of the next kernel is called so"),
        ];
        for (why, words) in cases {
            assert_eq!(why.to_string(), words);
        }
        assert_eq!(
            Unjudged::NoRootString {
                evidence: evidence()
            }
            .to_string(),
            "it has KHO (`kho` at 0x10), but no string of it stands in its image"
        );
    }
}
