//! Reads values out of UBL elements and remembers everything that is wrong with them.
//!
//! Every reader names the business term (BT) it fills, so that an error can be looked up in the
//! standard. Nothing stops at the first mistake.

use bul_job::FieldError;
use chrono::NaiveDate;
use serde_json::{Map, Value};

use super::Form;
use crate::ingest::error::{Bad, IngestError, quote};
use crate::ingest::xml::Xml;

/// Digits before and behind the decimal point; far beyond money, well within exact decimals.
const DIGITS_MAX: (usize, usize) = (15, 10);

/// State of reading one document.
pub(super) struct Reader {
    /// Invoice or credit note.
    pub form: Form,
    /// Currency all amounts must have (BT-5).
    currency: Option<String>,
    bad: Bad,
}

impl Reader {
    pub(super) fn new(form: Form, root: Xml<'_>) -> Self {
        Self { form, currency: root.text("cbc:DocumentCurrencyCode"), bad: Bad::default() }
    }

    /// The data, or everything that is wrong with it.
    pub(super) fn finish<T>(self, data: T) -> Result<T, IngestError> {
        self.bad.finish(data)
    }

    /// Notes what is wrong with an element.
    pub(super) fn wrong(&mut self, at: Xml<'_>, term: &str, message: &str) {
        let path = if self.bad.is_full() { String::new() } else { at.path() };
        self.bad.push(&path, FieldError::new("", format!("{path} ({term}) {message}")));
    }

    /// Notes that an element is missing below `parent`.
    pub(super) fn missing(&mut self, parent: Xml<'_>, path: &str, term: &str) {
        let path = if self.bad.is_full() { String::new() } else { format!("{}/{path}", parent.path()) };
        self.bad.push(&path, FieldError::new("", format!("{path} ({term}) is missing")));
    }

    /// An element that must exist.
    pub(super) fn need<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<Xml<'a>> {
        let found = parent.at(path);
        if found.is_none() {
            self.missing(parent, path, term);
        }
        found
    }

    /// A text that must exist, once.
    pub(super) fn need_text<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<String> {
        if !path.contains('/') && parent.all(path).nth(1).is_some() {
            let at = parent.at(path)?;
            self.wrong(at, term, "occurs more than once");
        }
        let text = parent.text(path);
        if text.is_none() {
            self.missing(parent, path, term);
        }
        text
    }

    /// A date; XML allows a time zone behind it, which says nothing about a day of business.
    pub(super) fn date<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<String> {
        let at = parent.at(path)?;
        let text = at.line()?;
        let day = text.get(..10).filter(|day| is_date(day) && is_zone(&text[10..]));
        if day.is_none() {
            self.wrong(at, term, &format!("is {}, not a date such as 2026-11-16", quote(&text)));
        }
        day.map(str::to_owned)
    }

    /// A date that must exist.
    pub(super) fn need_date<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<String> {
        self.need_text(parent, path, term)?;
        self.date(parent, path, term)
    }

    /// A currency code.
    pub(super) fn currency<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<String> {
        let at = parent.at(path)?;
        let code = at.line()?;
        if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
            self.wrong(at, term, &format!("is {}, not a currency code such as EUR", quote(&code)));
            return None;
        }
        Some(code)
    }

    /// A currency code that must exist.
    pub(super) fn need_currency<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<String> {
        self.need_text(parent, path, term)?;
        self.currency(parent, path, term)
    }

    /// A number: quantity, percentage.
    pub(super) fn number<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<String> {
        let at = parent.at(path)?;
        self.decimal(at, term)
    }

    /// An amount in the currency of the document. One in another currency would be printed with the
    /// wrong sign, so it is refused.
    pub(super) fn amount<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<String> {
        let at = parent.at(path)?;
        if let (Some(expected), Some(given)) = (&self.currency, at.attribute("currencyID"))
            && expected != given
        {
            let message = format!("is in {}, the document in {} (BT-5)", quote(given), quote(expected));
            self.wrong(at, term, &message);
        }
        self.decimal(at, term)
    }

    /// An amount that must exist.
    pub(super) fn need_amount<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<String> {
        self.need_text(parent, path, term)?;
        self.amount(parent, path, term)
    }

    /// The decimal text of an element, digit for digit.
    pub(super) fn decimal(&mut self, at: Xml<'_>, term: &str) -> Option<String> {
        let text = at.line()?;
        let exact = decimal(&text);
        if exact.is_none() {
            self.wrong(at, term, &format!("is {}, not a decimal number such as 1234.50", quote(&text)));
        }
        exact
    }

    /// Invoicing period of the document (BG-14) or a line (BG-26).
    pub(super) fn period(&mut self, parent: Xml<'_>) -> Map<String, Value> {
        let mut data = Map::new();
        let Some(period) = parent.at("cac:InvoicePeriod") else { return data };
        put(&mut data, "start", self.date(period, "cbc:StartDate", "BT-73"));
        put(&mut data, "end", self.date(period, "cbc:EndDate", "BT-74"));
        put(&mut data, "description", period.text("cbc:Description"));
        data
    }

    /// Allowances and charges of a document or line, each in its own list.
    pub(super) fn adjustments(&mut self, parent: Xml<'_>, data: &mut Map<String, Value>) {
        let (mut allowances, mut charges) = (Vec::new(), Vec::new());
        for entry in parent.all("cac:AllowanceCharge") {
            let list = match entry.text("cbc:ChargeIndicator").as_deref() {
                Some("true" | "1") => &mut charges,
                Some("false" | "0") => &mut allowances,
                _ => {
                    self.wrong(entry, "BG-20", "needs a cbc:ChargeIndicator of true or false");
                    continue;
                }
            };
            list.push(Value::Object(self.adjustment(entry)));
        }
        put_list(data, "allowances", allowances);
        put_list(data, "charges", charges);
    }

    fn adjustment(&mut self, entry: Xml<'_>) -> Map<String, Value> {
        let mut data = Map::new();
        let reasons: Vec<String> = entry.all("cbc:AllowanceChargeReason").filter_map(Xml::line).collect();
        put(&mut data, "reason", (!reasons.is_empty()).then(|| reasons.join(", ")));
        put(&mut data, "reason_code", entry.text("cbc:AllowanceChargeReasonCode"));
        put(&mut data, "amount", self.need_amount(entry, "cbc:Amount", "BT-92"));
        put(&mut data, "base", self.amount(entry, "cbc:BaseAmount", "BT-93"));
        put(&mut data, "percent", self.number(entry, "cbc:MultiplierFactorNumeric", "BT-94"));
        put(&mut data, "vat_category", self.category(entry, "cac:TaxCategory/cbc:ID", "BT-95"));
        put(&mut data, "vat_rate", self.number(entry, "cac:TaxCategory/cbc:Percent", "BT-96"));
        data
    }

    /// A VAT category code.
    pub(super) fn category<'a>(&mut self, parent: Xml<'a>, path: &'a str, term: &str) -> Option<String> {
        let at = parent.at(path)?;
        let code = at.line()?;
        if code.len() > 2 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
            self.wrong(at, term, &format!("is {}, not a VAT category such as S", quote(&code)));
            return None;
        }
        Some(code)
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.is_char_boundary(10) && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

