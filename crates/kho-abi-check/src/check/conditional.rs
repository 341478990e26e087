//! Build options: parts of a format that one build has and another has not.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::rules;
use crate::snapshot::Abi;

impl Check<'_> {
    pub(super) fn conditional(&self) {
        let parsed = self
            .described
            .iter()
            .filter_map(|one| Abi::parse(one.text()));
        let (mut constants, mut structs) = (BTreeSet::new(), BTreeSet::new());
        for abi in parsed {
            let of_structs = abi.structs.iter().flat_map(|one| one.constants.clone());
            let names = of_structs.chain(abi.constants).map(|(name, _)| name);
            constants.extend(names);
            structs.extend(abi.structs.into_iter().map(|one| one.name));
        }
        let mut components = BTreeMap::new();
        for component in &self.own {
            components
                .entry(component.crate_name)
                .or_insert(component.name);
        }
        for (krate, package) in &self.packages {
            let sources = self.library.get(&package.source());
            let component = components.get(krate.as_str());
            for found in sources.conditional(|name| constants.contains(name)) {
                // Another crate may hold a struct that a component lists.
                if component.is_none() && !structs.contains(&found.item) {
                    continue;
                }
                let title = format!("{} depends on a build option: {}", found.what, found.text);
                let component = component.copied().unwrap_or_default();
                let finding = rules::BUILD_OPTION.with_mend(component, title);
                self.add(finding.at(found.place.clone()));
            }
        }
    }
}
