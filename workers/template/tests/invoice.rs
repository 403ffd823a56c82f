//! Invoices: arithmetic, comparison with given amounts, completeness.
#![recursion_limit = "256"]

mod common;

use bul_document::Block;
use bul_template::{Catalog, Severity, TemplateError};
use common::{plan, render, text_of};
use proptest::prelude::*;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

fn catalog() -> Catalog {
    Catalog::builtin().expect("catalog")
}

fn simple(lines: Value) -> Value {
    json!({"number": "R-1", "issue_date": "2026-11-16", "currency": "EUR", "seller": {"name": "Seller"},
        "buyer": {"name": "Buyer"}, "lines": lines})
}

fn fact(catalog: &Catalog, data: &Value, name: &str) -> String {
    let done = render(catalog, "invoice", "en", data).expect("renders");
    done.document.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.clone()).expect("fact")
}

fn cents(value: Decimal) -> Decimal {
    value.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn totals_follow_en_16931(lines in proptest::collection::vec((1_i64..100_000, 0_i64..10_000_000, 0_usize..3), 1..15)) {
        let catalog = catalog();
        let rates = [Decimal::from(19), Decimal::from(7), Decimal::ZERO];
        let rows: Vec<Value> = lines
            .iter()
            .map(|(quantity, price, rate)| json!({"name": "x", "quantity": Decimal::new(*quantity, 3).to_string(),
                "unit_price": Decimal::new(*price, 4).to_string(), "vat_rate": rates[*rate].to_string()}))
            .collect();
        let data = simple(json!(rows));
        // The slow way: line nets rounded first, VAT rounded once for each rate.
        let net_of = |(quantity, price, _): &(i64, i64, usize)| cents(Decimal::new(*quantity, 3) * Decimal::new(*price, 4));
        let net: Decimal = lines.iter().map(net_of).sum();
        let mut vat = Decimal::ZERO;
        for (at, rate) in rates.iter().enumerate() {
            let base: Decimal = lines.iter().filter(|line| line.2 == at).map(net_of).sum();
            vat += cents(base * rate / Decimal::ONE_HUNDRED);
        }
        let done = render(&catalog, "invoice", "en", &data).expect("renders");
        prop_assert!(done.findings.is_empty(), "{:?}", done.findings);
        let table = done.document.blocks.iter().find_map(|block| match block {
            Block::Table(table) => Some(table),
            _ => None,
        }).expect("lines");
        let totals: Vec<String> = table.totals.iter().filter_map(|row| row.last()?.value.clone()).collect();
        let last: Decimal = totals.last().expect("payable").parse().expect("decimal");
        prop_assert_eq!(last, net + vat);
        prop_assert_eq!(table.rows.len(), lines.len());
    }
}

#[test]
fn halves_are_rounded_up() {
    let catalog = catalog();
    for (quantity, price, rate, payable) in [
        ("1", "0.005", "0", "€0.01"),
        ("3", "0.335", "0", "€1.01"),
        ("1", "10.50", "19", "€12.50"),
        ("-1", "10.50", "19", "-€12.50"),
        ("0.5", "0.01", "0", "€0.01"),
    ] {
        let data =
            simple(json!([{"name": "x", "quantity": quantity, "unit_price": price, "vat_rate": rate}]));
        assert_eq!(fact(&catalog, &data, "payable"), payable, "{quantity} × {price}");
    }
}

#[test]
fn numbers_may_be_json_numbers_or_strings() {
    let catalog = catalog();
    let data = simple(json!([{"name": "x", "quantity": 3, "unit_price": 0.1, "vat_rate": 19},
        {"name": "y", "quantity": "2.50", "unit_price": "1.10", "vat_rate": "7.0"}]));
    assert_eq!(fact(&catalog, &data, "net"), "€3.05");
    assert_eq!(fact(&catalog, &data, "payable"), "€3.30");
}

#[test]
fn wrong_totals_are_printed_and_reported() {
    let catalog = catalog();
    let mut data =
        simple(json!([{"name": "x", "quantity": 2, "unit_price": "10", "vat_rate": 19, "net": "25.00"}]));
    data["totals"] = json!({"net": "20.00", "vat": "3.80", "gross": "23.80", "payable": "99.00"});
    let done = render(&catalog, "invoice", "en", &data).expect("renders");
    let paths: Vec<&str> = done.findings.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["/lines/0/net", "/totals/net", "/totals/vat", "/totals/payable"]);
    assert!(done.findings.iter().all(|f| f.rule == "invoice.total" && f.severity == Severity::Error));
    assert!(text_of(&done.document).contains("Amount payable||||€99.00"), "{}", text_of(&done.document));
}

