//! For a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::diff::{Row, StructDiff};
use crate::finding::{Finding, Report, Severity, Verdict};
use crate::snapshot::Field;

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

struct Paint(bool);

impl Paint {
    fn paint(&self, style: Style, text: &str) -> String {
        if self.0 {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

pub(super) fn render(report: &Report, colours: bool) -> String {
    let paint = Paint(colours);
    let mut out = String::new();
    // Writing to a String does not fail.
    for path in &report.written {
        let _ = writeln!(out, "wrote {path}");
    }
    for path in &report.withheld {
        let _ = writeln!(out, "not written, since the check fails: {path}");
    }
    let mut last = None;
    for finding in &report.findings {
        let repeated = finding.mend.is_some() && last == finding.mend.as_ref();
        write_finding(&mut out, finding, repeated, &paint);
        last = finding.mend.as_ref();
    }
    let style = match report.verdict() {
        Verdict::Clean => GREEN,
        Verdict::Broken => RED,
        Verdict::Allowed => YELLOW,
    };
    let verdict = paint.paint(style, report.verdict().id());
    let _ = writeln!(out, "abi-check: {verdict}: {}", report.counts());
    out
}

fn write_finding(out: &mut String, finding: &Finding, repeated: bool, paint: &Paint) {
    let style = match finding.severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
        Severity::Allowed => GREEN,
        Severity::Info => CYAN,
    };
    let head = format!("{}[{}]", finding.severity.id(), finding.rule);
    let head = paint.paint(style, &head);
    let bold = paint.paint(BOLD, &finding.title);
    // A long title is a paragraph.
    if finding.title.len() > 80 {
        let _ = writeln!(out, "{head}");
        for line in wrap(&finding.title, 96) {
            let _ = writeln!(out, "  {}", paint.paint(BOLD, &line));
        }
    } else {
        let _ = writeln!(out, "{head} {bold}");
    }
    if let Some(place) = &finding.place {
        let _ = writeln!(out, "  {} {place}", paint.paint(DIM, "at"));
    }
    for layout in &finding.structs {
        write_struct(out, layout, paint);
    }
    // What the tables show is not said again.
    for detail in finding.details.iter().filter(|detail| !detail.in_table) {
        let _ = writeln!(out, "  {}", detail.text);
    }
    if let Some(reason) = &finding.allowed {
        let _ = writeln!(out, "  {} {reason}", paint.paint(DIM, "allowed:"));
    }
    if let Some(mend) = &finding.mend {
        let mend = if repeated { "as above" } else { mend };
        let mut lines = wrap(mend, 90).into_iter();
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(out, "  {} {first}", paint.paint(GREEN, "mend:"));
        for line in lines {
            let _ = writeln!(out, "        {line}");
        }
    }
    out.push('\n');
}

fn write_struct(out: &mut String, layout: &StructDiff, paint: &Paint) {
    let size = |size: Option<u64>| size.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let sizes = match layout.size {
        (old, new) if old == new => size(old),
        (old, new) => format!("{} -> {}", size(old), size(new)),
    };
    let _ = writeln!(out, "  struct {}: {sizes} bytes", layout.name);
    let names = layout.rows.iter().map(|row| name(row).chars().count());
    let names = names.max().unwrap_or(0).max(5);
    let types = layout.rows.iter().filter_map(|row| row.old.as_ref());
    let types = types.map(|field| field.shown_type().chars().count());
    let types = types.max().unwrap_or(0).max(4);
    let head = format!(
        "      {:names$}  {:>6} {:>6}  {:types$}      {:>6} {:>6}  type",
        "field", "offset", "size", "type", "offset", "size"
    );
    let _ = writeln!(out, "{}", paint.paint(DIM, &head));
    for row in &layout.rows {
        let (mark, style) = match (&row.old, &row.new) {
            (None, _) => ('+', Some(GREEN)),
            (_, None) => ('-', Some(RED)),
            _ if row.is_same() => (' ', None),
            _ => ('~', Some(YELLOW)),
        };
        let side = |field: &Option<Field>, width: usize| {
            let field = field.as_ref();
            let number =
                |of: fn(&Field) -> u64| field.map_or("-".to_owned(), |f| of(f).to_string());
            let (offset, size) = (number(|f| f.offset), number(|f| f.size));
            let ty = field.map(Field::shown_type).unwrap_or_default();
            format!("{offset:>6} {size:>6}  {ty:width$}")
        };
        let arrow = if row.is_same() { "  " } else { "->" };
        let (name, old, new) = (name(row), side(&row.old, types), side(&row.new, 0));
        let line = format!("    {mark} {name:names$}  {old}  {arrow}  {new}");
        let line = line.trim_end();
        let line = style.map_or_else(|| line.to_owned(), |style| paint.paint(style, line));
        let _ = writeln!(out, "{line}");
    }
}

fn name(row: &Row) -> String {
    match (&row.old, &row.new) {
        (Some(old), Some(new)) if old.name != new.name => format!("{} -> {}", old.name, new.name),
        (_, Some(field)) | (Some(field), None) => field.name.clone(),
        (None, None) => String::new(),
    }
}

/// `text` in lines of at most `width` characters, where its words allow.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match out.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => out.push(word.to_owned()),
        }
    }
    out
}
