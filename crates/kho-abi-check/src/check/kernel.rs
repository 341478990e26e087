//! The structs against a real kernel's.

use kho_compat::{Component, Layout};

use super::Check;
use super::versions::token;
use crate::finding::{Finding, Severity};
use crate::history::Version;
use crate::kernel::{KernelTypes, compare};
use crate::rules;
use crate::snapshot::{Abi, Struct};

impl Check<'_> {
    pub(super) fn kernel(&mut self) {
        let Some(kernel) = self.options.kernel else {
            return;
        };
        let mut seen: Vec<Layout> = Vec::new();
        let mut differing = Vec::new();
        for component in &self.own {
            for layout in component.written().all_layouts() {
                if seen.contains(&layout) {
                    continue;
                }
                let found = compare(&layout, kernel).unwrap_or_default();
                if !found.is_empty() {
                    let older = self.older(component, &layout, kernel);
                    differing.push((*component, layout.clone(), found, older));
                }
                seen.push(layout);
            }
        }
        for (component, layout, differences, older) in differing {
            let name = &layout.name;
            let written = component.written();
            let version = Version::new(written.number, written.minor);
            let landed = self.history.past(component.name, version).is_some();
            let fields: Vec<_> = layout.fields.iter().map(|f| f.name.as_str()).collect();
            let place = self.struct_place(component, written.number, (name, &fields));
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
    fn older(
        &self,
        component: &Component,
        layout: &Layout,
        kernel: &KernelTypes,
    ) -> Option<Version> {
        let versions = self.history.work.get(component.name)?;
        let versions = versions.range(..Version::new(component.major(), 0)).rev();
        let same = |text: &String| {
            let abi = Abi::parse(text)?;
            let mut then = abi
                .structs
                .iter()
                .filter(|then| then.c_name == layout.c_name);
            let is_kernels = |then: &Struct| compare(&then.layout()?, kernel);
            Some(then.any(|then| is_kernels(then).is_some_and(|found| found.is_empty())))
        };
        let mut found = versions.filter(|(_, text)| same(text).unwrap_or(false));
        found.next().map(|(version, _)| *version)
    }
}
