//! Decimals to text and back; money never passes through a float.

use rust_decimal::{Decimal, RoundingStrategy};

use super::Locale;

impl Locale {
    /// Grouped decimal with the digits it has: `1,234.5`.
    pub(crate) fn number(self, value: Decimal) -> String {
        self.grouped(value, value.scale())
    }

    /// Grouped decimal with exactly `digits` decimals.
    pub(crate) fn number_with(self, value: Decimal, digits: u32) -> String {
        let rounded = value.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero);
        self.grouped(rounded, digits)
    }

    /// Money with its currency: `€1,234.50`, `1.234,50 €`. More decimals than the currency has are
    /// kept, because unit prices are often fractions of a cent.
    pub(crate) fn money(self, value: Decimal, currency: &str) -> String {
        let digits = value.normalize().scale().max(currency_digits(currency));
        let amount = self.number_with(value.abs(), digits);
        let sign = if value.is_sign_negative() && !value.is_zero() { "-" } else { "" };
        let symbol = match currency {
            "EUR" => "€",
            "USD" => "$",
            "GBP" => "£",
            "" => return format!("{sign}{amount}"),
            other => return format!("{sign}{amount} {other}"),
        };
        match self {
            Self::En => format!("{sign}{symbol}{amount}"),
            Self::De => format!("{sign}{amount} {symbol}"),
        }
    }

    /// Percentage of a value that is already one: 19 gives `19%`.
    pub(crate) fn percent(self, value: Decimal) -> String {
        let shown = self.number(value.normalize());
        match self {
            Self::En => format!("{shown}%"),
            Self::De => format!("{shown} %"),
        }
    }

    fn grouped(self, value: Decimal, digits: u32) -> String {
        let (group, point) = match self {
            Self::En => (',', '.'),
            Self::De => ('.', ','),
        };
        let text = format!("{:.*}", digits as usize, value.abs());
        let (whole, fraction) = text.split_once('.').unwrap_or((text.as_str(), ""));
        let mut out = String::with_capacity(text.len() + text.len() / 3 + 1);
        if value.is_sign_negative() && !value.is_zero() {
            out.push('-');
        }
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at) % 3 == 0 {
                out.push(group);
            }
            out.push(digit);
        }
        if !fraction.is_empty() {
            out.push(point);
            out.push_str(fraction);
        }
        out
    }
}

/// Decimals of a currency (ISO 4217).
pub(crate) fn currency_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// Exact decimal of a plain number as JSON and XML write it: `-12.50`, `1e3`.
pub(crate) fn plain_decimal(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    // `from_str_exact` refuses what it would have to round.
    Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).ok()
}

/// Decimal of a number as people and spreadsheets write it: thousands separators, decimal comma,
/// currency signs, percent signs, brackets for negative values. `None` when it is no number.
pub(crate) fn parse_decimal(text: &str) -> Option<Decimal> {
    let mut text = text.trim();
    let mut negative = false;
    if let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        negative = true;
        text = inner.trim();
    }
    let mut core: String = strip_unit(text).chars().filter(|c| !is_space_or_quote(*c)).collect();
    for minus in ['-', '−'] {
        if let Some(rest) = core.strip_prefix(minus).or_else(|| core.strip_suffix(minus)) {
            negative = !negative;
            core = strip_unit(rest).to_owned();
            break;
        }
    }
    let core = core.strip_prefix('+').unwrap_or(&core);
    if core.is_empty() || !core.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ',')) {
        return scientific(core, negative);
    }
    let plain = unify_separators(core)?;
    let value = Decimal::from_str_exact(&plain).ok()?;
    Some(if negative { -value } else { value })
}

fn scientific(core: &str, negative: bool) -> Option<Decimal> {
    let is_scientific = core.starts_with(|c: char| c.is_ascii_digit())
        && core.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'));
    let value = if is_scientific { Decimal::from_scientific(core).ok()? } else { return None };
    Some(if negative { -value } else { value })
}

fn is_space_or_quote(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\'' | '’' | '\u{a0}' | '\u{202f}')
}

/// Takes currency codes and signs and the percent sign off both ends.
fn strip_unit(text: &str) -> &str {
    let mut text = text.trim();
    for code in ["EUR", "USD", "GBP", "CHF", "US$", "€", "$", "£", "%", "Euro", "eur", "usd"] {
        text = text.strip_prefix(code).unwrap_or(text).trim_start();
        text = text.strip_suffix(code).unwrap_or(text).trim_end();
    }
    text
}

