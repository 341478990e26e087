//! Reading and checking a memfd's state and folio list.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kho_luo::File;
use kho_mem::{Damage, Defect, Link, Located, Order, PAGE_SIZE_U64, PhysAddr, PhysMemExt};
use kho_radix::Reading;
use kho_vmalloc::Area;

use crate::v2::{FOLIO_FLAGS, FOLIO_UPTODATE, FolioSer};
use crate::{Format, NAME, Seals};

/// A memfd as it was handed over, checked as a whole.
#[derive(Clone, Debug)]
pub struct Memfd {
    pos: u64,
    size: u64,
    seals: Seals,
    flags: u32,
    area: Area,
    folios: Vec<FolioEntry>,
}

/// A folio of a memfd, or a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FolioEntry {
    /// Offset in the file in frames of 4 KiB, aligned to the folio's: the end of the folio before it.
    pub index: u64,
    /// Where it lies; `None` for a hole of one page.
    pub addr: Option<PhysAddr>,
    /// log2 of its frames.
    pub order: Order,
    /// Whether it is dirty and up to date.
    pub flags: u16,
}

impl FolioEntry {
    /// One past its last frame in the file.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.index.saturating_add(self.order.pages())
    }

    /// Where its contents lie; `None` where they are zeros that lie nowhere. A folio that is not up to date was
    /// allocated and never used: Linux zeroes it before anybody sees it, and until then it holds somebody
    /// else's old bytes.
    #[must_use]
    pub const fn contents(&self) -> Option<PhysAddr> {
        if self.flags as u64 & FOLIO_UPTODATE == 0 {
            return None;
        }
        self.addr
    }
}

/// What errors call a memfd's state.
pub(crate) const STATE: &str = "memfd state";

const RECORD: u64 = size_of::<FolioSer>() as u64;

impl Memfd {
    /// Reads the memfd of a file entry and claims its memory: its state, its folio list, its
    /// folios. It is of the version that was announced to `reading`, or version 2 where none was.
    ///
    /// # Errors
    ///
    /// A version that is not known here. The state is not preserved memory of its own; the size or position is no file's; unknown
    /// seals or flags; a folio list that is damaged, too short for its count, or does not list the
    /// file's pages one after the other up to its end; a folio that is not preserved or in use elsewhere.
    pub fn read(reading: &mut Reading<'_>, file: &File) -> Result<Self, Damage> {
        reading
            .all_or_none(|reading| read(reading, file.link(STATE)))
            .map_err(|damage| damage.within(format!("memfd of token {:#x}", file.token)))
    }

    /// As [`Memfd::read`], for the state that `link` points to.
    ///
    /// # Errors
    ///
    /// As [`Memfd::read`].
    pub fn read_at(reading: &mut Reading<'_>, link: Link) -> Result<Self, Damage> {
        reading.within("memfd", |reading| read(reading, link))
    }

    /// File position in bytes. It may lie past the end.
    #[must_use]
    pub const fn pos(&self) -> u64 {
        self.pos
    }

    /// File size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Its seals.
    #[must_use]
    pub const fn seals(&self) -> Seals {
        self.seals
    }

    /// The flags: zero.
    #[must_use]
    pub const fn flags(&self) -> u32 {
        self.flags
    }

    /// The vmalloc area that lists the folios.
    #[must_use]
    pub const fn area(&self) -> &Area {
        &self.area
    }

    /// The folios and recorded holes alone: see [`Memfd::folios`].
    #[must_use]
    pub fn into_folios(self) -> Vec<FolioEntry> {
        self.folios
    }

    /// The folios and recorded holes, in order of their page offset.
    #[must_use]
    pub fn folios(&self) -> &[FolioEntry] {
        &self.folios
    }
}

/// What the state of a memfd says, before any address in it is followed.
pub(crate) struct State {
    pub(crate) pos: u64,
    pub(crate) size: u64,
    pub(crate) seals: Seals,
    pub(crate) flags: u32,
    /// Records in the list, and where that number stands.
    pub(crate) count: u64,
    pub(crate) count_at: PhysAddr,
    /// Where the descriptor of the list's area stands, and whether it is all zeros.
    pub(crate) list_at: PhysAddr,
    pub(crate) is_unset: bool,
}

