//! The kernel's boot parameters: how a handover is announced that no kernel announced.

use std::fs;
use std::path::Path;

use kho_core::Entry;
use kho_core::v4::{KhoData, SETUP_KHO, SETUP_KHO_LEN, SetupData};
use kho_mem::PhysAddr;
use zerocopy::IntoBytes;

use crate::failure::{Failure, of_file};

/// Where a bzImage says that it is one, and how.
const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
/// Where a bzImage has the head of the list of boot data that comes with it.
const SETUP_DATA: usize = 0x250;
/// Where it says how much memory it takes from its preferred address on, and that address.
const PREFERRED: usize = 0x258;
const INIT_SIZE: usize = 0x260;

/// A kernel image.
pub(crate) struct BzImage {
    bytes: Vec<u8>,
}

impl BzImage {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = fs::read(path).map_err(of_file(path))?;
        let (at, magic) = MAGIC;
        if bytes.get(at..at + magic.len()) != Some(magic) {
            let text = format!("{}: no bzImage", path.display());
            return Err(Failure::CanNot(text));
        }
        Ok(Self { bytes })
    }

    /// The image with a list of boot data that begins at `node`.
    pub(crate) fn with_setup_data(mut self, node: u64) -> Vec<u8> {
        if let Some(field) = self.bytes.get_mut(SETUP_DATA..SETUP_DATA + 8) {
            field.copy_from_slice(&node.to_le_bytes());
        }
        self.bytes
    }

    /// The end of the memory that it is unpacked in; it begins below.
    pub(crate) fn end(&self) -> u64 {
        let preferred = self.number::<8>(PREFERRED).map_or(0, u64::from_le_bytes);
        let size = self.number::<4>(INIT_SIZE).map_or(0, u32::from_le_bytes);
        preferred.saturating_add(u64::from(size))
    }

    fn number<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at + N)?.try_into().ok()
    }
}

/// The node of boot data that announces the handover at `entry`, last of its list.
pub(crate) fn node(entry: Entry) -> Vec<u8> {
    let (scratch, scratch_size) = entry.scratch.unwrap_or((PhysAddr::NULL, 0));
    let head = SetupData {
        next: 0.into(),
        r#type: SETUP_KHO.into(),
        len: SETUP_KHO_LEN.into(),
    };
    let data = KhoData {
        fdt_addr: entry.fdt_addr.get().into(),
        fdt_size: entry.fdt_size.into(),
        scratch_addr: scratch.get().into(),
        scratch_size: scratch_size.into(),
    };
    [head.as_bytes(), data.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_byte_by_byte() {
        let entry =
            Entry::new(PhysAddr::new(0x2000_2000)).with_scratch(PhysAddr::new(0x2000_1000), 32);
        let expected = [
            [0; 8],                         // no next one
            [10, 0, 0, 0, 32, 0, 0, 0],     // a handover; bytes that follow
            [0, 0x20, 0, 0x20, 0, 0, 0, 0], // root FDT
            [0, 0x10, 0, 0, 0, 0, 0, 0],    // a page
            [0, 0x10, 0, 0x20, 0, 0, 0, 0], // scratch table
            [32, 0, 0, 0, 0, 0, 0, 0],      // two areas
        ];
        assert_eq!(node(entry), expected.concat());
    }

    #[test]
    fn a_kernel_is_known_and_changed_in_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kernel");
        fs::write(&path, [0; 0x300]).unwrap();
        assert!(BzImage::read(&path).is_err());
        let mut bytes = vec![0u8; 0x300];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x258..0x260].copy_from_slice(&0x100_0000u64.to_le_bytes());
        bytes[0x260..0x264].copy_from_slice(&0x20_0000u32.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let image = BzImage::read(&path).unwrap();
        assert_eq!(image.end(), 0x120_0000);
        let patched = image.with_setup_data(0x1f00_0000);
        bytes[0x250..0x258].copy_from_slice(&0x1f00_0000u64.to_le_bytes());
        assert_eq!(patched, bytes);
    }
}
