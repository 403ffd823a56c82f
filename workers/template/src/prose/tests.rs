//! What becomes of generated text.

use std::sync::LazyLock;

use bul_document::{Block, Inline, plain};

use super::{Known, read};
use crate::facts::FactSet;
use crate::finding::Severity;

static FACTS: LazyLock<FactSet> = LazyLock::new(|| {
    let mut facts = FactSet::default();
    facts.add("subject", "a new mobile app", "/subject");
    facts.add("due_date", "1 December 2026", "/due_date");
    facts.add("payable", "€1,234.50", "/payable");
    facts.add("seller", "Hafen Software GmbH", "/seller");
    facts.add("note", "It works now.", "/note");
    facts.add("evil", "**bold** [x](javascript:alert(1)) <b>", "/evil");
    facts
});

fn known() -> Known<'static> {
    Known::new(&FACTS, "Marketing strategy for Berlin", "en")
}

fn text_of(blocks: &[Block]) -> String {
    let mut out = Vec::new();
    for block in blocks {
        match block {
            Block::Paragraph { text } => out.push(plain(text)),
            Block::List { items, .. } => {
                for item in items {
                    out.push(format!("- {}", text_of(item)));
                }
            }
            other => out.push(format!("{other:?}")),
        }
    }
    out.join("\n")
}

#[test]
fn facts_come_in_and_claims_are_checked() {
    // generated text, what the reader sees, rules found
    let cases: &[(&str, &str, &[&str])] = &[
        ("We launch [subject] on [due_date].", "We launch a new mobile app on 1 December 2026.", &[]),
        ("[subject] is ready.", "A new mobile app is ready.", &[]),
        ("Good. [subject] is ready.", "Good. A new mobile app is ready.", &[]),
        ("State: [note].", "State: It works now.", &[]),
        ("Pay [Payable] to [seller].", "Pay €1,234.50 to Hafen Software GmbH.", &[]),
        ("Pay 1.234,50 by then.", "Pay 1.234,50 by then.", &[]),
        ("Pay 999 now.", "Pay 999 now.", &["prose.number"]),
        ("It takes 3 steps.", "It takes 3 steps.", &["prose.number"]),
        ("Ask [manager_name] about it.", "Ask manager name about it.", &["prose.fact"]),
        ("We met Jane Doe there.", "We met Jane Doe there.", &["prose.name"]),
        (
            "Contact hafen software gmbh or Hafen Software GmbH.",
            "Contact hafen software gmbh or Hafen Software GmbH.",
            &[],
        ),
        ("One sentence is whole. The next one is no", "One sentence is whole.", &["prose.cut"]),
        ("- first [subject]\n- second", "- first a new mobile app\n- second", &[]),
        ("See [evil].", "See **bold** [x](javascript:alert(1)) <b>.", &[]),
        (
            "See [this site](https://x.example).",
            "See this site(https://x.example).",
            &["prose.fact", "prose.name"],
        ),
        ("<script>x</script> stays text.", "<script>x</script> stays text.", &[]),
        ("```\nText in a fence.\n```", "Text in a fence.", &[]),
        ("[due_date]: is a line.", "1 December 2026: is a line.", &[]),
        ("{{ 7*7 }} and {% if %} stay.", "{{ 7*7 }} and {% if %} stay.", &["prose.number"]),
        ("", "", &[]),
        ("   \n\n ", "", &[]),
        ("[[subject]] and [ and ].", "[a new mobile app] and [ and ].", &[]),
    ];
    for (text, expected, rules) in cases {
        let (blocks, findings) = read(text, "", &known(), "slot:a");
        assert_eq!(text_of(&blocks), *expected, "{text}");
        let mut seen: Vec<&str> = findings.iter().map(|f| f.rule.as_str()).collect();
        seen.dedup();
        assert_eq!(seen, *rules, "{text}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.path == "slot:a"));
    }
}

#[test]
fn an_invented_amount_is_an_error() {
    let (_, findings) = read("Please pay €5,000 by then.", "", &known(), "slot:a");
    assert_eq!(findings[0].severity, Severity::Error);
    assert!(findings[0].message.contains("5,000"));
}

#[test]
fn headings_become_strong_paragraphs() {
    let (blocks, _) = read("# Goals\n\nWe grow.", "", &known(), "slot:a");
    assert!(matches!(&blocks[0], Block::Paragraph { text } if matches!(text[0], Inline::Strong { .. })));
}

#[test]
fn facts_keep_their_names() {
    let (blocks, _) = read("Pay [payable].", "", &known(), "slot:a");
    let Block::Paragraph { text } = &blocks[0] else { panic!("paragraph") };
    assert_eq!(text[1], Inline::Fact { name: "payable".into(), value: "€1,234.50".into() });
}

#[test]
fn a_sentence_against_the_aim_is_left_out_and_told() {
    let (blocks, findings) = read("The total is [payable]. It rose again.", "decrease", &known(), "slot:a");
    assert_eq!(text_of(&blocks), "The total is €1,234.50.");
    assert_eq!(findings[0].rule, "prose.contradiction");
}
