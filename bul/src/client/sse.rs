//! Server-sent events: bytes in, events out (WHATWG HTML, "Server-sent events").
//!
//! Pure, so that chunk borders can be tested. Called by the HTTP client while it watches a job.

/// Longest line and longest event; a broken server must not fill the memory.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An event is longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server sent an event of more than {EVENT_BYTES_MAX} bytes")]
pub struct TooLong;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// `event:`; empty when none was given.
    pub name: String,
    /// `data:`, lines joined.
    pub data: String,
}

/// Reads a stream chunk by chunk.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    last_was_cr: bool,
}

impl SseParser {
    /// Takes in a chunk and returns the events it completes.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Vec<SseEvent>, TooLong> {
        let mut events = Vec::new();
        for &byte in chunk {
            let after_cr = std::mem::replace(&mut self.last_was_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let bytes = std::mem::take(&mut self.line);
        if bytes.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let line = String::from_utf8_lossy(&bytes);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments (keep-alives), ids and retry times are of no use here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        for size in 1..=text.len() {
            let mut parser = SseParser::default();
            let events: Vec<SseEvent> =
                text.as_bytes().chunks(size).flat_map(|chunk| parser.feed(chunk).unwrap()).collect();
            let found: Vec<(&str, &str)> =
                events.iter().map(|e| (e.name.as_str(), e.data.as_str())).collect();
            assert_eq!(found, expected, "chunks of {size}");
        }
    }

    #[test]
    fn events_are_read_whatever_the_chunks() {
        check(
            "event: state\ndata: {\"a\":1}\n\n: keep-alive\n\ndata: x\n\n",
            &[("state", "{\"a\":1}"), ("", "x")],
        );
        check("data: one\r\ndata:two\r\n\r\ndata\n\n", &[("", "one\ntwo"), ("", "")]);
        check("id: 7\nretry: 100\n\ndata: ü\n\ndata: cut off", &[("", "ü")]);
    }

    #[test]
    fn endless_lines_are_refused() {
        assert_eq!(SseParser::default().feed(&vec![b'x'; EVENT_BYTES_MAX + 1]), Err(TooLong));
    }
}
