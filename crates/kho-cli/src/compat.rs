//! `kho compat`: the registry of this build.

use std::io::Write;

use comfy_table::Table;
use kho_compat::{Carrier, Compat, Component, Presence, Registry, Strings};
use serde_json::{Value, json};

use crate::args::CompatCommand;
use crate::error::Failure;
use crate::human::{self, count};
use crate::own;

pub(crate) fn run(command: &CompatCommand) -> Result<(), Failure> {
    let registry = registry()?;
    let mut out = anstream::stdout().lock();
    match command {
        CompatCommand::String { name, dialect } => {
            let compat = registry.compat(name, dialect.0.strings).map_err(|_| {
                let known: Vec<_> = registry
                    .components()
                    .map(|component| component.name)
                    .collect();
                Failure::Usage(format!(
                    "no component `{name}`; this build knows {}",
                    known.join(", ")
                ))
            })?;
            writeln!(out, "{compat}")
        }
        CompatCommand::Policies { json } => return policies(&mut out, registry, *json),
        CompatCommand::Parse { text, field, json } => return parse(&mut out, text, *field, *json),
        CompatCommand::List { json: true } => {
            let list: Vec<_> = registry
                .components()
                .map(|c| component_json(registry, c))
                .collect();
            writeln!(out, "{:#}", Value::from(list))
        }
        CompatCommand::List { json: false } => writeln!(out, "{}", table(registry)),
    }
    .map_err(Failure::Output)
}

fn policies(out: &mut dyn Write, registry: &Registry, json: bool) -> Result<(), Failure> {
    let mut table = human::table([
        "POLICY",
        "DIALECT",
        "BYTES",
        "FINDS A MISMATCH",
        "WHAT IT PROMISES",
    ]);
    let mut all = Vec::new();
    for policy in own::policies() {
        let written = policy.write(registry.side(), None);
        let written = written.map_err(Failure::Registry)?;
        // Subtrees have no version.
        let entries = written
            .entries()
            .iter()
            .filter(|entry| entry.carrier != Carrier::Subtree)
            .map(|entry| match entry.features {
                Some(features) => json!({
                    "carrier": entry.carrier.id(),
                    "name": entry.found,
                    "supported": features.supported,
                    "required": features.required,
                    "active": features.active,
                }),
                None => json!({ "carrier": entry.carrier.id(), "string": entry.found }),
            });
        let entries: Vec<_> = entries.collect();
        all.push(json!({
            "name": policy.name(),
            "dialect": policy.writing().id(),
            "when": policy.when().id(),
            "summary": policy.summary(),
            "writes": entries,
            "bytes": kho_lab::version_bytes(&written),
        }));
        table.add_row([
            policy.name(),
            policy.writing().id(),
            &kho_lab::version_bytes(&written).to_string(),
            policy.when().title(),
            policy.summary(),
        ]);
    }
    let done = if json {
        writeln!(out, "{:#}", Value::from(all))
    } else {
        writeln!(
            out,
            "{table}\n\nBYTES of this build's versions if each component is used once"
        )
    };
    done.map_err(Failure::Output)
}

fn parse(out: &mut dyn Write, text: &str, field: usize, json: bool) -> Result<(), Failure> {
    let parsed = Compat::parse_in(text, field);
    if json {
        let value = match &parsed {
            Ok(compat) => json!({
                "text": text,
                "dialect": compat.strings().alone().id(),
                "bytes": compat.field_len(),
                "tokens": compat.tokens().map(|token| {
                    json!({ "name": token.name(), "version": token.version() })
                }).collect::<Vec<_>>(),
            }),
            Err(error) => json!({ "text": text, "failure": {
                "kind": "grammar", "what": error.kind.to_string(), "at": error.at,
            }}),
        };
        writeln!(out, "{value:#}").map_err(Failure::Output)?;
    }
    let compat = parsed.map_err(|error| {
        let mut lines = vec![
            ("error", "not a compat string".to_owned()),
            ("where", format!("byte {}", error.at)),
            ("found", text.escape_debug().to_string()),
        ];
        // A caret under the byte, where what is printed is what was given.
        if text.is_ascii() && !text.contains(|c: char| c.is_ascii_control() || "\"'\\".contains(c))
        {
            lines.push(("", format!("{}^", " ".repeat(error.at))));
        }
        lines.push(("reason", error.kind.to_string()));
        Failure::Input(lines)
    })?;
    if json {
        return Ok(());
    }
    let mut write = || -> std::io::Result<()> {
        let role = |index| if index == 0 { "base" } else { "needs" };
        for (index, token) in compat.tokens().enumerate() {
            writeln!(
                out,
                "{:<6} {} version {}",
                role(index),
                token.name(),
                token.version()
            )?;
        }
        writeln!(
            out,
            "{} in memory, dialect {}",
            count(compat.field_len() as u64, "byte"),
            compat.strings().alone()
        )
    };
    write().map_err(Failure::Output)
}

/// The linked components, with the crates that carry them referred to by name: the linker drops
/// what nothing refers to.
pub(crate) fn registry() -> Result<&'static Registry, Failure> {
    const LINKED: &[&Component] = &[
        &kho_core::COMPONENT,
        &kho_radix::COMPONENT,
        &kho_vmalloc::COMPONENT,
        &kho_block::COMPONENT,
        &kho_luo::COMPONENT,
        &kho_memfd::COMPONENT,
        &kho_fd::COMPONENT,
    ];
    let registry = Registry::linked().map_err(|error| Failure::Registry(error.clone()))?;
    match LINKED
        .iter()
        .find(|component| registry.get(component.name).is_none())
    {
        Some(lost) => Err(Failure::Registry(kho_compat::RegistryError::Unknown(
            lost.name.to_owned(),
        ))),
        None => Ok(registry),
    }
}

fn presence(component: &Component) -> &'static str {
    match component.presence {
        Presence::Mandatory => "mandatory",
        Presence::Optional => "optional",
    }
}

fn text(registry: &Registry, component: &Component, strings: Strings) -> String {
    registry
        .compat(component.name, strings)
        .map(|compat| compat.to_string())
        .unwrap_or_default()
}

/// The components that its string lists.
fn needs(component: &Component) -> Vec<&'static str> {
    component.written().listed().map(|(need, _)| need).collect()
}

fn component_json(registry: &Registry, component: &Component) -> Value {
    let generations = component.generations.iter().map(|one| {
        json!({
            "version": format!("{}.{}", one.number, one.minor),
            "announced": one.announced(component.name),
            "since": one.since,
            "role": one.role.id(),
        })
    });
    json!({
        "name": component.name,
        "version": component.version().to_string(),
        "plain": text(registry, component, Strings::Plain),
        "composite": text(registry, component, Strings::Transitive),
        "restores": component.restores().to_string(),
        "needs": needs(component),
        "generations": generations.collect::<Vec<_>>(),
        "presence": presence(component),
        "carrier": component.carrier.as_ref().map(Carrier::id),
        "subtree": component.subtree,
        "crate": component.crate_name,
        "summary": component.summary,
    })
}

fn table(registry: &Registry) -> Table {
    let mut table = human::table([
        "COMPONENT",
        "VERSION",
        "RESTORES",
        "NEEDS",
        "PRESENCE",
        "CRATE",
        "WHAT IT IS",
    ]);
    for component in registry.components() {
        let needs = match needs(component) {
            needs if needs.is_empty() => "-".to_owned(),
            needs => needs.join(", "),
        };
        table.add_row([
            component.name,
            &component.version().to_string(),
            &component.restores().to_string(),
            &needs,
            presence(component),
            component.crate_name,
            component.summary,
        ]);
    }
    table
}
