//! Clients that do not behave: they never read what they asked for, or are gone before they are answered. They hold nobody
//! up, and what they handed in is done once; each test ends in the conservation equation.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bul_harness::{Fault, Proxy};
use bul_tests::{BrokerKind, Cluster, eventually, metric, request};

const JOBS: usize = 40;
/// Streams of each job.
const WATCHERS: usize = 5;
/// Clients that ask for far more than they read.
const GLUTTONS: usize = 20;

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).expect("the producer listens")
}

/// Asks for as much as the connection takes, reads nothing, and is left with every buffer full.
fn gorge(port: u16) -> TcpStream {
    let mut stream = connect(port);
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout can be set");
    let asks = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    while stream.write_all(asks.as_bytes()).is_ok() {}
    stream.set_nonblocking(true).expect("it can be asked without waiting");
    stream
}

/// Whether the other side has closed a connection of which nothing was ever read.
fn is_cut(stream: &mut TcpStream) -> bool {
    stream.write_all(b"G").is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
}

fn clients_that_never_read(kind: BrokerKind) {
    let mut cluster = Cluster::start(kind);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.submit(0..JOBS);
    let (port, authorization) = (cluster.http_port(), cluster.authorization());
    let ids = cluster.ask("SELECT string_agg(id::text, ' ') FROM jobs");
    let watchers: Vec<TcpStream> = ids
        .split(' ')
        .flat_map(|id| std::iter::repeat_n(id, WATCHERS))
        .map(|id| {
            let mut stream = connect(port);
            let head = format!(
                "GET /v1/jobs/{id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).expect("a stream is asked for");
            stream
        })
        .collect();
    assert_eq!(watchers.len(), JOBS * WATCHERS);
    let open = || metric(port, "bul_event_streams");
    eventually("all streams are open", || (open() == Some(watchers.len() as i64)).then_some(()));
    let mut gluttons: Vec<TcpStream> = (0..GLUTTONS).map(|_| gorge(port)).collect();
    cluster.role("worker-1", &["worker"], &[("BUL_TEST_TOKEN_DELAY_MS", "5")]);
    cluster.role("worker-2", &["worker"], &[("BUL_TEST_TOKEN_DELAY_MS", "5")]);
    cluster.submit(JOBS..JOBS + 20);
    cluster.assert_exactly_once(JOBS as u64 + 20);
    eventually("the streams of jobs that have ended are closed", || (open() == Some(0)).then_some(()));
    eventually("who never reads is cut off", || gluttons.iter_mut().all(is_cut).then_some(()));
    // Nobody has read a byte until now; what a watcher was sent lay ready all the time.
    for mut watcher in watchers {
        let mut seen = Vec::new();
        let _ = watcher.read_to_end(&mut seen);
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.contains("\"completed\""), "{seen}");
    }
    cluster.submit(JOBS + 20..JOBS + 30);
    cluster.assert_exactly_once(JOBS as u64 + 30);
}

#[test]
fn clients_that_never_read_hold_nobody_up_on_nats() {
    clients_that_never_read(BrokerKind::Nats);
}

#[test]
fn clients_that_never_read_hold_nobody_up_on_rabbitmq() {
    clients_that_never_read(BrokerKind::Rabbit);
}

fn body(n: usize) -> String {
    format!("{{\"query\": \"Plan {n}\", \"formats\": [\"md\", \"json\"]}}")
}

/// A submission under a key of its own, over any port.
fn submission(cluster: &Cluster, n: usize) -> Vec<u8> {
    let (body, authorization) = (body(n), cluster.authorization());
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\nIdempotency-Key: order-{n}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// Connections end in the middle of the request, behind it, and while the answer is on its way; who asks again under the same
/// key has one job, and is told its id each time.
#[test]
fn clients_that_are_cut_off_submit_once() {
    const ORDERS: usize = 30;
    let cluster = Cluster::start_usual(BrokerKind::Nats);
    let network = Proxy::start(cluster.http_port()).expect("a proxy");
    for n in 0..ORDERS {
        let bytes = submission(&cluster, n);
        // Half of it, which is no request; then all of it, and nobody there for the answer.
        connect(cluster.http_port()).write_all(&bytes[..bytes.len() - 9]).expect("half a request");
        for _ in 0..n % 3 {
            connect(cluster.http_port()).write_all(&bytes).expect("a request");
        }
    }
    for n in 0..ORDERS {
        network.set(Fault::LostAnswers);
        let mut lost = connect(network.port());
        lost.write_all(&submission(&cluster, n)).expect("a request");
        let is_there = format!("SELECT count(*) FROM jobs WHERE body LIKE '%\"Plan {n}\"%'");
        eventually("the job is accepted", || (cluster.ask(&is_there) == "1").then_some(()));
        network.set(Fault::Cut);
        let mut answer = Vec::new();
        let _ = lost.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
    let (authorization, mut told) = (cluster.authorization(), Vec::new());
    for n in 0..ORDERS {
        let key = format!("order-{n}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", key.as_str()),
        ];
        let again = || request(cluster.http_port(), "POST", "/v1/jobs", &headers, body(n).as_bytes());
        let (first, second) = (again(), again());
        assert_eq!((first.status, second.status), (200, 200), "{first:?}");
        assert_eq!(first.json()["id"], second.json()["id"]);
        told.push(first.json()["id"].as_str().expect("an id").to_owned());
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), ORDERS);
    cluster.assert_exactly_once(ORDERS as u64);
}
