//! The free document: outline, expansion, assembly and what happens when texts are missing.

mod common;

use std::collections::BTreeMap;

use bul_document::Block;
use bul_template::{Catalog, Order, Plan};
use common::{finish, text_of, today};
use serde_json::{Map, Value, json};

fn ask(catalog: &Catalog, query: &str, language: &str, data: &Value) -> Plan {
    let data: Map<String, Value> = data.as_object().cloned().unwrap_or_default();
    catalog
        .plan(&Order {
            template: "",
            query: Some(query),
            business_area: None,
            doc_type: None,
            data: &data,
            context: None,
            response_schema: None,
            language,
            date: today(),
        })
        .expect("plan")
}

#[test]
fn a_request_becomes_an_outline_and_sections() {
    let catalog = Catalog::builtin().expect("catalog");
    let mut plan =
        ask(&catalog, "Create a comprehensive marketing strategy for a new mobile app", "en", &json!({}));
    assert_eq!(plan.meta.title, "Marketing strategy: a new mobile app");
    assert_eq!(plan.meta.date, "2026-11-20");
    let outline = plan.outline().expect("outline");
    assert!(outline.system.starts_with("Area: marketing\nDocument: strategy\n"));
    assert_eq!(
        outline.user,
        "Title: Marketing strategy: a new mobile app\nFacts:\n[subject] a new mobile app\nWrite an outline with 5 sections."
    );
    assert!(plan.slots().is_empty());
    let headings = ["- Goals", "2. Target groups", "## Budget", "Goals", "", "***"].map(str::to_owned);
    plan.expand(&headings).expect("expand");
    assert!(plan.outline().is_none());
    assert!(plan.expand(&headings).is_err());
    let slots: Vec<&str> = plan.slots().iter().map(|slot| slot.id.as_str()).collect();
    assert_eq!(slots, ["section_1", "section_2", "section_3"]);
    assert_eq!(
        plan.slots()[1].user,
        "Title: Marketing strategy: a new mobile app\nFacts:\n[subject] a new mobile app\nSection: Target \
         groups\nWrite 4 sentences."
    );
    let texts = BTreeMap::from([
        ("section_1".to_owned(), "We launch [subject].".to_owned()),
        ("section_3".to_owned(), "The budget is 5000.".to_owned()),
    ]);
    let done = plan.assemble(&texts).expect("assembles");
    let text = text_of(&done.document);
    assert!(text.contains("Goals\nWe launch a new mobile app.\n"), "{text}");
    assert!(!text.contains("Target groups"), "an empty section goes with its heading: {text}");
    let rules: Vec<(&str, &str)> = done.findings.iter().map(|f| (f.rule.as_str(), f.path.as_str())).collect();
    assert_eq!(rules, [("prose.empty", "slot:section_2"), ("prose.number", "slot:section_3")]);
}

#[test]
fn data_becomes_facts_and_tables() {
    let catalog = Catalog::builtin().expect("catalog");
    let data = json!({"Due Date": "2026-12-01", "owner": {"name": "Ana Ruiz", "phone": 123}, "open": true,
        "rows": [{"a": 1, "b": "x"}, {"a": 2.5, "c": ["p", "q"]}], "tags": ["one", "two"], "none": null, "empty": []});
    let plan = ask(&catalog, "Write a report on the roof", "en", &data);
    let user = plan.outline().expect("outline").user;
    assert!(
        user.contains("[due_date] 1 December 2026\n[owner_name] Ana Ruiz\n[owner_phone] 123\n[open] yes\n"),
        "{user}"
    );
    let done = finish(plan).expect("assembles");
    let text = text_of(&done.document);
    for expected in
        ["Due date: 1 December 2026", "Owner name: Ana Ruiz", "|A|B|C\n|1|x|\n|2.5||p, q", "one\n"]
    {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let origins: Vec<&str> = done.document.facts.iter().map(|f| f.origin.as_str()).collect();
    assert_eq!(origins, ["computed: from the request", "/Due Date", "/owner/name", "/owner/phone", "/open"]);
}

#[test]
fn given_sections_need_no_outline() {
    let catalog = Catalog::builtin().expect("catalog");
    let plan = ask(&catalog, "", "de", &json!({"title": "Hausordnung", "sections": ["Zweck", "Ruhezeiten"]}));
    assert!(plan.outline().is_none());
    assert_eq!(plan.slots().len(), 2);
    let asked = "Language: de\nFacts:\n[subject] Hausordnung\nSection: Zweck\nWrite 4 sentences.";
    assert!(plan.slots()[0].user.ends_with(asked), "{}", plan.slots()[0].user);
    let done = plan.assemble(&BTreeMap::new()).expect("assembles");
    assert!(done.document.blocks.is_empty(), "{:?}", done.document.blocks);
}

#[test]
fn outlines_without_headings_fall_back() {
    let catalog = Catalog::builtin().expect("catalog");
    let mut plan = ask(&catalog, "Write a report", "en", &json!({}));
    plan.expand(&["".into(), "123".into()]).expect("expand");
    assert_eq!(plan.slots().len(), 5);
    let done = plan.assemble(&BTreeMap::new()).expect("assembles");
    assert_eq!(done.findings[0].rule, "outline.empty");
    let plan = ask(&catalog, "Write a report", "en", &json!({"k": "v"}));
    let done = plan.assemble(&BTreeMap::new()).expect("assembles");
    assert_eq!(done.findings[0].rule, "outline.missing");
    assert!(!done.document.blocks.iter().any(|block| matches!(block, Block::Slot { .. })));
}

#[test]
fn texts_for_unknown_slots_are_refused() {
    let catalog = Catalog::builtin().expect("catalog");
    let plan = ask(&catalog, "x", "en", &json!({"sections": ["A"]}));
    assert!(plan.assemble(&BTreeMap::from([("nope".to_owned(), String::new())])).is_err());
}

#[test]
fn background_reaches_capable_models_as_one_line() {
    let catalog = Catalog::builtin().expect("catalog");
    let data = Map::new();
    let order = Order {
        template: "document",
        query: Some("Write a memo about parking"),
        business_area: Some("Facility_Management"),
        doc_type: None,
        data: &data,
        context: Some("We have\n12 spaces."),
        response_schema: None,
        language: "en",
        date: today(),
    };
    let mut plan = catalog.plan(&order).expect("plan");
    assert_eq!(plan.meta.title, "Facility management memo: parking");
    plan.expand(&["Rules".into()]).expect("expand");
    assert_eq!(
        plan.slots()[0].user,
        "Title: Facility management memo: parking\nContext: We have 12 spaces.\nFacts:\n[subject] parking\nSection: \
         Rules\nWrite 4 sentences."
    );
    let done = plan
        .assemble(&BTreeMap::from([("section_1".to_owned(), "There are 12 spaces.".to_owned())]))
        .expect("assembles");
    assert!(done.findings.is_empty(), "the background may be quoted: {:?}", done.findings);
}
