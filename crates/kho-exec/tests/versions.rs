//! Programs of different versions that hand over to each other: this test's own executable, run as
//! each of them. It keeps a line in a memfd, and some of its versions a file of a kind that the others
//! know in another version, or the same line in a file that points to a vmalloc area.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use kho_compat::file::Answer;
use kho_compat::{Carrier, Component, Decision, Generation, Registry, Writing, policy};
use kho_core::{Attached, Kho, PreservedFolio};
use kho_exec::{Config, FileRef, Host};
use kho_golden::journal::{JOURNAL, Journal, Journals};
use kho_luo::{FileHandler, HandlerError, Retrieve};
use kho_mem::PhysAddr;
use kho_memfd::MemFile;
use kho_preflight::{End, Preflight};

const SESSION: &str = "state";
const LINE: u64 = 1;
const EXTRA: u64 = 2;
const JOURNAL_LINE: u64 = 3;
/// Where the program logs to; it is one where this is set.
const ROLE: &str = "KHO_TEST_VERSIONS";
/// What the programs are: a word per generation, of traits joined by `+`.
const PLAN: &str = "KHO_TEST_PLAN";

static EXTRA_1: Component = Component::new("extra", &[Generation::new(1)])
    .carried_in(Carrier::FileHandler)
    .field(48)
    .optional();
static EXTRA_2: Component = Component::new("extra", &[Generation::new(2)])
    .carried_in(Carrier::FileHandler)
    .field(48)
    .optional();

/// Version 2 of the blocks.
const BLOCK: &[(&str, u32)] = &[("block", kho_block::v2::VERSION)];
/// Version 2 of vmalloc, and version 3 of memfd, which contains it.
const VMALLOC: &[(&str, u32)] = &[
    ("vmalloc", kho_vmalloc::v2::VERSION),
    ("memfd", kho_memfd::v3::VERSION),
];

