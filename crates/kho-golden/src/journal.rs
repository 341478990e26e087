//! A component that points to a vmalloc area: a file handler for tests, which no program has.
//!
//! Its layout has the address of a descriptor and not the descriptor, so that it stays whatever version of vmalloc it is:
//! the reader asks which one was handed over, the writer which one is to be written.

use std::sync::Arc;

use kho_compat::{Carrier, Component, Generation};
use kho_core::{Attached, Kho, PreservedFolio};
use kho_luo::v5::COMPAT_LEN;
use kho_luo::{FileHandler, HandlerError, Retrieve};
use kho_mem::{Chunk, Damage, Defect, Link, Located, PAGE_SIZE_U64, put};
use kho_radix::{RestoreError, Restoring};
use kho_vmalloc::{Area, Format, PreservedArea};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `journal-v1`, whatever version of vmalloc it points to.
pub static JOURNAL: Component =
    Component::new("journal", &[Generation::new(1).needs(&[("vmalloc", 1)])])
        .carried_in(Carrier::FileHandler)
        .field(COMPAT_LEN);

/// What lies in memory: the file's entry holds its address.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct JournalSer {
    /// Physical address of the descriptor of the area that the text lies in. It is a page's first bytes.
    pub area: U64,
    /// Bytes of text.
    pub len: U64,
}

const _: () = assert!(size_of::<JournalSer>() == 16);

/// A file of some text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Journal(pub Vec<u8>);

/// What is preserved of one.
#[derive(Debug)]
pub struct PreservedJournal {
    area: PreservedArea,
    descriptor: PreservedFolio,
    ser: PreservedFolio,
}

/// Hands [`Journal`]s over.
#[derive(Clone, Copy, Debug)]
pub struct Journals;

fn preserve(kho: &Kho, file: &Journal) -> Result<PreservedJournal, HandlerError> {
    let refused = HandlerError::new;
    let preserver = kho.preserver();
    let format = Format::written_by(kho).map_err(HandlerError::new)?;
    let area = PreservedArea::of_bytes(preserver, &file.0).map_err(HandlerError::new)?;
    let bytes = format.encode(&area);
    let page = |bytes: &[u8]| {
        let mut page = preserver.alloc_preserve(bytes.len()).map_err(refused)?;
        put(&mut page, 0, bytes, "bytes of a journal").map_err(HandlerError::new)?;
        Ok(page)
    };
    let descriptor = page(&bytes)?;
    let ser = JournalSer {
        area: U64::new(descriptor.addr().get()),
        len: U64::new(file.0.len() as u64),
    };
    let ser = page(ser.as_bytes())?;
    Ok(PreservedJournal {
        area,
        descriptor,
        ser,
    })
}

/// Reads the journal that `link` points to.
///
/// # Errors
///
/// It is damaged, or the verdict does not cover the version of vmalloc that was handed over.
pub fn restore(restoring: &mut Restoring<'_, '_>, link: Link) -> Result<Journal, RestoreError> {
    restoring.found(&JOURNAL)?;
    restoring.page(link)?;
    let ser: Located<JournalSer> = restoring.follow(link)?;
    let descriptor = ser.link(|ser| &ser.area, "vmalloc descriptor");
    restoring.page(descriptor)?;
    let restored = Area::restore_at(restoring, descriptor)?;
    let (pages, len) = (restored.area().pages(), ser.len.get());
    if len.div_ceil(PAGE_SIZE_U64) != pages {
        let damage = Damage::new(Defect::BadSize, "len", ser.addr_of(|ser| &ser.len));
        let expected = format!("bytes that fill {pages} pages");
        return Err(damage.found(len).expected(expected).into());
    }
    let mut text = Vec::new();
    for piece in restored.pieces() {
        match piece.map_err(|error| error.damage("text", link.to))? {
            Chunk::Bytes(bytes) => text.extend_from_slice(bytes),
            Chunk::Zeros(len) => text.resize(text.len().saturating_add(len), 0),
        }
    }
    text.truncate(usize::try_from(len).unwrap_or(usize::MAX));
    Ok(Journal(text))
}

impl FileHandler for Journals {
    type File = Journal;
    type Preserved = PreservedJournal;

    fn component(&self) -> &'static str {
        JOURNAL.name
    }

    fn writes(&self) -> &[u32] {
        &[1]
    }

    fn preserve(&self, kho: &Kho, file: &Arc<Journal>) -> Result<PreservedJournal, HandlerError> {
        kho.preserver().step(|| preserve(kho, file))
    }

    fn unpreserve(&self, _: &Arc<Journal>, preserved: PreservedJournal) {
        drop(preserved);
    }

    fn freeze(
        &self,
        _: &Arc<Journal>,
        preserved: &mut PreservedJournal,
    ) -> Result<u64, HandlerError> {
        Ok(preserved.ser.addr().get())
    }

    fn unfreeze(&self, _: &Arc<Journal>, _: &mut PreservedJournal) {}

    fn hand_over(&self, _: &Arc<Journal>, preserved: PreservedJournal) {
        preserved.area.hand_over();
        preserved.descriptor.hand_over();
        preserved.ser.hand_over();
    }

    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<Journal>, HandlerError> {
        let link = retrieve.link(data, "journal");
        let restored = retrieve.restoring(|restoring| restore(restoring, link));
        restored.map(Arc::new).map_err(HandlerError::new)
    }

    /// The text was copied.
    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<Journal>>) {}
}
