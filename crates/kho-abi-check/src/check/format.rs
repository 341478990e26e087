//! What the source of a format has to hold to, beyond what the compiler asks.

use std::collections::BTreeSet;

use quote::ToTokens;

use super::Check;
use crate::finding::{Finding, Place};
use crate::history::{is_experiment, parts};
use crate::rules;
use crate::snapshot::{Abi, Struct};
use crate::source::{Sources, StructItem};

/// Everything that some snapshot holds.
struct Guarded {
    structs: Vec<Struct>,
    /// By name; of an experiment, with its number, for its own module alone.
    constants: BTreeSet<(Option<u32>, String)>,
    /// Values that stand in heads: names of subtrees.
    values: BTreeSet<String>,
}

impl Check<'_> {
    pub(super) fn source(&mut self) {
        let guarded = self.guarded();
        let mut crates: Vec<_> = self
            .own
            .iter()
            .map(|component| component.crate_name)
            .collect();
        crates.sort_unstable();
        crates.dedup();
        for name in crates {
            let Some(dir) = self.packages.get(name).map(super::Package::source) else {
                continue;
            };
            let component = self
                .own
                .iter()
                .find(|component| component.crate_name == name);
            let component = component.map_or("", |component| component.name);
            let sources = self.library.get(&dir);
            let findings = judge(sources, &guarded, component);
            self.findings.extend(findings);
        }
    }

    /// Vectors that could not be made.
    pub(super) fn vectors(&mut self) {
        let found = self.failed.iter().map(|(component, failed)| {
            let title = format!("vector `{}` of {component} could not be made", failed.name);
            Finding::new(&rules::VECTOR_FAILED, component, title)
                .details([failed.cause.to_string()])
                .mend(rules::VECTOR_FAILED.mend)
        });
        self.findings.extend(found);
    }

    /// The comments beside versions.
    pub(super) fn comments(&mut self) {
        let mut seen = Vec::new();
        for generation in self.described.clone() {
            let component = generation.component;
            let Some(dir) = self.source_dir(component) else {
                continue;
            };
            let name = component.name;
            let sources = self.library.get(&dir);
            let Some(constant) = sources.version_const(name, generation.generation.number) else {
                continue;
            };
            let Ok(version) = constant.value.parse::<u32>() else {
                continue;
            };
            let place = Some(constant.place.clone());
            // A component may be declared twice.
            if seen.contains(&place) {
                continue;
            }
            seen.push(place.clone());
            let named = versions(&constant.docs, name);
            let (Some(other), false) = (named.first(), named.contains(&version)) else {
                continue;
            };
            let title = format!("the comment says {name}-v{other}, the constant {name}-v{version}");
            let finding = Finding::new(&rules::COMMENT_CONTRADICTS, name, title)
                .at(place)
                .mend(rules::COMMENT_CONTRADICTS.mend);
            self.add(finding);
        }
    }

    fn guarded(&self) -> Guarded {
        let mut out = Guarded {
            structs: Vec::new(),
            constants: BTreeSet::new(),
            values: BTreeSet::new(),
        };
        // What a variant says differs stands in the source as its generation has it.
        let whole = self.described.iter().filter(|one| one.variant.is_none());
        let described = whole.map(|one| {
            let number = one.generation.number;
            (one.is_experiment().then_some(number), one.text())
        });
        // An experiment need not be linked.
        let work = self.history.work.iter();
        let snapshots = work.filter(|(series, _)| parts(series).1.is_empty());
        let snapshots = snapshots.flat_map(|(_, versions)| versions);
        let experiments = snapshots.filter(|(_, text)| is_experiment(text));
        let experiments = experiments.map(|(version, text)| (Some(version.number), text.as_str()));
        let texts = described.chain(experiments);
        for (experiment, abi) in texts.filter_map(|(of, text)| Some((of, Abi::parse(text)?))) {
            out.values
                .extend(abi.head.into_iter().map(|(_, value)| value));
            let constants = abi.constants.into_iter();
            let of_structs = abi.structs.iter().flat_map(|s| s.constants.clone());
            out.constants.extend(
                constants
                    .chain(of_structs)
                    .map(|(name, _)| (experiment, name)),
            );
            for described in abi.structs {
                if !out.structs.contains(&described) {
                    out.structs.push(described);
                }
            }
        }
        out
    }
}

/// The versions of the component `name` that `text` names, in order.
fn versions(text: &str, name: &str) -> Vec<u32> {
    let start = format!("{name}-v");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut out = Vec::new();
    for (at, _) in text.match_indices(&start) {
        let before = text.get(..at).unwrap_or_default();
        // `reserve-mem-v1` names no `mem-v1`.
        if before.ends_with(is_name) {
            continue;
        }
        let rest = text.get(at + start.len()..).unwrap_or_default();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        out.extend(digits.parse::<u32>());
    }
    out
}

