//! The blobs of subtrees, as debugfs shows them: memory of the predecessor's, trusted by nobody.

use kho_compat::describe::Members;
use kho_compat::{Branch, Fact};
use kho_core::{Owners, RootFdt};
use kho_mem::{Damage, PAGE_SIZE};

use super::system::BASE;

/// The most bytes that a blob is read of. Linux shows a page of each at most.
pub(super) const BLOB_MAX: u64 = 16 * PAGE_SIZE as u64;

/// What a blob holds: for programs, and for people.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) facts: Members,
    pub(super) branch: Branch,
}

/// Reads the blob of the subtree `name`, as its owner does; a device tree, or anything else, where it has
/// none.
pub(super) fn read(owners: &Owners, name: &str, blob: &[u8]) -> Result<Blob, Damage> {
    let owner = owners.of(name);
    if let Some(peeked) = owner.and_then(|owner| owner.peek(blob, BASE)) {
        return peeked.map(|(facts, branch)| Blob { facts, branch });
    }
    let fact = |name: &str, text: &str| (name.to_owned(), Fact::from(text));
    Ok(match RootFdt::decode(blob, BASE) {
        Ok(tree) => Blob {
            facts: vec![fact("kind", "tree"), fact("compatible", tree.compatible())],
            branch: Branch::new(format!("{}  ", tree.compatible())).dim("device tree"),
        },
        Err(_) => Blob {
            facts: vec![fact("kind", "unknown")],
            branch: Branch::default(),
        },
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

    fn read(name: &str, blob: &[u8]) -> Result<Fact, Damage> {
        super::read(&Owners::linked().unwrap(), name, blob).map(|blob| Fact::Map(blob.facts))
    }

    fn header(blob: &[u8]) -> Result<Fact, Damage> {
        read("LUO", blob)
    }

    fn number(fact: &Fact, name: &str) -> Option<u64> {
        fact.get(name).and_then(Fact::as_u64)
    }

    #[test]
    fn a_header_of_each_dialect() {
        let plain = header(&luo_of(b"luo-v5\0\0", [2, 0, 0x1000])).unwrap();
        assert_eq!(plain.get("compatible"), Some(&"luo-v5".into()));
        assert_eq!(number(&plain, "liveupdate_num"), Some(2));
        assert_eq!(plain.get("sessions_pa"), Some(&Fact::Null));
        assert_eq!(number(&plain, "flbs_pa"), Some(0x1000));
        let composite = header(&luo_of(b"luo-v5;block-v1\0", [7, 0, 0])).unwrap();
        assert_eq!(number(&composite, "liveupdate_num"), Some(7));
        // Of another version the string alone is read, however long the rest is.
        let other = header(&luo_of(b"luo-v6\0\0", [1, 2, 3])).unwrap();
        assert_eq!(other.get("compatible"), Some(&"luo-v6".into()));
        assert_eq!(other.get("liveupdate_num"), None);
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
        let read_it = |blob: &[u8]| read("kexec-metadata", blob);
        let metadata = read_it(&blob).unwrap();
        assert_eq!(metadata.get("previous_release"), Some(&"7.3.4".into()));
        assert_eq!(number(&metadata, "kexec_count"), Some(3));
        assert!(read_it(&blob[..72]).is_err() && read_it(&[1]).is_err());
        blob[4..69].fill(b'x');
        assert!(read_it(&blob).is_err());
        blob[0] = 2;
        let other = read_it(&blob[..5]).unwrap();
        assert_eq!(number(&other, "version"), Some(2));
        assert_eq!(other.get("kexec_count"), Some(&Fact::Null));
    }

    #[test]
    fn other_blobs_are_device_trees_or_anything() {
        let kind = |blob: Fact| blob.get("kind").cloned();
        assert_eq!(
            read("mine", b"?").map(kind).unwrap(),
            Some("unknown".into())
        );
        let damage = read("memblock", &[0; 64]).unwrap_err();
        assert!(damage.headline().starts_with("memblock FDT"), "{damage}");
    }
}
