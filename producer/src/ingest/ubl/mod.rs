//! UBL 2.1 invoices and credit notes (EN 16931, XRechnung, Peppol BIS) to invoice jobs.
//!
//! Amounts stay the exact decimal text of the document; nothing is computed or rounded here. What
//! is mandatory is required by its path and business term, and all that is missing is reported at
//! once. Embedded files are listed, never carried.

mod line;
mod party;
mod payment;
mod reader;

use bul_job::RawJob;
use serde_json::{Map, Value};

use reader::{Reader, put, put_list, put_map};

use super::error::{IngestError, quote};
use super::xml::{self, Xml};
use super::{IngestLimits, Item};

const INVOICE: &str = "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2";
const CREDIT_NOTE: &str = "urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2";

/// Bytes of an idempotency key derived here; what the job's validation accepts.
const KEY_BYTES_MAX: usize = 180;

/// `DocumentTypeCode` of a reference that identifies the invoiced object (BT-18, BT-128).
const TYPE_OBJECT: &str = "130";
/// `DocumentTypeCode` of a credit note's reference to a project (BT-11).
const TYPE_PROJECT: &str = "50";

/// The two documents differ in a few names only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `Invoice`.
    Invoice,
    /// `CreditNote`.
    CreditNote,
}

impl Form {
    fn type_code(self) -> &'static str {
        match self {
            Self::Invoice => "cbc:InvoiceTypeCode",
            Self::CreditNote => "cbc:CreditNoteTypeCode",
        }
    }

    fn line(self) -> &'static str {
        match self {
            Self::Invoice => "cac:InvoiceLine",
            Self::CreditNote => "cac:CreditNoteLine",
        }
    }

    fn sub_line(self) -> &'static str {
        match self {
            Self::Invoice => "cac:SubInvoiceLine",
            Self::CreditNote => "cac:SubCreditNoteLine",
        }
    }

    fn quantity(self) -> &'static str {
        match self {
            Self::Invoice => "cbc:InvoicedQuantity",
            Self::CreditNote => "cbc:CreditedQuantity",
        }
    }

    fn doc_type(self) -> &'static str {
        match self {
            Self::Invoice => "invoice",
            Self::CreditNote => "credit-note",
        }
    }
}

/// Reads one document.
pub(crate) fn read(bytes: &[u8], limits: &IngestLimits) -> Result<Vec<Item>, IngestError> {
    let text = xml::decode(bytes)?;
    let document = xml::parse(&text, limits)?;
    let (form, root) = find_root(&document)?;
    let lines = root.all(form.line()).count();
    if lines > limits.items_max {
        let max = limits.items_max;
        return Err(IngestError::too_large(format!(
            "the document has {lines} lines, at most {max} (items_max)"
        )));
    }
    let mut reader = Reader::new(form, root);
    let data = invoice(&mut reader, root);
    let data = reader.finish(data)?;
    let job = RawJob {
        template: Some("invoice".into()),
        business_area: Some("finance".into()),
        doc_type: Some(form.doc_type().into()),
        idempotency_key: Some(key(&data)),
        data: Some(data),
        ..RawJob::default()
    };
    Ok(vec![Item { job, place: String::new() }])
}

/// The invoice itself, also inside the envelope that Peppol sends it in.
fn find_root<'a>(document: &'a roxmltree::Document<'a>) -> Result<(Form, Xml<'a>), IngestError> {
    let root = document.root_element();
    let inside = root.children().filter(|_| root.tag_name().name() == "StandardBusinessDocument");
    for node in std::iter::once(root).chain(inside.filter(|n| n.is_element())) {
        match (node.tag_name().namespace(), node.tag_name().name()) {
            (Some(INVOICE), "Invoice") => return Ok((Form::Invoice, Xml(node))),
            (Some(CREDIT_NOTE), "CreditNote") => return Ok((Form::CreditNote, Xml(node))),
            _ => {}
        }
    }
    let name = xml::root_name(document);
    let namespace = root.tag_name().namespace().unwrap_or_default();
    Err(IngestError::unsupported(
        "",
        match root.tag_name().name() {
            "CrossIndustryInvoice" | "CrossIndustryDocument" => "CII is not supported, send UBL".to_owned(),
            "Invoice" | "CreditNote" => {
                format!("the namespace {} of {name} is not that of UBL 2.1", quote(namespace))
            }
            _ if namespace.contains(":ubl:schema:") => {
                format!("UBL {name} is not supported, send an Invoice or a CreditNote")
            }
            _ => format!("the XML document {name} is not supported, send a UBL Invoice or CreditNote"),
        },
    ))
}

