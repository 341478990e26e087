//! What lies in memory: the table of devices, version 2. The header is that of version 1.

use kho_compat::AbiLayout;
use kho_mem::{Damage, Located};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Device;

/// A device.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
pub struct DeviceSer {
    /// Its segment: the host bridge.
    pub segment: U32,
    /// Bus, device and function, as `lspci` counts them.
    pub bdf: U32,
    /// Its vendor.
    pub vendor: U16,
    /// What the vendor calls it.
    pub device: U16,
    /// Zero.
    pub reserved: U32,
    /// The physical address of a page with its configuration space; zero where there is none.
    pub config: U64,
}

const _: () = assert!(size_of::<DeviceSer>() == 24);

/// The device in `ser`.
///
/// # Errors
///
/// The bus number has more than 8 bits.
pub fn decode(ser: &Located<DeviceSer>) -> Result<Device, Damage> {
    crate::read::bdf(ser.bdf.get(), ser.addr_of(|ser| &ser.bdf))?;
    let config = ser.link(|ser| &ser.config, "configuration space");
    Ok(Device {
        segment: ser.segment.get(),
        bdf: ser.bdf.get(),
        vendor: ser.vendor.get(),
        device: ser.device.get(),
        config: (!config.is_null()).then_some(config),
    })
}
