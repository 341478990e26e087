//! What an image says of itself: its banner, its sections, its strings, put together.

use kho_compat::Carrier;
use memchr::memmem;

use super::strings::{Found, Region};
use super::traces::traces;
use super::{Evidence, FoundFeatures, FoundString, KernelStrings, elf, sections, strings};
use crate::image::ImageError;

/// A banner is read this far.
const LINE_MAX: usize = 512;
/// How every kernel introduces itself.
const BANNER: &str = "Linux version ";

/// What the sections, or what looks like them, say.
#[derive(Default)]
struct Listed {
    versions: Option<Vec<FoundString>>,
    features: Option<Vec<FoundFeatures>>,
}

pub(super) fn flat_strings(
    data: &[u8],
    arch: &str,
    big: bool,
) -> Result<KernelStrings, ImageError> {
    const WORD: u64 = 8;
    let whole = Region::whole(data.len());
    let (versions, features) = sections::look_for(data, &whole, big);
    let mut found = Found::default();
    strings::scan(data, &whole, WORD, &mut found)?;
    let mut strings = merge(found, Listed { versions, features })?;
    strings.arch = Some(arch.to_owned());
    let regions = [whole];
    strings.banner = banner(data, &regions);
    strings.release = release(strings.banner.as_deref());
    traces(&mut strings, data, &regions);
    Ok(strings)
}

pub(super) fn elf_strings(data: &[u8], elf: &elf::Elf) -> Result<KernelStrings, ImageError> {
    let mut listed = Listed::default();
    let mut regions = Vec::new();
    let mut symbols = Vec::new();
    let mut modinfo = &[][..];
    for section in &elf.sections {
        let region = section.region(elf.relocatable);
        let lists = matches!(
            section.name.as_str(),
            sections::VERSIONS | sections::FEATURES
        );
        if lists && section.is_packed() {
            return Err(ImageError::damaged(
                format!("section {}", section.name),
                region.start as u64,
                "a compressed section",
                "a plain one",
            ));
        }
        match section.name.as_str() {
            sections::VERSIONS => listed
                .versions
                .get_or_insert_default()
                .extend(sections::read_versions(data, &region, elf.big)?),
            sections::FEATURES => listed
                .features
                .get_or_insert_default()
                .extend(sections::read_features(data, &region, elf.big)?),
            ".modinfo" if elf.relocatable => modinfo = section.bytes(data),
            _ if section.is_data() => regions.push(region),
            _ if section.is_strtab() => symbols.push(region),
            _ => {}
        }
    }
    // Without section headers (they are not needed to boot) everything may be data.
    if elf.sections.is_empty() && !elf.relocatable {
        let whole = Region::whole(data.len());
        (listed.versions, listed.features) = sections::look_for(data, &whole, elf.big);
        regions.push(whole);
    }
    let mut found = Found::default();
    for region in &regions {
        strings::scan(data, region, elf.word, &mut found)?;
    }
    let mut strings = merge(found, listed)?;
    strings.arch = Some(elf.arch.clone());
    if elf.relocatable {
        let entry = |name: &str| {
            let mut entries = modinfo.split(|byte| *byte == 0);
            entries.find_map(|entry| line(entry.strip_prefix(name.as_bytes())?))
        };
        if modinfo.is_empty() {
            return Err(ImageError::damaged(
                "not a module",
                0,
                "a relocatable ELF file without .modinfo",
                "a kernel module",
            ));
        }
        strings.release = entry("vermagic=").as_deref().and_then(first_word);
    } else {
        strings.banner = banner(data, &regions);
        strings.release = release(strings.banner.as_deref());
        regions.append(&mut symbols);
        traces(&mut strings, data, &regions);
    }
    Ok(strings)
}

/// What sections list goes before what was found for itself.
fn merge(found: Found, listed: Listed) -> Result<KernelStrings, ImageError> {
    let mut evidence = Vec::new();
    if listed.versions.is_some() {
        evidence.push(Evidence::Versions);
    }
    if listed.features.is_some() {
        evidence.push(Evidence::Features);
    }
    let lists = !evidence.is_empty();
    evidence.push(Evidence::Strings);
    let features = listed.features.unwrap_or_default();
    let mut named: Vec<String> = features.iter().map(|entry| entry.name.clone()).collect();
    let mut all = Found::default();
    for string in listed.versions.unwrap_or_default() {
        named.extend(
            string
                .compat()
                .map(|compat| compat.base().name().to_owned()),
        );
        all.add(true, string)?;
    }
    named.sort_unstable();
    for string in found.strings {
        let below = matches!(string.carrier(), Some(Carrier::Root | Carrier::Owned(_)));
        let unnamed = string.compat().is_some_and(|compat| {
            let name = compat.base().name();
            named
                .binary_search_by(|named| named.as_str().cmp(name))
                .is_err()
        });
        all.add(!lists || below && unnamed, string)?;
    }
    for string in found.candidates {
        all.add(false, string)?;
    }
    Ok(KernelStrings {
        evidence,
        strings: all.strings,
        candidates: all.candidates,
        ignored: found.ignored,
        features,
        ..KernelStrings::default()
    })
}

/// The longest banner in the regions, not the format that makes it. Linux has two: one from before
/// the build's number and date are known.
fn banner(data: &[u8], regions: &[Region]) -> Option<String> {
    const BANNERS_MAX: usize = 64;
    let all = regions.iter().flat_map(|region| {
        let bytes = region.bytes(data);
        memmem::find_iter(bytes, BANNER).filter_map(move |at| bytes.get(at..))
    });
    let lines = all
        .filter(|rest| rest.get(BANNER.len()).is_some_and(u8::is_ascii_digit))
        .take(BANNERS_MAX)
        .filter_map(line);
    lines.max_by_key(String::len)
}

fn release(banner: Option<&str>) -> Option<String> {
    banner
        .and_then(|banner| banner.strip_prefix(BANNER))
        .and_then(first_word)
}

/// The text at the start of `bytes` up to NUL or the end of the line; `None` for what is not
/// printable.
pub(super) fn line(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let line = bytes.split(|byte| matches!(byte, 0 | b'\n')).next()?;
    let printable = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    (printable && !line.is_empty()).then(|| String::from_utf8_lossy(line).into_owned())
}

pub(super) fn first_word(text: &str) -> Option<String> {
    text.split_ascii_whitespace().next().map(str::to_owned)
}
