//! Parts of a format that depend on a build option.

use super::*;

/// What is found of build options after the edit of a file: title and line, each in order.
#[track_caller]
fn found(files: &[(&str, &str)], edits: &[(&str, &str)]) -> Vec<String> {
    let fake = project();
    for (path, text) in files {
        fake.write(path, text);
    }
    for (from, to) in edits {
        fake.edit(ABI, from, to);
    }
    let report = fake.check(&[&MEMFD, &VMALLOC]);
    let of_rule = report
        .findings
        .iter()
        .filter(|one| one.rule == "build-option");
    let line = |one: &kho_abi_check::Finding| {
        assert_eq!(one.severity, kho_abi_check::Severity::Error);
        assert!(
            one.mend
                .as_ref()
                .unwrap()
                .contains("Take the condition away")
        );
        format!("{}: {}", one.place.as_ref().unwrap(), one.title)
    };
    let mut found: Vec<_> = of_rule.map(line).collect();
    found.sort();
    found
}

/// As [`found`], of the edit of one place of the format's source, and one finding.
#[track_caller]
fn edited(from: &str, to: &str, expected: &str) {
    assert_eq!(found(&[], &[(from, to)]), [expected]);
}

#[test]
fn a_field() {
    edited(
        "    pub count: U64,\n",
        "    pub count: U64,\n    #[cfg(feature = \"ext\")]\n    pub ext: U64,\n",
        "crates/fmt/src/abi.rs:23: field `ext` of struct MemfdSer depends on a build option: #[cfg(feature = \"ext\")]",
    );
    edited(
        "    pub count: U64,\n",
        "    pub count: U64,\n    /// More.\n    #[cfg(all(\n        unix,\n        not(test)\n    ))]\n    pub ext: U64,\n",
        "crates/fmt/src/abi.rs:24: field `ext` of struct MemfdSer depends on a build option: #[cfg(all( unix, not(test) ))]",
    );
    edited(
        "pub count: U64",
        "pub count: [u8; if cfg!(feature = \"wide\") { 16 } else { 8 }]",
        "crates/fmt/src/abi.rs:22: field `count` of struct MemfdSer depends on a build option: cfg!(feature = \"wide\")",
    );
    // Tests alone have another layout, which a snapshot may be made of.
    edited(
        "    pub count: U64,\n",
        "    #[cfg(test)]\n    pub ext: U64,\n    pub count: U64,\n",
        "crates/fmt/src/abi.rs:22: field `ext` of struct MemfdSer depends on a build option: #[cfg(test)]",
    );
}

#[test]
fn a_struct() {
    edited(
        "#[derive(AbiLayout)]",
        "#[cfg(not(windows))]\n#[derive(AbiLayout)]",
        "crates/fmt/src/abi.rs:15: struct MemfdSer depends on a build option: #[cfg(not(windows))]",
    );
    for set in [
        "repr(packed)",
        "allow(dead_code), repr(C, packed)",
        "derive(AbiLayout)",
        "abi(packed)",
    ] {
        edited(
            "#[repr(C)]",
            &format!("#[repr(C)]\n#[cfg_attr(feature = \"tight\", {set})]"),
            &format!(
                "crates/fmt/src/abi.rs:17: struct MemfdSer depends on a build option: #[cfg_attr(feature = \"tight\", {set})]"
            ),
        );
    }
    for set in [
        "derive(Debug)",
        "allow(dead_code)",
        "doc = \"x\"",
        "serde(crate = \"s\")",
    ] {
        let to = format!("#[repr(C)]\n#[cfg_attr(feature = \"tight\", {set})]");
        assert_eq!(found(&[], &[("#[repr(C)]", &to)]), [""; 0], "{set}");
    }
}

#[test]
fn what_is_written_as_json() {
    edited(
        "/// A memfd.",
        "#[derive(Serialize, AbiMembers)]\nstruct Ticket {\n    #[cfg(unix)]\n    number: i32,\n}\n/// A memfd.",
        "crates/fmt/src/abi.rs:16: field `number` of struct Ticket depends on a build option: #[cfg(unix)]",
    );
    edited(
        "/// A memfd.",
        "#[derive(Serialize, AbiMembers)]\nenum Message {\n    Sealed,\n    #[cfg(unix)]\n    Finished,\n}\n/// A memfd.",
        "crates/fmt/src/abi.rs:17: variant `Finished` of enum Message depends on a build option: #[cfg(unix)]",
    );
}