/// The linked components and `own`, with `experiments`.
fn registry(own: &[&'static Component], experiments: &[(&str, u32)]) -> &'static Registry {
    let linked = Registry::linked().unwrap().components();
    let all = Registry::new(linked.chain(own.iter().copied())).unwrap();
    let all = experiments.iter().fold(all, |all, (name, version)| {
        all.with_experiment(name, *version).unwrap()
    });
    Box::leak(Box::new(all))
}

/// A file of a page.
struct Extra;
struct Extras;

impl FileHandler for Extras {
    type File = Extra;
    type Preserved = PreservedFolio;

    fn component(&self) -> &'static str {
        "extra"
    }

    fn writes(&self) -> &[u32] {
        &[1, 2]
    }

    fn preserve(&self, kho: &Kho, _: &Arc<Extra>) -> Result<PreservedFolio, HandlerError> {
        kho.preserver()
            .alloc_preserve(4096)
            .map_err(HandlerError::new)
    }

    fn unpreserve(&self, _: &Arc<Extra>, page: PreservedFolio) {
        drop(page);
    }

    fn freeze(&self, _: &Arc<Extra>, page: &mut PreservedFolio) -> Result<u64, HandlerError> {
        Ok(page.addr().get())
    }

    fn unfreeze(&self, _: &Arc<Extra>, _: &mut PreservedFolio) {}

    fn hand_over(&self, _: &Arc<Extra>, page: PreservedFolio) {
        page.hand_over();
    }

    fn retrieve(&self, retrieve: &mut Retrieve<'_>, data: u64) -> Result<Arc<Extra>, HandlerError> {
        let link = retrieve.link(data, "extra");
        let claimed = retrieve.claims.page(link);
        claimed.map_err(HandlerError::new).map(|_| Arc::new(Extra))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<Extra>>) {}
}

fn config(traits: &str) -> Config {
    let has = |name: &str| traits.split('+').any(|word| word == name);
    let mut config = Config::new().arena(PhysAddr::new(1 << 32), 256 << 20);
    let mut own = Vec::new();
    own.extend(has("extra1").then_some(&EXTRA_1));
    own.extend((has("extra2") || has("known2")).then_some(&EXTRA_2));
    own.extend(has("journal").then_some(&JOURNAL));
    let linked = Registry::linked().unwrap().side();
    let experiments = [("v2", BLOCK), ("vmalloc2", VMALLOC)];
    let experiments = experiments.iter().filter(|(name, _)| has(name));
    let experiments: Vec<_> = experiments.flat_map(|(_, of)| *of).copied().collect();
    let registry = registry(&own, &experiments);
    if !experiments.is_empty() || !own.is_empty() {
        config = config.registry(registry);
    }
    if has("journal") {
        config = config.handler(Journals);
    }
    if has("extra2") {
        config = config.handler(Extras);
    }
    if has("next-old") {
        config = config.next(linked.clone());
    }
    if has("next-same") {
        config = config.next(registry.side().clone());
    }
    if has("side-old") {
        config = config.side(registry.side().clone().writing("block", 1).unwrap());
    }
    for dialect in Writing::ALL {
        if has(dialect.id()) {
            config = config.writing(dialect);
        }
    }
    if has("exact") {
        config = config.policy(&policy::CompositeExact(policy::Needs::Transitive));
    }
    config.degrade(has("degrade"))
}

/// The program, when this executable is run as one.
#[test]
fn program() {
    let Some(dir) = std::env::var_os(ROLE).map(PathBuf::from) else {
        return;
    };
    let log = |text: String| {
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        writeln!(file, "{text}").unwrap();
    };
    let plan = std::env::var(PLAN).unwrap();
    let plan: Vec<&str> = plan.split_whitespace().collect();
    let at = std::env::args().find_map(|arg| arg.strip_prefix("plan:")?.parse::<usize>().ok());
    let at = at.unwrap_or(0);
    let traits = plan[at];
    let mut host = match Host::start(config(traits)) {
        Ok(host) => host,
        Err(error) => {
            log(format!("{at} start: {error}"));
            std::process::exit(3);
        }
    };
    if let Some(reason) = host.returned() {
        log(format!("{at} returned: {reason}"));
    }
    let verdict = host.verdict().map(|verdict| {
        let found: Vec<_> = verdict
            .findings
            .iter()
            .map(|finding| finding.entry.found.as_str())
            .collect();
        format!("{at} {} of {}", verdict.decision.id(), found.join(" "))
    });
    let line = host.retrieve::<MemFile>(SESSION, LINE).unwrap();
    let extra = host.retrieve::<Extra>(SESSION, EXTRA);
    if let Some(verdict) = verdict {
        let lost = extra
            .as_ref()
            .err()
            .map(ToString::to_string)
            .unwrap_or_default();
        log(format!("{verdict}; lost {} {lost}", host.lost()));
    }
    let line = line.unwrap_or_else(|| Arc::new(MemFile::new(host.arena())));
    let journal = host.retrieve::<Journal>(SESSION, JOURNAL_LINE).unwrap();
    host.finish().unwrap();
    let returned = host.returned().is_some();
    if !returned {
        line.write_at(line.size(), format!("{at}").as_bytes())
            .unwrap();
    }
    if returned || at + 1 == plan.len() {
        let mut text = vec![0; usize::try_from(line.size()).unwrap()];
        line.read_at(0, &mut text).unwrap();
        let mut text = String::from_utf8(text).unwrap();
        if let Some(journal) = journal {
            text += &format!(" and {}", String::from_utf8_lossy(&journal.0));
        }
        log(format!("{at} ends with {text}"));
        std::process::exit(0);
    }
    let mut files = vec![(LINE, line as FileRef)];
    if traits.contains("extra2") {
        files.push((EXTRA, Arc::new(Extra)));
    }
    if traits.contains("journal") {
        let mut text = journal.map_or_else(Vec::new, |journal| journal.0.clone());
        text.extend(format!("{at}").as_bytes());
        files.push((JOURNAL_LINE, Arc::new(Journal(text))));
    }
    let error = host.hand_over(SESSION, files, command(&dir, &plan.join(" "), at + 1));
    log(format!("{at} went on: {error}"));
    std::process::exit(0);
}

fn command(dir: &Path, plan: &str, at: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program", "--nocapture", "--test-threads", "1"]);
    command.args(["--skip", &format!("plan:{at}")]);
    command.env(ROLE, dir).env(PLAN, plan);
    command
}

fn run(plan: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), plan, 0).output().unwrap();
    assert!(output.status.success(), "{plan}: {output:?}");
    let text = fs::read_to_string(dir.path().join("log")).unwrap();
    let log: Vec<_> = text.lines().map(ToOwned::to_owned).collect();
    preflight_agrees(plan, &log);
    log
}

