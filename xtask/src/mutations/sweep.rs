//! Cases made by rule: what can be changed in each `abi` module is changed, one thing at a time.

use std::fs;
use std::path::Path;

use super::cases::{Case, Edit, Expect};

/// Rules that stop a change of a format.
const STOPS: [&str; 10] = [
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

/// A field of a struct: where it begins, its name and its type.
struct Field<'a> {
    line: &'a str,
    name: &'a str,
    of: &'a str,
}

/// The cases of all crates whose `abi` module has a component.
pub(super) fn cases(root: &Path) -> Result<Vec<Case>, String> {
    let crates = root.join("crates");
    let says = |error: std::io::Error| format!("{}: {error}", crates.display());
    let entries = fs::read_dir(&crates).map_err(says)?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<Result<Vec<_>, _>>().map_err(says)?;
    names.sort();
    let mut out = Vec::new();
    for name in names {
        let name = name.to_string_lossy();
        let file = format!("crates/{name}/src/abi.rs");
        let Ok(text) = fs::read_to_string(root.join(&file)) else {
            continue;
        };
        if !text.contains("Component::new(") {
            continue;
        }
        of_file(&file, &text, &mut out);
    }
    Ok(out)
}

fn of_file(file: &str, text: &str, out: &mut Vec<Case>) {
    constants(file, text, out);
    fields(file, text, out);
    needs(file, text, out);
}

fn case(file: &str, kind: &str, name: String, from: &str, to: String) -> Case {
    let edit = Edit {
        file: file.to_owned(),
        from: Some(from.to_owned()),
        to: Some(to),
        moved_to: None,
        all: false,
    };
    let component = file.split('/').nth(1).unwrap_or(file);
    Case {
        name,
        kind: kind.to_owned(),
        component: component.to_owned(),
        quick: false,
        bless: false,
        expect: Expect {
            exit: 1,
            any: STOPS.map(str::to_owned).into(),
            or_compiler: true,
            ..Expect::default()
        },
        edits: vec![edit],
    }
}

/// Each public constant gets another value.
fn constants(file: &str, text: &str, out: &mut Vec<Case>) {
    let mut rest = text;
    while let Some(start) = rest.find("\npub const ") {
        rest = rest.get(start + 1..).unwrap_or_default();
        let Some(item) = rest.split_inclusive(';').next() else {
            return;
        };
        let Some((head, value)) = item.split_once('=') else {
            continue;
        };
        let mut words = head.trim_start_matches("pub const ").splitn(2, ':');
        let (Some(name), Some(of)) = (words.next(), words.next()) else {
            continue;
        };
        let (of, value) = (of.trim(), value.trim().trim_end_matches(';'));
        let to = match of {
            "&str" => value.replacen('"', "\"x", 1),
            "u8" | "u16" | "u32" | "u64" | "usize" => format!("({value}) + 1"),
            _ => continue,
        };
        let kind = if name.ends_with("VERSION") {
            "version alone"
        } else {
            "constant"
        };
        let name = format!("{name} is {to}");
        out.push(case(file, kind, name, item, format!("{head}= {to};")));
    }
}

/// The structs of a source that derive `AbiLayout`: names, and fields in order.
fn structs(text: &str) -> Vec<(&str, Vec<Field<'_>>)> {
    let mut out = Vec::new();
    for part in text.split("\npub struct ").skip(1) {
        let Some((name, body)) = part.split_once(" {") else {
            continue;
        };
        let body = body.split("\n}").next().unwrap_or_default();
        let fields = body.lines().filter_map(|line| {
            let (name, of) = line.strip_prefix("    pub ")?.split_once(": ")?;
            let of = of.trim_end_matches(',');
            Some(Field { line, name, of })
        });
        out.push((name, fields.collect()));
    }
    out
}

/// Each two fields that stand side by side change places, or names.
fn fields(file: &str, text: &str, out: &mut Vec<Case>) {
    for (of, fields) in structs(text) {
        for pair in fields.windows(2) {
            let [first, second] = pair else { continue };
            let between = text.split_once(first.line).map(|(_, rest)| rest);
            let between = between.and_then(|rest| rest.split_once(second.line));
            let Some((between, _)) = between else {
                continue;
            };
            let from = format!("{}{between}{}", first.line, second.line);
            let to = format!("{}{between}{}", second.line, first.line);
            let (kind, what) = if first.of == second.of {
                ("names swapped", "change names")
            } else {
                ("fields reordered", "change places")
            };
            let name = format!("{of}: {} and {} {what}", first.name, second.name);
            // Lines may stand in two structs: the head of this one is in it.
            let head = text.split_once(&format!("\npub struct {of} {{"));
            let inside = head.and_then(|(_, rest)| rest.split_once(&from));
            let Some((inside, _)) = inside else { continue };
            let head = format!("\npub struct {of} {{{inside}");
            out.push(case(
                file,
                kind,
                name,
                &format!("{head}{from}"),
                format!("{head}{to}"),
            ));
        }
    }
}

/// Each need is dropped.
fn needs(file: &str, text: &str, out: &mut Vec<Case>) {
    for part in text.split(".needs(&[").skip(1) {
        let Some((list, _)) = part.split_once("])") else {
            continue;
        };
        let needs: Vec<_> = list.split(", ").collect();
        for dropped in &needs {
            let kept: Vec<_> = needs
                .iter()
                .filter(|need| *need != dropped)
                .copied()
                .collect();
            let from = format!(".needs(&[{list}])");
            let to = format!(".needs(&[{}])", kept.join(", "));
            out.push(case(
                file,
                "need dropped",
                format!("{dropped} is not needed"),
                &from,
                to,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_changed_is_found() {
        let text = "\npub const A: u32 = 1 << 3;\npub const B: &str = \"b\";\n\npub struct S {\n    /// X.\n    \
                    pub x: U64,\n    /// Y.\n    pub y: U64,\n    pub z: U32,\n}\n.needs(&[a, b])\n";
        let mut cases = Vec::new();
        of_file("crates/c/src/abi.rs", text, &mut cases);
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "A is (1 << 3) + 1",
                "B is \"xb\"",
                "S: x and y change names",
                "S: y and z change places",
                "a is not needed",
                "b is not needed",
            ]
        );
        for case in &cases {
            for edit in &case.edits {
                let from = edit.from.as_deref().unwrap_or_default();
                assert_eq!(text.matches(from).count(), 1, "{from:?}");
            }
        }
    }
}
