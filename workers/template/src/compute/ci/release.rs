//! Release notes, and notes on every other event of a delivery pipeline.

use serde_json::json;

use super::super::{Input, Outcome, Prepared, key_values};
use super::shared;
use crate::json::Node;

/// Plans release notes.
pub(in super::super) fn prepare(input: &Input) -> Outcome {
    let root = Node::root(input.data);
    let kind = root.get("event").text("kind").unwrap_or_default();
    let state = root.text("state");
    let mut prepared = Prepared::default();
    facts(&root, &mut prepared);
    prepared.title = root.text("title").unwrap_or_else(|| title(input, &root));
    prepared.subtitle = subtitle(&root).unwrap_or_default();
    prepared.author = root.text("author").unwrap_or_default();
    prepared.date = shared::day(root.get("event").text("time"));
    prepared.sources = shared::sources(&root);
    let has_changes = !root.items("changes").is_empty();
    let upgrade = matches!(kind.as_str(), "release" | "deployment") && !is_failure(state.as_deref());
    prepared.context.insert("aim".into(), json!(aim(&kind, state.as_deref())));
    prepared.context.insert("has_changes".into(), json!(has_changes));
    prepared.context.insert("upgrade".into(), json!(upgrade));
    let parts = &mut prepared.parts;
    parts.insert("head".into(), head(input, &root));
    parts.insert("description".into(), shared::paragraph(root.text("description")));
    parts.insert("changes".into(), shared::changes(input, &root));
    parts.insert("checks".into(), shared::checks(input, &root));
    parts.insert("errors".into(), shared::verbatim(root.text("errors")));
    parts.insert("details".into(), shared::details(input, &root));
    parts.insert("links".into(), shared::links(&root));
    let mut ticket = key_values(shared::ticket_pairs(input, &root));
    ticket.extend(shared::paragraph(root.get("ticket").text("description")));
    parts.insert("ticket".into(), ticket);
    Ok(prepared)
}

/// The aim names what happened; where the words of an aim would claim more than the event says
/// (a closed pull request is not merged), the nearest modest one is taken.
fn aim(kind: &str, state: Option<&str>) -> &'static str {
    let gone = state.is_some_and(|state| matches!(state.to_lowercase().as_str(), "deleted" | "removed"));
    let merged = state.is_some_and(|state| state.eq_ignore_ascii_case("merged"));
    match kind {
        "release" => "describe a release",
        "merge" => "describe a merged change",
        "change" if merged => "describe a merged change",
        "change" | "ticket" => "describe a ticket",
        "build" => "describe a build",
        "deployment" | "environment" => "describe a deployment",
        "artifact" => "describe an artifact",
        "branch" if !gone => "describe a branch",
        "test" => "describe a test run",
        _ => "describe a push",
    }
}

fn is_failure(state: Option<&str>) -> bool {
    let state = state.unwrap_or_default().to_lowercase();
    ["fail", "error", "cancel", "abort", "timed"].iter().any(|word| state.contains(word))
}

fn facts(root: &Node, prepared: &mut Prepared) {
    let facts = &mut prepared.facts;
    for name in ["repository", "version", "author"] {
        facts.add_some(name, root.text(name), &format!("/{name}"));
    }
    let changes = root.items("changes");
    match root.text("change_count") {
        Some(count) => facts.add("change_count", count, "/change_count"),
        None if !changes.is_empty() => {
            facts.add("change_count", changes.len().to_string(), "computed: number of changes")
        }
        None => {}
    }
    for (at, change) in changes.iter().enumerate() {
        facts.add_some("change", change.text("title"), &format!("/changes/{at}/title"));
    }
    facts.add_some("change", root.get("ticket").text("title"), "/ticket/title");
    for name in ["branch", "state"] {
        facts.add_some(name, root.text(name), &format!("/{name}"));
    }
    facts.add_some("state", root.get("ticket").text("status"), "/ticket/status");
    for (at, check) in root.items("checks").iter().enumerate() {
        facts.add_some("check", check.text("name"), &format!("/checks/{at}/name"));
    }
    for name in ["environment", "service", "artifact"] {
        facts.add_some(name, root.text(name), &format!("/{name}"));
    }
    // Other names a template of one's own may want.
    for name in ["name", "commit", "pipeline", "previous_version"] {
        facts.add_some(name, root.text(name), &format!("/{name}"));
    }
    facts.add_some("ticket", root.get("ticket").text("id"), "/ticket/id");
}

/// `Release notes: acme/shop`, after the most telling name there is.
fn title(input: &Input, root: &Node) -> String {
    let ticket = root.get("ticket");
    let main = ["repository", "service", "name", "artifact", "pipeline", "environment"]
        .iter()
        .find_map(|key| root.text(key))
        .or_else(|| ticket.text("id"))
        .or_else(|| root.items("checks").first().and_then(|check| check.text("name")));
    let label = input.label("Release notes");
    main.map_or(label.clone(), |main| format!("{label}: {}", crate::prompt::one_line(&main, 100)))
}

fn subtitle(root: &Node) -> Option<String> {
    root.text("name").or_else(|| root.text("version")).map(|text| crate::prompt::one_line(&text, 200))
}

fn head(input: &Input, root: &Node) -> Vec<bul_document::Block> {
    let text = |key: &str| root.text(key);
    let files = root.get("files");
    let count = |key: &str, label: &str| files.text(key).map(|n| format!("{n} {}", input.label(label)));
    let files: Vec<String> =
        [count("added", "added"), count("modified", "modified"), count("removed", "removed")]
            .into_iter()
            .flatten()
            .collect();
    let mut pairs = vec![
        input.pair("Repository", text("repository")),
        input.pair("Name", text("name")),
        input.pair("Version", text("version")),
        input.pair("Previous version", text("previous_version")),
        input.pair("Branch", text("branch")),
        input.pair("Commit", text("commit")),
        input.pair("Author", text("author")),
        input.pair("State", text("state")),
        input.pair("Service", text("service")),
        input.pair("Environment", text("environment")),
        input.pair("Artifact", text("artifact")),
        input.pair("Pipeline", text("pipeline")),
        input.pair("Number of changes", text("change_count")),
        input.pair("Files", (!files.is_empty()).then(|| files.join(", "))),
    ];
    pairs.extend(shared::event_pairs(input, root));
    key_values(pairs)
}
