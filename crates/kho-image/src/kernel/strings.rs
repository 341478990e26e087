//! Compat strings that stand alone in an image.

use std::collections::HashMap;

use kho_compat::{Carrier, Compat, Registry};
use memchr::memmem;

use super::{Evidence, FoundString, Standing};
use crate::image::ImageError;

/// Bytes of a handler's or an FLB's `compatible`, and of an entry of `.liveupdate_versions`.
pub(super) const FIELD: usize = 48;
/// Runs of the grammar's characters beyond this are no compat strings.
const TEXT_MAX: usize = 255;
/// More different strings than this are not a kernel's doing.
pub(super) const FOUND_MAX: usize = 4096;

/// Bytes of an image that strings are looked for in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Region {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) section: Option<String>,
    /// Where the kernel is linked to have it.
    pub(super) address: Option<u64>,
}

impl Region {
    /// All of an image without sections.
    pub(super) const fn whole(len: usize) -> Self {
        Self {
            start: 0,
            end: len,
            section: None,
            address: None,
        }
    }

    pub(super) fn bytes<'d>(&self, data: &'d [u8]) -> &'d [u8] {
        data.get(self.start..self.end).unwrap_or_default()
    }

    /// The offset in the file and the address of the byte at `at` of the region.
    pub(super) fn place(&self, at: usize) -> (u64, Option<u64>) {
        let address = self.address.map(|address| address.wrapping_add(at as u64));
        ((self.start + at) as u64, address)
    }
}

/// What carries a string whose base token is called `name`, where the name alone says it: that of a linked
/// component, and any object's.
pub(super) fn carrier(name: &str) -> Option<Carrier> {
    // The node that listed FLBs up to Linux 7.1, not an FLB.
    if name == "luo-flb" {
        return None;
    }
    let registry = Registry::linked().ok();
    let component = registry.and_then(|registry| registry.get(name));
    let carrier = component.and_then(|component| component.carrier);
    // A number stands in no image as text.
    let text = carrier.filter(|carrier| !matches!(carrier, Carrier::Owned(it) if it.is_number()));
    text.or_else(|| name.ends_with("-flb").then_some(Carrier::Flb))
}

/// Nodes of LUO's device tree up to Linux 7.1, versioned by themselves.
fn is_known(name: &str) -> bool {
    carrier(name).is_some() || matches!(name, "luo-session" | "luo-flb")
}

/// Names that a string of this machinery may well have, wherever it stands.
fn is_akin(name: &str) -> bool {
    ["kho-", "luo-", "liveupdate-", "memfd-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

const fn in_grammar(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b';')
}

const fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')
}

/// Strings found, each text once.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) strings: Vec<FoundString>,
    pub(super) candidates: Vec<FoundString>,
    pub(super) ignored: u64,
    index: HashMap<String, (bool, usize)>,
}

impl Found {
    pub(super) fn add(&mut self, known: bool, found: FoundString) -> Result<(), ImageError> {
        let list = if known {
            &mut self.strings
        } else {
            &mut self.candidates
        };
        match self.index.get(&found.text) {
            Some((known, at)) => {
                let list = if *known {
                    &mut self.strings
                } else {
                    &mut self.candidates
                };
                if let Some(first) = list.get_mut(*at) {
                    first.times = first.times.saturating_add(found.times);
                }
            }
            None if list.len() >= FOUND_MAX => {
                return Err(ImageError::damaged(
                    "compat strings",
                    found.offset,
                    format!("more than {FOUND_MAX} different ones"),
                    "as many as a kernel has",
                ));
            }
            None => {
                self.index.insert(found.text.clone(), (known, list.len()));
                list.push(found);
            }
        }
        Ok(())
    }
}

/// Looks for strings that stand alone in `region`.
pub(super) fn scan(
    data: &[u8],
    region: &Region,
    word: u64,
    found: &mut Found,
) -> Result<(), ImageError> {
    let bytes = region.bytes(data);
    let finder = memmem::Finder::new("-v");
    let mut from = 0;
    // Each byte belongs to one run, and each run is looked at once.
    while let Some(hit) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
        let hit = from + hit;
        let before = bytes.get(from..hit).unwrap_or_default();
        let start = hit - before.iter().rev().take_while(|b| in_grammar(**b)).count();
        let after = bytes.get(hit..).unwrap_or_default();
        let end = hit + after.iter().take_while(|b| in_grammar(**b)).count();
        let previous = start.checked_sub(1).and_then(|at| bytes.get(at)).copied();
        from = end;
        let text = bytes.get(start..end).unwrap_or_default();
        if text.len() > TEXT_MAX || bytes.get(end) != Some(&0) {
            continue;
        }
        let (offset, address) = region.place(start);
        let aligned = match address {
            Some(address) => address % word == 0,
            // Sections of a module are aligned in themselves.
            None => (start as u64).is_multiple_of(word),
        };
        let padded = bytes
            .get(end..start.saturating_add(FIELD))
            .is_some_and(|rest| !rest.is_empty() && rest.iter().all(|byte| *byte == 0));
        let standing = match previous {
            _ if aligned && padded && !previous.is_some_and(is_text) => Standing::Field,
            None | Some(0) => Standing::Constant,
            Some(_) => continue,
        };
        let Some((text, compat)) = str::from_utf8(text)
            .ok()
            .and_then(|text| Some((text, Compat::parse(text).ok()?)))
        else {
            continue;
        };
        let name = compat.base().name();
        let known = is_known(name);
        if !(known || standing == Standing::Field || is_akin(name)) {
            found.ignored += 1;
            continue;
        }
        let string = FoundString {
            text: text.to_owned(),
            offset,
            section: region.section.clone(),
            address,
            standing,
            evidence: Evidence::Strings,
            times: 1,
        };
        found.add(known, string)?;
    }
    Ok(())
}

/// The first of `names` that stands alone in `region`, NUL before and after it.
pub(super) fn standing_alone<'n>(
    data: &[u8],
    region: &Region,
    names: &[&'n str],
) -> Option<(usize, &'n str)> {
    let bytes = region.bytes(data);
    names.iter().find_map(|name| {
        let mut hits = memmem::find_iter(bytes, name.as_bytes());
        let alone = |at: &usize| {
            let before = at.checked_sub(1).and_then(|at| bytes.get(at));
            before.is_none_or(|byte| *byte == 0) && bytes.get(at + name.len()) == Some(&0)
        };
        hits.find(alone).map(|at| (at, *name))
    })
}
