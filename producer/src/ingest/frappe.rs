//! Sales Invoices of Frappe / ERPNext, as its webhook sends the document.
//!
//! Its numbers are JSON numbers; they become the shortest exact decimal text. A return is a credit
//! note: ERPNext counts it in negative numbers, a credit note states what is given back.

use bul_job::{FieldError, RawJob};
use serde_json::{Map, Value};

use super::error::{Bad, IngestError, quote};
use super::event::{self, LINE, NAME, TEXT, cut, first, put, put_line, put_list, put_map, text};
use super::json;

/// Decimal places of a number; ERPNext rounds to nine at most, the rest is binary noise.
const PLACES_MAX: usize = 9;

struct Doc<'a> {
    value: &'a Value,
    is_return: bool,
    bad: Bad,
}

/// One document to its job.
pub(crate) fn job(value: &Value) -> Result<RawJob, IngestError> {
    // A webhook may be set up to send the document on its own or inside a field.
    let inner = ["", "/data", "/doc"].into_iter().find(|pointer| {
        value.pointer(pointer).is_some_and(|inner| inner.get("doctype").is_some_and(Value::is_string))
    });
    let Some((pointer, value)) = inner.and_then(|pointer| Some((pointer, value.pointer(pointer)?))) else {
        return Err(IngestError::invalid(
            "/doctype",
            "is missing; set the webhook to send the whole document",
        ));
    };
    invoice(value).map_err(|error| error.within(pointer, pointer))
}

fn invoice(value: &Value) -> Result<RawJob, IngestError> {
    let doctype = text(value, "/doctype").unwrap_or_default();
    if doctype != "Sales Invoice" {
        let message = format!("doctype {} is not supported, expected Sales Invoice", quote(&doctype));
        return Err(IngestError::unsupported("/doctype", message));
    }
    match value.get("docstatus").and_then(Value::as_i64) {
        None | Some(1) => {}
        Some(0) => {
            return Err(IngestError::invalid("/docstatus", "is a draft; set the webhook to on_submit"));
        }
        Some(_) => return Err(IngestError::invalid("/docstatus", "is cancelled, it makes no document")),
    }
    let is_return =
        value.get("is_return").is_some_and(|v| v.as_i64() == Some(1) || v.as_bool() == Some(true));
    let mut doc = Doc { value, is_return, bad: Bad::default() };
    let data = doc.data();
    let key =
        event::key("frappe", &[doctype.as_bytes(), text(value, "/name").unwrap_or_default().as_bytes()]);
    doc.bad.finish(RawJob {
        template: Some("invoice".into()),
        business_area: Some("finance".into()),
        doc_type: Some(if is_return { "credit-note" } else { "invoice" }.into()),
        idempotency_key: Some(key),
        data: Some(data),
        ..RawJob::default()
    })
}

