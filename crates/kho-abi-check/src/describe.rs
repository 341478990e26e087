//! What a component is now, as snapshots keep it.

use kho_compat::{Component, Constant, Generation, Layout, Role, Variant};

use crate::history::{EXPERIMENT, ROLE, Version, series};
use crate::snapshot::{Abi, Field, Struct};
use crate::vector::{self, FailedVector, Vectors};

/// A component's ABI as text, what a snapshot keeps and a reviewer reads: its head, constants and
/// structs, and the vectors of it that are linked into this program. It is that of the generation that the
/// component writes by default.
///
/// # Errors
///
/// A vector could not be made: a snapshot of that would guard nothing.
pub fn describe(component: &Component) -> Result<String, FailedVector> {
    describe_generation(component, component.written())
}

/// As [`describe`], of one generation of the component.
///
/// # Errors
///
/// A vector could not be made.
pub fn describe_generation(
    component: &Component,
    generation: &Generation,
) -> Result<String, FailedVector> {
    let (abi, failed) = abi(component, generation, None);
    done(&abi, failed)
}

/// As [`describe_generation`], of what differs in a variant of it.
///
/// # Errors
///
/// A vector could not be made.
pub fn describe_variant(
    component: &Component,
    generation: &Generation,
    variant: &Variant,
) -> Result<String, FailedVector> {
    let (whole, _) = abi(component, generation, None);
    let (abi, failed) = differing(&whole, component, generation, variant, None);
    done(&abi, failed)
}

fn done(abi: &Abi, failed: Vec<FailedVector>) -> Result<String, FailedVector> {
    match failed.into_iter().next() {
        Some(failed) => Err(failed),
        None => Ok(abi.render()),
    }
}

/// A generation of a component, or what differs in a variant of it, with its description.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) component: &'static Component,
    pub(crate) generation: &'static Generation,
    pub(crate) variant: Option<&'static Variant>,
    text: String,
    /// With the names that the source has, which the snapshot may have otherwise.
    source: String,
}

/// The line of a head that says that it is no part of a handover.
const INTERFACE: &str = "interface";

/// Lines of a head that are the component's, whatever the generation.
const SHARED: [&str; 4] = ["subtree", "carrier", "string field", "features"];

impl Described {
    pub(crate) const fn version(&self) -> Version {
        Version::new(self.generation.number, self.generation.minor)
    }

    /// The series of its snapshots.
    pub(crate) fn series(&self) -> String {
        series(self.component.name, self.variant)
    }

    /// The token of the generation: `memfd-v2`, or `memfd-v2.1`; of a variant `radix-v1@16k`.
    pub(crate) fn token(&self) -> String {
        self.version().token(&self.series())
    }

    /// Whether it is what the component writes by default.
    pub(crate) fn is_default(&self) -> bool {
        self.generation.role == Role::Written && self.generation.number == self.component.major()
    }

    pub(crate) fn is_experiment(&self) -> bool {
        self.generation.role == Role::Experimental
    }

    /// The description.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The description with the names that the source has.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Takes names that are no part of the format from the snapshot `recorded`.
    pub(crate) fn name_as(&mut self, recorded: &str) {
        let abis = Abi::parse(&self.source).zip(Abi::parse(recorded));
        if let Some((mut now, then)) = abis
            && now.name_as(&then)
        {
            now.render().trim_end().clone_into(&mut self.text);
        }
    }

    /// The description as it compares with the snapshot `recorded`. Of a generation that is not written by
    /// default the component has neither a head of its own nor, unless they are named for it, vectors:
    /// the snapshot's stand for them.
    pub(crate) fn beside(&self, recorded: &str) -> String {
        let (Some(mut now), Some(then)) = (Abi::parse(&self.text), Abi::parse(recorded)) else {
            return self.text.clone();
        };
        if self.is_default() {
            return self.text.clone();
        }
        let shared = |(key, _): &(String, String)| SHARED.contains(&key.as_str());
        now.head.retain(|line| !shared(line));
        for (index, line) in then.head.iter().enumerate() {
            if shared(line) {
                now.head.insert(index.min(now.head.len()), line.clone());
            }
        }
        let mut vectors = std::mem::take(&mut now.vectors);
        for (name, lines) in then.vectors {
            let made = vectors.iter().position(|(made, _)| *made == name);
            let made = made.map(|index| vectors.remove(index));
            now.vectors.push(made.unwrap_or((name, lines)));
        }
        now.vectors.append(&mut vectors);
        now.render().trim_end().to_owned()
    }
}

