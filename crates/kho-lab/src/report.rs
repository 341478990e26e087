//! The report: pictures and a page.
//!
//! History files are anybody's: what is taken from them is cleaned, bounded in length and escaped.

mod map;
mod page;
mod text;

use crate::run::{Matrix, Run};

/// A heat map of `matrix` as an SVG file of its own: a row per release that hands over, a column per
/// release that takes over. Light or dark as the reader's system is.
///
/// `releases` are the names, in the order of the cells.
#[must_use]
pub fn heat_map(releases: &[String], matrix: &Matrix) -> String {
    let mut file = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    file.push_str(&map::svg(releases, matrix, map::Place::File).into_string());
    file.push('\n');
    file
}

/// The report of `run`: one HTML page that needs nothing else, no script and no network.
#[must_use]
pub fn report(run: &Run) -> String {
    let mut page = page::page(run).into_string();
    page.push('\n');
    page
}
