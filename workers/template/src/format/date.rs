//! Dates and times: reading the common spellings, writing them by language.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};

use super::Locale;

const MONTHS_EN: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const MONTHS_DE: [&str; 12] = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
];

impl Locale {
    /// `1 December 2026`, `1. Dezember 2026`.
    pub(crate) fn date(self, date: NaiveDate) -> String {
        let month = date.month0() as usize;
        match self {
            Self::En => format!("{} {} {}", date.day(), MONTHS_EN[month], date.year()),
            Self::De => format!("{}. {} {}", date.day(), MONTHS_DE[month], date.year()),
        }
    }

    /// Short form for tables: `1 Dec 2026`, `01.12.2026`.
    pub(crate) fn date_short(self, date: NaiveDate) -> String {
        match self {
            Self::En => format!("{} {} {}", date.day(), &MONTHS_EN[date.month0() as usize][..3], date.year()),
            Self::De => format!("{:02}.{:02}.{}", date.day(), date.month(), date.year()),
        }
    }

    /// Date or moment as it came, in this language; unreadable text stays as it is.
    pub(crate) fn moment(self, text: &str) -> String {
        let text = text.trim();
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return self.date_time(moment.naive_utc(), " UTC");
        }
        for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
            if let Ok(moment) = NaiveDateTime::parse_from_str(text, form) {
                return self.date_time(moment, "");
            }
        }
        match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            Ok(date) => self.date(date),
            Err(_) => text.to_owned(),
        }
    }

    fn date_time(self, moment: NaiveDateTime, zone: &str) -> String {
        format!("{} {:02}:{:02}{zone}", self.date(moment.date()), moment.hour(), moment.minute())
    }
}

/// Date of the common spellings: ISO, German (day first with dots), US (month first with slashes).
pub(crate) fn parse_date(text: &str) -> Option<NaiveDate> {
    let text = text.trim();
    if text.len() < 6 || text.len() > 40 || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let day = text.split(['T', ' ']).next()?;
    let separator = day.chars().find(|c| !c.is_ascii_digit())?;
    let mut parts = day.split(separator);
    let (a, b, c) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (year, month, day) = match separator {
        '-' | '/' if a.len() == 4 => (a, b, c),
        '.' => (c, b, a),
        '/' => (c, a, b),
        _ => return None,
    };
    let number = |part: &str, most: usize| {
        ((1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let year = match year.len() {
        4 => number(year, 4)?,
        2 => 2000 + number(year, 2)?,
        _ => return None,
    };
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, number(month, 2)?, number(day, 2)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_by_language() {
        let day = NaiveDate::from_ymd_opt(2026, 12, 1).expect("date");
        assert_eq!(Locale::En.date(day), "1 December 2026");
        assert_eq!(Locale::De.date(day), "1. Dezember 2026");
        assert_eq!(Locale::En.date_short(day), "1 Dec 2026");
        assert_eq!(Locale::De.date_short(day), "01.12.2026");
        assert_eq!(Locale::En.moment("2022-11-11T13:52:20.079Z"), "11 November 2022 13:52 UTC");
        assert_eq!(Locale::De.moment("2022-11-11T23:52:00-02:00"), "12. November 2022 01:52 UTC");
        assert_eq!(Locale::En.moment("2022-11-11"), "11 November 2022");
        assert_eq!(Locale::En.moment("soon"), "soon");
    }

    #[test]
    fn reads_the_common_spellings() {
        let day = NaiveDate::from_ymd_opt(2026, 3, 9);
        for text in [
            "2026-03-09",
            "2026-03-09T10:00:00Z",
            "9.3.2026",
            "09.03.2026",
            "03/09/2026",
            "3/9/26",
            "2026/3/9",
        ] {
            assert_eq!(parse_date(text), day, "{text}");
        }
        for text in ["", "12", "1234.50", "2026-13-01", "30.02.2026", "hello world", "1-2-3", "192.168.0.1"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
