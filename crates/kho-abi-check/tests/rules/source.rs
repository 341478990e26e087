//! What the source of a format is held to, and what stands beside it.

use kho_abi_check::Report;

use super::*;

/// The report on a format whose source has `more` before its first struct; it finds `found`.
#[track_caller]
fn with_source(more: &str, found: &[&str]) -> Report {
    let fake = project();
    fake.edit(ABI, "/// A memfd.", &format!("{more}\n/// A memfd."));
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    let code = u8::from(found.iter().any(|rule| rule.starts_with("error")));
    expect(&report, code, found);
    report
}

/// As `with_source`, with `struct A` of these fields, whose size is asserted.
#[track_caller]
fn with_struct(before: &str, fields: &str, found: &[&str]) -> Report {
    let assert = "const _: () = assert!(size_of::<A>() == 8);";
    with_source(
        &format!("{before}#[repr(C)]\npub struct A {{ {fields} }}\n{assert}"),
        found,
    )
}

#[test]
fn a_struct_derives_its_layout() {
    with_struct("", "a: U64", &["error no-derive"]);
}

#[test]
fn a_struct_is_guarded() {
    let derive = "#[derive(AbiLayout)]\n";
    with_struct(derive, "a: U64", &["warning struct-unguarded"]);
}

#[test]
fn a_structs_size_is_asserted() {
    with_source(
        "#[derive(AbiLayout)]\n#[repr(C)]\npub struct A { a: U64 }",
        &["error no-size-assert", "warning struct-unguarded"],
    );
}

/// Tests of a field each whose type can not stand in a format, and why.
macro_rules! bad_fields {
    ($($name:ident: $field:literal => $reason:literal;)*) => { $(
        #[test]
        fn $name() {
            let report = with_struct(
                "pub enum Kind { A }\n",
                concat!("a: ", $field),
                &["error bad-field-type", "error no-derive"],
            );
            told(&report, "bad-field-type", $reason);
            assert_eq!(place(&report, "bad-field-type"), "crates/fmt/src/abi.rs:16");
        }
    )* };
}

bad_fields! {
    a_field_of_the_machines_size: "usize" => "depends on the machine";
    a_pointer: "*const u8" => "a pointer";
    a_reference: "&'static u8" => "a pointer";
    an_array_of_truths: "[bool; 4]" => "only two of its 256 values";
    an_enum: "Kind" => "an enum";
}

#[test]
fn padding_before_a_field() {
    let found = &["error implicit-padding", "error no-derive"];
    let report = with_struct("", "a: U32, b: U64", found);
    let expected = "C pads struct A before `b`";
    assert_eq!(title(&report, "implicit-padding"), expected);
}

#[test]
fn padding_at_the_end() {
    let found = &["error implicit-padding", "error no-derive"];
    let report = with_struct("", "a: U64, b: [u8; 3]", found);
    let expected = "C pads struct A at its end";
    assert_eq!(title(&report, "implicit-padding"), expected);
}

#[test]
fn a_struct_without_padding() {
    let fields = "a: U64, b: [U32; 3], c: U16, d: [u8; 2]";
    with_struct("", fields, &["error no-derive"]);
}

#[test]
fn a_constant_is_guarded() {
    let report = with_source("pub const LIMIT: u64 = 3;", &["warning constant-unguarded"]);
    let expected = "crates/fmt/src/abi.rs:14";
    assert_eq!(place(&report, "constant-unguarded"), expected);
}

#[test]
fn source_that_does_not_parse() {
    with_source("pub struct Broken {", &["error source-unread"]);
}

#[test]
fn a_struct_of_tests() {
    with_source(
        "#[cfg(test)]\nmod tests {\n#[repr(C)]\nstruct A { a: usize }\n}",
        &[],
    );
}

#[test]
fn the_allow_list_needs_a_reason_and_a_date() {
    let fake = project();
    let changed = with_grown(2);
    const LIST: &str = "abi-allow.toml";
    let allow = |rule: &str, component: &str| {
        fake.allow(rule, component, "a test", "2027-01-31");
        fake.write(LIST, &format!("# Exceptions.\n\n{}", fake.read(LIST)));
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
    let expected = ["error abi-changed-layout", "error allow-expired"];
    expect(&report, 1, &expected);
    assert_eq!(place(&report, "allow-expired"), "abi-allow.toml:3");
    allow("abi-changed-layout", "vmalloc");
    let expected = ["error abi-changed-layout", "warning allow-unused"];
    expect(&on("2027-01-01"), 1, &expected);
    allow("abi-changed-layout", "*");
    expect(&on("2027-01-01"), 3, &["allowed abi-changed-layout"]);
    let refused = || {
        let report = fake.check_with(&changed, &Options::default());
        assert!(report.is_err(), "{}", fake.read(LIST));
    };
    for (rule, reason, expires) in [
        ("no-such", "b", "2027-01-31"),
        ("grammar", " ", "2027-01-31"),
        ("grammar", "b", "some day"),
    ] {
        fake.allow(rule, "a", reason, expires);
        refused();
    }
    fake.allow("grammar", "a", "b", "2027-01-31");
    fake.edit(LIST, "expires = \"2027-01-31\"\n", "");
    refused();
    fake.write(LIST, "[[alow]]\n");
    refused();
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
    holds(&text, "| 16 | 8 | `count` | `u64` |");
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
    let next = with_grown(3);
    fake.release("0.2.0");
    fake.bless(&next);
    let options = Options::default().kernel(&types);
    let report = fake.check_with(&next, &options).unwrap();
    let expected = [
        "allowed version-bumped",
        "info dependents",
        "info kernel-differs",
    ];
    expect(&report, 3, &expected);
    let expected = "struct MemfdSer of memfd-v3 is not the kernel's, which has that of memfd-v2";
    assert_eq!(title(&report, "kernel-differs"), expected);
    fake.land("grown");
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
    for rule in ["error vector-failed", "error snapshot-missing"] {
        assert!(has(&report, rule), "{:?}", rules(&report));
    }
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
    let abi = fake.read(ABI);
    fake.write(ABI, &format!("{abi}{tests}"));
    expect(&fake.check(&[&MEMFD, &VMALLOC]), 0, &[]);
}
