//! Facts files: what pahole printed, as JSON.

use serde_json::Value;

use super::{CType, Member, Struct, Structs};

pub(super) fn parse(text: &str) -> Result<Structs, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let object = value.as_object().ok_or("not an object of structs")?;
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
    let mut structs = Structs::new();
    for (name, value) in object {
        let size = number(value, "size").ok_or_else(|| format!("{name}: no size"))?;
        let members = value.get("members").and_then(Value::as_array);
        let members = members.ok_or_else(|| format!("{name}: no members"))?;
        let member = |value: &Value| {
            let text = |key: &str| value.get(key).and_then(Value::as_str);
            Some(Member {
                name: text("name")?.to_owned(),
                ty: CType::from_text(text("type")?),
                offset: number(value, "offset")?,
                size: number(value, "size")?,
                bits: number(value, "bit_offset").zip(number(value, "bits")),
            })
        };
        let members: Option<Vec<_>> = members.iter().map(member).collect();
        let members = members.ok_or_else(|| format!("{name}: a member is incomplete"))?;
        structs.insert(name.clone(), vec![Struct { size, members }]);
    }
    Ok(structs)
}
