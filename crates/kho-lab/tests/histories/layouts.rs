//! Layouts of the newest releases, and names.

use super::*;

/// Structs with their bytes, and with fields (name, offset, bytes) where they are looked at.
const STRUCTS: &str = "\
luo_ser 32
luo_session_ser 80
luo_file_ser 64 compatible 0 48 data 48 8 token 56 8
luo_flb_header_ser 16
luo_flb_ser 64 name 0 48 data 48 8 count 56 8
memfd_luo_ser 48 pos 0 8 size 8 8 seals 16 4 flags 20 4 nr_folios 24 8 folios 32 16
memfd_luo_folio_ser 16
kho_vmalloc 16 first 0 8 total_pages 8 4 flags 12 2 order 14 2
kho_vmalloc_chunk 4096
kho_radix_node 4096
kho_radix_leaf 4096
kho_block_header_ser 16 next 0 8 count 8 8
kho_scratch 16
kho_kexec_metadata 73 version 0 4 previous_release 4 65 kexec_count 69 4";

/// The numbers that debug information of Linux 7.3.4 has.
#[test]
fn layouts_of_the_newest_releases() {
    let field = |words: &[&str]| {
        let number = |word: &str| word.parse().unwrap();
        Field(words[0].to_owned(), number(words[1]), number(words[2]))
    };
    let parse = |line: &'static str| {
        let words: Vec<_> = line.split(' ').collect();
        let fields: Vec<_> = words[2..].chunks(3).map(field).collect();
        (words[0], words[1].parse::<usize>().unwrap(), fields)
    };
    let known: Vec<_> = STRUCTS.lines().map(parse).collect();
    for (name, release) in [("linux", "7.3"), ("granular", "proposal")] {
        let history = history(name);
        let release = &history.releases[history.find(release).unwrap()];
        let layouts = release.layouts.values();
        let layouts = layouts.map(|known| &history.layouts[&known.own]);
        let structs: Vec<_> = layouts.flat_map(|layout| &layout.structs).collect();
        let mut found: Vec<_> = structs.iter().map(|(name, _)| name.as_str()).collect();
        found.sort_unstable();
        let mut expected: Vec<_> = known.iter().map(|(name, ..)| *name).collect();
        if name == "granular" {
            // Its string is another one; what follows it is the same.
            expected.retain(|name| *name != "luo_ser");
            expected.push("luo_ser after its string");
        }
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}");
        for (label, all) in structs {
            let Some((_, size, fields)) = known.iter().find(|(name, ..)| name == label) else {
                assert_eq!(all.size, 24, "{label}");
                continue;
            };
            assert_eq!(all.size, *size, "{label}");
            assert!(fields.is_empty() || all.fields == *fields, "{label}");
        }
    }
}

#[test]
fn every_release_reads_itself_and_has_a_source() {
    for (name, _) in BUILTIN {
        let run = run(name);
        for matrix in &run.policies {
            for (index, release) in run.releases.iter().enumerate() {
                let cell = matrix.cell(index, index).unwrap();
                let policy = matrix.policy;
                assert_eq!(cell.kind, Kind::Accepted, "{name}, {policy}, {release}");
            }
        }
        assert!(run.notes.iter().all(|(_, source, _)| !source.is_empty()));
    }
}

/// A history of two releases: the members of their components, by release and component.
fn two(layouts: &str, components: [&[(&str, &str)]; 2]) -> Run {
    let mut text =
        format!("format = \"kho-history-v1\"\nname = \"two\"\ntitle = \"two\"\n{layouts}");
    for (release, components) in components.iter().enumerate() {
        text += &format!("[[release]]\nname = \"{release}\"\nsource = \"made up\"\n");
        for (name, members) in *components {
            text += &format!("[release.components.{name}]\n{members}\n");
        }
    }
    run_of(&History::parse(&text).unwrap())
}

/// Checks what becomes of an update from the first release to the second.
fn update(run: &Run, policies: &[&str], expected: Kind) {
    for policy in policies {
        let cell = cell(run, policy, "0", "1");
        assert_eq!(cell.kind, expected, "{policy}: {:?}", cell.why);
    }
}

const AB: &str = r#"
[layouts.a]
constants = { it = 1 }
[layouts.b]
constants = { it = 2 }
[layouts.a-again]
constants = { it = 1 }
"#;

const ROOT: (&str, &str) = ("kho", "version = 4\nlayout = \"a\"\ncarrier = \"root\"");

#[test]
fn what_only_lost_ones_need_is_lost_with_them() {
    // The pool alone needs the array, which changed. It is lost, so nobody reads its array.
    let pool = (
        "pool",
        "version = 1\nlayout = \"a\"\ncarrier = \"file-handler\"\noptional = true\nneeds = [\"array\"]",
    );
    let old = ("array", "version = 1\nlayout = \"a\"\noptional = true");
    let new = ("array", "version = 2\nlayout = \"b\"\noptional = true");
    let run = two(AB, [&[ROOT, pool, old], &[ROOT, pool, new]]);
    update(&run, EQUAL, Kind::Degraded);
    update(&run, &["semver-range"], Kind::Degraded);
}

#[test]
fn layouts_are_the_same_by_their_contents() {
    let old = (
        "memfd",
        "version = 1\nlayout = \"a\"\ncarrier = \"file-handler\"",
    );
    let new = (
        "memfd",
        "version = 2\nlayout = \"b\"\ncarrier = \"file-handler\"\nrestores = \">=1, <3\"\n\
         knows = { 1 = \"a-again\" }\nfeatures = { supported = 3, required = 1 }",
    );
    let run = two(AB, [&[ROOT, old], &[ROOT, new]]);
    let policies = ["semver-range", "newest-common", "feature-masks"];
    update(&run, &policies, Kind::Accepted);
}

#[test]
fn a_name_may_hold_what_looks_like_a_version() {
    let old = (
        "guest-vm",
        "version = 1\nlayout = \"a\"\ncarrier = \"file-handler\"\noptional = true",
    );
    let new = (
        "guest-vm",
        "version = 2\nlayout = \"b\"\ncarrier = \"file-handler\"\noptional = true\n\
         features = { supported = 3, required = 3 }",
    );
    let run = two(AB, [&[ROOT, old], &[ROOT, new]]);
    let policies = ["semver-range", "check-at-restore", "feature-masks"];
    update(&run, &policies, Kind::Degraded);
}

#[test]
fn half_of_a_number_is_not_the_number() {
    let layouts = r#"
[layouts.a]
structs = { s = { size = 8, fields = [["total", 0, 8]] } }
[layouts.b]
structs = { s = { size = 8, fields = [["total", 0, 4], ["reserved", 4, 4]] } }
"#;
    let changed = ("kho", "version = 4\nlayout = \"b\"\ncarrier = \"root\"");
    let run = two(layouts, [&[ROOT], &[changed]]);
    update(&run, &["semver-range"], Kind::Silent);
}

#[test]
fn what_goes_wrong_is_said_once() {
    let run = run("linux");
    for policy in ALL.iter().map(|policy| policy.name()) {
        let why = &cell(&run, policy, "6.19", "6.18").why;
        let mut once: Vec<_> = why.iter().map(ToString::to_string).collect();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), why.len(), "{policy}: {why:?}");
    }
}
