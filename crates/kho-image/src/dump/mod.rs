//! The forms of a dump that are no ELF core, and what any dump says of its kernel.

pub(crate) mod flattened;
pub(crate) mod foreign;
pub(crate) mod kdump;
pub(crate) mod lime;
pub(crate) mod pages;
pub(crate) mod source;
pub(crate) mod vmcoreinfo;

/// The `N` bytes at `at` of `bytes`, zeros where they end before: headers are checked by what they say.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0; N])
}
