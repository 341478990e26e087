//! The components that are linked into this program.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use once_cell::race::OnceBox;
use semver::{Version, VersionReq};

use crate::{
    Admitted, Carrier, Compat, Component, Decision, Dialect, GrammarError, Manifest, Policy,
    Refused, Token,
};

/// Components by name, checked once.
#[derive(Debug)]
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
}

#[derive(Debug)]
struct Entry {
    component: &'static Component,
    restores: VersionReq,
    // All that it needs, directly or not, in alphabetical order.
    needs: Vec<&'static str>,
}

/// A set of components that is no registry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two components have one name.
    #[error("component `{0}` is registered twice: by crate `{1}` and by crate `{2}`")]
    Duplicate(&'static str, &'static str, &'static str),
    /// A component needs one that is not registered.
    #[error("component `{0}` needs `{1}`, which no linked crate registers")]
    UnknownNeed(&'static str, &'static str),
    /// A component needs itself in the end.
    #[error("component `{0}` needs itself: {1}")]
    CyclicNeed(&'static str, String),
    /// A name that no compat string could hold.
    #[error("component `{0}` has a name that is not in the grammar: {1}")]
    Name(&'static str, GrammarError),
    /// A version requirement that semver does not understand.
    #[error("component `{0}` restores {1:?}, which is no version requirement: {2}")]
    Restores(&'static str, &'static str, String),
    /// A component that could not read what it writes.
    #[error("component `{0}` writes version {1} but restores {2} only")]
    NotOwnVersion(&'static str, Version, &'static str),
    /// A compat string that is longer than its field.
    #[error("the string {1:?} of component `{0}` takes {2} bytes, its field has {3}")]
    TooLong(&'static str, String, usize, usize),
    /// A component was asked for that is not registered.
    #[error("no linked crate registers a component `{0}`")]
    Unknown(String),
}

static LINKED: OnceBox<Result<Registry, RegistryError>> = OnceBox::new();

impl Registry {
    /// The components that are linked into this program, collected once.
    ///
    /// A crate that nothing refers to is not linked, whatever `Cargo.toml` says. Refer to it
    /// (`use kho_memfd as _;`) and name the components you depend on in a test. Where no start-up
    /// code runs constructors (a bare-metal program) nothing is collected: use [`Registry::new`].
    ///
    /// # Errors
    ///
    /// The linked components contradict each other; the same error each time.
    pub fn linked() -> Result<&'static Self, &'static RegistryError> {
        LINKED
            .get_or_init(|| Box::new(Self::new(inventory::iter::<Component>)))
            .as_ref()
    }

    /// The registry of `components`, for tests and for programs that do not use link-time
    /// collection.
    ///
    /// # Errors
    ///
    /// A duplicate name, an unknown or cyclic need, a string that does not fit its field, a
    /// component that can not read what it writes.
    pub fn new(
        components: impl IntoIterator<Item = &'static Component>,
    ) -> Result<Self, RegistryError> {
        let mut entries = BTreeMap::new();
        for component in components {
            let name = component.name;
            Token::new(name, component.major()).map_err(|e| RegistryError::Name(name, e))?;
            let restores = VersionReq::parse(component.restores)
                .map_err(|e| RegistryError::Restores(name, component.restores, e.to_string()))?;
            if !restores.matches(&component.version) {
                let version = component.version.clone();
                return Err(RegistryError::NotOwnVersion(
                    name,
                    version,
                    component.restores,
                ));
            }
            let entry = Entry {
                component,
                restores,
                needs: Vec::new(),
            };
            if let Some(other) = entries.insert(name, entry) {
                let (one, two) = (other.component.crate_name, component.crate_name);
                return Err(RegistryError::Duplicate(name, one, two));
            }
        }
        let direct: BTreeMap<_, _> = entries
            .iter()
            .map(|(name, entry)| (*name, entry.component.needs))
            .collect();
        for (name, entry) in &mut entries {
            entry.needs = transitive(name, &direct)?;
        }
        let registry = Self { entries };
        for entry in registry.entries.values() {
            let component = entry.component;
            let Some(field) = component.field else {
                continue;
            };
            for dialect in [Dialect::Plain, Dialect::Composite] {
                let compat = registry.compat(component.name, dialect)?;
                if compat.field_len() > field {
                    let len = compat.field_len();
                    let text = compat.to_string();
                    return Err(RegistryError::TooLong(component.name, text, len, field));
                }
            }
        }
        Ok(registry)
    }

    /// The component `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'static Component> {
        self.entries.get(name).map(|entry| entry.component)
    }

    /// All components, in alphabetical order.
    pub fn components(&self) -> impl Iterator<Item = &'static Component> {
        self.entries.values().map(|entry| entry.component)
    }

    /// The components whose strings `carrier` carries as base tokens.
    pub fn carried_in(&self, carrier: Carrier) -> impl Iterator<Item = &'static Component> {
        self.components()
            .filter(move |component| component.carrier == Some(carrier))
    }

    /// The component that owns the subtree `name` of the root FDT.
    #[must_use]
    pub fn subtree(&self, name: &str) -> Option<&'static Component> {
        self.components()
            .find(|component| component.subtree == Some(name))
    }

    /// All that `name` needs, directly or not, in alphabetical order.
    #[must_use]
    pub fn needs(&self, name: &str) -> &[&'static str] {
        self.entries.get(name).map_or(&[], |entry| &entry.needs)
    }

    /// Whether the component `name` can restore what `name-vmajor` wrote. False for a component
    /// that is not linked.
    #[must_use]
    pub fn restores(&self, name: &str, major: u32) -> bool {
        let asked = Version::new(u64::from(major), 0, 0);
        self.entries
            .get(name)
            .is_some_and(|entry| entry.restores.matches(&asked))
    }

    /// The versions that the component `name` restores, as tokens: `block-v1 or block-v2`.
    #[must_use]
    pub fn restorable_text(&self, name: &str) -> String {
        let Some(component) = self.get(name) else {
            return String::new();
        };
        let mut out = String::new();
        for major in (0..=component.major()).filter(|major| self.restores(name, *major)) {
            if !out.is_empty() {
                out.push_str(" or ");
            }
            out.push_str(&alloc::format!("{name}-v{major}"));
        }
        out
    }

    /// The compat string that the component `name` writes.
    ///
    /// # Errors
    ///
    /// `name` is not linked.
    pub fn compat(&self, name: &str, dialect: Dialect) -> Result<Compat, RegistryError> {
        let unknown = || RegistryError::Unknown(name.to_string());
        let entry = self.entries.get(name).ok_or_else(unknown)?;
        let token = |component: &Component| {
            Token::new(component.name, component.major())
                .map_err(|e| RegistryError::Name(component.name, e))
        };
        let base = token(entry.component)?;
        let mut parts = Vec::new();
        if dialect == Dialect::Composite {
            for need in &entry.needs {
                parts.push(token(self.get(need).ok_or_else(unknown)?)?);
            }
        }
        Compat::new(base, parts).map_err(|e| RegistryError::Name(entry.component.name, e))
    }

    /// Judges `manifest` by `policy`. The only way to an [`Admitted`], and so to restoring.
    ///
    /// # Errors
    ///
    /// The policy rejects the handover.
    pub fn admit(&self, policy: &dyn Policy, manifest: Manifest) -> Result<Admitted, Refused> {
        let verdict = policy.judge(&manifest, self);
        if verdict.decision == Decision::Reject {
            return Err(Refused(verdict));
        }
        Ok(Admitted::new(self, manifest, verdict))
    }
}

