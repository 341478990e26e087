//! Checksums of the files' contents.

use kho_mem::Piece;
use sha2::{Digest, Sha256};

use crate::{Error, Survey, SurveyProgress, SurveyStep};

impl Survey<'_> {
    /// Computes the sha256 of every file that was read, as an admitted handover restores it. From here on
    /// it is among the file's facts.
    ///
    /// # Errors
    ///
    /// The verdict does not cover a file, memory can not be read, or `progress` asked to stop.
    pub fn hash(&mut self, progress: &mut SurveyProgress<'_>) -> Result<(), Error> {
        let (Some(Ok(admitted)), Some(handover)) = (&self.verdict, &self.handover) else {
            return Ok(());
        };
        let Some(luo) = self.luo() else {
            return Ok(());
        };
        let mut reading = handover.reading()?;
        let sessions = luo
            .luo()
            .restore(admitted)
            .map_err(|error| Error::Unrestorable(error.to_string()))?;
        let (mut done, total) = (0u64, luo.bytes());
        let mut sums = Vec::new();
        for (of, session) in sessions.iter().enumerate() {
            for (index, file) in session.files().enumerate() {
                let Some(owner) = luo.owner_of(of, index) else {
                    continue;
                };
                let restored = owner.restore(&mut reading.admitted(admitted), &file)?;
                let Some(restored) = restored else { continue };
                let mut hash = Hasher::default();
                for piece in restored.pieces() {
                    let piece = piece.map_err(|error| Error::of_memory(&error))?;
                    hash.update(piece);
                    done += piece.len();
                    if !progress(SurveyStep::Hash, done, Some(total)) {
                        return Err(Error::Interrupted);
                    }
                }
                sums.push((of, index, hash.finish()));
            }
        }
        for (session, file, sum) in sums {
            if let Some(luo) = self.luo_mut() {
                luo.set_sha256(session, file, sum);
            }
        }
        Ok(())
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
