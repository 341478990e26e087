//! Writing a memfd down: its folios preserved, its folio list, its state.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem::{offset_of, take};

use kho_core::{Kho, PreservedFolio};
use kho_luo::HandlerError;
use kho_mem::{Arena, Broken, Folio, Order, OutOfMemory, PAGE_SIZE_U64, put};
use kho_vmalloc::PreservedArea;
use zerocopy::IntoBytes;

use crate::Format;
use crate::pages::{Slot, State};
use crate::v2::{self, FolioSer, MemfdSer};

/// What preserving a memfd makes: its state's page and its folio list.
#[derive(Debug)]
pub struct PreservedMemfd {
    pub(crate) ser: PreservedFolio,
    pub(crate) list: Option<PreservedArea>,
    // The position when the file was preserved, and the one that stands there.
    pub(crate) pos: u64,
    written: u64,
}

pub(crate) fn refused(error: impl core::error::Error + Send + Sync + 'static) -> HandlerError {
    HandlerError::new(error)
}

impl PreservedMemfd {
    /// Writes the position, where it is not what stands there. (The page may not be mapped any more,
    /// and a freeze of a million files that did not move need not touch a million pages.)
    pub(crate) fn write_pos(&mut self, pos: u64) -> Result<(), Broken> {
        if self.written == pos {
            return Ok(());
        }
        let at = offset_of!(MemfdSer, pos);
        put(
            &mut self.ser,
            at,
            &pos.to_le_bytes(),
            "bytes of a memfd's state",
        )?;
        self.written = pos;
        Ok(())
    }
}

/// Preserves every folio of the file, or none.
pub(crate) fn preserve_slots(state: &mut State, kho: &Kho) -> Result<(), HandlerError> {
    let preserver = kho.preserver();
    let mut failure = None;
    // Moved through a new map, since preserving moves the folio.
    state.slots = take(&mut state.slots)
        .into_iter()
        .map(|(index, mut slot)| {
            // As Linux does since 6.19.10: what is handed over is up to date.
            slot.bytes_mut();
            match slot {
                Slot::Own { folio, .. } if failure.is_none() => {
                    match preserver.preserve_folio(folio) {
                        Ok(folio) => (index, Slot::Preserved(folio)),
                        Err(failed) => {
                            failure = Some(failed.error);
                            (index, Slot::own(failed.returned))
                        }
                    }
                }
                other => (index, other),
            }
        })
        .collect::<BTreeMap<_, _>>();
    match failure {
        None => Ok(()),
        Some(error) => {
            unpreserve_slots(state);
            Err(refused(error))
        }
    }
}

pub(crate) fn unpreserve_slots(state: &mut State) {
    state.slots = take(&mut state.slots)
        .into_iter()
        .map(|(index, slot)| match slot {
            Slot::Preserved(folio) => (index, Slot::own(folio.unpreserve())),
            other => (index, other),
        })
        .collect();
}

/// Writes the state's page and the folio list. A page without a folio is recorded as a hole.
pub(crate) fn write_down(
    format: Format,
    state: &State,
    kho: &Kho,
) -> Result<PreservedMemfd, HandlerError> {
    let preserver = kho.preserver();
    let pages = state.size.div_ceil(PAGE_SIZE_U64);
    let arena = kho.arena();
    // A record per page that has no folio: known before the first is written.
    let backed: u64 = state.slots.values().map(|slot| slot.order().pages()).sum();
    let records = (state.slots.len() as u64).saturating_add(pages.saturating_sub(backed));
    let needed = records
        .saturating_mul(size_of::<FolioSer>() as u64)
        .div_ceil(PAGE_SIZE_U64);
    if needed > arena.free_pages() {
        return Err(refused(OutOfMemory { pages: needed }));
    }
    let mut list = Records {
        folios: Vec::new(),
        used: 0,
        count: 0,
    };
    let mut next = 0;
    for (index, slot) in &state.slots {
        let Slot::Preserved(folio) = slot else {
            let preserved = state.slots.values().filter(|slot| slot.is_preserved());
            let broken = Broken::new("preserved folios", state.slots.len(), preserved.count());
            return Err(refused(broken));
        };
        list.holes(arena, next, *index)?;
        list.push(arena, v2::record(Some(folio.addr()), *index))?;
        next = index + folio.order().pages();
    }
    list.holes(arena, next, pages)?;
    let count = list.count;
    let area = if list.folios.is_empty() {
        None
    } else {
        let area = PreservedArea::preserve(preserver, list.folios, kho_vmalloc::v1::FLAG_ALLOC);
        Some(area.map_err(|failed| {
            let errno = failed.error.errno();
            refused(failed.error).with_errno(errno)
        })?)
    };
    let mut page = preserver
        .alloc_preserve(format.state_len())
        .map_err(refused)?;
    let ser = format.encode(state, count, area.as_ref());
    put(&mut page, 0, &ser, "bytes of a memfd's state").map_err(refused)?;
    Ok(PreservedMemfd {
        ser: page,
        list: area,
        pos: state.pos,
        written: state.pos,
    })
}

/// The folio list, written into pages as it grows.
struct Records {
    folios: Vec<Folio>,
    // Bytes of the last page.
    used: usize,
    count: u64,
}

impl Records {
    fn push(&mut self, arena: &Arena, record: FolioSer) -> Result<(), HandlerError> {
        let full = self
            .folios
            .last()
            .is_none_or(|page| self.used == page.len());
        if full {
            self.folios
                .push(arena.alloc_zeroed(Order::ZERO).map_err(refused)?);
            self.used = 0;
        }
        let page = self.folios.last_mut().map(|page| &mut **page);
        let what = "bytes of a page of folio records";
        put(page.unwrap_or_default(), self.used, record.as_bytes(), what).map_err(refused)?;
        self.used += size_of::<FolioSer>();
        self.count += 1;
        Ok(())
    }

    fn holes(&mut self, arena: &Arena, from: u64, to: u64) -> Result<(), HandlerError> {
        (from..to).try_for_each(|index| self.push(arena, v2::record(None, index)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use kho_core::KhoConfig;
    use kho_mem::{ArenaConfig, PhysAddr};

    use super::*;
    use crate::MemFile;

    fn kho() -> Kho {
        let config = ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20);
        Kho::new(Arena::heap(&config).unwrap(), &KhoConfig::new()).unwrap()
    }

    #[test]
    fn a_folio_that_is_not_preserved_is_not_written_down() {
        let kho = kho();
        let file = MemFile::new(kho.arena());
        file.write_at(0, &[1; 3 * 4096]).unwrap();
        let (keys, free) = (kho.preserver().keys(), kho.arena().free_blocks());
        let folios = file.folios().len();
        let error = write_down(Format::V2, &file.lock(), &kho).unwrap_err();
        let expected = format!("internal error: preserved folios: expected {folios}, found 0");
        assert_eq!(error.to_string(), expected);
        assert_eq!(
            (kho.preserver().keys(), kho.arena().free_blocks()),
            (keys, free)
        );
    }

    #[test]
    fn a_record_past_its_page_is_an_error() {
        let kho = kho();
        let mut list = Records {
            folios: Vec::new(),
            used: 0,
            count: 0,
        };
        list.holes(kho.arena(), 0, 1).unwrap();
        list.used = 4088;
        let error = list.holes(kho.arena(), 1, 2).unwrap_err();
        let expected =
            "internal error: bytes of a page of folio records: expected 4104, found 4096";
        assert_eq!((error.to_string(), list.count), (expected.to_owned(), 1));
    }
}
