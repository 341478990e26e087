//! The table, on the screen and in docs/real-kernel.md.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::Seen;
use crate::failure::{Failure, of_file};
use crate::place;

const START: &str = "<!-- generated: mismatch -->";
const END: &str = "<!-- end of what is generated -->";
/// What writes the table.
const COMMAND: &str = "cargo xtask vm mismatch --write";

fn path() -> PathBuf {
    place::root().join("docs").join("real-kernel.md")
}

/// The table for the screen.
pub(crate) fn text(seen: &[Seen]) -> String {
    let mut table = comfy_table::Table::new();
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(["row", "altered", "what happens", "what the kernel says"]);
    for seen in seen {
        let does = does(seen, seen.observed.reaction.plain());
        let says = seen.observed.says.join("\n");
        table.add_row([seen.row.name, seen.row.altered, &does, &says]);
    }
    table.to_string()
}

/// What happens, and what is lost.
fn does(seen: &Seen, reaction: String) -> String {
    match seen.observed.detail.as_str() {
        "" => reaction,
        detail => format!("{reaction} ({detail})"),
    }
}

/// The head of the document's table.
fn head(seen: &[Seen]) -> String {
    let release = seen.first().map(|seen| seen.observed.release.as_str());
    let release = release.unwrap_or_default();
    format!("| altered | what Linux {release} does | what it says |")
}

/// The table for the document.
fn markdown(seen: &[Seen]) -> String {
    let mut out = format!("{}\n|---|---|---|\n", head(seen));
    for seen in seen {
        let says = seen.observed.says.iter().map(|it| format!("`{it}`"));
        let says = match says.collect::<Vec<_>>().join("<br>") {
            says if says.is_empty() => "nothing".to_owned(),
            says => says,
        };
        // Writing to a String does not fail.
        let does = does(seen, seen.observed.reaction.to_string());
        let _ = writeln!(out, "| {} | {does} | {says} |", seen.row.altered);
    }
    out
}

/// `text` with `table` between the marks.
fn updated(text: &str, table: &str) -> Option<String> {
    let (before, after) = text.split_once(START)?;
    let (_, after) = after.split_once(END)?;
    Some(format!("{before}{START}\n\n{table}\n{END}{after}"))
}

/// The document as it is and as it should be.
fn document(seen: &[Seen]) -> Result<(String, String), Failure> {
    let path = path();
    let text = fs::read_to_string(&path).map_err(of_file(&path))?;
    let new = updated(&text, &markdown(seen));
    let new = new.ok_or_else(|| Failure::Failed(format!("{}: no {START}", path.display())))?;
    Ok((text, new))
}

/// Brings the document up to date.
pub(crate) fn write(seen: &[Seen]) -> Result<(), Failure> {
    let (_, new) = document(seen)?;
    let path = path();
    fs::write(&path, new).map_err(of_file(&path))
}

/// As [`check`], where the document is about this kernel.
pub(crate) fn check_if_of(seen: &[Seen]) -> Result<(), Failure> {
    let path = path();
    let text = fs::read_to_string(&path).map_err(of_file(&path))?;
    if text.contains(&head(seen)) {
        return check(seen);
    }
    Ok(())
}

/// An error where the document is not up to date.
pub(crate) fn check(seen: &[Seen]) -> Result<(), Failure> {
    let (text, new) = document(seen)?;
    if text == new {
        return Ok(());
    }
    let is_new = |line: &&str| !text.lines().any(|old| old == *line);
    let differs = new.lines().find(is_new);
    let text = format!(
        "docs/real-kernel.md is not what happens: {}\nThis mends it: {COMMAND}",
        differs.unwrap_or("its table has more rows")
    );
    Err(Failure::Failed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_goes_between_its_marks() {
        let text = format!("before\n{START}\nold\n{END}\nafter");
        let new = updated(&text, "new").unwrap();
        assert_eq!(new, format!("before\n{START}\n\nnew\n{END}\nafter"));
        assert_eq!(updated(&new, "new").unwrap(), new);
        assert_eq!(updated("nothing", "new"), None);
    }

    #[test]
    fn the_document_has_the_marks() {
        let text = fs::read_to_string(path()).unwrap();
        assert!(updated(&text, "").is_some());
    }
}
