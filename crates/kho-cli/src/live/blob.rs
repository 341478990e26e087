//! The blobs of subtrees, as debugfs shows them: memory of the predecessor's, trusted by nobody.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use kho_compat::Compat;
use kho_core::abi::{
    KexecMetadata, MEMBLOCK_SUBTREE, METADATA_SUBTREE, METADATA_VERSION, PROP_COMPATIBLE,
    PROP_SIZE, PROP_START,
};
use kho_luo::abi::LuoSerTail;
use kho_mem::{Damage, Defect, PAGE_SIZE, PhysAddr, is_printable};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::system::{self, BASE};

/// The most bytes that a blob is read of. Linux shows a page of each at most.
pub(super) const BLOB_MAX: u64 = 16 * PAGE_SIZE as u64;

/// What a blob holds.
#[derive(Debug)]
pub(super) enum Blob {
    Luo(Header),
    Metadata {
        version: u32,
        /// Of version 1: the release of the kernel before, and the count of kexecs.
        said: Option<(String, u32)>,
    },
    Memblock {
        compatible: String,
        regions: Vec<Region>,
    },
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
    pub(super) tail: Option<Tail>,
}

#[derive(Debug)]
pub(super) struct Tail {
    pub(super) liveupdate_num: u64,
    pub(super) sessions: PhysAddr,
    pub(super) flbs: PhysAddr,
}

/// A region that `reserve_mem=` set aside.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) name: String,
    pub(super) compatible: Option<String>,
    pub(super) start: Option<u64>,
    pub(super) size: Option<u64>,
}

fn at(offset: usize) -> PhysAddr {
    PhysAddr::new(BASE.get().saturating_add(offset as u64))
}

fn bytes(len: usize) -> String {
    crate::human::count(len as u64, "byte")
}

/// Reads the blob of the subtree `name`.
pub(super) fn read(name: &str, blob: &[u8]) -> Result<Blob, Damage> {
    match name {
        kho_luo::abi::SUBTREE => luo(blob).map(Blob::Luo).map_err(|d| d.within("LUO")),
        METADATA_SUBTREE => metadata(blob).map_err(|d| d.within("kexec metadata")),
        MEMBLOCK_SUBTREE => memblock(blob),
        _ => Ok(match tree(blob) {
            Ok(compatible) => Blob::Tree { compatible },
            Err(_) => Blob::Unknown,
        }),
    }
}

/// The compat string of a device tree that is sound.
fn tree(blob: &[u8]) -> Result<String, Damage> {
    let tree = system::whole_fdt(blob)?;
    Ok(tree.compatible().to_owned())
}

fn luo(blob: &[u8]) -> Result<Header, Damage> {
    let tail_len = size_of::<LuoSerTail>();
    // The shortest string has a letter and "-v0", and fills 8 bytes.
    let (least, most) = (tail_len + 8, PAGE_SIZE);
    if !(least..=most).contains(&blob.len()) {
        return Err(Damage::new(Defect::BadSize, "blob", BASE)
            .found(bytes(blob.len()))
            .expected(format!("{least} to {most} bytes")));
    }
    let field = blob.get(..blob.len() - tail_len).unwrap_or_default();
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let parsed = str::from_utf8(text).ok().and_then(|text| {
        let compat = Compat::parse(text).ok()?;
        Some((text, compat))
    });
    let Some((text, compat)) = parsed.filter(|(text, _)| text.len() < field.len()) else {
        return Err(Damage::new(Defect::BadText, "compatible", BASE)
            .found(format!("\"{}\"", field.escape_ascii()))
            .expected("a compat string and a NUL"));
    };
    let base = compat.base();
    let ours = (kho_luo::abi::NAME, kho_luo::abi::VERSION);
    let mut header = Header {
        compatible: text.to_owned(),
        tail: None,
    };
    // What lies behind the string is another version's: not ours to interpret.
    if (base.name(), base.version()) != ours {
        return Ok(header);
    }
    let field_len = Compat::field_len_of(text.len());
    if field_len != field.len() {
        return Err(Damage::new(Defect::BadSize, "blob", BASE)
            .found(bytes(blob.len()))
            .expected(format!("{} bytes for `{text}`", field_len + tail_len)));
    }
    let Ok((tail, _)) = LuoSerTail::read_from_prefix(blob.get(field_len..).unwrap_or_default())
    else {
        return Err(Damage::new(Defect::Truncated, "header", at(field_len)));
    };
    header.tail = Some(Tail {
        liveupdate_num: tail.liveupdate_num.get(),
        sessions: PhysAddr::new(tail.sessions_pa.get()),
        flbs: PhysAddr::new(tail.flbs_pa.get()),
    });
    Ok(header)
}

