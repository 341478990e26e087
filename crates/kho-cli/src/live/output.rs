//! What the running kernel shows, for people and for programs.

use std::io::{self, Write};

use kho_core::{MemblockFdt, Metadata};
use kho_mem::PhysAddr;
use serde_json::{Map, Value, json};
use zerocopy::little_endian::U64;

use super::blob::{Blob, Header};
use super::{Live, Shown, Side, place, some};
use crate::error::{Failure, RED};
use crate::human::{BOLD, DIM, Node, YELLOW, area_name, count, listed, size};

/// What LUO handed over it reads at the first use, and gives the memory back.
const GONE: &str = "taken over: its memory holds something else by now";

pub(super) fn print(out: &mut dyn Write, live: &Live) -> io::Result<()> {
    writeln!(
        out,
        "{BOLD}the running kernel{BOLD:#}  Linux {}{}",
        live.release,
        live.parameters
            .iter()
            .map(|(name, value)| format!(", {name}={value}"))
            .collect::<String>()
    )?;
    let mut top = Node::new("");
    if live.device {
        top.push(Node::new(format!(
            "/dev/liveupdate is there  {DIM}`kho session` uses it{DIM:#}"
        )));
    }
    top.push(incoming(live));
    if live.blind.is_none() {
        top.push(outgoing(&live.outgoing));
    }
    top.write(out, "")?;
    if let Some((path, why, _)) = &live.blind {
        writeln!(out, "{YELLOW}not seen{YELLOW:#}  {}: {why}", path.display())?;
    }
    for (path, why) in &live.unread {
        writeln!(out, "{YELLOW}not read{YELLOW:#}  {}: {why}", path.display())?;
    }
    for (path, damage) in &live.damaged {
        let (place, what) = (place(path, damage), damage.headline());
        writeln!(out, "{RED}damaged{RED:#}   {place}: {what}")?;
    }
    Ok(())
}

fn incoming(live: &Live) -> Node {
    let side = &live.incoming;
    let mut node = Node::new(format!("{BOLD}given to this kernel{BOLD:#}"));
    for given in &live.given {
        let ((fdt, fdt_size), (scratch, scratch_size)) = (given.fdt(), given.scratch());
        let path = given.path.display();
        node.push(Node::new(format!(
            "root FDT at {fdt:#x} ({}), scratch table at {scratch:#x} ({})  {DIM}{path}{DIM:#}",
            size(fdt_size),
            size(scratch_size),
        )));
    }
    match (side.there, live.given.is_empty(), &live.blind) {
        (true, _, _) => of_side(&mut node, side),
        (false, true, None) => node.push(Node::new("nothing: it was not booted by a handover")),
        (false, false, None) => node.push(Node::new(format!(
            "{YELLOW}not taken: the boot parameters name a handover, and debugfs shows none{YELLOW:#}  {DIM}the kernel log says why{DIM:#}"
        ))),
        (false, true, Some(_)) => node.push(Node::new("unknown: the boot parameters name nothing")),
        (false, false, Some(_)) => {}
    }
    node
}

fn outgoing(side: &Side) -> Node {
    let mut node = Node::new(format!("{BOLD}for the next kernel{BOLD:#}"));
    if side.there {
        of_side(&mut node, side);
        if side.root.is_none() && side.cut.is_none() {
            node.push(Node::new(format!(
                "{DIM}debugfs shows no root FDT of it{DIM:#}"
            )));
        }
    } else {
        node.push(Node::new("nothing"));
    }
    node
}

