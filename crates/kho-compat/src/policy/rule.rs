//! What a policy is made of: a rule for one string, and the parts of one.

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::{
    Ability, Carrier, Compat, Grammar, Manifest, ManifestEntry, Reason, Side, Strings, Token,
};

/// What a policy has to say of one string. [`judge_strings`](super::judge_strings) makes a verdict of it: it
/// judges what no policy can (subtrees, masks, what is optional), and asks the rule about each string whose
/// base is a component of the side, carried where it stands.
///
/// A policy that refuses versions with a bug, and takes all others that can be restored:
///
/// ```
/// use kho_compat::policy::{Found, InRange, Policy, Rule, judge_strings};
/// use kho_compat::{
///     Ability, Carrier, Compat, Decision, Manifest, Place, Reason, Side, Token, Verdict,
/// };
///
/// struct NotThese(Vec<Token>);
///
/// impl Policy for NotThese {
///     fn name(&self) -> &'static str {
///         "not-these"
///     }
///     fn summary(&self) -> &'static str {
///         "as semver-range, without versions that are known to be wrong"
///     }
///     fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
///         judge_strings(self.name(), self, manifest, side)
///     }
/// }
///
/// impl Rule for NotThese {
///     fn expected(&self, own: &Ability, carrier: Carrier, side: &Side) -> Vec<Compat> {
///         InRange.expected(own, carrier, side)
///     }
///     fn check(&self, found: &Found<'_>) -> Result<(), Reason> {
///         found.each_token(|own, token| {
///             if self.0.contains(token) {
///                 return Err(Reason::Other(format!("{token} loses the seals")));
///             }
///             found.in_range(own, token)
///         })
///     }
/// }
///
/// let mut memfd = Ability::new("memfd", 2)?;
/// memfd.carrier = Some(Carrier::FileHandler);
/// memfd.restores = ">=1, <3".parse()?;
/// let side = Side::new([memfd])?;
/// let policy = NotThese(vec!["memfd-v1".parse()?]);
/// for (string, decision) in [("memfd-v1", Decision::Reject), ("memfd-v2", Decision::Accept)] {
///     let mut manifest = Manifest::new();
///     manifest.add(Carrier::FileHandler, string, Place::new(0x1000, "a file"));
///     assert_eq!(policy.judge(&manifest, &side).decision, decision);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Rule {
    /// What the component `own` could have written in `carrier` instead: what `side` itself writes, unless
    /// the rule takes more or looks at less.
    fn expected(&self, own: &Ability, carrier: Carrier, side: &Side) -> Vec<Compat>;

    /// How strictly strings are parsed: by default parts stand in any order.
    fn grammar(&self) -> Grammar {
        Grammar::Lenient
    }

    /// Checks that what was found can be restored.
    ///
    /// # Errors
    ///
    /// It can not; [`Reason::Other`] for words of the rule's own.
    fn check(&self, found: &Found<'_>) -> Result<(), Reason>;
}

/// A string that is judged, as a [`Rule`] sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Found<'j> {
    /// What the side knows of the component that the string announces.
    pub own: &'j Ability,
    /// The string parsed: its base is that component.
    pub compat: &'j Compat,
    /// Where it stands, how often, and as it was found there.
    pub entry: &'j ManifestEntry,
    /// All that was handed over.
    pub manifest: &'j Manifest,
    /// Who is to restore it.
    pub side: &'j Side,
}

impl Found<'_> {
    /// Judges each token by what the side knows of its component. What is listed, not linked and not
    /// needed by anything here is passed over: whoever needs it has its own string.
    ///
    /// # Errors
    ///
    /// `judge` refuses a token, or the side does not know its component.
    pub fn each_token(
        &self,
        judge: impl Fn(&Ability, &Token) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        let base = self.compat.base().name();
        self.compat.tokens().try_for_each(|token| {
            let name = token.name();
            match self.side.get(name) {
                Some(own) => judge(own, token),
                None if self.side.does_without(base, name) => Ok(()),
                None => Err(Reason::UnknownComponent { name: name.into() }),
            }
        })
    }

    /// Checks that the string is, byte for byte, one of [those](Side::own_strings) that stand for its component
    /// on the side. A side whose dialect is not known writes `otherwise`.
    ///
    /// # Errors
    ///
    /// It is none of them, or there is none.
    pub fn is_own_string(&self, otherwise: Strings) -> Result<(), Reason> {
        let strings = self
            .side
            .own_strings(self.own, self.entry.carrier, otherwise);
        let strings = strings.map_err(Reason::NoOwnString)?;
        if strings
            .iter()
            .any(|own| own.to_string() == self.entry.found)
        {
            return Ok(());
        }
        let own = strings.into_iter().next();
        let own = own.unwrap_or_else(|| self.compat.clone());
        Err(Reason::NotTheString { own })
    }

    /// Checks that `own` restores the version of `token`, with the minor version that the table lists.
    ///
    /// # Errors
    ///
    /// It restores others.
    pub fn in_range(&self, own: &Ability, token: &Token) -> Result<(), Reason> {
        let (restores, version) = (&own.restores, token.version());
        if restores.has_number(version) || restores.has(version, self.manifest.minor(token)) {
            return Ok(());
        }
        Err(Reason::NotRestorable {
            token: token.clone(),
            restorable: restorable(own).collect(),
        })
    }
}

/// The versions that `own` restores, as tokens.
pub fn restorable(own: &Ability) -> impl Iterator<Item = Token> + '_ {
    let versions = own.restorable();
    versions.filter_map(|version| Token::new(&own.name, version).ok())
}

/// The rule of the policies that take all versions which a component says it restores.
#[derive(Clone, Copy, Debug, Default)]
pub struct InRange;

impl Rule for InRange {
    fn expected(&self, own: &Ability, _: Carrier, _: &Side) -> Vec<Compat> {
        restorable(own).map(Compat::from).collect()
    }

    fn check(&self, found: &Found<'_>) -> Result<(), Reason> {
        found.each_token(|own, token| found.in_range(own, token))
    }
}
