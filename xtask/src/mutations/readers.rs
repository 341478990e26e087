//! Reader checks, each switched off: does a vector tell?
//!
//! A check is an `if` of a function that reads, whose block ends by returning damage, or a call for nothing but its
//! refusal, `check_size(size, at)?;`. All of them get a switch, in one build, and abi-check runs once for each that
//! is off. A check that another one stands behind is not told by its absence alone: `xtask/shadowed.toml` says by
//! which: without those it has to be told.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use serde::Deserialize;

use super::cases::{Case, Expect};
use super::copy::{Built, Copy};
use super::files::Files;
use super::source::slice;
use super::verdict::{Row, Verdict};

/// The variable that names the checks that are off, by number.
pub(super) const OFF: &str = "KHO_CHECKS_OFF";

/// A check of a reader.
#[derive(Debug)]
pub(super) struct Check {
    /// Its crate, function and condition: `kho-luo flb::read: count > most`.
    pub(super) name: String,
    krate: String,
    file: String,
    place: Range<usize>,
    form: Form,
}

/// What a switch stands before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// The condition of an `if`.
    Condition,
    /// Such a condition with a `let`.
    Chain,
    /// A call whose value nobody takes.
    Call,
}

/// A check whose absence alone is not told, since others stand behind it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shadowed {
    check: String,
    /// The others: the damage is found by one of them.
    #[serde(default)]
    by: Vec<String>,
    /// What else finds the damage, where that is no check that has a switch.
    other: Option<String>,
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    shadowed: Vec<Shadowed>,
}

/// The checks of all crates that declare components, in order.
pub(super) fn checks(files: &Files) -> Result<Vec<Check>, String> {
    let mut out = Vec::new();
    for krate in files.homes() {
        for file in files.crate_files(krate)? {
            let text = &file.source.text;
            let functions = file.source.entries.iter();
            let functions = functions.filter(|entry| entry.kind == "fn" && !entry.is_optional);
            for function in functions {
                let whole = function.at.whole.clone();
                let source = slice(text, &whole);
                let stream: TokenStream = source
                    .parse()
                    .map_err(|error| format!("{}: {error}", file.name))?;
                let mut found = Vec::new();
                of_function(stream, &mut found);
                found.sort_by_key(|(place, _)| place.start);
                for (place, form) in found {
                    let text = slice(source, &place);
                    // What a refusal is called is no part of the check.
                    let (text, end) = text
                        .split_once(".map_err(")
                        .map_or((text, ""), |(of, _)| (of, "?"));
                    let words: Vec<_> = text.split_whitespace().chain([end]).collect();
                    out.push(Check {
                        name: format!(
                            "{krate} {}: {}",
                            file.path(function),
                            words.join(" ").trim_end()
                        ),
                        krate: krate.to_owned(),
                        file: file.name.clone(),
                        place: whole.start + place.start..whole.start + place.end,
                        form,
                    });
                }
            }
        }
    }
    let mut seen = BTreeMap::new();
    for check in &mut out {
        let count = seen.entry(check.name.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            check.name = format!("{} ({count})", check.name);
        }
    }
    Ok(out)
}

/// The checks of a function.
fn of_function(stream: TokenStream, out: &mut Vec<(Range<usize>, Form)>) {
    let trees: Vec<_> = stream.into_iter().collect();
    let Some(body) = trees.iter().rposition(is_block) else {
        return;
    };
    let head: Vec<_> = trees.iter().take(body).map(ToString::to_string).collect();
    let mut before = head.iter().take_while(|word| *word != "fn");
    if before.any(|word| word == "const") {
        return;
    }
    let head = head.concat();
    let returned = head.rsplit("->").next().unwrap_or_default();
    let returns = returned.contains("Damage") || returned.contains("Defect");
    if let Some(TokenTree::Group(body)) = trees.get(body) {
        of_block(body, returns, out);
    }
}

