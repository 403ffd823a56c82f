//! Weekly sums against a slow and obvious computation.

use chrono::{Datelike, Days, NaiveDate};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::aggregate::aggregate;
use super::columns::Columns;
use crate::finding::Severity;
use crate::json::Node;

fn day(offset: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).expect("date") + Days::new(offset)
}

fn run(data: &Value) -> (super::aggregate::Week, Vec<crate::Finding>) {
    let root = Node::root(data);
    let names: Vec<String> = root.items("columns").iter().filter_map(Node::own_text).collect();
    let rows = data["rows"].as_array().expect("rows");
    let columns = Columns::find(&root, &names, rows).expect("columns");
    let mut findings = Vec::new();
    let wanted = root.date("week").expect("week");
    let week = aggregate(rows, &names, &columns, wanted, day(10_000), &mut findings).expect("sums");
    (week, findings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn sums_equal_a_naive_count(rows in proptest::collection::vec((0_u64..40, -100_000_i64..100_000, 0_usize..4), 1..120)) {
        let cells: Vec<Value> = rows
            .iter()
            .map(|(at, cents, group)| json!([day(*at).to_string(), format!("G{group}"), Decimal::new(*cents, 2).to_string()]))
            .collect();
        let data = json!({"columns": ["day", "team", "amount"], "date_column": "day", "metric": "amount",
            "group": "team", "rows": cells});
        let (week, findings) = run(&data);
        prop_assert!(findings.is_empty());
        let iso = |at: u64| day(at).iso_week();
        let latest = rows.iter().map(|(at, ..)| iso(*at)).max().expect("rows");
        let sum = |keep: &dyn Fn(&(u64, i64, usize)) -> bool| -> Decimal {
            rows.iter().filter(|row| keep(row)).map(|(_, cents, _)| Decimal::new(*cents, 2)).sum()
        };
        prop_assert_eq!(week.start.iso_week(), latest);
        prop_assert_eq!(week.start.weekday(), chrono::Weekday::Mon);
        prop_assert_eq!(week.sum.total, sum(&|row| iso(row.0) == latest));
        prop_assert_eq!(week.sum.rows, rows.iter().filter(|row| iso(row.0) == latest).count());
        let before = (week.start - Days::new(7)).iso_week();
        let has_before = rows.iter().any(|row| iso(row.0) == before);
        prop_assert_eq!(week.previous.map(|sum| sum.total), has_before.then(|| sum(&|row| iso(row.0) == before)));
        let days: Decimal = week.days.iter().map(|day| day.total).sum();
        prop_assert_eq!(days, week.sum.total);
        let groups: Decimal = week.groups.iter().map(|group| group.total).sum();
        prop_assert_eq!(groups, week.sum.total);
        for group in &week.groups {
            let name = group.name.clone();
            prop_assert_eq!(group.total, sum(&|row| iso(row.0) == latest && format!("G{}", row.2) == name));
            prop_assert_eq!(group.previous, sum(&|row| iso(row.0) == before && format!("G{}", row.2) == name));
        }
        prop_assert_eq!(week.trend.last().map(|(start, total)| (*start, *total)), Some((week.start, week.sum.total)));
    }
}

/// Column names, one row, and the date, metric and group columns to find.
type Case =
    (&'static [&'static str], [&'static str; 5], &'static str, Option<&'static str>, Option<&'static str>);

#[test]
fn columns_are_found() {
    // columns, one row repeated with variations, expected date, metric, group
    let cases: [Case; 4] = [
        (
            &["PROD_ID", "TIME_ID", "CHANNEL_ID", "UNIT_COST", "UNIT_PRICE"],
            ["13", "2019-02-10", "3", "813.07", "1237.31"],
            "TIME_ID",
            Some("UNIT_PRICE"),
            Some("CHANNEL_ID"),
        ),
        (
            &["Datum", "Filiale", "Umsatz", "Belegnr", "Bemerkung"],
            ["10.02.2019", "Nord", "1.234,50", "77", ""],
            "Datum",
            Some("Umsatz"),
            Some("Filiale"),
        ),
        (
            &["order", "when", "note", "status", "year"],
            ["A-1", "2/28/2019", "hello", "open", "2019"],
            "when",
            None,
            Some("status"),
        ),
        (
            &["region", "date", "qty", "price", "id"],
            ["EU", "2019-02-10T08:00:00Z", "5", "9.99", "1"],
            "date",
            Some("price"),
            Some("region"),
        ),
    ];
    for (names, row, date, metric, group) in cases {
        let rows: Vec<Value> = (0..30)
            .map(|at| {
                let mut cells: Vec<String> = row.iter().map(|cell| (*cell).to_owned()).collect();
                // Two groups, many keys.
                for (cell, name) in cells.iter_mut().zip(names) {
                    match *name {
                        "CHANNEL_ID" if at % 2 == 0 => *cell = "4".into(),
                        "Filiale" | "status" | "region" if at % 2 == 0 => *cell = "other".into(),
                        "PROD_ID" | "Belegnr" | "id" => *cell = at.to_string(),
                        "order" => *cell = format!("A-{at}"),
                        "note" => *cell = format!("text {at}"),
                        _ => {}
                    }
                }
                json!(cells)
            })
            .collect();
        let data = json!({"columns": names, "rows": rows});
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let found = Columns::find(&Node::root(&data), &names, data["rows"].as_array().expect("rows"))
            .expect("columns");
        assert_eq!(names[found.date], date, "{names:?}");
        assert_eq!(found.metric.map(|at| names[at].as_str()), metric, "{names:?}");
        assert_eq!(found.group.map(|at| names[at].as_str()), group, "{names:?}");
    }
}

#[test]
fn unreadable_cells_are_reported_with_their_rows() {
    let mut rows: Vec<Value> = (0..10).map(|at| json!(["2026-03-09", "EU", at])).collect();
    rows[2] = json!(["2026-03-09", "EU", "about five"]);
    rows[4] = json!(["2026-03-09", "EU", ""]);
    rows[5] = json!(["someday", "EU", "7"]);
    rows[7] = json!([null, "US", "7"]);
    rows.push(json!([]));
    rows.push(json!(["", null, ""]));
    let data = json!({"columns": ["date", "region", "amount"], "rows": rows});
    let (week, findings) = run(&data);
    assert_eq!(week.sum.total, Decimal::from(1 + 3 + 6 + 8 + 9));
    let seen: Vec<_> = findings.iter().map(|f| (f.rule.as_str(), f.severity, f.path.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("weekly.date", Severity::Warning, "/rows/7/0"),
            ("weekly.date", Severity::Error, "/rows/5/0"),
            ("weekly.blank", Severity::Info, "/rows/4/2"),
            ("weekly.number", Severity::Error, "/rows/2/2"),
        ]
    );
    assert!(findings[3].message.ends_with("left out: 3"), "{}", findings[3].message);
}

#[test]
fn day_first_slashes_are_recognised() {
    let rows: Vec<Value> = (1..=28).map(|at| json!([format!("{at:02}/02/2026"), "1,234.50"])).collect();
    let data = json!({"columns": ["date", "amount"], "rows": rows});
    let (week, findings) = run(&data);
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(week.start, NaiveDate::from_ymd_opt(2026, 2, 23).expect("date"));
    assert_eq!(week.sum.total, Decimal::new(123_450 * 6, 2));
}
