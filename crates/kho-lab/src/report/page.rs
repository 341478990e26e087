//! The page.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use kho_compat::{Listing, Strings, Writing};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::map::{self, Place, key, num};
use super::text::{NAME, WHY, bounded, code, counted, links, name, prose};
use crate::run::{Cell, Kind, Matrix, Run};

const STYLE: &str = include_str!("page.css");

/// A heading, in characters.
const HEADING: usize = 300;
/// Reasons in a list, at most.
const REASONS: usize = 6;
/// Sets of updates in a list's item, at most.
const PAIRS: usize = 4;
/// Spans of releases on a side of such a set, at most.
const SPANS: usize = 6;

/// The page of `run`.
pub(super) fn page(run: &Run) -> Markup {
    let title = bounded(&run.title, HEADING);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Nothing is loaded and nothing runs, whatever a history says.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(map::STYLE)) }
            }
            body {
                main {
                    (head(run, &title))
                    (totals(run))
                    section {
                        h2 #policies { "The policies" }
                        div.policies {
                            @for (index, matrix) in run.policies.iter().enumerate() {
                                (policy(run, matrix, &anchor(index, matrix.policy)))
                            }
                        }
                    }
                    (measured(run))
                    (releases(run))
                    (guide())
                    footer {
                        "Made by " code { "kho-lab" } " " (env!("CARGO_PKG_VERSION"))
                        " from the history " code { (name(&run.history, NAME)) } "."
                    }
                }
            }
        }
    }
}

/// The id of a policy's section: no two are the same, whatever the policies are called.
fn anchor(index: usize, policy: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '-',
    };
    let slug: String = policy.chars().take(NAME).map(plain).collect();
    format!("policy-{}-{slug}", index.saturating_add(1))
}

fn head(run: &Run, title: &str) -> Markup {
    let count = run.releases.len();
    let span = match (run.releases.first(), run.releases.last()) {
        (Some(first), Some(last)) if count > 1 => {
            format!(" ({} to {})", name(first, 40), name(last, 40))
        }
        _ => String::new(),
    };
    let (written, hashed) = run.trials;
    html! {
        header {
            p.over { "Versioning policies of Kexec HandOver, over the history " code { (name(&run.history, NAME)) } }
            h1 { (code(title)) }
            (prose(&run.text))
            dl.facts {
                div { dt { "Releases" } dd { (count) (span) } }
                div { dt { "Updates, from each to each" } dd { (count.saturating_mul(count)) } }
                div { dt { "Policies" } dd { (run.policies.len()) } }
                div {
                    dt { "Pairs of layouts" }
                    dd { (written) " written and read, " (hashed) " compared by hash" }
                }
            }
            p {
                "Every policy decides on every update from one release to another, a release and itself \
                 included. What it lets through is then tried: the structures of the one are written and \
                 read with the layouts of the other. " a href="#reading" { "How to read this page" } "."
            }
        }
    }
}

fn totals(run: &Run) -> Markup {
    let dialects = run.policies.iter().map(|matrix| matrix.writing);
    let dialects: BTreeMap<_, _> = dialects.map(|dialect| (dialect.id(), dialect)).collect();
    html! {
        section {
            h2 #totals { "Totals" }
            div.scroll.framed role="region" aria-label="Totals of every policy" tabindex="0" {
                table.totals {
                    thead {
                        tr {
                            th scope="col" { "Policy" }
                            th.share scope="col" { "Share" }
                            @for kind in Kind::ALL { th.n scope="col" { (capital(kind.title())) (key(kind, false)) } }
                            th.n scope="col" { "False rejects" (key(Kind::Rejected, true)) }
                            th.n scope="col" { "Bytes, newest" }
                            th.n scope="col" { "Bytes, range" }
                            th.n scope="col" { "Forced edits" }
                            th scope="col" { "Dialect" }
                            th scope="col" { "Finds a mismatch" }
                        }
                    }
                    tbody {
                        @for (index, matrix) in run.policies.iter().enumerate() {
                            (row(matrix, &anchor(index, matrix.policy)))
                        }
                    }
                }
            }
            (columns(run, &dialects))
        }
    }
}

