//! Server-sent events, the part that streaming completions use (WHATWG HTML, section 9.2).
//!
//! Bytes in, `data` fields out; events may be cut anywhere between reads. Called by `openai`.

/// Splits a byte stream into events.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
}

impl SseParser {
    /// Takes the next bytes and returns the data of the events they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                // A line ends with CR, LF or both.
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    events.extend(self.end_line());
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(*byte);
                }
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then(|| String::from_utf8_lossy(&data).into_owned());
        }
        // Comments and the fields `event`, `id` and `retry` say nothing here.
        let value = line.strip_prefix(b"data:")?;
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        ": hi\r\n\r\ndata: one\n\ndata:two\ndata: three\n\nevent: x\nid: 1\n\ndata: é\r\rdata: cut";

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        for size in 1..STREAM.len() {
            let mut parser = SseParser::default();
            let events: Vec<String> = STREAM.as_bytes().chunks(size).flat_map(|c| parser.push(c)).collect();
            assert_eq!(events, ["one", "two\nthree", "é"], "cut every {size} bytes");
        }
    }
}
