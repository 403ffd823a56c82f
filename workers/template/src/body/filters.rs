//! Filters that write values the way readers of the document's language expect.

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, State};

use super::cx;
use super::value::{decimal, printed};
use crate::format::parse_date;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("money", money);
    env.add_filter("number", number);
    env.add_filter("percent", percent);
    env.add_filter("date", date);
    env.add_filter("moment", moment);
}

/// `amount|money("EUR")`; without a currency the template's own.
fn money(state: &mut State, value: &Value, currency: Option<String>) -> Result<String, Error> {
    let cx = cx::of(state)?;
    Ok(cx.locale.money(decimal(value)?, currency.as_deref().unwrap_or(&cx.currency)))
}

/// `value|number` or `value|number(digits=2)`.
fn number(state: &mut State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let digits: Option<u32> = options.get("digits")?;
    options.assert_all_used()?;
    let locale = cx::of(state)?.locale;
    let value = decimal(value)?;
    Ok(digits.map_or_else(|| locale.number(value), |digits| locale.number_with(value, digits.min(10))))
}

/// `rate|percent`: 19 gives `19%`.
fn percent(state: &mut State, value: &Value) -> Result<String, Error> {
    Ok(cx::of(state)?.locale.percent(decimal(value)?))
}

/// `day|date` or `day|date("short")`.
fn date(state: &mut State, value: &Value, style: Option<String>) -> Result<String, Error> {
    let text = printed(value)?;
    let Some(day) = parse_date(&text) else {
        let shown: String = text.chars().take(60).collect();
        return Err(Error::new(ErrorKind::InvalidOperation, format!("`{shown}` is no date")));
    };
    let locale = cx::of(state)?.locale;
    match style.as_deref() {
        None | Some("long") => Ok(locale.date(day)),
        Some("short") => Ok(locale.date_short(day)),
        Some("iso") => Ok(day.to_string()),
        Some(other) => {
            let message = format!("unknown date style `{other}`; known: long, short, iso");
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
    }
}

/// `time|moment`: date and time; text that is neither stays as it is.
fn moment(state: &mut State, value: &Value) -> Result<String, Error> {
    Ok(cx::of(state)?.locale.moment(&printed(value)?))
}
