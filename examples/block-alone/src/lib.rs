//! Interrupt routes that stay configured while a program is replaced: a set of entries in linked
//! blocks, written into an arena and read back from its bytes.

use kho_block::{
    Arena, ArenaConfig, BlockSet, Damage, Link, OutgoingBlockSet, PhysAddr, PhysMem, PhysMemExt,
    Preserved, Preserver, Reading,
};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A route as it lies in memory.
#[derive(
    FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct RouteSer {
    /// Where the message goes.
    pub address: U64,
    /// What it says.
    pub data: U32,
    /// The vector number.
    pub vector: U32,
}

/// Memory as the next program finds it, and the two addresses that it has to be given.
#[derive(Debug)]
pub struct Left {
    /// The address of the first byte.
    pub base: PhysAddr,
    /// The arena's bytes.
    pub bytes: Vec<u8>,
    /// Where the tracker begins: which pages are preserved.
    pub tracker: PhysAddr,
    /// Where the set begins.
    pub routes: PhysAddr,
}

/// Writes `routes` into an arena of 4 MiB and leaves it.
///
/// # Errors
///
/// The arena is too small for them.
pub fn leave(routes: &[RouteSer]) -> Result<Left, Box<dyn std::error::Error>> {
    let (base, len) = (PhysAddr::new(0x1000_0000), 4 << 20);
    let arena = Arena::heap(&ArenaConfig::new(base, len))?;
    let preserver = Preserver::new(arena.clone())?;
    let mut set = OutgoingBlockSet::new(preserver.clone());
    set.grow(routes.len())?;
    for route in routes {
        *set.reserve_entry()? = *route;
    }
    let (tracker, routes) = (preserver.root(), set.head());
    set.hand_over();
    drop(arena);
    let arena = preserver
        .hand_over()
        .map_err(|_| "somebody still preserves memory")?;
    let memory = arena
        .into_handed()
        .map_err(|_| "somebody still has the arena")?;
    let bytes = memory.bytes(base, usize::try_from(len)?)?.into_owned();
    Ok(Left {
        base,
        bytes,
        tracker,
        routes,
    })
}

/// Reads the routes out of `memory`, which nobody vouches for.
///
/// # Errors
///
/// The tracker or the set is damaged.
pub fn find(
    memory: &dyn PhysMem,
    tracker: PhysAddr,
    routes: PhysAddr,
) -> Result<Vec<RouteSer>, Damage> {
    let mut reading = Reading::open(memory, Link::given(tracker, Preserved::ROOT))?;
    let set = BlockSet::<RouteSer>::read(&mut reading, Link::given(routes, "route set"))?;
    set.iter().map(|route| Ok(*route?)).collect()
}