/// The ABI of a generation of `component`, and which vectors failed: the ABI has the cause in place of their
/// text.
fn abi(
    component: &Component,
    generation: &Generation,
    vectors: Option<&[Vectors]>,
) -> (Abi, Vec<FailedVector>) {
    let number = generation.number;
    let mut head = Vec::new();
    if component.interface {
        head.push((INTERFACE, "between programs".to_owned()));
    } else {
        head.push(("needs", needs(generation)));
    }
    let mut line = |key, value: Option<String>| head.extend(value.map(|value| (key, value)));
    line("subtree", component.subtree.map(str::to_owned));
    line("carrier", component.carrier.map(|one| one.id().to_owned()));
    line(
        "string field",
        component.field.map(|n| format!("{n} bytes")),
    );
    line(
        "features",
        (!component.interface).then(|| component.features.to_string()),
    );
    let is_experiment = generation.role == Role::Experimental;
    line(ROLE, is_experiment.then(|| EXPERIMENT.to_owned()));
    let head = head.into_iter().map(|(key, value)| (key.to_owned(), value));
    let members = generation.members.iter().flat_map(|members| members());
    let constants = generation.constants.iter().map(|constant| constant());
    let constants = constants.chain(members).map(pair);
    let mut abi = Abi {
        token: Version::new(number, generation.minor).token(component.name),
        head: head.collect(),
        constants: constants.collect(),
        structs: generation.all_layouts().into_iter().map(of).collect(),
        vectors: Vec::new(),
    };
    let failed = add_vectors(&mut abi, component, generation, None, vectors);
    (abi, failed)
}

/// As [`abi`], of a variant: what differs from `whole`, the generation's own.
fn differing(
    whole: &Abi,
    component: &Component,
    generation: &Generation,
    variant: &Variant,
    vectors: Option<&[Vectors]>,
) -> (Abi, Vec<FailedVector>) {
    let version = Version::new(generation.number, generation.minor);
    let mut head = vec![(variant.of.to_owned(), variant.label.to_owned())];
    head.extend(whole.head.iter().filter(|(key, _)| key == ROLE).cloned());
    let constants = variant.constants.iter().map(|constant| pair(constant()));
    let mut abi = Abi {
        token: version.token(&series(component.name, Some(variant))),
        head,
        constants: constants.collect(),
        structs: variant.all_layouts().into_iter().map(of).collect(),
        vectors: Vec::new(),
    };
    let failed = add_vectors(&mut abi, component, generation, Some(variant), vectors);
    abi.constants.retain(|one| !whole.constants.contains(one));
    abi.structs.retain(|one| !whole.structs.contains(one));
    abi.vectors.retain(|one| !whole.vectors.contains(one));
    (abi, failed)
}

/// Makes the vectors of a generation, or of a variant of it; returns which failed.
fn add_vectors(
    abi: &mut Abi,
    component: &Component,
    generation: &Generation,
    variant: Option<&Variant>,
    vectors: Option<&[Vectors]>,
) -> Vec<FailedVector> {
    let number = generation.number;
    let is_default = generation.role == Role::Written && number == component.major();
    let mut failed = Vec::new();
    let is_its = |of: &Vectors| {
        of.generation.map_or(is_default, |of| of == number)
            && of.variant == variant.map(|variant| variant.label)
    };
    for vector in vector::of(component.name, vectors, is_its) {
        let text = match vector.make() {
            Ok(text) => text.to_string(),
            Err(error) => {
                let text = error.cause.to_string();
                failed.push(error);
                text
            }
        };
        let lines = text.lines().map(str::to_owned).collect();
        abi.vectors.push((vector.name.to_owned(), lines));
    }
    failed
}

/// Describes each generation of `components` and the variants that differ from it, with their vectors, which
/// are linked if none are given; and what failed, by the component's name.
pub(crate) fn all(
    components: &[&'static Component],
    vectors: Option<&[Vectors]>,
) -> (Vec<Described>, Vec<(&'static str, FailedVector)>) {
    let (mut described, mut failed) = (Vec::new(), Vec::new());
    for component in components {
        for generation in component.generations {
            let mut add = |variant, abi: &Abi, errors: Vec<FailedVector>| {
                let text = abi.render().trim_end().to_owned();
                described.push(Described {
                    component,
                    generation,
                    variant,
                    source: text.clone(),
                    text,
                });
                failed.extend(errors.into_iter().map(|error| (component.name, error)));
            };
            let (whole, errors) = abi(component, generation, vectors);
            add(None, &whole, errors);
            for variant in generation.variants {
                let (abi, errors) = differing(&whole, component, generation, variant, vectors);
                let is_same =
                    abi.constants.is_empty() && abi.structs.is_empty() && abi.vectors.is_empty();
                if !is_same {
                    add(Some(variant), &abi, errors);
                }
            }
        }
    }
    (described, failed)
}

fn needs(generation: &Generation) -> String {
    let needs: Vec<_> = generation.listed().map(|(need, _)| need).collect();
    if needs.is_empty() {
        return "nothing".to_owned();
    }
    needs.join(", ")
}

fn pair(constant: Constant) -> (String, String) {
    (constant.name, constant.value)
}

/// The struct that `layout` describes.
fn of(layout: Layout) -> Struct {
    let field = |field: kho_compat::Field| Field {
        name: field.name,
        ty: field.ty.as_str().to_owned(),
        offset: field.offset as u64,
        size: field.size as u64,
        bits: field.bits.map(|bits| {
            let start = u64::from(bits.start);
            (start, start + u64::from(bits.width))
        }),
    };
    Struct {
        name: layout.name,
        c_name: layout.c_name,
        size: layout.size as u64,
        align: layout.align as u64,
        packed: layout.packed,
        fields: layout.fields.into_iter().map(field).collect(),
        constants: layout.constants.into_iter().map(pair).collect(),
    }
}
