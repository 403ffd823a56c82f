//! How numbers, money, percentages and dates look to a reader, by language.
//!
//! English and German are written out; other languages take the English forms.

mod date;
mod number;

pub(crate) use date::parse_date;
pub(crate) use number::{currency_digits, parse_decimal, plain_decimal};

/// Conventions for writing values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locale {
    /// `1,234.50`, `1 December 2026`.
    En,
    /// `1.234,50`, `1. Dezember 2026`.
    De,
}

impl Locale {
    /// Conventions of a BCP 47 tag.
    pub(crate) fn of(language: &str) -> Self {
        if primary(language).eq_ignore_ascii_case("de") { Self::De } else { Self::En }
    }
}

/// Primary subtag of a language tag: `de` of `de-AT`.
pub(crate) fn primary(language: &str) -> &str {
    language.split(['-', '_']).next().unwrap_or(language)
}
