//! Short services agreements: facts for the clauses, the parties, and what the dates must obey.

use bul_document::{Block, Inline};
use serde_json::json;

use super::{Input, Outcome, Prepared, lines};
use crate::error::Problem;
use crate::finding::{Finding, Severity};
use crate::json::Node;

/// Plans a contract.
pub(super) fn prepare(input: &Input) -> Outcome {
    let root = Node::root(input.data);
    let mut prepared = Prepared::default();
    facts(input, &root, &mut prepared)?;
    let subject = root.text("subject").unwrap_or_default();
    prepared.title = root.text("title").unwrap_or_else(|| {
        format!("{}: {}", input.label("Contract"), crate::prompt::one_line(&subject, 120))
    });
    prepared.date = root.text("date");
    prepared.author = root.get("provider").text("name").unwrap_or_default();
    prepared.sources =
        root.text("number").map(|n| format!("{} {n}", input.label("Contract"))).into_iter().collect();
    check_dates(&root, &mut prepared.findings)?;
    let parties =
        vec![party(input, &root.get("client"), "Client"), party(input, &root.get("provider"), "Provider")];
    prepared.parts.insert("parties".into(), vec![Block::Columns { columns: parties }]);
    let signs = |key: &str, role: &str| {
        let party = root.get(key);
        let name = party.text("name").unwrap_or_default();
        let signer = [party.text("representative"), party.text("representative_role")];
        let signer = signer.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let role = input.label(role);
        json!({ "name": name, "role": if signer.is_empty() { role } else { format!("{role}: {signer}") } })
    };
    let signatures = json!([signs("client", "Client"), signs("provider", "Provider")]);
    prepared.context.insert("signatures".into(), signatures);
    Ok(prepared)
}

fn facts(input: &Input, root: &Node, prepared: &mut Prepared) -> Result<(), Vec<Problem>> {
    let locale = input.locale;
    let facts = &mut prepared.facts;
    let date = |key: &str| root.date(key).map_err(|p| vec![p]).map(|day| day.map(|day| locale.date(day)));
    facts.add_some("party_a", root.get("client").text("name"), "/client/name");
    facts.add_some("party_b", root.get("provider").text("name"), "/provider/name");
    facts.add_some("subject", root.text("subject"), "/subject");
    facts.add_some("start_date", date("start_date")?, "/start_date");
    facts.add_some("end_date", date("end_date")?, "/end_date");
    facts.add_some("fee", fee(input, root)?, "/fee");
    facts.add_some("governing_law", root.text("governing_law"), "/governing_law");
    facts.add_some("notice_period", root.text("notice_period"), "/notice_period");
    facts.add_some("jurisdiction", root.text("jurisdiction"), "/jurisdiction");
    facts.add_some("contract_number", root.text("number"), "/number");
    facts.add_some("contract_date", date("date")?, "/date");
    facts.add_some("payment_days", root.text("payment_days"), "/payment_days");
    facts.add_some("confidentiality_years", root.text("confidentiality_years"), "/confidentiality_years");
    let cap = root.get("liability_cap");
    let amount = cap.decimal("amount").map_err(|problem| vec![problem])?;
    let cap = amount.map(|amount| locale.money(amount, &cap.text("currency").unwrap_or_default()));
    facts.add_some("liability_cap", cap, "/liability_cap");
    facts.add_some("place", root.text("place"), "/place");
    Ok(())
}

/// `€1,850.00 per month`.
fn fee(input: &Input, root: &Node) -> Result<Option<String>, Vec<Problem>> {
    let fee = root.get("fee");
    let Some(amount) = fee.decimal("amount").map_err(|problem| vec![problem])? else { return Ok(None) };
    let amount = input.locale.money(amount, &fee.text("currency").unwrap_or_default());
    let per = fee.text("per").filter(|per| per != "total");
    Ok(Some(per.map_or(amount.clone(), |per| format!("{amount} {}", input.label(&format!("per {per}"))))))
}

fn check_dates(root: &Node, findings: &mut Vec<Finding>) -> Result<(), Vec<Problem>> {
    let day = |key: &str| root.date(key).map_err(|problem| vec![problem]);
    if let (Some(start), Some(end)) = (day("start_date")?, day("end_date")?)
        && end < start
    {
        let message = "the contract ends before it starts";
        findings.push(Finding::new("contract.dates", Severity::Error, "/end_date", message));
    }
    Ok(())
}

fn party(input: &Input, party: &Node, role: &str) -> Vec<Block> {
    let mut rows = vec![party.text("name"), party.text("legal_form")];
    match party.get("address").own_text() {
        Some(address) => rows.push(Some(address)),
        None => rows.extend(party.items("address").iter().map(Node::own_text)),
    }
    let labelled =
        |label: &str, value: Option<String>| value.map(|value| format!("{}: {value}", input.label(label)));
    rows.push(labelled("Register", party.text("register")));
    rows.push(labelled("VAT ID", party.text("vat_id")));
    rows.push(labelled("E-mail", party.text("email")));
    let signer = [party.text("representative"), party.text("representative_role")];
    let signer = signer.into_iter().flatten().collect::<Vec<_>>().join(", ");
    rows.push(labelled("Represented by", (!signer.is_empty()).then_some(signer)));
    let mut text = vec![Inline::Strong { text: bul_document::text(input.label(role)) }];
    for row in rows.into_iter().flatten() {
        text.push(Inline::Break);
        text.extend(lines(&row));
    }
    vec![Block::Paragraph { text }]
}
