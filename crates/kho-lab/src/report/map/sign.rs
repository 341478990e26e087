//! The signs of kinds: drawn, so that no font must have them.

use maud::{Markup, html};

use super::num;
use crate::run::Kind;
/// A square in the legend.
pub(super) const SWATCH: f64 = 16.0;

/// A kind's sign around the middle `(x, y)`: drawn, so that no font must have it.
pub(super) fn glyph(kind: Kind, x: f64, y: f64, half: f64) -> String {
    let n = |share: f64| num(half * share);
    let at = |dx: f64, dy: f64| format!("M{} {}", num(x + half * dx), num(y + half * dy));
    match kind {
        Kind::Accepted => {
            let start = at(-1.0, 0.05);
            format!("{start}l{} {} {} {}", n(0.65), n(0.7), n(1.35), n(-1.5))
        }
        Kind::Degraded => {
            let start = at(-1.0, 0.3);
            let (aside, rise, half, fall) = (n(0.5), n(-1.1), n(1.0), n(-0.3));
            format!("{start}q{aside} {rise} {half} {fall} t{half} {fall}")
        }
        Kind::Rejected => {
            let (side, back) = (n(1.5), n(-1.5));
            let (one, other) = (at(-0.75, -0.75), at(0.75, -0.75));
            format!("{one}l{side} {side}{other}l{back} {side}")
        }
        Kind::Late => format!("{}v{}{}v.1", at(0.0, -1.05), n(1.15), at(0.0, 1.0)),
        Kind::Silent => {
            let (start, dot) = (at(-0.65, -0.5), at(0.0, 1.05));
            let (rise, wide, down, back) = (n(-0.85), n(1.3), n(0.5), n(-0.65));
            let (middle, low) = (n(0.45), n(0.95));
            format!(
                "{start}c0 {rise} {wide} {rise} {wide} 0c0 {down} {back} {middle} {back} {low}{dot}v.1"
            )
        }
    }
}

/// The corner of a cell whose right upper corner is `(x, y)`.
pub(super) fn mark(x: f64, y: f64, side: f64) -> String {
    let side = num((side * 0.32).clamp(2.0, 9.0));
    format!("M{} {}h-{side}l{side} {side}z", num(x), num(y))
}

/// A square of the legend, with the sign of `kind`.
pub(super) fn swatch(kind: Kind, marked: bool, x: f64, y: f64) -> Markup {
    let middle = SWATCH / 2.0;
    html! {
        rect class=(kind.id()) x=(num(x)) y=(num(y)) width=(num(SWATCH)) height=(num(SWATCH)) rx="2" {}
        @if marked {
            path class={"mark-" (kind.id())} d=(mark(x + SWATCH, y, SWATCH * 1.4)) {}
        } @else {
            path class={"ink on-" (kind.id())} d=(glyph(kind, x + middle, y + middle, 4.2)) {}
        }
    }
}

/// The square of the legend as a picture in a line of text.
pub(in crate::report) fn key(kind: Kind, marked: bool) -> Markup {
    html! {
        svg class="hm key" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" {
            (swatch(kind, marked, 0.0, 0.0))
        }
    }
}
