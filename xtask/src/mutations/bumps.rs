//! Proper bumps: each component gets its next version by the five steps of docs/abi.md, and nothing else may be
//! asked for.

use super::cases::{Case, Expect};
use super::edit::Edit;
use super::files::Files;

/// The kind of these cases.
const KIND: &str = "proper bump";

/// A case for each component: a constant more in its format, the next number, a breaking release of its crate, and
/// the number beside its name where others need it.
pub(super) fn cases(files: &Files) -> Result<Vec<Case>, String> {
    // What no release carries, as the kernel's own interface, has no next version here.
    let components = files.components();
    let components = components.filter(|(_, krate)| next_breaking(files, krate).is_ok());
    let bump = |(component, krate)| case(files, component, krate);
    components.map(bump).collect()
}

fn case(files: &Files, component: &str, krate: &str) -> Result<Case, String> {
    let now = files.value(krate, &format!("component {component}.version"))?;
    let number = now
        .parse::<u32>()
        .map_err(|error| format!("{component}: {error}: {now}"))?;
    let next = number + 1;
    let edit = |at: &str| Edit {
        krate: Some(krate.to_owned()),
        at: format!("component {component}.{at}"),
        ..Edit::default()
    };
    let mut edits = vec![
        Edit {
            to: Some(next.to_string()),
            doc: Some(format!("The number in `{component}-v{next}`.")),
            ..edit("version")
        },
        Edit {
            add: Some("|| kho_compat::Constant::new(\"BUMPED\", &1_u32)".to_owned()),
            ..edit("constants")
        },
        Edit {
            krate: Some(krate.to_owned()),
            at: "crate".to_owned(),
            to: Some(next_breaking(files, krate)?),
            ..Edit::default()
        },
    ];
    // The number of an experiment is the one after it.
    let experiment = format!("const v{next}::VERSION");
    if files.find(krate, &experiment).is_ok() {
        edits.push(Edit {
            krate: Some(krate.to_owned()),
            at: experiment,
            to: Some((next + 1).to_string()),
            doc: Some(format!("The number in `{component}-v{}`.", next + 1)),
            ..Edit::default()
        });
    }
    let needed = [
        format!("{}::NAME, {number})", krate.replace('-', "_")),
        format!("(\"{component}\", {number})"),
    ];
    // kho-compat has an interface and needs no component; its tests name some.
    let users = files.homes().into_iter();
    for user in users.filter(|user| *user != "kho-compat") {
        for file in files.crate_files(user)? {
            // Where a component states its generations, and nowhere else.
            let states = file.name.ends_with("/generation.rs");
            let named = needed
                .iter()
                .filter(|need| states && file.source.text.contains(*need));
            edits.extend(named.map(|need| Edit {
                at: format!("file {}", file.name),
                from: Some(need.clone()),
                to: Some(need.replace(&format!(" {number})"), &format!(" {next})"))),
                ..Edit::default()
            }));
        }
    }
    Ok(Case {
        name: format!(
            "{component}-v{number} to v{next}: a constant more, and nothing asked of others"
        ),
        kind: KIND.to_owned(),
        component: component.to_owned(),
        bless: true,
        expect: Expect {
            exit: 3,
            rules: vec!["version-bumped".to_owned()],
            words: vec![format!("{component}-v{number} -> {component}-v{next}")],
            clean: true,
            ..Expect::default()
        },
        edits,
        ..Case::default()
    })
}

/// The version of a crate's next breaking release.
fn next_breaking(files: &Files, krate: &str) -> Result<String, String> {
    let name = format!("crates/{krate}/Cargo.toml");
    let text = files.read(&name).unwrap_or_default();
    let mut lines = text.lines();
    let version = lines.find_map(|line| line.strip_prefix("version = \"0.")?.split('.').next());
    let minor = version.and_then(|minor| minor.parse::<u32>().ok());
    let minor = minor.ok_or_else(|| format!("{name} has no version 0.x of its own"))?;
    Ok(format!("0.{}.0", minor + 1))
}
