//! What is compared with: on branches, on a detached head, in shallow clones, without git.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::process::Command;

use common::{Fake, expect, holds, kept, leak};
use kho_abi_check::{Options, Project, check};
use kho_compat::{Component, Constant, Generation, constant};

const ONE: u64 = 1;
const TWO: u64 = 2;
const SOURCE: &str = "pub const ONE: u64 = 1;\n";

fn of(generation: Generation) -> [&'static Component; 1] {
    [leak(Component::new("one", kept([generation])))]
}

fn one() -> [&'static Component; 1] {
    of(Generation::new(1).constants(&[constant!(ONE)]))
}

fn two() -> [&'static Component; 1] {
    of(Generation::new(1).constants(&[|| Constant::new("ONE", &TWO)]))
}

#[test]
fn without_a_repository_the_working_tree_is_compared_with() {
    let fake = Fake::bare(SOURCE);
    let report = fake.bless(&one());
    expect(&report, 0, &[]);
    assert!(report.base.contains("there is no repository here"));
    expect(&fake.check(&two()), 1, &["error abi-changed-constant"]);
    let before = fake.read("abi-snapshots/one/v1.snap");
    fake.bless(&two());
    assert_eq!(fake.read("abi-snapshots/one/v1.snap"), before);
}

#[test]
fn a_repository_without_a_commit_is_as_none() {
    let fake = Fake::bare(SOURCE);
    fake.init();
    let report = fake.bless(&one());
    expect(&report, 0, &[]);
    assert!(report.base.contains("there is no commit yet"));
}

#[test]
fn a_base_without_snapshots_has_no_components() {
    let fake = Fake::bare(SOURCE);
    fake.init();
    fake.commit("before the check");
    expect(&fake.bless(&one()), 3, &["allowed component-added"]);
}

#[test]
fn the_base_is_where_the_branch_left_main() {
    let fake = Fake::new(SOURCE, &one());
    // Main goes on: its changes are none of this branch's.
    fake.git(&["checkout", "-q", "main"]);
    fake.write(
        "abi-snapshots/two/v1.snap",
        "---\nsource: x\n---\ntwo-v1\nneeds: nothing\n",
    );
    fake.commit("main goes on");
    fake.git(&["checkout", "-q", "change"]);
    expect(&fake.check(&one()), 0, &[]);
    // A change that is committed is one against main all the same.
    fake.edit("abi-snapshots/one/v1.snap", "= 1", "= 2");
    fake.commit("edited");
    let edited = &["error abi-changed-constant", "error history-edited"];
    expect(&fake.check(&two()), 1, edited);
    let by_revision = |name: &str| fake.check_with(&two(), &Options::default().base(name));
    expect(&by_revision("main").unwrap(), 1, edited);
    expect(&by_revision("HEAD").unwrap(), 0, &[]);
    let error = by_revision("nowhere").unwrap_err().to_string();
    assert_eq!(error, "there is no revision `nowhere` here");
    assert!(by_revision("--all").is_err());
    // On a detached head.
    fake.git(&["checkout", "-q", "--detach"]);
    expect(&fake.check(&two()), 1, edited);
}

fn clone(fake: &Fake, args: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::TempDir::new().unwrap();
    let source = format!("file://{}", fake.root().display());
    let status = Command::new("git")
        .arg("clone")
        .args(args)
        .args(["-q", &source])
        .arg(dir.path())
        .env_remove("GIT_DIR")
        .status();
    assert!(status.unwrap().success());
    dir
}

#[test]
fn clones_are_clean_whatever_they_lack() {
    let fake = Fake::new(SOURCE, &one());
    fake.write("README", "more");
    fake.commit("more");
    for args in [
        &[][..],
        &["--depth", "1"],
        &["--depth", "1", "--branch", "main"],
        &["--no-tags", "--single-branch", "--branch", "change"],
    ] {
        let dir = clone(&fake, args);
        let report = check(one(), &Project::new(dir.path()), &Options::default()).unwrap();
        expect(&report, 0, &[]);
        let report = check(two(), &Project::new(dir.path()), &Options::default()).unwrap();
        expect(&report, 1, &["error abi-changed-constant"]);
    }
    // Without any branch.
    let dir = clone(&fake, &[]);
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        let status = git.current_dir(dir.path()).args(args).status();
        assert!(status.unwrap().success(), "{args:?}");
    };
    git(&["checkout", "-q", "--detach"]);
    git(&["branch", "-q", "-D", "change"]);
    git(&["remote", "remove", "origin"]);
    let report = check(one(), &Project::new(dir.path()), &Options::default()).unwrap();
    expect(&report, 0, &[]);
    assert!(report.base.starts_with("HEAD ("), "{}", report.base);
}

#[test]
fn a_project_may_lie_below_the_repository_s_root() {
    let fake = Fake::bare(SOURCE);
    fake.init();
    let inner = fake.root().join("tools/inner");
    fake.write(
        "tools/inner/Cargo.toml",
        "[package]\nname = \"fmt\"\nversion = \"1.2.3\"\n",
    );
    fake.write("tools/inner/src/abi.rs", SOURCE);
    let project = Project::new(&inner);
    let run = |components: [&'static Component; 1], bless| {
        check(components, &project, &Options::default().bless(bless)).unwrap()
    };
    run(one(), true);
    fake.commit("first");
    expect(&run(one(), false), 0, &[]);
    let report = run(two(), false);
    expect(&report, 1, &["error abi-changed-constant"]);
    let text = report.render(kho_abi_check::Format::Github);
    holds(&text, "::error file=tools/inner/src/abi.rs,line=1,");
    let text = report.render(kho_abi_check::Format::Sarif);
    holds(&text, "\"uri\": \"tools/inner/src/abi.rs\"");
}

#[test]
fn components_of_other_projects_are_not_this_one_s_to_check() {
    static OTHER: Component = Component::new("other", &[Generation::new(7)]).of_crate("elsewhere");
    let fake = Fake::bare(SOURCE);
    fake.init();
    let user = Generation::new(1).needs(&[("other", 1)]);
    let [user] = of(user.constants(&[constant!(ONE)]));
    fake.bless(&[user, &OTHER]);
    fake.commit("first");
    expect(&fake.check(&[user, &OTHER]), 0, &[]);
    let text = fake.read("abi-snapshots/composites.snap");
    assert!(
        text.contains("one-v1;other-v7") && !text.contains("\nother-v7"),
        "{text}"
    );
}