impl Doc<'_> {
    fn data(&mut self) -> Map<String, Value> {
        let value = self.value;
        let mut data = Map::new();
        put_line(&mut data, "number", self.need("/name"), NAME);
        data.insert("type_code".into(), if self.is_return { "381" } else { "380" }.into());
        for (key, pointer) in [("issue_date", "/posting_date"), ("due_date", "/due_date")] {
            let needed = key == "issue_date";
            let day = if needed { self.need(pointer) } else { text(value, pointer) };
            let day = day.map(|day| day.chars().take(10).collect::<String>());
            if day.as_ref().is_some_and(|day| chrono::NaiveDate::parse_from_str(day, "%Y-%m-%d").is_err()) {
                self.wrong(pointer, "is not a date such as 2026-11-16");
            }
            put(&mut data, key, day, 10);
        }
        put_line(&mut data, "currency", self.need("/currency"), 3);
        put_line(&mut data, "order_reference", text(value, "/po_no"), NAME);
        put_line(&mut data, "project_reference", text(value, "/project"), NAME);
        if let Some(number) = text(value, "/return_against") {
            let mut entry = Map::new();
            put_line(&mut entry, "number", Some(number), NAME);
            put_list(&mut data, "preceding_invoices", vec![entry.into()]);
        }
        // ERPNext fills empty remarks with this text.
        let remarks = text(value, "/remarks").filter(|remarks| remarks != "No Remarks").map(|r| plain(&r));
        put_list(
            &mut data,
            "notes",
            remarks.filter(|r| !r.is_empty()).map(|r| cut(&r, TEXT).into()).into_iter().collect(),
        );
        put_map(&mut data, "seller", self.seller());
        put_map(&mut data, "buyer", self.buyer());
        let mut payment = Map::new();
        put(&mut payment, "terms", text(value, "/terms").map(|terms| plain(&terms)), TEXT);
        put_map(&mut data, "payment", payment);
        let (vat, rate) = self.vat();
        put_list(&mut data, "vat", vat);
        self.totals(&mut data);
        let lines = self.lines(rate);
        put_list(&mut data, "lines", lines);
        data
    }

    fn seller(&mut self) -> Map<String, Value> {
        let mut seller = Map::new();
        put_line(&mut seller, "name", self.need("/company"), NAME);
        put_line(&mut seller, "vat_id", text(self.value, "/company_tax_id"), NAME);
        put_map(&mut seller, "address", address(text(self.value, "/company_address_display")));
        seller
    }

    fn buyer(&mut self) -> Map<String, Value> {
        let mut buyer = Map::new();
        let name = text(self.value, "/customer_name").or_else(|| self.need("/customer"));
        put_line(&mut buyer, "name", name, NAME);
        put_line(&mut buyer, "vat_id", text(self.value, "/tax_id"), NAME);
        put_map(&mut buyer, "address", address(text(self.value, "/address_display")));
        let mut contact = Map::new();
        put_line(&mut contact, "name", text(self.value, "/contact_display"), NAME);
        put_line(&mut contact, "phone", first(self.value, &["/contact_mobile", "/contact_phone"]), NAME);
        put_line(&mut contact, "email", text(self.value, "/contact_email"), NAME);
        put_map(&mut buyer, "contact", contact);
        buyer
    }

    /// The taxes, and their rate where there is only one, which is then that of every line.
    fn vat(&mut self) -> (Vec<Value>, Option<String>) {
        let rows = self.value.get("taxes").and_then(Value::as_array).map_or(0, Vec::len).min(50);
        let mut vat = Vec::new();
        for index in 0..rows {
            let mut row = Map::new();
            // The rate has no sign to turn around.
            put(&mut row, "rate", self.number(&format!("/taxes/{index}/rate"), false), NAME);
            put(&mut row, "base", self.number("/net_total", true), NAME);
            let amount = self.number(&format!("/taxes/{index}/tax_amount_after_discount_amount"), true);
            let amount = amount.or_else(|| self.number(&format!("/taxes/{index}/tax_amount"), true));
            put(&mut row, "amount", amount, NAME);
            vat.push(row);
        }
        let rate = match vat.as_slice() {
            [row] => row.get("rate").and_then(Value::as_str).map(str::to_owned),
            _ => None,
        };
        (vat.into_iter().map(Value::Object).collect(), rate)
    }

    fn totals(&mut self, data: &mut Map<String, Value>) {
        let mut totals = Map::new();
        for (key, pointer) in [
            ("lines", "/total"),
            ("net", "/net_total"),
            ("vat", "/total_taxes_and_charges"),
            ("gross", "/grand_total"),
            ("prepaid", "/total_advance"),
            ("rounding", "/rounding_adjustment"),
            ("payable", "/outstanding_amount"),
        ] {
            put(&mut totals, key, self.number(pointer, true), NAME);
        }
        put_map(data, "totals", totals);
        if let Some(amount) = self.number("/discount_amount", true).filter(|amount| !is_zero(amount)) {
            let mut allowance = Map::new();
            put(&mut allowance, "amount", Some(amount), NAME);
            put_list(data, "allowances", vec![allowance.into()]);
        }
    }

    fn lines(&mut self, rate: Option<String>) -> Vec<Value> {
        let count = self.value.get("items").and_then(Value::as_array).map_or(0, Vec::len);
        if count == 0 {
            self.wrong("/items", "is missing or empty");
        }
        let mut lines = Vec::new();
        for index in 0..count {
            let at = |field: &str| format!("/items/{index}/{field}");
            let mut line = Map::new();
            put_line(&mut line, "id", text(self.value, &at("idx")), NAME);
            let name = first(self.value, &[&at("item_name"), &at("item_code")]);
            if name.is_none() {
                self.wrong(&at("item_name"), "is missing");
            }
            let description = text(self.value, &at("description")).map(|d| plain(&d));
            let description = description.filter(|d| Some(d) != name.as_ref());
            put_line(&mut line, "name", name, LINE);
            put(&mut line, "description", description, TEXT);
            put_line(&mut line, "seller_item_id", text(self.value, &at("item_code")), NAME);
            put(&mut line, "quantity", self.number(&at("qty"), true), NAME);
            put_line(&mut line, "unit", text(self.value, &at("uom")), NAME);
            put(&mut line, "unit_price", self.number(&at("rate"), false), NAME);
            put(&mut line, "net", self.number(&at("amount"), true), NAME);
            put(&mut line, "vat_rate", rate.clone(), NAME);
            lines.push(line.into());
        }
        lines
    }

    fn need(&mut self, pointer: &str) -> Option<String> {
        let found = text(self.value, pointer);
        if found.is_none() {
            self.bad.push("", json::missing(pointer));
        }
        found
    }

    fn wrong(&mut self, pointer: &str, message: &str) {
        self.bad.push("", FieldError::new(pointer, message));
    }

    /// A number as decimal text; `turned` if a return states it with the opposite sign.
    fn number(&mut self, pointer: &str, turned: bool) -> Option<String> {
        let text = text(self.value, pointer)?;
        let Some(exact) = decimal(&text) else {
            self.wrong(pointer, "is not a decimal number");
            return None;
        };
        Some(match exact.strip_prefix('-') {
            _ if !(turned && self.is_return) || is_zero(&exact) => exact,
            Some(positive) => positive.to_owned(),
            None => format!("-{exact}"),
        })
    }
}

