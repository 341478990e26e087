//! A layout next to the kernel's struct of its name.

use kho_compat::{Field, Layout};

use super::{CType, KernelTypes};

/// Whether a type of ours stands for the kernel's. A union is one of an address and a pointer,
/// which lies in memory as the address.
fn same_type(ours: &Field, theirs: &CType) -> bool {
    let ours = ours.ty.as_str();
    match (theirs.base.as_str(), theirs.count) {
        ("union", None) => ours == "u64",
        _ => CType::from_text(ours) == *theirs,
    }
}

/// The kernel's type as its sources spell it, and what it comes to where that does not say.
fn shown(ty: &CType) -> String {
    if CType::from_text(&ty.text) == *ty {
        return ty.text.clone();
    }
    match ty.count {
        None => format!("{} ({})", ty.text, ty.base),
        Some(count) => format!("{} ({}[{count}])", ty.text, ty.base),
    }
}

/// Every difference between `layout` and the kernel's struct of its C name; `None` where it has no
/// C name.
#[must_use]
pub fn compare(layout: &Layout, kernel: &KernelTypes) -> Option<Vec<String>> {
    let c_name = layout.c_name.as_deref()?;
    let definitions = kernel.structs.get(c_name).map_or(&[][..], Vec::as_slice);
    let Some((theirs, others)) = definitions.split_first() else {
        return Some(vec![format!("struct {c_name}: the kernel has none")]);
    };
    let mut out = Vec::new();
    if !others.is_empty() {
        out.push(format!(
            "struct {c_name}: the kernel has different ones of this name; compared with the first"
        ));
    }
    // A flexible array at the end has no bytes of its own.
    let members = theirs.members.iter().filter(|member| member.size > 0);
    let members: Vec<_> = members.collect();
    let (here, there) = (layout.size, theirs.size);
    if here as u64 != there {
        let sizes = format!("{here} bytes here, {there} in the kernel");
        out.push(format!("struct {c_name}: {sizes}"));
    }
    for (index, ours) in layout.fields.iter().enumerate() {
        let place = format!("struct {c_name}, member {index} `{}`", ours.name);
        let Some(member) = members.get(index) else {
            out.push(format!("{place}: the kernel has no such member"));
            continue;
        };
        if ours.name != member.name {
            out.push(format!("{place}: called `{}` in the kernel", member.name));
        }
        if (ours.offset as u64, ours.size as u64) != (member.offset, member.size) {
            out.push(format!(
                "{place}: {} bytes at offset {} here, {} at {} in the kernel",
                ours.size, ours.offset, member.size, member.offset
            ));
        }
        let bits = ours
            .bits
            .map(|bits| (u64::from(bits.start), u64::from(bits.width)));
        let there = member.bits;
        if bits != there {
            out.push(format!(
                "{place}: bits {bits:?} here, {there:?} in the kernel"
            ));
        }
        if !same_type(ours, &member.ty) {
            let (here, there) = (ours.ty.as_str(), shown(&member.ty));
            out.push(format!("{place}: {here} here, {there} in the kernel"));
        }
    }
    let missing = members.iter().skip(layout.fields.len());
    let missing: Vec<_> = missing.map(|member| member.name.as_str()).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        out.push(format!(
            "struct {c_name}: the kernel's {missing} missing here"
        ));
    }
    Some(out)
}
