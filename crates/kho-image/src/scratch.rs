//! The scratch table of a dump that was cut down to what its handover reaches.

use kho_core::v4::{SCRATCH_ALIGN, ScratchEntry};
use kho_mem::{PAGE_SIZE_U64, PhysAddr, PhysMem, PhysMemExt};
use kho_radix::Preserved;

/// Words of a table of 30 NUMA nodes.
const FEW_WORDS: usize = 64;

/// Finds the scratch table where nothing points to it, by elimination: in a dump that holds
/// nothing but what the handover reaches, it is the one page that is neither preserved, nor a
/// node of the tracker, nor the root FDT at `fdt`. Gives its address and its bytes up to the last
/// entry that is not zero.
///
/// `None` where more than one page is left over, as in a full dump, or where that page does not
/// look like a table: a few words, or words that are mostly multiples of the scratch alignment,
/// and then zeros.
#[must_use]
pub fn scratch_by_elimination(
    mem: &dyn PhysMem,
    preserved: &Preserved,
    fdt: PhysAddr,
) -> Option<(PhysAddr, u64)> {
    let mut left_over = None;
    let page_size = preserved.page_size();
    let mut next = Some(PhysAddr::NULL);
    // Pages that are accounted for although they are not preserved.
    let known = |addr: PhysAddr| addr == fdt || preserved.has_node(addr);
    while let Some(region) = next.and_then(|from| mem.region(from)) {
        if !page_size.is_aligned(region.start()) || !region.len().is_multiple_of(page_size.bytes())
        {
            return None;
        }
        let mut addr = region.start();
        while region.contains(addr) {
            // A folio at a time where memory is preserved, a page at a time where it is not: the
            // second page of the latter kind ends the search.
            let step = if let Some(folio) = preserved.lookup(addr) {
                let into = addr.pfn().get() - folio.pfn.get();
                (folio.order.pages() - into).checked_mul(PAGE_SIZE_U64)?
            } else {
                if !known(addr) && left_over.replace(addr).is_some() {
                    return None;
                }
                page_size.bytes()
            };
            let Some(after) = addr.checked_add(step) else {
                break;
            };
            addr = after;
        }
        next = u64::try_from(region.end()).ok().map(PhysAddr::new);
    }
    let addr = left_over?;
    let page = mem.page(addr).ok()?;
    let words: Vec<u64> = page
        .chunks_exact(8)
        .filter_map(|word| word.try_into().ok().map(u64::from_le_bytes))
        .collect();
    let last = words.iter().rposition(|word| *word != 0)?;
    let set = words.iter().filter(|word| **word != 0);
    let aligned = set
        .clone()
        .filter(|word| word.is_multiple_of(SCRATCH_ALIGN))
        .count();
    // A damaged table is one still: few words at the page's start, whatever they are.
    if last >= FEW_WORDS && aligned * 2 < set.count() {
        return None;
    }
    let entries = last as u64 / 2 + 1;
    tracing::debug!(%addr, entries, "scratch table found by elimination");
    Some((addr, entries * size_of::<ScratchEntry>() as u64))
}
