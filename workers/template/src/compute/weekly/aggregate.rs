//! Sums by ISO week, day and group; exact, in one pass over the rows.

use std::collections::{BTreeMap, HashMap};

use chrono::{Datelike, Days, NaiveDate};
use rust_decimal::Decimal;
use serde_json::Value;

use super::columns::{Columns, Number, number};
use crate::error::Problem;
use crate::finding::{Finding, Severity};
use crate::json::scalar;

/// Row numbers a finding lists.
const ROWS_LISTED_MAX: usize = 20;

/// Monday of the ISO week of a day.
pub(super) fn monday(day: NaiveDate) -> NaiveDate {
    let back = u64::from(day.weekday().num_days_from_monday());
    day.checked_sub_days(Days::new(back)).unwrap_or(day)
}

/// One readable row.
struct Entry {
    week: NaiveDate,
    day: NaiveDate,
    value: Decimal,
    row: usize,
}

/// Sum and number of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) total: Decimal,
    pub(super) rows: usize,
}

impl Sum {
    fn add(&mut self, value: Decimal) -> Result<(), Vec<Problem>> {
        let total = self.total.checked_add(value);
        self.total = total.ok_or_else(|| vec![Problem::new("/rows", "the sums are out of range")])?;
        self.rows += 1;
        Ok(())
    }
}

/// Figures of the reported week and what they are compared with.
pub(super) struct Week {
    pub(super) start: NaiveDate,
    pub(super) sum: Sum,
    /// `None` when the week before has no rows.
    pub(super) previous: Option<Sum>,
    /// Sum of each day, Monday first.
    pub(super) days: [Sum; 7],
    /// Totals of up to eight weeks, the reported one last; weeks without rows count as zero.
    pub(super) trend: Vec<(NaiveDate, Decimal)>,
    /// Group, its total and its total in the week before, largest first.
    pub(super) groups: Vec<Group>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) total: Decimal,
    pub(super) previous: Decimal,
}

/// Cells that could not be used.
#[derive(Default)]
struct Faults {
    rows: Vec<usize>,
    count: usize,
}

impl Faults {
    fn add(&mut self, row: usize) {
        self.count += 1;
        if self.rows.len() < ROWS_LISTED_MAX {
            self.rows.push(row);
        }
    }

    fn report(
        &self,
        rule: &str,
        severity: Severity,
        column: (usize, &str),
        what: &str,
        findings: &mut Vec<Finding>,
    ) {
        let Some(first) = self.rows.first() else { return };
        let listed: Vec<String> = self.rows.iter().map(|row| (row + 1).to_string()).collect();
        let more = self.count - self.rows.len();
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        let rows = if self.count == 1 { "row, which is" } else { "rows, which are" };
        let message =
            format!("`{}` {what} in {} {rows} left out: {}{tail}", column.1, self.count, listed.join(", "));
        findings.push(Finding::new(rule, severity, format!("/rows/{first}/{}", column.0), message));
    }
}

/// The latest week with data that has begun by `today`. Tables often hold dates far ahead, such as
/// 9999-01-01 for "no end"; only where everything lies ahead is the last week taken.
fn latest(
    weeks: &BTreeMap<NaiveDate, Sum>,
    today: NaiveDate,
    findings: &mut Vec<Finding>,
) -> Option<NaiveDate> {
    let Some((begun, _)) = weeks.range(..=today).next_back() else {
        return weeks.keys().next_back().copied();
    };
    let ahead: usize = weeks.range(today..).filter(|(week, _)| *week > begun).map(|(_, sum)| sum.rows).sum();
    if ahead > 0 {
        let message = format!("{ahead} rows lie after the reported week");
        findings.push(Finding::new("weekly.ahead", Severity::Info, "/rows", message));
    }
    Some(*begun)
}

