//! Reading LUO's header and all that hangs on it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kho_block::Format;
use kho_compat::{Announced, Carrier, Judge, Manifest, NotAdmitted, Place};
use kho_core::Handover;
use kho_mem::{Damage, Located, PhysAddr, PhysMemExt};
use kho_radix::Reading;

use crate::header::{Header, check_size};
use crate::session::{Handlers, read as read_sessions};
use crate::v5::{LuoSerTail, SUBTREE, VERSION};
use crate::{COMPONENT, Flb, Handler, NAME, Session, flb};

/// What LUO handed over.
#[derive(Clone, Debug)]
pub struct Luo {
    at: PhysAddr,
    compatible: String,
    // As its string says it.
    pub(crate) announced: Announced,
    body: Result<Body, NotAdmitted>,
}

/// What LUO handed over, beyond its version.
#[derive(Clone, Debug)]
pub struct Body {
    pub(crate) liveupdate_num: u64,
    pub(crate) block_version: u32,
    pub(crate) sessions: Vec<Session>,
    pub(crate) session_blocks: usize,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) flbs: Vec<Flb>,
    pub(crate) flb_pages: Option<u64>,
}

impl Luo {
    /// Reads and checks all that LUO handed over in `handover`, and claims its memory; `None`
    /// where it handed nothing over. The contents of files are their handlers' affair.
    ///
    /// Of a version that `judge` does not take or no code here reads, or with blocks of such a version, the
    /// string alone is read.
    ///
    /// # Errors
    ///
    /// The header, a session, a file entry or an FLB is damaged.
    pub fn read<'r>(
        handover: &Handover<'_>,
        reading: &mut Reading<'_>,
        judge: impl Into<Judge<'r>>,
    ) -> Result<Option<Self>, Damage> {
        Self::read_by(handover, reading, Some(judge.into()))
    }

    /// As [`Luo::read`]; where nobody judges, the string alone.
    pub(crate) fn read_by(
        handover: &Handover<'_>,
        reading: &mut Reading<'_>,
        judge: Option<Judge<'_>>,
    ) -> Result<Option<Self>, Damage> {
        let Some(subtree) = handover.subtree(SUBTREE) else {
            return Ok(None);
        };
        reading
            .within("LUO", |reading| {
                read(handover, reading, judge, subtree.addr, subtree.size)
            })
            .map(Some)
    }

    /// Where the header lies.
    #[must_use]
    pub const fn at(&self) -> PhysAddr {
        self.at
    }

    /// Its compat string, as it stands there.
    #[must_use]
    pub fn compatible(&self) -> &str {
        &self.compatible
    }

    /// What was handed over; `None` where the version is not one that is restored here.
    #[must_use]
    pub const fn body(&self) -> Option<&Body> {
        match &self.body {
            Ok(body) => Some(body),
            Err(_) => None,
        }
    }

    /// As [`Luo::body`], and why it was not read.
    pub(crate) fn try_body(&self) -> Result<&Body, NotAdmitted> {
        self.body.as_ref().map_err(Clone::clone)
    }

    /// Adds its string, that of every file handler and every FLB to `manifest`.
    pub fn add_to(&self, manifest: &mut Manifest) {
        let place = Place::new(self.at.get(), "LUO header, compatible");
        manifest.add(Carrier::Luo, &self.compatible, place);
        let Ok(body) = &self.body else { return };
        for handler in &body.handlers {
            let (at, session) = &handler.first;
            let place = Place::new(
                at.get(),
                format!("LUO, session `{session}`, a file's compatible"),
            );
            manifest.add_uses(
                Carrier::FileHandler,
                &handler.compatible,
                place,
                handler.files,
            );
        }
        for flb in &body.flbs {
            let place = Place::new(flb.at.get(), "LUO, FLB name");
            manifest.add_uses(Carrier::Flb, &flb.name, place, flb.count);
        }
    }
}

impl Body {
    /// How many live updates there were, the one that led here included.
    #[must_use]
    pub const fn liveupdate_num(&self) -> u64 {
        self.liveupdate_num
    }

    /// The version of the blocks that its sessions and files stand in.
    #[must_use]
    pub const fn block_version(&self) -> u32 {
        self.block_version
    }

    /// The sessions in order of creation.
    #[must_use]
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// Blocks of the session set.
    #[must_use]
    pub const fn session_blocks(&self) -> usize {
        self.session_blocks
    }

