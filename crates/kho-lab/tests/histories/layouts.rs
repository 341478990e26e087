//! Layouts of the newest releases, and names.

use super::*;

/// Fields: name, offset, bytes.
type Fields = &'static [(&'static str, usize, usize)];

/// The numbers that debug information of Linux 7.3.4 has.
#[test]
fn layouts_of_the_newest_releases() {
    let sizes = [
        ("luo_ser", 32),
        ("luo_session_ser", 80),
        ("luo_file_ser", 64),
        ("luo_flb_header_ser", 16),
        ("luo_flb_ser", 64),
        ("memfd_luo_ser", 48),
        ("memfd_luo_folio_ser", 16),
        ("kho_vmalloc", 16),
        ("kho_vmalloc_chunk", 4096),
        ("kho_radix_node", 4096),
        ("kho_radix_leaf", 4096),
        ("kho_block_header_ser", 16),
        ("kho_scratch", 16),
        ("kho_kexec_metadata", 73),
    ];
    #[rustfmt::skip]
    let offsets: [(&str, Fields); 6] = [
        (
            "memfd_luo_ser",
            &[
                ("pos", 0, 8),
                ("size", 8, 8),
                ("seals", 16, 4),
                ("flags", 20, 4),
                ("nr_folios", 24, 8),
                ("folios", 32, 16),
            ],
        ),
        (
            "kho_vmalloc",
            &[
                ("first", 0, 8),
                ("total_pages", 8, 4),
                ("flags", 12, 2),
                ("order", 14, 2),
            ],
        ),
        (
            "luo_file_ser",
            &[("compatible", 0, 48), ("data", 48, 8), ("token", 56, 8)],
        ),
        (
            "luo_flb_ser",
            &[("name", 0, 48), ("data", 48, 8), ("count", 56, 8)],
        ),
        ("kho_block_header_ser", &[("next", 0, 8), ("count", 8, 8)]),
        ("kho_kexec_metadata", &[("version", 0, 4), ("previous_release", 4, 65), ("kexec_count", 69, 4)]),
    ];
    for (name, release) in [("linux", "7.3"), ("granular", "proposal")] {
        let history = history(name);
        let release = &history.releases[history.find(release).unwrap()];
        let layouts = release.layouts.values();
        let layouts = layouts.map(|known| &history.layouts[&known.own]);
        let structs: Vec<_> = layouts.flat_map(|layout| &layout.structs).collect();
        let mut found: Vec<_> = structs.iter().map(|(name, _)| name.as_str()).collect();
        found.sort_unstable();
        let mut expected: Vec<_> = sizes.iter().map(|(name, _)| *name).collect();
        if name == "granular" {
            // Its string is another one; what follows it is the same.
            expected.retain(|name| *name != "luo_ser");
            expected.push("luo_ser after its string");
        }
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}");
        for (label, all) in structs {
            let size = sizes.iter().find(|(name, _)| name == label);
            assert_eq!(all.size, size.map_or(24, |(_, size)| *size), "{label}");
            if let Some((_, fields)) = offsets.iter().find(|(name, _)| name == label) {
                let fields = fields
                    .iter()
                    .map(|(name, at, len)| Field((*name).to_owned(), *at, *len));
                assert_eq!(all.fields, fields.collect::<Vec<_>>(), "{label}");
            }
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
    use std::fmt::Write;
    let mut text =
        format!("format = \"kho-history-v1\"\nname = \"two\"\ntitle = \"two\"\n{layouts}");
    for (release, components) in components.iter().enumerate() {
        writeln!(
            text,
            "[[release]]\nname = \"{release}\"\nsource = \"made up\""
        )
        .unwrap();
        for (name, members) in *components {
            writeln!(text, "[release.components.{name}]\n{members}").unwrap();
        }
    }
    let history = History::parse(&text).unwrap();
    let policies: Vec<_> = ALL.iter().map(|policy| *policy as &dyn Policy).collect();
    let run = Run::new(&history, &policies, &mut |_, _| true);
    run.unwrap().unwrap()
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
    for policy in EQUAL.iter().chain(&["semver-range"]) {
        let cell = cell(&run, policy, "0", "1");
        assert_eq!(cell.kind, Kind::Degraded, "{policy}: {:?}", cell.why);
    }
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
    for policy in ["semver-range", "newest-common", "feature-masks"] {
        let cell = cell(&run, policy, "0", "1");
        assert_eq!(cell.kind, Kind::Accepted, "{policy}: {:?}", cell.why);
    }
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
    for policy in ["semver-range", "check-at-restore", "feature-masks"] {
        let cell = cell(&run, policy, "0", "1");
        assert_eq!(cell.kind, Kind::Degraded, "{policy}: {:?}", cell.why);
    }
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
    let cell = cell(&run, "semver-range", "0", "1");
    assert_eq!(cell.kind, Kind::Silent, "{:?}", cell.why);
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
