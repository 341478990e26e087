//! Comparing layouts with what pahole printed for a real kernel.

use std::collections::BTreeMap;

use kho_compat::{Field, Layout};
use serde_json::Value;

/// A kernel's types: the content of a facts file.
#[derive(Debug)]
pub struct KernelTypes {
    structs: BTreeMap<String, Struct>,
}

#[derive(Debug)]
struct Struct {
    size: u64,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    ty: String,
    offset: u64,
    size: u64,
    bits: Option<(u64, u64)>,
}

impl KernelTypes {
    /// Parses a facts file: an object of structs by name, each with `size` and `members` of
    /// `name`, `type`, `offset`, `size`, and `bits` and `bit_offset` where it is a bit field.
    ///
    /// # Errors
    ///
    /// The text is not such a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let object = value.as_object().ok_or("not an object of structs")?;
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
        let mut structs = BTreeMap::new();
        for (name, value) in object {
            let size = number(value, "size").ok_or_else(|| format!("{name}: no size"))?;
            let members = value.get("members").and_then(Value::as_array);
            let members = members.ok_or_else(|| format!("{name}: no members"))?;
            let member = |value: &Value| {
                let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
                Some(Member {
                    name: text("name")?,
                    ty: text("type")?,
                    offset: number(value, "offset")?,
                    size: number(value, "size")?,
                    bits: number(value, "bit_offset").zip(number(value, "bits")),
                })
            };
            let members: Option<Vec<_>> = members.iter().map(member).collect();
            let members = members.ok_or_else(|| format!("{name}: a member is incomplete"))?;
            structs.insert(name.clone(), Struct { size, members });
        }
        Ok(Self { structs })
    }
}

/// The C types that a type of ours stands for. pahole shows a union where the kernel has one of
/// an address and a pointer.
fn same_type(ours: &Field, theirs: &str) -> bool {
    let normal = match theirs {
        "u64" | "__u64" | "phys_addr_t" | "long unsigned int" => "u64",
        "u32" | "__u32" | "unsigned int" => "u32",
        "u16" | "short unsigned int" => "u16",
        "union" => return ours.ty.as_str() == "u64",
        other => {
            let (element, rest) = other.split_once('[').unwrap_or((other, ""));
            let element = match element {
                "char" | "__u8" | "u8" => "u8",
                "u64" | "long unsigned int" => "u64",
                other => other,
            };
            let text = if rest.is_empty() {
                element.to_owned()
            } else {
                format!("{element}[{rest}")
            };
            return ours.ty.as_str() == text;
        }
    };
    ours.ty.as_str() == normal
}

/// Every difference between `layout` and the kernel's struct of its C name; `None` where it has no
/// C name.
#[must_use]
pub fn compare(layout: &Layout, kernel: &KernelTypes) -> Option<Vec<String>> {
    let c_name = layout.c_name.as_deref()?;
    let Some(theirs) = kernel.structs.get(c_name) else {
        return Some(vec![format!("struct {c_name}: the kernel has none")]);
    };
    let mut out = Vec::new();
    // A flexible array at the end has no bytes of its own.
    let members: Vec<_> = theirs
        .members
        .iter()
        .filter(|member| member.size > 0)
        .collect();
    if layout.size as u64 != theirs.size {
        out.push(format!(
            "struct {c_name}: {} bytes here, {} in the kernel",
            layout.size, theirs.size
        ));
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
        if bits != member.bits {
            out.push(format!(
                "{place}: bits {bits:?} here, {:?} in the kernel",
                member.bits
            ));
        }
        if !same_type(ours, &member.ty) {
            out.push(format!(
                "{place}: {} here, {} in the kernel",
                ours.ty.as_str(),
                member.ty
            ));
        }
    }
    if members.len() > layout.fields.len() {
        let missing: Vec<_> = members
            .iter()
            .skip(layout.fields.len())
            .map(|member| member.name.as_str())
            .collect();
        out.push(format!(
            "struct {c_name}: the kernel's {} missing here",
            missing.join(", ")
        ));
    }
    Some(out)
}
