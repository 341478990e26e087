//! The blobs of subtrees, as debugfs shows them: memory of the predecessor's, trusted by nobody.

use kho_compat::Compat;
use kho_core::memblock::v1::MEMBLOCK_SUBTREE;
use kho_core::metadata::v1::METADATA_SUBTREE;
use kho_core::{MemblockFdt, Metadata};
use kho_luo::v5::LuoSerTail;
use kho_mem::{Damage, Defect, Located, PAGE_SIZE};

use super::system::{self, BASE};

/// The most bytes that a blob is read of. Linux shows a page of each at most.
pub(super) const BLOB_MAX: u64 = 16 * PAGE_SIZE as u64;

/// What a blob holds.
#[derive(Debug)]
pub(super) enum Blob {
    Luo(Header),
    Metadata(Metadata),
    Memblock(MemblockFdt),
    /// A device tree of somebody unknown here.
    Tree {
        compatible: String,
    },
    /// Anything else.
    Unknown,
}

/// LUO's header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) compatible: String,
    /// What follows the string, where it is of the version that is read here.
    pub(super) tail: Option<Located<LuoSerTail>>,
}

/// Reads the blob of the subtree `name`.
pub(super) fn read(name: &str, blob: &[u8]) -> Result<Blob, Damage> {
    Ok(match name {
        kho_luo::v5::SUBTREE => Blob::Luo(luo(blob).map_err(|d| d.within("LUO"))?),
        METADATA_SUBTREE => {
            let metadata = Metadata::decode(blob, BASE);
            Blob::Metadata(metadata.map_err(|d| d.within("kexec metadata"))?)
        }
        MEMBLOCK_SUBTREE => Blob::Memblock(MemblockFdt::decode(&system::page(blob), BASE)?),
        _ => match system::whole_fdt(blob) {
            Ok(tree) => Blob::Tree {
                compatible: tree.compatible().to_owned(),
            },
            Err(_) => Blob::Unknown,
        },
    })
}

fn luo(blob: &[u8]) -> Result<Header, Damage> {
    let header = kho_luo::Header::decode(blob, BASE)?;
    let compatible = header.compatible();
    // Memory that was taken over holds anything by now, other text included.
    let compat = Compat::parse(compatible).map_err(|error| {
        Damage::new(Defect::BadText, "compatible", BASE)
            .found(format!("\"{compatible}\""))
            .expected(format!("a compat string: {error}"))
    })?;
    let base = (compat.base().name(), compat.base().version());
    let is_ours = base == (kho_luo::NAME, kho_luo::v5::VERSION);
    Ok(Header {
        compatible: compatible.to_owned(),
        // What follows the string belongs to another version.
        tail: is_ours.then(|| header.tail()).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luo_of(text: &[u8], numbers: [u64; 3]) -> Vec<u8> {
        let mut blob = text.to_vec();
        for number in numbers {
            blob.extend_from_slice(&number.to_le_bytes());
        }
        blob
    }

    fn header(blob: &[u8]) -> Result<Header, Damage> {
        match read("LUO", blob)? {
            Blob::Luo(header) => Ok(header),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_header_of_each_dialect() {
        let plain = header(&luo_of(b"luo-v5\0\0", [2, 0, 0x1000])).unwrap();
        let tail = plain.tail.unwrap();
        assert_eq!(plain.compatible, "luo-v5");
        assert_eq!((tail.liveupdate_num.get(), tail.flbs_pa.get()), (2, 0x1000));
        let composite = header(&luo_of(b"luo-v5;block-v1\0", [7, 0, 0])).unwrap();
        assert_eq!(composite.tail.unwrap().liveupdate_num.get(), 7);
        // Of another version the string alone is read, however long the rest is.
        let other = header(&luo_of(b"luo-v6\0\0", [1, 2, 3])).unwrap();
        assert!(other.compatible == "luo-v6" && other.tail.is_none());
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (blob, said) in [
            (vec![], "LUO: blob has an impossible size"),
            (vec![0; 31], "LUO: blob has an impossible size"),
            (vec![b'a'; 5000], "LUO: blob has an impossible size"),
            (vec![0; 32], "LUO: compatible is empty"),
            (vec![0xff; 32], "LUO: compatible is not terminated"),
            (
                luo_of(b"luo-v555", [0; 3]),
                "LUO: compatible is not terminated",
            ),
            (
                luo_of(b"luo\xff-v5\0", [0; 3]),
                "LUO: compatible is not valid text",
            ),
            (
                luo_of(b"luo-v5\0\0\0\0\0\0\0\0\0\0", [0; 3]),
                "LUO: blob has an impossible size",
            ),
            (
                luo_of(b"/bin/sh\0", [0; 3]),
                "LUO: compatible is not valid text",
            ),
            (
                luo_of(b"luo-v5\0\0", [0; 3]),
                "LUO: liveupdate_num has an impossible value",
            ),
        ] {
            let damage = header(&blob).unwrap_err();
            assert_eq!(damage.headline(), said, "{blob:x?}");
        }
    }

    #[test]
    fn metadata_of_known_and_unknown_versions() {
        let mut blob = vec![0; 73];
        blob[0] = 1;
        blob[4..9].copy_from_slice(b"7.3.4");
        blob[69] = 3;
        let read_it = |blob: &[u8]| read(METADATA_SUBTREE, blob);
        let Blob::Metadata(metadata) = read_it(&blob).unwrap() else {
            panic!()
        };
        assert_eq!(
            metadata,
            Metadata::V1 {
                previous_release: "7.3.4".to_owned(),
                kexec_count: 3
            }
        );
        assert!(read_it(&blob[..72]).is_err() && read_it(&[1]).is_err());
        blob[4..69].fill(b'x');
        assert!(read_it(&blob).is_err());
        blob[0] = 2;
        let other = read_it(&blob[..5]).unwrap();
        assert!(matches!(
            other,
            Blob::Metadata(Metadata::Other { version: 2 })
        ));
    }

    #[test]
    fn other_blobs_are_device_trees_or_anything() {
        assert!(matches!(read("mine", b"?").unwrap(), Blob::Unknown));
        let damage = read(MEMBLOCK_SUBTREE, &[0; 64]).unwrap_err();
        assert!(damage.headline().starts_with("memblock FDT"), "{damage}");
    }
}
