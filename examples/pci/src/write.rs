//! Writing the table of devices, version 2.

use kho_compat::Strings;
use kho_core::{Kho, KhoError};
use kho_mem::PAGE_SIZE;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::generation::NAME;
use crate::v1::{COMPATIBLE_LEN, Header};
use crate::v2::DeviceSer;

/// A device that is handed over.
#[derive(Clone, Copy, Debug)]
pub struct NewDevice<'d> {
    /// Its segment.
    pub segment: u32,
    /// Bus, device and function.
    pub bdf: u32,
    /// Its vendor.
    pub vendor: u16,
    /// What the vendor calls it.
    pub device: u16,
    /// Its configuration space, a page at most.
    pub config: &'d [u8],
}

/// Hands `devices` over in `kho`.
///
/// # Errors
///
/// No memory is left, or the root FDT is full. What was preserved before is not any more.
pub fn hand_over(kho: &Kho, devices: &[NewDevice<'_>]) -> Result<(), KhoError> {
    let (mut configs, mut table) = (Vec::new(), Vec::new());
    for device in devices {
        let mut page = kho.preserver().alloc_preserve(PAGE_SIZE)?;
        let len = device.config.len().min(page.len());
        page[..len].copy_from_slice(&device.config[..len]);
        table.push(DeviceSer {
            segment: U32::new(device.segment),
            bdf: U32::new(device.bdf),
            vendor: U16::new(device.vendor),
            device: U16::new(device.device),
            reserved: U32::ZERO,
            config: U64::new(page.addr().get()),
        });
        configs.push(page);
    }
    let string = kho.side().compat(NAME, Strings::Plain)?.to_string();
    let mut compatible = [0; COMPATIBLE_LEN];
    // `pci-v2` and its NUL.
    compatible[..string.len()].copy_from_slice(string.as_bytes());
    let header = Header {
        compatible,
        count: U32::new(u32::try_from(devices.len()).unwrap_or(u32::MAX)),
        reserved: U32::ZERO,
    };
    let bytes = [header.as_bytes(), table.as_bytes()].concat();
    let mut blob = kho.preserver().alloc_preserve(bytes.len())?;
    blob[..bytes.len()].copy_from_slice(&bytes);
    kho.add_subtree(NAME, blob, bytes.len() as u64)
        .map_err(|failed| failed.error)?;
    for page in configs {
        page.hand_over();
    }
    Ok(())
}
