//! Payment, VAT breakdown and totals of a UBL document.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::party::SCHEME_SEPA;
use super::reader::{Reader, put, put_list, put_map};
use crate::ingest::xml::Xml;

/// Terms, reference and every means of payment (BG-16 to BG-19).
pub(super) fn payment(root: Xml<'_>) -> Map<String, Value> {
    let mut data = Map::new();
    let terms: Vec<String> =
        root.all("cac:PaymentTerms").flat_map(|terms| terms.all("cbc:Note")).filter_map(Xml::block).collect();
    put(&mut data, "terms", (!terms.is_empty()).then(|| terms.join("\n")));
    let (mut references, mut seen) = (Vec::new(), HashSet::new());
    for reference in root.all("cac:PaymentMeans").flat_map(|m| m.all("cbc:PaymentID")).filter_map(Xml::line) {
        // Several accounts of one payment repeat its reference.
        if seen.insert(reference.clone()) {
            references.push(reference);
        }
    }
    put(&mut data, "reference", (!references.is_empty()).then(|| references.join(", ")));
    let creditor = creditor_id(root);
    let means = root.all("cac:PaymentMeans").map(|means| Value::Object(mean(means, creditor.as_deref())));
    put_list(&mut data, "means", means.collect());
    data
}

fn mean(means: Xml<'_>, creditor: Option<&str>) -> Map<String, Value> {
    let mut data = Map::new();
    let code = means.at("cbc:PaymentMeansCode");
    put(&mut data, "code", code.and_then(Xml::line));
    put(&mut data, "text", code.and_then(|c| c.attribute("name")));
    if let Some(at) = means.at("cac:PayeeFinancialAccount") {
        let mut account = Map::new();
        put(&mut account, "iban", at.text("cbc:ID"));
        put(&mut account, "name", at.text("cbc:Name"));
        put(&mut account, "bic", at.text("cac:FinancialInstitutionBranch/cbc:ID"));
        put_map(&mut data, "account", account);
    }
    if let Some(at) = means.at("cac:CardAccount") {
        let mut card = Map::new();
        put(&mut card, "number", at.text("cbc:PrimaryAccountNumberID"));
        put(&mut card, "network", at.text("cbc:NetworkID"));
        put(&mut card, "holder", at.text("cbc:HolderName"));
        put_map(&mut data, "card", card);
    }
    if let Some(at) = means.at("cac:PaymentMandate") {
        let mut mandate = Map::new();
        put(&mut mandate, "reference", at.text("cbc:ID"));
        put(&mut mandate, "creditor_id", creditor);
        put(&mut mandate, "account", at.text("cac:PayerFinancialAccount/cbc:ID"));
        put_map(&mut data, "mandate", mandate);
    }
    data
}

/// BT-90 is an identifier of the payee or else of the seller.
fn creditor_id(root: Xml<'_>) -> Option<String> {
    let parties = [root.at("cac:PayeeParty"), root.at("cac:AccountingSupplierParty/cac:Party")];
    parties
        .into_iter()
        .flatten()
        .flat_map(|party| party.all("cac:PartyIdentification"))
        .filter_map(|identification| identification.at("cbc:ID"))
        .find(|id| id.attribute("schemeID") == Some(SCHEME_SEPA))
        .and_then(Xml::line)
}

/// The total of VAT in the currency of the document; the other one is for VAT accounting (BT-111).
fn tax_total(root: Xml<'_>) -> Option<Xml<'_>> {
    let currency = root.text("cbc:DocumentCurrencyCode");
    let in_currency = |total: &Xml<'_>| {
        total.at("cbc:TaxAmount").and_then(|a| a.attribute("currencyID").map(str::to_owned)) == currency
    };
    let with_rows = root.all("cac:TaxTotal").find(|total| total.at("cac:TaxSubtotal").is_some());
    root.all("cac:TaxTotal").find(in_currency).or(with_rows).or_else(|| root.at("cac:TaxTotal"))
}

/// VAT by category and rate (BG-23).
pub(super) fn vat(r: &mut Reader, root: Xml<'_>) -> Vec<Value> {
    let Some(total) = tax_total(root) else { return Vec::new() };
    let mut rows = Vec::new();
    for row in total.all("cac:TaxSubtotal") {
        let mut data = Map::new();
        put(&mut data, "category", r.category(row, "cac:TaxCategory/cbc:ID", "BT-118"));
        put(&mut data, "rate", r.number(row, "cac:TaxCategory/cbc:Percent", "BT-119"));
        put(&mut data, "base", r.need_amount(row, "cbc:TaxableAmount", "BT-116"));
        put(&mut data, "amount", r.need_amount(row, "cbc:TaxAmount", "BT-117"));
        if let Some(category) = row.at("cac:TaxCategory") {
            let reasons: Vec<String> = category.all("cbc:TaxExemptionReason").filter_map(Xml::line).collect();
            put(&mut data, "exemption_reason", (!reasons.is_empty()).then(|| reasons.join(" ")));
            put(&mut data, "exemption_code", category.text("cbc:TaxExemptionReasonCode"));
        }
        rows.push(Value::Object(data));
    }
    rows
}

/// Totals as the document states them (BG-22).
pub(super) fn totals(r: &mut Reader, root: Xml<'_>) -> Map<String, Value> {
    let mut data = Map::new();
    let Some(at) = r.need(root, "cac:LegalMonetaryTotal", "BG-22") else { return data };
    put(&mut data, "lines", r.need_amount(at, "cbc:LineExtensionAmount", "BT-106"));
    put(&mut data, "allowances", r.amount(at, "cbc:AllowanceTotalAmount", "BT-107"));
    put(&mut data, "charges", r.amount(at, "cbc:ChargeTotalAmount", "BT-108"));
    put(&mut data, "net", r.need_amount(at, "cbc:TaxExclusiveAmount", "BT-109"));
    let total = tax_total(root);
    if let Some(total) = total {
        put(&mut data, "vat", r.amount(total, "cbc:TaxAmount", "BT-110"));
    }
    let other = root.all("cac:TaxTotal").find(|t| total.is_none_or(|total| t.0 != total.0));
    if let Some(amount) = other.and_then(|t| t.at("cbc:TaxAmount")) {
        put(&mut data, "vat_tax_currency", r.decimal(amount, "BT-111"));
    }
    put(&mut data, "gross", r.need_amount(at, "cbc:TaxInclusiveAmount", "BT-112"));
    put(&mut data, "prepaid", r.amount(at, "cbc:PrepaidAmount", "BT-113"));
    put(&mut data, "rounding", r.amount(at, "cbc:PayableRoundingAmount", "BT-114"));
    put(&mut data, "payable", r.need_amount(at, "cbc:PayableAmount", "BT-115"));
    data
}
