//! Finished documents.

use axum::body::Body;

use crate::support::{App, request};

#[tokio::test]
async fn documents_are_served_safely() {
    let app = App::new().await;
    let id = app.submitted().await;
    app.complete(id, "Übersicht \"2026\"/17").await;
    let job = app.get(&format!("/v1/jobs/{id}")).await.shaped("JobDetail");
    assert!(job["explanation"].as_str().unwrap().starts_with("completed at "), "{job}");

    let md = app.get(&format!("/v1/jobs/{id}/documents/md")).await;
    assert_eq!(md.ok(200).bytes, b"# Done");
    assert_eq!(md.header("content-type"), "text/markdown; charset=utf-8");
    assert_eq!(
        md.header("content-disposition"),
        "inline; filename=\"_bersicht 2026 17.md\"; filename*=UTF-8''%C3%9Cbersicht%202026%2017.md"
    );
    let html = app.get(&format!("/v1/jobs/{id}/documents/HTML?download=true")).await;
    assert!(html.ok(200).header("content-security-policy").starts_with("sandbox;"));
    assert_eq!(html.header("x-content-type-options"), "nosniff");
    assert!(html.header("content-disposition").starts_with("attachment;"));

    let etag = md.header("etag");
    let known =
        request("GET", &format!("/v1/jobs/{id}/documents/md"), &app.keys.read).header("if-none-match", etag);
    let answer = app.send(known.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.bytes.len()), (304, 0));
    assert_ne!(html.header("etag"), etag);
}

#[tokio::test]
async fn missing_documents_say_why() {
    let app = App::new().await;
    let id = app.submitted().await;
    let path = format!("/v1/jobs/{id}/documents/pdf");
    let early = app.get(&path).await.problem(404, "no_such_document");
    assert!(early["detail"].as_str().unwrap().starts_with("the job is queued"), "{early}");
    assert_eq!(early["retryable"], true);
    app.complete(id, "").await;
    let late = app.get(&path).await.problem(404, "no_such_document");
    assert_eq!(late["detail"], "the job made no pdf, only md, html");
    app.get(&format!("/v1/jobs/{id}/documents/doc")).await.problem(404, "not_found");
    let dead = app.dead().await;
    let none = app.get(&format!("/v1/jobs/{dead}/documents/md")).await.problem(404, "no_such_document");
    assert!(none["detail"].as_str().unwrap().contains("dead"), "{none}");
}
