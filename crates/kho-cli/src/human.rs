//! A survey as a tree that a person reads.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use kho_compat::{Carrier, Decision, Manifest, Outcome, Verdict, View};
use kho_core::Metadata;
use kho_image::{Image, Kind};
use kho_luo::Session;
use kho_mem::PAGE_SIZE_U64;
use kho_memfd::v2;

pub(crate) use kho_preflight::words::{count, size};

use crate::error::RED;
use kho_survey::{Hashes, MemfdFacts, ScratchSource, Survey};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Sessions, files of a session, and the like that are shown without `--all`.
const SHOWN: usize = 12;

pub(crate) struct Node {
    text: String,
    children: Vec<Node>,
}

impl Node {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            children: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, child: Self) {
        self.children.push(child);
    }

    pub(crate) fn write(&self, out: &mut dyn Write, indent: &str) -> io::Result<()> {
        for (index, child) in self.children.iter().enumerate() {
            let last = index + 1 == self.children.len();
            let (branch, deeper) = if last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            writeln!(out, "{DIM}{indent}{branch}{DIM:#}{}", child.text)?;
            child.write(out, &format!("{indent}{deeper}"))?;
        }
        Ok(())
    }
}

/// Prints all of `survey`; long lists in part, unless `all`.
pub(crate) fn print(
    out: &mut dyn Write,
    survey: &Survey<'_>,
    image: &Image,
    path: &str,
    hashes: Option<&Hashes>,
    all: bool,
) -> io::Result<()> {
    let shown = if all { usize::MAX } else { SHOWN };
    let kind = match image.kind() {
        Kind::Elf => "ELF core",
        Kind::Raw => "raw memory",
    };
    let zstd = if image.is_compressed() { ", zstd" } else { "" };
    writeln!(
        out,
        "{BOLD}{path}{BOLD:#}  {kind}{zstd}, {} of memory",
        size(image.memory())
    )?;
    let mut top = Node::new("");
    if let Some(root) = &survey.root {
        let mut node = Node::new(format!(
            "{BOLD}{}{BOLD:#}  {DIM}root FDT at {}{DIM:#}",
            root.compatible(),
            root.at()
        ));
        listed(&mut node, &survey.manifest);
        core(&mut node, survey, shown);
        luo(&mut node, survey, hashes, shown);
        top.push(node);
    }
    top.write(out, "")?;
    match &survey.verdict {
        Some(Ok(admitted)) => verdict(out, admitted.verdict(), shown),
        Some(Err(refused)) => verdict(out, refused.verdict(), shown),
        None => writeln!(
            out,
            "verdict: {RED}none{RED:#}, since the handover is damaged"
        ),
    }
}

