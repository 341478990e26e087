//! The generated parts of a document: what each rule means, and all layouts.

use std::fmt::Write as _;

use crate::describe::Described;
use crate::rules::RULES;
use crate::snapshot::Abi;

const END: &str = "<!-- end of what is generated -->";

/// `text` with its generated parts as the components say now.
///
/// A part stands between `<!-- generated: rules -->` or `<!-- generated: layouts -->` and
/// `<!-- end of what is generated -->`.
pub(crate) fn update(text: &str, described: &[Described]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!-- generated: ") {
        let (name, after) = after.split_once(" -->").ok_or("a mark has no end")?;
        let end = after.split_once(END);
        let (_, after) = end.ok_or_else(|| format!("the part `{name}` has no {END}"))?;
        let part = match name {
            "rules" => rules(),
            "layouts" => layouts(described),
            other => return Err(format!("there is no part `{other}`")),
        };
        let _ = write!(out, "{before}<!-- generated: {name} -->\n\n{part}\n{END}");
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn rules() -> String {
    let mut out =
        String::from("| rule | weight | what it finds | why | mend |\n|---|---|---|---|---|\n");
    for rule in RULES {
        let (id, weight, what) = (rule.id, rule.severity.id(), rule.what);
        let (reason, mend) = (rule.reason, rule.mend);
        let _ = writeln!(out, "| `{id}` | {weight} | {what} | {reason} | {mend} |");
    }
    out
}

fn layouts(described: &[Described]) -> String {
    let mut out = String::new();
    for generation in described {
        let component = generation.component;
        let Some(abi) = Abi::parse(generation.text()) else {
            continue;
        };
        let _ = writeln!(out, "### {}\n", abi.token);
        if !component.summary.is_empty() {
            let _ = writeln!(out, "{}.\n", sentence(component.summary));
        }
        let name = component.crate_name;
        let _ = writeln!(out, "| | |\n|---|---|\n| crate | `{name}` |");
        for (key, value) in &abi.head {
            let _ = writeln!(out, "| {key} | {} |", cell(value));
        }
        for (name, value) in &abi.constants {
            let _ = writeln!(out, "| `{name}` | {} |", cell(value));
        }
        for layout in &abi.structs {
            let c_name = layout.c_name.as_ref();
            let c_name = c_name.map_or_else(String::new, |c| format!(", in C `struct {c}`"));
            let packed = if layout.packed { ", packed" } else { "" };
            let _ = writeln!(
                out,
                "\n`{}`{c_name}: {} bytes, alignment {}{packed}\n\n| offset | size | field | type |\n|---:|---:|---|---|",
                layout.name, layout.size, layout.align
            );
            for field in &layout.fields {
                let (offset, size, name) = (field.offset, field.size, &field.name);
                let ty = field.shown_type();
                let _ = writeln!(out, "| {offset} | {size} | `{name}` | `{ty}` |");
            }
            if !layout.constants.is_empty() {
                let list = layout.constants.iter();
                let list: Vec<_> = list.map(|(n, v)| format!("`{n}` = {}", cell(v))).collect();
                let _ = writeln!(out, "\n{}", list.join(", "));
            }
        }
        if !abi.vectors.is_empty() {
            let names: Vec<_> = abi.vectors.iter().map(|(name, _)| name.as_str()).collect();
            let _ = writeln!(out, "\nVectors: {}.", names.join("; "));
        }
        out.push('\n');
    }
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}", first.unwrap_or_default(), chars.as_str())
}
