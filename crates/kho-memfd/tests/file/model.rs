//! A file against a vector: what the model is.

use super::*;

mod world;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    Own,
    Preserved,
    Frozen,
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, usize, u8),
    Truncate(u64),
    Seal(u32),
    Seek(SeekFrom),
    Read(usize),
    Put(usize, u8),
    Insert(u64, u8),
    /// An allocation fails.
    Fail(u64),
    /// All but so many pages are taken by somebody else; none are again.
    Hog(u64),
    Release,
    Preserve,
    Unpreserve,
    Freeze,
    Unfreeze,
}

fn offsets() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..12 * PAGE,
        3 => (0u64..40).prop_map(|page| page * PAGE),
        1 => (2 << 20) - 2 * PAGE..(2 << 20) + PAGE,
    ]
}

fn lens() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => 0usize..300,
        4 => 0usize..20 * PAGE_SIZE,
        2 => (1usize..40).prop_map(|pages| pages * PAGE_SIZE),
        1 => (2usize << 20) - 10..(2 << 20) + 3 * PAGE_SIZE,
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let seal = prop_oneof![
        Just(SEAL_SEAL),
        Just(SEAL_SHRINK),
        Just(SEAL_GROW),
        Just(SEAL_WRITE),
        Just(SEAL_FUTURE_WRITE),
        Just(SEAL_EXEC),
        Just(SEALS + 1),
    ];
    let seek = prop_oneof![
        offsets().prop_map(SeekFrom::Start),
        (-9000i64..9000).prop_map(SeekFrom::Current),
        (-9000i64..9000).prop_map(SeekFrom::End),
        Just(SeekFrom::Start(MAX + 1)),
    ];
    let op = prop_oneof![
        10 => (offsets(), lens(), any::<u8>()).prop_map(|(at, len, seed)| Op::Write(at, len, seed)),
        4 => offsets().prop_map(Op::Truncate),
        1 => seal.prop_map(Op::Seal),
        2 => seek.prop_map(Op::Seek),
        2 => lens().prop_map(Op::Read),
        2 => (lens(), any::<u8>()).prop_map(|(len, seed)| Op::Put(len, seed)),
        2 => (0u64..40, 0u8..5).prop_map(|(index, order)| Op::Insert(index, order)),
        2 => (0u64..12).prop_map(Op::Fail),
        1 => (0u64..30).prop_map(Op::Hog),
        2 => Just(Op::Release),
        2 => Just(Op::Preserve),
        2 => Just(Op::Unpreserve),
        1 => Just(Op::Freeze),
        1 => Just(Op::Unfreeze),
    ];
    prop::collection::vec(op, 1..40)
}

/// What a memfd is, in a vector.
#[derive(Clone)]
struct Model {
    bytes: Vec<u8>,
    pos: u64,
    seals: u32,
    phase: Phase,
}

impl Model {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn may_resize(&self) -> Result<(), FileError> {
        match self.phase {
            Phase::Own => Ok(()),
            Phase::Preserved => Err(FileError::Preserved),
            Phase::Frozen => Err(FileError::Frozen),
        }
    }

    /// Whether a write may go ahead, where memory is there.
    fn may_write(&self, at: u64, len: usize, folios: &[(u64, u8)]) -> Result<(), FileError> {
        let end = at + len as u64;
        if len == 0 {
            return Ok(());
        }
        if self.phase == Phase::Frozen {
            return Err(FileError::Frozen);
        }
        if self.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
            return Err(FileError::Sealed("writing"));
        }
        if end > self.size() && self.seals & SEAL_GROW != 0 {
            return Err(FileError::Sealed("growing"));
        }
        let backed = (at / PAGE..end.div_ceil(PAGE)).all(|page| is_backed(folios, page));
        if self.phase == Phase::Preserved && (end > self.size() || !backed) {
            return Err(FileError::Preserved);
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (at, end) = (at as usize, at as usize + bytes.len());
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[at..end].copy_from_slice(bytes);
    }

    fn truncate(&mut self, size: u64) -> Result<(), FileError> {
        self.may_resize()?;
        if size < self.size() && self.seals & SEAL_SHRINK != 0 {
            return Err(FileError::Sealed("shrinking"));
        }
        if size > self.size() && self.seals & SEAL_GROW != 0 {
            return Err(FileError::Sealed("growing"));
        }
        self.bytes.resize(size as usize, 0);
        Ok(())
    }

    fn seal(&mut self, seals: u32) -> Result<(), FileError> {
        self.may_resize()?;
        if seals & !SEALS != 0 {
            return Err(FileError::UnknownSeals(seals.into()));
        }
        if self.seals & SEAL_SEAL != 0 {
            return Err(FileError::Sealed("more seals"));
        }
        self.seals |= seals;
        Ok(())
    }

    fn may_seek(&self) -> Result<(), ErrorKind> {
        match self.phase {
            Phase::Frozen => Err(ErrorKind::ResourceBusy),
            _ => Ok(()),
        }
    }

    fn seek(&mut self, to: SeekFrom) -> Result<u64, ErrorKind> {
        let pos = match to {
            SeekFrom::Start(pos) => Some(pos),
            SeekFrom::Current(by) => self.pos.checked_add_signed(by),
            SeekFrom::End(by) => self.size().checked_add_signed(by),
        };
        let pos = pos.ok_or(ErrorKind::InvalidInput)?;
        self.may_seek()?;
        if pos > MAX {
            return Err(ErrorKind::FileTooLarge);
        }
        self.pos = pos;
        Ok(pos)
    }

    fn may_insert(&self, index: u64, pages: u64, folios: &[(u64, u8)]) -> Result<(), FileError> {
        self.may_resize()?;
        if self.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE | SEAL_GROW) != 0 {
            return Err(FileError::Sealed("writing"));
        }
        let taken = (index..index + pages).any(|page| is_backed(folios, page));
        if taken || !index.is_multiple_of(pages) {
            return Err(FileError::TooLarge(index));
        }
        Ok(())
    }
}

fn is_backed(folios: &[(u64, u8)], page: u64) -> bool {
    let mut folios = folios.iter();
    folios.any(|(index, order)| (*index..index + (1 << order)).contains(&page))
}
