//! What the source of a format has to hold to, beyond what the compiler asks.

use std::collections::{BTreeMap, BTreeSet};

use quote::ToTokens;

use super::Check;
use crate::describe::Described;
use crate::finding::{Finding, Place};
use crate::history::{is_experiment, parts};
use crate::rules::{self, Rule};
use crate::snapshot::{Abi, Struct};
use crate::source::{Sources, StructItem};

/// Everything that some snapshot holds.
#[derive(Default)]
struct Guarded {
    structs: Vec<Struct>,
    /// By name; of an experiment, with its number, for its own module alone.
    constants: BTreeSet<(Option<u32>, String)>,
    /// Values that stand in heads: names of subtrees.
    values: BTreeSet<String>,
}

impl Check<'_> {
    pub(super) fn source(&self) {
        let guarded = self.guarded();
        // By crate, the first component of each.
        let mut crates = BTreeMap::new();
        for component in &self.own {
            crates.entry(component.crate_name).or_insert(*component);
        }
        for component in crates.into_values() {
            if let Some(sources) = self.sources(component) {
                let found = judge(&sources, &guarded, component.name);
                self.findings.borrow_mut().extend(found);
            }
        }
    }

    /// Vectors that could not be made.
    pub(super) fn vectors(&self) {
        for (component, failed) in &self.failed {
            let title = format!("vector `{}` of {component} could not be made", failed.name);
            let finding = rules::VECTOR_FAILED.with_mend(component, title);
            self.add(finding.details([failed.cause.to_string()]));
        }
    }

    /// Components without vectors, where others have some.
    pub(super) fn unguarded_code(&self) {
        let has =
            |one: &&Described| Abi::parse(one.text()).is_some_and(|abi| !abi.vectors.is_empty());
        let any = self.described.iter().any(|one| has(&one));
        let whole = self
            .described
            .iter()
            .filter(|one| any && one.variant.is_none());
        // What an interface of a kernel has is compared with the kernel's own.
        let own = whole.filter(|one| one.is_default() && !one.component.interface);
        for one in own.filter(|one| !has(one)) {
            let title = format!("{} has no vectors", one.token());
            let finding = rules::NO_VECTORS.with_mend(one.component.name, title);
            self.add(finding.at(self.place(one)));
        }
    }

    /// The comments beside versions.
    pub(super) fn comments(&self) {
        let mut seen = Vec::new();
        for generation in &self.described {
            let name = generation.component.name;
            let sources = self.sources(generation.component);
            let constant = sources.as_ref();
            let constant = constant
                .and_then(|sources| sources.version_const(name, generation.generation.number));
            let Some(constant) = constant else { continue };
            let Ok(version) = constant.value.parse::<u32>() else {
                continue;
            };
            // A component may be declared twice.
            if seen.contains(&constant.place) {
                continue;
            }
            seen.push(constant.place.clone());
            let named = versions(&constant.docs, name);
            if let (Some(other), false) = (named.first(), named.contains(&version)) {
                let title =
                    format!("the comment says {name}-v{other}, the constant {name}-v{version}");
                let finding = rules::COMMENT_CONTRADICTS.with_mend(name, title);
                self.add(finding.at(constant.place.clone()));
            }
        }
    }

    fn guarded(&self) -> Guarded {
        let mut out = Guarded::default();
        // What a variant says differs stands in the source as its generation has it.
        let whole = self.described.iter().filter(|one| one.variant.is_none());
        let described = whole.map(|one| {
            let number = one.generation.number;
            (one.is_experiment().then_some(number), one.source())
        });
        // An experiment need not be linked.
        let work = self.history.work.iter();
        let snapshots = work.filter(|(series, _)| parts(series).1.is_empty());
        let snapshots = snapshots.flat_map(|(_, versions)| versions);
        let experiments = snapshots.filter(|(_, text)| is_experiment(text));
        let experiments = experiments.map(|(version, text)| (Some(version.number), text.as_str()));
        let texts = described.chain(experiments);
        for (experiment, abi) in texts.filter_map(|(of, text)| Some((of, Abi::parse(text)?))) {
            let values = abi.head.into_iter().map(|(_, value)| value);
            out.values.extend(values);
            let of_structs = abi.structs.iter().flat_map(|s| s.constants.clone());
            let constants = abi.constants.into_iter().chain(of_structs);
            let constants = constants.map(|(name, _)| (experiment, name));
            out.constants.extend(constants);
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
    left.into_iter().map(|(index, _)| index).collect()
}

fn judge(sources: &Sources, guarded: &Guarded, component: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    for (place, error) in &sources.unread {
        let finding = rules::SOURCE_UNREAD.found(component, format!("not read: {error}"));
        out.push(finding.at(place.clone()));
    }
    let mut tell = |rule: Rule, title: String, place: &Place, mend: String| {
        let finding = rule.found(component, title).at(place.clone());
        out.push(finding.mend(mend));
    };
    let unguarded = unguarded(sources, guarded);
    for (index, item) in sources.structs.iter().enumerate() {
        let (name, place) = (&item.name, &item.place);
        if !(item.derives || (item.in_format && (item.repr_c || item.bytes))) {
            continue;
        }
        // One that is described by hand stands in a snapshot all the same.
        let described = guarded.structs.iter().any(|of| of.name == *name);
        if !item.derives && described {
        } else if !item.derives {
            let title = format!("struct {name} does not derive AbiLayout");
            let mend = format!(
                "#[derive(AbiLayout)] and #[repr(C)] on {name}, and {name}::layout in the layouts of its component"
            );
            tell(rules::NO_DERIVE, title, place, mend);
        } else if unguarded.contains(&index) {
            let title = format!("struct {name} stands in no snapshot");
            let mend = format!("add {name}::layout to the layouts of its component");
            tell(rules::STRUCT_UNGUARDED, title, place, mend);
        }
        if !sources.asserts_size(item) {
            let title = format!("the size of struct {name} is asserted nowhere");
            let mend = format!("const _: () = assert!(size_of::<{name}>() == ...); below it");
            tell(rules::NO_SIZE_ASSERT, title, place, mend);
        }
        let mut bad = false;
        for field in &item.fields {
            if let Some(reason) = sources.bad_type(&field.ty) {
                bad = true;
                let (rule, of) = (rules::BAD_FIELD_TYPE, &field.name);
                let ty = field.ty.to_token_stream().to_string().replace("* ", "*");
                let title = format!("field `{of}` of struct {name} is `{ty}`: {reason}");
                let place = Place::new(&*place.file, field.line);
                tell(rule, title, &place, rule.mend.to_owned());
            }
        }
        if bad || item.packed || item.derives {
            continue;
        }
        if let Some(behind) = sources.padding(item) {
            let at = behind.map(|field| format!("before `{field}`"));
            let at = at.unwrap_or_else(|| "at its end".to_owned());
            let (rule, title) = (
                rules::IMPLICIT_PADDING,
                format!("C pads struct {name} {at}"),
            );
            tell(rule, title, place, rule.mend.to_owned());
        }
    }
    let is_guarded = |item: &&StructItem| guarded.structs.iter().any(|of| of.name == item.name);
    let lengths = sources.structs.iter().filter(is_guarded);
    let lengths: String = lengths.map(|item| item.text.as_str()).collect();
    for item in &sources.consts {
        let name = item.name.as_str();
        let mut exempt = ["VERSION", "NAME", "FEATURES", "COMPONENT"].into_iter();
        let exempt = exempt.any(|word| {
            let start = name.strip_suffix(word);
            start.is_some_and(|start| start.is_empty() || start.ends_with('_'))
        });
        let ty = item.ty.trim_end_matches(']');
        let typed = ["Component", "Features", "Generation"];
        let typed = typed.iter().any(|own| ty.ends_with(own));
        let shown = lengths.contains(&format!(";{name}]"))
            || guarded.values.contains(item.value.trim_matches('"'));
        let listed = |by| guarded.constants.contains(&(by, name.to_owned()));
        let listed = listed(None) || item.module().is_some_and(|number| listed(Some(number)));
        if exempt || typed || shown || listed || !item.in_format || !item.public {
            continue;
        }
        let title = format!("constant {name} stands in no snapshot");
        let mend = format!(
            "add constant!({name}) to the constants of its component; or keep it elsewhere, if it is no part of the format"
        );
        tell(rules::CONSTANT_UNGUARDED, title, &item.place, mend);
    }
    out
}
