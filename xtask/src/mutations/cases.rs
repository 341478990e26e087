//! Cases: edits, and what must be said of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::edit::Edit;
use super::files::Files;

/// A change to the workspace, and what the check must say of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// What is done, in a line.
    #[serde(skip)]
    pub(super) name: String,
    /// What sort of change it is.
    #[serde(skip)]
    pub(super) kind: String,
    /// Whose format it touches; `-` for no one's.
    #[serde(skip)]
    pub(super) component: String,
    /// Whether it is one of the few that stand for all.
    #[serde(default)]
    pub(super) quick: bool,
    /// Whether `--bless` runs before the check: the author wrote the snapshots.
    #[serde(default)]
    pub(super) bless: bool,
    /// What must be said. Left out, it is what the file says of its component, or nothing.
    #[serde(default)]
    pub(super) expect: Expect,
    /// What is said of it beside what was found.
    #[serde(skip)]
    pub(super) note: Option<String>,
    /// What is changed, one after the other.
    pub(super) edits: Vec<Edit>,
}

/// What the check must say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// Its exit code: 0 nothing, 1 a format changed without a version, 3 changed properly.
    #[serde(default)]
    pub(super) exit: u8,
    /// Rules, each of which must have found something.
    #[serde(default)]
    pub(super) rules: Vec<String>,
    /// One of these rules must have found something, if there are any.
    #[serde(default)]
    pub(super) any: Vec<String>,
    /// Whether neither an error nor a warning may be found.
    #[serde(default)]
    pub(super) clean: bool,
    /// Words that stand in what was found.
    #[serde(default)]
    pub(super) words: Vec<String>,
    /// Words of the compiler, which refuses it before the check could.
    pub(super) compiler: Option<String>,
    /// Whether the compiler may refuse it as well.
    #[serde(default)]
    pub(super) or_compiler: bool,
}

impl Expect {
    /// Whether nothing is to be found.
    pub(super) fn is_silence(&self) -> bool {
        self.exit == 0 && self.rules.is_empty() && self.compiler.is_none()
    }
}

/// A file of cases: by component (`-` for no one's), by kind, by name.
#[derive(Deserialize)]
struct File {
    /// What must be said of cases that do not say it, by component.
    #[serde(default)]
    expect: BTreeMap<String, Expect>,
    #[serde(flatten)]
    cases: BTreeMap<String, BTreeMap<String, BTreeMap<String, Case>>>,
}

impl Case {
    /// Makes the edits, each on what those before it made.
    pub(super) fn apply(&self, files: &mut Files) -> Result<(), String> {
        let mut edits = self.edits.iter();
        edits
            .try_for_each(|edit| edit.apply(files, &self.component))
            .map_err(|error| format!("case `{}`: {error}", self.name))
    }

    /// Whether `text` stands in its name, kind or component.
    pub(super) fn has(&self, text: &str) -> bool {
        [&self.name, &self.kind, &self.component]
            .iter()
            .any(|word| word.contains(text))
    }
}

/// The cases of all files in `dir`, in the order of their names.
pub(super) fn read(dir: &Path) -> Result<Vec<Case>, String> {
    let paths = fs::read_dir(dir).and_then(|all| all.map(|one| Ok(one?.path())).collect());
    let mut paths: Vec<_> = paths.map_err(|error| format!("{}: {error}", dir.display()))?;
    paths.retain(|path| path.extension().is_some_and(|is| is == "toml"));
    paths.sort();
    let mut cases: Vec<Case> = Vec::new();
    for path in paths {
        let says = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| says(&error))?;
        let file: File = toml::from_str(&text).map_err(|error| says(&error))?;
        for (component, kinds) in &file.cases {
            let all = kinds
                .iter()
                .flat_map(|(kind, of)| of.iter().zip(std::iter::repeat(kind)));
            for ((name, case), kind) in all {
                let mut case = case.clone();
                if case.expect == Expect::default() {
                    case.expect = file.expect.get(component).cloned().unwrap_or_default();
                }
                check(&case).map_err(|error| says(&format!("`{name}`: {error}")))?;
                for (to, from) in [
                    (&mut case.name, name),
                    (&mut case.kind, kind),
                    (&mut case.component, component),
                ] {
                    to.clone_from(from);
                }
                cases.push(case);
            }
        }
    }
    Ok(cases)
}

/// Refuses a case that could not fail, or that asks for what there is not.
fn check(case: &Case) -> Result<(), String> {
    let expect = &case.expect;
    let rules = expect.rules.iter().chain(&expect.any);
    let unknown = |rule: &&String| kho_abi_check::rules::find(rule).is_none();
    if let Some(rule) = rules.clone().find(unknown) {
        return Err(format!("there is no rule `{rule}`"));
    }
    if expect.exit != 0 && rules.count() == 0 {
        return Err("it must say which rule finds it".to_owned());
    }
    if case.edits.is_empty() {
        return Err("it edits nothing".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_case_finds_what_it_edits_and_leaves_sources_that_parse() {
        let root = crate::root();
        let cases = read(&root.join("xtask/mutations")).unwrap();
        let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), cases.len(), "two cases have one name");
        let mut files = Files::new(root).unwrap();
        let errors: Vec<_> = cases
            .iter()
            .chain(&super::super::sweep::cases(&files).unwrap())
            .chain(&super::super::bumps::cases(&files).unwrap())
            .filter_map(|case| {
                files.edited.clear();
                case.apply(&mut files).and_then(|()| files.parses()).err()
            })
            .collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }
}