    /// The file handlers, in the order of their first files.
    #[must_use]
    pub fn handlers(&self) -> &[Handler] {
        &self.handlers
    }

    /// The handler's compat string of a file of this body.
    #[must_use]
    pub fn compatible_of(&self, file: &crate::File) -> &str {
        self.handlers
            .get(file.handler as usize)
            .map_or("", |handler| &handler.compatible)
    }

    /// The file-lifecycle-bound objects.
    #[must_use]
    pub fn flbs(&self) -> &[Flb] {
        &self.flbs
    }

    /// Pages of the FLB area; `None` where there is none.
    #[must_use]
    pub const fn flb_pages(&self) -> Option<u64> {
        self.flb_pages
    }

    /// Files in all sessions.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.sessions
            .iter()
            .map(|session| session.files.len() as u64)
            .sum()
    }
}

/// What the string of a LUO announces as `judge` reads it, and the version of its blocks, where `judge` takes
/// both and they are read here.
fn versions(
    handover: &Handover<'_>,
    judge: Option<Judge<'_>>,
    announced: &Announced,
    compatible: &str,
) -> Result<(Announced, u32), NotAdmitted> {
    let refused = || NotAdmitted::new(NAME, VERSION, compatible);
    let judge = judge.ok_or_else(refused)?;
    let manifest = handover.announces(judge.registry, Carrier::Luo, compatible);
    let admitted = judge.admit(manifest);
    let announced = match &admitted {
        Ok(admitted) => admitted.announced(announced),
        Err(_) => announced.clone(),
    };
    let version = Format::announced(&announced)?.version();
    // A table says it of a plain string.
    let (registry, name) = (judge.registry, kho_block::NAME);
    if registry.get(name).is_some() && !registry.restores(name, version) {
        let expected = registry.restorable_text(name);
        return Err(NotAdmitted::no_reader(name, version, expected));
    }
    let admitted = admitted.map_err(|_| refused())?;
    admitted.found(&announced, &COMPONENT)?;
    admitted.found_announced(&announced, &kho_block::COMPONENT)?;
    Ok((announced, version))
}

pub(crate) fn read(
    handover: &Handover<'_>,
    reading: &mut Reading<'_>,
    judge: Option<Judge<'_>>,
    at: PhysAddr,
    size: u64,
) -> Result<Luo, Damage> {
    check_size(size, at)?;
    // Bounded just above.
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    let mem = reading.mem();
    let bytes = mem
        .bytes(at, len)
        .map_err(|error| error.damage("blob", at))?;
    let header = Header::decode(&bytes, at)?;
    let compatible = header.compatible();
    let announced = reading.announced().in_string(compatible);
    let (announced, body) = match versions(handover, judge, &announced, compatible) {
        Ok((announced, version)) => {
            let tail = header.tail()?;
            let body =
                reading.announcing(announced.clone(), |reading| body(reading, &tail, version))?;
            (announced, Ok(body))
        }
        // What lies behind the string is another version's: not ours to interpret.
        Err(error) => (announced, Err(error)),
    };
    Ok(Luo {
        at,
        compatible: compatible.to_owned(),
        announced,
        body,
    })
}

/// Reads all that hangs on the header.
fn body(
    reading: &mut Reading<'_>,
    header: &Located<LuoSerTail>,
    block_version: u32,
) -> Result<Body, Damage> {
    let mut handlers = Handlers::default();
    let head = header.link(|header| &header.sessions_pa, "session set");
    let (session_blocks, sessions) = read_sessions(reading, head, &mut handlers)?;
    let files = sessions
        .iter()
        .map(|session| session.files.len() as u64)
        .sum();

    let area = header.link(|header| &header.flbs_pa, "FLB area");
    let (flb_pages, flbs) = if area.is_null() {
        (None, Vec::new())
    } else {
        let (pages, flbs) =
            reading.within("FLB area", |reading| flb::read(reading, area, files))?;
        (Some(pages), flbs)
    };
    tracing::debug!(
        sessions = sessions.len(),
        files,
        flbs = flbs.len(),
        "LUO read"
    );
    Ok(Body {
        liveupdate_num: header.liveupdate_num.get(),
        block_version,
        sessions,
        session_blocks,
        handlers: handlers.list,
        flbs,
        flb_pages,
    })
}