/// What the manifests of the programs say of each upgrade is what became of it.
fn preflight_agrees(plan: &str, log: &[String]) {
    let programs: Vec<&str> = plan.split_whitespace().collect();
    let end = |traits: &str| {
        let file = config(traits).manifest(traits).unwrap();
        End::manifest(traits.to_owned(), &file).unwrap()
    };
    let preflight = Preflight::new(Registry::linked().unwrap());
    for (at, pair) in programs.windows(2).enumerate() {
        let (from, to) = (end(pair[0]), end(pair[1]));
        let policy = policy::by_name(to.policy().unwrap()).unwrap();
        let said = preflight.judge(&from, &to, policy).unwrap();
        let said = said.decision;
        let did = |start: String| log.iter().any(|line| line.starts_with(&start));
        if did(format!("{at} went on")) {
            return;
        }
        let is_refused = did(format!("{at} returned"));
        let did = match said {
            Decision::Reject => is_refused,
            said => !is_refused && did(format!("{} {} of ", at + 1, said.id())),
        };
        assert!(did, "{plan}: {said:?} of upgrade {at}, and {log:?}");
        if is_refused {
            return;
        }
    }
}

#[test]
fn programs_of_one_version_write_it() {
    for (plan, block) in [
        ("v2 v2 v2", "luo-v5;block-v2"),
        (
            "v2+composite-direct v2+composite-direct v2",
            "luo-v5;block-v2",
        ),
        ("v2+table v2+table v2", "block-v2"),
        ("v2+next-same v2+next-same v2", "luo-v5;block-v2"),
        ("old old old", "luo-v5;block-v1"),
        ("old+table old+table old", "block-v1"),
        ("old+plain old+features old", "luo-v5"),
    ] {
        let log = run(plan);
        assert_eq!(log.len(), 3, "{log:?}");
        for line in &log[..2] {
            assert!(
                line.contains(" accept of ") && line.ends_with("; lost 0 "),
                "{line}"
            );
            assert!(
                line.split_whitespace().any(|found| found == block),
                "{plan}: {line}"
            );
        }
        assert_eq!(log[2], "2 ends with 012");
    }
}

#[test]
fn an_old_program_refuses_what_a_new_one_wrote_and_it_comes_back() {
    for plan in ["v2 old", "v2+composite-direct old", "v2+table old"] {
        let log = run(plan);
        assert!(
            log[0].starts_with("0 returned: refused by policy `semver-range`"),
            "{log:?}"
        );
        assert!(
            log[0].contains("found block-v2, expected block-v1")
                || log[0].contains("block-v2 is not restorable here, only block-v1"),
            "{log:?}"
        );
        assert_eq!(log.last().unwrap(), "0 ends with 0", "{log:?}");
    }
}

#[test]
fn a_new_program_writes_what_the_next_one_reads() {
    for plan in [
        "v2+next-old old v2",
        "v2+side-old old v2",
        "v2+table+next-old old+table v2",
        "v2+plain+next-old old+plain v2",
        "v2+features+side-old old+features v2",
    ] {
        let log = run(plan);
        assert!(
            log[..2].iter().all(|line| line.contains(" accept of ")),
            "{log:?}"
        );
        assert!(!log.concat().contains("block-v2"), "{log:?}");
        assert_eq!(log[2], "2 ends with 012");
    }
}

/// The versions of memfd and of vmalloc that a program was handed over, each as its strings or its table say it.
fn has(line: &str, memfd: &str, journal: &str) {
    let (found, lost) = line.rsplit_once("; lost ").unwrap();
    assert!(found.contains(" accept of ") && lost == "0 ", "{line}");
    let found: Vec<_> = found.split_whitespace().collect();
    assert!(found.contains(&memfd) && found.contains(&journal), "{line}");
}

#[test]
fn a_field_more_in_vmalloc_goes_from_program_to_program() {
    for (plan, memfd, journal) in [
        (
            "new new new",
            "memfd-v3;vmalloc-v2",
            "journal-v1;vmalloc-v2",
        ),
        (
            "new+composite-direct new+composite-direct new",
            "memfd-v3;vmalloc-v2",
            "journal-v1;vmalloc-v2",
        ),
        ("new+table new+table new", "memfd-v3", "vmalloc-v2"),
        (
            "new+next-same new+next-same new",
            "memfd-v3;vmalloc-v2",
            "journal-v1;vmalloc-v2",
        ),
        // From an old program to a new one, whose reader copes with both.
        (
            "old old new",
            "memfd-v2;vmalloc-v1",
            "journal-v1;vmalloc-v1",
        ),
        ("old+table old+table new", "memfd-v2", "vmalloc-v1"),
        ("old+plain old+plain new", "memfd-v2", "journal-v1"),
        // And back, where the new one knows who is next.
        (
            "new+next-old new+next-old old",
            "memfd-v2;vmalloc-v1",
            "journal-v1;vmalloc-v1",
        ),
        (
            "new+table+next-old new+table+next-old old",
            "memfd-v2",
            "vmalloc-v1",
        ),
    ] {
        let plan = plan
            .replace("new", "vmalloc2+journal")
            .replace("old", "journal");
        let log = run(&plan.replace("next-journal", "next-old"));
        assert_eq!(log.len(), 3, "{log:?}");
        has(&log[0], memfd, journal);
        has(&log[1], memfd, journal);
        assert_eq!(log[2], "2 ends with 012 and 01");
    }
}

