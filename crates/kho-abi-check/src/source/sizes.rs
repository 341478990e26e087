//! Whether the source asserts the size of a struct.

use super::items::{Sources, StructItem};
use super::modules::is_module;

impl Sources {
    /// Whether a constant asserts the size of `item`. Where there are more structs of its name, it counts if it
    /// names the module of `item`, or stands in it.
    pub(crate) fn asserts_size(&self, item: &StructItem) -> bool {
        let only = self.structs_of(&item.name).count() == 1;
        let mut all = self.asserts.iter();
        all.any(|assert| {
            let mut asked = asked_sizes(&assert.text);
            asked.any(|path| {
                let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
                let module = module.rsplit("::").next().unwrap_or_default();
                let is_here = assert.file == item.place.file;
                let above = assert.module.rsplit_once("::").unwrap_or_default().0;
                name == item.name
                    && (only
                        || match module {
                            "" | "self" => is_here && assert.module == item.module,
                            "super" => is_here && above == item.module,
                            "crate" => {
                                item.module.is_empty() && item.place.file.ends_with("/lib.rs")
                            }
                            module => match item.module.rsplit("::").next() {
                                Some("") | None => is_module(&item.place.file, module),
                                Some(last) => last == module,
                            },
                        })
            })
        })
    }
}

/// The paths of the types whose sizes `text`, without blanks, asks for.
fn asked_sizes(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("size_of::<").map(|(at, start)| {
        let asked = text.get(at + start.len()..).unwrap_or_default();
        asked.split(">()").next().unwrap_or_default()
    })
}
