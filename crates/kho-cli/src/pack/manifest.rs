//! The manifest that `kho restore` writes, read back and checked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use kho_compat::{Carrier, Compat, Manifest, Place, Registry, Writing, policy};
use kho_luo::SessionName;
use kho_mem::{Order, PAGE_SIZE_U64, is_printable};
use kho_memfd::Seals;
use serde_json::Value;

use super::source::{
    FileOf, Root, SessionOf, Shape, Source, natural, refused, session_name, unreadable,
};
use crate::compat::registry;
use crate::error::Failure;
use crate::progress::interrupted;
use crate::restore::{FORMAT, MANIFEST};

/// The largest offset of a file.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// A value and where in the manifest it stands.
#[derive(Clone, Copy)]
struct At<'v> {
    value: &'v Value,
    above: Option<&'v At<'v>>,
    step: Step<'v>,
}

#[derive(Clone, Copy)]
enum Step<'v> {
    Top,
    Key(&'v str),
    Index(usize),
}

impl<'v> At<'v> {
    /// For instance `manifest.json, sessions[2].files[0].pos`.
    fn place(&self) -> String {
        match (self.above, self.step) {
            (Some(above), Step::Key(key)) => {
                let joint = if above.above.is_none() { ", " } else { "." };
                format!("{}{joint}{key}", above.place())
            }
            (Some(above), Step::Index(index)) => format!("{}[{index}]", above.place()),
            _ => MANIFEST.to_owned(),
        }
    }

    /// The value is not what it must be.
    fn wrong(&self, what: &str, expected: impl std::fmt::Display) -> Failure {
        const SHOWN: usize = 60;
        let mut found = self.value.to_string();
        if found.chars().count() > SHOWN {
            found = found.chars().take(SHOWN).collect::<String>() + "...";
        }
        refused(what, self.place(), found, expected)
    }

    fn get(&'v self, key: &'v str) -> Option<Self> {
        Some(Self {
            value: self.value.get(key)?,
            above: Some(self),
            step: Step::Key(key),
        })
    }

    fn need(&'v self, key: &'v str) -> Result<Self, Failure> {
        self.get(key).ok_or_else(|| {
            let expected = format!("a member `{key}`");
            refused(
                "the manifest is not complete",
                self.place(),
                "none",
                expected,
            )
        })
    }

    fn list(&'v self) -> Result<impl ExactSizeIterator<Item = Self> + 'v, Failure> {
        let list = self.value.as_array();
        let list = list.ok_or_else(|| self.wrong("the manifest is not valid", "an array"))?;
        Ok(list.iter().enumerate().map(|(index, value)| Self {
            value,
            above: Some(self),
            step: Step::Index(index),
        }))
    }

    fn number(&self, max: u64) -> Result<u64, Failure> {
        let number = self.value.as_u64().filter(|number| *number <= max);
        number.ok_or_else(|| {
            let expected = format!("a whole number up to {max}");
            self.wrong("the manifest is not valid", expected)
        })
    }

    fn text(&self) -> Result<&'v str, Failure> {
        let text = self.value.as_str();
        text.ok_or_else(|| self.wrong("the manifest is not valid", "a string"))
    }

    /// The member `key` as a number; `default` where it is not there.
    fn number_or(&self, key: &str, default: u64, max: u64) -> Result<u64, Failure> {
        self.get(key).map_or(Ok(default), |at| at.number(max))
    }

    fn object(&self) -> Result<(), Failure> {
        if self.value.is_object() {
            return Ok(());
        }
        Err(self.wrong("the manifest is not valid", "an object"))
    }
}

/// What the strings of a manifest are judged by.
struct Strings {
    registry: &'static Registry,
    // Those that were found to be known, each once.
    known: HashSet<String>,
}

impl Strings {
    /// Whether this build restores what carries the string, as its reader would judge.
    fn known(&self, carrier: Carrier, text: &str) -> bool {
        let mut manifest = Manifest::new();
        manifest.add(carrier, text, Place::default());
        self.registry.admit(&policy::SemverRange, manifest).is_ok()
    }