/// Adds everything up. `wanted` is any day of the week to report.
pub(super) fn aggregate(
    rows: &[Value],
    names: &[String],
    columns: &Columns,
    wanted: Option<NaiveDate>,
    today: NaiveDate,
    findings: &mut Vec<Finding>,
) -> Result<Week, Vec<Problem>> {
    let entries = read(rows, names, columns, findings);
    let mut weeks: BTreeMap<NaiveDate, Sum> = BTreeMap::new();
    for entry in &entries {
        weeks.entry(entry.week).or_default().add(entry.value)?;
    }
    let start = match wanted {
        Some(day) => monday(day),
        None => latest(&weeks, today, findings)
            .ok_or_else(|| vec![Problem::new("/rows", "no row has a date and a number")])?,
    };
    if !weeks.contains_key(&start) {
        let message = "there are no rows in the reported week";
        findings.push(Finding::new("weekly.empty", Severity::Warning, "/week", message));
    }
    let before = start.checked_sub_days(Days::new(7)).unwrap_or(start);
    let mut days = [Sum::default(); 7];
    for entry in entries.iter().filter(|entry| entry.week == start) {
        days[entry.day.weekday().num_days_from_monday() as usize].add(entry.value)?;
    }
    Ok(Week {
        start,
        sum: weeks.get(&start).copied().unwrap_or_default(),
        previous: weeks.get(&before).copied(),
        days,
        trend: trend(&weeks, start),
        groups: match columns.group {
            Some(column) => groups(&entries, rows, column, start, before)?,
            None => Vec::new(),
        },
    })
}

fn read(rows: &[Value], names: &[String], columns: &Columns, findings: &mut Vec<Finding>) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(rows.len());
    let (mut no_date, mut bad_date, mut blank, mut bad) =
        (Faults::default(), Faults::default(), Faults::default(), Faults::default());
    for (row, cells) in rows.iter().enumerate() {
        let filled = cells.as_array().is_some_and(|cells| cells.iter().any(|cell| scalar(cell).is_some()));
        if !filled {
            // An empty line of a file says nothing that could be lost.
            continue;
        }
        let day = cells.get(columns.date).and_then(scalar);
        let value = columns.metric.map_or(Number::Value(Decimal::ONE), |column| number(cells.get(column)));
        let day = match day.as_deref().map(|text| columns.dates.read(text)) {
            None => {
                no_date.add(row);
                None
            }
            Some(None) => {
                bad_date.add(row);
                None
            }
            Some(Some(day)) => Some(day),
        };
        match value {
            Number::Blank => blank.add(row),
            Number::Unreadable => bad.add(row),
            Number::Value(value) => {
                if let Some(day) = day {
                    entries.push(Entry { week: monday(day), day, value, row });
                }
            }
        }
    }
    let name = |column: usize| (column, names.get(column).map_or("", String::as_str));
    let date = name(columns.date);
    no_date.report("weekly.date", Severity::Warning, date, "is blank", findings);
    bad_date.report("weekly.date", Severity::Error, date, "holds no date", findings);
    if let Some(metric) = columns.metric.map(name) {
        blank.report("weekly.blank", Severity::Info, metric, "is blank", findings);
        bad.report("weekly.number", Severity::Error, metric, "holds no number", findings);
    }
    entries
}

/// Up to eight weeks until the reported one, from the first week with data.
fn trend(weeks: &BTreeMap<NaiveDate, Sum>, start: NaiveDate) -> Vec<(NaiveDate, Decimal)> {
    let mut out = Vec::new();
    for back in (0..8_u64).rev() {
        let Some(week) = start.checked_sub_days(Days::new(7 * back)) else { continue };
        let sum = weeks.get(&week).copied();
        if sum.is_some() || !out.is_empty() {
            out.push((week, sum.unwrap_or_default().total));
        }
    }
    out
}

fn groups(
    entries: &[Entry],
    rows: &[Value],
    column: usize,
    start: NaiveDate,
    before: NaiveDate,
) -> Result<Vec<Group>, Vec<Problem>> {
    let mut sums: HashMap<String, (Sum, Sum)> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.week == start || entry.week == before) {
        let name = rows[entry.row].get(column).and_then(scalar).unwrap_or_default();
        let (now, then) = sums.entry(name).or_default();
        let sum = if entry.week == start { now } else { then };
        sum.add(entry.value)?;
    }
    let mut groups: Vec<Group> = sums
        .into_iter()
        .map(|(name, (now, then))| Group { name, total: now.total, previous: then.total })
        .collect();
    groups.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.name.cmp(&b.name)));
    Ok(groups)
}