fn invoice(r: &mut Reader, root: Xml<'_>) -> Map<String, Value> {
    let mut data = Map::new();
    put(&mut data, "number", r.need_text(root, "cbc:ID", "BT-1"));
    put(&mut data, "type_code", r.need_text(root, r.form.type_code(), "BT-3"));
    put(&mut data, "issue_date", r.need_date(root, "cbc:IssueDate", "BT-2"));
    // A credit note has no due date of its own; its payment means carry it.
    let due = match r.form {
        Form::Invoice => r.date(root, "cbc:DueDate", "BT-9"),
        Form::CreditNote => None,
    };
    let due = due.or_else(|| r.date(root, "cac:PaymentMeans/cbc:PaymentDueDate", "BT-9"));
    put(&mut data, "due_date", due);
    put(&mut data, "tax_point_date", r.date(root, "cbc:TaxPointDate", "BT-7"));
    put(&mut data, "currency", r.need_currency(root, "cbc:DocumentCurrencyCode", "BT-5"));
    put(&mut data, "tax_currency", r.currency(root, "cbc:TaxCurrencyCode", "BT-6"));
    references(root, r, &mut data);
    put_list(&mut data, "notes", root.all("cbc:Note").filter_map(Xml::block).map(Value::from).collect());
    parties(r, root, &mut data);
    put_map(&mut data, "delivery", delivery(r, root));
    put_map(&mut data, "period", r.period(root));
    put_map(&mut data, "payment", payment::payment(root));
    r.adjustments(root, &mut data);
    put_list(&mut data, "vat", payment::vat(r, root));
    put_map(&mut data, "totals", payment::totals(r, root));
    let lines: Vec<Value> = root.all(r.form.line()).map(|line| line::line(r, line, true)).collect();
    if lines.is_empty() {
        r.missing(root, r.form.line(), "BG-25");
    }
    put_list(&mut data, "lines", lines);
    put_list(&mut data, "attachments", attachments(root));
    data
}

fn references(root: Xml<'_>, r: &mut Reader, data: &mut Map<String, Value>) {
    for (key, path) in [
        ("buyer_reference", "cbc:BuyerReference"),
        ("order_reference", "cac:OrderReference/cbc:ID"),
        ("sales_order_reference", "cac:OrderReference/cbc:SalesOrderID"),
        ("contract_reference", "cac:ContractDocumentReference/cbc:ID"),
        ("project_reference", "cac:ProjectReference/cbc:ID"),
        ("despatch_reference", "cac:DespatchDocumentReference/cbc:ID"),
        ("receipt_reference", "cac:ReceiptDocumentReference/cbc:ID"),
        ("tender", "cac:OriginatorDocumentReference/cbc:ID"),
        ("accounting_reference", "cbc:AccountingCost"),
    ] {
        put(data, key, root.text(path));
    }
    let typed = |code: &str| {
        root.all("cac:AdditionalDocumentReference")
            .find(|d| d.text("cbc:DocumentTypeCode").as_deref() == Some(code))
            .and_then(|d| d.at("cbc:ID"))
    };
    if !data.contains_key("project_reference") {
        put(data, "project_reference", typed(TYPE_PROJECT).and_then(Xml::line));
    }
    put(data, "object_id", typed(TYPE_OBJECT).and_then(reader::identifier));
    let mut preceding = Vec::new();
    for reference in root.all("cac:BillingReference").filter_map(|b| b.at("cac:InvoiceDocumentReference")) {
        let mut entry = Map::new();
        put(&mut entry, "number", r.need_text(reference, "cbc:ID", "BT-25"));
        put(&mut entry, "date", r.date(reference, "cbc:IssueDate", "BT-26"));
        preceding.push(Value::Object(entry));
    }
    put_list(data, "preceding_invoices", preceding);
}