    fn check(&mut self, at: &At<'_>, carrier: Carrier, name: &str) -> Result<Compat, Failure> {
        let text = at.text()?;
        let compat = Compat::parse(text).ok();
        let compat = compat.filter(|compat| compat.base().name() == name);
        let known = self.known.contains(text) || self.known(carrier, text);
        let what = match carrier {
            Carrier::FileHandler => "a file of a kind or version that can not be packed",
            _ => "a handover of a version that can not be packed",
        };
        let compat = compat.filter(|_| known).ok_or_else(|| {
            let expected = self.registry.compat(name, Writing::PLAIN.strings);
            let expected = expected.map_or_else(|_| name.to_owned(), |compat| compat.to_string());
            at.wrong(what, expected)
        })?;
        self.known.insert(text.to_owned());
        Ok(compat)
    }
}

/// Reads the manifest of `root` and looks at every file that it lists.
pub(super) fn read(root: &Root, allow_missing: bool) -> Result<Source, Failure> {
    let (path, _) = root.file(Path::new(MANIFEST), MANIFEST)?;
    let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!(
            "{MANIFEST}, line {} column {}",
            error.line(),
            error.column()
        );
        refused("the manifest is no JSON", place, error, "JSON")
    })?;
    drop(bytes);
    let top = At {
        value: &value,
        above: None,
        step: Step::Top,
    };
    top.object()?;
    let format = top.need("format")?;
    if format.text()? != FORMAT {
        return Err(format.wrong("the manifest is of another kind", FORMAT));
    }
    let mut strings = Strings {
        registry: registry()?,
        known: HashSet::new(),
    };
    let root_string = top
        .get("compatible")
        .map(|at| strings.check(&at, Carrier::Root, kho_core::NAME));
    let luo_string = top
        .get("luo")
        .map(|at| strings.check(&at, Carrier::Luo, kho_luo::NAME));
    let (root_string, luo_string) = (root_string.transpose()?, luo_string.transpose()?);
    let writing = root_string
        .as_ref()
        .or(luo_string.as_ref())
        .map(|compat| compat.strings().alone());
    // What stands beside the strings is not in them.
    let writing = match top.get("dialect") {
        Some(at) => {
            let id = at.text()?;
            let expected = Writing::ALL.map(Writing::id).join(", ");
            Some(
                Writing::by_id(id)
                    .ok_or_else(|| at.wrong("the manifest names no dialect", expected))?,
            )
        }
        None => writing,
    };
    let complete = match top.get("complete") {
        Some(at) => at
            .value
            .as_bool()
            .ok_or_else(|| at.wrong("the manifest is not valid", "true or false"))?,
        None => true,
    };
    let mut sessions = Vec::new();
    if let Some(at) = top.get("sessions") {
        let mut names = HashSet::new();
        for at in at.list()? {
            let session = session(root, &at, &mut strings)?;
            if !names.insert(session.name.clone()) {
                let at = at.get("name").unwrap_or(at);
                return Err(at.wrong("a session's name", "a name of its own"));
            }
            sessions.push(session);
        }
    }
    let mut source = Source {
        dir: root.dir.clone(),
        metadata: metadata(&top)?,
        number: None,
        writing: writing.unwrap_or(Writing::PLAIN),
        flbs: Vec::new(),
        sessions,
        notes: Vec::new(),
    };
    missing(&top, allow_missing, &mut source)?;
    flbs(&top, complete, &mut source)?;
    let number = top.get("liveupdate_num");
    // Without any trace of a LUO there was none.
    let luo = luo_string.is_some() || !source.sessions.is_empty() || !source.flbs.is_empty();
    source.number = match number {
        Some(at) => Some(at.number(u64::MAX)?.checked_sub(1).ok_or_else(|| {
            at.wrong("the number of live updates", "at least 1: this one counts")
        })?),
        None if luo => Some(0),
        None => None,
    };
    Ok(source)
}

/// What the dump did not store when the files were restored: it is not in the image, or zeros there.
fn missing(top: &At<'_>, allowed: bool, source: &mut Source) -> Result<(), Failure> {
    let mut check = |at: &At<'_>| {
        if at.list()?.len() == 0 {
            return Ok(());
        }
        if !allowed {
            return Err(refused(
                "not all that was handed over is here",
                at.place(),
                "what the dump did not store when it was restored",
                "whole files, or --allow-missing: a missing file is left out, a missing part is zeros",
            ));
        }
        let note = format!("{}: left out, or zeros", at.place());
        source.notes.push(note);
        Ok(())
    };
    top.get("missing").map_or(Ok(()), |at| check(&at))?;
    let Some(sessions) = top.get("sessions") else {
        return Ok(());
    };
    for session in sessions.list()? {
        if let Some(files) = session.get("files") {
            for file in files.list()? {
                file.get("not_stored").map_or(Ok(()), |at| check(&at))?;
            }
        }
    }
    Ok(())
}

