//! How results look for people: aligned columns, relative times, sizes.
//!
//! Invariant: text from jobs never reaches the terminal raw; control characters are replaced, so that
//! a title cannot move the cursor or recolour the screen.

use bul_job::{JobId, Timestamp};
use comfy_table::{Table, presets};

/// Columns under a heading line.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)).collect::<Vec<_>>());
    }
    // Cells are padded on both sides; the outer padding is of no use to anyone.
    let lines: Vec<String> =
        table.to_string().lines().map(|l| l.strip_prefix(' ').unwrap_or(l).trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// Name and value per line, values aligned.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:<width$}  {}\n", clean(value))).collect()
}

/// Without control characters.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Like [`clean`] for running text: line breaks and tabs stay.
pub fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { ' ' } else { c }).collect()
}

/// At most `max` characters.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The last eight characters of an id. Ids begin with their time, so that jobs of one minute share
/// their first half; the end is random.
pub fn short(id: &JobId) -> String {
    let text = id.to_string();
    text[text.len() - 8..].to_owned()
}

/// `3 s ago`, or `in 3 s`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let past = at <= now;
    let distance = span(if past { now - at } else { at - now });
    if past { format!("{distance} ago") } else { format!("in {distance}") }
}

/// A length of time in its largest unit.
pub fn span(delta: chrono::TimeDelta) -> String {
    let seconds = delta.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `12 KiB`.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{} KiB", count.div_ceil(1_024)),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// `1 job`, `2 jobs`.
pub fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Milliseconds as people read them.
pub fn ms(value: f64) -> String {
    if value < 10_000.0 { format!("{value:.0} ms") } else { format!("{:.1} s", value / 1_000.0) }
}

/// An instant in full and how far away it is.
pub fn instant(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", at.format("%Y-%m-%d %H:%M:%S UTC"), relative(at, now))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn times_are_relative_in_their_largest_unit() {
        let now: Timestamp = "2026-11-16T10:00:00Z".parse().unwrap();
        let check = |seconds: i64, expected: &str| {
            assert_eq!(relative(now - TimeDelta::seconds(seconds), now), expected);
        };
        check(3, "3 s ago");
        check(120, "2 min ago");
        check(7_300, "2 h ago");
        check(259_200, "3 d ago");
        check(-90, "in 1 min");
    }

    #[test]
    fn tables_align_and_hold_no_control_characters() {
        let text = table(
            &["ID", "TITLE"],
            &[vec!["1".into(), "a\u{1b}[31mb\nc".into()], vec!["22".into(), "d".into()]],
        );
        assert_eq!(text, "ID  TITLE\n1   a [31mb c\n22  d\n");
    }

    #[test]
    fn sizes_and_cuts() {
        assert_eq!((bytes(5).as_str(), bytes(1_025).as_str()), ("5 B", "2 KiB"));
        assert_eq!(cut("Grüße aus", 5), "Grüß…");
        assert_eq!(cut("kurz", 5), "kurz");
    }
}