#[test]
fn a_vat_breakdown_is_compared_with_the_lines() {
    let catalog = catalog();
    let mut data = simple(json!([
        {"name": "x", "quantity": 1, "unit_price": "100", "vat_rate": 19},
        {"name": "y", "quantity": 1, "unit_price": "100", "vat_category": "AE", "vat_rate": 0}]));
    data["vat"] = json!([{"category": "S", "rate": 19, "base": "100.00", "amount": "19.50"}]);
    let done = render(&catalog, "invoice", "en", &data).expect("renders");
    let seen: Vec<(&str, &str)> = done.findings.iter().map(|f| (f.rule.as_str(), f.path.as_str())).collect();
    assert_eq!(seen, [("invoice.total", "/vat/0/amount"), ("invoice.vat", "/vat")]);
    data["vat"] = json!([{"category": "S", "rate": 19, "base": "100.00", "amount": "19.00"},
        {"category": "AE", "rate": 0, "base": "100.00", "amount": 0, "exemption_reason": "Reverse charge applies"}]);
    let done = render(&catalog, "invoice", "en", &data).expect("renders");
    assert!(done.findings.is_empty(), "{:?}", done.findings);
    let text = text_of(&done.document);
    assert!(text.contains("VAT is owed by the buyer – Reverse charge applies"), "{text}");
}

/// Marks a text so that it can be found again.
fn text(name: &str) -> String {
    format!("~{name}~")
}

/// A party with every member filled.
fn party(name: &str) -> Value {
    json!({"name": text(name), "trading_name": text(&format!("{name}trade")), "ids": [text(&format!("{name}id")),
            {"id": text(&format!("{name}gln")), "scheme": "0088"}], "vat_id": text(&format!("{name}vat")),
            "tax_id": text(&format!("{name}tax")), "legal_id": text(&format!("{name}legal")),
            "legal_form": text(&format!("{name}form")),
            "address": {"lines": [text(&format!("{name}l1"))], "street": text(&format!("{name}street")),
                "additional": text(&format!("{name}add")), "line3": text(&format!("{name}l3")),
                "postcode": text(&format!("{name}zip")), "city": text(&format!("{name}city")),
                "region": text(&format!("{name}region")), "country": text(&format!("{name}land"))},
            "contact": {"name": text(&format!("{name}who")), "phone": text(&format!("{name}tel")),
                "email": text(&format!("{name}mail"))},
            "electronic_address": {"id": text(&format!("{name}ep")), "scheme": "EM"}})
}

/// An invoice with every member filled.
fn everything(long: &str) -> Value {
    json!({
        "number": text("number"), "type_code": 384, "issue_date": "2026-11-16", "currency": "EUR",
        "buyer_reference": text("buyerref"), "order_reference": text("order"), "sales_order_reference": text("sales"),
        "contract_reference": text("contract"), "project_reference": text("project"),
        "despatch_reference": text("despatch"), "receipt_reference": text("receipt"),
        "preceding_invoices": [{"number": text("before"), "date": "2026-01-02"}], "tender": text("tender"),
        "object_id": {"id": text("object"), "scheme": "AAZ"}, "accounting_reference": text("account"),
        "notes": [text("note"), format!("#ADU#{}", text("adu"))],
        "seller": party("seller"), "buyer": party("buyer"), "payee": party("payee"),
        "tax_representative": party("rep"),
        "delivery": {"date": "2026-03-04", "name": text("place"), "location_id": text("loc"),
            "address": {"city": text("delcity")}},
        "period": {"start": "2026-05-06", "end": "2026-07-08", "description": text("perioddesc")},
        "payment": {"terms": format!("#SKONTO#TAGE=7#PROZENT=2.00#\n{}", text("terms")), "reference": text("payref"),
            "means": [{"code": "59", "text": text("means"), "account": {"iban": text("iban"), "name": text("holder"),
                "bic": text("bic")}, "card": {"number": text("card"), "network": text("net"), "holder": text("cardholder")},
                "mandate": {"reference": text("mandate"), "creditor_id": text("creditor"), "account": text("debited")}}]},
        "allowances": [{"reason": text("allowance"), "amount": "1.11", "vat_category": "S", "vat_rate": 19}],
        "charges": [{"reason": text("charge"), "amount": "2.22", "vat_category": "S", "vat_rate": 19}],
        "lines": [{"id": text("pos"), "name": text("item"), "description": long, "note": text("linenote"),
            "quantity": "3", "unit": "XYZ", "unit_price": "33.3333", "gross_price": "44.4444", "discount": "11.1111",
            "vat_category": "S", "vat_rate": 19, "period": {"start": "2026-08-09"}, "order_line": text("orderline"),
            "object_id": text("lineobject"), "accounting_reference": text("lineaccount"),
            "seller_item_id": text("selleritem"), "buyer_item_id": text("buyeritem"),
            "standard_item_id": {"id": text("gtin"), "scheme": "0160"},
            "classifications": [{"id": text("class"), "scheme": "CPV"}], "origin": text("origin"),
            "attributes": [{"name": text("attr"), "value": text("attrvalue")}],
            "allowances": [{"reason": text("lineallowance"), "amount": "5.55"}],
            "charges": [{"reason": text("linecharge"), "base": "10", "percent": "7"}],
            "sub_lines": [{"name": text("sub"), "net": "7.77"}]}],
        "totals": {"prepaid": "8.88", "rounding": "0.01"},
        "attachments": [{"id": text("attid"), "description": text("attdesc"), "filename": text("file"), "uri": text("uri")}]
    })
}

