//! Which module a file is, by its path.

/// Whether a file describes a format by its name: `abi.rs`, `v2.rs`, or what lies in a directory of such a name.
pub(super) fn is_abi(path: &str) -> bool {
    modules(path).any(|name| name == "abi" || number_of(name).is_some())
}

/// The names of the directories and of the file of `path`, as modules are called.
fn modules(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.strip_suffix(".rs").unwrap_or(path).split('/')
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
