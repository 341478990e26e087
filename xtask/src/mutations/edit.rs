//! Edits: an item of a crate, and what is done to it.

use std::ops::Range;

use serde::Deserialize;

use super::files::{CrateFile, Files, Found};
use super::source::{Token, slice, tokens};

/// A change of one item, or of one file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    /// The crate; without it the one that declares the case's component.
    #[serde(rename = "in")]
    pub(super) krate: Option<String>,
    /// What is changed: see docs/abi.md.
    pub(super) at: String,
    /// Tokens of it, once; in a file that is not Rust: text.
    pub(super) from: Option<String>,
    /// What stands there then; without `from` it becomes the value.
    pub(super) to: Option<String>,
    /// Every place of `from`, and every item that `at` names.
    #[serde(default)]
    pub(super) all: bool,
    /// An element more at the end of its list.
    pub(super) add: Option<String>,
    /// An element less.
    pub(super) drop: Option<String>,
    /// Whether it goes away.
    #[serde(default)]
    pub(super) remove: bool,
    /// What stands before it then.
    pub(super) before: Option<String>,
    /// What stands after it then.
    pub(super) after: Option<String>,
    /// Its documentation.
    pub(super) doc: Option<String>,
    /// The item before which it moves.
    pub(super) move_before: Option<String>,
    /// The name of the file to which the one that it stands in moves; `{}` is the old name.
    pub(super) move_to: Option<String>,
}

/// Text that replaces a part of a file.
struct Splice {
    file: String,
    at: Range<usize>,
    text: String,
}

impl Edit {
    /// Makes the edit, for a case of `component`.
    pub(super) fn apply(&self, files: &mut Files, component: &str) -> Result<(), String> {
        let says = |error: String| format!("`{}`: {error}", self.at);
        if let Some(name) = self.at.strip_prefix("file ") {
            return self.text(files, name).map_err(says);
        }
        let krate = match &self.krate {
            Some(krate) => krate.clone(),
            None => files.home(component)?.to_owned(),
        };
        if self.at == "crate" {
            return self.release(files, &krate).map_err(says);
        }
        let mut found = files.find(&krate, &self.at)?;
        // Of several, the one that has the tokens.
        let named = self.from.as_ref().or(self.drop.as_ref());
        if let (Some(from), [_, _, ..]) = (named, found.as_slice()) {
            let has = |found: &Found| {
                let places = places(&found.file.source.text, &found.part.whole, from);
                places.is_ok_and(|places| !places.is_empty())
            };
            if found.iter().any(has) {
                found.retain(has);
            }
        }
        if let [_, _, ..] = found.as_slice()
            && !self.all
        {
            let paths: Vec<_> = found.iter().map(|found| found.path.as_str()).collect();
            return Err(says(format!("ambiguous: {}", paths.join(", "))));
        }
        let mut splices = Vec::new();
        for found in &found {
            if let Some(to) = &self.move_to {
                move_file(files, &found.file, to);
                continue;
            }
            let mut made = self.splices(files, &krate, found).map_err(says)?;
            if made.is_empty() {
                return Err(says("the edit does nothing".to_owned()));
            }
            splices.append(&mut made);
        }
        // From the end of a file to its start, so that the places stay right.
        splices.sort_by_key(|splice| std::cmp::Reverse(splice.at.start));
        for Splice { file, at, text } in splices {
            let mut content = files.read(&file).unwrap_or_default();
            content.replace_range(at, &text);
            files.write(&file, Some(content));
        }
        Ok(())
    }

