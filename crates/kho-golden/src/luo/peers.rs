//! Components beside LUO, for golden vectors: by LUO's own history alone, not that of those which are linked.

use kho_compat::{Carrier, Component, Generation, Registry, RegistryError};

use crate::peers::{BLOCK, KHO};

static LUO: Component = kho_luo::COMPONENT;
static ALPHA: Component = Component::new("alpha", &[Generation::new(3).needs(&[("part", 2)])])
    .carried_in(Carrier::FileHandler);
static BETA: Component =
    Component::new("beta", &[Generation::new(12)]).carried_in(Carrier::FileHandler);
static PART: Component = Component::new("part", &[Generation::new(2)]);

/// What restores the files of golden vectors.
pub(crate) fn registry() -> Result<Registry, RegistryError> {
    Registry::new([&LUO, *KHO, *BLOCK, &ALPHA, &BETA, &PART])
}

/// The version that the handler of `kind` writes.
pub(crate) fn version_of(kind: &str) -> &'static [u32] {
    match kind {
        "alpha" => &[3],
        "beta" => &[12],
        _ => &[1],
    }
}
