//! What the source of a format is held to, and what stands beside it.

use super::*;

#[test]
fn the_source_of_a_format_is_held_to_more() {
    let check = |source: &str, found: &[&str]| {
        let fake = project();
        fake.edit(
            "crates/fmt/src/abi.rs",
            "/// A memfd.",
            &format!("{source}\n/// A memfd."),
        );
        let report = fake.check(&[&MEMFD, &VMALLOC]);
        let code = u8::from(found.iter().any(|rule| rule.starts_with("error")));
        expect(&report, code, found);
        report
    };
    check(
        "#[repr(C)]\npub struct A { a: U64 }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["error no-derive"],
    );
    check(
        "#[derive(AbiLayout)]\n#[repr(C)]\npub struct A { a: U64 }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["warning struct-unguarded"],
    );
    check(
        "#[derive(AbiLayout)]\n#[repr(C)]\npub struct A { a: U64 }",
        &["error no-size-assert", "warning struct-unguarded"],
    );
    for (field, reason) in [
        ("usize", "depends on the machine"),
        ("*const u8", "a pointer"),
        ("&'static u8", "a pointer"),
        ("[bool; 4]", "only two of its 256 values"),
        ("Kind", "an enum"),
    ] {
        let report = check(
            &format!(
                "pub enum Kind {{ A }}\n#[repr(C)]\npub struct A {{ a: {field} }}\nconst _: () = assert!(size_of::<A>() == 8);"
            ),
            &["error bad-field-type", "error no-derive"],
        );
        let text = words(&report, "bad-field-type");
        assert!(text.contains(reason), "{text}");
        assert_eq!(
            one(&report, "bad-field-type").place.as_ref().unwrap().line,
            16
        );
    }
    let report = check(
        "#[repr(C)]\npub struct A { a: U32, b: U64 }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["error implicit-padding", "error no-derive"],
    );
    assert_eq!(
        one(&report, "implicit-padding").title,
        "C pads struct A before `b`"
    );
    let report = check(
        "#[repr(C)]\npub struct A { a: U64, b: [u8; 3] }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["error implicit-padding", "error no-derive"],
    );
    assert_eq!(
        one(&report, "implicit-padding").title,
        "C pads struct A at its end"
    );
    check(
        "#[repr(C)]\npub struct A { a: U64, b: [U32; 3], c: U16, d: [u8; 2] }\nconst _: () = assert!(size_of::<A>() == 8);",
        &["error no-derive"],
    );
    let report = check("pub const LIMIT: u64 = 3;", &["warning constant-unguarded"]);
    assert_eq!(
        one(&report, "constant-unguarded")
            .place
            .as_ref()
            .unwrap()
            .to_string(),
        "crates/fmt/src/abi.rs:14"
    );
    check("pub struct Broken {", &["error source-unread"]);
    check(
        "#[cfg(test)]\nmod tests {\n#[repr(C)]\nstruct A { a: usize }\n}",
        &[],
    );
    let _ = U16::ZERO;
}

#[test]
fn the_allow_list_needs_a_reason_and_a_date() {
    let fake = project();
    let changed = with(memfd([generation(2).layouts(&[grown::MemfdSer::layout])]));
    let allow = |rule: &str, component: &str| {
        fake.write(
            "abi-allow.toml",
            &format!("# Exceptions.\n\n[[allow]]\nrule = \"{rule}\"\ncomponent = \"{component}\"\nreason = \"a test\"\nexpires = \"2027-01-31\"\n"),
        );
    };
    let on = |day: &str| {
        let options = Options::default().today(day.parse().unwrap());
        fake.check_with(&changed, &options).unwrap()
    };
    allow("abi-changed-layout", "memfd");
    let report = on("2027-01-31");
    expect(&report, 3, &["allowed abi-changed-layout"]);
    assert_eq!(
        report.findings[0].allowed.as_deref(),
        Some("a test (until 2027-01-31)")
    );
    let report = on("2027-02-01");
    expect(
        &report,
        1,
        &["error abi-changed-layout", "error allow-expired"],
    );
    assert_eq!(
        one(&report, "allow-expired")
            .place
            .as_ref()
            .unwrap()
            .to_string(),
        "abi-allow.toml:3"
    );
    allow("abi-changed-layout", "vmalloc");
    expect(
        &on("2027-01-01"),
        1,
        &["error abi-changed-layout", "warning allow-unused"],
    );
    allow("abi-changed-layout", "*");
    expect(&on("2027-01-01"), 3, &["allowed abi-changed-layout"]);
    for bad in [
        "[[allow]]\nrule = \"no-such\"\ncomponent = \"a\"\nreason = \"b\"\nexpires = \"2027-01-31\"\n",
        "[[allow]]\nrule = \"grammar\"\ncomponent = \"a\"\nreason = \" \"\nexpires = \"2027-01-31\"\n",
        "[[allow]]\nrule = \"grammar\"\ncomponent = \"a\"\nreason = \"b\"\nexpires = \"some day\"\n",
        "[[allow]]\nrule = \"grammar\"\ncomponent = \"a\"\nreason = \"b\"\n",
        "[[alow]]\n",
    ] {
        fake.write("abi-allow.toml", bad);
        assert!(
            fake.check_with(&changed, &Options::default()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn generated_documents_are_kept_current() {
    let fake = project();
    let text = "# ABI\n\n<!-- generated: layouts -->\n<!-- end of what is generated -->\n\nBy hand.\n\n<!-- generated: rules -->\n<!-- end of what is generated -->\n";
    fake.write("docs/abi.md", text);
    let project = fake.project().docs("docs/abi.md");
    let run = |bless: bool| {
        let options = Options::default().bless(bless);
        kho_abi_check::check([&MEMFD, &VMALLOC], &project, &options).unwrap()
    };
    expect(&run(false), 0, &["warning docs-stale"]);
    let alone = || kho_abi_check::check_docs([&MEMFD, &VMALLOC], &project);
    expect(&alone(), 1, &["error docs-stale"]);
    assert_eq!(run(true).written, ["docs/abi.md"]);
    expect(&run(false), 0, &[]);
    expect(&alone(), 0, &[]);
    let text = fake.read("docs/abi.md");
    assert!(text.contains("| 16 | 8 | `count` | `u64` |"), "{text}");
    assert!(
        text.contains("| `no-derive` | error |") && text.contains("\nBy hand.\n"),
        "{text}"
    );
    fake.edit("docs/abi.md", "| 16 | 8 | `count`", "| 17 | 8 | `count`");
    let report = run(false);
    expect(&report, 0, &["warning docs-stale"]);
    assert!(one(&report, "docs-stale").place.as_ref().unwrap().line > 10);
}

#[test]
fn a_kernel_that_differs_is_told() {
    let fake = project();
    let path = fake.root().join("facts.json");
    let facts = |offset: u32| {
        format!(
            r#"{{ "memfd_ser": {{ "size": 24, "members": [
                {{ "name": "pos", "type": "u64", "offset": 0, "size": 8 }},
                {{ "name": "seals", "type": "u32", "offset": 8, "size": 4 }},
                {{ "name": "flags", "type": "u32", "offset": {offset}, "size": 4 }},
                {{ "name": "count", "type": "u64", "offset": 16, "size": 8 }} ] }} }}"#
        )
    };
    for (offset, code, found) in [(12, 0, &[][..]), (13, 1, &["error kernel-differs"][..])] {
        std::fs::write(&path, facts(offset)).unwrap();
        let types = kho_abi_check::kernel::open(&path).unwrap();
        let options = Options::default().kernel(&types);
        let report = fake.check_with(&[&MEMFD, &VMALLOC], &options).unwrap();
        expect(&report, code, found);
    }
}

