//! What was given, recognised by its content.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kho_compat::file::{MARKER, ManifestFile, ManifestFileError};
use kho_image::{Image, ImageError, Kind as DumpKind};
use kho_mem::{FileMap, PhysAddr};
use kho_survey::Survey;
use memchr::memmem;

use super::end::{Amount, Dump, End, Item, Kind, Listed, Spot, Uses, What, printable};
use super::{kernel, program, running};
use crate::args::ImageArgs;
use crate::error::Failure;
use crate::human::{count, size};
use crate::inspect;

/// What is read of a file to recognise it.
const HEAD: u64 = 4096;
/// A manifest file is shorter.
const MANIFEST_MAX: u64 = 16 << 20;
/// The most that a compressed dump may unpack to, as `kho inspect` has it.
const UNPACKED_MAX: u64 = 64 << 30;

const EXPECTED: &str = "a kernel image, a handover in a memory dump, a manifest file, a program built \
                        on these crates, or `running`";

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    From,
    To,
}

impl Role {
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::From => "--from",
            Self::To => "--to",
        }
    }
}

/// How to take what was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct How<'a> {
    pub(super) role: Role,
    pub(super) modules: Option<&'a Path>,
    pub(super) fdt: Option<PhysAddr>,
    pub(super) scratch: Option<(PhysAddr, u64)>,
    pub(super) base: PhysAddr,
    /// Where the running system's files are.
    pub(super) root: &'a Path,
}

/// What bytes are, as far as their beginning shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Content {
    Core,
    Module,
    Executable,
    Kernel,
    Manifest,
    Text,
    Script,
    Empty,
    /// No magic: memory, or anything else.
    Unknown,
}

/// A file that is nothing of all that is taken.
pub(super) fn unrecognised(found: impl Into<String>, hint: Option<&str>) -> Failure {
    let mut lines = vec![
        ("error", "it is nothing that can be judged".to_owned()),
        ("found", found.into()),
        ("expected", EXPECTED.to_owned()),
    ];
    lines.extend(hint.map(|hint| ("hint", hint.to_owned())));
    Failure::Input(lines)
}

/// Opens what was given.
pub(super) fn open(given: &Path, how: &How<'_>) -> Result<End, Failure> {
    let of_it = |failure| match failure {
        Failure::Interrupted | Failure::Image(ImageError::Interrupted) => Failure::Interrupted,
        failure => {
            let name = format!("{} {}", how.role.option(), given.display());
            Failure::Of(name, Box::new(failure))
        }
    };
    let mut end = if given == Path::new("running") {
        running::end(how)
    } else {
        file(given, how)
    }
    .map_err(of_it)?;
    // The running kernel's modules were looked for.
    if let Some(dir) = how.modules {
        kernel::add_modules(&mut end, dir, None).map_err(of_it)?;
    }
    Ok(end)
}

