//! A bare HTTP/1.1 client: what goes over the wire is exactly what a test says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// Body of every refusal of a scripted server.
const REFUSAL: &str = r#"{"error":{"message":"refused by the test"}}"#;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Head, as sent.
    pub head: String,
    /// Body; chunks are joined.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// A server that answers every request with one status, for as long as the process lives; its port.
pub fn refusing_server(status: u16) -> u16 {
    answering(move |_| (status, REFUSAL.into()))
}

/// An OpenAI-compatible server whose n-th answer says `script(n, body of the request)`; its port.
pub fn completions_server(script: impl Fn(usize, Value) -> String + Send + 'static) -> u16 {
    let mut n = 0;
    model_server(move |body| {
        let text = script(n, body);
        n += 1;
        Ok(text)
    })
}

/// An OpenAI-compatible server that says the text of `script(body of the request)`, or fails with its status; its port.
pub fn model_server(mut script: impl FnMut(Value) -> Result<String, u16> + Send + 'static) -> u16 {
    answering(move |request| {
        let body = request.windows(4).position(|w| w == b"\r\n\r\n").map_or(&[][..], |at| &request[at + 4..]);
        let text = match script(serde_json::from_slice(body).unwrap_or_default()) {
            Ok(text) => text,
            Err(status) => return (status, REFUSAL.into()),
        };
        let message = json!({"role": "assistant", "content": text});
        let usage = json!({"prompt_tokens": 50, "completion_tokens": 20});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        (200, json!({"choices": [choice], "usage": usage}).to_string())
    })
}

/// A server that answers each request by a status and a body, one after the other.
fn answering(mut answer: impl FnMut(&[u8]) -> (u16, String) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            // A request that was not read to its end would be answered by a reset.
            let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
            while !is_whole(&heard) {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => heard.extend_from_slice(&buffer[..read]),
                    Ok(_) | Err(_) => break,
                }
            }
            let (status, body) = answer(&heard);
            let head =
                format!("HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nConnection: close");
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    port
}

/// Whether a request with a content length has arrived as a whole.
fn is_whole(heard: &[u8]) -> bool {
    let Some(split) = heard.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&heard[..split]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    heard.len() >= split + 4 + length.unwrap_or(0usize)
}

/// Sends one request and reads the answer to its end.
#[track_caller]
pub fn request(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).expect("the head can be sent");
    // A server that refuses a large body may close before it has read all of it.
    let _ = stream.write_all(body);
    let mut raw = Vec::new();
    let _ = stream.read_to_end(&mut raw);
    let split = raw.windows(4).position(|w| w == b"\r\n\r\n").expect("the answer has a head");
    let head = String::from_utf8_lossy(&raw[..split]).into_owned();
    let status =
        head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).expect("the answer has a status");
    let mut body = raw[split + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = join_chunks(&body);
    }
    Answer { status, head, body }
}

fn join_chunks(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(String::from_utf8_lossy(&raw[..end]).trim(), 16).unwrap_or(0);
        if size == 0 || raw.len() < end + 2 + size {
            break;
        }
        body.extend_from_slice(&raw[end + 2..end + 2 + size]);
        raw = raw.get(end + 2 + size + 2..).unwrap_or_default();
    }
    body
}

/// A metric of the process that serves `/metrics` on this port: the value behind `name` and its labels, once there is one.
#[track_caller]
pub fn metric(port: u16, name: &str) -> Option<i64> {
    let text = String::from_utf8(request(port, "GET", "/metrics", &[], b"").body).expect("UTF-8");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.trim().parse().expect("a whole number"))
}
