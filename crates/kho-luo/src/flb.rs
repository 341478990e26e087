//! File-lifecycle-bound objects.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kho_mem::{Damage, Defect, Link, Located, PageSize, PhysAddr};
use kho_radix::Reading;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::name::ascii;
use crate::v5::{FLB_PAGES, FlbHeaderSer, FlbSer};

/// An object that lives as long as files depend on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flb {
    /// Its compat string.
    pub name: String,
    /// Its owner's own; not always an address.
    pub data: u64,
    /// How many files depend on it.
    pub count: u64,
    /// Where its entry lies.
    pub at: PhysAddr,
}

/// FLBs that fit an area of one page.
pub(crate) const fn per_area(size: PageSize) -> u64 {
    ((size.len() - size_of::<FlbHeaderSer>()) / size_of::<FlbSer>()) as u64
}

/// Where the data of the entry at `at` stands.
pub(crate) fn data_at(at: PhysAddr) -> PhysAddr {
    Located::<FlbSer>::zeroed(at).addr_of(|ser| &ser.data)
}

/// The bytes of the area that lists `flbs`.
pub(crate) fn encode(flbs: &[FlbSer]) -> Vec<u8> {
    let header = FlbHeaderSer {
        pgcnt: U64::new(FLB_PAGES),
        count: U64::new(flbs.len() as u64),
    };
    [header.as_bytes(), flbs.as_bytes()].concat()
}

/// Reads the area that `area` points to, and claims it. `files` is how many files the handover has:
/// no object has more.
pub(crate) fn read(
    reading: &mut Reading<'_>,
    area: Link,
    files: u64,
) -> Result<(u64, Vec<Flb>), Damage> {
    reading.page(area)?;
    let header: Located<FlbHeaderSer> = reading.follow(area)?;
    let pages = header.pgcnt.get();
    if pages != FLB_PAGES {
        return Err(Damage::new(Defect::BadCount, "pgcnt", header.at())
            .found(pages)
            .expected(FLB_PAGES));
    }
    let count = header.count.get();
    let most = per_area(reading.page_size());
    if count > most {
        let at = header.addr_of(|header| &header.count);
        return Err(Damage::new(Defect::BadCount, "count", at)
            .found(count)
            .expected(format!("0 to {most}")));
    }
    let mut flbs: Vec<Flb> = Vec::new();
    let first = Located::<FlbHeaderSer>::place_of(area.to, 1);
    for index in 0..count {
        let at = Located::<FlbSer>::place_of(first, index);
        let flb = entry(reading, at, files, &flbs)
            .map_err(|damage| damage.within(format!("FLB {index}")))?;
        flbs.push(flb);
    }
    Ok((pages, flbs))
}

fn entry(reading: &Reading<'_>, at: PhysAddr, files: u64, before: &[Flb]) -> Result<Flb, Damage> {
    let ser: Located<FlbSer> = reading.follow(Link::given(at, "entry"))?;
    let name = ascii(&ser.name, "name", at)?;
    if before.iter().any(|flb| flb.name == name) {
        return Err(Damage::new(Defect::Duplicate, "name", at)
            .found(format!("`{name}`, as an FLB before it"))
            .expected("a name of its own"));
    }
    let count = ser.count.get();
    if count == 0 || count > files {
        let at = ser.addr_of(|ser| &ser.count);
        return Err(Damage::new(Defect::BadCount, "count", at)
            .found(format!("{count} files"))
            .expected(if files == 0 {
                "no object, since no file was handed over".to_owned()
            } else {
                format!("1 to {files}, the files handed over")
            }));
    }
    Ok(Flb {
        name: name.to_owned(),
        data: ser.data.get(),
        count,
        at,
    })
}
