//! What lies in memory: a memfd's state and the records of its folios.

use alloc::format;

use kho_compat::AbiLayout;
use kho_mem::{Damage, Defect, Located, PhysAddr};
use kho_vmalloc::PreservedArea;
use kho_vmalloc::v1::VmallocSer;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::read::State;
use crate::{Seals, pages};

/// The number in `memfd-v2`.
pub const VERSION: u32 = 2;

/// `F_SEAL_SEAL`: no more seals.
pub const SEAL_SEAL: u32 = 0x1;

/// `F_SEAL_SHRINK`: the file can not get smaller.
pub const SEAL_SHRINK: u32 = 0x2;

/// `F_SEAL_GROW`: the file can not get larger.
pub const SEAL_GROW: u32 = 0x4;

/// `F_SEAL_WRITE`: the contents can not change.
pub const SEAL_WRITE: u32 = 0x8;

/// `F_SEAL_FUTURE_WRITE`: no new writable mapping or write.
pub const SEAL_FUTURE_WRITE: u32 = 0x10;

/// `F_SEAL_EXEC`: the executable bit can not change.
pub const SEAL_EXEC: u32 = 0x20;

/// Every seal that is kept.
pub const SEALS: u32 =
    SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | SEAL_WRITE | SEAL_FUTURE_WRITE | SEAL_EXEC;

/// [`FolioSer`]: the folio is dirty.
pub const FOLIO_DIRTY: u64 = 1 << 0;

/// [`FolioSer`]: the folio's contents are up to date.
pub const FOLIO_UPTODATE: u64 = 1 << 1;

/// Every folio flag that the format defines.
pub const FOLIO_FLAGS: u64 = FOLIO_DIRTY | FOLIO_UPTODATE;

/// Bits of a folio's frame number.
pub const PFN_BITS: u32 = 52;

/// A memfd's state: `luo_file_ser.data` is its address.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(
    c_name = "memfd_luo_ser",
    constants(
        SEAL_SEAL,
        SEAL_SHRINK,
        SEAL_GROW,
        SEAL_WRITE,
        SEAL_FUTURE_WRITE,
        SEAL_EXEC,
        SEALS
    )
)]
pub struct MemfdSer {
    /// File position in bytes.
    pub pos: U64,
    /// File size in bytes.
    pub size: U64,
    /// [`SEALS`].
    pub seals: U32,
    /// Zero.
    pub flags: U32,
    /// Records in the vmalloc area.
    pub nr_folios: U64,
    /// The vmalloc area of [`FolioSer`] records.
    pub folios: VmallocSer,
}

const _: () = assert!(size_of::<MemfdSer>() == 48);

/// A folio of a memfd.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(
    c_name = "memfd_luo_folio_ser",
    constants(FOLIO_DIRTY, FOLIO_UPTODATE, FOLIO_FLAGS)
)]
pub struct FolioSer {
    /// Frame number of its first page (0 for a hole) and [`FOLIO_FLAGS`].
    #[abi(bits(pfn: 0..52, flags: 52..64))]
    pub word: U64,
    /// Page offset in the file.
    pub index: U64,
}

const _: () = assert!(size_of::<FolioSer>() == 16);

impl FolioSer {
    /// The frame number; 0 for a hole.
    #[must_use]
    pub const fn pfn(&self) -> u64 {
        self.word.get() & ((1 << PFN_BITS) - 1)
    }

    /// The flags.
    #[must_use]
    pub const fn flags(&self) -> u64 {
        self.word.get() >> PFN_BITS
    }
}

/// The record of a folio that begins at `addr`, dirty and up to date, or of a hole of one page, at page offset
/// `index` of the file.
pub(crate) fn record(addr: Option<PhysAddr>, index: u64) -> FolioSer {
    let folio = |addr: PhysAddr| addr.pfn().get() | (FOLIO_DIRTY | FOLIO_UPTODATE) << PFN_BITS;
    FolioSer {
        word: U64::new(addr.map_or(0, folio)),
        index: U64::new(index),
    }
}

/// The state of the memfd `file`, whose `count` records `list` holds.
pub(crate) fn encode(file: &pages::State, count: u64, list: Option<&PreservedArea>) -> MemfdSer {
    MemfdSer {
        pos: U64::new(file.pos),
        size: U64::new(file.size),
        seals: U32::new(file.seals.bits()),
        flags: U32::new(0),
        nr_folios: U64::new(count),
        folios: list.map_or_else(VmallocSer::new_zeroed, PreservedArea::ser),
    }
}

/// Decodes the state of a memfd.
///
/// # Errors
///
/// The size or position is no file's, or seals or flags are not known.
pub(crate) fn decode(ser: &Located<MemfdSer>) -> Result<State, Damage> {
    let (pos, size) = (ser.pos.get(), ser.size.get());
    for (value, what, at) in [
        (size, "size", ser.addr_of(|ser| &ser.size)),
        (pos, "pos", ser.addr_of(|ser| &ser.pos)),
    ] {
        if i64::try_from(value).is_err() {
            return Err(Damage::new(Defect::BadValue, what, at)
                .found(format!("{value:#x}"))
                .expected("at most 0x7fffffffffffffff, a file's largest offset"));
        }
    }
    let (seals, flags) = (Seals::from(ser.seals.get()), ser.flags.get());
    if !seals.is_known() {
        let at = ser.addr_of(|ser| &ser.seals);
        return Err(Damage::new(Defect::UnknownFlags, "seals", at)
            .found(format!("{seals:#x}"))
            .expected(format!("no bit outside {SEALS:#x}")));
    }
    if flags != 0 {
        let at = ser.addr_of(|ser| &ser.flags);
        return Err(Damage::new(Defect::UnknownFlags, "flags", at)
            .found(format!("{flags:#x}"))
            .expected(0));
    }
    Ok(State {
        pos,
        size,
        seals,
        flags,
        count: ser.nr_folios.get(),
        count_at: ser.addr_of(|ser| &ser.nr_folios),
        is_unset: ser.folios.as_bytes().iter().all(|byte| *byte == 0),
        list_at: ser.addr_of(|ser| &ser.folios),
    })
}