#[test]
fn a_constant() {
    edited(
        "pub const BYTES",
        "#[cfg(not(feature = \"big\"))]\npub const BYTES",
        "crates/fmt/src/abi.rs:12: constant BYTES depends on a build option: #[cfg(not(feature = \"big\"))]",
    );
    edited(
        "usize = 4096",
        "usize = if cfg!(feature = \"big\") { 8192 } else { 4096 }",
        "crates/fmt/src/abi.rs:12: constant BYTES depends on a build option: cfg!(feature = \"big\")",
    );
    edited(
        "usize = 4096",
        "usize = cfg_select! { unix => { 4096 } _ => { 8192 } }",
        "crates/fmt/src/abi.rs:12: constant BYTES depends on a build option: cfg_select!",
    );
    edited(
        "/// A memfd.",
        "impl MemfdSer {\n    #[cfg(unix)]\n    pub const MORE: u32 = 1;\n}\n\n/// A memfd.",
        "crates/fmt/src/abi.rs:15: constant MemfdSer::MORE depends on a build option: #[cfg(unix)]",
    );
    // A constant of the format that stands in another file; others there are no matter.
    let other =
        "#[cfg(unix)]\npub const BYTES: usize = 4096;\n#[cfg(unix)]\npub const OTHER: usize = 1;\n";
    assert_eq!(
        found(
            &[("crates/fmt/src/sizes.rs", other)],
            &[("pub const BYTES: usize = 4096;", "use crate::sizes::BYTES;")]
        ),
        ["crates/fmt/src/sizes.rs:1: constant BYTES depends on a build option: #[cfg(unix)]"]
    );
}

#[test]
fn types_and_imports() {
    edited(
        "/// A memfd.",
        "#[cfg(unix)]\npub type Word = U64;\n/// A memfd.",
        "crates/fmt/src/abi.rs:14: type Word depends on a build option: #[cfg(unix)]",
    );
    edited(
        "/// A memfd.",
        "#[cfg(unix)]\nuse zerocopy::big_endian::U64;\n/// A memfd.",
        "crates/fmt/src/abi.rs:14: `use zerocopy::big_endian::U64` depends on a build option: #[cfg(unix)]",
    );
    // What no field has the type of.
    let io = "#[cfg(unix)]\nuse std::io::Read;\n#[cfg(unix)]\nimpl Read for X {}\n/// A memfd.";
    assert_eq!(found(&[], &[("/// A memfd.", io)]), [""; 0]);
}

#[test]
fn a_module() {
    let lib = |attr: &str| format!("//! Formats.\n\n{attr}\npub mod abi;\n");
    for attr in [
        "#[cfg(feature = \"fmt\")]",
        "#[cfg_attr(unix, path = \"other.rs\")]",
    ] {
        let moved = (
            "pub const COMPONENT: Component = ",
            "pub const _COMPONENT: () = ",
        );
        let text =
            "Component::new(NAME, &[Generation::new(VERSION).constants(&[constant!(BYTES)])])";
        let declared = format!("pub const COMPONENT: Component = {text};\n");
        let files = [
            ("crates/fmt/src/lib.rs", &*lib(attr)),
            ("crates/fmt/src/generation.rs", &declared),
        ];
        assert_eq!(
            found(&files, &[moved, (text, "()")]),
            [format!(
                "crates/fmt/src/lib.rs:3: module abi depends on a build option: {attr}"
            )]
        );
    }
    // A component as a whole is there, or is not.
    let whole = lib("#[cfg(feature = \"fmt\")]");
    assert_eq!(found(&[("crates/fmt/src/lib.rs", &whole)], &[]), [""; 0]);
    // Unless there is another one of its name in the other build.
    let other = "use kho_compat::{Component, Generation};\nconst ONE: Component = Component::new(\"memfd\", &[Generation::new(2)]);\n";
    let both =
        format!("{whole}#[cfg(not(feature = \"fmt\"))]\n#[path = \"other.rs\"]\npub mod abi;\n");
    assert_eq!(
        found(
            &[
                ("crates/fmt/src/lib.rs", &both),
                ("crates/fmt/src/other.rs", other)
            ],
            &[]
        ),
        [
            "crates/fmt/src/lib.rs:3: module abi depends on a build option: #[cfg(feature = \"fmt\")]",
            "crates/fmt/src/lib.rs:5: module abi depends on a build option: #[cfg(not(feature = \"fmt\"))]",
        ]
    );
    edited(
        "/// A memfd.",
        "#[cfg(unix)]\npub mod inner {\n    pub const MORE: u32 = 1;\n}\n/// A memfd.",
        "crates/fmt/src/abi.rs:14: module inner depends on a build option: #[cfg(unix)]",
    );
    // Modules without a format, and those of tests.
    let plain = "#[cfg(feature = \"x\")]\nmod plain;\n#[cfg(test)]\nmod tests;\n";
    assert_eq!(found(&[("crates/fmt/src/lib.rs", plain)], &[]), [""; 0]);
}

