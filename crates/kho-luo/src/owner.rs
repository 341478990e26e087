//! LUO in a survey: the header, the sessions and their files.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kho_compat::describe::Members;
use kho_compat::{Announced, Branch, Carrier, Compat, Fact, Grammar, Manifest, count, size};
use kho_core::{Contents, Owner, Position, Stopped, Subtree, Surveying};
use kho_mem::{Damage, Defect, PhysAddr};
use kho_radix::Reading;

use crate::files::{Column, FileContents, FileOwner, FileOwners};
use crate::read::read;
use crate::v5::VERSION;
use crate::{Body, COMPONENT, Flb, Header, Luo, NAME, Session, SessionName};

/// The owner of LUO's subtree.
pub(crate) const OWNER: Owner = Owner::new(&COMPONENT, survey)
    .at(Position::Last)
    .peeked_at(peek);

kho_compat::submit! { OWNER }

/// What a survey finds of LUO: what it handed over, and what was read of each file.
#[derive(Debug)]
pub struct Surveyed {
    luo: Luo,
    // By session and file, and a checksum where one was computed.
    files: Vec<Vec<Option<FileFound>>>,
}

#[derive(Debug)]
struct FileFound {
    owner: &'static FileOwner,
    contents: Box<dyn FileContents>,
    sha256: Option<String>,
    // Bytes that the dump does not store.
    not_stored: u64,
}

fn survey(
    surveying: &mut Surveying<'_, '_>,
    subtree: &Subtree,
) -> Result<Box<dyn Contents>, Damage> {
    let (handover, judge) = (surveying.handover, Some(surveying.judge));
    let luo = surveying.reading.within("LUO", |reading| {
        read(handover, reading, judge, subtree.addr, subtree.size)
    })?;
    let files = Vec::new();
    Ok(Box::new(Surveyed { luo, files }))
}

impl Surveyed {
    /// What LUO handed over.
    #[must_use]
    pub const fn luo(&self) -> &Luo {
        &self.luo
    }

    /// The sessions; none where they were not read.
    #[must_use]
    pub fn sessions(&self) -> &[Session] {
        self.luo.body().map(Body::sessions).unwrap_or_default()
    }

    /// What the string `compatible` announces to `owner`, where its files are read: the judge takes their version
    /// and those of what they need, and code here reads them.
    fn announced_to(
        &self,
        owner: &FileOwner,
        surveying: &Surveying<'_, '_>,
        compatible: &str,
    ) -> Option<Announced> {
        let Surveying {
            handover, judge, ..
        } = surveying;
        let manifest = handover.announces(judge.registry, Carrier::FileHandler, compatible);
        let admitted = judge.admit(manifest).ok()?;
        let announced = admitted.announced(&handover.announced().in_string(compatible));
        let found = admitted.found_all(&announced, owner.component, judge.registry);
        found.ok().map(|()| announced)
    }

    fn found(&self, session: usize, file: usize) -> Option<&FileFound> {
        self.files.get(session)?.get(file)?.as_ref()
    }

    /// What was found of a file, by the indices of its session and of the file; `None` for one that is
    /// of a handler or a version that is not read here.
    #[must_use]
    pub fn file(&self, session: usize, file: usize) -> Option<&dyn FileContents> {
        self.found(session, file).map(|found| &*found.contents)
    }

