//! Invoices and credit notes: everything but the covering note is computed from the data.
//!
//! Whatever the data holds is printed. Given amounts are printed as given, computed again, and a
//! difference becomes a finding; missing amounts are computed after EN 16931.

mod codes;
mod lines;
mod model;
mod parties;
mod payment;
mod totals;

use bul_document::{Block, Cell, Column, ColumnType, Table};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{Input, Outcome, Prepared, exact_cell, key_values, text_cell};
use crate::json::Node;
use model::Invoice;
use totals::Totals;

/// Plans the computed parts of an invoice.
pub(super) fn prepare(input: &Input) -> Outcome {
    let root = Node::root(input.data);
    let invoice = Invoice::read(&root)?;
    let mut prepared = Prepared::default();
    let totals = Totals::compute(&invoice, &mut prepared.findings)?;
    let kind = input.label(codes::document_kind(&invoice.type_code));
    prepared.title = format!("{kind} {}", invoice.number);
    prepared.author = root.get("seller").text("name").unwrap_or_default();
    prepared.brand_name = prepared.author.clone();
    prepared.date = root.text("issue_date");
    prepared.sources = vec![format!("{kind} {}", invoice.number)];
    facts(input, &root, &totals, &mut prepared);
    context(&invoice, &totals, &mut prepared);
    let parts = &mut prepared.parts;
    parts.insert("parties".into(), parties::blocks(input, &root));
    parts.insert("head".into(), head(input, &root, &invoice, &kind));
    parts.insert("lines".into(), vec![lines::table(input, &invoice, &totals)]);
    parts.insert("vat".into(), vat(input, &invoice, &totals));
    parts.insert("payment".into(), payment::blocks(input, &root));
    parts.insert("notes".into(), notes(input, &root));
    parts.insert("attachments".into(), attachments(input, &root));
    Ok(prepared)
}

fn facts(input: &Input, root: &Node, totals: &Totals, prepared: &mut Prepared) {
    let facts = &mut prepared.facts;
    let date = |key: &str| root.date(key).ok().flatten().map(|day| input.locale.date(day));
    let origin = |given: bool, pointer: &str, how: &str| {
        if given { pointer.to_owned() } else { format!("computed: {how}") }
    };
    facts.add_some("seller", root.get("seller").text("name"), "/seller/name");
    facts.add_some("buyer", root.get("buyer").text("name"), "/buyer/name");
    facts.add_some("invoice_number", root.text("number"), "/number");
    facts.add_some("issue_date", date("issue_date"), "/issue_date");
    facts.add_some("due_date", date("due_date"), "/due_date");
    let money = |value: Decimal| input.locale.money(value, &totals.currency);
    let given = |key: &str| root.get("totals").get(key).exists();
    facts.add(
        "payable",
        money(totals.payable),
        origin(given("payable"), "/totals/payable", "gross - prepaid + rounding"),
    );
    facts.add("net", money(totals.net), origin(given("net"), "/totals/net", "lines - allowances + charges"));
    facts.add("vat", money(totals.vat), origin(given("vat"), "/totals/vat", "sum of VAT amounts"));
    facts.add("gross", money(totals.gross), origin(given("gross"), "/totals/gross", "net + vat"));
    let payment = root.get("payment");
    facts.add_some("reference", payment.text("reference"), "/payment/reference");
    for mean in payment.items("means") {
        facts.add_some("iban", mean.get("account").text("iban"), &format!("{}/account/iban", mean.pointer));
    }
}

fn context(invoice: &Invoice, totals: &Totals, prepared: &mut Prepared) {
    let due = totals.payable > Decimal::ZERO && !codes::is_credit(&invoice.type_code);
    let mut add = |name: &str, value: Value| prepared.context.insert(name.into(), value);
    add("payment_due", json!(due));
    add("is_credit", json!(codes::is_credit(&invoice.type_code)));
    add("payable", json!(totals.payable.to_string()));
    add("currency", json!(totals.currency));
}