#[test]
fn all_data_is_printed() {
    let catalog = catalog();
    let long = "A long description. ".repeat(200);
    let data = everything(long.trim());
    let done = render(&catalog, "invoice", "en", &data).expect("renders");
    let printed = text_of(&done.document);
    let mut missing = Vec::new();
    strings(&data, &mut |value| {
        if value.starts_with('~') && !printed.contains(value) {
            missing.push(value.to_owned());
        }
    });
    assert!(missing.is_empty(), "{missing:?}\n{printed}");
    for expected in [
        long.trim(),
        "Corrected invoice",
        "16 November 2026",
        "2 January 2026",
        "4 March 2026",
        "6 May 2026 – 8 July 2026",
        "from 9 August 2026",
        "€33.3333",
        "€44.4444",
        "€11.1111",
        "3 XYZ",
        "-€1.11",
        "€2.22",
        "-€5.55",
        "€0.70",
        "€7.77",
        "-€8.88",
        "€0.01",
        "#SKONTO#TAGE=7#PROZENT=2.00#",
        "SEPA direct debit",
        "19%",
    ] {
        assert!(printed.contains(expected), "{expected} in\n{printed}");
    }
}

fn strings(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, visit)),
        Value::Object(members) => members.values().for_each(|member| strings(member, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn problems_name_their_pointers() {
    let catalog = catalog();
    let pointers = |data: Value| match plan(&catalog, "invoice", "en", &data) {
        Err(error @ TemplateError::Data { .. }) => {
            let mut list: Vec<String> = error.fields().into_iter().map(|(at, _)| at).collect();
            list.sort();
            list
        }
        other => panic!("{:?}", other.map(|plan| plan.meta)),
    };
    let line = json!([{"name": "x", "unit_price": 1}]);
    let mut data = simple(line.clone());
    data["lines"][0]["quantity"] = json!("many");
    assert_eq!(pointers(data), ["/lines/0/quantity"]);
    let mut data = simple(line.clone());
    data["lines"][0]["colour"] = json!("red");
    data["issue_date"] = json!("2026-02-30");
    assert_eq!(pointers(data), ["/issue_date", "/lines/0/colour"]);
    assert_eq!(pointers(simple(json!([{"name": "x"}]))), ["/lines/0/unit_price"]);
    assert_eq!(pointers(simple(json!([{"name": "x", "unit_price": 1e300}]))), ["/lines/0/unit_price"]);
    assert_eq!(
        pointers(simple(json!([{"name": "x", "unit_price": 1, "base_quantity": 0}]))),
        ["/lines/0/base_quantity"]
    );
    let huge = json!([{"name": "x", "quantity": "999999999999999", "unit_price": "999999999999999"}]);
    assert_eq!(pointers(simple(huge)), ["/lines/0/net"]);
    let mut data = simple(line);
    data["number"] = json!("  ");
    data["allowances"] = json!([{"reason": "r"}]);
    assert_eq!(pointers(data), ["/allowances/0/amount", "/number"]);
    assert_eq!(pointers(json!({})).len(), 6);
}

#[test]
fn null_means_not_given() {
    let catalog = catalog();
    let mut data = simple(json!([{"name": "x", "unit_price": 1, "note": null}]));
    data["due_date"] = Value::Null;
    data["seller"]["address"] = Value::Null;
    assert!(render(&catalog, "invoice", "en", &data).is_ok());
}

#[test]
fn ten_thousand_lines_are_planned_quickly() {
    let catalog = catalog();
    let lines: Vec<Value> = (0..10_000)
        .map(|at| json!({"name": format!("Item {at}"), "quantity": 2, "unit_price": "1.50", "vat_rate": 19}))
        .collect();
    let start = std::time::Instant::now();
    let done = render(&catalog, "invoice", "en", &simple(json!(lines))).expect("renders");
    assert!(text_of(&done.document).contains("€35,700.00"));
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
