//! The structs against a real kernel's.

use kho_compat::{Component, Layout};

use super::Check;
use super::versions::token;
use crate::finding::{Finding, Severity};
use crate::kernel::{KernelTypes, compare};
use crate::rules;
use crate::snapshot::Abi;

impl Check<'_> {
    pub(super) fn kernel(&mut self) {
        let Some(kernel) = self.options.kernel else {
            return;
        };
        let mut seen = Vec::new();
        let mut differing = Vec::new();
        for component in &self.own {
            for layout in component.written().all_layouts() {
                if seen.contains(&layout.name) {
                    continue;
                }
                let found = compare(&layout, kernel).unwrap_or_default();
                if !found.is_empty() {
                    let older = self.older(component, &layout, kernel);
                    differing.push((*component, layout.name.clone(), found, older));
                }
                seen.push(layout.name);
            }
        }
        for (component, name, differences, older) in differing {
            let past = self.history.past(component.name, component.major());
            let landed = past.is_some();
            let place = self.struct_place(component, &name);
            let finding = match older {
                // Said while the version is new; then the kernel is a reader of an older one.
                Some(_) if landed => continue,
                Some(version) => {
                    let title = format!(
                        "struct {name} of {} is not the kernel's, which has that of {}-v{version}",
                        token(component),
                        component.name
                    );
                    let mut finding = Finding::new(&rules::KERNEL_DIFFERS, component.name, title);
                    finding.severity = Severity::Info;
                    finding
                }
                None => {
                    let title = format!("struct {name} differs from the kernel's");
                    Finding::new(&rules::KERNEL_DIFFERS, component.name, title)
                        .mend(rules::KERNEL_DIFFERS.mend)
                }
            };
            self.add(finding.details(differences).at(place));
        }
    }

    /// The newest older version of `component` in which the struct is the kernel's.
    fn older(&self, component: &Component, layout: &Layout, kernel: &KernelTypes) -> Option<u32> {
        let versions = self.history.work.get(component.name)?;
        let versions = versions.range(..component.major()).rev();
        let same = |text: &String| {
            let abi = Abi::parse(text)?;
            let mut structs = abi.structs.iter();
            let then = structs.find(|then| then.c_name == layout.c_name)?;
            Some(compare(&then.layout()?, kernel)?.is_empty())
        };
        let mut found = versions.filter(|(_, text)| same(text).unwrap_or(false));
        found.next().map(|(version, _)| *version)
    }
}
