//! The histories that come with this crate.

/// Their names and texts.
pub const BUILTIN: &[(&str, &str)] = &[
    ("linux", include_str!("../histories/linux.toml")),
    (
        "june-proposal",
        include_str!("../histories/june-proposal.toml"),
    ),
    ("granular", include_str!("../histories/granular.toml")),
    (
        "vmalloc-field",
        include_str!("../histories/vmalloc-field.toml"),
    ),
    ("block-need", include_str!("../histories/block-need.toml")),
    ("transition", include_str!("../histories/transition.toml")),
];

/// The text of the history `name`.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static str> {
    let found = BUILTIN.iter().find(|(builtin, _)| *builtin == name);
    found.map(|(_, text)| *text)
}
