//! The version table and the feature masks in the root FDT, against hand-made bytes: written, read,
//! damaged, and taken back where the page is full.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use std::os::unix::fs::FileExt;

use kho_compat::{Carrier, Component, Features, Generation, Manifest, Registry, Side, Writing};
use kho_core::{
    Attached, Entry, Handover, Kho, KhoConfig, KhoError, Listed, OpenError, OpenOptions, RootFdt,
    Said,
};
use kho_mem::{Arena, ArenaConfig, Damage, Defect, PhysAddr, SliceMem};
use kho_testkit::{Builder, Memory, prop};
use kho_vmalloc as _;

mod damaged;
mod in_use;
mod judged;
mod read;
mod strings;
mod written;

/// A component without a string of its own, which two others need: one directly, one not.
const BIT: &str = "bit";
kho_compat::submit! { Component::new(BIT, &[Generation::new(1)]) }
kho_compat::submit! { Component::new("middle", &[Generation::new(1).needs(&[(BIT, 1)])]) }
kho_compat::submit! {
    Component::new("near", &[Generation::new(1).needs(&[(BIT, 1)])]).carried_in(Carrier::FileHandler).optional()
}
kho_compat::submit! {
    Component::new("far", &[Generation::new(1).needs(&[("middle", 1)])]).carried_in(Carrier::FileHandler)
}
kho_compat::submit! { Component::new("owner", &[Generation::new(3).needs(&[("middle", 1)])]).subtree("mine").optional() }
static BIT_2: Component =
    Component::new(BIT, &[Generation::new(1).read_only(), Generation::new(2)]);

/// An arena whose bytes can be looked at while it is in use: through its file.
fn arena() -> Arena {
    Arena::memfd(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 16 << 20)).unwrap()
}

fn kho(dialect: Writing) -> Kho {
    Kho::new(arena(), &KhoConfig::new().writing(dialect)).unwrap()
}

/// The linked components but for those of `without`, and `more`.
fn registry(without: &[&str], more: &[&'static Component]) -> Registry {
    let linked = Registry::linked().unwrap().components();
    let linked = linked.filter(|component| !without.contains(&component.name));
    Registry::new(linked.chain(more.iter().copied())).unwrap()
}

/// What the root FDT lists, as names and versions or masks.
fn listed(kho: &Kho) -> Vec<Listed> {
    root_of(kho).listed().unwrap()
}

fn root_of(kho: &Kho) -> RootFdt {
    let (page, addr) = (page_of(kho), kho.entry().fdt_addr);
    RootFdt::read(&SliceMem::new(addr, &page), addr).unwrap()
}

/// The root FDT as it stands there.
fn page_of(kho: &Kho) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let at = kho.entry().fdt_addr.get() - 0x1000_0000;
    let file = kho.arena().file().unwrap();
    file.read_exact_at(&mut page, at).unwrap();
    page
}

fn names(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|listed| listed.name.as_str()).collect()
}

/// What `listed` says of a handover that was built, after `damage`.
fn built(damage: impl FnOnce(&mut Builder)) -> (Memory, u64) {
    let mut b = Builder::new();
    damage(&mut b);
    let built = b.finish();
    (built.mem, built.fdt)
}
