//! The drafts of sections in which a kernel says what it can restore.
//!
//! Both begin with a magic and a version, u32 each. `.liveupdate_versions` goes on with 48-byte
//! NUL-padded strings, `.liveupdate_features` with entries of 80 bytes: a name of 48, the bytes of
//! the feature words (u32), a reserved u32, and the supported, required and active bits (u64 each).

use kho_compat::{Compat, Token};
use memchr::memmem;

use super::strings::{FIELD, FOUND_MAX, Region};
use super::{Evidence, FoundFeatures, FoundString, Standing};
use crate::image::ImageError;

pub(super) const VERSIONS: &str = ".liveupdate_versions";
pub(super) const FEATURES: &str = ".liveupdate_features";

const MAGIC: u32 = 0x4c56_5550;
const VERSION: u32 = 1;
const HEADER: usize = 8;
const FEATURE_ENTRY: usize = 80;

fn int(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if big {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    })
}

fn long(bytes: &[u8], at: usize, big: bool) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    Some(if big {
        u64::from_be_bytes(bytes)
    } else {
        u64::from_le_bytes(bytes)
    })
}

/// A NUL-padded field's text; what is wrong with it, and where.
fn text(field: &[u8]) -> Result<&str, (usize, String)> {
    let len = memchr::memchr(0, field).ok_or_else(|| (0, "no NUL in its field".to_owned()))?;
    let (text, padding) = field.split_at(len);
    if let Some(at) = padding.iter().position(|byte| *byte != 0) {
        return Err((len + at, "bytes behind its NUL".to_owned()));
    }
    str::from_utf8(text).map_err(|error| (error.valid_up_to(), "bytes that are no text".to_owned()))
}

fn version(entry: &[u8]) -> Result<&str, (usize, String)> {
    let text = text(entry)?;
    Compat::parse(text).map_err(|error| (error.at, format!("{text:?}: {}", error.kind)))?;
    Ok(text)
}

struct Masks<'e> {
    name: &'e str,
    bytes: u32,
    supported: u64,
    required: u64,
    active: u64,
}

fn masks(entry: &[u8], big: bool) -> Result<Masks<'_>, (usize, String)> {
    let name = text(entry.get(..FIELD).unwrap_or_default())?;
    Token::new(name, 0).map_err(|error| (error.at, format!("{name:?}: {}", error.kind)))?;
    let cut = || (0, "an entry that is cut short".to_owned());
    if int(entry, 52, big).ok_or_else(cut)? != 0 {
        return Err((52, "a reserved word that is not zero".to_owned()));
    }
    Ok(Masks {
        name,
        bytes: int(entry, 48, big).ok_or_else(cut)?,
        supported: long(entry, 56, big).ok_or_else(cut)?,
        required: long(entry, 64, big).ok_or_else(cut)?,
        active: long(entry, 72, big).ok_or_else(cut)?,
    })
}

/// Entries of `size` bytes behind the header of `section`; zeros at the end that are no whole
/// entry are padding.
fn entries<'d>(
    data: &'d [u8],
    region: &Region,
    big: bool,
    size: usize,
) -> Result<Vec<(usize, &'d [u8])>, ImageError> {
    let name = region.section.as_deref().unwrap_or_default();
    let bytes = region.bytes(data);
    let start = region.start as u64;
    let (Some(magic), Some(version)) = (int(bytes, 0, big), int(bytes, 4, big)) else {
        let found = format!("{:#x} bytes", bytes.len());
        let what = format!("section {name}");
        return Err(ImageError::damaged(
            what,
            start,
            found,
            "a header of 8 bytes",
        ));
    };
    for (at, field, found, expected) in [
        (0u64, "magic", magic, MAGIC),
        (4, "version", version, VERSION),
    ] {
        if found != expected {
            return Err(ImageError::damaged(
                format!("{field} of section {name}"),
                start + at,
                format!("{found:#x}"),
                format!("{expected:#x}"),
            ));
        }
    }
    let body = bytes.get(HEADER..).unwrap_or_default();
    let whole = body.chunks_exact(size);
    let rest = whole.remainder();
    if rest.iter().any(|byte| *byte != 0) {
        return Err(ImageError::damaged(
            format!("last entry of section {name}"),
            start + (bytes.len() - rest.len()) as u64,
            format!("{} bytes", rest.len()),
            format!("entries of {size} bytes"),
        ));
    }
    if whole.len() > FOUND_MAX {
        return Err(ImageError::damaged(
            format!("section {name}"),
            start,
            format!("{} entries", whole.len()),
            format!("at most {FOUND_MAX}"),
        ));
    }
    Ok(whole
        .enumerate()
        .map(|(index, entry)| (HEADER + index * size, entry))
        .collect())
}