fn is_zone(text: &str) -> bool {
    matches!(
        text.as_bytes(),
        [] | [b'Z'] | [b'+' | b'-', b'0'..=b'1', b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9']
    )
}

/// The text if it is a decimal number; XML also allows `.5` and `5.`, which only gain or lose a zero or point.
fn decimal(text: &str) -> Option<String> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' | b'-' => text.split_at(1),
        _ => ("", text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    let some = !whole.is_empty() || !fraction.is_empty();
    if !all_digits || !some || whole.len() > DIGITS_MAX.0 || fraction.len() > DIGITS_MAX.1 {
        return None;
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// An identifier, with its scheme where it has one.
pub(super) fn identifier(at: Xml<'_>) -> Option<Value> {
    let id = at.line()?;
    let Some(scheme) = at.attribute("schemeID").or_else(|| at.attribute("listID")) else {
        return Some(id.into());
    };
    let mut data = Map::new();
    put(&mut data, "id", Some(id));
    put(&mut data, "scheme", Some(scheme));
    Some(Value::Object(data))
}

/// Adds a value where there is one.
pub(super) fn put(data: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        data.insert(key.to_owned(), value.into());
    }
}

/// Adds a list unless it is empty.
pub(super) fn put_list(data: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    put(data, key, (!list.is_empty()).then_some(list));
}

/// Adds an object unless it is empty.
pub(super) fn put_map(data: &mut Map<String, Value>, key: &str, map: Map<String, Value>) {
    put(data, key, (!map.is_empty()).then_some(map));
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn decimals_stay_exact() {
        for text in ["0", "336.9", "-12.50", "+1", "000123.0000", "999999999999999.9999999999"] {
            assert_eq!(decimal(text).as_deref(), Some(text));
        }
        assert_eq!(decimal(".5").as_deref(), Some("0.5"));
        assert_eq!(decimal("-5.").as_deref(), Some("-5"));
        for text in ["", ".", "-", "1,5", "1e3", "1 000", "0x1", "NaN", "1.2.3", "9999999999999999", "١"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
