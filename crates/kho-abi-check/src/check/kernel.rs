//! The structs against a real kernel's.

use kho_compat::{Component, Generation, Layout};

use super::Check;
use super::versions::token;
use crate::finding::Severity;
use crate::history::Version;
use crate::kernel::{KernelTypes, compare};
use crate::rules;
use crate::snapshot::{Abi, Struct};

impl Check<'_> {
    pub(super) fn kernel(&self) {
        let Some(kernel) = self.options.kernel else {
            return;
        };
        let mut seen: Vec<Layout> = Vec::new();
        for component in &self.own {
            let written = component.written();
            for layout in written.all_layouts() {
                if seen.contains(&layout) {
                    continue;
                }
                let found = compare(&layout, kernel).unwrap_or_default();
                if !found.is_empty() {
                    self.differs(component, written, &layout, found, kernel);
                }
                seen.push(layout);
            }
        }
    }

    fn differs(
        &self,
        component: &Component,
        written: &Generation,
        layout: &Layout,
        differences: Vec<String>,
        kernel: &KernelTypes,
    ) {
        let (name, of) = (&layout.name, component.name);
        let version = Version::new(written.number, written.minor);
        let finding = match self.older(component, layout, kernel) {
            // Said while the version is new; then the kernel is a reader of an older one.
            Some(_) if self.history.past(of, version).is_some() => return,
            Some(version) => {
                let now = token(component);
                let title = format!(
                    "struct {name} of {now} is not the kernel's, which has that of {of}-v{version}"
                );
                let mut finding = rules::KERNEL_DIFFERS.found(of, title);
                finding.severity = Severity::Info;
                finding
            }
            None => {
                let title = format!("struct {name} differs from the kernel's");
                rules::KERNEL_DIFFERS.with_mend(of, title)
            }
        };
        let fields: Vec<_> = layout.fields.iter().map(|f| f.name.as_str()).collect();
        let place = self.struct_place(component, written.number, (name, &fields));
        self.add(finding.details(differences).at(place));
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
            let then = abi.structs.iter();
            let mut then = then.filter(|then| then.c_name == layout.c_name);
            let is_kernels = |then: &Struct| compare(&then.layout()?, kernel);
            Some(then.any(|then| is_kernels(then).is_some_and(|found| found.is_empty())))
        };
        let mut found = versions.filter(|(_, text)| same(text).unwrap_or(false));
        found.next().map(|(version, _)| *version)
    }
}
