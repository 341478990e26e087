//! The scratch table: memory that the next kernel may use before it has read the tracker.

use alloc::format;
use alloc::vec::Vec;

use kho_mem::{
    Arena, Damage, Defect, Folio, Located, Order, OutOfMemory, PAGE_SIZE, PhysAddr, PhysMem,
    PhysMemExt, PhysRange, put,
};
use kho_radix::Preserved;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::KhoError;
use crate::v4::{SCRATCH_ALIGN, ScratchEntry};

/// More areas than any machine has: low memory, global, and one per NUMA node, of which Linux
/// numbers at most 1024.
pub(crate) const MAX_AREAS: u64 = 2 + 1024;

/// One past the largest physical address of any machine with 4 KiB pages: x86-64 and arm64 have 52
/// bits at most.
pub(crate) const PHYS_LIMIT: u128 = 1 << 52;

/// The scratch areas: aligned, inside the address space, not overlapping each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScratchTable {
    at: PhysAddr,
    areas: Vec<PhysRange>,
}

impl ScratchTable {
    /// Reads the table of `size` bytes at `at`.
    ///
    /// # Errors
    ///
    /// The size is no multiple of an entry's, the table lies outside memory, an area is not
    /// aligned to 4 MiB, leaves the address space, or overlaps another.
    pub fn read(mem: &dyn PhysMem, at: PhysAddr, size: u64) -> Result<Self, Damage> {
        read(mem, at, size).map_err(|damage| damage.within("scratch table"))
    }

    /// Decodes the table that `bytes`, which lie at `at`, are.
    ///
    /// # Errors
    ///
    /// As [`ScratchTable::read`].
    pub fn decode(bytes: &[u8], at: PhysAddr) -> Result<Self, Damage> {
        check_size(bytes.len() as u64, at)
            .and_then(|()| decode(bytes, at))
            .map_err(|damage| damage.within("scratch table"))
    }

    /// Where the table lies.
    #[must_use]
    pub const fn at(&self) -> PhysAddr {
        self.at
    }

    /// The areas in the table's order: low memory, global, then one per NUMA node. An area may
    /// be empty.
    #[must_use]
    pub fn areas(&self) -> &[PhysRange] {
        &self.areas
    }

    /// Checks that nothing preserved, no node of the tracker, and not the root FDT at `root`, lies
    /// in a scratch area: the next kernel would overwrite it. (The table itself may.)
    ///
    /// # Errors
    ///
    /// Something does.
    pub fn check_clear_of(&self, preserved: &Preserved, root: PhysAddr) -> Result<(), Damage> {
        for (index, area) in self.areas.iter().enumerate() {
            let at = Located::<ScratchEntry>::place_of(self.at, index as u64);
            let damage = |found| {
                Damage::new(Defect::Overlap, format!("area {index}"), at)
                    .found(format!("{area} over {found}"))
                    .expected("an area clear of preserved memory")
                    .within("scratch table")
            };
            if let Some(folio) = preserved.overlap(*area) {
                return Err(damage(format!("the preserved range {}", folio.run())));
            }
            if area.contains(root) {
                return Err(damage(format!("the root FDT at {root}")));
            }
            let nodes = preserved.nodes();
            let first = nodes.partition_point(|node| *node < area.start());
            if let Some(node) = nodes.get(first).filter(|node| area.contains(**node)) {
                return Err(damage(format!("the tracker's node at {node}")));
            }
        }
        Ok(())
    }
}

fn check_size(size: u64, at: PhysAddr) -> Result<(), Damage> {
    let entry = size_of::<ScratchEntry>() as u64;
    if size == 0 || !size.is_multiple_of(entry) || size > MAX_AREAS * entry {
        return Err(Damage::new(Defect::BadSize, "size", at)
            .found(format!("{size} bytes"))
            .expected(format!("a multiple of {entry} up to {}", MAX_AREAS * entry)));
    }
    Ok(())
}

fn read(mem: &dyn PhysMem, at: PhysAddr, size: u64) -> Result<ScratchTable, Damage> {
    check_size(size, at)?;
    if at.is_null() {
        return Err(Damage::new(Defect::Null, "address", at));
    }
    // Bounded by MAX_AREAS just above.
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    let bytes = mem
        .bytes(at, len)
        .map_err(|error| error.damage("table", at))?;
    decode(&bytes, at)
}

fn decode(bytes: &[u8], at: PhysAddr) -> Result<ScratchTable, Damage> {
    let mut areas: Vec<PhysRange> = Vec::new();
    for (index, entry) in Located::<ScratchEntry>::all(bytes, at).enumerate() {
        let (addr, size) = (entry.addr.get(), entry.size.get());
        let damage = |defect| Damage::new(defect, format!("area {index}"), entry.at());
        if !addr.is_multiple_of(SCRATCH_ALIGN) || !size.is_multiple_of(SCRATCH_ALIGN) {
            return Err(damage(Defect::Unaligned)
                .found(format!("{size:#x} bytes at {addr:#x}"))
                .expected(format!("address and size aligned to {SCRATCH_ALIGN:#x}")));
        }
        let Some(area) = PhysRange::new(PhysAddr::new(addr), size) else {
            return Err(damage(Defect::Wraps).found(format!("{size:#x} bytes at {addr:#x}")));
        };
        if area.end() > PHYS_LIMIT {
            return Err(damage(Defect::OutsideMemory)
                .found(area)
                .expected("addresses of at most 52 bits, as many as there are"));
        }
        if let Some(other) = areas.iter().position(|other| other.overlaps(&area)) {
            return Err(damage(Defect::Overlap)
                .found(format!("{area}, which shares memory with area {other}"))
                .expected("areas that do not overlap"));
        }
        areas.push(area);
    }
    if areas.iter().all(PhysRange::is_empty) {
        return Err(Damage::new(Defect::Empty, "table", at)
            .found("areas of size 0 only")
            .expected("memory for the next kernel"));
    }
    Ok(ScratchTable { at, areas })
}

/// Writes the table of `areas`, and says how many bytes it has; nothing for no areas.
pub(crate) fn write(arena: &Arena, areas: &[PhysRange]) -> Result<Option<(Folio, u64)>, KhoError> {
    if areas.is_empty() {
        return Ok(None);
    }
    for (index, area) in areas.iter().enumerate() {
        let aligned = (area.start().get() | area.len()).is_multiple_of(SCRATCH_ALIGN);
        let apart = areas.iter().take(index).all(|other| !other.overlaps(area));
        if !aligned || !apart || area.end() > PHYS_LIMIT || index as u64 >= MAX_AREAS {
            return Err(KhoError::BadScratch(*area));
        }
    }
    let entry = |area: &PhysRange| ScratchEntry {
        addr: U64::new(area.start().get()),
        size: U64::new(area.len()),
    };
    let entries: Vec<_> = areas.iter().map(entry).collect();
    let bytes = entries.as_bytes();
    let pages = bytes.len().div_ceil(PAGE_SIZE).next_power_of_two();
    let order = u8::try_from(pages.ilog2()).ok().and_then(Order::new);
    let pages = pages as u64;
    let mut table = arena.alloc_zeroed(order.ok_or(OutOfMemory { pages })?)?;
    put(&mut table, 0, bytes, "bytes of the scratch table")?;
    Ok(Some((table, bytes.len() as u64)))
}