fn of_side(node: &mut Node, side: &Side) {
    if let Some(root) = &side.root {
        let tracker = match root.tracker() {
            Ok(tracker) => format!("tracker at {}", tracker.to),
            Err(_) => "no tracker".to_owned(),
        };
        let compatible = root.compatible();
        let mut child = Node::new(format!(
            "{BOLD}{compatible}{BOLD:#}  {DIM}root FDT, {tracker}{DIM:#}"
        ));
        let mut manifest = kho_compat::Manifest::new();
        root.add_to(&mut manifest);
        listed(&mut child, &manifest);
        node.push(child);
    }
    if let Some(cut) = &side.cut {
        let compatible = cut.compatible.as_deref().unwrap_or("of an unknown version");
        let (shown, total) = (cut.shown, count(cut.total as u64, "byte"));
        node.push(Node::new(format!(
            "{BOLD}{compatible}{BOLD:#}  {DIM}root FDT, of which debugfs shows {shown} of {total}{DIM:#}"
        )));
    }
    if !side.scratch.is_empty() {
        let total = side
            .scratch
            .iter()
            .fold(0, |sum: u64, area| sum.saturating_add(area.len()));
        let mut child = Node::new(format!("scratch  {}", size(total)));
        for (index, area) in side.scratch.iter().enumerate() {
            let name = area_name(index);
            let len = if area.is_empty() {
                "empty".to_owned()
            } else {
                size(area.len())
            };
            child.push(Node::new(format!("{name:<11} {len:<9} {DIM}{area}{DIM:#}")));
        }
        node.push(child);
    }
    let mut child = Node::new("subtrees");
    let names = side.blobs.iter().map(|blob| blob.name.chars().count());
    let width = names.max().unwrap_or(0);
    for shown in &side.blobs {
        child.push(subtree(side, shown, width));
    }
    // The root FDT's order stands; a blob of it that is not shown is said.
    for subtree in &side.subtrees {
        if !side.blobs.iter().any(|shown| shown.name == subtree.name) {
            let (name, addr, bytes) = (&subtree.name, subtree.addr, count(subtree.size, "byte"));
            child.push(Node::new(format!(
                "{name:<width$}  {DIM}{bytes} at {addr}, not shown{DIM:#}"
            )));
        }
    }
    if side.more {
        child.push(Node::new(format!("{DIM}... more, not looked at{DIM:#}")));
    }
    if side.blobs.is_empty() && side.subtrees.is_empty() {
        child.push(Node::new("none"));
    }
    node.push(child);
}

fn subtree(side: &Side, shown: &Shown, width: usize) -> Node {
    let at = side
        .subtrees
        .iter()
        .find(|subtree| subtree.name == shown.name);
    let at = at.map_or_else(String::new, |subtree| format!(" at {}", subtree.addr));
    let bytes = count(shown.len as u64, "byte");
    let mut text = format!("{:<width$}  {DIM}{bytes}{at}{DIM:#}", shown.name);
    let mut regions_of = None;
    let said = match &shown.blob {
        None => format!("{DIM}{GONE}{DIM:#}"),
        Some(Blob::Luo(header)) => luo(header),
        Some(Blob::Metadata(Metadata::V1 {
            previous_release,
            kexec_count,
        })) => format!("Linux {previous_release}, kexec {kexec_count}"),
        Some(Blob::Metadata(Metadata::Other { version })) => {
            format!("{YELLOW}version {version}, not read{YELLOW:#}")
        }
        Some(Blob::Memblock(MemblockFdt {
            compatible,
            regions,
        })) => {
            regions_of = regions.as_ref();
            match regions {
                Some(regions) => format!("{compatible}, {}", count(regions.len() as u64, "region")),
                None => format!("{YELLOW}{compatible}, not read{YELLOW:#}"),
            }
        }
        Some(Blob::Tree { compatible }) => format!("{compatible}  {DIM}device tree{DIM:#}"),
        Some(Blob::Unknown) => String::new(),
    };
    if !said.is_empty() {
        text.push_str("  ");
        text.push_str(&said);
    }
    let mut node = Node::new(text);
    for region in regions_of.into_iter().flatten() {
        let what = match region.place {
            Some((start, len)) => format!("{}  {DIM}at {start}{DIM:#}", size(len)),
            None => format!("{YELLOW}{}, not read{YELLOW:#}", region.compatible),
        };
        node.push(Node::new(format!("{}  {what}", region.name)));
    }
    node
}

fn luo(header: &Header) -> String {
    let compatible = &header.compatible;
    let Some(tail) = &header.tail else {
        return format!("{YELLOW}{compatible}, not read{YELLOW:#}");
    };
    let addr = |pa: U64| some(PhysAddr::new(pa.get()));
    let sessions = match addr(tail.sessions_pa) {
        Some(addr) => format!("sessions at {addr}"),
        None => "sessions are written at the kexec".to_owned(),
    };
    let flbs = match addr(tail.flbs_pa) {
        Some(addr) => format!(", FLBs at {addr}"),
        None => String::new(),
    };
    let number = tail.liveupdate_num;
    format!("{BOLD}{compatible}{BOLD:#}, live update {number}  {DIM}{sessions}{flbs}{DIM:#}")
}

