//! composites.snap: the strings of all components in all dialects, as they are now.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kho_compat::{Carrier, Component, Listing, Registry, RegistryError, Versions, Writing};

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
            .map_or_else(String::new, |carrier| format!(", {}", carrier.id()));
        // Writing to a String does not fail.
        let _ = writeln!(out, "{}-v{}{carrier}", component.name, component.major());
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(out, "  {key:<18}{value}");
        };
        line("restores", &component.restores().to_string());
        let writes: Vec<_> = component
            .writable()
            .filter(|version| *version < component.major())
            .map(|version| version.to_string())
            .collect();
        if !writes.is_empty() {
            line("writes", &writes.join(", "));
        }
        let optional = component.presence == kho_compat::Presence::Optional;
        line("presence", if optional { "optional" } else { "mandatory" });
        for writing in Writing::ALL {
            let value = match writing.list {
                Listing::None => registry
                    .compat(component.name, writing.strings)?
                    .to_string(),
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
    pub(crate) carrier: Option<Carrier>,
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
            let Some((key, value)) = indented.split_once(' ') else {
                continue;
            };
            let state = current.as_ref().and_then(|name: &String| out.get_mut(name));
            if let Some(state) = state {
                state.lines.insert(key.to_owned(), value.trim().to_owned());
            }
            continue;
        }
        let (token, carrier) = line.split_once(", ").unwrap_or((line, ""));
        let Some((name, version)) = token.rsplit_once("-v") else {
            continue;
        };
        let Ok(version) = version.parse() else {
            continue;
        };
        current = Some(name.to_owned());
        let state = State {
            version,
            carrier: Carrier::by_id(carrier),
            lines: BTreeMap::new(),
        };
        out.insert(name.to_owned(), state);
    }
    out
}