/// Decides which of `.` and `,` is the decimal point. With both, the last one is; a single one
/// followed by exactly three digits groups thousands, as `1,234` does, unless it is a dot, which
/// machines write (`1.234`); repeated ones always group.
fn unify_separators(core: &str) -> Option<String> {
    let dots = core.matches('.').count();
    let commas = core.matches(',').count();
    let point = match (dots, commas) {
        (0, 0) => None,
        (1, 0) => Some('.'),
        (0, 1) => {
            let (whole, rest) = core.split_once(',')?;
            let groups = rest.len() == 3 && (1..=3).contains(&whole.len()) && whole != "0";
            if groups { None } else { Some(',') }
        }
        (_, 0) | (0, _) => None,
        _ => {
            if core.rfind('.') > core.rfind(',') {
                if dots > 1 {
                    return None;
                }
                Some('.')
            } else {
                if commas > 1 {
                    return None;
                }
                Some(',')
            }
        }
    };
    let (whole, fraction) = match point.and_then(|point| core.split_once(point)) {
        Some((whole, fraction)) => (whole, fraction),
        None => (core, ""),
    };
    let digits = groups_of_three(whole)?;
    Some(match (digits.as_str(), fraction) {
        ("", "") => return None,
        (digits, "") => digits.to_owned(),
        ("", fraction) => format!("0.{fraction}"),
        (digits, fraction) => format!("{digits}.{fraction}"),
    })
}

/// Joins thousands groups; `None` when the groups are not of three digits.
fn groups_of_three(whole: &str) -> Option<String> {
    let mut groups = whole.split(['.', ',']);
    let head = groups.next()?;
    let mut digits = head.to_owned();
    let mut grouped = false;
    for group in groups {
        if group.len() != 3 {
            return None;
        }
        grouped = true;
        digits.push_str(group);
    }
    (!grouped || (1..=3).contains(&head.len())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().expect("decimal")
    }

    #[test]
    fn formats_by_language() {
        for (value, en, de) in [
            ("0", "0", "0"),
            ("1234.50", "1,234.50", "1.234,50"),
            ("-1234567.8", "-1,234,567.8", "-1.234.567,8"),
            ("999", "999", "999"),
        ] {
            assert_eq!(Locale::En.number(d(value)), en);
            assert_eq!(Locale::De.number(d(value)), de);
        }
        assert_eq!(Locale::En.money(d("336.9"), "EUR"), "€336.90");
        assert_eq!(Locale::De.money(d("-1336.9"), "EUR"), "-1.336,90 €");
        assert_eq!(Locale::En.money(d("0.2185"), "EUR"), "€0.2185");
        assert_eq!(Locale::En.money(d("5"), "CHF"), "5.00 CHF");
        assert_eq!(Locale::En.money(d("1500"), "JPY"), "1,500 JPY");
        assert_eq!(Locale::En.percent(d("19.00")), "19%");
        assert_eq!(Locale::De.percent(d("7.5")), "7,5 %");
    }

    #[test]
    fn reads_what_spreadsheets_write() {
        for (text, expected) in [
            ("1,234.50", Some("1234.50")),
            ("1.234,50", Some("1234.50")),
            ("1,234", Some("1234")),
            ("1.234", Some("1.234")),
            ("12,5", Some("12.5")),
            ("0,125", Some("0.125")),
            ("1 234,5", Some("1234.5")),
            ("1'234.5", Some("1234.5")),
            ("€ 12.00", Some("12.00")),
            ("12,00 €", Some("12.00")),
            ("-5", Some("-5")),
            ("-€5", Some("-5")),
            ("(5.00)", Some("-5.00")),
            ("5-", Some("-5")),
            ("+7", Some("7")),
            (".5", Some("0.5")),
            ("1e3", Some("1000")),
            ("12%", Some("12")),
            ("1.234.567", Some("1234567")),
            ("", None),
            ("n/a", None),
            ("12,34,56", None),
            ("1,2,3.4", None),
            ("2026-01-01", None),
            ("1.2.3", None),
        ] {
            assert_eq!(parse_decimal(text), expected.map(d), "{text}");
        }
    }
}
