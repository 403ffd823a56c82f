//! Requests as people write them, and what is found in them.

use super::parse;

/// Request, area, document type and subject; "-" for nothing.
const CASES: &[(&str, &str, &str, &str)] = &[
    (
        "Create a comprehensive marketing strategy for a new mobile app",
        "marketing",
        "strategy",
        "a new mobile app",
    ),
    ("Please write a sales proposal for Acme Corp.", "sales", "proposal", "Acme Corp"),
    ("Write an HR policy on remote work", "hr", "policy", "remote work"),
    ("Draft an employee handbook for our new office in Berlin", "hr", "handbook", "our new office in Berlin"),
    ("Generate a business plan for a coffee shop", "-", "business plan", "a coffee shop"),
    ("I need a project plan for the ERP migration", "-", "project plan", "the ERP migration"),
    (
        "Can you prepare a risk assessment of the data centre move?",
        "-",
        "risk assessment",
        "the data centre move",
    ),
    ("a job description for a senior welder", "-", "job description", "a senior welder"),
    ("Create an onboarding plan for new engineers", "hr", "onboarding plan", "new engineers"),
    ("Write a brief report about customer complaints", "customer service", "report", "customer complaints"),
    ("quarterly financial report", "finance", "report", "-"),
    ("mobile app launch plan", "-", "plan", "mobile app launch"),
    ("Strategy", "-", "strategy", "-"),
    ("marketing", "marketing", "-", "marketing"),
    ("How do we reduce churn?", "-", "guide", "reduce churn"),
    ("What is zero trust?", "-", "-", "zero trust"),
    ("Explain the procurement process", "procurement", "process", "-"),
    (
        "Prepare a checklist for the security audit, including a timetable",
        "security",
        "checklist",
        "the security audit",
    ),
    ("Write a guide on how to install the printer", "-", "guide", "install the printer"),
    ("social media campaign for a bakery", "marketing", "campaign", "a bakery"),
    ("Develop a supply chain analysis for steel parts", "logistics", "analysis", "steel parts"),
    (
        "Could you please draft a training manual for forklift drivers",
        "training",
        "manual",
        "forklift drivers",
    ),
    ("We need a quality procedure for incoming goods", "quality", "procedure", "incoming goods"),
    ("Summarize the board meeting", "-", "-", "the board meeting"),
    ("Build a content plan for our blog", "content", "plan", "our blog"),
    ("write a press release about the merger", "-", "press release", "the merger"),
    ("Bitte erstelle eine Marketingstrategie für eine neue App", "marketing", "strategy", "eine neue App"),
    ("Schreibe einen Bericht über die Messe in Hannover", "-", "report", "die Messe in Hannover"),
    ("Erstelle eine Richtlinie zum Datenschutz", "legal", "policy", "Datenschutz"),
    ("Projektplan für den Umzug", "-", "project plan", "den Umzug"),
    ("Schulungshandbuch", "training", "handbook", "-"),
    ("Einbruchmeldebericht", "-", "report", "Einbruchmelde"),
    ("Is it safe?", "-", "-", "Is it safe"),
    ("IT security policy for laptops", "security", "policy", "laptops"),
    ("please", "-", "-", "-"),
    ("", "-", "-", "-"),
    ("???", "-", "-", "-"),
    ("🚀", "-", "-", "-"),
    ("日本語の文書", "-", "-", "日本語の文書"),
    ("Write a proposal for [due_date] {{ 7*7 }} <b>x</b>", "-", "proposal", "[due_date] {{ 7*7 }} <b>x</b>"),
    ("Airplane maintenance", "-", "-", "Airplane maintenance"),
];

#[test]
fn requests_are_understood() {
    let mut wrong = Vec::new();
    for (query, area, doc_type, subject) in CASES {
        let found = parse(query);
        let show = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".into());
        let seen = (show(&found.business_area), show(&found.doc_type), show(&found.subject));
        if seen != ((*area).to_owned(), (*doc_type).to_owned(), (*subject).to_owned()) {
            wrong.push(format!("{query}: {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn any_text_is_survived() {
    let long = "very ".repeat(4_000);
    let cases = [
        format!("Write a {long} report for {long}"),
        "x".repeat(20_000),
        "ÄÖÜß".repeat(5_000),
        "İstanbul için bir plan".into(),
        "\u{0}\u{1}\n\n\r\n report\u{2028}for\u{202e} evil".into(),
        "How do we ".into(),
        ". . . . . . . . . . . .".into(),
    ];
    for query in cases {
        let found = parse(&query);
        if let Some(subject) = found.subject {
            assert!(subject.chars().count() <= 100, "{subject}");
            assert!(!subject.contains('\n'));
        }
    }
}
