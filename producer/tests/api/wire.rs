//! The listener: what only real connections show.

use std::time::Duration;

use bul_producer::ProducerOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::App;

struct Served {
    app: App,
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn serve(options: ProducerOptions) -> Served {
    let app = App::with(options).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(bul_producer::serve(listener, app.state.clone(), shutdown.clone()));
    Served { app, address, shutdown, task }
}

impl Served {
    /// Sends the head and returns the open connection.
    async fn send(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    fn submit_head(&self, more: &str) -> String {
        let key = &self.app.keys.submit;
        format!(
            "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{more}\r\n\r\n"
        )
    }
}

/// Reads until the peer closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `text` has been seen.
async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 4_096];
    while !seen.contains(text) {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "closed before {text:?}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    seen
}

#[tokio::test]
async fn fifty_megabytes_are_refused_with_an_answer_that_arrives() {
    const BYTES: usize = 50 * 1024 * 1024;
    let served = serve(ProducerOptions::default()).await;
    let mut stream =
        served.send(&served.submit_head(&format!("connection: close\r\ncontent-length: {BYTES}"))).await;
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..BYTES / chunk.len() {
        stream.write_all(&chunk).await.expect("the server takes the whole body");
    }
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
}

#[tokio::test]
async fn a_client_that_asks_first_need_not_send() {
    let served = serve(ProducerOptions::default()).await;
    let head = served.submit_head("expect: 100-continue\r\ncontent-length: 52428800");
    let mut stream = served.send(&head).await;
    let answer = until(&mut stream, "body_too_large").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let options = ProducerOptions { drain_bytes_max: 100_000, ..Default::default() };
    let served = serve(options).await;
    let mut stream = served.send(&served.submit_head("content-length: 1099511627776")).await;
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0_usize;
    while stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 1 << 30, "the server reads for ever");
    }
}

#[tokio::test]
async fn heads_are_limited_in_size_and_time() {
    let options = ProducerOptions { header_timeout: Duration::from_millis(1), ..Default::default() };
    let served = serve(options).await;
    let mut slow = served.send("GET /livez HTTP/1.1\r\nhost").await;
    assert!(!rest(&mut slow).await.contains("200 OK"));

    let served = serve(ProducerOptions::default()).await;
    let mut many =
        served.send(&format!("GET /livez HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(100))).await;
    assert!(until(&mut many, "\r\n").await.contains("431"));
    let mut broken = served.send("NONSENSE\r\n\r\n").await;
    assert!(until(&mut broken, "\r\n").await.contains("400"));
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_cut_off() {
    let options = ProducerOptions { write_timeout: Duration::from_millis(200), ..Default::default() };
    let served = serve(options).await;
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut glutton = TcpStream::connect(served.address).await.unwrap();
    // Once all buffers are full nothing more can be sent, until the connection ends.
    let asking = async { while glutton.write_all(request).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the server cuts it off");
    // One that reads is served, however long it took to ask.
    let mut reader = served.send("GET /openapi.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(rest(&mut reader).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stop_ends_streams_and_idle_connections() {
    let served = serve(ProducerOptions::default()).await;
    let id = served.app.submitted().await;
    let key = &served.app.keys.read;
    let head = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
    let mut watcher = served.send(&head).await;
    until(&mut watcher, "event: state").await;
    let mut idle = served.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    until(&mut idle, "ok").await;

    served.shutdown.cancel();
    served.task.await.unwrap().unwrap();
    rest(&mut watcher).await;
    rest(&mut idle).await;
    assert!(TcpStream::connect(served.address).await.is_err());
}
