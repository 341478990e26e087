//! Components beside the one that a vector is of, in the versions that are theirs today.

use std::sync::LazyLock;

use kho_block::Format;
use kho_compat::{Component, Generation};

/// The root.
pub(crate) static KHO: LazyLock<&Component> = LazyLock::new(|| alone(&kho_core::COMPONENT));
/// LUO, without the blocks that it needs.
pub(crate) static LUO: LazyLock<&Component> = LazyLock::new(|| alone(&kho_luo::COMPONENT));
/// Linked blocks.
pub(crate) static BLOCK: LazyLock<&Component> = LazyLock::new(|| alone(&kho_block::COMPONENT));
/// Areas.
pub(crate) static VMALLOC: LazyLock<&Component> = LazyLock::new(|| alone(&kho_vmalloc::COMPONENT));

/// `component` as one that needs nothing: what it needs has a history of its own.
///
/// What carries its string is of the version that is written. What others need is of the one that their plain
/// strings stand for, so that a newer one beside it changes no vector of theirs.
fn alone(component: &Component) -> &'static Component {
    let number = match component.carrier {
        Some(_) => component.major(),
        None => component.unannounced(),
    };
    let generations = Box::leak(Box::new([Generation::new(number)]));
    Box::leak(Box::new(component.clone().generations(generations)))
}

/// Bytes of the header of a block of [`BLOCK`]: entries are packed behind it.
pub(crate) fn block_header() -> u64 {
    let format = Format::of(BLOCK.major()).unwrap_or_default();
    format.header_len() as u64
}

/// `text` with the string of `component` as that of version 1: which version of another it shows is not the
/// version of a vector.
pub(crate) fn in_version_1(text: &[u8], component: &Component) -> Vec<u8> {
    let token = |number| format!("{}-v{number}", component.name).into_bytes();
    let (now, first) = (token(component.major()), token(1));
    let mut text = text.to_vec();
    let places = 0..text.len();
    for at in places {
        if let Some(place) = text.get_mut(at..at + now.len())
            && place == now
            && first.len() == now.len()
        {
            place.copy_from_slice(&first);
        }
    }
    text
}
