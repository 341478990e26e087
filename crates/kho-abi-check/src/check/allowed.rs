//! The allow-list over what was found.

use super::Check;
use crate::finding::{Finding, Place, Severity};
use crate::tree::Tree;
use crate::{Error, allow, rules};

impl Check<'_> {
    pub(super) fn allow(&mut self) -> Result<(), Error> {
        let path = self.project.allow.clone();
        let Some(text) = self.work.read(&path) else {
            return Ok(());
        };
        let entries = allow::parse(&text).map_err(|error| Error::File(path.clone(), error))?;
        for entry in entries {
            let place = Some(Place::new(path.clone(), entry.line));
            let what = format!("{} of `{}`", entry.rule, entry.component);
            if entry.expires < self.options.today {
                let title = format!("the exception for {what} expired on {}", entry.expires);
                let finding = Finding::new(&rules::ALLOW_EXPIRED, &entry.component, title)
                    .details([format!("its reason: {}", entry.reason)])
                    .at(place)
                    .mend(format!("mend what it allows and delete it, or give it a new date with a reason ({path}:{})", entry.line));
                self.add(finding);
                continue;
            }
            let mut used = false;
            for finding in &mut self.findings {
                let component = entry.component == "*" || entry.component == finding.component;
                let weighs = matches!(finding.severity, Severity::Error | Severity::Warning);
                if finding.rule == entry.rule && component && weighs {
                    finding.severity = Severity::Allowed;
                    finding.allowed = Some(format!("{} (until {})", entry.reason, entry.expires));
                    used = true;
                }
            }
            if !used {
                let title = format!("the exception for {what} allows nothing that was found");
                let finding = Finding::new(&rules::ALLOW_UNUSED, &entry.component, title)
                    .at(place)
                    .mend(format!("delete it ({path}:{})", entry.line));
                self.add(finding);
            }
        }
        Ok(())
    }
}
