//! Checksums of the files' contents.

use kho_compat::Admitted;
use kho_memfd::{Memfd, Piece};
use sha2::{Digest, Sha256};

use crate::{Error, Progress, Step, Survey};

/// The sha256 of each file's contents, by session and file; `None` for what was not read.
pub type Hashes = Vec<Vec<Option<String>>>;

impl Survey<'_> {
    /// Computes the sha256 of every file that was read, as an admitted handover restores it.
    ///
    /// # Errors
    ///
    /// The verdict does not cover a file, memory can not be read, or `progress` asked to stop.
    pub fn hash(&self, admitted: &Admitted, progress: &mut Progress<'_>) -> Result<Hashes, Error> {
        let (Some(handover), Some(luo)) = (&self.handover, &self.luo) else {
            return Ok(Vec::new());
        };
        let mut reading = handover.reading()?;
        let sessions = luo
            .restore(admitted)
            .map_err(|error| Error::Unrestorable(error.to_string()))?;
        let (mut done, total) = (0u64, self.bytes());
        let mut hashes = Vec::new();
        for (session, facts) in sessions.iter().zip(&self.memfds) {
            let mut of_session = Vec::new();
            for (file, facts) in session.files().zip(facts) {
                if facts.is_none() {
                    of_session.push(None);
                    continue;
                }
                let memfd = Memfd::restore(&mut reading.admitted(admitted), &file)
                    .map_err(Error::of_restore)?;
                let mut hash = Hasher::default();
                for piece in memfd.pieces() {
                    let piece = piece.map_err(|error| Error::of_memory(&error))?;
                    hash.update(piece);
                    done += piece.len();
                    if !progress(Step::Hash, done, Some(total)) {
                        return Err(Error::Interrupted);
                    }
                }
                of_session.push(Some(hash.finish()));
            }
            hashes.push(of_session);
        }
        Ok(hashes)
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
