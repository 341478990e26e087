//! The memfd handler of a live update.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::{offset_of, replace, take};

use kho_core::{Attached, Kho, PreservedFolio};
use kho_luo::{FileHandler, HandlerError, Retrieve};
use kho_mem::{Folio, Order, OutOfMemory, PAGE_SIZE_U64, PageRun};
use kho_vmalloc::PreservedArea;
use kho_vmalloc::v1::VmallocSer;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use crate::NAME;
use crate::file::{Phase, Slot, State};
use crate::read::STATE;
use crate::v2::{FOLIO_DIRTY, FOLIO_UPTODATE, FolioSer, MemfdSer, PFN_BITS};
use crate::{FileError, MemFile, Memfd};

/// Hands [`MemFile`]s over, in the format of Linux's memfd handler.
///
/// ```
/// use std::sync::Arc;
///
/// use kho_core::{Kho, KhoConfig};
/// use kho_luo::{Handlers, Orchestrator};
/// use kho_mem::{Arena, ArenaConfig, PhysAddr};
/// use kho_memfd::{MemFile, MemfdHandler};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let kho = Kho::new(arena.clone(), &KhoConfig::new())?;
/// let luo = Orchestrator::new(kho, Handlers::new().with(MemfdHandler), 0)?;
///
/// let file = Arc::new(MemFile::new(&arena));
/// file.write_at(0, b"guest memory")?;
/// let session = luo.create_session("vm7")?;
/// session.preserve(1, file.clone())?;
/// assert!(file.truncate(0).is_err(), "preserved");
/// drop(session); // closed: the file is no longer part of the update
/// file.truncate(0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MemfdHandler;

/// What preserving a memfd makes: its state's page and its folio list.
#[derive(Debug)]
pub struct PreservedMemfd {
    ser: PreservedFolio,
    list: Option<PreservedArea>,
    // The position when the file was preserved, and the one that stands there.
    pos: u64,
    written: u64,
}

fn refused(error: impl core::error::Error + Send + Sync + 'static) -> HandlerError {
    HandlerError::new(error)
}

impl FileHandler for MemfdHandler {
    type File = MemFile;
    type Preserved = PreservedMemfd;

    fn component(&self) -> &'static str {
        NAME
    }

    fn writes(&self) -> &[u32] {
        &[crate::v2::VERSION]
    }

    fn preserve(&self, kho: &Kho, file: &Arc<MemFile>) -> Result<PreservedMemfd, HandlerError> {
        let mut state = file.lock();
        match state.phase {
            Phase::Own => {}
            Phase::Incoming => return Err(refused(FileError::NotFinished)),
            Phase::Preserved | Phase::Frozen => return Err(refused(FileError::Preserved)),
            Phase::Gone => return Err(refused(FileError::Gone)),
        }
        let preserver = kho.preserver();
        preserver
            .step(|| {
                preserve_slots(&mut state, kho)?;
                let made = write_down(&state, kho);
                if made.is_err() {
                    unpreserve_slots(&mut state);
                }
                made
            })
            .inspect(|_| state.phase = Phase::Preserved)
    }

    fn unpreserve(&self, file: &Arc<MemFile>, preserved: PreservedMemfd) {
        drop(preserved);
        let mut state = file.lock();
        unpreserve_slots(&mut state);
        state.phase = Phase::Own;
    }

    fn freeze(
        &self,
        file: &Arc<MemFile>,
        preserved: &mut PreservedMemfd,
    ) -> Result<u64, HandlerError> {
        let mut state = file.lock();
        state.phase = Phase::Frozen;
        preserved.write_pos(state.pos);
        Ok(preserved.ser.addr().get())
    }

    fn unfreeze(&self, file: &Arc<MemFile>, preserved: &mut PreservedMemfd) {
        preserved.write_pos(preserved.pos);
        file.lock().phase = Phase::Preserved;
    }

    fn hand_over(&self, file: &Arc<MemFile>, preserved: PreservedMemfd) {
        let mut state = file.lock();
        preserved.ser.hand_over();
        preserved
            .list
            .into_iter()
            .for_each(PreservedArea::hand_over);
        for slot in take(&mut state.slots).into_values() {
            if let Slot::Preserved(folio) = slot {
                folio.hand_over();
            }
        }
        state.phase = Phase::Gone;
        state.arena = None;
    }

    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<MemFile>, HandlerError> {
        let link = retrieve.link(data, STATE);
        let memfd = retrieve.restoring(|restoring| {
            crate::restore::require(restoring).map_err(refused)?;
            Memfd::read_at(restoring, link).map_err(refused)
        })?;
        Ok(Arc::new(MemFile::incoming(memfd, retrieve.held)))
    }

    fn can_finish(
        &self,
        attached: &Attached,
        file: Option<&Arc<MemFile>>,
    ) -> Result<(), HandlerError> {
        let Some(file) = file else { return Ok(()) };
        let state = file.lock();
        for folio in &state.held {
            let Some(addr) = folio.addr else { continue };
            let run = PageRun {
                pfn: addr.pfn().get(),
                pages: folio.order.pages(),
            };
            if !attached.handed().contains(run) {
                return Err(refused(kho_mem::NotHanded { run }));
            }
        }
        Ok(())
    }

    fn finish(&self, attached: &mut Attached, _data: u64, file: Option<Arc<MemFile>>) {
        let Some(file) = file else { return };
        let mut state = file.lock();
        state.arena = Some(attached.settle());
        // Asked before: each is there, since each was claimed once.
        let slots = take(&mut state.held).into_iter().filter_map(|folio| {
            let adopted = attached.handed_mut().adopt(folio.addr?, folio.order);
            Some((folio.index, Slot::Own(adopted.ok()?)))
        });
        state.slots = slots.collect();
        state.phase = Phase::Own;
        drop(state);
        file.finish();
    }
}

