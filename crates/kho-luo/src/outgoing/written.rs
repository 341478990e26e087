//! What a freeze writes for the next kernel: entries of sessions and files, the FLB area, the header.

use alloc::vec::Vec;

use kho_mem::{Broken, PhysAddr, fill, put};
use zerocopy::little_endian::U64;

use super::{Shared, State};
use crate::v5::{
    COMPAT_LEN, FileSer, FileSetSer, FlbSer, SESSION_NAME_LEN, SUBTREE, SessionSer, field,
};
use crate::{flb, header};

impl Shared {
    /// Writes the sessions, files and FLBs into their blocks, which are there, and then the header that leads to
    /// them.
    pub(super) fn serialize(&self, state: &mut State) -> Result<(), Broken> {
        let sessions = state.by_name.len();
        for session in state.sessions.iter_mut().flatten() {
            let (count, room) = (session.files.len(), session.set.capacity());
            for file in &session.files {
                let kind = state.kinds.get(file.kind);
                let kinds = state.kinds.len();
                let kind = kind.ok_or(Broken::new("file handlers", file.kind + 1, kinds))?;
                let entry = session.set.reserve_entry();
                let entry = entry.map_err(|_| Broken::new("entries of a file set", count, room))?;
                *entry = FileSer {
                    compatible: kind.compatible,
                    data: U64::new(file.data),
                    token: U64::new(file.token.get()),
                };
            }
            same("files of a session", count, session.set.len())?;
            let name = session.name.as_bytes();
            let long = Broken::new("bytes of a session's name", SESSION_NAME_LEN, name.len());
            let room = state.set.capacity();
            let entry = state.set.reserve_entry();
            *entry.map_err(|_| Broken::new("entries of the session set", sessions, room))? =
                SessionSer {
                    name: field(name).ok_or(long)?,
                    file_set_ser: FileSetSer {
                        files: U64::new(session.set.head().get()),
                        count: U64::new(count as u64),
                    },
                };
        }
        same("sessions", sessions, state.set.len())?;
        let mut flbs = Vec::new();
        for flb in &state.flbs {
            let Some((data, _)) = &flb.preserved else {
                continue;
            };
            let name = flb.entry.handler.name().as_bytes();
            let long = Broken::new("bytes of an FLB's name", COMPAT_LEN, name.len());
            flbs.push(FlbSer {
                name: field(name).ok_or(long)?,
                data: U64::new(*data),
                count: U64::new(flb.files(&state.kinds) as u64),
            });
        }
        flbs.extend_from_slice(&state.foreign);
        fill(
            &mut state.area,
            &flb::encode(&flbs),
            "bytes of the FLB area",
        )?;
        self.write_header(state.set.head(), state.area.addr())
    }

    /// Takes back what `serialize` wrote.
    pub(super) fn unserialize(&self, state: &mut State) {
        state.set.clear();
        let sessions = state.sessions.iter_mut().flatten();
        sessions.for_each(|session| session.set.clear());
        state.area.fill(0);
        // Where this fails, serializing has failed with it, and does so again.
        if let Err(error) = self.write_header(state.set.head(), state.area.addr()) {
            tracing::error!(%error, "the LUO header stays");
        }
    }

    /// Writes the header, which leads to the block set of sessions and the FLB area.
    pub(super) fn write_header(&self, sessions: PhysAddr, flbs: PhysAddr) -> Result<(), Broken> {
        let number = self.number.checked_add(1);
        let number = number.ok_or(Broken::new("bits of the count of updates", 65, 64))?;
        let bytes = header::encode(&self.compatible, number, sessions, flbs);
        let written = self.kho.with_subtree(SUBTREE, |blob| {
            same("bytes of the LUO header", bytes.len(), blob.len())?;
            put(blob, 0, &bytes, "bytes of the LUO header")
        });
        written.unwrap_or(Err(Broken::new("LUO subtrees", 1, 0)))
    }
}

fn same(what: &'static str, expected: usize, found: usize) -> Result<(), Broken> {
    if expected == found {
        return Ok(());
    }
    Err(Broken::new(what, expected, found))
}