    /// The owner of a file that was read.
    #[must_use]
    pub fn owner_of(&self, session: usize, file: usize) -> Option<&'static FileOwner> {
        self.found(session, file).map(|found| found.owner)
    }

    /// The checksum of a file's contents, where one was computed.
    #[must_use]
    pub fn sha256(&self, session: usize, file: usize) -> Option<&str> {
        self.found(session, file)?.sha256.as_deref()
    }

    /// Notes the checksum of a file's contents.
    pub fn set_sha256(&mut self, session: usize, file: usize, sum: String) {
        let of_session = self.files.get_mut(session);
        if let Some(Some(found)) = of_session.and_then(|files| files.get_mut(file)) {
            found.sha256 = Some(sum);
        }
    }

    /// How many bytes of a file's contents the dump is known not to store.
    #[must_use]
    pub fn not_stored(&self, session: usize, file: usize) -> u64 {
        self.found(session, file)
            .map_or(0, |found| found.not_stored)
    }

    /// Notes how many bytes of a file's contents the dump does not store.
    pub fn set_not_stored(&mut self, session: usize, file: usize, bytes: u64) {
        let of_session = self.files.get_mut(session);
        if let Some(Some(found)) = of_session.and_then(|files| files.get_mut(file)) {
            found.not_stored = bytes;
        }
    }

    /// Bytes of all files that were read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|files| bytes(files))
            .fold(0, u64::saturating_add)
    }

    fn session_facts(&self, body: &Body, index: usize, session: &Session) -> Fact {
        let file = |(at, file): (usize, &crate::File)| {
            let mut facts: Members = vec![
                ("compatible".to_string(), body.compatible_of(file).into()),
                ("token".to_string(), file.token.get().into()),
            ];
            if let Some(found) = self.found(index, at) {
                facts.extend(found.contents.facts());
                let sum = found.sha256.as_ref();
                facts.extend(sum.map(|sum| ("sha256".to_string(), sum.into())));
                if found.not_stored > 0 {
                    facts.push(("not_stored".to_string(), found.not_stored.into()));
                }
            }
            Fact::Map(facts)
        };
        let files: Fact = session.files().iter().enumerate().map(file).collect();
        let mut facts = session.name().facts();
        facts.extend([
            ("count".to_string(), session.files().len().into()),
            ("files".to_string(), files),
            ("file_blocks".to_string(), session.file_blocks().into()),
        ]);
        Fact::Map(facts)
    }

    fn session_branch(&self, body: &Body, index: usize, limit: usize) -> Branch {
        let Some(session) = body.sessions().get(index) else {
            return Branch::default();
        };
        let found = self.files.get(index).map(Vec::as_slice);
        let files = session.files().len() as u64;
        let mut branch = Branch::new("session ")
            .strong(session.name().to_string())
            .plain(format!("  {}", count(files, "file")));
        if files > 0 {
            let all = size(bytes(found.unwrap_or_default()));
            branch = branch.plain(format!(", {all}"));
        }
        let shown = session.files().iter().take(limit).enumerate();
        let rows = shown.map(|(at, file)| Row {
            token: format!("{:#x}", file.token),
            compatible: body.compatible_of(file),
            shown: found.and_then(|found| {
                let found = found.get(at)?.as_ref();
                Some(found.map(|found| Shown {
                    columns: found.contents.columns(),
                    sum: found.sha256.as_deref(),
                    not_stored: found.not_stored,
                }))
            }),
        });
        let rows: Vec<_> = rows.collect();
        let token = rows.iter().map(|row| row.token.len()).max().unwrap_or(0);
        let widths = widths(&rows);
        let mut rows = rows.iter();
        branch.list(session.files(), limit, "file", |_| {
            let row = rows.next();
            row.map_or_else(Branch::default, |row| row.branch(token, &widths))
        });
        branch
    }
}

fn bytes(files: &[Option<FileFound>]) -> u64 {
    let sizes = files
        .iter()
        .flatten()
        .filter_map(|found| found.contents.size());
    sizes.fold(0, u64::saturating_add)
}

/// A file's line. Without anything shown nothing was looked for; with none in it it was not read.
struct Row<'r> {
    token: String,
    compatible: &'r str,
    shown: Option<Option<Shown<'r>>>,
}

/// What is shown of a file that was read.
struct Shown<'r> {
    columns: Vec<Column>,
    sum: Option<&'r str>,
    not_stored: u64,
}

