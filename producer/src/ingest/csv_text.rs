//! CSV as programs and spreadsheets write it: delimiter found, quoted line breaks, any line ending.
//!
//! Rows are numbered as a spreadsheet shows them: the header is row 1. What the `csv` crate lets
//! pass silently, a quote that never ends, is an error here: it swallows the rest of the file.

use std::borrow::Cow;

use super::error::{IngestError, quote};
use super::{IngestLimits, text};

/// The header and a way to walk the rows.
pub(crate) struct Table<'a> {
    /// Names of the columns, trimmed.
    pub header: Vec<String>,
    reader: csv::Reader<&'a [u8]>,
    limits: &'a IngestLimits,
    rows: usize,
    cells: usize,
}

/// One row below the header.
pub(crate) struct Row {
    /// As a spreadsheet counts: 2 is the first below the header.
    pub number: usize,
    /// Line of the file it starts on.
    pub line: u64,
    /// As many as the header has at most; a short row has fewer.
    pub cells: csv::StringRecord,
    /// Set when the row has more filled cells than the header has columns.
    pub surplus: Option<usize>,
}

impl Row {
    /// `row 3`, with the line where that differs.
    pub(crate) fn place(&self) -> String {
        if u64::try_from(self.number).is_ok_and(|number| number == self.line) {
            format!("row {}", self.number)
        } else {
            format!("row {} (line {})", self.number, self.line)
        }
    }
}

/// Decodes a CSV body; what is not UTF-8 is read as Windows-1252, as old spreadsheets write it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, IngestError> {
    text::decode(bytes, text::Fallback::Windows1252)
}

impl<'a> Table<'a> {
    /// Reads the header.
    pub(crate) fn open(text: &'a str, limits: &'a IngestLimits) -> Result<Self, IngestError> {
        let (text, delimiter) = match declared_delimiter(text) {
            Some((rest, delimiter)) => (rest, delimiter),
            None => (text, delimiter_of(text)),
        };
        if let Some(line) = unterminated_quote(text, delimiter) {
            return Err(IngestError::syntax(format!("line {line}"), "a quote opens here and never closes"));
        }
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .from_reader(text.as_bytes());
        let mut record = csv::StringRecord::new();
        read(&mut reader, &mut record)?;
        let mut header: Vec<String> =
            record.iter().take(limits.csv_columns_max + 1).map(|name| name.trim().to_owned()).collect();
        while header.last().is_some_and(String::is_empty) {
            header.pop();
        }
        if header.is_empty() {
            return Err(IngestError::syntax("row 1", "the header has no column names"));
        }
        if header.len() > limits.csv_columns_max {
            let max = limits.csv_columns_max;
            return Err(IngestError::too_large(format!(
                "the header has {} columns, at most {max} are allowed (csv_columns_max)",
                record.len()
            )));
        }
        let mut sorted: Vec<&String> = header.iter().filter(|name| !name.is_empty()).collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(IngestError::syntax("row 1", format!("column {} occurs twice", quote(pair[0]))));
        }
        Ok(Self { header, reader, limits, rows: 0, cells: 0 })
    }

    /// The next row; blank rows are skipped but counted where they have delimiters.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, IngestError> {
        loop {
            let mut cells = csv::StringRecord::new();
            if !read(&mut self.reader, &mut cells)? {
                return Ok(None);
            }
            self.rows += 1;
            if self.rows > self.limits.csv_rows_max {
                let max = self.limits.csv_rows_max;
                return Err(IngestError::too_large(format!(
                    "more than {max} rows below the header (csv_rows_max)"
                )));
            }
            if cells.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            let columns = self.header.len();
            let surplus =
                cells.iter().skip(columns).any(|cell| !cell.trim().is_empty()).then_some(cells.len());
            cells.truncate(columns);
            self.cells += columns;
            if self.cells > self.limits.csv_cells_max {
                let max = self.limits.csv_cells_max;
                return Err(IngestError::too_large(format!("more than {max} cells (csv_cells_max)")));
            }
            let line = cells.position().map_or(0, csv::Position::line);
            return Ok(Some(Row { number: self.rows + 1, line, cells, surplus }));
        }
    }
}

fn read(reader: &mut csv::Reader<&[u8]>, record: &mut csv::StringRecord) -> Result<bool, IngestError> {
    reader.read_record(record).map_err(|error| {
        let place = error.position().map(|p| format!("line {}", p.line())).unwrap_or_default();
        IngestError::syntax(place, "not valid CSV")
    })
}

