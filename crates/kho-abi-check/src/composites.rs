//! composites.snap: the strings of all components in all dialects, as they are now.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kho_compat::{Component, Listing, Registry, RegistryError, Strings, Versions, Writing};

/// The file, in the directory of the snapshots.
pub(crate) const FILE: &str = "composites.snap";

/// The current state of `components` as text.
pub(crate) fn describe(
    registry: &Registry,
    components: &[&'static Component],
) -> Result<String, RegistryError> {
    let mut out = String::new();
    for component in components {
        let carrier = component
            .carrier
            .map(|carrier| format!(", {}", carrier.id()));
        let carrier = carrier.unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(out, "{}-v{}{carrier}", component.name, component.major());
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(out, "  {key:<18}{value}");
        };
        line("restores", &component.restores().to_string());
        let writes = component
            .writable()
            .filter(|version| *version < component.major());
        let writes: Vec<_> = writes.map(|version| version.to_string()).collect();
        if !writes.is_empty() {
            line("writes", &writes.join(", "));
        }
        if component.interface {
            line("interface", "between programs");
            out.push('\n');
            continue;
        }
        let optional = component.presence == kho_compat::Presence::Optional;
        line("presence", if optional { "optional" } else { "mandatory" });
        // A string list has the tokens of the composite.
        for writing in Writing::ALL
            .into_iter()
            .filter(|all| all.strings != Strings::List)
        {
            let value = match writing.list {
                Listing::None => {
                    let compat = registry.compat(component.name, writing.strings)?;
                    compat.to_string()
                }
                Listing::Versions => format!("{} = {}", component.name, component.major()),
                Listing::Masks => component.features.to_string(),
            };
            line(writing.id(), &value);
        }
        out.push('\n');
    }
    Ok(out.trim_end().to_owned())
}

/// A component of such a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct State {
    pub(crate) version: u32,
    pub(crate) lines: BTreeMap<String, String>,
}

impl State {
    pub(crate) fn get(&self, key: &str) -> &str {
        self.lines.get(key).map_or("", String::as_str)
    }

    /// Whether it restores `version`. Not where what it restores can not be read.
    pub(crate) fn restores(&self, version: u32) -> bool {
        let restores = self.get("restores").parse::<Versions>();
        restores.is_ok_and(|restores| restores.has(version, 0))
    }
}

/// The components of such a text; none where it is not one.
pub(crate) fn parse(text: &str) -> BTreeMap<String, State> {
    let mut out: BTreeMap<String, State> = BTreeMap::new();
    let mut current = None;
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(indented) = line.strip_prefix("  ") {
            let state = current.as_ref().and_then(|name: &String| out.get_mut(name));
            if let (Some((key, value)), Some(state)) = (indented.split_once(' '), state) {
                state.lines.insert(key.to_owned(), value.trim().to_owned());
            }
            continue;
        }
        // The carrier may follow.
        let token = line.split(", ").next().unwrap_or_default();
        let version = token.rsplit_once("-v");
        let version = version.and_then(|(name, version)| Some((name, version.parse().ok()?)));
        if let Some((name, version)) = version {
            current = Some(name.to_owned());
            let lines = BTreeMap::new();
            out.insert(name.to_owned(), State { version, lines });
        }
    }
    out
}
