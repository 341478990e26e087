//! What the running kernel shows, for people and for programs.

use std::io::{self, Write};

use kho_survey::members_json;
use serde_json::{Map, Value, json};

use super::{Live, Shown, Side, place};
use crate::error::{Failure, RED};
use crate::human::{BOLD, DIM, Node, YELLOW, area_name, count, line, listed, size};

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
    let Some(blob) = &shown.blob else {
        text.push_str(&format!("  {DIM}{GONE}{DIM:#}"));
        return Node::new(text);
    };
    let said = line(&blob.branch);
    if !said.is_empty() {
        text.push_str("  ");
        text.push_str(&said);
    }
    let mut node = Node::new(text);
    for child in blob.branch.children.iter().cloned() {
        node.push(child.into());
    }
    node
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
    let mut out = match &shown.blob {
        Some(blob) => members_json(blob.facts.clone()),
        None => Map::from_iter([("kind".to_owned(), "gone".into())]),
    };
    out.insert("size".into(), shown.len.into());
    out.into()
}
