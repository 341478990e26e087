//! The pictures and the page: well-formed, escaped, bounded, the same every time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fmt::Write;

use kho_compat::policy::{ALL, When};
use kho_compat::{Policy, Reason, Writing};
use kho_lab::{Cell, History, Kind, Matrix, Run, Totals, Why, heat_map, report};

const LAYOUTS: &str = r#"
[layouts.old]
structs = { s = { size = 16, fields = [["next", 0, 8], ["count", 8, 8]] } }
[layouts.new]
structs = { s = { size = 24, fields = [["next", 0, 8], ["count", 8, 8], ["flags", 16, 8]] } }
[layouts.moved]
structs = { s = { size = 24, fields = [["next", 0, 8], ["flags", 8, 8], ["count", 16, 8]] } }
[layouts.hashed]
hash = "0123456789abcdef"
"#;

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(quoted, "\\{c}").unwrap(),
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)).unwrap(),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

const RESTORES: &str = "restores = \">=1, <3\"\nknows = { \"1\" = \"old\" }\n";

/// A history whose layout changes with its version, then without, then both become readable again.
fn history(title: &str, text: &str, names: &[String]) -> History {
    let (title, text) = (quoted(title), quoted(text));
    let mut file = format!(
        "format = \"kho-history-v1\"\nname = \"test\"\ntitle = {title}\ntext = {text}\n{LAYOUTS}"
    );
    for (index, name) in names.iter().enumerate() {
        let (version, layout, more) = match index * 4 / names.len() {
            0 => (1, "old", ""),
            1 => (2, "new", RESTORES),
            2 => (2, "moved", ""),
            _ => (3, "moved", "knows = { \"2\" = \"new\" }\n"),
        };
        write!(
            file,
            "[[release]]\nname = {name}\ndate = \"2026-01-01\"\nsource = {source}\ntext = {name}\n\
             [release.components.root]\nversion = 1\nlayout = \"hashed\"\ncarrier = \"root\"\n\
             [release.components.luo]\nversion = {version}\nlayout = \"{layout}\"\n\
             carrier = \"luo\"\n{more}",
            name = quoted(name),
            source = quoted(&format!("https://example.org/{index}, {name}")),
        )
        .unwrap();
    }
    History::parse(&file).unwrap()
}

fn run(history: &History) -> Run {
    let policies: Vec<&dyn Policy> = ALL.iter().map(|policy| *policy as &dyn Policy).collect();
    let run = Run::new(history, &policies, &mut |_, _| true);
    run.unwrap().unwrap()
}

fn run_of(count: usize) -> Run {
    let names: Vec<_> = (0..count).map(|index| format!("6.{index}")).collect();
    let text = "What `they` are.\n\nAnd more.";
    run(&history("Some releases", text, &names))
}

/// Checks that every tag is closed, every attribute quoted and unique, every `&` an entity that XML
/// knows, and every character one that XML allows. Gives the number of elements.
fn well_formed(text: &str) -> usize {
    const VOID: [&str; 3] = ["meta", "link", "br"];
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r') || (' '..'\u{fffe}').contains(&c) || c > '\u{ffff}'
    };
    let bad = text.chars().find(|c| !allowed(*c));
    assert_eq!(bad, None, "a character that XML does not allow");
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;"];
        let rest = &text[at..];
        let is_known = known.iter().any(|entity| rest.starts_with(entity));
        assert!(is_known, "{rest:.20}");
    }
    let (mut open, mut elements) = (Vec::new(), 0);
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let between = &rest[..at];
        let in_style = open.last() == Some(&"style");
        assert!(in_style || !between.contains('>'), "{between}");
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if tag.starts_with(['?', '!']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        elements += 1;
        let name = tag.split([' ', '\n']).next().unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        let mut attributes = Vec::new();
        for attribute in tag.split('"').step_by(2).map(str::trim) {
            let attribute = attribute.strip_prefix(name).unwrap_or(attribute).trim();
            let is_new = attribute.ends_with('=') && !attributes.contains(&attribute);
            assert!(attribute.is_empty() || is_new, "<{tag}>");
            attributes.push(attribute);
        }
        if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    elements
}