fn read(reading: &mut Reading<'_>, link: Link) -> Result<Memfd, Damage> {
    let format = Format::announced(reading.announced()).map_err(|error| {
        Damage::new(Defect::BadValue, "version of its state", link.at)
            .found(format!("{NAME}-v{}", error.version))
            .expected(error.covered)
    })?;
    reading.bytes(link, format.state_len() as u64)?;
    let state = format.decode(reading.mem(), link)?;
    let (size, count, count_at) = (state.size, state.count, state.count_at);
    let list = Link::given(state.list_at, "vmalloc descriptor");
    let area = Area::read_as(format.area(), reading, list)?;
    let page_size = reading.page_size();
    let room = area.pages().saturating_mul(page_size.bytes()) / RECORD;
    if count > room {
        return Err(Damage::new(Defect::BadCount, "nr_folios", count_at)
            .found(count)
            .expected(format!(
                "at most {room}, the records that fit its vmalloc area"
            )));
    }
    if size == 0 && (count > 0 || !state.is_unset) {
        return Err(Damage::new(Defect::BadCount, "nr_folios", count_at)
            .found(format!(
                "{count} records in an area of {} pages",
                area.pages()
            ))
            .expected("no records and no area for a file of size 0"));
    }
    // An area without use is memory that two sides see differently.
    let needed = page_size.pages_for(count.saturating_mul(RECORD));
    if area.pages() >= needed + area.run_pages() {
        return Err(Damage::new(Defect::BadCount, "nr_folios", count_at)
            .found(format!("{count} records, which fill {needed} pages"))
            .expected(format!(
                "records for the {} pages of the vmalloc area",
                area.pages()
            )));
    }
    let mut memfd = Memfd {
        pos: state.pos,
        size,
        seals: state.seals,
        flags: state.flags,
        area,
        folios: Vec::new(),
    };
    memfd.folios = folios(reading, &memfd, count)?;
    let pages = page_size.pages_for(size);
    let covered = memfd.folios.last().map_or(0, FolioEntry::end) / page_size.frames();
    if covered < pages {
        return Err(Damage::new(Defect::Mismatch, "nr_folios", count_at)
            .found(format!("{count} records, which end at page {covered}"))
            .expected(format!(
                "records up to page {pages}, the end of the file's {size} bytes"
            )));
    }
    Ok(memfd)
}

fn folios(reading: &mut Reading<'_>, memfd: &Memfd, count: u64) -> Result<Vec<FolioEntry>, Damage> {
    let pages = reading.page_size().pages_for(memfd.size);
    // A list may be announced in memory that is not there but for its key: the first bad record ends
    // it, so that no more is set aside than a few pages of records.
    let mut out: Vec<FolioEntry> =
        Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(4096));
    let runs = memfd.area.runs().iter();
    let list_frames =
        runs.flat_map(|run| (0..memfd.area.order().pages()).map(move |frame| (run, frame)));
    for (run, frame) in list_frames {
        let page_at = PhysAddr::new(run.get() + frame * PAGE_SIZE_U64);
        let mem = reading.mem();
        let bytes = mem
            .page(page_at)
            .map_err(|e| e.damage("folio list", page_at))?;
        for record in Located::<FolioSer>::all(&bytes, page_at) {
            if out.len() as u64 == count {
                return Ok(out);
            }
            let entry = folio(reading, &record, out.last(), pages)
                .map_err(|damage| damage.within(format!("folio {}", out.len())))?;
            out.push(entry);
        }
    }
    Ok(out)
}

fn folio(
    reading: &mut Reading<'_>,
    record: &Located<FolioSer>,
    before: Option<&FolioEntry>,
    pages: u64,
) -> Result<FolioEntry, Damage> {
    let (pfn, flags, index) = (record.pfn(), record.flags(), record.index.get());
    let at = record.at();
    if flags & !FOLIO_FLAGS != 0 {
        return Err(Damage::new(Defect::UnknownFlags, "flags", at)
            .found(format!("{flags:#x}"))
            .expected(format!("no bit outside {FOLIO_FLAGS:#x}")));
    }
    let bad_index = |defect, expected: String| {
        Damage::new(defect, "index", record.addr_of(|record| &record.index))
            .found(format!("page {index}"))
            .expected(expected)
    };
    let page_size = reading.page_size();
    let next = before.map_or(0, FolioEntry::end) / page_size.frames();
    if index != next {
        // The writer fills holes or records them, page by page: no page is left out.
        let defect = if index < next {
            Defect::Overlap
        } else {
            Defect::Missing
        };
        return Err(bad_index(
            defect,
            format!("page {next}, the one after the folio before it"),
        ));
    }
    if index >= pages {
        return Err(bad_index(
            Defect::BadOffset,
            format!("a page of the file's {pages}"),
        ));
    }
    // Bounded by FOLIO_FLAGS just above.
    let flags = u16::try_from(flags).unwrap_or(u16::MAX);
    // A page of the file, so that it fits.
    let index = index.saturating_mul(page_size.frames());
    if pfn == 0 {
        if flags != 0 {
            return Err(Damage::new(Defect::Null, "pfn", at)
                .found(format!("0 with flags {flags:#x}"))
                .expected("a folio, or a hole without flags"));
        }
        return Ok(FolioEntry {
            index,
            addr: None,
            order: page_size.order(),
            flags,
        });
    }
    let Some(addr) = pfn.checked_mul(page_size.bytes()).map(PhysAddr::new) else {
        return Err(Damage::new(Defect::Wraps, "pfn", at)
            .found(format!("{pfn:#x}"))
            .expected(format!("the number of a page of {page_size}")));
    };
    let folio = reading.folio(Link {
        to: addr,
        at,
        name: "memfd folio",
    })?;
    if !index.is_multiple_of(folio.order.pages()) {
        let pages = folio.order.pages() / page_size.frames();
        let text = format!("a multiple of {pages}, the folio's pages");
        return Err(bad_index(Defect::Unaligned, text));
    }
    Ok(FolioEntry {
        index,
        addr: Some(addr),
        order: folio.order,
        flags,
    })
}