fn bad_entry(region: &Region, at: usize, bad: (usize, String), expected: &str) -> ImageError {
    let name = region.section.as_deref().unwrap_or_default();
    let (offset, _) = region.place(at + bad.0);
    ImageError::damaged(format!("entry of section {name}"), offset, bad.1, expected)
}

fn found_string(region: &Region, at: usize, text: &str) -> FoundString {
    let (offset, address) = region.place(at);
    FoundString {
        text: text.to_owned(),
        offset,
        section: region.section.clone(),
        address,
        standing: Standing::Field,
        evidence: Evidence::Versions,
        times: 1,
    }
}

fn found_features(region: &Region, at: usize, masks: &Masks<'_>) -> FoundFeatures {
    let (offset, address) = region.place(at);
    FoundFeatures {
        name: masks.name.to_owned(),
        bytes: masks.bytes,
        supported: masks.supported,
        required: masks.required,
        active: masks.active,
        offset,
        section: region.section.clone(),
        address,
    }
}

pub(super) fn read_versions(
    data: &[u8],
    region: &Region,
    big: bool,
) -> Result<Vec<FoundString>, ImageError> {
    entries(data, region, big, FIELD)?
        .into_iter()
        .map(|(at, entry)| match version(entry) {
            Ok(text) => Ok(found_string(region, at, text)),
            Err(bad) => Err(bad_entry(region, at, bad, "a compat string in 48 bytes")),
        })
        .collect()
}

pub(super) fn read_features(
    data: &[u8],
    region: &Region,
    big: bool,
) -> Result<Vec<FoundFeatures>, ImageError> {
    entries(data, region, big, FEATURE_ENTRY)?
        .into_iter()
        .map(|(at, entry)| match masks(entry, big) {
            Ok(masks) => Ok(found_features(region, at, &masks)),
            Err(bad) => Err(bad_entry(region, at, bad, "a name and its feature words")),
        })
        .collect()
}

/// What of both an image without section headers has: the header is looked for, and what follows
/// it up to the first bytes that are no entry. The magic is the same, so the entries tell which.
pub(super) fn look_for(
    data: &[u8],
    region: &Region,
    big: bool,
) -> (Option<Vec<FoundString>>, Option<Vec<FoundFeatures>>) {
    let (mut strings, mut features) = (None, None);
    let word = |value: u32| {
        if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let header = [word(MAGIC), word(VERSION)].concat();
    let bytes = region.bytes(data);
    for start in memmem::find_iter(bytes, &header).filter(|start| start.is_multiple_of(4)) {
        let body = bytes.get(start + HEADER..).unwrap_or_default();
        if strings.is_none() {
            let entries = body.chunks_exact(FIELD).take(FOUND_MAX).enumerate();
            let found: Vec<_> = entries
                .map_while(|(index, entry)| Some((index, version(entry).ok()?)))
                .map(|(index, text)| found_string(region, start + HEADER + index * FIELD, text))
                .collect();
            strings = Some(found).filter(|found| !found.is_empty());
        }
        if features.is_none() {
            let entries = body.chunks_exact(FEATURE_ENTRY).take(FOUND_MAX).enumerate();
            let found: Vec<_> = entries
                .map_while(|(index, entry)| Some((index, masks(entry, big).ok()?)))
                .map(|(index, masks)| {
                    found_features(region, start + HEADER + index * FEATURE_ENTRY, &masks)
                })
                .collect();
            features = Some(found).filter(|found| !found.is_empty());
        }
    }
    (strings, features)
}
