//! The modules that an initrd has, by name.

use std::io;
use std::ops::Range;
use std::path::Path;

use kho_image::kernel::{KernelOptions, list_initrd};

/// No initrd unpacks to more.
const UNPACKED_MAX: u64 = 4 << 30;

/// An initrd.
#[derive(Clone, Debug)]
pub(crate) struct Initrd {
    /// Where it is.
    pub(crate) of: String,
    pub(crate) bytes: u64,
    /// The names of its modules, without what compresses them; or why they are not known.
    pub(crate) modules: Result<Vec<String>, String>,
}

impl Initrd {
    /// The one in the file `path`, which is called `of`: the bytes `range` of it.
    pub(crate) fn part(path: &Path, range: Range<u64>, of: String) -> io::Result<Self> {
        std::fs::File::open(path)?;
        let options = KernelOptions {
            max_unpacked: UNPACKED_MAX,
        };
        let bytes = range.end.saturating_sub(range.start);
        // An empty one is there, and has none.
        let range = Some(range).filter(|range| !range.is_empty());
        let modules = range.map_or(Ok(Vec::new()), |range| {
            list_initrd(path, Some(range), &options)
        });
        let modules = modules.map(|paths| {
            let names = paths.iter().filter_map(|path| stem(path.to_str()?));
            names.collect()
        });
        Ok(Self {
            of,
            bytes,
            modules: modules.map_err(|error| error.to_string()),
        })
    }

    /// Whether the module `path` is in it; `None` where that is not known.
    pub(crate) fn has(&self, path: &str) -> Option<bool> {
        let modules = self.modules.as_ref().ok()?;
        Some(modules.contains(&stem(path)?))
    }
}

/// The name of the module in the file `path`: `x_y` of `kernel/x-y.ko.zst`.
fn stem(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (stem, _) = name
        .split_once(".ko")
        .filter(|(_, rest)| rest.is_empty() || rest.starts_with('.'))?;
    Some(stem.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_known_by_their_names() {
        let name = |path| stem(path).unwrap_or_default();
        assert_eq!(name("usr/lib/modules/7.3.4/kernel/a-b.ko.xz"), "a_b");
        assert_eq!(name("c.ko"), "c");
        assert_eq!(name("lib/modules.order"), "");
        assert_eq!(name("lib/d.kok"), "");
        let initrd = |modules| Initrd {
            of: String::new(),
            bytes: 0,
            modules,
        };
        let has = initrd(Ok(vec!["a_b".to_owned()]));
        assert_eq!(has.has("extra/a_b.ko"), Some(true));
        assert_eq!(has.has("extra/c.ko"), Some(false));
        assert_eq!(initrd(Err(String::new())).has("extra/c.ko"), None);
    }
}
