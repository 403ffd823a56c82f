//! What an operator should know about a server of this version and with these settings. Pure; called by `open`.

use bul_job::Timestamp;
use chrono::Datelike;

/// The oldest series that is tested. Those before it get no fixes any more.
const OLDEST: u32 = 14;
/// The newest series whose end is known.
const NEWEST: u32 = 18;
/// A series gets its last fixes in November, five years after its first release: that of 14 was in 2021.
const LAST_YEAR_OF_OLDEST: i32 = 2026;
const LAST_MONTH: u32 = 11;

/// Settings that decide what a commit survives, as the session has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) fsync: &'a str,
    pub(crate) synchronous_commit: &'a str,
    pub(crate) full_page_writes: &'a str,
}

/// Major and minor out of texts like `15.18 (Debian 15.18-0+deb12u1)`, `18beta1` or `16.4`; zeros where there is none.
pub(crate) fn numbers(version: &str) -> (u32, u32) {
    let digits = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        (text[..end].parse().unwrap_or(0), text[end..].to_owned())
    };
    let (major, rest) = digits(version.trim());
    let minor = rest.strip_prefix('.').map_or(0, |rest| digits(rest).0);
    (major, minor)
}

/// In sentences, the worst first.
pub(crate) fn notes(version: &str, settings: Settings<'_>, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    if settings.fsync != "on" {
        notes.push("fsync is off: when the server's machine fails, the whole database may be lost".into());
    }
    if settings.full_page_writes != "on" {
        notes.push(
            "full_page_writes is off: when the power fails, pages may be damaged without a word".into(),
        );
    }
    if settings.synchronous_commit == "off" {
        notes.push(
            "synchronous_commit is off: when the server crashes, the last jobs it has answered may be lost"
                .into(),
        );
    }
    let (major, minor) = numbers(version);
    if major == 0 {
        notes.push("the version is not understood: nothing is known of it".into());
        return notes;
    }
    if major == 14 && minor < 4 {
        notes.push(
            "before 14.4 an index that was made or rebuilt CONCURRENTLY may miss rows: update the server, then \
             rebuild such indexes"
                .into(),
        );
    }
    if major < OLDEST {
        notes.push(format!("tested from {OLDEST} on; this series is older and gets no fixes any more"));
    } else if major <= NEWEST {
        let last = LAST_YEAR_OF_OLDEST + (major - OLDEST).cast_signed();
        if (now.year(), now.month()) > (last, LAST_MONTH) {
            notes.push(format!("series {major} got its last fixes in November {last}"));
        } else if (now.year() + 1, now.month()) > (last, LAST_MONTH) {
            notes.push(format!("series {major} gets its last fixes in November {last}"));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Settings<'_> = Settings { fsync: "on", synchronous_commit: "on", full_page_writes: "on" };

    fn check(version: &str, settings: Settings<'_>, now: &str, expected: &[&str]) {
        let notes = notes(version, settings, format!("{now}T00:00:00Z").parse().unwrap());
        assert_eq!(notes.len(), expected.len(), "{version}: {notes:?}");
        for (note, part) in notes.iter().zip(expected) {
            assert!(note.contains(part), "{version}: {note:?} does not say {part:?}");
        }
    }

    #[test]
    fn versions_are_read() {
        let read = ["15.18 (Debian 15.18-0+deb12u1)", "16.4", "18beta1", "17rc1", "9.6.24", "", "weekly"]
            .map(numbers);
        assert_eq!(read, [(15, 18), (16, 4), (18, 0), (17, 0), (9, 6), (0, 0), (0, 0)]);
    }

    #[test]
    fn versions_that_end_or_damage_are_named() {
        check("15.18 (Debian 15.18-0+deb12u1)", SAFE, "2026-11-16", &[]);
        check("14.3", SAFE, "2024-01-01", &["before 14.4"]);
        check("14.4", SAFE, "2024-01-01", &[]);
        check("14.20", SAFE, "2025-12-01", &["gets its last fixes in November 2026"]);
        check("14.20", SAFE, "2026-11-30", &["gets its last fixes"]);
        check("14.0", SAFE, "2026-12-01", &["before 14.4", "got its last fixes in November 2026"]);
        check("18.1", SAFE, "2030-12-01", &["got its last fixes in November 2030"]);
        check("19.1", SAFE, "2040-01-01", &[]);
        check("13.22", SAFE, "2024-01-01", &["tested from 14 on"]);
        check("weekly", SAFE, "2024-01-01", &["not understood"]);
    }

    #[test]
    fn settings_that_lose_data_come_first() {
        let unsafe_ones = Settings { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };
        let named = ["fsync is off", "full_page_writes is off", "synchronous_commit is off", "before 14.4"];
        check("14.1", unsafe_ones, "2024-01-01", &named);
        check("16.1", Settings { synchronous_commit: "local", ..SAFE }, "2024-01-01", &[]);
    }
}
