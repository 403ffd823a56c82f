//! Brand colours made usable: parsing, contrast after WCAG 2, and a palette for charts.
//!
//! A brand may be pale yellow; text and bars in it would be unreadable. Writers therefore never use
//! a brand colour directly, but the nearest shade that reaches the contrast its use needs.

use std::fmt;

use crate::Brand;

/// Contrast that small text needs on its background (WCAG 2.1, 1.4.3).
const CONTRAST_TEXT: f64 = 4.5;
/// Contrast that graphics need next to their background (WCAG 2.1, 1.4.11).
const CONTRAST_GRAPHIC: f64 = 3.0;
/// Smallest distance in RGB between two chart colours that a glance tells apart.
const DISTANCE_MIN: f64 = 75.0;

/// Colours that stay distinct for all common kinds of colour blindness, after Okabe and Ito;
/// their yellow is darkened to keep contrast on white.
const SAFE: [Colour; 7] = [
    Colour(0x00, 0x72, 0xB2),
    Colour(0xD5, 0x5E, 0x00),
    Colour(0x00, 0x8F, 0x68),
    Colour(0xB8, 0x5C, 0x92),
    Colour(0x3F, 0x97, 0xC9),
    Colour(0xA6, 0x86, 0x00),
    Colour(0x6B, 0x6F, 0x76),
];

/// An opaque sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// White paper.
    pub const WHITE: Self = Self(0xFF, 0xFF, 0xFF);

    /// Parses `#rrggbb`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(digits, 16).ok()?;
        Some(Self((number >> 16) as u8, (number >> 8) as u8, number as u8))
    }

    /// Relative luminance, 0 to 1.
    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.0) + 0.7152 * linear(self.1) + 0.0722 * linear(self.2)
    }

    /// Contrast ratio, 1 to 21.
    pub fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// This colour mixed with `share` of another.
    pub fn mix(self, other: Self, share: f64) -> Self {
        let channel = |a: u8, b: u8| (f64::from(a) * (1.0 - share) + f64::from(b) * share).round() as u8;
        Self(channel(self.0, other.0), channel(self.1, other.1), channel(self.2, other.2))
    }

    /// The nearest darker shade with at least this contrast on white.
    fn darkened_to(self, contrast: f64) -> Self {
        (0..=50)
            .map(|step| self.mix(Self(0, 0, 0), f64::from(step) / 50.0))
            .find(|shade| shade.contrast(Self::WHITE) >= contrast)
            .unwrap_or(Self(0, 0, 0))
    }

    fn distance(self, other: Self) -> f64 {
        let d = |a: u8, b: u8| (f64::from(a) - f64::from(b)).powi(2);
        (d(self.0, other.0) + d(self.1, other.1) + d(self.2, other.2)).sqrt()
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

/// The colours of a brand, fit for text, graphics and charts on white.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Palette {
    /// Main colour, readable as text.
    pub primary: Colour,
    /// Second colour, readable as text.
    pub accent: Colour,
    /// Faint tint of the main colour, for backgrounds.
    pub tint: Colour,
    /// Stronger tint of the main colour, for rules.
    pub rule: Colour,
    /// Series colours of charts, in order.
    pub series: Vec<Colour>,
}

impl Palette {
    /// Works out the colours of a brand; an unreadable one falls back to the default brand.
    pub fn new(brand: &Brand) -> Self {
        let fallback = Brand::default();
        let parse = |text: &str, other: &str| {
            Colour::parse(text).or_else(|| Colour::parse(other)).unwrap_or(Colour(0, 0, 0))
        };
        let primary = parse(&brand.primary, &fallback.primary);
        let accent = parse(&brand.accent, &fallback.accent);
        let mut series = Vec::with_capacity(SAFE.len() + 2);
        for colour in [primary, accent].into_iter().chain(SAFE) {
            let colour = colour.darkened_to(CONTRAST_GRAPHIC);
            if series.iter().all(|&other| colour.distance(other) >= DISTANCE_MIN) {
                series.push(colour);
            }
        }
        let text = primary.darkened_to(CONTRAST_TEXT);
        Self {
            primary: text,
            accent: accent.darkened_to(CONTRAST_TEXT),
            tint: text.mix(Colour::WHITE, 0.95),
            rule: text.mix(Colour::WHITE, 0.78),
            series,
        }
    }

    /// Colour of a series; after the last one they repeat, paler.
    pub fn series(&self, index: usize) -> Colour {
        let colour = self.series[index % self.series.len()];
        let round = (index / self.series.len()).min(3) as f64;
        colour.mix(Colour::WHITE, round * 0.25)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_brand_stays_readable() {
        for primary in ["#ffff00", "#ffffff", "#000000", "#1f3a5f", "#00ff88", "bogus"] {
            let brand = Brand { primary: primary.into(), accent: primary.into(), ..Brand::default() };
            let palette = Palette::new(&brand);
            assert!(palette.primary.contrast(Colour::WHITE) >= CONTRAST_TEXT, "{primary}");
            assert!(palette.accent.contrast(palette.tint) >= 4.0, "{primary}");
            for colour in &palette.series {
                assert!(colour.contrast(Colour::WHITE) >= CONTRAST_GRAPHIC, "{primary} {colour}");
            }
            assert!(palette.series.len() >= 5, "{primary} {}", palette.series.len());
        }
    }

    #[test]
    fn parses_only_six_digits() {
        assert_eq!(Colour::parse("#1F3a5f"), Some(Colour(0x1F, 0x3A, 0x5F)));
        assert_eq!(Colour::parse("#1f3"), None);
        assert_eq!(Colour::parse("#+f3a5f"), None);
        assert_eq!(Colour::parse("red"), None);
    }
}