/// The values of an attribute.
fn attributes<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let begin = format!(" {name}=\"");
    let values = text.split(begin.as_str()).skip(1);
    values.map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn maps_are_files_of_their_own() {
    for count in [1, 2, 8, 40] {
        let run = run_of(count);
        for matrix in &run.policies {
            let svg = heat_map(&run.releases, matrix);
            well_formed(&svg);
            assert!(svg.contains("xmlns=\"http://www.w3.org/2000/svg\""));
            assert!(svg.contains("role=\"img\"") && svg.contains("prefers-color-scheme:dark"));
            assert!(svg.contains(matrix.policy));
            assert!(svg.contains(">from</text>") && svg.contains(">to</text>"));
            // A tooltip for each cell, beside the title of the whole.
            assert_eq!(svg.matches("<title>").count(), count * count + 1);
            for kind in Kind::ALL {
                assert!(svg.contains(kind.title()), "{kind:?}");
            }
            // A label per row and per column.
            for name in &run.releases {
                assert_eq!(svg.matches(&format!(">{name}</text>")).count(), 2, "{name}");
            }
            assert!(attributes(&svg, "id").is_empty());
        }
    }
}

#[test]
fn cells_lie_in_the_picture() {
    for count in [1, 8, 40, 100, 256] {
        let run = run_of(count.min(100));
        let (names, matrix) = match run.matrix("semver-range") {
            Some(matrix) if count <= 100 => (run.releases.clone(), matrix.clone()),
            _ => {
                let name = "a name that is longer than any label may be, by far";
                let names: Vec<_> = (0..count).map(|index| format!("{name} {index}")).collect();
                let checkers = |from: usize| (0..count).map(move |to| cell((from ^ to) & 1 == 0));
                let cells = (0..count).map(|from| checkers(from).collect());
                (names, matrix(cells.collect()))
            }
        };
        let svg = heat_map(&names, &matrix);
        well_formed(&svg);
        let number = |text: &str| text.parse::<f64>().unwrap();
        let size = number(attributes(&svg, "width")[0]);
        assert!((200.0..1200.0).contains(&size), "{count}: {size}");
        let x = attributes(&svg, "x").into_iter().map(number);
        assert!(x.clone().all(|x| x >= 0.0 && x < size), "{count}: {size}");
        assert!(svg.len() < 3 << 20, "{count}: {}", svg.len());
    }
}

fn reason(words: &str) -> Why {
    Why::Refused {
        found: "a".to_owned(),
        reason: Reason::Other(words.to_owned()),
    }
}

fn cell(accepted: bool) -> Cell {
    let (kind, reasons) = match accepted {
        true => (Kind::Accepted, 0),
        false => (Kind::Late, 50),
    };
    Cell {
        kind,
        restored: 1,
        false_reject: !accepted,
        bytes: 1,
        why: vec![reason("why"); reasons],
        measured: None,
    }
}

fn matrix(cells: Vec<Vec<Cell>>) -> Matrix {
    Matrix {
        policy: "a policy",
        summary: "what it promises",
        writing: Writing::PLAIN,
        when: When::BeforeRestoring,
        cells,
        totals: Totals::default(),
    }
}

#[test]
fn a_matrix_that_lacks_cells_is_drawn_without_them() {
    let names = ["1".to_owned(), "2".to_owned()];
    well_formed(&heat_map(&names, &matrix(vec![vec![cell(true)]])));
    well_formed(&heat_map(&names, &matrix(Vec::new())));
    well_formed(&heat_map(&[], &matrix(vec![vec![cell(true)]])));
}

#[test]
fn false_rejects_and_late_failures_are_told() {
    let names = ["1".to_owned(), "2".to_owned()];
    let cells = vec![vec![cell(true), cell(false)], vec![cell(true), cell(true)]];
    let svg = heat_map(&names, &matrix(cells));
    let tooltip = "1 → 2: failed late after 1 component, could have been read\na: why";
    assert!(svg.contains(tooltip), "{svg}");
    assert!(svg.contains("and 46 more"), "{svg}");
    assert!(svg.contains("class=\"mark-late\"") && svg.contains("could have been read <"));
}

#[test]
fn long_names_are_told_apart() {
    let names: Vec<_> = (1..=12)
        .map(|index| format!("vendor-6.18.{index}-20{index:02}.el10.x86_64"))
        .collect();
    let run = run(&history("Long names", "", &names));
    let svg = heat_map(&names, &run.policies[0]);
    well_formed(&svg);
    for name in ["…1-2001…", "…12-2012…"] {
        assert_eq!(svg.matches(&format!(">{name}<title>")).count(), 2, "{name}");
    }
    assert!(svg.contains("<title>vendor-6.18.12-2012.el10.x86_64</title>"));
}

