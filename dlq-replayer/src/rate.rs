//! How fast dead letters are replayed: `10/s`, `600/m`, `90/h`.

use std::str::FromStr;
use std::time::Duration;

/// Fastest rate; beyond it a limit is none.
const PER_SECOND_MAX: u32 = 1_000;

/// A number of jobs per unit of time, evenly spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
}

/// A rate that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rate {given:?}: {message}")]
pub struct RateError {
    /// What was given, cut to 32 characters.
    pub given: String,
    /// What is wrong.
    pub message: String,
}

impl Rate {
    /// Time between two jobs.
    pub fn interval(self) -> Duration {
        self.interval
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let bad =
            |message: &str| RateError { given: text.chars().take(32).collect(), message: message.into() };
        let (count, unit) = text.trim().split_once('/').ok_or_else(|| bad("expected N/s, N/m or N/h"))?;
        let count: u32 =
            count.trim().parse().map_err(|_| bad("expected a whole number before the stroke"))?;
        let unit = match unit.trim() {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            _ => return Err(bad("expected the unit s, m or h")),
        };
        if count == 0 {
            return Err(bad("must be at least 1"));
        }
        let interval = unit / count;
        if interval < Duration::from_secs(1) / PER_SECOND_MAX {
            return Err(bad("at most 1000/s is possible; leave the rate out for no limit"));
        }
        Ok(Self { interval })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_become_intervals() {
        let interval_ms = |text: &str| text.parse::<Rate>().unwrap().interval().as_millis();
        assert_eq!(interval_ms("10/s"), 100);
        assert_eq!(interval_ms("600/m"), 100);
        assert_eq!(interval_ms(" 1 / h "), 3_600_000);
    }

    #[test]
    fn errors_say_what_is_expected() {
        for bad in ["", "10", "/s", "0/s", "-1/s", "1.5/s", "10/d", "1001/s", "99999999999/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
