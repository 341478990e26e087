//! The allow-list over what was found.

use super::Check;
use crate::finding::{Place, Severity};
use crate::tree::Tree;
use crate::{Error, allow, rules};

impl Check<'_> {
    pub(super) fn allow(&self) -> Result<(), Error> {
        let path = &self.project.allow;
        let Some(text) = self.work.read(path) else {
            return Ok(());
        };
        let entries = allow::parse(&text).map_err(|error| Error::File(path.clone(), error))?;
        for entry in entries {
            let (component, reason) = (&entry.raw.component, &entry.raw.reason);
            let place = Place::new(&**path, entry.line);
            let what = format!("the exception for {} of `{component}`", entry.raw.rule);
            if entry.expires < self.options.today {
                let title = format!("{what} expired on {}", entry.expires);
                let finding = rules::ALLOW_EXPIRED.found(component, title);
                let finding = finding.details([format!("its reason: {reason}")]);
                let mend = format!(
                    "mend what it allows and delete it, or give it a new date with a reason ({path}:{})",
                    entry.line
                );
                self.add(finding.at(place).mend(mend));
                continue;
            }
            let mut used = false;
            for finding in self.findings.borrow_mut().iter_mut() {
                let is_its = component == "*" || *component == finding.component;
                let weighs = matches!(finding.severity, Severity::Error | Severity::Warning);
                if finding.rule == entry.raw.rule && is_its && weighs {
                    finding.severity = Severity::Allowed;
                    finding.allowed = Some(format!("{reason} (until {})", entry.expires));
                    used = true;
                }
            }
            if !used {
                let title = format!("{what} allows nothing that was found");
                let finding = rules::ALLOW_UNUSED.found(component, title).at(place);
                self.add(finding.mend(format!("delete it ({path}:{})", entry.line)));
            }
        }
        Ok(())
    }
}
