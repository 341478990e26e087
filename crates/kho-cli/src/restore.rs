//! `kho restore`: the files of a handover, all of them or none.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kho_compat::{Admitted, Carrier, Token, View};
use kho_core::{RestoreError, RestoredFile};
use kho_image::Image;
use kho_luo::{AdmittedFile, AdmittedSession, File, Luo, Reading, Surveyed};
use kho_mem::MemErrorKind;
use kho_memfd::Piece;
use kho_survey::{Error, Found, Hasher, Survey, members_json};
use serde_json::{Map, Value, json};

use crate::args::RestoreArgs;
use crate::compat::registry;
use crate::error::Failure;
use crate::human::{count, size};
use crate::inspect::{open, survey_all};
use crate::lacking::{self, Lacking, Missing};
use crate::progress::Bar;
use crate::write::{SparseFile, Staging};

/// The manifest's own version: of this file format, not of any handover's.
pub(crate) const FORMAT: &str = "kho-restore-v1";
pub(crate) const MANIFEST: &str = "manifest.json";

pub(crate) fn run(args: &RestoreArgs) -> Result<(), Failure> {
    Failure::told(args.json, restore(args))
}

fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let image = open(&args.image)?;
    let mut survey = survey_all(&image, &args.image, &args.by)?;
    let admitted = match survey.verdict.take() {
        Some(Ok(admitted)) => admitted,
        Some(Err(refused)) => return Err(refused.into()),
        None => return Err(Failure::Unrestorable("no verdict was reached".to_owned())),
    };
    let luo = survey.luo().map(Surveyed::luo);
    let selected = Selected::new(args, luo, &admitted)?;
    let mut staging = Staging::new(&args.out, args.force)?;
    let written = write_files(args, &image, &survey, &admitted, &selected, &mut staging);
    // What is missing of a file that was cut meanwhile was read as zeros.
    image.check()?;
    let (manifest, lacking) = written?;
    staging.write(Path::new(MANIFEST), format!("{manifest:#}\n").as_bytes())?;
    staging.commit(&earlier(&args.out))?;
    report(args, &survey, &admitted, &manifest)?;
    if let Some(note) = lacking::note(&image).filter(|_| image.is_cut_short() && !args.json) {
        writeln!(anstream::stdout(), "note: {note}").map_err(Failure::Output)?;
    }
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Failure::NotStored(lacking::lines(
        &lacking,
        args.allow_missing,
    )))
}

/// What an earlier restore left in `out`: the directories that its manifest lists, and the
/// manifest. Nothing where there is none.
fn earlier(out: &Path) -> Vec<PathBuf> {
    let manifest = out.join(MANIFEST);
    let value = std::fs::read(&manifest)
        .ok()
        .and_then(|b| serde_json::from_slice::<Value>(&b).ok());
    let Some(value) = value.filter(|value| value.get("format") == Some(&FORMAT.into())) else {
        return Vec::new();
    };
    let listed = |member: &str| value.get(member).and_then(Value::as_array);
    let parts = ["sessions", "subtrees"].into_iter().filter_map(listed);
    let dirs = parts.flatten().filter_map(|part| part.get("dir")?.as_str());
    // A name with a separator is not one that a restore wrote.
    let dirs = dirs.filter(|dir| !dir.contains('/') && !dir.starts_with('.') && !dir.is_empty());
    dirs.map(PathBuf::from)
        .chain([PathBuf::from(MANIFEST)])
        .collect()
}

/// What the arguments choose: indices of sessions and of their files.
struct Selected {
    files: Vec<(usize, Vec<usize>)>,
}

