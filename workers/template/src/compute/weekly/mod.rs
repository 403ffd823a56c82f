//! Weekly report: rows of numbers by date become one ISO week against the week before.

mod aggregate;
mod columns;
mod view;

#[cfg(test)]
mod tests;

use chrono::NaiveDate;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

use super::{Input, Outcome, Prepared};
use crate::json::Node;
use aggregate::{Week, aggregate};
use columns::Columns;

/// What the figures are called and how they are written.
#[derive(Clone)]
struct Names<'a> {
    input: &'a Input<'a>,
    metric: String,
    group: String,
    currency: String,
    unit: String,
    /// Decimals of every figure, so that columns line up.
    digits: u32,
}

/// Plans a weekly report.
pub(super) fn prepare(input: &Input) -> Outcome {
    let root = Node::root(input.data);
    let names: Vec<String> =
        root.items("columns").iter().map(|name| name.own_text().unwrap_or_default()).collect();
    let rows = input.data.get("rows").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let columns = Columns::find(&root, &names, rows)?;
    let wanted = root.date("week").map_err(|problem| vec![problem])?;
    let mut prepared = Prepared { bulk: &["rows"], ..Prepared::default() };
    let week = aggregate(rows, &names, &columns, wanted, input.order.date, &mut prepared.findings)?;
    let call = |column: Option<usize>, fallback: &str| {
        let name = column.and_then(|column| names.get(column)).map(|name| readable(name));
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| input.label(fallback))
    };
    let called = Names {
        input,
        metric: call(columns.metric, "number of records"),
        group: call(columns.group, "group"),
        currency: root.text("currency").unwrap_or_default(),
        unit: root.text("unit").unwrap_or_default(),
        digits: digits(&week),
    };
    prepared.title =
        root.text("title").unwrap_or_else(|| format!("{}: {}", input.label("Weekly report"), called.metric));
    prepared.subtitle = called.span(week.start);
    facts(&called, &week, &mut prepared);
    let origin = columns
        .metric
        .map_or_else(|| "rows counted".to_owned(), |column| format!("column {}", names[column]));
    prepared.sources = vec![format!("{} ({origin})", called.metric)];
    prepared.context.insert("aim".into(), json!(aim(&week)));
    prepared.context.insert("has_groups".into(), json!(week.groups.len() > 1));
    prepared.parts.insert("figures".into(), view::figures(&called, &week));
    prepared.parts.insert("groups".into(), view::groups(&called, &week));
    prepared.parts.insert("trend".into(), view::trend(&called, &week));
    prepared.parts.insert("days".into(), view::days(&called, &week));
    Ok(prepared)
}

/// `UNIT_PRICE` as `unit price`; a key column is called by what it is a key of.
fn readable(name: &str) -> String {
    let words = crate::facts::slug(name).replace('_', " ");
    words.strip_suffix(" id").unwrap_or(&words).to_owned()
}

/// Decimals the figures need: none for counts, otherwise two to four.
fn digits(week: &Week) -> u32 {
    let trend = week.trend.iter().map(|(_, total)| *total);
    let groups = week.groups.iter().flat_map(|group| [group.total, group.previous]);
    let days = week.days.iter().map(|day| day.total);
    let most = trend.chain(groups).chain(days).map(|value| value.normalize().scale()).max().unwrap_or(0);
    if most == 0 { 0 } else { most.clamp(2, 4) }
}

fn aim(week: &Week) -> &'static str {
    match week.previous {
        None => "first week",
        Some(previous) if week.sum.total > previous.total => "increase",
        Some(previous) if week.sum.total < previous.total => "decrease",
        Some(_) => "no change",
    }
}

/// Change in percent with one decimal; none against zero.
fn percent_of(change: Decimal, base: Decimal) -> Option<Decimal> {
    let ratio = change.checked_mul(Decimal::ONE_HUNDRED)?.checked_div(base.abs())?;
    Some(ratio.round_dp_with_strategy(1, RoundingStrategy::MidpointAwayFromZero))
}

impl Names<'_> {
    /// A figure of the metric.
    fn value(&self, value: Decimal) -> String {
        if self.currency.is_empty() {
            let shown = self.input.locale.number_with(value, self.digits);
            if self.unit.is_empty() { shown } else { format!("{shown} {}", self.unit) }
        } else {
            self.input.locale.money(value, &self.currency)
        }
    }

    /// `week 47 of 2026`.
    fn week(&self, start: NaiveDate) -> String {
        use chrono::Datelike;
        let week = start.iso_week();
        format!("{} {} {} {}", self.input.label("week"), week.week(), self.input.label("of"), week.year())
    }

    /// First and last day of a week.
    fn span(&self, start: NaiveDate) -> String {
        let end = start.checked_add_days(chrono::Days::new(6)).unwrap_or(start);
        format!("{} – {}", self.input.locale.date(start), self.input.locale.date(end))
    }

    /// Name of a group as a reader sees it: a bare number gets the column's name in front.
    fn group(&self, name: &str) -> String {
        if name.is_empty() {
            return self.input.label("not stated");
        }
        if name.chars().all(|c| c.is_ascii_digit()) {
            format!("{} {name}", self.group)
        } else {
            name.to_owned()
        }
    }

    /// Average of a row; rows that are only counted have none.
    fn average(&self, week: &Week) -> Option<String> {
        let rows = Decimal::from(week.sum.rows);
        let average = week.sum.total.checked_div(rows).filter(|_| week.sum.total != rows)?;
        let average = average.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
        let finer = Self { digits: self.digits.max(2), ..self.clone() };
        Some(finer.value(average))
    }
}

fn facts(names: &Names, week: &Week, prepared: &mut Prepared) {
    let facts = &mut prepared.facts;
    facts.add("period", names.week(week.start), "computed: ISO week");
    if week.previous.is_some() {
        let before = week.start.checked_sub_days(chrono::Days::new(7)).unwrap_or(week.start);
        facts.add("previous_period", names.week(before), "computed: ISO week before");
    }
    facts.add("metric", names.metric.clone(), "computed: column name");
    facts.add("total", names.value(week.sum.total), "computed: sum of the week");
    if let Some(previous) = week.previous {
        facts.add("previous_total", names.value(previous.total), "computed: sum of the week before");
        let change = week.sum.total - previous.total;
        // Prose says "rose by" or "fell by", so the amounts carry no sign.
        facts.add("change", names.value(change.abs()), "computed: total - previous_total");
        let percent =
            percent_of(change.abs(), previous.total).map(|percent| names.input.locale.percent(percent));
        facts.add_some("change_percent", percent, "computed: change / previous_total");
    }
    let present: Vec<&aggregate::Group> = week.groups.iter().filter(|g| !g.total.is_zero()).collect();
    if let [top, .., low] = present.as_slice() {
        facts.add("top_group", names.group(&top.name), "computed: largest group");
        facts.add("top_value", names.value(top.total), "computed: sum of the largest group");
        facts.add("low_group", names.group(&low.name), "computed: smallest group");
        facts.add("low_value", names.value(low.total), "computed: sum of the smallest group");
    }
    facts.add(
        "row_count",
        names.input.locale.number(Decimal::from(week.sum.rows)),
        "computed: rows of the week",
    );
}
