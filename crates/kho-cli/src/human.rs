//! A survey as a tree that a person reads.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use kho_compat::{Branch, Carrier, Decision, Manifest, Outcome, Tone, Verdict, View};
pub(crate) use kho_compat::{count, size};
use kho_core::Position;
use kho_image::Image;
use kho_mem::PageSize;

use crate::error::{Failure, NOT_STORED, RED};
use crate::lacking;
use kho_survey::{ScratchSource, Survey};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default().bold();
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

impl From<Branch> for Node {
    fn from(branch: Branch) -> Self {
        let mut node = Self::new(line(&branch));
        node.children = branch.children.into_iter().map(Self::from).collect();
        node
    }
}

/// The line of `branch` in colours.
pub(crate) fn line(branch: &Branch) -> String {
    if let Some((rest, what)) = branch.left_out {
        let rest = count(rest, what);
        return format!("{DIM}... {rest} more, shown with --all{DIM:#}");
    }
    let toned = |(tone, text): &(Tone, String)| {
        let style = match tone {
            Tone::Plain => return text.clone(),
            Tone::Strong => BOLD,
            Tone::Dim => DIM,
            Tone::Warning => YELLOW,
            Tone::Bad => RED,
        };
        format!("{style}{text}{style:#}")
    };
    branch.line.iter().map(toned).collect()
}

/// What a dump's writer left out, by the bits of its dump level.
const LEVELS: &[(u32, &str)] = &[
    (1, "zero pages"),
    (6, "page cache (memfds with it)"),
    (8, "user data"),
    (16, "free pages"),
];

/// Prints what the dump says of its kernel and of itself.
fn of_kernel(out: &mut dyn Write, image: &Image) -> io::Result<()> {
    let info = image.vmcoreinfo();
    let facts = [
        info.and_then(|info| Some(format!("Linux {}", info.release()?))),
        info.and_then(|info| Some(format!("pages of {}", size(info.page_size()?)))),
        info.and_then(|info| Some(format!("KASLR offset {:#x}", info.kernel_offset()?))),
        info.and_then(|info| Some(format!("phys_base {:#x}", info.phys_base()?))),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    if !facts.is_empty() {
        writeln!(out, "  {DIM}vmcoreinfo{DIM:#}  {}", facts.join(", "))?;
    }
    if let Some(level) = image.dump_level().filter(|level| *level != 0) {
        let parts = LEVELS.iter().filter(|(bits, _)| level & bits != 0);
        let parts: Vec<_> = parts.map(|(_, what)| *what).collect();
        writeln!(
            out,
            "  {DIM}filtered{DIM:#}    dump level {level}: without {}",
            parts.join(", ")
        )?;
    }
    // A page that the search passed over: what it holds is not known.
    let fault = image.take_fault().map(|fault| fault.to_string());
    let mut notes = image.notes().iter().chain(&fault);
    notes.try_for_each(|note| writeln!(out, "  {DIM}note{DIM:#}        {note}"))
}

/// Prints all of `survey`; long lists in part, unless `all`.
pub(crate) fn print(
    out: &mut dyn Write,
    survey: &Survey<'_>,
    image: &Image,
    path: &str,
    failure: Option<&Failure>,
    all: bool,
) -> io::Result<()> {
    let why = match failure.map(Failure::code) {
        Some(NOT_STORED) => "the dump does not store all of the handover",
        _ => "the handover is damaged",
    };
    let shown = if all { usize::MAX } else { SHOWN };
    writeln!(
        out,
        "{BOLD}{path}{BOLD:#}  {}, {} of memory",
        image.form(),
        size(image.memory())
    )?;
    of_kernel(out, image)?;
    if let Some(note) = lacking::note(image) {
        writeln!(out, "  {DIM}note{DIM:#}        {YELLOW}{note}{YELLOW:#}")?;
    }
    let mut top = Node::new("");
    if let Some(root) = &survey.root {
        let mut node = Node::new(format!(
            "{BOLD}{}{BOLD:#}  {DIM}root FDT at {}{DIM:#}",
            root.compatible(),
            root.at()
        ));
        listed(&mut node, &survey.manifest);
        found(&mut node, survey, Position::First, shown);
        core(&mut node, survey, shown);
        found(&mut node, survey, Position::Middle, shown);
        found(&mut node, survey, Position::Last, shown);
        top.push(node);
    }
    top.write(out, "")?;
    match &survey.verdict {
        Some(Ok(admitted)) => verdict(out, admitted.verdict(), shown),
        Some(Err(refused)) => verdict(out, refused.verdict(), shown),
        None => writeln!(out, "verdict: {RED}none{RED:#}, since {why}"),
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

/// What the owners at `position` found.
fn found(node: &mut Node, survey: &Survey<'_>, position: Position, shown: usize) {
    for found in &survey.found {
        if found.owner.position == position {
            node.push(found.contents.tree(shown).into());
        }
    }
}

fn core(node: &mut Node, survey: &Survey<'_>, shown: usize) {
    if let Some(preserved) = &survey.preserved {
        let page_size = preserved.page_size();
        let mut child = Node::new(format!(
            "preserved  {} in {}, tracked by {}",
            pages(preserved.pages(), page_size),
            count(preserved.keys() as u64, "range"),
            count(preserved.nodes().len() as u64, "node"),
        ));
        for (order, n) in preserved.by_order() {
            let each = order
                .bytes()
                .map_or_else(String::new, |bytes| format!(" of {}", size(bytes)));
            let order = page_size.pages_of(order).unwrap_or_default();
            child.push(Node::new(format!(
                "order {order:<2}  {}{each}",
                count(n, "range")
            )));
        }
        if let Some((_, unclaimed)) = survey.unclaimed.filter(|(_, pages)| *pages > 0) {
            child.push(Node::new(format!(
                "{DIM}{} of no structure known here{DIM:#}",
                pages(unclaimed, page_size)
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
}

/// What a scratch area is for.
pub(crate) fn area_name(index: usize) -> String {
    match index {
        0 => "low memory".to_owned(),
        1 => "global".to_owned(),
        n => format!("node {}", n - 2),
    }
}

fn more(node: &mut Node, all: usize, shown: usize, what: &str) {
    if let Some(rest) = all.checked_sub(shown).filter(|rest| *rest > 0) {
        let rest = count(rest as u64, what);
        node.push(Node::new(format!(
            "{DIM}... {rest} more, shown with --all{DIM:#}"
        )));
    }
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
        .filter(|finding| finding.outcome != Outcome::Restorable || finding.note.is_some());
    let all = notable.clone().count();
    for finding in notable.take(shown) {
        let (style, word) = outcome(finding.outcome);
        let entry = &finding.entry;
        let title = entry.carrier.title();
        write!(out, "  {style}{word}{style:#}  {title} `{entry}`")?;
        if let Some(reason) = &finding.reason {
            write!(out, ": {}", reason.view(View::Here))?;
        }
        if let Some(note) = &finding.note {
            write!(out, " ({note})")?;
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

fn pages(n: u64, page_size: PageSize) -> String {
    let page = match page_size {
        PageSize::K4 => count(n, "page"),
        other => format!("{} of {other}", count(n, "page")),
    };
    match n.checked_mul(page_size.bytes()) {
        Some(bytes) => format!("{page} ({})", size(bytes)),
        None => page,
    }
}
