//! The style sheet: brand colours as variables, a readable scale on screen, A4 when printed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::Palette;

const SHEET: &str = include_str!("style.css");

/// The style sheet for a brand, with one class for each column width in use.
pub(super) fn sheet(palette: &Palette, widths: &BTreeSet<u8>) -> String {
    let mut out = format!(
        ":root{{--primary:{};--accent:{};--tint:{};--rule:{}}}\n{SHEET}",
        palette.primary, palette.accent, palette.tint, palette.rule
    );
    for width in widths {
        // Writing into a String cannot fail.
        let _ = writeln!(out, ".w{width}{{width:{width}%}}");
    }
    out
}