fn metadata(top: &At<'_>) -> Result<Option<(String, u32)>, Failure> {
    let Some(at) = top.get("kexec_metadata") else {
        return Ok(None);
    };
    at.object()?;
    if let Some(version) = at.get("version")
        && version.value.as_u64() != Some(u64::from(kho_core::metadata::v1::METADATA_VERSION))
    {
        return Err(version.wrong("kexec metadata", "version 1"));
    }
    let release = at.need("previous_release")?;
    let text = release.text()?;
    if !(1..kho_core::metadata::v1::RELEASE_LEN).contains(&text.len()) || !is_printable(text) {
        return Err(release.wrong("a kernel's release", "1 to 64 printable bytes"));
    }
    let count = at.need("kexec_count")?.number(u64::from(u32::MAX))?;
    // As just checked.
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Some((text.to_owned(), count)))
}

/// The FLBs, where each is of no more files than there are.
fn flbs(top: &At<'_>, complete: bool, source: &mut Source) -> Result<(), Failure> {
    let Some(at) = top.get("flbs") else {
        return Ok(());
    };
    let files = source.files();
    let mut names = HashSet::new();
    for at in at.list()? {
        let name_at = at.need("name")?;
        let name = name_at.text()?;
        let printable = name.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if !(1..kho_luo::v5::COMPAT_LEN).contains(&name.len()) || !printable {
            return Err(name_at.wrong("an FLB's name", "1 to 47 printable ASCII bytes"));
        }
        if !names.insert(name.to_owned()) {
            return Err(name_at.wrong("an FLB's name", "a name of its own"));
        }
        let data = at.need("data")?.number(u64::MAX)?;
        let count_at = at.need("count")?;
        let count = count_at.number(u64::MAX)?;
        let shown = format!("FLB `{name}`: of {count} files");
        match count {
            0 => return Err(count_at.wrong("an FLB without files", "at least 1")),
            _ if count <= files => source.flbs.push((name.to_owned(), data, count)),
            // A part of a handover: how many of the others were its is not known.
            _ if !complete && files == 0 => source.notes.push(format!("{shown}, none is here")),
            _ if !complete => {
                source.notes.push(format!("{shown}, {files} are here"));
                source.flbs.push((name.to_owned(), data, files));
            }
            _ => {
                let expected = format!("at most {files}, the files of all sessions");
                return Err(count_at.wrong("an FLB of more files than there are", expected));
            }
        }
    }
    Ok(())
}

fn session(root: &Root, at: &At<'_>, strings: &mut Strings) -> Result<SessionOf, Failure> {
    at.object()?;
    let name = name(at)?;
    let mut files = Vec::new();
    if let Some(at) = at.get("files") {
        let mut tokens = HashSet::new();
        for at in at.list()? {
            let file = file(root, &at, strings)?;
            if !tokens.insert(file.token) {
                let at = at.need("token")?;
                return Err(at.wrong("a file's token", "a token of its own in its session"));
            }
            files.push(file);
            if interrupted() {
                return Err(Failure::Interrupted);
            }
        }
    }
    Ok(SessionOf { name, files })
}

/// A session's name: of its bytes, where it is no text.
fn name(session: &At<'_>) -> Result<SessionName, Failure> {
    let Some(at) = session.get("name_bytes") else {
        let at = session.need("name")?;
        return session_name(at.text()?.as_bytes(), &at.place());
    };
    let digits = at.text()?.as_bytes();
    let byte = |pair: &[u8]| {
        let text = str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u8::from_str_radix(text, 16).ok()).flatten()
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let bytes =
        bytes.ok_or_else(|| at.wrong("a session's name", "two hexadecimal digits a byte"))?;
    session_name(&bytes, &at.place())
}