impl PreservedMemfd {
    /// Writes the position, where it is not what stands there. (The page may not be mapped any more,
    /// and a freeze of a million files that did not move need not touch a million pages.)
    fn write_pos(&mut self, pos: u64) {
        if replace(&mut self.written, pos) == pos {
            return;
        }
        let at = offset_of!(MemfdSer, pos);
        if let Some(field) = self.ser.get_mut(at..at + size_of::<U64>()) {
            field.copy_from_slice(U64::new(pos).as_bytes());
        }
    }
}

/// Preserves every folio of the file, or none.
fn preserve_slots(state: &mut State, kho: &Kho) -> Result<(), HandlerError> {
    let preserver = kho.preserver();
    let mut failure = None;
    // Moved through a new map, since preserving moves the folio.
    state.slots = take(&mut state.slots)
        .into_iter()
        .map(|(index, slot)| match slot {
            Slot::Own(folio) if failure.is_none() => match preserver.preserve_folio(folio) {
                Ok(folio) => (index, Slot::Preserved(folio)),
                Err(failed) => {
                    failure = Some(failed.error);
                    (index, Slot::Own(failed.returned))
                }
            },
            other => (index, other),
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

fn unpreserve_slots(state: &mut State) {
    state.slots = take(&mut state.slots)
        .into_iter()
        .map(|(index, slot)| match slot {
            Slot::Preserved(folio) => (index, Slot::Own(folio.unpreserve())),
            other => (index, other),
        })
        .collect();
}

/// Writes the state's page and the folio list. A page without a folio is recorded as a hole.
fn write_down(state: &State, kho: &Kho) -> Result<PreservedMemfd, HandlerError> {
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
            continue;
        };
        list.holes(arena, next, *index)?;
        let word = folio.addr().pfn().get() | (FOLIO_DIRTY | FOLIO_UPTODATE) << PFN_BITS;
        list.push(arena, word, *index)?;
        next = index + folio.order().pages();
    }
    list.holes(arena, next, pages)?;
    let count = list.count;
    let area = if list.folios.is_empty() {
        None
    } else {
        let area = PreservedArea::preserve(preserver, list.folios, kho_vmalloc::v1::FLAG_ALLOC);
        Some(area.map_err(|failed| refused(failed.error))?)
    };
    let mut page = preserver
        .alloc_preserve(size_of::<MemfdSer>())
        .map_err(refused)?;
    let ser = MemfdSer {
        pos: U64::new(state.pos),
        size: U64::new(state.size),
        seals: U32::new(state.seals),
        flags: U32::new(0),
        nr_folios: U64::new(count),
        folios: area
            .as_ref()
            .map_or_else(VmallocSer::new_zeroed, PreservedArea::ser),
    };
    if let Some(head) = page.get_mut(..size_of::<MemfdSer>()) {
        head.copy_from_slice(ser.as_bytes());
    }
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
    fn push(&mut self, arena: &kho_mem::Arena, word: u64, index: u64) -> Result<(), HandlerError> {
        let record = FolioSer {
            word: U64::new(word),
            index: U64::new(index),
        };
        let full = self
            .folios
            .last()
            .is_none_or(|page| self.used == page.len());
        if full {
            self.folios
                .push(arena.alloc_zeroed(Order::ZERO).map_err(refused)?);
            self.used = 0;
        }
        let room = self
            .folios
            .last_mut()
            .and_then(|page| page.get_mut(self.used..self.used + size_of::<FolioSer>()));
        if let Some(room) = room {
            room.copy_from_slice(record.as_bytes());
        }
        self.used += size_of::<FolioSer>();
        self.count += 1;
        Ok(())
    }

    fn holes(&mut self, arena: &kho_mem::Arena, from: u64, to: u64) -> Result<(), HandlerError> {
        (from..to).try_for_each(|index| self.push(arena, 0, index))
    }
}
