//! `kho compat`: the registry of this build.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use kho_compat::{Component, Dialect, Presence, Registry};
use serde_json::{Value, json};

use crate::args::{CompatCommand, DialectArg};
use crate::error::Failure;

pub(crate) fn run(command: &CompatCommand) -> Result<(), Failure> {
    let registry = registry()?;
    let mut out = anstream::stdout().lock();
    match command {
        CompatCommand::String { name, dialect } => {
            let dialect = match dialect {
                DialectArg::Plain => Dialect::Plain,
                DialectArg::Composite => Dialect::Composite,
            };
            let compat = registry.compat(name, dialect).map_err(|_| {
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

/// The linked components, with the crates that carry them referred to by name: the linker drops
/// what nothing refers to.
pub(crate) fn registry() -> Result<&'static Registry, Failure> {
    const LINKED: &[&Component] = &[
        &kho_core::abi::COMPONENT,
        &kho_radix::abi::COMPONENT,
        &kho_vmalloc::abi::COMPONENT,
        &kho_block::abi::COMPONENT,
        &kho_luo::abi::COMPONENT,
        &kho_memfd::abi::COMPONENT,
        &kho_fd::abi::COMPONENT,
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

fn text(registry: &Registry, component: &Component, dialect: Dialect) -> String {
    registry
        .compat(component.name, dialect)
        .map(|compat| compat.to_string())
        .unwrap_or_default()
}

fn component_json(registry: &Registry, component: &Component) -> Value {
    json!({
        "name": component.name,
        "version": component.version.to_string(),
        "plain": text(registry, component, Dialect::Plain),
        "composite": text(registry, component, Dialect::Composite),
        "restores": component.restores,
        "needs": component.needs,
        "presence": presence(component),
        "carrier": component.carrier.map(kho_compat::Carrier::id),
        "subtree": component.subtree,
        "crate": component.crate_name,
        "summary": component.summary,
    })
}

fn table(registry: &Registry) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "COMPONENT",
        "VERSION",
        "RESTORES",
        "NEEDS",
        "PRESENCE",
        "CRATE",
        "WHAT IT IS",
    ]);
    for component in registry.components() {
        let needs = if component.needs.is_empty() {
            "-".to_owned()
        } else {
            component.needs.join(", ")
        };
        table.add_row([
            component.name,
            &component.version.to_string(),
            component.restores,
            &needs,
            presence(component),
            component.crate_name,
            component.summary,
        ]);
    }
    table
}