/// `sep=;` on a line of its own, which spreadsheets write and read.
fn declared_delimiter(text: &str) -> Option<(&str, u8)> {
    let (first, rest) = text.split_once('\n')?;
    match first.trim_end().strip_prefix("sep=")?.as_bytes() {
        [delimiter @ (b',' | b';' | b'\t' | b'|')] => Some((rest, *delimiter)),
        _ => None,
    }
}

/// The most frequent of comma, semicolon and tab in the header, outside of quotes.
pub(crate) fn delimiter_of(text: &str) -> u8 {
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    for byte in text.trim_start().bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if quoted => {}
            _ => counts.iter_mut().filter(|(d, _)| *d == byte).for_each(|(_, n)| *n += 1),
        }
    }
    let mut best = counts[0];
    for candidate in counts {
        if candidate.1 > best.1 {
            best = candidate;
        }
    }
    best.0
}

/// The line on which a quoted cell begins that the text never ends. Walks the same states as the
/// `csv` crate: a quote is special only at the start of a cell and inside a quoted one.
fn unterminated_quote(text: &str, delimiter: u8) -> Option<usize> {
    enum At {
        CellStart,
        Plain,
        Quoted,
        QuoteEnd,
    }
    let (mut line, mut opened_on) = (1, 1);
    let mut at = At::CellStart;
    for byte in text.bytes() {
        at = match (at, byte) {
            (At::Quoted, b'"') => At::QuoteEnd,
            (At::Quoted, _) => At::Quoted,
            (At::QuoteEnd, b'"') => At::Quoted,
            (At::CellStart, b'"') => {
                opened_on = line;
                At::Quoted
            }
            (_, b'\n' | b'\r') => At::CellStart,
            (_, other) if other == delimiter => At::CellStart,
            _ => At::Plain,
        };
        line += usize::from(byte == b'\n');
    }
    matches!(at, At::Quoted).then_some(opened_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
        let limits = IngestLimits::default();
        let mut table = Table::open(text, &limits).map_err(|e| e.to_string())?;
        let mut rows = vec![(1, table.header.clone())];
        while let Some(row) = table.next_row().map_err(|e| e.to_string())? {
            rows.push((row.number, row.cells.iter().map(str::to_owned).collect()));
        }
        Ok(rows)
    }

    fn check(text: &str, expected: &[(usize, &[&str])]) {
        let expected: Vec<(usize, Vec<String>)> =
            expected.iter().map(|(n, cells)| (*n, cells.iter().map(|c| (*c).to_owned()).collect())).collect();
        assert_eq!(rows(text), Ok(expected));
    }

    #[test]
    fn delimiters_and_line_ends() {
        check("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("a;b\r\n1,5;2", &[(1, &["a", "b"]), (2, &["1,5", "2"])]);
        check("a\tb\r1\t2\r", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("sep=|\na|b\n1|2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("\"a,x\";b\n1;2\n", &[(1, &["a,x", "b"]), (2, &["1", "2"])]);
        check("only\n1\n", &[(1, &["only"]), (2, &["1"])]);
    }

    #[test]
    fn quotes_hold_line_breaks_and_quotes() {
        check("a,b\n\"x\ny\",\"say \"\"hi\"\"\"\n", &[(1, &["a", "b"]), (2, &["x\ny", "say \"hi\""])]);
        assert_eq!(rows("a,b\n1,\"x\n2,3\n"), Err("line 2: a quote opens here and never closes".into()));
        check("a,b\n1,5\" pipe\n", &[(1, &["a", "b"]), (2, &["1", "5\" pipe"])]);
    }

    #[test]
    fn blank_rows_and_trailing_delimiters() {
        check("a,b,,\n1,2,,\n,,,\n3\n", &[(1, &["a", "b"]), (2, &["1", "2"]), (4, &["3"])]);
    }

    #[test]
    fn bad_headers() {
        assert!(rows("a,b,a\n").is_err_and(|e| e.contains("\"a\" occurs twice")));
        assert!(rows(",,\n1,2\n").is_err_and(|e| e.contains("no column names")));
        assert!(rows(&"a,".repeat(100_000)).is_err_and(|e| e.contains("csv_columns_max")));
    }
}