fn transitive(
    name: &'static str,
    direct: &BTreeMap<&'static str, &'static [&'static str]>,
) -> Result<Vec<&'static str>, RegistryError> {
    let mut all = BTreeSet::new();
    // Depth-first with the path kept, so that a cycle can be shown.
    let mut path: Vec<(&'static str, usize)> = alloc::vec![(name, 0)];
    while let Some((at, next)) = path.last_mut() {
        let needs: &'static [&'static str] = direct.get(at).copied().unwrap_or(&[]);
        let Some(need) = needs.get(*next).copied() else {
            path.pop();
            continue;
        };
        let user = *at;
        *next += 1;
        if !direct.contains_key(need) {
            return Err(RegistryError::UnknownNeed(user, need));
        }
        if path.iter().any(|(on_path, _)| *on_path == need) {
            let mut chain: Vec<_> = path.iter().map(|(name, _)| *name).collect();
            chain.push(need);
            return Err(RegistryError::CyclicNeed(need, chain.join(" needs ")));
        }
        if all.insert(need) {
            path.push((need, 0));
        }
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    static BLOCK: Component = Component::new("block", 1, "^1");
    static RADIX: Component = Component::new("radix", 1, "^1");
    static LUO: Component = Component::new("luo", 5, "^5").needs(&["block"]);
    static KHO: Component = Component::new("kho", 4, "^4").needs(&["radix", "luo"]);

    fn composite(registry: &Registry, name: &str) -> String {
        registry
            .compat(name, Dialect::Composite)
            .unwrap()
            .to_string()
    }

    #[test]
    fn needs_are_transitive_sorted_and_listed_once() {
        static BASE: Component = Component::new("base", 2, "^2").needs(&["luo", "block", "kho"]);
        let registry = Registry::new([&BASE, &KHO, &LUO, &RADIX, &BLOCK]).unwrap();
        assert_eq!(
            composite(&registry, "base"),
            "base-v2;block-v1;kho-v4;luo-v5;radix-v1"
        );
        assert_eq!(
            composite(&registry, "kho"),
            "kho-v4;block-v1;luo-v5;radix-v1"
        );
        assert_eq!(composite(&registry, "block"), "block-v1");
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        static CYCLE_A: Component = Component::new("a", 1, "^1").needs(&["b"]);
        static CYCLE_B: Component = Component::new("b", 1, "^1").needs(&["a"]);
        static LONG: Component = Component::new("luo", 5, "^5").needs(&["block"]).field(8);
        static BAD_NAME: Component = Component::new("Luo", 5, "^5");
        static BAD_REQ: Component = Component::new("luo", 5, "five");
        static NOT_OWN: Component = Component::new("luo", 5, "^4");
        let check = |components: &[&'static Component], message: &str| {
            let error = Registry::new(components.iter().copied())
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
        };
        check(
            &[&LUO],
            "`luo` needs `block`, which no linked crate registers",
        );
        check(&[&BLOCK, &BLOCK], "`block` is registered twice");
        check(&[&CYCLE_A, &CYCLE_B], "`a` needs itself: a needs b needs a");
        check(&[&LONG, &BLOCK], "takes 16 bytes, its field has 8");
        check(&[&BAD_NAME], "not in the grammar: byte 0");
        check(&[&BAD_REQ], "which is no version requirement");
        check(&[&NOT_OWN], "writes version 5.0.0 but restores ^4 only");
    }

    #[test]
    fn a_range_of_versions_can_be_restored() {
        static BLOCK2: Component = Component::new("block", 2, ">=1, <3");
        let registry = Registry::new([&BLOCK2]).unwrap();
        assert!(registry.restores("block", 1) && registry.restores("block", 2));
        assert!(!registry.restores("block", 0) && !registry.restores("block", 3));
        assert!(!registry.restores("other", 1));
        assert_eq!(registry.restorable_text("block"), "block-v1 or block-v2");
    }
}
