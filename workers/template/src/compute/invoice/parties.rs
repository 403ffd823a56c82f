//! Seller, buyer and whoever else takes part, as address blocks side by side.

use bul_document::{Block, Inline};

use super::super::Input;
use super::codes;
use crate::json::Node;

/// Address blocks of everybody named.
pub(super) fn blocks(input: &Input, root: &Node) -> Vec<Block> {
    let mut out = vec![Block::Columns {
        columns: vec![party(input, &root.get("seller"), "Seller"), party(input, &root.get("buyer"), "Buyer")],
    }];
    let mut others = Vec::new();
    for (key, role) in [("payee", "Payee"), ("tax_representative", "Tax representative")] {
        let node = root.get(key);
        if node.exists() {
            others.push(party(input, &node, role));
        }
    }
    let delivery = delivery(input, &root.get("delivery"));
    if !delivery.is_empty() {
        others.push(delivery);
    }
    if !others.is_empty() {
        out.push(Block::Columns { columns: others });
    }
    out
}

/// Name and address, then what identifies and reaches the party.
fn party(input: &Input, party: &Node, role: &str) -> Vec<Block> {
    let mut address = vec![party.text("name")];
    address.push(party.text("trading_name").filter(|name| Some(name) != party.text("name").as_ref()));
    address.extend(address_lines(input, &party.get("address")));
    let contact = party.get("contact");
    let labelled =
        |label: &str, value: Option<String>| value.map(|value| format!("{}: {value}", input.label(label)));
    let mut details = vec![
        labelled("Contact", contact.text("name")),
        labelled("Telephone", contact.text("phone")),
        labelled("E-mail", contact.text("email")),
        labelled("VAT ID", party.text("vat_id")),
        labelled("Tax number", party.text("tax_id")),
        labelled("Register number", party.get("legal_id").identifier()),
        labelled("Legal information", party.text("legal_form")),
    ];
    details.extend(party.items("ids").iter().map(|id| labelled("Identifier", id.identifier())));
    details.push(labelled("Electronic address", party.get("electronic_address").identifier()));
    let mut blocks = vec![paragraph(Some(input.label(role)), address)];
    if details.iter().any(Option::is_some) {
        blocks.push(paragraph(None, details));
    }
    blocks
}

fn delivery(input: &Input, delivery: &Node) -> Vec<Block> {
    let mut lines = vec![delivery.text("name")];
    lines.extend(address_lines(input, &delivery.get("address")));
    let id = delivery.get("location_id").identifier();
    lines.push(id.map(|id| format!("{}: {id}", input.label("Identifier"))));
    if lines.iter().any(Option::is_some) {
        vec![paragraph(Some(input.label("Delivered to")), lines)]
    } else {
        Vec::new()
    }
}

fn address_lines(input: &Input, address: &Node) -> Vec<Option<String>> {
    let mut lines: Vec<Option<String>> = address.items("lines").iter().map(Node::own_text).collect();
    lines.extend(["street", "additional", "line3"].map(|key| address.text(key)));
    let city = [address.text("postcode"), address.text("city")].into_iter().flatten().collect::<Vec<_>>();
    lines.push(Some(city.join(" ")).filter(|city| !city.is_empty()));
    lines.push(address.text("region"));
    lines.push(address.text("country").map(|country| input.label(codes::country(&country))));
    lines
}

/// Lines below each other, under a strong first line.
fn paragraph(title: Option<String>, lines: Vec<Option<String>>) -> Block {
    let mut text = Vec::new();
    if let Some(title) = title {
        text.push(Inline::Strong { text: bul_document::text(title) });
    }
    for line in lines.into_iter().flatten() {
        if !text.is_empty() {
            text.push(Inline::Break);
        }
        text.extend(super::super::lines(&line));
    }
    Block::Paragraph { text }
}
