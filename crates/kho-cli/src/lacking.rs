//! Files whose contents a dump does not store.

use kho_core::RestoredFile;
use kho_image::Image;
use kho_mem::MemError;
use serde_json::{Map, Value, json};

use crate::human::{count, size};

/// A file that lacks something, by what names it in the manifest, and what it lacks.
pub(crate) struct Lacking {
    /// The members that say which file it is.
    pub(crate) file: Map<String, Value>,
    pub(crate) missing: Missing,
}

/// Ranges of a file that the dump does not store: offset and bytes, in order, apart.
#[derive(Default)]
pub(crate) struct Missing(Vec<(u64, u64)>);

impl Missing {
    /// What the dump does not store of `file`, which is not read.
    pub(crate) fn of(file: &dyn RestoredFile) -> Result<Self, MemError> {
        file.not_stored().map(Self)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, len)| len).sum()
    }

    /// The ranges in JSON: `[offset, bytes]` each.
    pub(crate) fn json(&self) -> Value {
        self.0
            .iter()
            .map(|(offset, len)| json!([offset, len]))
            .collect()
    }
}

impl Lacking {
    /// Its part of the manifest: which file, and why it is not there.
    pub(crate) fn json(&self) -> Value {
        let mut value = self.file.clone();
        value.insert("reason".into(), "not-stored".into());
        value.insert("not_stored".into(), self.missing.json());
        value.into()
    }

    fn line(&self) -> String {
        let text = |member: &str| self.file.get(member).and_then(Value::as_str);
        let name = match (
            text("session"),
            self.file.get("token").and_then(Value::as_u64),
        ) {
            (Some(session), Some(token)) => format!("session `{session}`, token {token:#x}"),
            _ => text("name").unwrap_or_default().to_owned(),
        };
        let all = self.file.get("size").and_then(Value::as_u64).unwrap_or(0);
        format!("{name}: {} of {}", size(self.missing.bytes()), size(all))
    }
}

/// What the command says of files that lack something; `written` says whether they were written, with holes.
pub(crate) fn lines(lacking: &[Lacking], written: bool) -> Vec<(&'static str, String)> {
    const SHOWN: usize = 8;
    let files = count(lacking.len() as u64, "file");
    let (done, hint) = if written {
        (
            "restored with holes there",
            "manifest.json lists them, in `not_stored`",
        )
    } else {
        (
            "not restored",
            "--allow-missing writes such a file with holes; manifest.json lists it in `missing`",
        )
    };
    let headline = format!("the dump does not store all contents of {files}: {done}");
    let mut lines = vec![("not stored", headline)];
    lines.extend(lacking.iter().take(SHOWN).map(|one| ("file", one.line())));
    if let Some(rest) = lacking.len().checked_sub(SHOWN).filter(|rest| *rest > 0) {
        lines.push(("and", count(rest as u64, "more file")));
    }
    lines.push(("hint", hint.to_owned()));
    lines
}

/// What memory `image` does not store, and why; `None` where it stores all.
pub(crate) fn note(image: &Image) -> Option<String> {
    let missing = image.missing();
    let why = match image.cut() {
        Some(lacks) => format!("the file is cut short, by {}", size(lacks)),
        None if image.is_cut_short() => "the file is cut short".to_owned(),
        None if missing == 0 => return None,
        None => "filtered out when it was written".to_owned(),
    };
    let (missing, all) = (size(missing), size(image.memory()));
    Some(format!(
        "the dump does not store {missing} of {all} of memory: {why}"
    ))
}