fn is_block(tree: &TokenTree) -> bool {
    matches!(tree, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_word(tree: &TokenTree, words: &[&str]) -> bool {
    let TokenTree::Ident(word) = tree else {
        return false;
    };
    words.iter().any(|one| word == one)
}

fn place(trees: &[TokenTree]) -> Option<Range<usize>> {
    let (first, last) = (trees.first()?, trees.last()?);
    Some(first.span().byte_range().start..last.span().byte_range().end)
}

fn of_block(group: &Group, returns: bool, out: &mut Vec<(Range<usize>, Form)>) {
    let trees: Vec<_> = group.stream().into_iter().collect();
    for (index, tree) in trees.iter().enumerate() {
        if let TokenTree::Group(group) = tree {
            of_block(group, returns, out);
        }
        let rest = trees.get(index + 1..).unwrap_or_default();
        let end = rest.iter().position(is_block);
        let Some((condition, end)) = end.and_then(|end| rest.split_at_checked(end)) else {
            continue;
        };
        let (Some(TokenTree::Group(block)), true) = (end.first(), is_word(tree, &["if"])) else {
            continue;
        };
        // A guard of a match has no block of its own.
        let arrow = |pair: &[TokenTree]| matches!(pair, [a, b] if a.to_string() == "=" && b.to_string() == ">");
        if !condition.windows(2).any(arrow) && refuses(block.stream(), returns) {
            let is_chain = condition.iter().any(|tree| is_word(tree, &["let"]));
            let form = if is_chain {
                Form::Chain
            } else {
                Form::Condition
            };
            out.extend(place(condition).map(|place| (place, form)));
        }
    }
    if group.delimiter() != Delimiter::Brace || !returns {
        return;
    }
    for statement in trees.split(|tree| tree.to_string() == ";") {
        // What a block ends is a statement of its own.
        let start = statement.iter().rposition(is_block).map_or(0, |at| at + 1);
        let call = statement.get(start..).unwrap_or_default();
        let is_call = matches!(call, [TokenTree::Ident(_), .., last] if last.to_string() == "?");
        let is_other = |tree: &TokenTree| {
            is_word(tree, &["let", "return", "break"]) || tree.to_string() == "="
        };
        let Some(place) = place(call).filter(|_| is_call && !call.iter().any(is_other)) else {
            continue;
        };
        // One that has another check inside of it is that one.
        if out.iter().all(|(other, _)| !place.contains(&other.start)) {
            out.push((place, Form::Call));
        }
    }
}

/// Whether a block ends by returning damage: in a function that returns some, any error.
fn refuses(block: TokenStream, returns: bool) -> bool {
    let words: Vec<_> = block.into_iter().map(|tree| tree.to_string()).collect();
    let mut statements = words
        .split(|word| word == ";")
        .filter(|words| !words.is_empty());
    let Some([first, rest @ ..]) = statements.next_back() else {
        return false;
    };
    let is_error =
        first == "return" && rest.first().is_some_and(|word| word == "Err") || first == "Err";
    let text = words.concat();
    is_error && (returns || text.contains("damage") || text.contains("Damage"))
}

/// Gives each check its switch.
fn instrument(files: &mut Files, checks: &[Check]) -> Result<(), String> {
    for (number, check) in checks.iter().enumerate().rev() {
        let mut text = files.read(&check.file).unwrap_or_default();
        let (old, is_on) = (
            slice(&text, &check.place),
            format!("::kho_mem::is_on({number})"),
        );
        let switch = match check.form {
            Form::Condition => format!("{is_on} && ({old})"),
            Form::Chain => format!("{is_on} && {old}"),
            Form::Call => format!("if {is_on} {{ {old}; }}"),
        };
        text.replace_range(check.place.clone(), &switch);
        files.write(&check.file, Some(text));
    }
    let append = [
        ("crates/kho-mem/src/lib.rs", SWITCHES.to_owned()),
        ("crates/kho-golden/src/lib.rs", String::new()),
    ];
    for (name, more) in append {
        let text = files
            .read(name)
            .ok_or_else(|| format!("there is no {name}"))?;
        let start = "pub fn components() -> Result<&'static Registry, RegistryError> {";
        let read = format!(
            "{start}\n    let off = std::env::var({OFF:?}).unwrap_or_default();\n    off.split(',').filter_map(|one| one.parse().ok()).for_each(kho_mem::switch_off);"
        );
        files.write(name, Some(text.replacen(start, &read, 1) + &more));
    }
    Ok(())
}

/// What `kho-mem` gets: which checks are off.
const SWITCHES: &str = "
static OFF: [core::sync::atomic::AtomicBool; 1024] =
    [const { core::sync::atomic::AtomicBool::new(false) }; 1024];
#[doc(hidden)]
#[must_use]
pub fn is_on(check: usize) -> bool {
    !OFF[check].load(core::sync::atomic::Ordering::Relaxed)
}
#[doc(hidden)]
pub fn switch_off(check: usize) {
    OFF[check].store(true, core::sync::atomic::Ordering::Relaxed);
}
";

/// Runs the check with each check of a reader off that `is_wanted`.
pub(super) fn run(
    root: &Path,
    copy: &Copy,
    is_wanted: impl Fn(&Case) -> bool,
    mut tell: impl FnMut(&Row),
) -> Result<Vec<Row>, String> {
    let mut files = Files::new(copy.tree.clone())?;
    let checks = checks(&files)?;
    instrument(&mut files, &checks)?;
    let shadowed = shadowed(root, &checks)?;
    copy.put_all(&files)?;
    if let Built::Refused(words) = copy.build()? {
        return Err(format!(
            "with switches the source does not compile: {words}"
        ));
    }
    let number = |name: &String| checks.iter().position(|check| check.name == *name);
    let mut rows = Vec::new();
    for (index, check) in checks.iter().enumerate() {
        let behind = shadowed.iter().find(|one| one.check == check.name);
        let mut case = Case {
            name: check.name.clone(),
            kind: "check off".to_owned(),
            component: check.krate.clone(),
            expect: Expect {
                exit: 1,
                ..Expect::default()
            },
            ..Case::default()
        };
        if !is_wanted(&case) {
            continue;
        }
        let alone = copy.check_off(&[index])?;
        let row = match behind {
            None => Row::new(case, Verdict::Said(alone)),
            Some(one) if alone.exit != 0 => {
                let words = format!("{} is found: take it out of {SHADOWED}", one.check);
                Row {
                    wrong: Some(words),
                    ..Row::new(case, Verdict::Said(alone))
                }
            }
            Some(Shadowed {
                other: Some(other), ..
            }) => {
                case.expect.exit = 0;
                case.note = Some(format!("shadowed: {other}"));
                Row::new(case, Verdict::Said(alone))
            }
            Some(one) => {
                case.note = Some(format!("shadowed by {}", one.by.join(", ")));
                let others: Vec<_> = one.by.iter().filter_map(number).collect();
                let without = copy.check_off(&others)?.words();
                let both = copy.check_off(&[others, vec![index]].concat())?;
                let is_same = both.words() == without;
                let mut row = Row::new(case, Verdict::Said(both));
                if is_same {
                    row.wrong = Some("with those that shadow it off nothing differs".to_owned());
                }
                row
            }
        };
        tell(&row);
        rows.push(row);
    }
    copy.take_back()?;
    Ok(rows)
}

/// The file that says which checks others stand behind.
const SHADOWED: &str = "xtask/shadowed.toml";

fn shadowed(root: &Path, checks: &[Check]) -> Result<Vec<Shadowed>, String> {
    let says = |error: &dyn std::fmt::Display| format!("{SHADOWED}: {error}");
    let text = fs::read_to_string(root.join(SHADOWED)).map_err(|error| says(&error))?;
    let file: File = toml::from_str(&text).map_err(|error| says(&error))?;
    for one in &file.shadowed {
        let is_there = |name: &&String| !checks.iter().any(|check| check.name == **name);
        if let Some(name) = [&one.check].into_iter().chain(&one.by).find(is_there) {
            return Err(says(&format!("no reader has the check `{name}`")));
        }
        if one.by.is_empty() == one.other.is_none() {
            return Err(says(&format!("`{}` takes `by` or `other`", one.check)));
        }
    }
    Ok(file.shadowed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_check_is_an_if_that_returns_damage() {
        let text = "fn read(a: u32) -> Result<u32, Damage> {
            if a > 1 || b { let x = { 1 }; return Err(short(x)); }
            if let Some(x) = a && x > 2 { return Err(bad(x)) }
            match a { 1 if a > 2 => { return Err(bad(1)) } _ => {} }
            if a == 4 { skip(); }
            check(a)?;
            let b = c()?;
            Ok(a)
        }";
        let mut found = Vec::new();
        of_function(text.parse().unwrap(), &mut found);
        let found: Vec<_> = found
            .iter()
            .map(|(at, form)| (slice(text, at), *form))
            .collect();
        let expected = [
            ("a > 1 || b", Form::Condition),
            ("let Some(x) = a && x > 2", Form::Chain),
            ("check(a)?", Form::Call),
        ];
        assert_eq!(found, expected);
        // What is written is refused by other errors.
        let text = "fn write() -> Result<(), Full> { if a { return Err(Full) } Ok(()) }";
        let mut found = Vec::new();
        of_function(text.parse().unwrap(), &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn what_is_said_to_be_shadowed_is_there() {
        let root = crate::root();
        let checks = checks(&Files::new(root.clone()).unwrap()).unwrap();
        assert!(checks.len() > 50, "{}", checks.len());
        shadowed(&root, &checks).unwrap();
    }
}
