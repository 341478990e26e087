//! Which module a file is, by its path.

use crate::tree::join;

/// Whether a file describes a format by its name: `abi.rs`, `v2.rs`, or what lies in a directory of such a name.
pub(super) fn is_abi(path: &str) -> bool {
    modules(path).any(|name| name == "abi" || number_of(name).is_some())
}

/// The names of the directories and of the file of `path`, as modules are called.
fn modules(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.strip_suffix(".rs").unwrap_or(path).split('/')
}

/// The module that the file `path` is, as a path without `.rs`: the directory for `mod.rs` and `lib.rs`.
pub(super) fn own_module(path: &str) -> &str {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut roots = ["/mod", "/lib", "/main"].into_iter();
    roots
        .find_map(|root| path.strip_suffix(root))
        .unwrap_or(path)
}

/// The module `name` that the file `path` declares, or the file that it names for it.
pub(super) fn submodule(path: &str, name: &str, file: Option<String>) -> String {
    match file {
        Some(file) => {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            own_module(&join(dir, &file)).to_owned()
        }
        None => join(own_module(path), name),
    }
}

/// Whether the file `path` is the module `module`, or lies in it.
pub(super) fn is_within(path: &str, module: &str) -> bool {
    let own = own_module(path);
    own.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether `path` is the file of the module `name`.
pub(super) fn is_module(path: &str, name: &str) -> bool {
    let path = path.strip_suffix("/mod.rs").unwrap_or(path);
    modules(path).next_back() == Some(name)
}

/// The number of the generation that a module is named for: 2 for `v2`.
fn number_of(module: &str) -> Option<u32> {
    module.strip_prefix('v')?.parse().ok()
}

/// The number of the generation in whose module, of the file `path` or inside it, something stands.
pub(super) fn own_generation(path: &str, module: &str) -> Option<u32> {
    let inner = module.rsplit("::");
    inner.chain(modules(path).rev()).find_map(number_of)
}

/// How a module goes with the generation `number`: 2 for its own, 1 for one of no generation, 0 for another's.
pub(super) fn generation_of(path: &str, module: &str, number: u32) -> u8 {
    match own_generation(path, module) {
        Some(other) => u8::from(other == number) * 2,
        None => 1,
    }
}
