//! The rules: an id that stays, what it means, why it is there, what mends it.

use crate::finding::Severity;

/// A rule of the check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Rule {
    /// The id in reports and in the allow-list.
    pub id: &'static str,
    /// What a finding of it weighs, unless the change was made properly.
    pub severity: Severity,
    /// What it finds, in a line.
    pub what: &'static str,
    /// Why, in a line.
    pub reason: &'static str,
    /// What mends it, in a line.
    pub mend: &'static str,
}

macro_rules! rules {
    ($($name:ident = $id:literal, $severity:ident, $what:literal, $reason:literal, $mend:literal;)*) => {
        $(pub(crate) const $name: Rule = Rule {
            id: $id,
            severity: Severity::$severity,
            what: $what,
            reason: $reason,
            mend: $mend,
        };)*

        /// All rules.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    CHANGED_LAYOUT = "abi-changed-layout", Error,
        "A struct differs from the snapshot of its component's version.",
        "A reader that knows the version reads other fields than were written, and nothing tells it.",
        "Undo the change; or give the component its next version, its crate a breaking release, and run the check with --bless, which writes the new version's snapshot.";
    CHANGED_CONSTANT = "abi-changed-constant", Error,
        "A constant, a name, a limit or a feature mask differs from the snapshot of its component's version.",
        "Both sides compute with it: one that knows another value looks elsewhere, or refuses what is right.",
        "Undo the change; or give the component its next version, its crate a breaking release, and run the check with --bless, which writes the new version's snapshot.";
    CHANGED_BEHAVIOUR = "abi-changed-behaviour", Error,
        "For the same input something else is written, or read, than the snapshot of the version has.",
        "Keys, the order of writing and what stands in a field are part of the format, though no struct shows them.",
        "Undo the change; or give the component its next version, its crate a breaking release, and run the check with --bless, which writes the new version's snapshot.";
    NEEDS_CHANGED = "needs-changed", Error,
        "A component needs others than the snapshot of its version has.",
        "What it needs is part of its format, and of the composite strings of all that need it.",
        "Undo the change; or give the component its next version, its crate a breaking release, and run the check with --bless, which writes the new version's snapshot.";
    VERSION_BUMPED = "version-bumped", Allowed,
        "A component has a new version, and says with it what changed.",
        "This is how a change is made: it is listed so that a reviewer sees what changed and who is affected.",
        "No action needed.";
    COMPONENT_ADDED = "component-added", Allowed,
        "A component is there that the base does not have.",
        "From its first release on its format is kept.",
        "No action needed.";
    GUARD_EXTENDED = "guard-extended", Allowed,
        "A snapshot describes more than it did; nothing that it described before changed.",
        "More of the same version is guarded: a constant that stood in the source before, a vector, a line of the head.",
        "No action needed. Look at whether what is described now is what was written before.";
    NEED_RAISED = "need-raised", Allowed,
        "What a component writes or reads shows a component that it needs, of which there is a new version. Nothing else of it changed.",
        "Its version stays, since that of what it needs says what changed. The vectors that differ are recorded beside its snapshot.",
        "No action needed. Look at whether all that differs is of the component that it needs.";
    MINOR_RAISED = "minor-raised", Allowed,
        "A generation has a new minor version: its snapshot describes more, and all that it described before as before.",
        "A reader of the older minor version ignores what was added; the reviewer sees whether it can.",
        "No action needed.";
    MINOR_NOT_ADDITIVE = "minor-not-additive", Error,
        "A generation has a new minor version, and something that it described before changed.",
        "A minor version is read by readers of the older ones: it may add structs, constants and vectors, and nothing else.",
        "Undo the change of what was there; or give the component its next version instead of a minor one.";
    GENERATION_ADDED = "generation-added", Allowed,
        "A component has a generation more than it had, which it does not write by default: an older one that comes later, a newer one that is read ahead, or an experiment.",
        "What is restored grows; what is written stays.",
        "No action needed. Look at whether the snapshot is what that version was.";
    VARIANT_ADDED = "variant-added", Allowed,
        "A generation says of one variant more what differs there: of another page size.",
        "From then on it is kept as the generation itself is.",
        "No action needed. Look at whether it is what lies in memory there.";
    VARIANT_REMOVED = "variant-removed", Error,
        "A generation no longer says what differs in a variant, of which the base has a snapshot.",
        "What lies in memory there could change without anybody being told.",
        "State the variant again.";
    EXPERIMENT_CHANGED = "experiment-changed", Allowed,
        "An experimental generation is not what the base has of it, or is gone.",
        "No release has an experiment: it changes without a new number, but not unseen.",
        "No action needed.";
    UNRELEASED_NUMBER = "unreleased-number", Error,
        "There is a generation or a snapshot of a number that its component states as never released.",
        "The number is known to stand for nothing that was ever handed over.",
        "Take the number from `Component::unreleased`, or remove the generation or the snapshot.";
    CRATE_NOT_RELEASED = "crate-not-released", Error,
        "A component writes another version by default and its crate makes no breaking release; or it has a generation or a minor version more, and its crate makes no release.",
        "Who depends on the crate gets a format that its peers do not read, by an update that cargo takes for compatible.",
        "Raise the crate's version: for a new default the minor of 0.x, the major from 1.0 on; else the patch of 0.x, the minor from 1.0 on.";
    VERSION_LINE_SHARED = "version-line-shared", Warning,
        "Crates that carry components take their version from one line.",
        "A new version of one component makes a breaking release of all of them.",
        "Give each crate its own `version` in its own manifest.";
    BUMPED_WITHOUT_CHANGE = "bumped-without-change", Warning,
        "A component has a new version although nothing that is guarded changed.",
        "A new version makes older readers refuse what they could read.",
        "Take the version back; or guard what did change, with a constant or a vector.";
    VERSION_WENT_BACK = "version-went-back", Error,
        "A component writes an older version by default than the base does, or has an older minor version.",
        "The number would stand for two formats.",
        "Set the version to the base's or to the one after it.";
    VERSION_SKIPPED = "version-skipped", Error,
        "A component's version is more than one above the base's, and the versions between neither have a snapshot nor are stated as unreleased.",
        "Nobody could see what the versions between are, and a range that contains them means nothing.",
        "Set the version to the one after the base's; keep the snapshots of the versions between; or state numbers that no release wrote with `Component::unreleased`.";
    HISTORY_EDITED = "history-edited", Error,
        "The snapshot of a version that the base or a release has was edited.",
        "The history is append-only: memory was written by that version as it stood.",
        "Restore the file from the base.";
    HISTORY_DELETED = "history-deleted", Error,
        "The snapshot of a version that the base or a release has is gone.",
        "The history is append-only, also that of components that are gone.",
        "Restore the file from the base.";
    SNAPSHOT_MISSING = "snapshot-missing", Error,
        "A generation of a component has no snapshot.",
        "What is not written down can not be compared.",
        "Run the check with --bless.";
    SNAPSHOT_STALE = "snapshot-stale", Error,
        "The snapshot of a version that is not in the base yet is not what the code says.",
        "It would become history as it stands.",
        "Run the check with --bless.";
    SNAPSHOT_ORPHAN = "snapshot-orphan", Error,
        "There is a snapshot of a version that no component has come to.",
        "It would become history, and the version that is really written then would contradict it.",
        "Delete it.";
    COMPOSITES_STALE = "composites-stale", Error,
        "composites.snap is not what the components say.",
        "It is the current state of all strings, and what the next change is compared with.",
        "Run the check with --bless.";
    DOCS_STALE = "docs-stale", Warning,
        "The generated part of the documentation is not what the components say. An error where the documents alone are checked.",
        "Tables of layouts that are not those of the code mislead; but no memory is read or written by them.",
        "Run the check with --bless.";
    COMPONENT_REMOVED = "component-removed", Error,
        "A component of the base is gone, or has another name.",
        "What older releases hand over in its name can not be restored any more.",
        "Keep the component; or allow its removal in the allow-list, with a reason.";
    TOKEN_NOT_UNIQUE = "token-not-unique", Error,
        "Two components have one name, or one subtree.",
        "A string of the handover would mean either.",
        "Rename one of them.";
    STRING_TOO_LONG = "string-too-long", Error,
        "A compat string does not fit the field that holds it.",
        "It would be cut off, or overwrite what follows.",
        "Shorten names or needs; or make the field longer, with a new version.";
    GRAMMAR = "grammar", Error,
        "A name or a string is not in the grammar of compat strings.",
        "No reader could take it apart.",
        "Names are lower-case letters, digits, '-' and '_', and begin with a letter; parts are sorted and stand once each.";
    NEEDS_BROKEN = "needs-broken", Error,
        "A component needs one that is not there, or in the end itself.",
        "Its composite string can not be written.",
        "Link the crate of what is needed (refer to it by name), or correct the needs.";
    RESTORES_BROKEN = "restores-broken", Error,
        "A component has no generation that it writes, or its generations are not in order of their numbers.",
        "What it restores and writes follows from its generations.",
        "List at least one generation that is written, each number once, in rising order.";
    DEPENDENTS = "dependents", Info,
        "A compat string changes as a consequence of another component's change.",
        "Readers of the dialect that has it refuse the new string, though its own component did not change.",
        "No action needed.";
    RESTORES_CHANGED = "restores-changed", Info,
        "A component restores or writes other versions than before, or handovers may do without it.",
        "It changes what is refused, not what lies in memory.",
        "No action needed.";
    VECTOR_FAILED = "vector-failed", Error,
        "A vector of a component could not be made: its code refused, or panicked.",
        "What it writes is not known then, and a snapshot of the failure would guard nothing.",
        "Mend the code, or the vector. --bless writes no snapshot of it.";
    NO_VECTORS = "no-vectors", Warning,
        "A component has no vectors, though others of the project have.",
        "What its code writes and reads is not guarded: its structs and constants alone are.",
        "Register vectors by its name, with kho_abi_check::vectors!.";
    COMMENT_CONTRADICTS = "comment-contradicts", Warning,
        "The comment beside a version names another one than the constant.",
        "What counts is the constant; who reads the comment alone writes, or expects, the other format.",
        "Correct the comment.";
    NO_DERIVE = "no-derive", Error,
        "A struct of a format does not derive AbiLayout.",
        "No snapshot can hold it, and nothing checks its fields.",
        "Add #[derive(AbiLayout)] and #[repr(C)], and list the struct in its component.";
    NO_SIZE_ASSERT = "no-size-assert", Error,
        "A struct of a format has no assert of its size.",
        "The number beside the struct is what a reader of the code compares with the specification.",
        "Write `const _: () = assert!(size_of::<X>() == N);` below the struct.";
    BAD_FIELD_TYPE = "bad-field-type", Error,
        "A field of a format is a pointer, a usize, a bool or an enum.",
        "Such a field has no fixed form in memory, or values that are undefined to read.",
        "Use the little-endian integers of zerocopy, bytes, and arrays of them.";
    IMPLICIT_PADDING = "implicit-padding", Error,
        "C would put padding into a struct of a format.",
        "Its bytes are undefined, and differ from those of a struct without alignment.",
        "Name the padding as a field, or order the fields by size.";
    STRUCT_UNGUARDED = "struct-unguarded", Warning,
        "A struct derives AbiLayout but stands in no snapshot.",
        "It can change without anybody being told.",
        "List it in the layouts of its component.";
    CONSTANT_UNGUARDED = "constant-unguarded", Warning,
        "A public constant of an abi module stands in no snapshot.",
        "It can change without anybody being told.",
        "List it in the constants of its component or struct; or keep it elsewhere, if it is no part of the format.";
    BUILD_OPTION = "build-option", Error,
        "A field, struct, constant or module of a format depends on a build option: `#[cfg]`, `#[cfg_attr]` with a layout, `cfg!`.",
        "Each build has a format of its own under one version, and the check sees that of its own build alone.",
        "Take the condition away, so that every build has the same; or list what differs as a generation with `Generation::experimental`, its module behind the same condition. What differs by page size is a `Variant`.";
    SOURCE_UNREAD = "source-unread", Error,
        "A source file could not be read as Rust.",
        "The rules about source would pass over it in silence.",
        "Make it compile.";
    KERNEL_DIFFERS = "kernel-differs", Error,
        "A struct with a C name differs from the real kernel's, and so did every older version's. (Where the kernel has an older version's struct, that is information.)",
        "The kernel is the other side: its layout is the specification.",
        "Make the struct the kernel's; or drop its C name, if it is this project's own.";
    ALLOW_EXPIRED = "allow-expired", Error,
        "An entry of the allow-list has expired.",
        "An exception is for a while.",
        "Mend what it allows and delete it; or give it a new date, with a reason.";
    ALLOW_UNUSED = "allow-unused", Warning,
        "An entry of the allow-list allows nothing that was found.",
        "It would let the next change of its kind pass.",
        "Delete it.";
}

/// The rule of an id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

impl Rule {
    /// The rule on a page, for `--explain`.
    #[must_use]
    pub fn explain(&self) -> String {
        let weight = match self.severity {
            Severity::Error => "An error: it must not land.",
            Severity::Warning => "A warning: it does not block.",
            Severity::Allowed => "Listed for the reviewer: exit code 3.",
            Severity::Info => "Information for the reviewer: exit code 3.",
        };
        let allow = if self.severity == Severity::Error && self.id != ALLOW_EXPIRED.id {
            format!(
                "\n\nTo let it pass for a while, in abi-allow.toml:\n\n    [[allow]]\n    rule = \"{}\"\n    component = \"...\"\n    reason = \"...\"\n    expires = \"2027-01-31\"",
                self.id
            )
        } else {
            String::new()
        };
        format!(
            "{}\n\n{}\n{weight}\n\nWhy: {}\n\nMend: {}{allow}\n",
            self.id, self.what, self.reason, self.mend
        )
    }
}
