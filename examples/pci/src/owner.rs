//! The devices in a survey, and restored.

use kho_compat::{Branch, Carrier, Fact, Manifest, Place, count};
use kho_core::{
    Contents, Damage, Files, Owner, RestoreError, Restored, RestoredFile, Restoring, Subtree,
    Surveying,
};

use crate::generation::{CARRIER, NAME};
use crate::{COMPONENT, Device, Devices};

/// The owner of the subtree.
pub(crate) const OWNER: Owner = Owner::new(&COMPONENT, survey);

fn survey(
    surveying: &mut Surveying<'_, '_>,
    subtree: &Subtree,
) -> Result<Box<dyn Contents>, Damage> {
    Ok(Box::new(Devices::read(surveying.reading, subtree)?))
}

impl Contents for Devices {
    fn add_to(&self, manifest: &mut Manifest) {
        let place = Place::new(self.subtree.addr.get(), "PCI device table, compatible");
        manifest.add(Carrier::Owned(CARRIER), self.compatible(), place);
    }

    fn facts(&self) -> (&'static str, Fact) {
        let fact = |device: &Device| {
            Fact::map([
                ("address", device.to_string().into()),
                ("vendor", device.vendor.into()),
                ("device", device.device.into()),
                ("config", device.config.map(|config| config.to.get()).into()),
            ])
        };
        let devices = self.table.as_ref().map_or(Fact::Null, |(_, devices)| {
            devices.iter().map(fact).collect()
        });
        let compatible = self.compatible().into();
        (
            NAME,
            Fact::map([("compatible", compatible), ("devices", devices)]),
        )
    }

    fn tree(&self, limit: usize) -> Branch {
        let Some((_, devices)) = &self.table else {
            return Branch::new("PCI devices  ").warning(format!("{}, lost", self.compatible()));
        };
        let devices_text = count(devices.len() as u64, "device");
        let mut branch =
            Branch::new(format!("PCI devices  {devices_text}  ")).dim(self.compatible());
        branch.list(devices, limit, "device", |device| {
            let line = Branch::default().strong(device.to_string());
            let line = line.plain(format!("  {:04x}:{:04x}", device.vendor, device.device));
            match device.config {
                Some(config) => line.dim(format!("  configuration at {}", config.to)),
                None => line,
            }
        });
        branch
    }

    fn restore<'m>(&self, restoring: &mut Restoring<'_, 'm>) -> Result<Files<'m>, RestoreError> {
        // Lost: there is nothing to restore.
        let Some((version, devices)) = &self.table else {
            return Ok(Files::new());
        };
        restoring.require(NAME, *version)?;
        let table = Restored::subtree(restoring, &self.subtree)?;
        let mut files: Files<'m> = vec![("devices".to_owned(), Box::new(table))];
        for device in devices {
            if let Some(config) = device.config {
                let page = Restored::pages(restoring, config, 1)?;
                let page: Box<dyn RestoredFile + 'm> = Box::new(page);
                files.push((format!("{device}.config"), page));
            }
        }
        Ok(files)
    }
}