pub(super) fn json(live: &Live, failure: Option<&Failure>) -> Value {
    let mut out = Map::new();
    out.insert("live".into(), true.into());
    out.insert("release".into(), live.release.as_str().into());
    let parameters = live.parameters.iter();
    let parameters: Map<_, _> = parameters
        .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
        .collect();
    out.insert("command_line".into(), parameters.into());
    out.insert("device".into(), live.device.into());
    let given = live.given.iter().map(|given| {
        let ((fdt_addr, fdt_size), (scratch_addr, scratch_size)) = (given.fdt(), given.scratch());
        json!({
            "fdt_addr": fdt_addr,
            "fdt_size": fdt_size,
            "scratch_addr": scratch_addr,
            "scratch_size": scratch_size,
            "path": given.path.display().to_string(),
        })
    });
    out.insert("entries".into(), given.collect::<Vec<_>>().into());
    if live.blind.is_none() {
        out.insert("in".into(), side(&live.incoming));
        out.insert("out".into(), side(&live.outgoing));
    }
    let unread = live.unread.iter().map(|(path, why)| (path, why));
    let blind = live.blind.iter().map(|(path, why, _)| (path, why));
    let unread = blind
        .chain(unread)
        .map(|(path, why)| json!({ "path": path.display().to_string(), "why": why }));
    out.insert("unread".into(), unread.collect::<Vec<_>>().into());
    let damaged = live.damaged.iter().map(|(path, damage)| {
        json!({
            "path": path.display().to_string(),
            "file_offset": damage.at().get().saturating_sub(super::BASE.get()),
            "defect": damage.defect().id(),
            "what": damage.headline(),
            "found": damage.found_text(),
            "expected": damage.expected_text(),
        })
    });
    out.insert("damaged".into(), damaged.collect::<Vec<_>>().into());
    if let Some(failure) = failure {
        out.insert("failure".into(), failure.json());
    }
    out.into()
}

/// `null` where there is no handover in this direction.
fn side(side: &Side) -> Value {
    if !side.there {
        return Value::Null;
    }
    let mut out = Map::new();
    if let Some(root) = &side.root {
        out.insert("compatible".into(), root.compatible().into());
        let mut manifest = kho_compat::Manifest::new();
        root.add_to(&mut manifest);
        out.insert("dialect".into(), manifest.writing().id().into());
        if let Ok(tracker) = root.tracker() {
            out.insert("tracker".into(), tracker.to.get().into());
        }
        let subtrees = side.subtrees.iter();
        let subtrees: Map<_, _> = subtrees
            .map(|s| {
                let place = json!({ "pa": s.addr.get(), "size": s.size });
                (s.name.clone(), place)
            })
            .collect();
        out.insert("subtrees".into(), subtrees.into());
    }
    if let Some(cut) = &side.cut {
        out.insert("compatible".into(), cut.compatible.as_deref().into());
        let cut = json!({ "shown": cut.shown, "size": cut.total });
        out.insert("cut".into(), cut);
    }
    if !side.scratch.is_empty() {
        let areas = side.scratch.iter();
        let areas = areas.map(|area| json!([area.start().get(), area.len()]));
        out.insert("scratch".into(), areas.collect::<Vec<_>>().into());
    }
    let blobs: Map<_, _> = side
        .blobs
        .iter()
        .map(|shown| (shown.name.clone(), blob(shown)))
        .collect();
    out.insert("blobs".into(), blobs.into());
    out.into()
}

fn blob(shown: &Shown) -> Value {
    let mut value = match &shown.blob {
        None => json!({ "kind": "gone" }),
        Some(Blob::Luo(header)) => {
            let addr = |pa: U64| some(PhysAddr::new(pa.get())).map(PhysAddr::get);
            let mut value = json!({ "kind": "luo", "compatible": header.compatible });
            if let (Some(tail), Value::Object(members)) = (&header.tail, &mut value) {
                members.insert("liveupdate_num".into(), tail.liveupdate_num.get().into());
                members.insert("sessions_pa".into(), addr(tail.sessions_pa).into());
                members.insert("flbs_pa".into(), addr(tail.flbs_pa).into());
            }
            value
        }
        Some(Blob::Metadata(metadata)) => {
            let (release, kexecs) = match metadata {
                Metadata::V1 {
                    previous_release,
                    kexec_count,
                } => (Some(previous_release), Some(kexec_count)),
                Metadata::Other { .. } => (None, None),
            };
            json!({
                "kind": "kexec-metadata",
                "version": metadata.version(),
                "previous_release": release,
                "kexec_count": kexecs,
            })
        }
        Some(Blob::Memblock(MemblockFdt {
            compatible,
            regions,
        })) => json!({
            "kind": "memblock",
            "compatible": compatible,
            "regions": regions.as_ref().map(|regions| regions.iter().map(|region| json!({
                "name": region.name,
                "compatible": region.compatible,
                "start": region.place.map(|(start, _)| start.get()),
                "size": region.place.map(|(_, size)| size),
            })).collect::<Vec<_>>()),
        }),
        Some(Blob::Tree { compatible }) => json!({ "kind": "tree", "compatible": compatible }),
        Some(Blob::Unknown) => json!({ "kind": "unknown" }),
    };
    if let Value::Object(members) = &mut value {
        members.insert("size".into(), shown.len.into());
    }
    value
}