#[test]
fn an_old_program_refuses_a_field_more_in_vmalloc_and_it_comes_back() {
    // The root is judged first, and names vmalloc in each dialect: nothing else of the handover is read then.
    let root = "found kho-v4;radix-v1;vmalloc-v2, expected kho-v4";
    for (dialect, found) in [
        ("composite", root),
        ("composite-direct", root),
        ("table", "root FDT, compat/vmalloc at 0x"),
    ] {
        let log = run(&format!("vmalloc2+journal+{dialect} journal"));
        let returned = "0 returned: refused by policy `semver-range`";
        assert!(log[0].starts_with(returned), "{log:?}");
        for words in [found, "vmalloc-v2 is not restorable here, only vmalloc-v1"] {
            assert!(log[0].contains(words), "{log:?}");
        }
        assert!(log[1].starts_with("0 accept of "), "{log:?}");
        assert_eq!(log[2], "0 ends with 0 and 0", "{log:?}");
    }
}

#[test]
fn what_can_not_be_said_is_not_handed_over() {
    for dialect in ["plain", "features"] {
        let log = run(&format!("v2+{dialect} v2"));
        let expected = format!("0 went on: block-v2 can not be said in the {dialect} dialect");
        assert_eq!(log, [expected]);
    }
}

#[test]
fn a_program_judges_by_its_policy_and_handlers() {
    // An older version than its own, which it restores; a kind of file that it knows and does not make.
    for (plan, refused) in [
        ("v2+side-old v2", false),
        ("v2+side-old v2+exact", true),
        ("v2 v2+exact", false),
        ("old+plain old+exact", true),
        ("old+plain old+plain+exact", false),
        ("old old+plain+exact", true),
        ("extra2 extra2", false),
        ("extra2 known2", true),
        ("known2 old", false),
    ] {
        let log = run(plan);
        let was = log[0].starts_with("0 returned: ");
        assert_eq!(was, refused, "{plan}: {log:?}");
    }
}

#[test]
fn optional_files_are_lost_where_the_next_program_allows_it() {
    // Not allowed: everything comes back.
    for plan in ["extra2 extra1", "extra2+table extra1", "extra2+table old"] {
        let log = run(plan);
        assert!(
            log[0].starts_with("0 returned: optional parts would be lost: "),
            "{log:?}"
        );
        assert!(log[0].contains("found extra-v2, expected "), "{log:?}");
        assert!(log[1].starts_with("0 accept of "), "{log:?}");
        assert!(log[1].ends_with("; lost 0 "), "{log:?}");
        assert_eq!(log[2], "0 ends with 0");
    }
    // Allowed: the rest is there, and goes on from there.
    for plan in [
        "extra2 extra1+degrade extra1",
        "extra2+plain extra1+degrade+plain old",
        "extra2+table extra1+degrade+table extra2",
        "extra2+table old+degrade+table old",
    ] {
        let log = run(plan);
        assert!(log[0].starts_with("1 degrade of "), "{log:?}");
        assert!(
            log[0].ends_with(
                "; lost 1 the file of token 0x2 in session `state` is lost: nothing here restores `extra-v2`"
            ),
            "{log:?}"
        );
        assert!(
            log[1].starts_with("2 accept of ") && log[1].ends_with("; lost 0 "),
            "{log:?}"
        );
        assert_eq!(log[2], "2 ends with 012");
    }
    // Where nothing is lost, allowing it changes nothing.
    let log = run("extra2+degrade extra2+degrade");
    assert!(log[0].starts_with("1 accept of "), "{log:?}");
    assert_eq!(log[1], "1 ends with 01");
}
