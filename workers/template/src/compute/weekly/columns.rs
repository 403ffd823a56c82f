//! Which column holds the dates, which the figures, which the groups.

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::error::Problem;
use crate::format::{parse_date, parse_decimal, plain_decimal};
use crate::json::{Node, scalar};

/// Rows looked at to recognise a column.
const SAMPLE_ROWS: usize = 400;
/// Groups a column may have to be worth a breakdown.
const GROUPS_MAX: usize = 60;

const METRICS: &[&str] = &[
    "revenue", "umsatz", "sales", "turnover", "amount", "betrag", "total", "net", "value", "wert", "income",
    "profit", "price", "preis", "cost", "kosten", "spend", "quantity", "menge", "units", "orders", "visits",
    "clicks", "count",
];
const GROUPS: &[&str] = &[
    "channel",
    "kanal",
    "category",
    "kategorie",
    "region",
    "product",
    "produkt",
    "country",
    "land",
    "store",
    "filiale",
    "segment",
    "team",
    "department",
    "customer",
    "source",
    "campaign",
    "status",
    "type",
];

/// The columns a report works with.
pub(super) struct Columns {
    pub(super) date: usize,
    pub(super) dates: DateForm,
    /// `None`: rows are counted.
    pub(super) metric: Option<usize>,
    pub(super) group: Option<usize>,
}

/// How dates with slashes are read: the US way, unless a first number above 12 proves otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DateForm {
    Usual,
    DayFirst,
}

impl DateForm {
    pub(super) fn read(self, text: &str) -> Option<NaiveDate> {
        match self {
            Self::Usual => parse_date(text),
            Self::DayFirst => parse_date(&text.replace('/', ".")),
        }
    }
}

/// What a cell holds.
pub(super) enum Number {
    Blank,
    Value(Decimal),
    Unreadable,
}

/// Number in a cell; words that say "nothing" are blanks.
pub(super) fn number(cell: Option<&Value>) -> Number {
    let value = match cell {
        None | Some(Value::Null) => return Number::Blank,
        Some(Value::Number(number)) => plain_decimal(&number.to_string()),
        Some(Value::String(text)) => match text.trim() {
            "" | "-" | "–" | "null" | "NULL" => return Number::Blank,
            text => parse_decimal(text),
        },
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    value.map_or(Number::Unreadable, Number::Value)
}

struct Sample<'a> {
    rows: Vec<&'a Value>,
}

impl<'a> Sample<'a> {
    fn of(rows: &'a [Value]) -> Self {
        let step = rows.len().div_ceil(SAMPLE_ROWS).max(1);
        Self { rows: rows.iter().step_by(step).collect() }
    }

    fn texts(&self, column: usize) -> Vec<String> {
        self.rows.iter().filter_map(|row| row.get(column).and_then(scalar)).collect()
    }

    /// Share of the filled cells that a reader accepts.
    fn share(&self, column: usize, accepts: impl Fn(&str) -> bool) -> f64 {
        let texts = self.texts(column);
        if texts.is_empty() {
            return 0.0;
        }
        texts.iter().filter(|text| accepts(text)).count() as f64 / texts.len() as f64
    }

    fn distinct(&self, column: usize) -> usize {
        let mut texts = self.texts(column);
        texts.sort_unstable();
        texts.dedup();
        texts.len()
    }
}

impl Columns {
    /// Takes the named columns and finds the others.
    pub(super) fn find(root: &Node, names: &[String], rows: &[Value]) -> Result<Self, Vec<Problem>> {
        let sample = Sample::of(rows);
        let named = |key: &str| -> Result<Option<usize>, Vec<Problem>> {
            let Some(wanted) = root.text(key) else { return Ok(None) };
            let found = names.iter().position(|name| name.trim().eq_ignore_ascii_case(&wanted));
            let message = || format!("names no column; there are: {}", names.join(", "));
            found.map(Some).ok_or_else(|| vec![Problem::new(format!("/{key}"), message())])
        };
        let date = match named("date_column")? {
            Some(column) => column,
            None => date_column(&sample, names.len()).ok_or_else(|| {
                let message = "no column holds dates; name one with `date_column`";
                vec![Problem::new("/columns", message)]
            })?,
        };
        let metric = match named("metric")? {
            Some(column) => Some(column),
            None => metric_column(&sample, names, date),
        };
        let group = match named("group")? {
            Some(column) => Some(column),
            None => group_column(&sample, names, date, metric),
        };
        let usual = sample.share(date, |text| parse_date(text).is_some());
        let day_first = sample.share(date, |text| DateForm::DayFirst.read(text).is_some());
        let dates = if day_first > usual { DateForm::DayFirst } else { DateForm::Usual };
        Ok(Self { date, dates, metric, group })
    }
}

fn date_column(sample: &Sample, columns: usize) -> Option<usize> {
    let share = |column| {
        let usual = sample.share(column, |text| parse_date(text).is_some());
        usual.max(sample.share(column, |text| DateForm::DayFirst.read(text).is_some()))
    };
    (0..columns)
        .map(|column| (column, share(column)))
        .filter(|(_, share)| *share >= 0.6)
        .reduce(first_best)
        .map(|(c, _)| c)
}

/// The better one; on a tie the one further left.
fn first_best(a: (usize, f64), b: (usize, f64)) -> (usize, f64) {
    if b.1 > a.1 { b } else { a }
}

fn words(name: &str) -> Vec<String> {
    crate::facts::slug(name).split('_').map(str::to_owned).collect()
}

/// Keys, codes and calendar parts are numbers nobody adds up.
fn is_key(name: &str) -> bool {
    const KEYS: &[&str] = &[
        "id", "nr", "no", "number", "nummer", "code", "key", "zip", "plz", "year", "jahr", "month", "monat",
        "week", "woche", "phone",
    ];
    words(name).last().is_some_and(|last| KEYS.contains(&last.as_str()))
}

fn rank(name: &str, list: &[&str]) -> usize {
    let words = words(name);
    list.iter()
        .position(|known| words.iter().any(|word| word == known || word.strip_suffix('s') == Some(known)))
        .unwrap_or(list.len())
}

fn metric_column(sample: &Sample, names: &[String], date: usize) -> Option<usize> {
    let is_number = |text: &str| parse_decimal(text).is_some();
    (0..names.len())
        .filter(|column| *column != date && !is_key(&names[*column]))
        .filter(|column| sample.share(*column, is_number) >= 0.5)
        .min_by_key(|column| rank(&names[*column], METRICS))
}

fn group_column(sample: &Sample, names: &[String], date: usize, metric: Option<usize>) -> Option<usize> {
    let rows = sample.rows.len();
    (0..names.len())
        .filter(|column| *column != date && Some(*column) != metric)
        .filter(|column| {
            let distinct = sample.distinct(*column);
            // Nearly as many values as rows are names, not groups; small samples may have few rows.
            (2..=GROUPS_MAX).contains(&distinct) && (distinct * 2 <= rows || rows <= 20)
        })
        .filter(|column| {
            let known = rank(&names[*column], GROUPS) < GROUPS.len();
            let text =
                sample.share(*column, |text| parse_decimal(text).is_none() && parse_date(text).is_none());
            known || text >= 0.8
        })
        .min_by_key(|column| (rank(&names[*column], GROUPS), is_key(&names[*column])))
}