impl Selected {
    fn new(args: &RestoreArgs, luo: Option<&Luo>, admitted: &Admitted) -> Result<Self, Failure> {
        let body = luo.and_then(Luo::body);
        let sessions = body.map(kho_luo::Body::sessions).unwrap_or_default();
        let losses = admitted.verdict().losses();
        let is_lost = |file: &File| {
            let compatible = body.map(|body| body.compatible_of(file));
            compatible.is_some_and(|text| losses.get(Carrier::FileHandler, text).is_some())
        };
        let wanted = args.session.as_deref().map(OsStr::as_bytes);
        let mut files = Vec::new();
        for (index, session) in sessions.iter().enumerate() {
            if wanted.is_some_and(|wanted| wanted != session.name().as_bytes()) {
                continue;
            }
            let of_session: Vec<_> = (0..)
                .zip(session.files())
                .filter(|(_, file)| args.token.is_none_or(|token| token == file.token.get()))
                .filter(|(_, file)| !is_lost(file))
                .map(|(index, _)| index)
                .collect();
            if args.token.is_none() || !of_session.is_empty() {
                files.push((index, of_session));
            }
        }
        match (&args.session, args.token) {
            (Some(session), None) if files.is_empty() => Err(Failure::Usage(format!(
                "no session `{}` in this handover",
                session.display()
            ))),
            (Some(session), Some(token)) if files.is_empty() => Err(Failure::Usage(format!(
                "no file of token {token:#x} in a session `{}` of this handover",
                session.display()
            ))),
            (None, Some(token)) if files.is_empty() => Err(Failure::Usage(format!(
                "no file of token {token:#x} in this handover"
            ))),
            _ => Ok(Self { files }),
        }
    }

    fn bytes(&self, survey: &Survey<'_>) -> u64 {
        let Some(luo) = survey.luo() else { return 0 };
        let of_session = |(session, files): &(usize, Vec<usize>)| {
            let contents = files.iter().filter_map(|file| luo.file(*session, *file));
            let sizes = contents.filter_map(|contents| contents.size());
            sizes.fold(0, u64::saturating_add)
        };
        let sizes = self.files.iter().map(of_session);
        sizes.fold(0, u64::saturating_add)
    }
}

/// What a restore writes to.
struct Output<'o, 'i> {
    image: &'i Image,
    admitted: &'o Admitted,
    reading: Reading<'i>,
    staging: &'o mut Staging,
    hash: bool,
    // Files whose contents are not stored are written, with holes.
    allow_missing: bool,
    lacking: Vec<Lacking>,
    bar: Bar,
    // Bytes, also of all sessions' files.
    done: u64,
    total: u64,
}

impl Output<'_, '_> {
    fn failed(&self, error: impl Into<Error>) -> Failure {
        Failure::of_survey(error.into(), self.image)
    }

    /// The turn of a file under a policy that judges while restoring, and of what its component needs; others
    /// have judged all of them before.
    fn turn(&self, file: &AdmittedFile<'_>) -> Result<(), Failure> {
        if !self.admitted.is_late() {
            return Ok(());
        }
        let registry = registry()?;
        let announced = self.reading.announced().in_string(file.compatible());
        let name = announced.base().map_or("", Token::name);
        let judged = match registry.get(name) {
            Some(component) => self.admitted.found_all(&announced, component, registry),
            None => self.admitted.require_base(&announced, file.compatible()),
        };
        judged.map_err(|error| self.failed(RestoreError::from(error)))
    }

    /// Writes a file at `path`, which `entry` describes, and notes its checksum there where that is asked for.
    /// Returns the entry; `None` where the file is not written since the dump does not store all of it.
    fn file(
        &mut self,
        path: String,
        file: &dyn RestoredFile,
        of: &Map<String, Value>,
        mut entry: Map<String, Value>,
    ) -> Result<Option<Value>, Failure> {
        let failed = |this: &Self, error| this.failed(Error::of_memory(&error));
        let missing = if self.image.is_complete() {
            Missing::default()
        } else {
            Missing::of(file).map_err(|error| failed(self, error))?
        };
        let is_whole = missing.is_empty();
        if !is_whole {
            let mut named = of.clone();
            named.extend(entry.clone());
            if self.allow_missing {
                entry.insert("not_stored".into(), missing.json());
            }
            self.lacking.push(Lacking {
                file: named,
                missing,
            });
            if !self.allow_missing {
                return Ok(None);
            }
        }
        let mut out = SparseFile::create(self.staging, Path::new(&path))?;
        let mut hash = (self.hash && is_whole).then(Hasher::default);
        for piece in file.pieces() {
            let piece = match piece {
                Err(error) if error.kind == MemErrorKind::NotStored => Piece::Hole(error.len),
                piece => piece.map_err(|error| failed(self, error))?,
            };
            out.piece(piece)?;
            if let Some(hash) = &mut hash {
                hash.update(piece);
            }
            self.done += piece.len();
            if !self.bar.at(self.done, Some(self.total)) {
                return Err(Failure::Interrupted);
            }
        }
        out.finish(file.size())?;
        tracing::trace!(path, size = file.size(), "file restored");
        entry.insert("path".into(), path.into());
        entry.extend(hash.map(|hash| ("sha256".to_owned(), hash.finish().into())));
        Ok(Some(entry.into()))
    }

