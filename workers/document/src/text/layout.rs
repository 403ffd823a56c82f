//! Lines of limited width, hanging indents and aligned columns.

/// Width of a line; fits a terminal and a quoted mail.
pub(super) const LINE_WIDTH: usize = 78;
/// Narrowest a column is squeezed to.
const COLUMN_MIN: usize = 8;

/// Cells a text takes in a fixed-width face; East Asian letters and emoji take two.
pub(super) fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '\u{300}'..='\u{36F}' | '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}' => 0,
            '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}' => 2,
            '\u{F900}'..='\u{FAFF}' | '\u{FF00}'..='\u{FF60}' | '\u{1F300}'..='\u{1FAFF}' => 2,
            '\u{20000}'..='\u{3FFFD}' => 2,
            _ => 1,
        })
        .sum()
}

/// Breaks a text at spaces. A word longer than a line stays whole, as it may be an address.
pub(super) fn wrap(text: &str, max: usize) -> String {
    let mut lines = Vec::new();
    for given in text.split('\n') {
        let mut line = String::new();
        for word in given.split(' ') {
            if !line.is_empty() && width(&line) + 1 + width(word) > max {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// Puts a marker before the first line and indents the others under it.
pub(super) fn hang(text: &str, marker: &str) -> String {
    let indent = " ".repeat(width(marker));
    let mut out = String::from(marker);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
            if !line.is_empty() {
                out.push_str(&indent);
            }
        }
        out.push_str(line);
    }
    out
}

/// A table with aligned columns; too wide ones are wrapped, totals are set apart by a rule.
pub(super) fn columns(
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
    totals: Vec<Vec<String>>,
    right: &[bool],
    max: usize,
) -> String {
    let mut widths: Vec<usize> = titles.iter().map(|title| width(title)).collect();
    for row in rows.iter().chain(&totals) {
        for (index, cell) in row.iter().enumerate() {
            widths[index] = widths[index].max(width(cell));
        }
    }
    squeeze(&mut widths, right, max);
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width.max(1))).collect();
    let rule = rule.join("  ");
    let mut out = vec![line(&titles, &widths, right), rule.clone()];
    out.extend(rows.iter().map(|row| line(row, &widths, right)));
    if !totals.is_empty() {
        out.push(rule);
        out.extend(totals.iter().map(|row| line(row, &widths, right)));
    }
    out.join("\n")
}

/// Takes width from the widest text column until the table fits; numbers are never broken.
fn squeeze(widths: &mut [usize], right: &[bool], max: usize) {
    loop {
        let total: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let widest = (0..widths.len()).filter(|&i| !right[i]).max_by_key(|&i| widths[i]);
        match widest {
            Some(index) if total > max && widths[index] > COLUMN_MIN => {
                widths[index] =
                    widths[index].saturating_sub(total - max).max(COLUMN_MIN).max(widths[index] / 2);
            }
            _ => return,
        }
    }
}

fn line(cells: &[String], widths: &[usize], right: &[bool]) -> String {
    let wrapped: Vec<Vec<String>> = cells
        .iter()
        .zip(widths)
        .map(|(cell, &max)| wrap(cell, max.max(1)).split('\n').map(str::to_owned).collect())
        .collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(1);
    let mut out = Vec::with_capacity(height);
    for row in 0..height {
        let mut text = String::new();
        for (index, lines) in wrapped.iter().enumerate() {
            let cell = lines.get(row).map(String::as_str).unwrap_or_default();
            let pad = " ".repeat(widths[index].saturating_sub(width(cell)));
            if index > 0 {
                text.push_str("  ");
            }
            if right[index] {
                text.push_str(&pad);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.push_str(&pad);
            }
        }
        out.push(text.trim_end().to_owned());
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_and_aligns() {
        assert_eq!(wrap("aaa bbb ccc", 7), "aaa bbb\nccc");
        let table = columns(
            vec!["Item".into(), "Price".into()],
            vec![vec!["Long name here".into(), "9.00".into()]],
            vec![vec!["Sum".into(), "109.00".into()]],
            &[false, true],
            40,
        );
        assert_eq!(
            table,
            "Item             Price\n--------------  ------\nLong name here    9.00\n\
             --------------  ------\nSum             109.00"
        );
    }
}