#[test]
fn the_page_has_all_of_a_run() {
    let run = run_of(8);
    let html = report(&run);
    well_formed(&html);
    assert!(html.starts_with("<!DOCTYPE html>"));
    for matrix in &run.policies {
        assert!(html.contains(matrix.policy) && html.contains(matrix.writing.id()));
    }
    let (written, hashed) = run.trials;
    let trials = format!("{written} written and read, {hashed} compared by hash");
    assert!(html.contains(&trials));
    assert!(html.contains("href=\"https://example.org/7\""));
    assert!(html.contains("<code>they</code>"));
    let any = |count: fn(&Totals) -> usize| run.policies.iter().any(|m| count(&m.totals) > 0);
    assert!(any(|t| t.silent) && html.contains("Silently wrong: "));
    assert!(any(|t| t.false_rejects) && html.contains("Refused, could have been read: "));
    // Each id once, and a target for each link into the page.
    let ids = attributes(&html, "id");
    for (index, id) in ids.iter().enumerate() {
        assert!(!ids[index + 1..].contains(id), "{id}");
    }
    for link in attributes(&html, "href") {
        let target = link.strip_prefix('#');
        assert!(target.is_none_or(|target| ids.contains(&target)), "{link}");
    }
    assert!(html.len() < 400 << 10, "{}", html.len());
}

#[test]
fn the_page_needs_nothing_else() {
    let html = report(&run_of(2));
    for loads in [
        "<script", "<img", "<iframe", "<object", "@import", "url(", " src=", "xlink",
    ] {
        assert!(!html.contains(loads), "{loads}");
    }
    // The empty icon keeps browsers from asking for one.
    assert_eq!(html.matches("<link").count(), 1);
    assert!(html.contains("<link rel=\"icon\" href=\"data:,\">"));
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn hostile_text_stays_text() {
    let long = "A".repeat(20_000);
    let hostile = [
        "<script>alert(1)</script>".to_owned(),
        "\" onload=\"alert(1)".to_owned(),
        "</title></style><svg onload=alert(1)>".to_owned(),
        "]]>&amp;<!-- \u{1}\u{7}\u{1b}[31m\u{202e}\u{fffe}".to_owned(),
        "' javascript:alert(1) http://x/\"><b>".to_owned(),
        "日本語\u{1f469}\u{200d}\u{1f680} a\u{337}\u{321}".to_owned(),
        long.clone(),
        format!("{long}B"),
    ];
    for text in &hostile {
        let run = run(&history(text, &format!("{text}\n\n`{text}"), &hostile));
        let html = report(&run);
        well_formed(&html);
        let bad = [
            "<script",
            "<svg onload",
            "\" onload",
            "<b>",
            "<!--",
            "\u{202e}",
        ];
        for bad in bad.into_iter().chain(["href=\"javascript"]) {
            assert!(!html.contains(bad), "{bad}");
        }
        assert!(html.len() < 700 << 10, "{}", html.len());
        for matrix in &run.policies {
            let svg = heat_map(&run.releases, matrix);
            well_formed(&svg);
            let len = svg.len();
            assert!(!svg.contains("<script") && len < 100 << 10, "{len}");
        }
    }
}

#[test]
fn hostile_policies_stay_text() {
    let mut run = run_of(2);
    for matrix in &mut run.policies {
        matrix.policy = "<script>\" id=\"x";
        matrix.summary = "</style><script>";
    }
    let html = report(&run);
    well_formed(&html);
    assert!(!html.contains("<script"));
    let ids = attributes(&html, "id");
    assert!(ids.contains(&"policy-1--script---id--x"), "{ids:?}");
}

#[test]
fn pages_and_maps_are_the_same_every_time() {
    let (one, other) = (run_of(9), run_of(9));
    assert_eq!(report(&one), report(&other));
    for (one_, other_) in one.policies.iter().zip(&other.policies) {
        let map = heat_map(&one.releases, one_);
        assert_eq!(map, heat_map(&other.releases, other_));
    }
}

#[test]
fn lists_are_bounded() {
    let mut many = run_of(40);
    for (index, cell) in many.policies[0].cells.iter_mut().flatten().enumerate() {
        cell.kind = Kind::Silent;
        cell.why = vec![reason(&index.to_string())];
    }
    let html = report(&many);
    well_formed(&html);
    assert!(html.contains("Silently wrong: 1600") && html.contains("and 1594 more updates"));
}
