//! How to pay: means, accounts, mandates and the terms exactly as given.

use bul_document::Block;

use super::super::{Input, key_values, lines};
use super::codes;
use crate::json::Node;

/// Payment details.
pub(super) fn blocks(input: &Input, root: &Node) -> Vec<Block> {
    let payment = root.get("payment");
    let mut out = Vec::new();
    let means = payment.items("means");
    let mut rows = Vec::new();
    for mean in &means {
        let account = mean.get("account");
        let card = mean.get("card");
        let mandate = mean.get("mandate");
        let card_number =
            [card.text("network"), card.text("number")].into_iter().flatten().collect::<Vec<_>>();
        rows.extend([
            input.pair("Means of payment", means_text(input, mean)),
            input.pair("Account holder", account.text("name")),
            input.pair("IBAN", account.text("iban")),
            input.pair("BIC", account.text("bic")),
            input.pair("Card", Some(card_number.join(" "))),
            input.pair("Card holder", card.text("holder")),
            input.pair("Mandate reference", mandate.text("reference")),
            input.pair("Creditor identifier", mandate.text("creditor_id")),
            input.pair("Debited account", mandate.text("account")),
        ]);
    }
    rows.push(input.pair("Payment reference", payment.text("reference")));
    rows.push(input.pair("Due date", root.date("due_date").ok().flatten().map(|day| input.locale.date(day))));
    out.extend(key_values(rows));
    if let Some(terms) = payment.text("terms") {
        out.push(Block::Paragraph { text: lines(&terms) });
    }
    out
}

/// The code in words and the sender's own words.
fn means_text(input: &Input, mean: &Node) -> Option<String> {
    let code = mean.text("code");
    let word = code.as_deref().and_then(codes::payment_means).map(|word| input.label(word));
    match (word.or(code), mean.text("text")) {
        (Some(code), Some(text)) if code != text => Some(format!("{code} – {text}")),
        (code, text) => code.or(text),
    }
}
