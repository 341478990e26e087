//! What lies in memory: the table of devices, version 1.

use kho_compat::AbiLayout;
use kho_mem::{Damage, Located};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Device;

/// Bytes of the string's field.
pub const COMPATIBLE_LEN: usize = 16;

/// What the subtree begins with, in every version.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
pub struct Header {
    /// `pci-v1`, NUL-terminated.
    pub compatible: [u8; COMPATIBLE_LEN],
    /// Devices in the table.
    pub count: U32,
    /// Zero.
    pub reserved: U32,
}

/// A device.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
pub struct DeviceSer {
    /// Bus, device and function, as `lspci` counts them.
    pub bdf: U32,
    /// Its vendor.
    pub vendor: U16,
    /// What the vendor calls it.
    pub device: U16,
}

const _: () = assert!(size_of::<Header>() == 24 && size_of::<DeviceSer>() == 8);

/// The device in `ser`.
///
/// # Errors
///
/// The bus number has more than 8 bits.
pub fn decode(ser: &Located<DeviceSer>) -> Result<Device, Damage> {
    crate::read::bdf(ser.bdf.get(), ser.addr_of(|ser| &ser.bdf))?;
    Ok(Device {
        segment: 0,
        bdf: ser.bdf.get(),
        vendor: ser.vendor.get(),
        device: ser.device.get(),
        config: None,
    })
}
