//! The objects that files depend on: those of handlers, and foreign ones.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kho_mem::PageSize;
use zerocopy::little_endian::U64;

use super::{Kind, LuoError, Orchestrator, State};
use crate::flb::per_area;
use crate::handler::{FlbEntry, State as HandlerState};
use crate::v5::{COMPAT_LEN, FlbSer, field};

/// An object that files depend on.
pub(super) struct Flb {
    pub(super) entry: FlbEntry,
    // With the first of its files, and until the last.
    pub(super) preserved: Option<(u64, HandlerState)>,
}

impl Flb {
    pub(super) const fn new(entry: FlbEntry) -> Self {
        Self {
            entry,
            preserved: None,
        }
    }

    /// How many files depend on it.
    pub(super) fn files(&self, kinds: &[Kind]) -> usize {
        let kinds = kinds.iter();
        let kinds = kinds.filter(|kind| self.entry.serves(kind.handler.component()));
        kinds.map(|kind| kind.busy.len()).sum()
    }
}

/// Unpreserves the objects that the files of `component`'s handler depended on, the latest first, where no file
/// is left that does.
pub(super) fn release(flbs: &mut [Flb], kinds: &[Kind], component: &str) {
    for flb in flbs.iter_mut().rev() {
        if flb.preserved.is_some()
            && flb.entry.serves(component)
            && flb.files(kinds) == 0
            && let Some((_, state)) = flb.preserved.take()
        {
            flb.entry.handler.unpreserve(state);
        }
    }
}

/// Whether handlers' objects fit the area, and their names its fields.
pub(super) fn check_flbs(flbs: &[FlbEntry]) -> Result<(), LuoError> {
    check_count(flbs.len())?;
    let mut names = flbs.iter().map(|entry| entry.handler.name());
    names.try_for_each(|name| flb_name(name).map(drop))
}

fn check_count(count: usize) -> Result<(), LuoError> {
    let most = per_area(PageSize::K4);
    if count as u64 <= most {
        return Ok(());
    }
    let text = format!("{count} FLBs, where {most} fit");
    Err(LuoError::BadFlb(text))
}

/// The field of an FLB's name.
pub(super) fn flb_name(name: &str) -> Result<[u8; COMPAT_LEN], LuoError> {
    let printable = name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let field = field(name.as_bytes()).filter(|_| printable && !name.is_empty());
    field.ok_or_else(|| {
        LuoError::BadFlb(format!(
            "`{name}` is no FLB's name: 1 to {} printable bytes are",
            COMPAT_LEN - 1
        ))
    })
}

impl Orchestrator {
    /// Adds FLBs that have no handler here: each is its name, what its entry holds, and how many
    /// files depend on it. They are written as they stand, behind those of handlers, when a freeze
    /// finds at least that many files. Memory that an entry names is its owner's affair.
    ///
    /// For making an image of what another system handed over, whose objects this one can not
    /// preserve.
    ///
    /// # Errors
    ///
    /// A name is none or is taken, nobody depends on an object, more objects than fit the area, or
    /// an update is under way. None is added then.
    pub fn with_foreign_flbs(
        self,
        flbs: impl IntoIterator<Item = (String, u64, u64)>,
    ) -> Result<Self, LuoError> {
        let flbs: Vec<_> = flbs.into_iter().collect();
        let mut state = self.0.state.enter()?;
        if state.frozen {
            return Err(LuoError::Frozen);
        }
        let mut foreign = state.foreign.clone();
        for (name, data, count) in flbs {
            let ser = FlbSer {
                name: flb_name(&name)?,
                data: U64::new(data),
                count: U64::new(count),
            };
            let mut own = state.flbs.iter();
            if own.any(|flb| flb.entry.handler.name() == name)
                || foreign.iter().any(|other| other.name == ser.name)
            {
                return Err(LuoError::BadFlb(format!(
                    "there is an FLB `{name}` already"
                )));
            }
            if count == 0 {
                let text = format!("FLB `{name}`: an object that no file depends on is gone");
                return Err(LuoError::BadFlb(text));
            }
            foreign.push(ser);
        }
        check_count(state.flbs.len() + foreign.len())?;
        state.foreign = foreign;
        drop(state);
        Ok(self)
    }
}

impl State {
    /// No object has more files than there are: a reader takes that for damage.
    pub(super) fn check_foreign(&self) -> Result<(), LuoError> {
        let sessions = self.sessions.iter().flatten();
        let files = sessions.fold(0, |sum, session| sum + session.files.len() as u64);
        let over = self.foreign.iter().find(|flb| flb.count.get() > files);
        over.map_or(Ok(()), |flb| {
            let name = flb.name.split(|byte| *byte == 0).next().unwrap_or_default();
            let (name, count) = (name.escape_ascii(), flb.count.get());
            let text = format!("FLB `{name}` is of {count} files, where there are {files}");
            Err(LuoError::BadFlb(text))
        })
    }
}