fn row(matrix: &Matrix, anchor: &str) -> Markup {
    let totals = &matrix.totals;
    let (least, most) = totals.bytes_range;
    html! {
        tr {
            th scope="row" { a href={"#" (anchor)} { (name(matrix.policy, NAME)) } }
            td.share { (bar(matrix)) }
            @for kind in Kind::ALL { (number(of(matrix, kind))) }
            (number(totals.false_rejects))
            td.n { (totals.bytes) }
            td.n { @if least == most { (least) } @else { (least) "–" (most) } }
            (number(totals.edits))
            td { (matrix.writing.id()) }
            td { (matrix.when.title()) }
        }
    }
}

fn number(count: usize) -> Markup {
    html! { td.n.zero[count == 0] { (count) } }
}

const fn of(matrix: &Matrix, kind: Kind) -> usize {
    match kind {
        Kind::Accepted => matrix.totals.accepted,
        Kind::Degraded => matrix.totals.degraded,
        Kind::Rejected => matrix.totals.rejected,
        Kind::Late => matrix.totals.late,
        Kind::Silent => matrix.totals.silent,
    }
}

/// The kinds' shares of the pairs, as a bar. The numbers stand beside it.
fn bar(matrix: &Matrix) -> Markup {
    let share = |count: usize| {
        let number = |count| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        200.0 * number(count) / number(matrix.totals.pairs.max(1))
    };
    let mut end = 0.0;
    let parts = Kind::ALL.map(|kind| {
        let (x, wide) = (end, share(of(matrix, kind)));
        end += wide;
        (kind, x, wide)
    });
    html! {
        svg.hm.bar viewBox="0 0 200 12" width="110" height="12" preserveAspectRatio="none" aria-hidden="true" {
            @for (kind, x, wide) in parts {
                @if wide > 0.0 {
                    rect class=(kind.id()) x=(num(x)) width=(num(wide)) height="12" {}
                }
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// What each column says.
fn columns(run: &Run, dialects: &BTreeMap<&str, Writing>) -> Markup {
    let updates = run.releases.len().saturating_mul(run.releases.len());
    html! {
        h3.apart #columns { "The columns" }
        p.quiet {
            "The first five add up to the " (counted(updates, "update", "updates"))
            "; the share shows them as parts of a whole."
        }
        dl.terms {
            @for kind in Kind::ALL {
                div { dt { (key(kind, false)) (capital(kind.title())) } dd { (kind_text(kind)) } }
            }
            div {
                dt { (key(Kind::Rejected, true)) "False rejects" }
                dd {
                    "Refused, upfront or late, although the next release has a reader for everything \
                     mandatory: it could have been read. They are counted among the refused ones as well."
                }
            }
            div {
                dt { "Bytes" }
                dd {
                    "What the versions take in the memory that is handed over: of the newest release, and \
                     the fewest and the most of any release."
                }
            }
            div {
                dt { "Forced edits" }
                dd {
                    "Strings, entries or masks of other components that had to be edited over the history, \
                     because a component changed its version."
                }
            }
            div {
                dt { "Finds a mismatch" }
                dd { "Before anything is restored, or while restoring, when a component's turn comes." }
            }
            div.wide {
                dt { "Dialect" }
                dd {
                    "How versions are written."
                    ul {
                        @for (id, dialect) in dialects {
                            li { code { (id) } ": " (code(dialect_text(*dialect))) "." }
                        }
                    }
                }
            }
        }
    }
}

const fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Accepted => {
            "The policy lets the update happen, and everything is read as it was written."
        }
        Kind::Degraded => {
            "The policy lets it happen without optional components, and the rest is read as it was \
             written."
        }
        Kind::Rejected => "The policy refuses before anything was restored.",
        Kind::Late => "The policy refuses after some components were restored.",
        Kind::Silent => {
            "The policy lets it happen, and something is read that was not written so: a false accept."
        }
    }
}

const fn dialect_text(writing: Writing) -> &'static str {
    match (writing.list, writing.strings) {
        (Listing::None, Strings::Plain) => "a string names its own component's version, `luo-v5`",
        (Listing::None, Strings::Transitive) => {
            "a string names its component's version and those of all that it needs, directly or not, \
             `luo-v5;block-v1`"
        }
        (Listing::None, Strings::Direct) => {
            "a string names its component's version and those of what it needs itself"
        }
        (Listing::None, Strings::List) => {
            "the root FDT has a list of strings, its own component's and those of all that it needs; other \
             strings are plain"
        }
        (Listing::Versions, _) => {
            "beside plain strings, a table lists the version of every component in use"
        }
        (Listing::Masks, _) => {
            "beside plain strings, a table lists the feature masks of every component in use"
        }
    }
}

fn policy(run: &Run, matrix: &Matrix, anchor: &str) -> Markup {
    let wrong = |cell: &Cell| cell.kind == Kind::Silent;
    let late = |cell: &Cell| cell.kind == Kind::Late;
    let refused = |cell: &Cell| cell.false_reject;
    let title = name(matrix.policy, NAME);
    let label = format!("Heat map of {title}");
    html! {
        article.policy.framed id=(anchor) {
            header {
                h3 { (title) }
                p.quiet { (code(&capital(&bounded(matrix.summary, HEADING)))) "." }
            }
            figure.map.scroll role="group" tabindex="0" aria-label=(label) {
                (map::svg(&run.releases, matrix, Place::Page))
            }
            div.found {
                (found(run, matrix, key(Kind::Silent, false), "Silently wrong", &wrong))
                (found(run, matrix, key(Kind::Late, false), "Failed late", &late))
                (found(run, matrix, key(Kind::Rejected, true), "Refused, could have been read", &refused))
                @if !matrix.cells.iter().flatten().any(|c| wrong(c) || late(c) || refused(c)) {
                    p.quiet {
                        "No update is silently wrong, fails late, or is refused although it could have \
                         been read."
                    }
                }
            }
        }
    }
}

/// Updates with one reason: those that hand over, and by them those that take over.
struct Group {
    why: String,
    pairs: Vec<(Vec<usize>, Vec<usize>)>,
}

impl Group {
    fn count(&self) -> usize {
        self.pairs.iter().map(product).sum()
    }
}

fn product((from, to): &(Vec<usize>, Vec<usize>)) -> usize {
    from.len().saturating_mul(to.len())
}

type Pick<'p> = &'p dyn Fn(&Cell) -> bool;

/// The updates that `pick` picks, by reason, the most frequent first.
fn groups(run: &Run, matrix: &Matrix, pick: Pick<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for from in 0..run.releases.len() {
        for to in 0..run.releases.len() {
            let Some(cell) = matrix.cell(from, to).filter(|cell| pick(cell)) else {
                continue;
            };
            let why = why(cell);
            let place = *places.entry(why.clone()).or_insert(groups.len());
            let Some(group) = groups.get_mut(place) else {
                let pairs = vec![(vec![from], vec![to])];
                groups.push(Group { why, pairs });
                continue;
            };
            match group.pairs.last_mut() {
                Some((last, all)) if last.contains(&from) => all.push(to),
                _ => group.pairs.push((vec![from], vec![to])),
            }
        }
    }
    for group in &mut groups {
        group.pairs.dedup_by(|next, before| {
            let same = next.1 == before.1;
            if same {
                before.0.append(&mut next.0);
            }
            same
        });
    }
    groups.sort_by_key(|group| Reverse(group.count()));
    groups
}

fn why(cell: &Cell) -> String {
    let reasons = bounded(&map::reasons(cell, 2), WHY.saturating_mul(2));
    if cell.kind != Kind::Late {
        return reasons;
    }
    let components = counted(cell.restored, "component was", "components were");
    format!("after {components} restored: {reasons}")
}

fn found(run: &Run, matrix: &Matrix, key: Markup, title: &str, pick: Pick<'_>) -> Markup {
    let groups = groups(run, matrix, pick);
    let all: usize = groups.iter().map(Group::count).sum();
    let rest: usize = groups.iter().skip(REASONS).map(Group::count).sum();
    html! {
        @if all > 0 {
            h4 { (key) (title) ": " (all) }
            ul {
                @for group in groups.iter().take(REASONS) {
                    li {
                        span.pairs { (pairs(run, group)) }
                        @if !group.why.is_empty() { br; span.why { (code(&group.why)) } }
                    }
                }
                @if rest > 0 { li.quiet { "and " (counted(rest, "more update", "more updates")) } }
            }
        }
    }
}

fn pairs(run: &Run, group: &Group) -> Markup {
    let of = |index: &usize| name(run.releases.get(*index).map_or("", String::as_str), 40);
    // Neighbours in the history are named by the first and the last one.
    let span = |run: &[usize]| match run {
        [one] => of(one),
        [one, other] => format!("{}, {}", of(one), of(other)),
        [one, .., last] => format!("{} … {}", of(one), of(last)),
        [] => String::new(),
    };
    let names = |all: &[usize]| {
        let spans = || all.chunk_by(|one, next| one.saturating_add(1) == *next);
        let first: Vec<_> = spans().take(SPANS).map(span).collect();
        match spans().skip(SPANS).map(<[usize]>::len).sum() {
            0 => first.join(", "),
            more => format!("{} and {more} more", first.join(", ")),
        }
    };
    let rest: usize = group.pairs.iter().skip(PAIRS).map(product).sum();
    html! {
        @for (index, (from, to)) in group.pairs.iter().take(PAIRS).enumerate() {
            @if index > 0 { "; " }
            (names(from)) "\u{a0}→\u{a0}" (names(to))
        }
        @if rest > 0 { "; and " (counted(rest, "more update", "more updates")) }
    }
}

/// What real kernels did, beside what the model says of them.
fn measured(run: &Run) -> Markup {
    let cells = run.measured();
    let Some(kernels) = run.kernels.as_ref().filter(|_| !cells.is_empty()) else {
        return html! {};
    };
    let of = |index: usize| name(run.releases.get(index).map_or("", String::as_str), 40);
    let differing = cells.iter().filter(|cell| cell.differs()).count();
    html! {
        section {
            h2 #measured { "Measured" }
            p {
                "Real kernels were asked about " (counted(cells.len(), "update", "updates"))
                ". They follow " code { (name(&kernels.policy, NAME)) } ", and what the model says under that \
                 policy differs from what they did in " (differing) " of them."
            }
            p.quiet { (links(&kernels.source)) }
            div.scroll.framed role="region" aria-label="Measured updates" tabindex="0" {
                table.measured {
                    thead {
                        tr {
                            th scope="col" { "Update" }
                            th scope="col" { "Kernels" }
                            th scope="col" { "What they did" }
                            th scope="col" { "The model" }
                        }
                    }
                    tbody {
                        @for cell in &cells {
                            @let measured = cell.measured;
                            tr {
                                th scope="row" { (of(cell.from)) "\u{a0}→\u{a0}" (of(cell.to)) }
                                td { (name(&measured.kernels.0, 40)) " to " (name(&measured.kernels.1, 40)) }
                                td {
                                    (key(measured.happened.kind(), false)) (capital(measured.happened.title()))
                                    @if !measured.text.is_empty() { ": " (code(&bounded(&measured.text, WHY))) }
                                }
                                td {
                                    @if let Some(kind) = cell.model {
                                        (key(kind, false)) (capital(kind.title()))
                                        @if cell.differs() { ": " strong { "differs" } }
                                    } @else { "not run" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn releases(run: &Run) -> Markup {
    let empty = (String::new(), String::new(), String::new());
    html! {
        section {
            h2 #releases { "The releases" }
            div.scroll.framed role="region" aria-label="Releases" tabindex="0" {
                table.releases {
                    thead {
                        tr {
                            th scope="col" { "Release" }
                            th scope="col" { "Date" }
                            th scope="col" { "Source" }
                            th scope="col" { "Notes" }
                        }
                    }
                    tbody {
                        @for (index, release) in run.releases.iter().enumerate() {
                            @let (date, source, text) = run.notes.get(index).unwrap_or(&empty);
                            tr {
                                th scope="row" { (name(release, WHY)) }
                                td { (bounded(date, NAME)) }
                                td { (links(source)) }
                                td { (code(&bounded(text, 2000))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn guide() -> Markup {
    html! {
        section {
            h2 #reading { "How to read it" }
            p {
                "A map has a row for each release that hands over and a column for each that takes over, \
                 the oldest at the top and at the left. Above the diagonal are updates to newer releases, \
                 below it ways back to older ones, and on it a release that hands over to itself. Each \
                 cell is one update; its sign and colour say what becomes of it, as under "
                a href="#columns" { "the columns" } ", and its tooltip says why. A marked corner means \
                 that the update is refused although it could have been read. In the lists beside \
                 the maps, dots between two releases stand for all between them."
            }
            p {
                "What is accepted is tried, not assumed: elements of every structure are written with the \
                 layout of the one release and read with that of the other. Where only a layout's hash is \
                 known, hashes are compared."
            }
            p {
                "The policies stand in the order in which they were run; it is no ranking. What lowers one \
                 column often raises another, and how much each weighs depends on what is updated."
            }
        }
    }
}
