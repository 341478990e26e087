//! Finding handovers wherever they lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use kho_image::{FindError, scan};
use kho_mem::{PhysAddr, PhysMem, SliceMem};
use kho_testkit::Builder;

/// The page of a root FDT, and a setup_data node that names it at `fdt`.
fn parts(fdt: u64) -> (Vec<u8>, Vec<u8>) {
    let built = Builder::new().finish();
    let page = built.mem.read(built.fdt, 4096);
    let mut node = Vec::new();
    for value in [0, 10 | 32 << 32, fdt, 4096, 0x4000, 32] {
        node.extend(u64::to_le_bytes(value));
    }
    (page, node)
}

fn found(mem: &dyn PhysMem) -> (Vec<u64>, Vec<u64>) {
    let found = scan(mem, &mut |_, _| true);
    let roots = found.roots.iter().map(|root| root.addr.get()).collect();
    (
        roots,
        found.setup.iter().map(|node| node.addr.get()).collect(),
    )
}

const STEP: usize = 4 << 20;

#[test]
fn a_root_is_found_once_wherever_it_lies() {
    // At the start, at both sides of the boundary of what is looked at in one go, at the end.
    for offset in [0, STEP - 4096, STEP, 2 * STEP - 4096] {
        let mut bytes = vec![0; 2 * STEP];
        bytes[offset..offset + 4096].copy_from_slice(&parts(0).0);
        for base in [0x40_0000, 0x1000_0000, u64::MAX - 2 * STEP as u64 + 1] {
            let mem = SliceMem::new(PhysAddr::new(base), &bytes);
            assert_eq!(
                found(&mem).0,
                [base + offset as u64],
                "{offset:#x} from {base:#x}"
            );
        }
    }
}

#[test]
fn a_node_is_found_once_wherever_it_lies() {
    let base = 0x1000_0000;
    let (page, node) = parts(base + 0x8000);
    // The node's type and length, which are looked for, stand 8 bytes behind its start.
    for offset in [
        0x108,
        0x1001,
        STEP - 20,
        STEP - 16,
        STEP - 12,
        STEP - 9,
        STEP - 8,
        STEP - 4,
        STEP,
        2 * STEP - 48,
    ] {
        let mut bytes = vec![0; 2 * STEP];
        bytes[0x8000..0x9000].copy_from_slice(&page);
        bytes[offset..offset + 48].copy_from_slice(&node);
        let mem = SliceMem::new(PhysAddr::new(base), &bytes);
        assert_eq!(found(&mem).1, [base + offset as u64], "{offset:#x}");
        let entry = scan(&mem, &mut |_, _| true).entry().unwrap();
        assert_eq!(entry.scratch, Some((PhysAddr::new(0x4000), 32)));
    }
}

#[test]
fn memory_that_begins_inside_a_page_is_looked_at_by_pages() {
    let mut bytes = vec![0xff; 3 * 4096];
    bytes[4096 - 8..2 * 4096 - 8].copy_from_slice(&parts(0).0);
    let mem = SliceMem::new(PhysAddr::new(0x1_0008), &bytes);
    assert_eq!(found(&mem).0, [0x1_1000]);
}

#[test]
fn copies_of_a_node_count_once_and_contradictions_are_told() {
    let base = 0x1000_0000;
    let (page, node) = parts(base);
    let mut bytes = vec![0; 0x10_0000];
    bytes[..4096].copy_from_slice(&page);
    for offset in [0x2000, 0x3070, 0x5108] {
        bytes[offset..offset + 48].copy_from_slice(&node);
    }
    let entry =
        |bytes: &[u8]| scan(&SliceMem::new(PhysAddr::new(base), bytes), &mut |_, _| true).entry();
    assert_eq!(
        entry(&bytes).unwrap().scratch,
        Some((PhysAddr::new(0x4000), 32))
    );
    bytes[0x3070 + 32] ^= 1;
    assert!(
        matches!(entry(&bytes), Err(FindError::SeveralScratch { nodes, .. }) if nodes.len() == 2)
    );
    // A second root is not chosen from.
    bytes[0x8000..0x9000].copy_from_slice(&page);
    assert!(matches!(entry(&bytes), Err(FindError::Several(roots)) if roots.len() == 2));
}

#[test]
fn a_scan_can_be_stopped() {
    let bytes = vec![0; 3 * STEP];
    let mem = SliceMem::new(PhysAddr::NULL, &bytes);
    assert!(scan(&mem, &mut |done, total| done < total.unwrap() / 2).stopped);
    assert!(!scan(&mem, &mut |_, _| true).stopped);
}
