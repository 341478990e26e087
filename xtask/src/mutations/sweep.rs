//! Cases made by rule: what can be changed in each file that describes a format is changed, one thing at a
//! time.

use std::ops::Range;

use super::cases::{Case, Expect};
use super::edit::Edit;
use super::files::{CrateFile, Files};

/// Rules that stop a change of a format.
const STOPS: [&str; 12] = [
    "snapshot-missing",
    "snapshot-stale",
    "abi-changed-layout",
    "abi-changed-constant",
    "abi-changed-behaviour",
    "needs-changed",
    "restores-broken",
    "needs-broken",
    "version-skipped",
    "component-removed",
    "string-too-long",
    "token-not-unique",
];

/// The cases of all crates that declare components.
pub(super) fn cases(files: &Files) -> Result<Vec<Case>, String> {
    let mut out = Vec::new();
    for krate in files.homes() {
        for file in files.crate_files(krate)? {
            let mut entries = file.source.entries.iter();
            if entries.any(|entry| entry.kind == "component" && entry.is_public || entry.is_layout)
            {
                of_file(krate, &file, &mut out);
            }
        }
    }
    Ok(out)
}

/// Each public constant gets another value, each two fields that stand side by side change places, each need
/// is dropped.
fn of_file(krate: &str, file: &CrateFile, out: &mut Vec<Case>) {
    let shown = |range: Option<Range<usize>>| {
        let text = range.and_then(|range| file.source.text.get(range));
        text.unwrap_or_default()
    };
    let mut push = |kind: &str, name: String, edit: Edit| {
        out.push(Case {
            name,
            kind: kind.to_owned(),
            component: krate.to_owned(),
            expect: Expect {
                exit: 1,
                any: STOPS.map(str::to_owned).into(),
                or_compiler: true,
                ..Expect::default()
            },
            edits: vec![Edit {
                krate: Some(krate.to_owned()),
                ..edit
            }],
            ..Case::default()
        });
    };
    let entries = file.source.entries.iter();
    for entry in entries.filter(|entry| !entry.is_optional) {
        let path = file.path(entry);
        let edit = |at: String| Edit {
            at,
            ..Edit::default()
        };
        match entry.kind {
            "const" if entry.is_public => {
                let of = entry.part("type").and_then(|part| part.value.clone());
                let value = shown(entry.at.value.clone());
                let to = match shown(of) {
                    "&str" => value.replacen('"', "\"x", 1),
                    "u8" | "u16" | "u32" | "u64" | "usize" => format!("({value}) + 1"),
                    _ => continue,
                };
                let kind = if path.ends_with("VERSION") {
                    "version alone"
                } else {
                    "constant"
                };
                let edit = Edit {
                    to: Some(to.clone()),
                    ..edit(format!("const {path}"))
                };
                push(kind, format!("{path} is {to}"), edit);
            }
            "struct" if entry.is_layout => {
                let mut fields = entry.parts.clone();
                fields.retain(|(name, _)| !name.starts_with('#'));
                for pair in fields.windows(2) {
                    let [(first, one), (second, two)] = pair else {
                        continue;
                    };
                    let (kind, what) = if shown(one.value.clone()) == shown(two.value.clone()) {
                        ("names swapped", "change names")
                    } else {
                        ("fields reordered", "change places")
                    };
                    let edit = Edit {
                        move_before: Some(format!("struct {path}.{first}")),
                        ..edit(format!("struct {path}.{second}"))
                    };
                    push(kind, format!("{path}: {first} and {second} {what}"), edit);
                }
            }
            "component" if entry.is_public => {
                let named = shown(entry.part("written").and_then(|part| part.value.clone()));
                let mut generations = file.source.entries.iter();
                let generation = generations.find(|other| {
                    other.kind == "generation"
                        && other.path.last().is_some_and(|name| name == named)
                });
                let needs = entry.part("written.needs");
                let needs = needs.or_else(|| generation?.part("needs"));
                let needs = shown(needs.and_then(|part| part.list.clone()));
                for need in needs
                    .split_inclusive(')')
                    .map(|need| need.trim_start_matches([',', ' ', '\n']).trim())
                    .filter(|need| !need.is_empty())
                {
                    let edit = Edit {
                        drop: Some(need.to_owned()),
                        ..edit(format!("component {path}.needs"))
                    };
                    push("need dropped", format!("{need} is not needed"), edit);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_can_be_changed_is_found_in_each_generation() {
        let old = "pub const A: u32 = 1 << 3;\npub const B: &str = \"b\";\nconst C: u32 = 1;\n";
        let new = "#[derive(AbiLayout)]\npub struct S { pub x: U64, pub y: U64, pub z: U32 }\n\
                   #[derive(Clone)]\npub struct Other { pub x: U64, pub y: U64 }";
        let component = "pub const COMPONENT: Component = Component::new(B, &[Generation::new(A).needs(&[(a, 1), (b, 2)])]);";
        let abi = format!("{old}{component}");
        let texts =
            ["mod abi; mod v2; mod write;", &abi, new, old].map(|text| Some(text.to_owned()));
        let names = ["lib", "abi", "v2", "write"].map(|name| format!("crates/c/src/{name}.rs"));
        let mut files = Files::of(names.into_iter().zip(texts).collect());
        let cases = cases(&files).unwrap();
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "abi::A is (1 << 3) + 1",
                "abi::B is \"xb\"",
                "(a, 1) is not needed",
                "(b, 2) is not needed",
                "v2::S: x and y change names",
                "v2::S: y and z change places",
            ]
        );
        let before = files.edited.clone();
        for case in &cases {
            case.apply(&mut files).unwrap();
            assert_ne!(files.edited, before, "{}", case.name);
            files.edited.clone_from(&before);
        }
    }
}