    fn splices(&self, files: &Files, krate: &str, found: &Found) -> Result<Vec<Splice>, String> {
        let Found { file, part, .. } = found;
        let text = &file.source.text;
        let lacks = |what: &str| format!("{} has no {what}", found.path);
        let mut out = Vec::new();
        let mut splice = |at: Range<usize>, text: String| {
            let file = file.name.clone();
            out.push(Splice { file, at, text });
        };
        let whole = part.whole.clone();
        match (&self.from, &self.to) {
            (None, None) => {}
            (Some(_), None) => return Err("`from` without `to`".to_owned()),
            (None, Some(to)) => {
                let value = part.value.clone().ok_or_else(|| lacks("value"))?;
                splice(value, to.clone());
            }
            (Some(from), Some(to)) => {
                let places = places(text, &whole, from)?;
                if places.is_empty() || places.len() > 1 && !self.all {
                    let count = places.len();
                    let (path, others) = (&found.path, others(files, krate, from)?);
                    return Err(format!(
                        "{path} has {from:?} {count} times; it stands in {others}"
                    ));
                }
                places.into_iter().for_each(|at| splice(at, to.clone()));
            }
        }
        if let Some(add) = &self.add {
            match (&part.list, &found.missing) {
                (Some(list), _) => {
                    let inside = slice(text, list).trim_end();
                    let at = list.start + inside.len();
                    let is_ended = inside.is_empty() || inside.ends_with([',', '}', ';']);
                    let comma = if is_ended { "" } else { "," };
                    splice(at..at, format!("{comma}\n{add}"));
                }
                (None, Some((at, call))) => splice(*at..*at, format!("\n.{call}(&[{add}])")),
                _ => return Err(lacks("list")),
            }
        } else if found.missing.is_some() {
            return Err(lacks("such call"));
        }
        if let Some(element) = &self.drop {
            let list = part.list.clone().ok_or_else(|| lacks("list"))?;
            splice(element_of(text, &list, element)?, String::new());
        }
        if let Some(doc) = &self.doc {
            let lines: Vec<_> = doc.lines().map(|line| format!("/// {line}")).collect();
            let docs = part.docs.clone();
            splice(
                docs.ok_or_else(|| lacks("documentation"))?,
                lines.join("\n"),
            );
        }
        if let Some(before) = &self.before {
            splice(whole.start..whole.start, format!("{before}\n\n"));
        }
        if let Some(after) = &self.after {
            splice(whole.end..whole.end, format!("\n\n{after}"));
        }
        if self.remove || self.move_before.is_some() {
            splice(whole.clone(), String::new());
        }
        if let Some(other) = &self.move_before {
            let moved = slice(text, &whole);
            let others = files.find(krate, other)?;
            let [other] = others.as_slice() else {
                return Err(format!("`{other}` is ambiguous"));
            };
            let (file, at) = (other.file.name.clone(), other.part.whole.start);
            let (at, text) = (at..at, format!("{moved}\n"));
            out.push(Splice { file, at, text });
        }
        Ok(out)
    }

    /// Edits a file as text.
    fn text(&self, files: &mut Files, name: &str) -> Result<(), String> {
        if self.remove {
            files.write(name, None);
            return Ok(());
        }
        let Some(to) = &self.to else {
            return Err("a file takes `from` and `to`, or `remove`".to_owned());
        };
        let Some(from) = &self.from else {
            files.write(name, Some(to.clone()));
            return Ok(());
        };
        let text = files.read(name).ok_or("there is no such file")?;
        let count = text.matches(from.as_str()).count();
        if count == 0 || count > 1 && !self.all {
            return Err(format!("{from:?} stands there {count} times"));
        }
        files.write(name, Some(text.replace(from.as_str(), to)));
        Ok(())
    }

    /// Gives a crate another version, also where the workspace depends on it.
    fn release(&self, files: &mut Files, krate: &str) -> Result<(), String> {
        let to = self.to.as_ref().ok_or("a crate takes `to`, its version")?;
        let own = format!("crates/{krate}/Cargo.toml");
        let (name, line) = (format!("{krate} = {{"), format!("version = \"{to}\""));
        for (file, start) in [(own.as_str(), "version"), ("Cargo.toml", name.as_str())] {
            let text = files
                .read(file)
                .ok_or_else(|| format!("there is no {file}"))?;
            let old = text.lines().find(|line| line.starts_with(start));
            let lacks = || format!("{file} has no line that begins with `{start}`");
            let old = old.ok_or_else(lacks)?;
            let new = match old.split_once("version = \"") {
                Some((head, rest)) => {
                    let (_, tail) = rest.split_once('"').unwrap_or_default();
                    format!("{head}{line}{tail}")
                }
                None if start == "version" => line.clone(),
                // Depended on by its path alone.
                None => continue,
            };
            files.write(file, Some(text.replacen(old, &new, 1)));
        }
        Ok(())
    }
}

/// The places in `text`, inside of `range`, where the tokens of `from` stand.
fn places(text: &str, range: &Range<usize>, from: &str) -> Result<Vec<Range<usize>>, String> {
    let wanted = tokens(from)?;
    let all = tokens(slice(text, range))?;
    let place = |window: &[Token]| {
        let same = window.iter().zip(&wanted).all(|(a, b)| a.text == b.text);
        let (first, last) = (window.first()?, window.last()?);
        same.then(|| range.start + first.at.start..range.start + last.at.end)
    };
    Ok(all.windows(wanted.len().max(1)).filter_map(place).collect())
}