fn is_zero(text: &str) -> bool {
    !text.bytes().any(|b| (b'1'..=b'9').contains(&b))
}

fn decimal(text: &str) -> Option<String> {
    let number: f64 = text.parse().ok().filter(|n: &f64| n.is_finite() && n.abs() < 1e15)?;
    let places = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if places <= PLACES_MAX && !text.contains(['e', 'E', '+']) {
        return Some(text.to_owned());
    }
    let fixed = format!("{number:.PLACES_MAX$}");
    Some(fixed.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// ERPNext shows addresses as lines of HTML.
fn address(html: Option<String>) -> Map<String, Value> {
    let text = html.map(|html| plain(&html)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty()).take(20).map(|line| cut(line, NAME).into());
    let mut address = Map::new();
    put_list(&mut address, "lines", lines.collect());
    address
}

/// The text of a piece of HTML: breaks and ends of blocks become line breaks, other tags vanish.
fn plain(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        out.push_str(before);
        let Some((name, after)) = tag.split_once('>') else {
            // No tag at all: a lone sign.
            out.push('<');
            rest = tag;
            continue;
        };
        let name = name.trim_end_matches('/').trim().to_ascii_lowercase();
        if matches!(name.as_str(), "br" | "/p" | "/div" | "/li" | "/tr") {
            out.push('\n');
        }
        rest = after;
    }
    out.push_str(rest);
    let entities =
        [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    let text = entities.iter().fold(out, |text, (entity, c)| text.replace(entity, c));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}