fn metadata(blob: &[u8]) -> Result<Blob, Damage> {
    let expected = size_of::<KexecMetadata>();
    let bad_size = || {
        Damage::new(Defect::BadSize, "blob", BASE)
            .found(bytes(blob.len()))
            .expected(bytes(expected))
    };
    let (version, _) = U32::read_from_prefix(blob).map_err(|_| bad_size())?;
    if version.get() != METADATA_VERSION {
        return Ok(Blob::Metadata {
            version: version.get(),
            said: None,
        });
    }
    let data = KexecMetadata::read_from_bytes(blob).map_err(|_| bad_size())?;
    let field = &data.previous_release;
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let release = str::from_utf8(text)
        .ok()
        .filter(|text| is_printable(text) && !text.is_empty() && text.len() < field.len());
    let Some(release) = release else {
        let place = at(core::mem::offset_of!(KexecMetadata, previous_release));
        return Err(Damage::new(Defect::BadText, "previous_release", place)
            .found(format!("\"{}\"", text.escape_ascii()))
            .expected("a kernel's release and a NUL"));
    };
    Ok(Blob::Metadata {
        version: METADATA_VERSION,
        said: Some((release.to_owned(), data.kexec_count.get())),
    })
}

fn memblock(blob: &[u8]) -> Result<Blob, Damage> {
    // Read as any device tree with a compat string: this one is the memblock's.
    let compatible = tree(blob).map_err(|damage| damage.renamed("memblock FDT"))?;
    // Header, structure and names were checked just now: the accessors rely on nothing else.
    let tree = Fdt::new_unchecked(blob);
    let root = tree.root();
    let regions = root.children().map(|node| Region {
        name: node.name().to_owned(),
        compatible: value(&node, PROP_COMPATIBLE).and_then(|value| {
            let text = str::from_utf8(value.strip_suffix(b"\0")?).ok()?;
            is_printable(text).then(|| text.to_owned())
        }),
        start: number(&node, PROP_START),
        size: number(&node, PROP_SIZE),
    });
    let regions = regions.collect();
    Ok(Blob::Memblock {
        compatible,
        regions,
    })
}

fn value(node: &FdtNode<'_>, name: &str) -> Option<Vec<u8>> {
    let mut properties = node.properties();
    let found = properties.find(|property| property.name() == name)?;
    Some(found.value().to_vec())
}

fn number(node: &FdtNode<'_>, name: &str) -> Option<u64> {
    let value = value(node, name)?;
    Some(u64::from_le_bytes(value.as_slice().try_into().ok()?))
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
        assert_eq!((tail.liveupdate_num, tail.flbs.get()), (2, 0x1000));
        let composite = header(&luo_of(b"luo-v5;block-v1\0", [7, 0, 0])).unwrap();
        assert_eq!(composite.tail.unwrap().liveupdate_num, 7);
        // Of another version the string alone is read, however long the rest is.
        let other = header(&luo_of(b"luo-v6\0\0", [1, 2, 3])).unwrap();
        assert!(other.compatible == "luo-v6" && other.tail.is_none());
    }

    #[test]
    fn what_is_no_header_is_told() {
        for (blob, said) in [
            (vec![], "LUO: blob has an impossible size"),
            (vec![0; 31], "LUO: blob has an impossible size"),
            (vec![b'a'; 5000], "LUO: blob has an impossible size"),
            (vec![0; 32], "LUO: compatible is not valid text"),
            (vec![0xff; 32], "LUO: compatible is not valid text"),
            // No NUL in the field.
            (
                luo_of(b"luo-v555", [0; 3]),
                "LUO: compatible is not valid text",
            ),
            (
                luo_of(b"luo-v5\0\0\0\0\0\0\0\0\0\0", [0; 3]),
                "LUO: blob has an impossible size",
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
        let Blob::Metadata { version: 1, said } = read_it(&blob).unwrap() else {
            panic!()
        };
        assert_eq!(said, Some(("7.3.4".to_owned(), 3)));
        assert!(read_it(&blob[..72]).is_err() && read_it(&[1]).is_err());
        blob[4..69].fill(b'x');
        assert!(read_it(&blob).is_err());
        blob[0] = 2;
        let other = read_it(&blob[..5]).unwrap();
        assert!(matches!(
            other,
            Blob::Metadata {
                version: 2,
                said: None
            }
        ));
    }

    #[test]
    fn other_blobs_are_device_trees_or_anything() {
        assert!(matches!(read("mine", b"?").unwrap(), Blob::Unknown));
        let damage = read(MEMBLOCK_SUBTREE, &[0; 64]).unwrap_err();
        assert!(damage.headline().starts_with("memblock FDT"), "{damage}");
    }
}
