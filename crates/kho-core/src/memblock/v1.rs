//! What lies in memory: the memblock FDT and its regions, version 1.

/// The number in `memblock-v1`.
pub const MEMBLOCK_VERSION: u32 = 1;

/// The number in `reserve-mem-v1`.
pub const REGION_VERSION: u32 = 1;

/// The subtree of the memblock FDT.
pub const MEMBLOCK_SUBTREE: &str = "memblock";

/// Property of a region's node: its physical address.
pub const PROP_START: &str = "start";

/// Property of a region's node: its bytes.
pub const PROP_SIZE: &str = "size";