fn file(path: &Path, how: &How<'_>) -> Result<End, Failure> {
    let name = path.display().to_string();
    let io = |error| {
        Failure::Image(ImageError::Io {
            path: path.to_owned(),
            error,
        })
    };
    // Before it is opened: opening a pipe waits for a writer.
    let meta = fs::metadata(path).map_err(io)?;
    if meta.is_dir() {
        return Err(io(io::ErrorKind::IsADirectory.into()));
    }
    if !meta.is_file() {
        return Err(io(io::Error::other("not a regular file")));
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(io)?;
    (&file).take(HEAD).read_to_end(&mut head).map_err(io)?;
    match content(&head, path).map_err(io)? {
        Content::Core => dump(path, how),
        Content::Module => kernel::read(path).map(|image| kernel::end(name, image)),
        Content::Executable => executable(path, &file, &head),
        Content::Kernel => kernel::read(path).map(|image| kernel::end(name, image)),
        Content::Manifest => manifest(name, &file),
        Content::Empty => Err(unrecognised("an empty file", None)),
        Content::Script => Err(unrecognised("a script, which is never run", None)),
        Content::Text => Err(unrecognised("text", None)),
        Content::Unknown => memory(path, how, &head),
    }
}

/// What `head` is the beginning of.
fn content(head: &[u8], path: &Path) -> io::Result<Content> {
    let at = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    // Skippable frames, with which parallel compressors begin, count as zstd.
    let skippable = matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    if at(0, b"\x28\xb5\x2f\xfd") || skippable {
        return Ok(packed(&File::open(path)?));
    }
    // Of these, kernels alone are read.
    const PACKED: &[&[u8]] = &[
        b"\x1f\x8b",
        b"\xfd7zXZ\0",
        b"\x02\x21\x4c\x18",
        b"\x04\x22\x4d\x18",
        b"\x5d\0\0",
        b"BZh",
        b"\x89LZO\0",
    ];
    if PACKED.iter().any(|magic| at(0, magic)) {
        return Ok(Content::Kernel);
    }
    Ok(plain(head))
}

fn plain(head: &[u8]) -> Content {
    let at = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if at(0, b"\x7fELF") {
        const CORE: u16 = 4;
        const RELOCATABLE: u16 = 1;
        return match Elf::of(head).map(|elf| elf.kind) {
            Some(CORE) => Content::Core,
            Some(RELOCATABLE) => Content::Module,
            _ => Content::Executable,
        };
    }
    if at(0, b"KDUMP   ") {
        return Content::Core;
    }
    if at(0, b"MZ") || at(0x38, b"ARM\x64") || at(0x38, b"RSC\x05") || at(0x202, b"HdrS") {
        return Content::Kernel;
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None if head.is_empty() => Content::Empty,
        Some(b'{') => Content::Manifest,
        _ if at(0, b"#!") => Content::Script,
        _ if is_text(head) => Content::Text,
        _ => Content::Unknown,
    }
}

fn is_text(head: &[u8]) -> bool {
    let control = |byte: &u8| matches!(byte, 0..=8 | 14..=31 | 127);
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character may be cut by the end of what was read.
        Err(error) => error.error_len().is_none(),
    };
    valid && !head.iter().any(control)
}

/// What a zstd stream unpacks to.
fn packed(file: &File) -> Content {
    let mut unpacked = Vec::new();
    if let Ok(decoder) = zstd::stream::read::Decoder::new(file) {
        // What comes out before a damage is noticed will do: who reads all of it says what is wrong.
        let _ = decoder.take(HEAD).read_to_end(&mut unpacked);
    }
    match plain(&unpacked) {
        content @ (Content::Core | Content::Unknown) => content,
        _ => Content::Kernel,
    }
}

/// The little of an ELF header that recognising takes.
struct Elf<'h> {
    head: &'h [u8],
    wide: bool,
    big: bool,
    kind: u16,
}

impl<'h> Elf<'h> {
    fn of(head: &'h [u8]) -> Option<Self> {
        let (wide, big) = (*head.get(4)? == 2, *head.get(5)? == 2);
        let mut elf = Self {
            head,
            wide,
            big,
            kind: 0,
        };
        elf.kind = u16::try_from(elf.int(16, 2)?).ok()?;
        Some(elf)
    }