/// The indices of the structs that no snapshot has. Of several structs of one name, each snapshot's stands for
/// the one that has its fields.
fn unguarded(sources: &Sources, guarded: &Guarded) -> Vec<usize> {
    let mut out = Vec::new();
    let mut free: Vec<&Struct> = guarded.structs.iter().collect();
    let derive = |(_, item): &(usize, &StructItem)| item.derives;
    let mut left: Vec<_> = sources.structs.iter().enumerate().filter(derive).collect();
    let has_fields = |item: &StructItem, described: &Struct| {
        let fields: Vec<_> = described.fields.iter().map(|f| f.name.as_str()).collect();
        item.has(&fields)
    };
    // By their fields first; then what differs from its snapshot, which other rules tell.
    for by_fields in [true, false] {
        left.retain(|(_, item)| {
            let is_its = |described: &&Struct| {
                described.name == item.name && (!by_fields || has_fields(item, described))
            };
            let found = free.iter().position(is_its);
            if let Some(at) = found {
                free.remove(at);
            }
            found.is_none()
        });
    }
    out.extend(left.into_iter().map(|(index, _)| index));
    out
}

fn judge(sources: &Sources, guarded: &Guarded, component: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    for (place, error) in &sources.unread {
        out.push(
            Finding::new(
                &rules::SOURCE_UNREAD,
                component,
                format!("not read: {error}"),
            )
            .at(Some(place.clone())),
        );
    }
    let unguarded = unguarded(sources, guarded);
    for (index, item) in sources.structs.iter().enumerate() {
        let name = &item.name;
        let format = item.derives || (item.in_format && (item.repr_c || item.bytes));
        if !format {
            continue;
        }
        let at = Some(item.place.clone());
        if !item.derives {
            let title = format!("struct {name} does not derive AbiLayout");
            let mend = format!(
                "#[derive(AbiLayout)] and #[repr(C)] on {name}, and {name}::layout in the layouts of its component"
            );
            out.push(
                Finding::new(&rules::NO_DERIVE, component, title)
                    .at(at.clone())
                    .mend(mend),
            );
        } else if unguarded.contains(&index) {
            let title = format!("struct {name} stands in no snapshot");
            let mend = format!("add {name}::layout to the layouts of its component");
            out.push(
                Finding::new(&rules::STRUCT_UNGUARDED, component, title)
                    .at(at.clone())
                    .mend(mend),
            );
        }
        if !sources.asserts_size(item) {
            let title = format!("the size of struct {name} is asserted nowhere");
            let mend = format!("const _: () = assert!(size_of::<{name}>() == ...); below it");
            out.push(
                Finding::new(&rules::NO_SIZE_ASSERT, component, title)
                    .at(at.clone())
                    .mend(mend),
            );
        }
        let mut bad = false;
        for field in &item.fields {
            if let Some(reason) = sources.bad_type(&field.ty) {
                bad = true;
                let ty = field.ty.to_token_stream().to_string();
                let ty = ty.replace("* ", "*");
                let title = format!(
                    "field `{}` of struct {name} is `{ty}`: {reason}",
                    field.name
                );
                let place = Place::new(item.place.file.clone(), field.line);
                out.push(
                    Finding::new(&rules::BAD_FIELD_TYPE, component, title)
                        .at(Some(place))
                        .mend(rules::BAD_FIELD_TYPE.mend),
                );
            }
        }
        if bad || item.packed || item.derives {
            continue;
        }
        if let Some(behind) = sources.padding(item) {
            let where_ = behind.map_or_else(
                || "at its end".to_owned(),
                |field| format!("before `{field}`"),
            );
            let title = format!("C pads struct {name} {where_}");
            out.push(
                Finding::new(&rules::IMPLICIT_PADDING, component, title)
                    .at(at)
                    .mend(rules::IMPLICIT_PADDING.mend),
            );
        }
    }
    let lengths: String = sources
        .structs
        .iter()
        .filter(|item| guarded.structs.iter().any(|other| other.name == item.name))
        .map(|item| item.text.as_str())
        .collect();
    for item in &sources.consts {
        let name = item.name.as_str();
        let exempt = ["VERSION", "NAME", "FEATURES", "COMPONENT"];
        let exempt = exempt
            .iter()
            .any(|word| name == *word || name.ends_with(&format!("_{word}")));
        let typed = ["Component", "Features", "Generation"]
            .iter()
            .any(|ty| item.ty.trim_end_matches(']').ends_with(ty));
        let shown = lengths.contains(&format!(";{name}]"))
            || guarded.values.contains(item.value.trim_matches('"'));
        let listed = |by| guarded.constants.contains(&(by, name.to_owned()));
        let listed = listed(None) || item.module().is_some_and(|number| listed(Some(number)));
        let known = exempt || typed || shown || listed;
        if known || !item.in_format || !item.public {
            continue;
        }
        let title = format!("constant {name} stands in no snapshot");
        let mend = format!(
            "add constant!({name}) to the constants of its component; or keep it elsewhere, if it is no part of the format"
        );
        out.push(
            Finding::new(&rules::CONSTANT_UNGUARDED, component, title)
                .at(Some(item.place.clone()))
                .mend(mend),
        );
    }
    out
}