/// The width of the value of each column that is aligned.
fn widths(rows: &[Row<'_>]) -> Vec<usize> {
    let mut widths = Vec::new();
    for shown in rows.iter().filter_map(|row| row.shown.as_ref()?.as_ref()) {
        widths.resize(widths.len().max(shown.columns.len()), 0);
        for (width, column) in widths.iter_mut().zip(&shown.columns) {
            if column.is_aligned() {
                *width = (*width).max(column.value.len());
            }
        }
    }
    widths
}

impl Row<'_> {
    fn branch(&self, token: usize, widths: &[usize]) -> Branch {
        let mut text = format!("{:<token$}  {}", self.token, self.compatible);
        let shown = match &self.shown {
            None => return Branch::new(text),
            Some(None) => {
                text.push_str("  ");
                return Branch::new(text).warning("contents not read");
            }
            Some(Some(shown)) => shown,
        };
        for (column, width) in shown.columns.iter().zip(widths) {
            let Column {
                before,
                value,
                after,
            } = column;
            text.push_str(&format!("  {before}{value:>width$}{after}"));
        }
        let mut branch = Branch::new(text);
        if shown.not_stored > 0 {
            let bytes = count(shown.not_stored, "byte");
            branch = branch
                .plain("  ")
                .warning(format!("{bytes} not stored in this dump"));
        }
        let sum = shown
            .sum
            .map(|sum| Branch::default().dim(format!("sha256 {sum}")));
        branch.children.extend(sum);
        branch
    }
}

impl SessionName {
    /// The name for programs, and its bytes where it is no text.
    #[must_use]
    pub fn facts(&self) -> Members {
        let name = |text: &str| ("name".to_string(), text.into());
        let Some(text) = self.as_str() else {
            let hex = self.as_bytes().iter().map(|byte| format!("{byte:02x}"));
            let hex: String = hex.collect();
            return vec![
                name(&self.to_string()),
                ("name_bytes".to_string(), hex.into()),
            ];
        };
        vec![name(text)]
    }
}

fn flbs(body: &Body) -> Fact {
    let flb = |flb: &Flb| {
        Fact::map([
            ("name", (&flb.name).into()),
            ("data", flb.data.into()),
            ("count", flb.count.into()),
        ])
    };
    body.flbs().iter().map(flb).collect()
}

impl Contents for Surveyed {
    fn add_to(&self, manifest: &mut Manifest) {
        self.luo.add_to(manifest);
    }

    fn follow(&mut self, surveying: &mut Surveying<'_, '_>) -> Result<(), Stopped> {
        let Some(body) = self.luo.body() else {
            return Ok(());
        };
        let owners = FileOwners::linked().unwrap_or_default();
        let handlers = body.handlers().iter().map(|handler| {
            let owner = owners.of(&handler.compatible)?;
            let announced = self.announced_to(owner, surveying, &handler.compatible)?;
            Some((owner, announced))
        });
        let handlers: Vec<_> = handlers.collect();
        let (mut done, total) = (0, body.files());
        let mut found = Vec::with_capacity(body.sessions().len());
        for session in body.sessions() {
            let mut files = Vec::with_capacity(session.files().len());
            for file in session.files() {
                if !(surveying.progress)(done, total) {
                    return Err(Stopped::Interrupted);
                }
                done += 1;
                let Some(Some((owner, announced))) = handlers.get(file.handler()) else {
                    files.push(None);
                    continue;
                };
                let read = |reading: &mut Reading<'_>| owner.survey(reading, file);
                let contents = surveying.reading.announcing(announced.clone(), read);
                let contents = contents.map_err(|damage| {
                    damage
                        .within(format!("session `{}`", session.name()))
                        .within("LUO")
                })?;
                files.push(Some(FileFound {
                    owner,
                    contents,
                    sha256: None,
                    not_stored: 0,
                }));
            }
            found.push(files);
        }
        self.files = found;
        Ok(())
    }

