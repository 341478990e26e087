//! Components beside LUO, for golden vectors: by LUO's own history alone, not that of those which are linked.

use kho_compat::{Carrier, Component, Registry, RegistryError};

static LUO: Component = kho_luo::abi::COMPONENT;
static KHO: Component = kho_core::abi::COMPONENT.needs(&[]);
static BLOCK: Component = Component::new(kho_block::abi::NAME, 1, "^1");
static ALPHA: Component = Component::new("alpha", 3, "^3")
    .carried_in(Carrier::FileHandler)
    .needs(&["part"]);
static BETA: Component = Component::new("beta", 12, "^12").carried_in(Carrier::FileHandler);
static PART: Component = Component::new("part", 2, "^2");

/// What restores the files of golden vectors.
pub(crate) fn registry() -> Result<Registry, RegistryError> {
    Registry::new([&LUO, &KHO, &BLOCK, &ALPHA, &BETA, &PART])
}
