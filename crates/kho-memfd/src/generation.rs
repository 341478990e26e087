//! The component and its generations.

use crate::v2::{FolioSer, MemfdSer, PFN_BITS, VERSION};
use kho_compat::{AbiLayout, Carrier, Component, Features, Generation, constant};
use kho_luo::v5::COMPAT_LEN;

/// The name in `memfd-v2`.
pub const NAME: &str = "memfd";

/// Feature bits of memfds: seals (bit 1, since memfd-v2). Bit 0 is what every component has.
pub const FEATURES: Features = Features::of(0b11, 0b11);

/// `memfd-v2`.
const GENERATION: Generation = Generation::new(VERSION)
    .since("Linux 7.1")
    .needs(&[(kho_vmalloc::NAME, 1)])
    .layouts(&[MemfdSer::layout, FolioSer::layout])
    .constants(&[constant!(PFN_BITS)]);

/// The memfd handler as a component.
pub const COMPONENT: Component = Component::new(
    NAME,
    &[
        GENERATION,
        #[cfg(feature = "experimental-v3")]
        crate::v3::GENERATION,
    ],
)
.summary("file handler of memfds")
.of_crate(env!("CARGO_PKG_NAME"))
.carried_in(Carrier::FileHandler)
.features(FEATURES)
.field(COMPAT_LEN);

kho_compat::submit! { COMPONENT }