/// The functions and items of a crate in which the tokens of `from` stand.
fn others(files: &Files, krate: &str, from: &str) -> Result<String, String> {
    let mut out = Vec::new();
    for file in files.crate_files(krate)? {
        for entry in &file.source.entries {
            if entry.kind != "mod" && !places(&file.source.text, &entry.at.whole, from)?.is_empty()
            {
                out.push(format!("{} {}", entry.kind, file.path(entry)));
            }
        }
    }
    if out.is_empty() {
        out.push("no item of the crate".to_owned());
    }
    Ok(out.join(", "))
}

/// The place of the only element of a list that has the tokens `element`, with a comma beside it.
fn element_of(text: &str, list: &Range<usize>, element: &str) -> Result<Range<usize>, String> {
    let places = places(text, list, element)?;
    let [at] = places.as_slice() else {
        let (count, all) = (places.len(), slice(text, list));
        return Err(format!("{element:?} is {count} times in {all}"));
    };
    let tail = slice(text, &(at.end..list.end)).trim_start();
    let head = slice(text, &(list.start..at.start)).trim_end();
    Ok(match tail.strip_prefix(',') {
        Some(tail) => at.start..list.end - tail.len(),
        None => list.start + head.trim_end_matches(',').len()..at.end,
    })
}

/// Moves a file within its directory, and names it where its module is declared.
fn move_file(files: &mut Files, file: &CrateFile, to: &str) {
    let (dir, base) = file.name.rsplit_once('/').unwrap_or_default();
    let stem = base.trim_end_matches(".rs");
    let to = format!("{dir}/{}", to.replace("{}", stem));
    if to != format!("{dir}/{stem}/mod.rs")
        && let Some((parent, at)) = &file.declared
    {
        let (above, _) = parent.rsplit_once('/').unwrap_or_default();
        let path = to.strip_prefix(above).unwrap_or(&to);
        let path = path.trim_start_matches('/');
        let mut text = files.read(parent).unwrap_or_default();
        text.insert_str(at.start, &format!("#[path = \"{path}\"]\n"));
        files.write(parent, Some(text));
    }
    files.write(&file.name, None);
    files.write(&to, Some(file.source.text.clone()));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use std::collections::BTreeMap;

    use super::*;

    const LIB: &str = "mod abi;\n#[cfg(feature = \"x\")]\nmod v2;\n";
    const ABI: &str = "\
/// The name.
pub const NAME: &str = \"c\";
/// The number.
pub const VERSION: u32 = 1;

/// A struct.
#[derive(AbiLayout, Clone)]
#[repr(C)]
#[abi(c_name = \"s\", packed)]
pub struct S {
    /// One.
    pub one: U32,
    /// Two.
    pub two: U64,
}

const _: () = assert!(size_of::<S>() == 12);

const GENERATION: Generation = Generation::new(VERSION)
    .needs(&[(a::NAME, 1), (b::NAME, 2)])
    .layouts(&[S::layout]);

pub const COMPONENT: Component = Component::new(NAME, &[old::GENERATION.read_only(), GENERATION]);

submit! { COMPONENT }

impl S {
    /// Sums.
    fn sum(&self) -> u64 {
        self.one.get() // one
            + self.two(
                1,
            )
    }
}
";

    /// Edits of [`ABI`], each with the text that it replaces there and what stands there then.
    const EDITS: &str = r#"
at = 'const VERSION', to = '2' | u32 = 1; | u32 = 2;
at = 'component c.version', to = '2' | u32 = 1; | u32 = 2;
at = 'component c.version', doc = 'No.' | /// The number. | /// No.
at = 'component c.generations', add = 'V3' | (), GENERATION | (), GENERATION,\nV3
at = 'component c.needs', drop = '(b :: NAME, 2)' | , (b::NAME, 2) |
at = 'component c.needs', drop = '(a::NAME, 1)' | (a::NAME, 1), |
at = 'component c.needs', add = 'd' | (b::NAME, 2) | (b::NAME, 2),\nd
at = 'component c.needs', remove = true | .needs(&[(a::NAME, 1), (b::NAME, 2)]) |
at = 'component c.constants', add = 'v' | new(VERSION) | new(VERSION)\n.constants(&[v])
at = 'component c.unreleased', add = '3' | GENERATION]) | GENERATION])\n.unreleased(&[3])
at = 'struct S#abi', drop = 'packed' | , packed |
at = 'struct *#derive', add = 'Copy', all = true | Clone | Clone,\nCopy
at = 'struct S.one', to = 'I32' | one: U32 | one: I32
at = 'struct S', add = 'pub x: u8,' | two: U64, | two: U64,\npub x: u8,
at = 'struct S.two', before = 'x: y,' | /// Two. | x: y,\n\n/// Two.
at = 'assert S', to = '16' | == 12 | == 16
at = 'assert S', remove = true | const _: () = assert!(size_of::<S>() == 12); |
at = 'macro submit::COMPONENT', remove = true | submit! { COMPONENT } |
at = 'fn S::sum', from = 'get() + self.two(1)', to = 'x' | get() // one\n            + self.two(\n                1,\n            ) | x
at = 'struct S.two', move_before = 'struct S.one' | /// One.\n    pub one: U32,\n    /// Two.\n    pub two: U64,\n} | /// Two.\n    pub two: U64,\n/// One.\n    pub one: U32,\n    \n}"#;

    fn files(files: &[(&str, &str)]) -> Files {
        let named = |(name, text): &(&str, &str)| {
            (format!("crates/c/src/{name}"), Some((*text).to_owned()))
        };
        Files::of(files.iter().map(named).collect())
    }

    fn apply(files: &mut Files, edit: &str) -> Result<(), String> {
        let edits: BTreeMap<String, Edit> =
            toml::from_str(&format!("edit = {{ {edit} }}")).unwrap();
        edits["edit"].apply(files, "c")
    }

    #[test]
    fn each_operator_changes_what_it_names_and_nothing_else() {
        for line in EDITS.trim_start().lines() {
            let line = line.replace("\\n", "\n") + " ";
            let [edit, from, to] = line.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let mut files = files(&[("lib.rs", LIB), ("abi.rs", ABI), ("v2.rs", ABI)]);
            apply(&mut files, edit).unwrap();
            assert_eq!(ABI.matches(from).count(), 1, "{from}");
            let text = files.read("crates/c/src/abi.rs").unwrap();
            assert_eq!(text, ABI.replace(from, to.trim_end_matches(' ')), "{edit}");
        }
    }

    #[test]
    fn an_item_is_found_in_whatever_file_of_the_crate_it_stands() {
        let (head, rest) = ABI.split_once("/// A struct.").unwrap();
        let (item, rest) = rest.split_once("const _").unwrap();
        let moved = item.replace('\n', "\n\n").replace(',', ",\n");
        let moved = moved.replace(": U64", "\n:\nU64");
        let abi = format!("{head}const _{rest}");
        let mut files = files(&[
            ("lib.rs", "mod abi; mod v1;"),
            ("abi.rs", &abi),
            ("v1/mod.rs", &moved),
        ]);
        apply(&mut files, "at = 'struct S.two', to = 'I64'").unwrap();
        let text = files.read("crates/c/src/v1/mod.rs").unwrap();
        assert_eq!(text, moved.replace("U64", "I64"));
        apply(&mut files, "at = 'struct v1::S', move_to = 'v2.rs'").unwrap();
        assert_eq!(files.read("crates/c/src/v1/mod.rs"), None);
        let expected = "mod abi; #[path = \"v1/v2.rs\"]\nmod v1;";
        assert_eq!(files.read("crates/c/src/lib.rs").unwrap(), expected);
        apply(&mut files, "at = 'struct v1::S.two', to = 'U8'").unwrap();
    }

    #[test]
    fn an_error_names_the_crate_the_path_and_what_there_is() {
        let mut files = files(&[("lib.rs", LIB), ("abi.rs", ABI), ("v2.rs", ABI)]);
        let mut error = |edit: &str| apply(&mut files, edit).unwrap_err();
        let of = |text: &str| format!("at = '{text}', to = '1'");
        let expected = "c has no `const VERS`; it has abi::VERSION, v2::VERSION";
        assert_eq!(error(&of("const VERS")), expected);
        let expected = "c has no `fn add`; it has abi::S::sum, v2::S::sum";
        assert_eq!(error(&of("fn add")), expected);
        let expected =
            "`fn sum`: fn c::abi::S::sum has \"three\" 0 times; it stands in no item of the crate";
        assert_eq!(error("at = 'fn sum', from = 'three', to = '1'"), expected);
        assert_eq!(
            error("at = 'fn sum', from = 'two:', to = '1'"),
            "`fn sum`: fn c::abi::S::sum has \"two:\" 0 times; it stands in struct abi::S, struct v2::S"
        );
        let text = ABI.replace("VERSION", "OTHER") + "mod m { pub const OTHER: u32 = 1; }";
        files.write("crates/c/src/abi.rs", Some(text));
        let mut error = |edit: &str| apply(&mut files, edit).unwrap_err();
        let expected = "`const OTHER`: ambiguous: const c::abi::OTHER, const c::abi::m::OTHER";
        assert_eq!(error(&of("const OTHER")), expected);
    }
}
