//! What lies in memory: an array of devices behind its header.

use kho_compat::{AbiLayout, Carrier, Component, Generation, constant};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The name in `pci-v1`.
pub const NAME: &str = "pci";
/// The number in `pci-v1`.
pub const VERSION: u32 = 1;
/// Devices that are kept, at most.
pub const MAX_DEVICES: u32 = 256;

/// A device.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "pci_device_ser")]
pub struct DeviceSer {
    /// Its PCI domain.
    pub domain: U32,
    /// Its bus, device and function.
    pub bdf: U16,
    /// Zero.
    pub reserved: U16,
}

const _: () = assert!(size_of::<DeviceSer>() == 8);

/// The device at `bus`:`device`.`function` of `domain`.
#[must_use]
pub fn device(domain: u32, bus: u8, device: u8, function: u8) -> DeviceSer {
    let bdf = u16::from(bus) << 8 | u16::from(device & 31) << 3 | u16::from(function & 7);
    DeviceSer {
        domain: domain.into(),
        bdf: bdf.into(),
        reserved: 0.into(),
    }
}

/// `pci-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .layouts(&[DeviceSer::layout])
    .constants(&[constant!(MAX_DEVICES)]);

/// The devices as a component.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("PCI devices that stay configured over a live update")
    .of_crate(env!("CARGO_PKG_NAME"))
    .carried_in(Carrier::Flb)
    .field(48);

kho_compat::submit! { COMPONENT }
