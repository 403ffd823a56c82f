//! Lines of a UBL document (BG-25), with the lines below them.

use serde_json::{Map, Value};

use super::TYPE_OBJECT;
use super::reader::{Reader, identifier, put, put_list, put_map};
use crate::ingest::xml::Xml;

/// One line. A line below another one explains it and need not state amounts of its own.
pub(super) fn line(r: &mut Reader, at: Xml<'_>, top: bool) -> Value {
    let mut data = Map::new();
    let quantity = r.form.quantity();
    if top {
        put(&mut data, "id", r.need_text(at, "cbc:ID", "BT-126"));
        r.need_text(at, quantity, "BT-129");
        r.need_text(at, "cbc:LineExtensionAmount", "BT-131");
        if r.need(at, "cac:Price", "BG-29").is_some() {
            r.need_text(at, "cac:Price/cbc:PriceAmount", "BT-146");
        }
    } else {
        put(&mut data, "id", at.text("cbc:ID"));
    }
    item(r, at, &mut data);
    put(&mut data, "note", at.at("cbc:Note").and_then(Xml::block));
    put(&mut data, "quantity", r.number(at, quantity, "BT-129"));
    put(&mut data, "unit", at.at(quantity).and_then(|q| q.attribute("unitCode")));
    price(r, at, &mut data);
    put(&mut data, "net", r.amount(at, "cbc:LineExtensionAmount", "BT-131"));
    put_map(&mut data, "period", r.period(at));
    put(&mut data, "order_line", at.text("cac:OrderLineReference/cbc:LineID"));
    let object = at.all("cac:DocumentReference").find(|d| {
        // The code may be left out: a line has no other use for a document reference.
        d.text("cbc:DocumentTypeCode").is_none_or(|code| code == TYPE_OBJECT)
    });
    put(&mut data, "object_id", object.and_then(|d| d.at("cbc:ID")).and_then(identifier));
    put(&mut data, "accounting_reference", at.text("cbc:AccountingCost"));
    r.adjustments(at, &mut data);
    let sub_lines: Vec<Value> = at.all(r.form.sub_line()).map(|sub| line(r, sub, false)).collect();
    put_list(&mut data, "sub_lines", sub_lines);
    Value::Object(data)
}

fn price(r: &mut Reader, line: Xml<'_>, data: &mut Map<String, Value>) {
    let Some(at) = line.at("cac:Price") else { return };
    put(data, "unit_price", r.amount(at, "cbc:PriceAmount", "BT-146"));
    put(data, "base_quantity", r.number(at, "cbc:BaseQuantity", "BT-149"));
    put(data, "gross_price", r.amount(at, "cac:AllowanceCharge/cbc:BaseAmount", "BT-148"));
    put(data, "discount", r.amount(at, "cac:AllowanceCharge/cbc:Amount", "BT-147"));
}

fn item(r: &mut Reader, line: Xml<'_>, data: &mut Map<String, Value>) {
    let Some(item) = r.need(line, "cac:Item", "BG-31") else { return };
    put(data, "name", r.need_text(item, "cbc:Name", "BT-153"));
    put(data, "description", item.at("cbc:Description").and_then(Xml::block));
    put(data, "seller_item_id", item.text("cac:SellersItemIdentification/cbc:ID"));
    put(data, "buyer_item_id", item.text("cac:BuyersItemIdentification/cbc:ID"));
    let standard = item.at("cac:StandardItemIdentification/cbc:ID");
    put(data, "standard_item_id", standard.and_then(identifier));
    let codes = item.all("cac:CommodityClassification").flat_map(|c| c.all("cbc:ItemClassificationCode"));
    put_list(data, "classifications", codes.filter_map(identifier).collect());
    put(data, "origin", item.text("cac:OriginCountry/cbc:IdentificationCode"));
    put(data, "vat_category", r.category(item, "cac:ClassifiedTaxCategory/cbc:ID", "BT-151"));
    put(data, "vat_rate", r.number(item, "cac:ClassifiedTaxCategory/cbc:Percent", "BT-152"));
    let mut attributes = Vec::new();
    for property in item.all("cac:AdditionalItemProperty") {
        let mut attribute = Map::new();
        put(&mut attribute, "name", r.need_text(property, "cbc:Name", "BT-160"));
        put(&mut attribute, "value", Some(property.text("cbc:Value").unwrap_or_default()));
        attributes.push(Value::Object(attribute));
    }
    put_list(data, "attributes", attributes);
}
