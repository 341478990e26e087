//! `kho lab` as its users call it, and its histories against the formats of this workspace.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use common::{has, kho, text};
use kho_compat::{Component, Layout, Registry, TypeName};
use kho_lab::{BUILTIN, History, builtin};
use serde_json::Value;
use tempfile::TempDir;

fn json(args: &[&str]) -> Value {
    let output = kho(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_built_in_history_is_run_and_reported() {
    let temp = TempDir::new().unwrap();
    let listed = json(&["lab", "list", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), BUILTIN.len());
    for (name, _) in BUILTIN {
        let out = temp.path().join(name);
        let output = kho(&["lab", "run", name, "--out", out.to_str().unwrap()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        has(&text(&output.stdout), "newest-common");
        let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        let totals: Value = serde_json::from_str(&read("totals.json")).unwrap();
        let policies = totals["policies"].as_array().unwrap();
        assert_eq!(policies.len(), kho_compat::policy::ALL.len());
        let releases = totals["releases"].as_array().unwrap().len();
        let page = read("report.html");
        for policy in policies {
            let policy = policy["policy"].as_str().unwrap();
            let matrix: Value = serde_json::from_str(&read(&format!("{policy}.json"))).unwrap();
            let cells = matrix["matrix"]["cells"].as_array().unwrap();
            assert_eq!(cells.len(), releases);
            assert!(
                cells
                    .iter()
                    .all(|row| row.as_array().unwrap().len() == releases)
            );
            assert!(read(&format!("{policy}.svg")).contains("<svg "), "{policy}");
            assert!(page.contains(policy));
        }
        // Nothing is loaded from elsewhere.
        for outside in ["src=\"http", "url(http", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

#[test]
fn a_built_in_name_is_one_whatever_lies_in_the_directory() {
    let temp = TempDir::new().unwrap();
    let run = |history: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kho"));
        command.args(["lab", "run", history, "--json"]);
        command.current_dir(temp.path()).output().unwrap()
    };
    let title = |history: &str| {
        let output = run(history);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        value["title"].as_str().unwrap().to_owned()
    };
    let own = History::parse(builtin("linux").unwrap()).unwrap().title;
    // A kernel's sources, or a file of one's own.
    std::fs::create_dir(temp.path().join("linux")).unwrap();
    assert_eq!(title("linux"), own);
    has(&text(&run("./linux").stderr), "./linux is no file");
    std::fs::remove_dir(temp.path().join("linux")).unwrap();
    let (_, other) = BUILTIN.iter().find(|(name, _)| *name != "linux").unwrap();
    std::fs::write(temp.path().join("linux"), other).unwrap();
    assert_eq!(title("linux"), own);
    assert_ne!(title("./linux"), own);
}

#[test]
fn a_report_is_replaced_only_if_told_to() {
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    let args = [
        "lab",
        "run",
        "transition",
        "--policy",
        "semver-range",
        "--out",
        out.to_str().unwrap(),
    ];
    assert!(kho(&args).status.success());
    let again = kho(&args);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("exists already"));
    std::fs::write(out.join("mine"), "kept").unwrap();
    let forced: Vec<_> = args.iter().copied().chain(["--force"]).collect();
    assert!(kho(&forced).status.success());
    assert!(out.join("mine").exists());
}

#[test]
fn a_plan_goes_through_the_transition_or_says_why_not() {
    let history = History::parse(builtin("transition").unwrap()).unwrap();
    let (first, last) = (
        &history.releases.first().unwrap().name,
        &history.releases.last().unwrap().name,
    );
    let plan = |from: &str, to: &str, policy: &str| {
        kho(&[
            "lab",
            "plan",
            "transition",
            "--from",
            from,
            "--to",
            to,
            "--policy",
            policy,
            "--json",
        ])
    };
    let there = plan(first, last, "semver-range");
    assert!(there.status.success(), "{}", text(&there.stderr));
    let value: Value = serde_json::from_slice(&there.stdout).unwrap();
    let steps = value["plans"][0]["steps"].as_array().unwrap();
    assert!(steps.len() > 1, "{steps:?}");
    assert_eq!(&steps[0]["from"], &Value::from(first.as_str()));
    assert_eq!(&steps[steps.len() - 1]["to"], &Value::from(last.as_str()));
    // To a release that nothing leads to.
    let none = kho(&["lab", "plan", "linux", "--from", "6.16", "--to", "7.3"]);
    assert_eq!(none.status.code(), Some(1));
    has(&text(&none.stdout), "no chain");
    assert!(text(&none.stderr).is_empty(), "{}", text(&none.stderr));
    let itself = kho(&["lab", "plan", "linux", "--from", "7.3", "--to", "7.3"]);
    assert!(itself.status.success() && text(&itself.stdout).contains("7.3 is 7.3"));
}

#[test]
fn a_history_whose_strings_are_too_long_is_the_histories_own_fault() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("long.toml");
    let name = "n".repeat(5000);
    let history = format!(
        "format = \"kho-history-v1\"\nname = \"x\"\ntitle = \"t\"\n[layouts.a]\nhash = \"1\"\n\
         [[release]]\nname = \"1\"\nsource = \"s\"\n\
         components.{name} = {{ version = 1, layout = \"a\", carrier = \"luo\" }}\n"
    );
    std::fs::write(&path, history).unwrap();
    let output = kho(&["lab", "run", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("long.toml: no usable history"), "{said}");
    assert!(!said.contains("this program"), "{said}");
}

#[test]
fn the_examples_of_the_help_are_ones() {
    let mut examples = 0;
    for command in ["run", "plan"] {
        let help = kho(&["lab", command, "--help"]);
        let help = text(&help.stdout);
        let lines = help.lines().filter_map(|line| line.strip_prefix("  kho "));
        for line in lines.filter(|line| !line.contains("my-history") && !line.contains("--out")) {
            let args: Vec<_> = line.split(' ').collect();
            let output = kho(&args);
            assert!(
                text(&output.stderr).is_empty(),
                "{line}: {}",
                text(&output.stderr)
            );
            assert!(matches!(output.status.code(), Some(0 | 1)), "{line}");
            examples += 1;
        }
    }
    assert!(examples >= 4);
}

#[test]
fn what_is_no_history_or_policy_is_refused_by_name() {
    let temp = TempDir::new().unwrap();
    let file = |name: &str, contents: &[u8]| {
        let path = temp.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let release = "[layouts.a]\nhash = \"1\"\n[[release]]\nname = \"1\"\nsource = \"s\"\n";
    let head = "format = \"kho-history-v1\"\nname = \"x\"\ntitle = \"t\"\n";
    let component = |text: &str| format!("{head}{release}[release.components.luo]\n{text}\n");
    #[rustfmt::skip]
    let cases = [
        ("nowhere.toml".to_owned(), 1, "No such file"),
        (temp.path().to_str().unwrap().to_owned(), 1, "is no file"),
        (file("empty", b""), 1, "missing field `format`"),
        (file("binary", &[0xff, 0xfe, 0]), 1, "invalid utf-8"),
        (
            file("other", head.replace("-v1", "-v9").as_bytes()),
            1,
            "missing field `release`",
        ),
        (file("old", format!("{head}{release}").replace("-v1", "-v9").as_bytes()), 1,
            "its format is `kho-history-v9`"),
        (file("layout", component("version = 5\nlayout = \"b\"").as_bytes()), 1,
            "component `luo`: no layout `b`"),
        (file("unknown", component("version = 5\nlayout = \"a\"\nfoo = 1").as_bytes()), 1,
            "unknown field `foo`"),
        (
            file(
                "twice",
                format!(
                    "{head}{release}{}",
                    release.replace("[layouts.a]\nhash = \"1\"\n", "")
                )
                .as_bytes(),
            ),
            1,
            "`1` is listed twice",
        ),
        (
            file(
                "carrier",
                component("version = 5\nlayout = \"a\"\ncarrier = \"X\"").as_bytes(),
            ),
            1,
            "invalid carrier `X`: expected root, luo",
        ),
    ];
    for (path, code, expected) in cases {
        let output = kho(&["lab", "run", &path]);
        assert_eq!(output.status.code(), Some(code), "{path}");
        has(&text(&output.stderr), expected);
        let output = kho(&["lab", "run", &path, "--json"]);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(value["failure"].is_object(), "{path}");
    }
    let output = kho(&["lab", "run", "linux", "--policy", "best"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no policy `best`; there are global-version,"));
    let output = kho(&["lab", "plan", "linux", "--from", "5.0", "--to", "7.3"]);
    assert_eq!(output.status.code(), Some(2));
    has(&text(&output.stderr), "no release `5.0`");
}

/// The structs of `layouts` and those that they are made of, by their C names.
fn structs(layouts: impl IntoIterator<Item = Layout>, all: &mut BTreeMap<String, Layout>) {
    for layout in layouts {
        structs(layout.nested.clone(), all);
        if let Some(name) = layout.c_name.clone() {
            all.insert(name, layout);
        }
    }
}

/// Where the field `name` of `layout` lies, and its bytes: its own, or one of a struct in it.
fn place(layout: &Layout, name: &str) -> Option<(usize, usize)> {
    // Members of a bit field share their bytes.
    let first = name.split(' ').next().unwrap();
    let own = layout.fields.iter().find(|field| field.name == first);
    let inner = || {
        layout.fields.iter().find_map(|field| {
            let nested = layout.nested.iter();
            let mut nested = nested.filter(|nested| {
                field.ty == TypeName::of_struct(&nested.name, nested.c_name.as_deref())
            });
            let (offset, size) = place(nested.next()?, name)?;
            Some((field.offset + offset, size))
        })
    };
    own.map(|field| (field.offset, field.size)).or_else(inner)
}

#[test]
fn the_newest_linux_has_the_layouts_of_this_workspace() {
    const LINKED: &[&Component] = &[
        &kho_core::COMPONENT,
        &kho_radix::COMPONENT,
        &kho_vmalloc::COMPONENT,
        &kho_block::COMPONENT,
        &kho_luo::COMPONENT,
        &kho_memfd::COMPONENT,
    ];
    let mut ours = BTreeMap::new();
    for component in LINKED {
        structs(
            component.written().layouts.iter().map(|layout| layout()),
            &mut ours,
        );
    }
    let history = History::parse(builtin("linux").unwrap()).unwrap();
    let newest = history.releases.last().unwrap();
    let mut compared = 0;
    for (name, known) in &newest.layouts {
        for (c_name, theirs) in &history.layouts[&known.own].structs {
            let Some(ours) = ours.get(c_name) else {
                continue;
            };
            compared += 1;
            assert_eq!(theirs.size, ours.size, "{c_name}");
            for field in &theirs.fields {
                let same = place(ours, &field.0);
                assert_eq!(
                    same,
                    Some((field.1, field.2)),
                    "{name}: {c_name}.{}",
                    field.0
                );
            }
        }
    }
    assert!(compared >= 8, "{compared} structs were compared");
    // And the strings, as those that this workspace writes.
    let registry = Registry::linked().unwrap();
    for ability in newest.side.abilities() {
        let own = registry.side().get(&ability.name).unwrap();
        assert_eq!(
            (own.version, own.carrier),
            (ability.version, ability.carrier),
            "{}",
            ability.name
        );
    }
}
