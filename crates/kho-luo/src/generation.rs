//! The component and its generations.

use crate::v5::{FileSer, FlbHeaderSer, FlbSer, LuoSer, LuoSerTail, SUBTREE, SessionSer, VERSION};
use kho_compat::{AbiLayout, Carrier, Component, Features, Generation, constant};

/// The name in `luo-v5`.
pub const NAME: &str = "luo";

/// Feature bits of LUO: FLBs (bit 1, which a reader without any may ignore), sessions and files without
/// limit in linked blocks (bit 2). Bit 0 is what every component has.
pub const FEATURES: Features = Features::of(0b111, 0b101);

/// `luo-v5`.
const GENERATION: Generation = Generation::new(VERSION)
    .since("Linux 7.2")
    .needs(&[(kho_block::NAME, 1)])
    .layouts(&[
        LuoSer::layout,
        LuoSerTail::layout,
        SessionSer::layout,
        FileSer::layout,
        FlbHeaderSer::layout,
        FlbSer::layout,
    ])
    .constants(&[constant!(SUBTREE)]);

/// LUO as a component.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("live update orchestrator: sessions, files, FLBs")
    .of_crate(env!("CARGO_PKG_NAME"))
    .carried_in(Carrier::Luo)
    .features(FEATURES)
    .subtree(SUBTREE);

kho_compat::submit! { COMPONENT }