    fn facts(&self) -> (&'static str, Fact) {
        let mut facts: Members = vec![("compatible".to_string(), self.luo.compatible().into())];
        if let Some(body) = self.luo.body() {
            let sessions = body.sessions().iter().enumerate();
            let sessions = sessions.map(|(index, one)| self.session_facts(body, index, one));
            facts.extend([
                ("liveupdate_num".to_string(), body.liveupdate_num().into()),
                ("sessions".to_string(), sessions.collect()),
                ("session_blocks".to_string(), body.session_blocks().into()),
                ("flbs".to_string(), flbs(body)),
            ]);
            let pages = body.flb_pages();
            facts.extend(pages.map(|pages| ("flb_pgcnt".to_string(), pages.into())));
        }
        ("luo", facts.into())
    }

    fn tree(&self, limit: usize) -> Branch {
        let compatible = self.luo.compatible();
        let Some(body) = self.luo.body() else {
            return Branch::default()
                .bad(compatible)
                .plain("  ")
                .dim("not read");
        };
        let sessions: Vec<_> = (0..body.sessions().len()).collect();
        let mut branch = Branch::default().strong(compatible).plain(format!(
            "  live update {}: {}, {}, {}",
            body.liveupdate_num(),
            count(sessions.len() as u64, "session"),
            count(body.files(), "file"),
            size(self.bytes()),
        ));
        branch.list(&sessions, limit, "session", |index| {
            self.session_branch(body, *index, limit)
        });
        if !body.flbs().is_empty() {
            let mut flbs = Branch::new("file-lifecycle-bound objects");
            flbs.list(body.flbs(), limit, "object", |flb| {
                let files = count(flb.count, "file");
                Branch::new(format!("{}  ", flb.name)).dim(format!("{files}, data {:#x}", flb.data))
            });
            branch.children.push(flbs);
        }
        branch
    }

    fn unread(&self) -> Option<String> {
        let what = || {
            format!(
                "what lies behind a LUO header of `{}`",
                self.luo.compatible()
            )
        };
        self.luo.body().is_none().then(what)
    }

    fn noted(&self) -> Members {
        let Some(body) = self.luo.body() else {
            return Members::new();
        };
        vec![
            ("luo".to_string(), self.luo.compatible().into()),
            ("liveupdate_num".to_string(), body.liveupdate_num().into()),
            ("flbs".to_string(), flbs(body)),
        ]
    }
}

fn peek(blob: &[u8], at: PhysAddr) -> Result<(Members, Branch), Damage> {
    let within = |damage: Damage| damage.within("LUO");
    let header = Header::decode(blob, at).map_err(within)?;
    let compatible = header.compatible();
    // Memory that was taken over holds anything by now, other text included.
    let compat = Compat::parse_as(compatible, Grammar::Lenient).map_err(|error| {
        let damage = Damage::new(Defect::BadText, "compatible", at);
        within(
            damage
                .found(format!("\"{compatible}\""))
                .expected(format!("a compat string: {error}")),
        )
    })?;
    let mut facts: Members = vec![
        ("kind".to_string(), NAME.into()),
        ("compatible".to_string(), compatible.into()),
    ];
    // What follows the string belongs to another version.
    if (compat.base().name(), compat.base().version()) != (NAME, VERSION) {
        let line = Branch::default().warning(format!("{compatible}, not read"));
        return Ok((facts, line));
    }
    let tail = header.tail().map_err(within)?;
    let number = tail.liveupdate_num.get();
    let address = |value: u64| (value != 0).then(|| PhysAddr::new(value));
    let (sessions, flbs) = (address(tail.sessions_pa.get()), address(tail.flbs_pa.get()));
    let fact =
        |name: &str, addr: Option<PhysAddr>| (name.to_string(), addr.map(PhysAddr::get).into());
    facts.push(("liveupdate_num".to_string(), number.into()));
    facts.extend([fact("sessions_pa", sessions), fact("flbs_pa", flbs)]);
    let mut where_they_are = match sessions {
        Some(addr) => format!("sessions at {addr}"),
        None => "sessions are written at the kexec".to_string(),
    };
    where_they_are.extend(flbs.map(|addr| format!(", FLBs at {addr}")));
    let line = Branch::default()
        .strong(compatible)
        .plain(format!(", live update {number}  "))
        .dim(where_they_are);
    Ok((facts, line))
}