    fn int(&self, at: usize, len: usize) -> Option<u64> {
        let bytes = self.head.get(at..at.checked_add(len)?)?.iter();
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.big {
            bytes.fold(0, join)
        } else {
            bytes.rev().fold(0, join)
        })
    }

    /// Whether a part of it is linked to addresses that only a kernel has.
    fn is_kernel(&self) -> Option<bool> {
        let (table, size, number, addr, word) = if self.wide {
            (32, 54, 56, 16, 8)
        } else {
            (28, 42, 44, 8, 4)
        };
        let start = usize::try_from(self.int(table, word)?).ok()?;
        let size = usize::try_from(self.int(size, 2)?).ok()?;
        let lowest = if self.wide { 1 << 63 } else { 0xc000_0000 };
        for index in 0..usize::try_from(self.int(number, 2)?).ok()? {
            let at = start.checked_add(size.checked_mul(index)?)?;
            const LOAD: u64 = 1;
            if self.int(at, 4)? == LOAD && self.int(at.checked_add(addr)?, word)? >= lowest {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// A vmlinux, or a program.
fn executable(path: &Path, file: &File, head: &[u8]) -> Result<End, Failure> {
    let name = path.display().to_string();
    let is_kernel = Elf::of(head).and_then(|elf| elf.is_kernel());
    if is_kernel != Some(true) && has_marker(path, file)? {
        let answer = program::ask(path)?;
        return listed(name, Kind::Program, &answer);
    }
    match kernel::read(path) {
        Ok(image) => Ok(kernel::end(name, image)),
        Err(Failure::Image(ImageError::Damaged { .. })) if is_kernel == Some(false) => {
            let lines = vec![
                (
                    "error",
                    "this program can not be asked, and was not run".to_owned(),
                ),
                (
                    "found",
                    "an ELF program without the mark of those that answer".to_owned(),
                ),
                (
                    "expected",
                    "a program built on these crates, whose main begins with \
                     `kho_compat::answer_manifest!();`"
                        .to_owned(),
                ),
            ];
            Err(Failure::Input(lines))
        }
        Err(failure) => Err(failure),
    }
}

fn has_marker(path: &Path, file: &File) -> Result<bool, Failure> {
    let map = FileMap::new(file).map_err(|error| {
        Failure::Image(ImageError::Io {
            path: path.to_owned(),
            error,
        })
    })?;
    let bytes = map.get(0..map.len()).unwrap_or_default();
    Ok(memmem::find(bytes, MARKER.as_bytes()).is_some())
}

fn manifest(name: String, file: &File) -> Result<End, Failure> {
    let no_manifest = |found: String| {
        Failure::Input(vec![
            ("error", "not a manifest file".to_owned()),
            ("found", printable(&found)),
            (
                "expected",
                "JSON as a program answers KHO_MANIFEST=1".to_owned(),
            ),
        ])
    };
    let again = |error: io::Error| no_manifest(error.to_string());
    let mut bytes = Vec::new();
    let mut file = file.try_clone().map_err(again)?;
    io::Seek::rewind(&mut file).map_err(again)?;
    file.take(MANIFEST_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(again)?;
    if bytes.len() as u64 > MANIFEST_MAX {
        return Err(no_manifest(format!("more than {}", size(MANIFEST_MAX))));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        no_manifest(format!("no text at file offset {:#x}", error.valid_up_to()))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file = ManifestFile::parse(text).map_err(|error| match error {
        ManifestFileError::Json(error) => no_manifest(error.to_string()),
        error => no_manifest(error.to_string()),
    })?;
    listed(name, Kind::Manifest, &file)
}

/// What a file lists, or a program answered.
fn listed(name: String, kind: Kind, file: &ManifestFile) -> Result<End, Failure> {
    let wrong = |error: ManifestFileError| {
        let what = match kind {
            Kind::Program => "the program's answer contradicts itself",
            _ => "the manifest file contradicts itself",
        };
        Failure::Input(vec![
            ("error", what.to_owned()),
            ("found", printable(&error.to_string())),
        ])
    };
    let side = file.side().map_err(wrong)?;
    let dialect = file.dialect().map_err(wrong)?;
    let manifest = file.in_use().map_err(wrong)?;
    let in_use = manifest.zip(file.in_use.as_ref()).map(|(manifest, said)| {
        let items = Item::all_of(&manifest, |place| Spot::new(&place.path));
        let bytes = said.bytes;
        let handlers = items.iter().filter_map(|item| {
            let entry = &item.entry;
            let of_files = entry.carrier == kho_compat::Carrier::FileHandler;
            of_files.then(|| (entry.found.clone(), Amount::of_unknown_size(entry.uses)))
        });
        let flbs = items
            .iter()
            .filter(|item| item.entry.carrier == kho_compat::Carrier::Flb);
        let uses = Uses {
            sessions: said.sessions,
            all: Amount {
                files: said.files,
                bytes: bytes.unwrap_or(0),
                unsized_files: if bytes.is_some() { 0 } else { said.files },
            },
            flbs: flbs.count() as u64,
            handlers: handlers.collect(),
            pages: None,
        };
        (items, uses)
    });
    let components = count(side.abilities().count() as u64, "component");
    let mut evidence = vec![match kind {
        Kind::Program => format!("what the program answers: {components}"),
        _ => format!("what the file lists: {components}"),
    }];
    if let Some((_, uses)) = &in_use {
        evidence.push(format!("what it says is in use: {}", in_words(uses)));
    }
    Ok(End {
        name,
        kind,
        title: printable(&file.name),
        form: match kind {
            Kind::Program => "program built on these crates",
            _ => "manifest file",
        }
        .to_owned(),
        release: None,
        arch: None,
        evidence,
        notes: Vec::new(),
        what: What::Listed(Listed {
            side,
            dialect,
            in_use,
        }),
    })
}

/// Memory, if there is a handover in it.
fn memory(path: &Path, how: &How<'_>, head: &[u8]) -> Result<End, Failure> {
    match dump(path, how) {
        // Nothing says that it is memory at all.
        Err(Failure::Find(kho_image::FindError::None(near), _))
            if near.is_empty() && how.fdt.is_none() =>
        {
            let bytes: Vec<_> = head
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let found = format!(
                "bytes {} at file offset 0x0, and no root FDT anywhere",
                bytes.join(" ")
            );
            Err(unrecognised(found, None))
        }
        other => other,
    }
}

/// The handover in the dump at `path`: what is in use.
fn dump(path: &Path, how: &How<'_>) -> Result<End, Failure> {
    let args = ImageArgs {
        image: PathBuf::from(path),
        fdt: how.fdt,
        scratch: how.scratch,
        base: how.base,
        max_unpacked: UNPACKED_MAX,
    };
    let image: Image = inspect::open(&args)?;
    let survey = inspect::survey_all(&image, &args)?;
    let spot = |place: &kho_compat::Place| Spot {
        what: printable(&place.path),
        memory: true,
        address: Some(place.addr),
        offset: image.locate(PhysAddr::new(place.addr)),
    };
    let items = Item::all_of(&survey.manifest, spot);
    let unread = survey.unread();
    let uses = unread.is_none().then(|| uses(&survey));
    let release = survey.release().map(str::to_owned);
    let form = match image.kind() {
        DumpKind::Elf => "ELF core",
        DumpKind::Raw => "raw memory",
    };
    let zstd = if image.is_compressed() { ", zstd" } else { "" };
    Ok(End {
        name: path.display().to_string(),
        kind: Kind::Dump,
        title: match &release {
            Some(release) => format!("handover of Linux {release}"),
            None => "handover".to_owned(),
        },
        form: format!("{form}{zstd}"),
        release,
        arch: None,
        evidence: vec![match &uses {
            Some(uses) => format!("what is in use: {}", in_words(uses)),
            None => "what is in use".to_owned(),
        }],
        notes: unread
            .iter()
            .map(|what| format!("not read: {what}"))
            .collect(),
        what: What::Dump(Dump {
            items,
            uses,
            unread: unread.map(|what| printable(&what)),
        }),
    })
}

fn uses(survey: &Survey<'_>) -> Uses {
    let mut uses = Uses {
        pages: survey.preserved.as_ref().map(kho_radix::Preserved::pages),
        ..Uses::default()
    };
    let luo = survey.luo();
    let Some((luo, body)) = luo.and_then(|luo| Some((luo, luo.luo().body()?))) else {
        return uses;
    };
    uses.sessions = body.sessions().len() as u64;
    uses.flbs = body.flbs().len() as u64;
    for (index, session) in body.sessions().iter().enumerate() {
        for (of_session, file) in session.files().iter().enumerate() {
            let size = luo.file(index, of_session).and_then(|file| file.size());
            uses.all.add(size);
            let handler = body.compatible_of(file).to_owned();
            uses.handlers.entry(handler).or_default().add(size);
        }
    }
    uses
}

/// How much that is, in words.
pub(super) fn in_words(uses: &Uses) -> String {
    let mut text = format!("{}, {}", count(uses.sessions, "session"), amount(uses.all));
    if let Some(pages) = uses.pages {
        text.push_str(&format!("; {} preserved", count(pages, "page")));
    }
    text
}

/// Files and their bytes, in words.
pub(super) fn amount(amount: Amount) -> String {
    let files = count(amount.files, "file");
    let unknown = amount.unsized_files;
    if amount.files == 0 {
        files
    } else if unknown == 0 {
        format!("{files}, {}", size(amount.bytes))
    } else if unknown == amount.files {
        format!("{files}, bytes unknown")
    } else {
        format!(
            "{files}, {} and {unknown} of unknown size",
            size(amount.bytes)
        )
    }
}
