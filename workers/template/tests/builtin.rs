//! Every built-in template renders its samples; the small ones are compared with golden trees.

mod common;

use bul_template::Catalog;
use common::{plan, render, text_of};

#[test]
fn every_sample_renders_in_every_language() {
    let catalog = Catalog::builtin().expect("catalog");
    for info in catalog.list() {
        let template = catalog.get(&info.name).expect("template");
        assert!(!template.samples().is_empty(), "{}", info.name);
        for (name, data) in template.samples() {
            for language in ["en", "de", "fr"] {
                let done = render(&catalog, &info.name, language, data)
                    .unwrap_or_else(|error| panic!("{}/{name} in {language}: {error}", info.name));
                assert!(!done.document.meta.title.is_empty());
                assert!(!done.document.blocks.is_empty());
                let odd: Vec<_> = done
                    .findings
                    .iter()
                    .filter(|f| !["template.language", "weekly.blank"].contains(&f.rule.as_str()))
                    .collect();
                assert!(odd.is_empty(), "{}/{name} in {language}: {odd:?}", info.name);
            }
        }
    }
}

#[test]
fn small_samples_keep_their_tree() {
    let catalog = Catalog::builtin().expect("catalog");
    for (template, sample) in [
        ("contract", "minimal.json"),
        ("document", "facts.json"),
        ("incident-report", "resolved.json"),
        ("invoice", "credit-note.json"),
        ("invoice", "minimal.json"),
        ("release-notes", "push.json"),
    ] {
        let samples = catalog.get(template).expect("template").samples();
        let data = &samples.iter().find(|(name, _)| name == sample).expect("sample").1;
        let done = render(&catalog, template, "en", data).expect("renders");
        let name = format!("{template}-{}", sample.trim_end_matches(".json"));
        insta::assert_json_snapshot!(name, done.document);
    }
}

#[test]
fn prompts_name_what_the_model_knows() {
    let catalog = Catalog::builtin().expect("catalog");
    let samples = |template: &str, name: &str| {
        let list = catalog.get(template).expect("template").samples();
        list.iter().find(|(known, _)| known == name).expect("sample").1.clone()
    };
    let cases = [
        (
            "invoice",
            "minimal.json",
            "Title: Invoice 2026-0042\nFacts:\n[seller] Hafen Software GmbH\n[buyer] Northwind \
             Bakery Ltd\n[invoice_number] 2026-0042\n[issue_date] 16 November 2026\n[due_date] 30 November \
             2026\n[payable] €898.37\nSection: Covering note\nWrite 3 sentences.",
        ),
        (
            "contract",
            "minimal.json",
            "Title: Contract: the support of the order system\nFacts:\n[party_a] Northwind Bakery \
             Ltd\n[party_b] Hafen Software GmbH\n[subject] the support of the order system\nSection: Purpose\nWrite 3 sentences.",
        ),
        (
            "release-notes",
            "push.json",
            "Title: Release notes: acme/shop\nFacts:\n[repository] acme/shop\n[author] Jon Ek\n[change_count] \
             1\n[change] Remember the last delivery address\n[branch] main\nSection: Summary\nAim: describe a \
             push\nWrite 3 sentences.",
        ),
        (
            "incident-report",
            "resolved.json",
            "Title: Incident report: INC-204\nFacts:\n[incident] INC-204\n[service] shop\n[environment] prod1\n[detected_at] 10 November 2026 13:52 UTC\n[resolved_at] 10 \
             November 2026 16:10 UTC\n[duration] 2 hours 18 minutes\n[status] resolved\n[ticket] OPS-88\n[reporter] \
             Monitoring\nSection: Summary\nAim: the incident is resolved\nWrite 3 sentences.",
        ),
    ];
    for (template, sample, expected) in cases {
        let plan = plan(&catalog, template, "en", &samples(template, sample)).expect("plan");
        assert_eq!(plan.slots()[0].user, expected);
        assert!(plan.slots()[0].system.starts_with("Area: "), "{}", plan.slots()[0].system);
    }
}

#[test]
fn texts_of_a_document_begin_alike() {
    let catalog = Catalog::builtin().expect("catalog");
    let shared = |template: &str, sample: &str| {
        let list = catalog.get(template).expect("template").samples();
        let data = &list.iter().find(|(known, _)| known == sample).expect("sample").1;
        let plan = plan(&catalog, template, "en", data).expect("plan");
        let users: Vec<Vec<&str>> = plan.slots().iter().map(|slot| slot.user.lines().collect()).collect();
        assert!(users.len() > 1, "{template}");
        let alike = |at: &usize| users.iter().all(|lines| lines.get(*at) == users[0].get(*at));
        users[0][..(0..).take_while(alike).count()].join("\n")
    };
    assert_eq!(
        shared("incident-report", "resolved.json").lines().last(),
        Some("[reporter] Monitoring"),
        "everything but the section and the aim"
    );
    // The contract offers its slots different facts: those of all of them come first.
    assert_eq!(
        shared("contract", "full.json").lines().map(|line| line.split(']').next()).collect::<Vec<_>>()[2..],
        [Some("[party_a"), Some("[party_b"), Some("[subject")]
    );
    assert!(shared("release-notes", "push.json").contains("\n[change] "));
}

#[test]
fn the_same_order_gives_the_same_document() {
    let catalog = Catalog::builtin().expect("catalog");
    for info in catalog.list() {
        for (_, data) in catalog.get(&info.name).expect("template").samples() {
            let once = render(&catalog, &info.name, "en", data).expect("renders").document;
            let twice = render(&catalog, &info.name, "en", data).expect("renders").document;
            assert_eq!(once, twice);
        }
    }
}

#[test]
fn every_label_is_translated() {
    let catalog = Catalog::builtin().expect("catalog");
    let sample = |template: &str, name: &str| {
        let list = catalog.get(template).expect("template").samples();
        list.iter().find(|(known, _)| known == name).expect("sample").1.clone()
    };
    let text = text_of(
        &render(&catalog, "invoice", "de-DE", &sample("invoice", "full.json")).expect("renders").document,
    );
    for expected in [
        "Rechnung RE-2026-1107",
        "Verkäufer",
        "16. November 2026",
        "Deutschland",
        "1.500 Stück",
        "Zahlbetrag",
        "4,00 € je 100 Stück",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    for english in ["Seller", "Invoice", "Amount payable", "Unit price", "Quantity"] {
        assert!(!text.contains(english), "{english} in\n{text}");
    }
}
