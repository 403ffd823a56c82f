//! Exit codes and errors that name the place.

use bul_tests::{Ran, Server, ServerOptions, bul, request};

#[test]
fn without_a_server_commands_say_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let ran = Ran::of(bul(home.path()).env("BUL_URL", "http://127.0.0.1:9").args(["jobs", "list"])).expect(4);
    assert!(ran.err.contains("bul up"), "{}", ran.err);
    Ran::of(bul(home.path()).args(["jobs", "lst"])).expect(2);
    Ran::of(bul(home.path()).args(["--help"])).expect(0);
    let ledger = Ran::of(bul(home.path()).args(["ledger", "-o", "json"])).expect(0).json();
    assert_eq!(ledger["total"]["accepted"], 0);
}

#[test]
fn bad_input_names_its_place_and_does_nothing() {
    let server = Server::start(ServerOptions::default().scripted());
    let deep = format!("{{\"query\":\"x\",\"data\":{}1{}}}", "{\"a\":".repeat(60), "}".repeat(60));
    let cases: &[(&str, &str)] = &[
        ("{\"query\": ", "line 1"),
        ("{\"query\": \"x\", \"colour\": 1}", "colour"),
        ("{\"query\": 7}", "/query"),
        ("{\"template\": \"nosuch\"}", "nosuch"),
        ("{\"template\": \"invoice\", \"data\": {\"number\": \"1\", \"lines\": \"none\"}}", "/data/lines"),
        ("{\"query\": \"x\\u0000y\"}", "U+0000"),
        ("{\"query\": \"a\"}\n{\"query\": \"b\"}\n{\"qery\": \"c\"}\n", "line 3"),
        ("<Invoice><unclosed></Invoice>", "line 1, column"),
        ("<!DOCTYPE a [<!ENTITY b \"c\">]><Invoice/>", "document types"),
        ("query,formats\nSales plan,doc\n", "formats"),
        (&deep, "levels"),
    ];
    for (input, wanted) in cases {
        let ran = server.cli_with_input(&["submit", "-"], input);
        assert_eq!(ran.code, 2, "{input:.80}: {ran:?}");
        assert!(ran.err.contains(wanted), "{input:.80}: {wanted:?} is not in {}", ran.err);
    }
    assert_eq!(server.ledger()["accepted"], 0, "nothing half done");
}

#[test]
fn a_key_with_another_body_is_a_conflict() {
    let server = Server::start(ServerOptions::default().scripted());
    let submit = |query: &str| {
        server.cli_with_input(
            &["submit", "-", "-o", "json"],
            &format!("{{\"query\": \"{query}\", \"idempotency_key\": \"k1\"}}"),
        )
    };
    let first = submit("one").expect(0);
    let again = submit("one").expect(0);
    let id = |ran: &Ran| ran.out.split('"').find(|part| part.len() == 36).map(ToOwned::to_owned);
    assert!(id(&first).is_some() && id(&first) == id(&again), "{first:?} {again:?}");
    let other = submit("two");
    assert!(other.code != 0 && other.err.contains("idempotency"), "{other:?}");
    assert_eq!(server.ledger()["accepted"], 1);
}

#[test]
fn the_server_answers_bad_requests_with_problems() {
    let server = Server::start(ServerOptions::default().scripted());
    let key = format!("Bearer {}", server.key());
    let json = ("Content-Type", "application/json");
    let post = |path: &str, body: &[u8]| {
        request(server.port(), "POST", path, &[("Authorization", &key), json], body)
    };

    assert_eq!(request(server.port(), "POST", "/v1/jobs", &[json], b"{}").status, 401);
    assert_eq!(request(server.port(), "GET", "/livez", &[], b"").status, 200);
    let unknown = post("/v1/jobs", b"{\"query\": \"x\", \"colour\": 1}");
    assert_eq!(unknown.status, 422, "{unknown:?}");
    assert_eq!(unknown.json()["errors"][0]["pointer"], "/colour");
    assert!(unknown.head.to_ascii_lowercase().contains("application/problem+json"));
    assert_eq!(post("/v1/jobs", b"{\"query\": ").status, 400);
    assert_eq!(post("/v1/jobs", &vec![b' '; 50 * 1024 * 1024]).status, 413);
    assert_eq!(post("/v1/nowhere", b"{}").status, 404);
    assert_eq!(server.ledger()["accepted"], 0);
}

#[test]
fn the_committed_description_of_the_api_is_the_served_one() {
    let server = Server::start(ServerOptions::default().scripted());
    let served = request(server.port(), "GET", "/openapi.json", &[], b"").json();
    let file = bul_tests::repository().join("schemas/openapi.json");
    let committed: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(served, committed, "write what the server answers at /openapi.json to schemas/openapi.json");
}
