//! The component and its generations.

use kho_compat::{AbiLayout, Component, Generation, Owned};

use crate::{v1, v2};

/// The name in `pci-v2`, and of the subtree.
pub(crate) const NAME: &str = "pci";

/// What carries its string: the field that its subtree begins with.
pub(crate) const CARRIER: Owned = Owned::new(NAME, "PCI device table").in_subtree(NAME);

/// The first format, read and not written any more.
const V1: Generation = Generation::new(1)
    .since("pci-example 0.0.1")
    .read_only()
    .layouts(&[v1::Header::layout, v1::DeviceSer::layout]);

/// With segments, and the configuration space of each device.
const V2: Generation = Generation::new(2)
    .since("pci-example 0.1.0")
    .layouts(&[v1::Header::layout, v2::DeviceSer::layout]);

/// The devices as a component. A guest can do without them: they are probed anew.
pub const COMPONENT: Component = Component::new(NAME, &[V1, V2])
    .summary("PCI devices kept over a live update")
    .of_crate(env!("CARGO_PKG_NAME"))
    .owned(CARRIER)
    .optional();

kho_compat::submit! { COMPONENT }
kho_compat::submit! { crate::owner::OWNER }
