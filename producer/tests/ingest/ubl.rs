//! UBL: everything of a full invoice, a credit note, and what is said about a broken one.

use bul_producer::ingest::Source;
use serde_json::{Value, json};

use crate::support::{check_error, check_values, data, fixture, one, places};

fn invoice() -> String {
    String::from_utf8(fixture("invoice_two_rates.xml")).expect("UTF-8")
}

#[test]
fn every_part_of_an_invoice_arrives() {
    let job = one(Source::Ubl, invoice().as_bytes());
    assert_eq!(job.template.as_deref(), Some("invoice"));
    assert_eq!(job.business_area.as_deref(), Some("finance"));
    assert_eq!(job.doc_type.as_deref(), Some("invoice"));
    assert!(
        job.idempotency_key.as_deref().is_some_and(|key| key.starts_with("ubl:DE123456789:LM-2026/0417:"))
    );
    assert_eq!(job.formats, None);
    let data = data(&job);
    check_values(
        &data,
        &[
            ("/number", json!("LM-2026/0417")),
            ("/type_code", json!("380")),
            ("/issue_date", json!("2026-03-09")),
            ("/due_date", json!("2026-03-30")),
            ("/tax_point_date", json!("2026-03-05")),
            ("/currency", json!("EUR")),
            ("/tax_currency", json!("CHF")),
            ("/accounting_reference", json!("4711-KITCHEN")),
            ("/buyer_reference", json!("04011000-1234512345-06")),
            (
                "/notes",
                json!(["#AAI#Deliveries to the service entrance only.", "Thank you\nfor your order."]),
            ),
            ("/period", json!({"start": "2026-02-01", "end": "2026-02-28"})),
            ("/order_reference", json!("PO-88")),
            ("/sales_order_reference", json!("SO-19")),
            ("/preceding_invoices", json!([{"number": "LM-2026/0311", "date": "2026-02-11"}])),
            ("/despatch_reference", json!("DN-5")),
            ("/receipt_reference", json!("GR-6")),
            ("/tender", json!("LOT-2")),
            ("/contract_reference", json!("C-2025-3")),
            ("/project_reference", json!("REFIT")),
            ("/object_id", json!({"id": "METER-9", "scheme": "ABT"})),
            (
                "/attachments",
                json!([
                    {"id": "A1", "description": "Delivery note", "filename": "note.pdf"},
                    {"id": "A2", "uri": "https://files.example/a2"},
                ]),
            ),
        ],
    );
}

#[test]
fn parties_delivery_and_payment() {
    let data = data(&one(Source::Ubl, invoice().as_bytes()));
    check_values(
        &data,
        &[
            (
                "/seller",
                json!({
                    "name": "Lindmoor & Söhne GmbH",
                    "trading_name": "Lindmoor",
                    "ids": [{"id": "4012345000009", "scheme": "0088"}],
                    "vat_id": "DE 123 456 789",
                    "tax_id": "21/815/08150",
                    "legal_id": {"id": "HRB 4711", "scheme": "0198"},
                    "legal_form": "Amtsgericht Lübeck",
                    "address": {
                        "street": "Werftstraße 5", "additional": "Halle 2", "line3": "Tor B", "postcode": "23552",
                        "city": "Lübeck", "region": "Schleswig-Holstein", "country": "DE",
                    },
                    "contact": {"name": "I. Lind", "phone": "+49 451 000", "email": "post@lindmoor.example"},
                    "electronic_address": {"id": "4012345000009", "scheme": "0088"},
                }),
            ),
            ("/buyer", json!({"name": "Hotel Ostsee AG"})),
            ("/payee", json!({"name": "Nordfaktor"})),
            ("/tax_representative", json!({"name": "Steuerhaus"})),
            (
                "/delivery",
                json!({
                    "date": "2026-03-05", "name": "Kitchen",
                    "location_id": {"id": "4098765000004", "scheme": "0088"},
                    "address": {"city": "Timmendorf"},
                }),
            ),
            ("/payment/terms", json!("2 % within 7 days.\nNet within 21 days.")),
            ("/payment/reference", json!("LM-0417")),
            (
                "/payment/means",
                json!([
                    {
                        "code": "58", "text": "SEPA credit transfer",
                        "account": {"iban": "DE02120300000000202051", "name": "Nordfaktor", "bic": "BYLADEM1001"},
                    },
                    {
                        "code": "59",
                        "mandate": {
                            "reference": "M-77", "creditor_id": "DE98ZZZ09999999999",
                            "account": "DE75512108001245126199",
                        },
                    },
                    {"code": "48", "card": {"number": "****4242", "network": "VISA", "holder": "Hotel Ostsee"}},
                ]),
            ),
        ],
    );
}

