//! Real inputs, where they are present beside the repository.

mod common;

use bul_document::Block;
use bul_template::Catalog;
use common::{render, shared, text_of};
use serde_json::{Value, json};

fn rows(path: &str) -> Option<Value> {
    let mut reader = csv::Reader::from_path(shared(path)?).expect("csv");
    let columns: Vec<String> = reader.headers().expect("headers").iter().map(str::to_owned).collect();
    let rows: Vec<Vec<String>> =
        reader.records().map(|row| row.expect("row").iter().map(str::to_owned).collect()).collect();
    Some(json!({"columns": columns, "rows": rows}))
}

#[test]
fn product_costs_make_a_weekly_report() {
    let Some(mut data) = rows("analytics/costs.csv") else { return };
    let catalog = Catalog::builtin().expect("catalog");
    let done = render(&catalog, "weekly-report", "en", &data).expect("renders");
    assert!(done.findings.is_empty(), "{:?}", done.findings);
    let text = text_of(&done.document);
    assert!(text.contains("Weekly report: unit price"), "{text}");
    assert!(done.document.blocks.iter().any(|block| matches!(block, Block::Figure(_))));
    data["week"] = json!("2019-02-06");
    data["metric"] = json!("unit_cost");
    data["currency"] = json!("USD");
    let text = text_of(&render(&catalog, "weekly-report", "en", &data).expect("renders").document);
    assert!(text.contains("4 February 2019 – 10 February 2019"), "{text}");
    // The same sum, counted without this crate's code.
    let list = data["rows"].as_array().expect("rows");
    let days: Vec<String> = (4..=10).map(|day| format!("2019-02-{day:02}")).collect();
    let total: i64 = list
        .iter()
        .filter(|row| days.iter().any(|day| row[1] == day.as_str()))
        .map(|row| (row[4].as_str().expect("cost").parse::<f64>().expect("number") * 100.0).round() as i64)
        .sum();
    let fact = format!("{}.{:02}", total / 100, total % 100);
    assert!(text.replace(',', "").contains(&fact), "{fact} in\n{text}");
}

#[test]
fn promotions_make_a_weekly_report() {
    let Some(data) = rows("analytics/promotions.csv") else { return };
    let catalog = Catalog::builtin().expect("catalog");
    let done = render(&catalog, "weekly-report", "en", &data).expect("renders");
    let text = text_of(&done.document);
    assert!(text.contains("promo cost"), "{text}");
    assert!(text.contains("Promo category"), "{text}");
}

#[test]
fn a_hundred_thousand_rows_are_fast() {
    let rows: Vec<Value> = (0..100_000_u32)
        .map(|at| {
            json!([
                format!("2026-{:02}-{:02}", at % 12 + 1, at % 28 + 1),
                format!("G{}", at % 9),
                format!("{}.25", at % 500)
            ])
        })
        .collect();
    let data = json!({"columns": ["day", "channel", "revenue"], "rows": rows});
    let catalog = Catalog::builtin().expect("catalog");
    let start = std::time::Instant::now();
    render(&catalog, "weekly-report", "en", &data).expect("renders");
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}