fn parties(r: &mut Reader, root: Xml<'_>, data: &mut Map<String, Value>) {
    let seller = r.need(root, "cac:AccountingSupplierParty/cac:Party", "BG-4");
    if let Some(seller) = seller {
        put_map(
            data,
            "seller",
            party::party(r, seller, "cac:PartyLegalEntity/cbc:RegistrationName", "BT-27"),
        );
    }
    let buyer = r.need(root, "cac:AccountingCustomerParty/cac:Party", "BG-7");
    if let Some(buyer) = buyer {
        put_map(data, "buyer", party::party(r, buyer, "cac:PartyLegalEntity/cbc:RegistrationName", "BT-44"));
    }
    if let Some(payee) = root.at("cac:PayeeParty") {
        put_map(data, "payee", party::party(r, payee, "cac:PartyName/cbc:Name", "BT-59"));
    }
    if let Some(agent) = root.at("cac:TaxRepresentativeParty") {
        put_map(data, "tax_representative", party::party(r, agent, "cac:PartyName/cbc:Name", "BT-62"));
    }
}

fn delivery(r: &mut Reader, root: Xml<'_>) -> Map<String, Value> {
    let mut data = Map::new();
    let Some(delivery) = root.at("cac:Delivery") else { return data };
    put(&mut data, "date", r.date(delivery, "cbc:ActualDeliveryDate", "BT-72"));
    put(&mut data, "name", delivery.text("cac:DeliveryParty/cac:PartyName/cbc:Name"));
    let place = delivery.at("cac:DeliveryLocation");
    put(&mut data, "location_id", place.and_then(|p| p.at("cbc:ID")).and_then(reader::identifier));
    if let Some(address) = place.and_then(|p| p.at("cac:Address")) {
        put_map(&mut data, "address", party::address(address));
    }
    data
}

/// Supporting documents (BG-24). Their content is not part of a job.
fn attachments(root: Xml<'_>) -> Vec<Value> {
    let mut list = Vec::new();
    for document in root.all("cac:AdditionalDocumentReference") {
        if matches!(document.text("cbc:DocumentTypeCode").as_deref(), Some(TYPE_OBJECT | TYPE_PROJECT)) {
            continue;
        }
        let mut entry = Map::new();
        put(&mut entry, "id", document.text("cbc:ID"));
        put(&mut entry, "description", document.text("cbc:DocumentDescription"));
        let embedded = document.at("cac:Attachment/cbc:EmbeddedDocumentBinaryObject");
        put(&mut entry, "filename", embedded.and_then(|e| e.attribute("filename")));
        put(&mut entry, "uri", document.text("cac:Attachment/cac:ExternalReference/cbc:URI"));
        list.push(Value::Object(entry));
    }
    list
}

/// `ubl:<seller>:<number>`, to which the caller adds a hash of the job. Both parts are kept apart by
/// escaping; what would be too long becomes a hash of the whole.
fn key(data: &Map<String, Value>) -> String {
    let seller = data.get("seller");
    let seller = ["vat_id", "tax_id", "legal_id", "name"]
        .iter()
        .find_map(|field| match seller?.get(field)? {
            Value::Object(identifier) => identifier.get("id")?.as_str(),
            other => other.as_str(),
        })
        .unwrap_or_default();
    let number = data.get("number").and_then(Value::as_str).unwrap_or_default();
    let part = |text: &str| text.replace('%', "%25").replace(':', "%3A").replace(char::is_whitespace, "");
    let key = format!("ubl:{}:{}", part(seller), part(number));
    if key.len() <= KEY_BYTES_MAX { key } else { format!("ubl:{}", blake3::hash(key.as_bytes()).to_hex()) }
}