#[test]
fn amounts_are_the_exact_text() {
    let data = data(&one(Source::Ubl, invoice().as_bytes()));
    check_values(
        &data,
        &[
            (
                "/allowances",
                json!([{
                    "reason": "Loyalty", "reason_code": "95", "amount": "20.00", "base": "200.00", "percent": "10",
                    "vat_category": "S", "vat_rate": "19",
                }]),
            ),
            (
                "/charges",
                json!([{"reason": "Freight", "amount": "12.50", "vat_category": "S", "vat_rate": "19"}]),
            ),
            (
                "/vat",
                json!([
                    {"category": "S", "rate": "19", "base": "187.50", "amount": "35.63"},
                    {"category": "S", "rate": "7.00", "base": "100.70", "amount": "7.05"},
                ]),
            ),
            (
                "/totals",
                json!({
                    "lines": "295.70", "allowances": "20.00", "charges": "12.50", "net": "288.20", "vat": "42.68",
                    "vat_tax_currency": "40.30", "gross": "330.88", "prepaid": "30.88", "rounding": "-0.00",
                    "payable": "300.00",
                }),
            ),
            (
                "/lines/0",
                json!({
                    "id": "10", "name": "Fitting", "description": "Fitting of two ovens",
                    "seller_item_id": "S-1", "buyer_item_id": "B-1",
                    "standard_item_id": {"id": "4012345678901", "scheme": "0160"},
                    "classifications": [{"id": "72150000", "scheme": "STI"}],
                    "origin": "DK", "vat_category": "S", "vat_rate": "19",
                    "attributes": [{"name": "Colour", "value": "Steel"}],
                    "note": "As agreed.", "quantity": "2.5", "unit": "HUR", "unit_price": "80.0000",
                    "base_quantity": "1", "gross_price": "84", "discount": "4", "net": "195.00",
                    "period": {"start": "2026-02-02", "end": "2026-02-03"},
                    "order_line": "1", "object_id": {"id": "OBJ-1", "scheme": "ABU"},
                    "accounting_reference": "4712",
                    "allowances": [{"reason": "Delay", "amount": "5.00"}],
                    "sub_lines": [
                        {"id": "10.1", "name": "Upper oven", "quantity": "1", "unit": "HUR", "net": "80.00"}
                    ],
                }),
            ),
            ("/lines/1/net", json!("100.70")),
            ("/lines/2", Value::Null),
        ],
    );
}

#[test]
fn a_credit_note_in_latin_1() {
    let text = String::from_utf8(fixture("credit_note.xml")).expect("ASCII").replace("Plank", "Pl\u{1}nk");
    let bytes: Vec<u8> = text.bytes().map(|b| if b == 1 { 0xE5 } else { b }).collect();
    let job = one(Source::Ubl, &bytes);
    assert_eq!(job.doc_type.as_deref(), Some("credit-note"));
    assert!(job.idempotency_key.as_deref().is_some_and(|key| key.starts_with("ubl:556000-0001:CN-7:")));
    check_values(
        &data(&job),
        &[
            ("/type_code", json!("381")),
            ("/due_date", json!("2026-05-01")),
            ("/project_reference", json!("BRIDGE")),
            ("/buyer/name", json!("Skog AB")),
            ("/buyer/trading_name", Value::Null),
            ("/preceding_invoices", json!([{"number": "F-6"}])),
            ("/lines/0/name", json!("Plånk")),
            ("/lines/0/quantity", json!("1")),
            ("/totals/payable", json!("125")),
            ("/attachments", Value::Null),
        ],
    );
}

#[test]
fn all_that_is_missing_is_named_by_path_and_term() {
    let text = invoice()
        .replacen("<b:ID>LM-2026/0417</b:ID>", "", 1)
        .replace("2026-03-30", "30.03.2026")
        .replace("<b:Name>Cookery book</b:Name>", "")
        .replace("<b:PayableAmount currencyID=\"EUR\">300.00", "<b:PayableAmount currencyID=\"USD\">300,00");
    assert_eq!(
        places(Source::Ubl, text.as_bytes()),
        [
            "Invoice/cbc:ID (BT-1) is missing",
            "Invoice/cbc:DueDate (BT-9) is \"30.03.2026\", not a date such as 2026-11-16",
            "Invoice/cac:LegalMonetaryTotal/cbc:PayableAmount (BT-115) is in \"USD\", the document in \"EUR\" (BT-5)",
            "Invoice/cac:LegalMonetaryTotal/cbc:PayableAmount (BT-115) is \"300,00\", not a decimal number such as 1234.50",
            "Invoice/cac:InvoiceLine[2]/cac:Item/cbc:Name (BT-153) is missing",
        ]
    );
    check_error(Source::Ubl, text.as_bytes(), "Invoice/cbc:ID (BT-1) is missing (and 4 more)");
}

#[test]
fn other_documents_are_told_apart() {
    let cii = "<rsm:CrossIndustryInvoice xmlns:rsm='urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100'/>";
    check_error(Source::Ubl, cii.as_bytes(), "CII is not supported, send UBL");
    let order = "<Order xmlns='urn:oasis:names:specification:ubl:schema:xsd:Order-2'/>";
    check_error(Source::Ubl, order.as_bytes(), "UBL \"Order\" is not supported");
    check_error(Source::Ubl, b"<html/>", "send a UBL Invoice or CreditNote");
    check_error(Source::Ubl, b"<Invoice/>", "is not that of UBL 2.1");
    let enveloped = invoice().replacen("<inv:Invoice", "<StandardBusinessDocument><inv:Invoice", 1);
    let enveloped = enveloped.replacen("<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "", 1)
        + "</StandardBusinessDocument>";
    assert_eq!(data(&one(Source::Ubl, enveloped.as_bytes()))["number"], "LM-2026/0417");
}

#[test]
fn utf_16_by_its_mark() {
    let text = invoice().replacen("UTF-8", "UTF-16", 1);
    let mut bytes = vec![0xFF, 0xFE];
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(data(&one(Source::Ubl, &bytes))["seller"]["name"], "Lindmoor & Söhne GmbH");
}

#[test]
fn long_identifiers_make_a_bounded_key() {
    let long = invoice().replace("LM-2026/0417", &"9".repeat(400));
    let key = one(Source::Ubl, long.as_bytes()).idempotency_key.expect("a key");
    assert!(key.starts_with("ubl:") && key.len() < 100, "{key}");
}
