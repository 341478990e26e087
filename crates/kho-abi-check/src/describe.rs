//! What a component is now, as snapshots keep it.

use kho_compat::{Component, Constant, Layout};

use crate::snapshot::{Abi, Field, Struct};
use crate::vector::{self, FailedVector, Vectors};

/// A component's ABI as text, what a snapshot keeps and a reviewer reads: its head, constants and
/// structs, and the vectors of it that are linked into this program.
///
/// # Errors
///
/// A vector could not be made: a snapshot of that would guard nothing.
pub fn describe(component: &Component) -> Result<String, FailedVector> {
    let (abi, failed) = abi(component, None);
    match failed.into_iter().next() {
        Some(failed) => Err(failed),
        None => Ok(abi.render()),
    }
}

/// The ABI of `component`, and which vectors failed: the ABI has the cause in place of their text.
fn abi(component: &Component, vectors: Option<&[Vectors]>) -> (Abi, Vec<FailedVector>) {
    let mut head = vec![("needs", needs(component))];
    let mut line = |key, value: Option<String>| head.extend(value.map(|value| (key, value)));
    line("subtree", component.subtree.map(str::to_owned));
    line("carrier", component.carrier.map(|one| one.id().to_owned()));
    line(
        "string field",
        component.field.map(|n| format!("{n} bytes")),
    );
    line("features", Some(component.features.to_string()));
    let head = head.into_iter().map(|(key, value)| (key.to_owned(), value));
    let generation = component.written();
    let constants = generation.constants.iter().map(|constant| pair(constant()));
    let mut abi = Abi {
        token: format!("{}-v{}", component.name, component.major()),
        head: head.collect(),
        constants: constants.collect(),
        structs: generation.all_layouts().into_iter().map(of).collect(),
        vectors: Vec::new(),
    };
    let mut failed = Vec::new();
    for vector in vector::of(component.name, vectors) {
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
    (abi, failed)
}

/// Describes each of `components` with its vectors, which are linked if none are given; and what failed, by
/// the component's name.
pub(crate) fn all(
    components: &[&'static Component],
    vectors: Option<&[Vectors]>,
) -> (Vec<String>, Vec<(&'static str, FailedVector)>) {
    let (mut texts, mut failed) = (Vec::new(), Vec::new());
    for component in components {
        let (abi, errors) = abi(component, vectors);
        texts.push(abi.render().trim_end().to_owned());
        failed.extend(errors.into_iter().map(|error| (component.name, error)));
    }
    (texts, failed)
}

fn needs(component: &Component) -> String {
    let needs: Vec<_> = component.written().listed().map(|(need, _)| need).collect();
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