    /// Writes the files of a session that are `chosen` by their indices. Returns its part of the manifest.
    fn session(
        &mut self,
        luo: &Surveyed,
        index: usize,
        session: &AdmittedSession<'_>,
        chosen: &[usize],
    ) -> Result<Value, Failure> {
        let dir = file_name(session.name().as_bytes());
        self.staging.create_dir(Path::new(&dir))?;
        let mut value = members_json(session.name().facts());
        let of = value.iter();
        let of = of.map(|(key, value)| (key.replace("name", "session"), value.clone()));
        let of: Map<_, _> = of.collect();
        let chosen: HashSet<usize> = chosen.iter().copied().collect();
        let mut entries = Vec::new();
        let files = session.files().enumerate();
        for (at, file) in files.filter(|(at, _)| chosen.contains(at)) {
            let path = format!("{dir}/{:016x}.bin", file.token());
            self.turn(&file)?;
            let Some(owner) = luo.owner_of(index, at) else {
                return Err(unrestorable(&file));
            };
            let restored = owner.restore(&mut self.reading.admitted(self.admitted), &file);
            let Some(restored) = restored.map_err(|error| self.failed(error))? else {
                return Err(unrestorable(&file));
            };
            let mut entry = Map::new();
            entry.insert("token".into(), file.token().get().into());
            entry.insert("compatible".into(), file.compatible().into());
            if let Some(contents) = luo.file(index, at) {
                entry.extend(members_json(contents.noted()));
            }
            entries.extend(self.file(path, &*restored, &of, entry)?);
        }
        value.insert("dir".into(), dir.into());
        value.insert("files".into(), entries.into());
        Ok(value.into())
    }

    /// Writes the files of the owner of a subtree. Returns its part of the manifest; `None` where there are
    /// none.
    fn subtree(&mut self, found: &Found) -> Result<Option<Value>, Failure> {
        let restored = found
            .contents
            .restore(&mut self.reading.admitted(self.admitted));
        let restored = restored.map_err(|error| self.failed(error))?;
        if restored.is_empty() {
            return Ok(None);
        }
        let component = found.owner.component.name;
        // No session's directory is called so: `@` is encoded there.
        let dir = format!("@{component}");
        self.staging.create_dir(Path::new(&dir))?;
        let mut entries = Vec::new();
        for (name, file) in &restored {
            let path = format!("{dir}/{}", file_name(name.as_bytes()));
            let mut of = Map::new();
            of.insert("component".into(), component.into());
            let mut entry = Map::new();
            entry.insert("name".into(), name.as_str().into());
            entry.insert("size".into(), file.size().into());
            entries.extend(self.file(path, &**file, &of, entry)?);
        }
        Ok(Some(
            json!({ "component": component, "dir": dir, "files": entries }),
        ))
    }
}

fn write_files(
    args: &RestoreArgs,
    image: &Image,
    survey: &Survey<'_>,
    admitted: &Admitted,
    selected: &Selected,
    staging: &mut Staging,
) -> Result<(Value, Vec<Lacking>), Failure> {
    let _span = tracing::info_span!("restore").entered();
    let (mut sessions, mut subtrees, mut lacking) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(handover) = &survey.handover {
        let judged = handover.require(admitted);
        judged.map_err(|error| Failure::Unrestorable(error.to_string()))?;
        let reading = handover.reading();
        let mut output = Output {
            image,
            admitted,
            reading: reading.map_err(|damage| Failure::damaged(damage, image))?,
            staging,
            hash: args.hash,
            allow_missing: args.allow_missing,
            lacking: Vec::new(),
            bar: Bar::new("restoring"),
            done: 0,
            total: selected.bytes(survey),
        };
        if let Some(luo) = survey.luo() {
            let incoming = luo.luo().restore(admitted);
            let incoming = incoming.map_err(|error| Failure::Unrestorable(error.to_string()))?;
            let all: Vec<_> = incoming.iter().collect();
            for (index, chosen) in &selected.files {
                if let Some(session) = all.get(*index) {
                    sessions.push(output.session(luo, *index, session, chosen)?);
                }
            }
        }
        // Who asks for a session or a token asks for files alone.
        for found in survey.found.iter().filter(|_| is_complete(args)) {
            subtrees.extend(output.subtree(found)?);
        }
        tracing::info!(sessions = sessions.len(), bytes = output.done, "restored");
        lacking = output.lacking;
    }
    let missing = lacking.iter().filter(|_| !args.allow_missing);
    let missing = missing.map(Lacking::json).collect();
    let manifest = manifest(args, survey, sessions, subtrees, missing);
    Ok((manifest, lacking))
}

