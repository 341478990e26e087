//! The memfd handler of a live update.

use alloc::sync::Arc;
use core::mem::take;

use kho_core::{Attached, Kho};
use kho_luo::{FileHandler, HandlerError, Retrieve};
use kho_mem::{Errno, PageRun};
use kho_vmalloc::PreservedArea;

use crate::pages::{Phase, Slot};
use crate::read::STATE;
use crate::write::{preserve_slots, refused, unpreserve_slots, write_down};
use crate::{FileError, Format, MemFile, Memfd, NAME, PreservedMemfd};

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

impl FileHandler for MemfdHandler {
    type File = MemFile;
    type Preserved = PreservedMemfd;

    fn component(&self) -> &'static str {
        NAME
    }

    fn writes(&self) -> &[u32] {
        Format::VERSIONS
    }

    fn preserve(&self, kho: &Kho, file: &Arc<MemFile>) -> Result<PreservedMemfd, HandlerError> {
        let mut state = file.lock();
        match state.phase {
            Phase::Own => {}
            Phase::Incoming => {
                return Err(refused(FileError::NotFinished).with_errno(Errno::EBUSY));
            }
            Phase::Preserved | Phase::Frozen => {
                return Err(refused(FileError::Preserved).with_errno(Errno::EBUSY));
            }
            Phase::Gone => return Err(refused(FileError::Gone).with_errno(Errno::EBADF)),
        }
        let format = Format::written_by(kho)?;
        let preserver = kho.preserver();
        preserver
            .step(|| {
                preserve_slots(&mut state, kho)?;
                let made = write_down(format, &state, kho);
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
        preserved.write_pos(state.pos).map_err(refused)?;
        state.phase = Phase::Frozen;
        Ok(preserved.ser.addr().get())
    }

    fn unfreeze(&self, file: &Arc<MemFile>, preserved: &mut PreservedMemfd) {
        // Where this fails the freeze before it has failed, and so does the next one.
        let _ = preserved.write_pos(preserved.pos);
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
            crate::restore::require(restoring, link).map_err(refused)?;
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
                pfn: addr.pfn(),
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
        state.arena = Some(attached.reclaim());
        // Asked before: each is there, since each was claimed once.
        let slots = take(&mut state.held).into_iter().filter_map(|folio| {
            let adopted = attached.handed_mut().adopt(folio.addr?, folio.order);
            let used = folio.contents().is_some();
            let folio_of = |folio| Slot::Own { folio, used };
            Some((folio.index, adopted.ok().map(folio_of)?))
        });
        state.slots = slots.collect();
        state.phase = Phase::Own;
        drop(state);
        file.finish();
    }
}