/// A table without lines, as wide as there is room.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    // A serial console says that it has no columns at all.
    if table.width() == Some(0) {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

/// The table or the masks of the root FDT.
pub(crate) fn listed(node: &mut Node, manifest: &Manifest) {
    for (carrier, title) in [
        (Carrier::Table, "versions listed"),
        (Carrier::Features, "features listed"),
    ] {
        let entries = manifest.of(carrier).map(|entry| match entry.features {
            Some(features) => format!(
                "{} {:#x}/{:#x}/{:#x}",
                entry.found, features.supported, features.required, features.active
            ),
            None => {
                let optional = if entry.optional { " (optional)" } else { "" };
                match entry.minor {
                    0 => format!("{}{optional}", entry.found),
                    minor => format!("{}.{minor}{optional}", entry.found),
                }
            }
        });
        let entries: Vec<_> = entries.collect();
        if !entries.is_empty() {
            let legend = match carrier {
                Carrier::Features => format!("  {DIM}supported/required/active{DIM:#}"),
                _ => String::new(),
            };
            node.push(Node::new(format!(
                "{title}: {}{legend}",
                entries.join(", ")
            )));
        }
    }
}

fn core(node: &mut Node, survey: &Survey<'_>, shown: usize) {
    if let Some(metadata) = &survey.metadata {
        node.push(Node::new(match metadata {
            Metadata::V1 {
                previous_release,
                kexec_count,
            } => {
                format!("from Linux {previous_release}, kexec {kexec_count}")
            }
            Metadata::Other { version } => {
                format!("{YELLOW}kexec metadata of version {version}, lost{YELLOW:#}")
            }
        }));
    }
    if let Some(preserved) = &survey.preserved {
        let mut child = Node::new(format!(
            "preserved  {} in {}, tracked by {}",
            pages(preserved.pages()),
            count(preserved.keys() as u64, "range"),
            count(preserved.nodes().len() as u64, "node"),
        ));
        for (order, n) in preserved.by_order() {
            let each = order
                .bytes()
                .map_or_else(String::new, |bytes| format!(" of {}", size(bytes)));
            let order = order.to_string();
            child.push(Node::new(format!(
                "order {order:<2}  {}{each}",
                count(n, "range")
            )));
        }
        if let Some((_, unclaimed)) = survey.unclaimed.filter(|(_, pages)| *pages > 0) {
            child.push(Node::new(format!(
                "{DIM}{} of no structure known here{DIM:#}",
                pages(unclaimed)
            )));
        }
        node.push(child);
    }
    match &survey.scratch {
        Some(scratch) => {
            let total = scratch.areas().iter().fold(0u64, |sum, area| sum.saturating_add(area.len()));
            let source = match survey.scratch_source {
                Some(ScratchSource::Elimination) => ", found by elimination",
                Some(ScratchSource::SetupData) => ", named by a setup_data node",
                _ => "",
            };
            let at = scratch.at();
            let mut child =
                Node::new(format!("scratch  {}  {DIM}table at {at}{source}{DIM:#}", size(total)));
            for (index, area) in scratch.areas().iter().enumerate() {
                let name = area_name(index);
                let len = if area.is_empty() { "empty".to_owned() } else { size(area.len()) };
                child.push(Node::new(format!("{name:<11} {len:<9} {DIM}{area}{DIM:#}")));
            }
            node.push(child);
        }
        None if survey.handover.is_some() => node.push(Node::new(format!(
            "{YELLOW}scratch  unknown: nothing points to the table; --scratch ADDR:LEN names it{YELLOW:#}"
        ))),
        None => {}
    }
    if let Some(handover) = &survey.handover {
        let mut child = Node::new("subtrees");
        let width = handover
            .subtrees()
            .iter()
            .map(|s| s.name.len())
            .max()
            .unwrap_or(0);
        for subtree in handover.subtrees().iter().take(shown) {
            let known = if survey.is_left_alone(&subtree.name) {
                ", left alone"
            } else {
                ""
            };
            let (name, addr) = (&subtree.name, subtree.addr);
            let bytes = count(subtree.size, "byte");
            child.push(Node::new(format!(
                "{name:<width$}  {DIM}{bytes} at {addr}{known}{DIM:#}"
            )));
        }
        more(&mut child, handover.subtrees().len(), shown, "subtree");
        node.push(child);
    }
    if let Some(memblock) = &survey.memblock {
        let mut child = Node::new(format!(
            "reserve_mem regions  {DIM}{}{DIM:#}",
            memblock.compatible()
        ));
        for region in memblock.regions().iter().take(shown) {
            child.push(Node::new(match region.range {
                Some(range) => {
                    let lost = match range.len() - region.preserved {
                        0 => String::new(),
                        lost => format!(
                            "  {YELLOW}its last {} not preserved{YELLOW:#}",
                            count(lost, "byte")
                        ),
                    };
                    format!(
                        "{}  {}  {DIM}{range}{DIM:#}{lost}",
                        region.name,
                        size(range.len())
                    )
                }
                None => format!(
                    "{YELLOW}{}  {}, lost{YELLOW:#}",
                    region.name, region.compatible
                ),
            }));
        }
        more(&mut child, memblock.regions().len(), shown, "region");
        node.push(child);
    }
}

/// What a scratch area is for.
pub(crate) fn area_name(index: usize) -> String {
    match index {
        0 => "low memory".to_owned(),
        1 => "global".to_owned(),
        n => format!("node {}", n - 2),
    }
}

fn luo(node: &mut Node, survey: &Survey<'_>, hashes: Option<&Hashes>, shown: usize) {
    let Some(luo) = &survey.luo else { return };
    let Some(body) = luo.body() else {
        node.push(Node::new(format!(
            "{RED}{}{RED:#}  {DIM}not read{DIM:#}",
            luo.compatible()
        )));
        return;
    };
    let mut child = Node::new(format!(
        "{BOLD}{}{BOLD:#}  live update {}: {}, {}, {}",
        luo.compatible(),
        body.liveupdate_num(),
        count(body.sessions().len() as u64, "session"),
        count(body.files(), "file"),
        size(survey.bytes()),
    ));
    for (index, session) in body.sessions().iter().take(shown).enumerate() {
        let facts = survey
            .memfds
            .get(index)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let hashes = hashes
            .and_then(|hashes| hashes.get(index))
            .map(Vec::as_slice);
        child.push(session_node(body, session, facts, hashes, shown));
    }
    more(&mut child, body.sessions().len(), shown, "session");
    if !body.flbs().is_empty() {
        let mut flbs = Node::new("file-lifecycle-bound objects");
        for flb in body.flbs().iter().take(shown) {
            flbs.push(Node::new(format!(
                "{}  {DIM}{}, data {:#x}{DIM:#}",
                flb.name,
                count(flb.count, "file"),
                flb.data
            )));
        }
        more(&mut flbs, body.flbs().len(), shown, "object");
        child.push(flbs);
    }
    node.push(child);
}

fn session_node(
    body: &kho_luo::Body,
    session: &Session,
    facts: &[Option<MemfdFacts>],
    hashes: Option<&[Option<String>]>,
    shown: usize,
) -> Node {
    let bytes = facts
        .iter()
        .flatten()
        .fold(0u64, |sum, facts| sum.saturating_add(facts.size));
    let files = session.files().len() as u64;
    let mut node = Node::new(format!(
        "session {BOLD}{}{BOLD:#}  {}{}",
        session.name(),
        count(files, "file"),
        if files > 0 {
            format!(", {}", size(bytes))
        } else {
            String::new()
        }
    ));
    let width = |text: &dyn Fn(usize) -> String| {
        (0..session.files().len().min(shown))
            .map(|index| text(index).len())
            .max()
            .unwrap_or(0)
    };
    let fact = |index: usize, get: fn(&MemfdFacts) -> u64| {
        facts
            .get(index)
            .and_then(Option::as_ref)
            .map(|facts| get(facts).to_string())
            .unwrap_or_default()
    };
    let token_width = width(&|i| {
        session
            .files()
            .get(i)
            .map_or_else(String::new, |f| format!("{:#x}", f.token))
    });
    let size_width = width(&|i| fact(i, |facts| facts.size));
    let pos_width = width(&|i| fact(i, |facts| facts.pos));
    for (index, file) in session.files().iter().take(shown).enumerate() {
        let token = format!("{:#x}", file.token);
        let compatible = body.compatible_of(file);
        let mut text = format!("{token:<token_width$}  {compatible}");
        match facts.get(index) {
            Some(Some(facts)) => {
                text.push_str(&format!(
                    "  {:>size_width$} bytes  pos {:>pos_width$}  {}",
                    facts.size,
                    facts.pos,
                    folios(facts)
                ));
                if facts.seals != 0 {
                    text.push_str(&format!("  sealed {}", seals(facts.seals)));
                }
            }
            Some(None) => text.push_str(&format!("  {YELLOW}contents not read{YELLOW:#}")),
            None => {}
        }
        let mut file = Node::new(text);
        if let Some(Some(hash)) = hashes.and_then(|hashes| hashes.get(index)) {
            file.push(Node::new(format!("{DIM}sha256 {hash}{DIM:#}")));
        }
        node.push(file);
    }
    more(&mut node, session.files().len(), shown, "file");
    node
}

fn more(node: &mut Node, all: usize, shown: usize, what: &str) {
    if let Some(rest) = all.checked_sub(shown).filter(|rest| *rest > 0) {
        let rest = count(rest as u64, what);
        node.push(Node::new(format!(
            "{DIM}... {rest} more, shown with --all{DIM:#}"
        )));
    }
}

fn folios(facts: &MemfdFacts) -> String {
    let mut orders: Vec<u8> = facts
        .orders
        .iter()
        .filter_map(|(o, _)| o.map(|o| o.get()))
        .collect();
    orders.sort_unstable();
    orders.dedup();
    let orders = match orders.as_slice() {
        [] | [0] => String::new(),
        [order] => format!(" of order {order}"),
        [first, .., last] => format!(" of orders {first} to {last}"),
    };
    format!("{}{orders}", count(facts.nr_folios, "folio"))
}

pub(crate) fn seals(seals: u32) -> String {
    const NAMES: &[(u32, &str)] = &[
        (v2::SEAL_SEAL, "seal"),
        (v2::SEAL_SHRINK, "shrink"),
        (v2::SEAL_GROW, "grow"),
        (v2::SEAL_WRITE, "write"),
        (v2::SEAL_FUTURE_WRITE, "future-write"),
        (v2::SEAL_EXEC, "exec"),
    ];
    let names: Vec<_> = NAMES
        .iter()
        .filter(|(bit, _)| seals & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    names.join(", ")
}

fn verdict(out: &mut dyn Write, verdict: &Verdict, shown: usize) -> io::Result<()> {
    let style = decision_style(verdict.decision);
    let decision = verdict.decision.id();
    writeln!(
        out,
        "verdict: {style}{decision}{style:#}  {DIM}policy `{}`{DIM:#}",
        verdict.policy
    )?;
    let notable = verdict
        .findings
        .iter()
        .filter(|finding| finding.outcome != Outcome::Restorable);
    let all = notable.clone().count();
    for finding in notable.take(shown) {
        let (style, word) = outcome(finding.outcome);
        let entry = &finding.entry;
        let title = entry.carrier.title();
        write!(out, "  {style}{word}{style:#}  {title} `{entry}`")?;
        if let Some(reason) = &finding.reason {
            write!(out, ": {}", reason.view(View::Here))?;
        }
        writeln!(out)?;
        if matches!(finding.outcome, Outcome::Rejected | Outcome::Lost) {
            writeln!(out, "            expected {}", finding.expected)?;
            writeln!(out, "            {}", finding.consequence())?;
        }
    }
    if all > shown {
        writeln!(
            out,
            "  {DIM}... {} more, shown with --all{DIM:#}",
            all - shown
        )?;
    }
    Ok(())
}

/// The colour of a decision.
pub(crate) const fn decision_style(decision: Decision) -> Style {
    match decision {
        Decision::Accept => GREEN,
        Decision::Degrade => YELLOW,
        Decision::Reject => RED,
    }
}

/// The colour of an outcome, and the words for it.
pub(crate) const fn outcome(outcome: Outcome) -> (Style, &'static str) {
    match outcome {
        Outcome::Restorable => (GREEN, "restorable"),
        Outcome::LeftAlone => (DIM, "left alone"),
        Outcome::Lost => (YELLOW, "lost"),
        Outcome::Rejected => (RED, "rejected"),
    }
}

fn pages(n: u64) -> String {
    match n.checked_mul(PAGE_SIZE_U64) {
        Some(bytes) => format!("{} ({})", count(n, "page"), size(bytes)),
        None => count(n, "page"),
    }
}