fn file(root: &Root, at: &At<'_>, strings: &mut Strings) -> Result<FileOf, Failure> {
    at.object()?;
    let token = at.need("token")?.number(u64::MAX)?;
    if let Some(at) = at.get("compatible") {
        strings.check(&at, Carrier::FileHandler, kho_memfd::NAME)?;
    }
    let pos = at.number_or("pos", 0, MAX_OFFSET)?;
    let seals = at.number_or("seals", 0, u64::MAX)?;
    let seals = u32::try_from(seals)
        .ok()
        .map(Seals::from)
        .filter(|seals| seals.is_known());
    let Some(seals) = seals else {
        let at = at.need("seals")?;
        return Err(at.wrong("unknown seals", format!("no bit outside {:#x}", Seals::ALL)));
    };
    if let Some(at) = at.get("flags")
        && at.number(u64::MAX)? != 0
    {
        return Err(at.wrong("unknown flags", "0"));
    }
    let path_at = at.need("path")?;
    let (path, found) = root.file(&PathBuf::from(path_at.text()?), &path_at.place())?;
    let size = at.number_or("size", found, MAX_OFFSET)?;
    if size != found {
        return Err(refused(
            "a file has another size than the manifest says",
            root.dir.join(path_at.text()?).display(),
            format!("{found} bytes"),
            format!("{size} bytes, as in {}", at.need("size")?.place()),
        ));
    }
    let sha256 = at.get("sha256").map(|at| sha256(&at)).transpose()?;
    let shape = shape(at, &path, size)?;
    Ok(FileOf {
        token,
        path,
        size,
        pos,
        seals,
        shape,
        sha256,
    })
}

fn sha256(at: &At<'_>) -> Result<String, Failure> {
    let text = at.text()?;
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(at.wrong("a checksum", "64 hexadecimal digits"));
    }
    Ok(text.to_ascii_lowercase())
}

/// The folios of a file: as they are listed, all single pages where they are only counted, and as
/// large as its data allows where neither is there.
fn shape(at: &At<'_>, path: &Path, size: u64) -> Result<Shape, Failure> {
    let pages = size.div_ceil(PAGE_SIZE_U64);
    let count = at.get("nr_folios");
    let count = count
        .map(|at| at.number(u64::MAX).map(|n| (at, n)))
        .transpose()?;
    let Some(orders_at) = at.get("folio_orders") else {
        return match count {
            None => natural(path, size),
            Some((_, n)) if n == pages && n == 0 => Ok(Shape::new()),
            Some((_, n)) if n == pages => Ok(vec![(Some(Order::ZERO), pages)]),
            Some((at, _)) => Err(at.wrong(
                "folios do not cover the file",
                format!("{pages}, its pages, or `folio_orders`"),
            )),
        };
    };
    let mut shape = Shape::new();
    let (mut next, mut records) = (0u64, 0u64);
    for at in orders_at.list()? {
        let bad = |expected: &str| at.wrong("folios that can not be", expected);
        let pair = "[ORDER or null, COUNT], an order of 0 to 10 and at least 1 of it";
        let [order, count] = at.value.as_array().map(Vec::as_slice).unwrap_or_default() else {
            return Err(bad(pair));
        };
        let order = match order {
            Value::Null => None,
            order => {
                let order = order.as_u64().and_then(|order| u8::try_from(order).ok());
                let order = order
                    .and_then(Order::new)
                    .filter(|o| *o <= Order::MAX_FOLIO);
                Some(order.ok_or_else(|| bad(pair))?)
            }
        };
        let count = count.as_u64().filter(|count| *count > 0);
        let count = count.ok_or_else(|| bad(pair))?;
        let each = order.map_or(1, |order| order.pages());
        if !next.is_multiple_of(each) {
            let expected = format!("folios at multiples of their {each} pages, not at page {next}");
            return Err(bad(&expected));
        }
        // The last of them begins inside the file.
        let last = each
            .checked_mul(count - 1)
            .and_then(|n| n.checked_add(next));
        let Some(last) = last.filter(|last| *last < pages) else {
            return Err(bad(&format!("no folio behind the file's {pages} pages")));
        };
        next = last + each;
        records += count;
        shape.push((order, count));
    }
    if next < pages {
        let expected = format!("folios up to page {pages}, the file's end, not up to page {next}");
        return Err(orders_at.wrong("folios do not cover the file", expected));
    }
    if let Some((at, n)) = count
        && n != records
    {
        let expected = format!("{records}, as many as `folio_orders` has");
        return Err(at.wrong("another number of folios", expected));
    }
    Ok(shape)
}