#[test]
fn inside_of_macros() {
    edited(
        "/// A memfd.",
        "macro_rules! ser {\n    ($name:ident) => {\n        pub struct $name {\n            #[cfg(unix)]\n            pub a: U64,\n        }\n    };\n}\n/// A memfd.",
        "crates/fmt/src/abi.rs:17: what macro ser! makes depends on a build option: #[cfg(unix)]",
    );
    edited(
        "/// A memfd.",
        "fields! {\n    a: U64,\n    #[cfg_attr(unix, repr(packed))]\n    b: U64,\n}\n/// A memfd.",
        "crates/fmt/src/abi.rs:16: what fields! is given depends on a build option: #[cfg_attr(unix, repr(packed))]",
    );
    edited(
        "/// A memfd.",
        "cfg_select! {\n    unix => { pub const MORE: u32 = 1; }\n}\n/// A memfd.",
        "crates/fmt/src/abi.rs:14: what cfg_select! is given depends on a build option: cfg_select!",
    );
    // A macro elsewhere that makes structs of formats.
    let other = "macro_rules! ser {\n    () => { #[derive(AbiLayout)] pub struct A { #[cfg(unix)] pub a: U64 } };\n}\nmacro_rules! plain {\n    () => { #[cfg(unix)] fn f() {} };\n}\n";
    assert_eq!(
        found(&[("crates/fmt/src/macros.rs", other)], &[]),
        [
            "crates/fmt/src/macros.rs:2: what macro ser! makes depends on a build option: #[cfg(unix)]"
        ]
    );
}

#[test]
fn what_a_generation_lists() {
    edited(
        "&[constant!(BYTES)]",
        "&[#[cfg(unix)] constant!(BYTES)]",
        "crates/fmt/src/abi.rs:27: `constant!(BYTES)` in a list depends on a build option: #[cfg(unix)]",
    );
    edited(
        "&[Generation",
        "&[#[cfg(unix)] Generation::new(1).read_only(), Generation",
        "crates/fmt/src/abi.rs:27: `Generation::new(1).read_only()` in a list depends on a build option: #[cfg(unix)]",
    );
}

/// An experiment is what a generation says: its module, and what stands under the same condition.
#[test]
fn an_experiment_may_be_an_option() {
    let lib = "pub mod abi;\n#[cfg(feature = \"three\")]\npub mod v3;\n";
    let v3 = "use kho_compat::Generation;\npub(crate) const GENERATION: Generation = Generation::new(3).experimental();\n";
    let files = [("crates/fmt/src/lib.rs", lib), ("crates/fmt/src/v3.rs", v3)];
    let list = (
        "&[Generation",
        "&[#[cfg(feature = \"three\")]\ncrate::v3::GENERATION, Generation",
    );
    let more = (
        "/// A memfd.",
        "#[cfg(feature = \"three\")]\npub const MAX_3: u64 = 1;\n/// A memfd.",
    );
    assert_eq!(found(&files, &[list, more]), [""; 0]);
    // In the list itself.
    let inline = (
        "&[Generation",
        "&[#[cfg(feature = \"three\")]\nGeneration::new(3).experimental(), Generation",
    );
    assert_eq!(found(&[], &[inline, more]), [""; 0]);
    // Two lists.
    let lists = (
        "pub const COMPONENT",
        "#[cfg(feature = \"three\")]\nconst ALL: &[Generation] = &[Generation::new(2), crate::v3::GENERATION];\n\
         #[cfg(not(feature = \"three\"))]\nconst ALL: &[Generation] = &[Generation::new(2)];\npub const COMPONENT",
    );
    assert_eq!(found(&files, &[lists]), [""; 0]);
    // A field of another generation is none of the experiment's, and neither is its absence.
    for (from, to, expected) in [
        (
            "    pub count: U64,\n",
            "    pub count: U64,\n    #[cfg(feature = \"three\")]\n    pub ext: U64,\n",
            "field `ext` of struct MemfdSer depends on a build option: #[cfg(feature = \"three\")]",
        ),
        (
            "pub const MAX:",
            "#[cfg(not(feature = \"three\"))]\npub const MAX:",
            "constant MAX depends on a build option: #[cfg(not(feature = \"three\"))]",
        ),
    ] {
        let found = found(&files, &[list, (from, to)]);
        assert!(
            found.len() == 1 && found[0].ends_with(expected),
            "{found:?}"
        );
    }
    // What is no experiment is no option.
    let v3 = v3.replace(".experimental()", "");
    let files = [
        ("crates/fmt/src/lib.rs", lib),
        ("crates/fmt/src/v3.rs", &v3),
    ];
    assert_eq!(
        found(&files, &[list]),
        [
            "crates/fmt/src/abi.rs:27: `crate::v3::GENERATION` in a list depends on a build option: #[cfg(feature = \"three\")]",
            "crates/fmt/src/lib.rs:2: module v3 depends on a build option: #[cfg(feature = \"three\")]",
        ]
    );
}