/// Numbers, dates and references.
fn head(input: &Input, root: &Node, invoice: &Invoice, kind: &str) -> Vec<Block> {
    let text = |key: &str| root.text(key);
    let date = |key: &str| root.date(key).ok().flatten().map(|day| input.locale.date(day));
    let preceding = root.items("preceding_invoices").into_iter().filter_map(|reference| {
        let number = reference.text("number")?;
        let day = reference.date("date").ok().flatten().map(|day| input.locale.date(day));
        Some(day.map_or_else(|| number.clone(), |day| format!("{number}, {day}")))
    });
    let preceding: Vec<String> = preceding.collect();
    let number_label =
        if codes::is_credit(&invoice.type_code) { "Credit note number" } else { "Invoice number" };
    let delivery = root.get("delivery");
    let type_shown = (invoice.type_code != "380").then(|| format!("{kind} ({})", invoice.type_code));
    key_values([
        input.pair(number_label, text("number")),
        input.pair("Document type", type_shown),
        input.pair("Issue date", date("issue_date")),
        input.pair("Due date", date("due_date")),
        input.pair("Tax point date", date("tax_point_date")),
        input.pair("Delivery date", delivery.date("date").ok().flatten().map(|day| input.locale.date(day))),
        input.pair("Invoicing period", period(input, &root.get("period"))),
        input.pair("Buyer reference", text("buyer_reference")),
        input.pair("Order number", text("order_reference")),
        input.pair("Sales order", text("sales_order_reference")),
        input.pair("Contract", text("contract_reference")),
        input.pair("Project", text("project_reference")),
        input.pair("Despatch advice", text("despatch_reference")),
        input.pair("Receiving advice", text("receipt_reference")),
        input.pair("Preceding invoices", (!preceding.is_empty()).then(|| preceding.join("\n"))),
        input.pair("Tender or lot", text("tender")),
        input.pair("Invoiced object", root.get("object_id").identifier()),
        input.pair("Booking reference", text("accounting_reference")),
        input.pair("Currency", Some(invoice.currency.clone())),
        input.pair("VAT accounting currency", text("tax_currency")),
    ])
}

/// A period as `1 May 2018 – 31 January 2019`.
fn period(input: &Input, period: &Node) -> Option<String> {
    let day = |key: &str| period.date(key).ok().flatten().map(|day| input.locale.date(day));
    let dates = match (day("start"), day("end")) {
        (Some(start), Some(end)) => Some(format!("{start} – {end}")),
        (Some(start), None) => Some(format!("{} {start}", input.label("from"))),
        (None, Some(end)) => Some(format!("{} {end}", input.label("until"))),
        (None, None) => None,
    };
    match (dates, period.text("description")) {
        (Some(dates), Some(text)) => Some(format!("{dates} ({text})")),
        (dates, text) => dates.or(text),
    }
}

/// VAT by category and rate.
fn vat(input: &Input, invoice: &Invoice, totals: &Totals) -> Vec<Block> {
    if totals.groups.is_empty() {
        return Vec::new();
    }
    let money = |value: Decimal| exact_cell(input.locale.money(value, &invoice.currency), value);
    let column = |title: &str, kind, width| Column { title: input.label(title), kind, width };
    let rows: Vec<Vec<Cell>> = totals
        .groups
        .iter()
        .map(|group| {
            let mut category = input.label(codes::vat_category(&group.category));
            for extra in [&group.reason, &group.reason_code].into_iter().flatten() {
                category.push_str(&format!(" – {extra}"));
            }
            let rate =
                group.rate.map_or_else(Cell::default, |rate| exact_cell(input.locale.percent(rate), rate));
            vec![text_cell(category), rate, money(group.base), money(group.amount)]
        })
        .collect();
    let mut sums =
        vec![vec![text_cell(input.label("Total VAT")), Cell::default(), Cell::default(), money(totals.vat)]];
    if let (Some(vat), Some(currency)) = (totals.vat_tax_currency, &invoice.tax_currency) {
        let shown = exact_cell(input.locale.money(vat, currency), vat);
        let label = format!("{} ({currency})", input.label("Total VAT"));
        sums.push(vec![text_cell(label), Cell::default(), Cell::default(), shown]);
    }
    vec![Block::Table(Table {
        caption: input.label("VAT breakdown"),
        columns: vec![
            column("VAT category", ColumnType::Text, 46),
            column("Rate", ColumnType::Percent, 12),
            column("Taxable amount", ColumnType::Money, 21),
            column("VAT amount", ColumnType::Money, 21),
        ],
        rows,
        totals: sums,
    })]
}

/// Notes as given; the subject code in front becomes words.
fn notes(input: &Input, root: &Node) -> Vec<Block> {
    let notes = root.items("notes").into_iter().filter_map(|note| note.own_text());
    notes
        .map(|note| Block::Paragraph { text: super::lines(&codes::note(&note, |label| input.label(label))) })
        .collect()
}

fn attachments(input: &Input, root: &Node) -> Vec<Block> {
    let column = |title: &str, width| Column { title: input.label(title), kind: ColumnType::Text, width };
    let rows: Vec<Vec<Cell>> = root
        .items("attachments")
        .iter()
        .map(|file| {
            let place = [file.text("filename"), file.text("uri")].into_iter().flatten().collect::<Vec<_>>();
            let cell =
                |value: Option<String>| Cell { text: super::lines(&value.unwrap_or_default()), value: None };
            vec![cell(file.text("id")), cell(file.text("description")), cell(Some(place.join("\n")))]
        })
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let columns = vec![column("Document", 30), column("Description", 40), column("File", 30)];
    vec![Block::Table(Table { caption: String::new(), columns, rows, totals: Vec::new() })]
}