/// The kernel stays at the version that it has: a new one is not its, and is not to be.
#[test]
fn a_new_version_leaves_the_kernel_behind() {
    let fake = project();
    let path = fake.root().join("facts.json");
    let facts = r#"{ "memfd_ser": { "size": 24, "members": [
        { "name": "pos", "type": "u64", "offset": 0, "size": 8 },
        { "name": "seals", "type": "u32", "offset": 8, "size": 4 },
        { "name": "flags", "type": "u32", "offset": 12, "size": 4 },
        { "name": "count", "type": "u64", "offset": 16, "size": 8 } ] } }"#;
    std::fs::write(&path, facts).unwrap();
    let types = kho_abi_check::kernel::open(&path).unwrap();
    let next = with(memfd([generation(3).layouts(&[grown::MemfdSer::layout])]));
    fake.release("0.2.0");
    fake.bless(&next);
    let options = Options::default().kernel(&types);
    let report = fake.check_with(&next, &options).unwrap();
    expect(
        &report,
        3,
        &[
            "allowed version-bumped",
            "info dependents",
            "info kernel-differs",
        ],
    );
    assert_eq!(
        one(&report, "kernel-differs").title,
        "struct MemfdSer of memfd-v3 is not the kernel's, which has that of memfd-v2"
    );
    fake.commit("grown");
    fake.git(&["branch", "-f", "main", "change"]);
    expect(&fake.check_with(&next, &options).unwrap(), 0, &[]);
}

#[test]
fn a_vector_that_fails_is_no_snapshot() {
    fn failing() -> Result<Text, Failure> {
        Err("unknown flags 0x4".into())
    }
    fn panicking() -> Result<Text, Failure> {
        panic!("index {}", 7);
    }
    let fake = project();
    fake.release("0.2.0");
    let next = with(memfd([generation(3)]));
    let failed = of_memfd(
        const {
            &[
                vector("of a writer that refuses", failing),
                vector("of one that panics", panicking),
                // What looks like a failure is none.
                vector("of one that says so", || Ok("error: 0x4".into())),
            ]
        },
    );
    let options = Options::default().vectors(&failed).bless(true);
    let report = fake.check_with(&next, &options).unwrap();
    let found = rules(&report);
    assert!(
        found.contains(&"error vector-failed".to_owned()),
        "{found:?}"
    );
    assert!(
        found.contains(&"error snapshot-missing".to_owned()),
        "{found:?}"
    );
    let failed = report.findings.iter().filter(|f| f.rule == "vector-failed");
    let failed: Vec<_> = failed
        .map(|f| (f.title.as_str(), f.details[0].text.as_str()))
        .collect();
    assert_eq!(
        failed,
        [
            (
                "vector `of a writer that refuses` of memfd could not be made",
                "error: unknown flags 0x4"
            ),
            (
                "vector `of one that panics` of memfd could not be made",
                "panicked: index 7"
            ),
        ]
    );
}

#[test]
fn tests_and_comments_are_no_format() {
    let fake = project();
    let plain = "\n// A `Component::new(NAME, &[Generation::new(1)])` is made elsewhere.\n#[repr(C)]\nstruct Odd {\n    a: usize,\n}\n";
    fake.write("crates/fmt/src/other.rs", plain);
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
    let tests = "\n#[cfg(test)]\n#[repr(C)]\nstruct Odd {\n    a: usize,\n}\n\n#[cfg(all(feature = \"std\", test))]\nfn f() {\n    \
                 #[repr(C)]\n    struct Odder {\n        a: bool,\n    }\n}\n";
    let abi = fake.read("crates/fmt/src/abi.rs");
    fake.write("crates/fmt/src/abi.rs", &format!("{abi}{tests}"));
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
}