/// Whether all that was handed over is to be restored.
fn is_complete(args: &RestoreArgs) -> bool {
    args.session.is_none() && args.token.is_none()
}

/// A file of a handler without contents to restore.
fn unrestorable(file: &AdmittedFile<'_>) -> Failure {
    let (token, compatible) = (file.token(), file.compatible());
    let text = format!(
        "the file of token {token:#x} is of handler `{compatible}`, which has no contents to restore"
    );
    Failure::Unrestorable(text)
}

/// What a directory of files can not hold.
fn manifest(
    args: &RestoreArgs,
    survey: &Survey<'_>,
    sessions: Vec<Value>,
    subtrees: Vec<Value>,
    missing: Vec<Value>,
) -> Value {
    let mut out = Map::new();
    out.insert("format".into(), FORMAT.into());
    out.insert(
        "image".into(),
        args.image.image.display().to_string().into(),
    );
    // Whether these are all the files that were handed over.
    let complete = is_complete(args) && missing.is_empty();
    out.insert("complete".into(), complete.into());
    if let Some(root) = &survey.root {
        out.insert("compatible".into(), root.compatible().into());
        out.insert("dialect".into(), survey.manifest.writing().id().into());
    }
    for found in &survey.found {
        out.extend(members_json(found.contents.noted()));
    }
    out.insert("sessions".into(), sessions.into());
    if !subtrees.is_empty() {
        out.insert("subtrees".into(), subtrees.into());
    }
    if !missing.is_empty() {
        out.insert("missing".into(), missing.into());
    }
    out.into()
}

fn report(
    args: &RestoreArgs,
    survey: &Survey<'_>,
    admitted: &Admitted,
    manifest: &Value,
) -> Result<(), Failure> {
    if args.json {
        return writeln!(std::io::stdout(), "{manifest:#}").map_err(Failure::Output);
    }
    let list = |value: &Value, member: &str| {
        let list = value.get(member).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let sessions = list(manifest, "sessions");
    let files: Vec<_> = sessions.iter().flat_map(|one| list(one, "files")).collect();
    let sizes = files.iter().filter_map(|file| file.get("size")?.as_u64());
    let bytes = sizes.fold(0, u64::saturating_add);
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "restored {} of {}, {}, to {}",
        count(files.len() as u64, "file"),
        count(sessions.len() as u64, "session"),
        size(bytes),
        args.out.display()
    )
    .map_err(Failure::Output)?;
    for subtree in list(manifest, "subtrees") {
        let files = count(list(&subtree, "files").len() as u64, "file");
        let text = |member: &str| subtree.get(member).and_then(Value::as_str).unwrap_or("");
        let (component, dir) = (text("component"), args.out.join(text("dir")));
        let dir = dir.display();
        writeln!(out, "restored {files} of component `{component}` to {dir}")
            .map_err(Failure::Output)?;
    }
    if survey.scratch.is_none() {
        let text = "not checked: the scratch table, to which nothing points (--scratch names it)";
        writeln!(out, "{text}").map_err(Failure::Output)?;
    }
    let verdict = admitted.verdict();
    let lost = verdict.lost().map(|finding| ("lost", finding));
    let left = verdict.left_alone().map(|finding| ("left alone", finding));
    for (word, finding) in lost.chain(left) {
        let reason = finding.reason.as_ref();
        let reason = reason.map(|reason| format!(": {}", reason.view(View::Here)));
        let (entry, reason) = (&finding.entry, reason.unwrap_or_default());
        let title = entry.carrier.title();
        writeln!(out, "{word}: {title} `{entry}`{reason}").map_err(Failure::Output)?;
    }
    Ok(())
}

/// The name of a directory or a file: the session's own where it is a safe file name, else with
/// every byte percent-encoded that is not a letter, a digit, or one of `-._~`. A leading dot is
/// encoded as well, and so is the name of the manifest.
pub(crate) fn file_name(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for (index, byte) in bytes.iter().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        let special = index == 0 && (*byte == b'.' || bytes == MANIFEST.as_bytes());
        if plain && !special {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
