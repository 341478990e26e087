//! Checksums of the files' contents.

use kho_mem::Piece;
use sha2::{Digest, Sha256};

use crate::{Error, Survey, SurveyProgress, SurveyStep};

impl Survey<'_> {
    /// Computes the sha256 of every file that was read, as an admitted handover restores it. From here on
    /// it is among the file's facts; or, of a file whose contents the dump does not store, how many bytes it
    /// lacks. Returns the number of those files.
    ///
    /// # Errors
    ///
    /// The verdict does not cover a file, memory can not be read, or `progress` asked to stop.
    pub fn hash(&mut self, progress: &mut SurveyProgress<'_>) -> Result<usize, Error> {
        self.look_at_files(true, progress)
    }

    /// Finds what the dump does not store of every file that was read, without reading what it stores. From
    /// here on it is among the file's facts. Returns the number of files that lack something.
    ///
    /// # Errors
    ///
    /// As [`Survey::hash`].
    pub fn find_not_stored(&mut self, progress: &mut SurveyProgress<'_>) -> Result<usize, Error> {
        self.look_at_files(false, progress)
    }

    fn look_at_files(
        &mut self,
        hashed: bool,
        progress: &mut SurveyProgress<'_>,
    ) -> Result<usize, Error> {
        let (Some(Ok(admitted)), Some(handover)) = (&self.verdict, &self.handover) else {
            return Ok(0);
        };
        let Some(luo) = self.luo() else {
            return Ok(0);
        };
        let mut reading = handover.reading()?;
        let sessions = luo
            .luo()
            .restore(admitted)
            .map_err(|error| Error::Unrestorable(error.to_string()))?;
        let (mut done, total) = (0u64, luo.bytes());
        let step = if hashed {
            SurveyStep::Hash
        } else {
            SurveyStep::Contents
        };
        let mut looked_at = Vec::new();
        for (of, session) in sessions.iter().enumerate() {
            for (index, file) in session.files().enumerate() {
                let Some(owner) = luo.owner_of(of, index) else {
                    continue;
                };
                let restored = owner.restore(&mut reading.admitted(admitted), &file)?;
                let Some(restored) = restored else { continue };
                let not_stored = restored.not_stored();
                let not_stored = not_stored.map_err(|error| Error::of_memory(&error))?;
                let lacks: u64 = not_stored.iter().map(|(_, len)| len).sum();
                let mut hash = Hasher::default();
                let read = hashed && lacks == 0;
                let pieces = read.then(|| restored.pieces());
                for piece in pieces.into_iter().flatten() {
                    let piece = piece.map_err(|error| Error::of_memory(&error))?;
                    hash.update(piece);
                    done += piece.len();
                    if !progress(step, done, Some(total)) {
                        return Err(Error::Interrupted);
                    }
                }
                if !read {
                    done += restored.size();
                }
                if !progress(step, done, Some(total)) {
                    return Err(Error::Interrupted);
                }
                let sum = read.then(|| hash.finish());
                looked_at.push((of, index, sum, lacks));
            }
        }
        let lacking = looked_at.iter().filter(|(.., lacks)| *lacks > 0).count();
        for (session, file, sum, lacks) in looked_at {
            let Some(luo) = self.luo_mut() else { break };
            luo.set_not_stored(session, file, lacks);
            if let Some(sum) = sum {
                luo.set_sha256(session, file, sum);
            }
        }
        Ok(lacking)
    }
}

/// Computes the sha256 of a file from its pieces.
#[derive(Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds the next piece.
    pub fn update(&mut self, piece: Piece<'_>) {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        match piece {
            Piece::Data(bytes) => self.0.update(bytes),
            Piece::Hole(mut len) => {
                while len > 0 {
                    let step = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
                    self.0.update(ZEROS.get(..step).unwrap_or(&ZEROS));
                    len -= step as u64;
                }
            }
        }
    }

    /// Returns the checksum in hexadecimal digits.
    #[must_use]
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
