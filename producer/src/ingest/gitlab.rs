//! GitLab webhook deliveries: push, tag, merge request, pipeline, release, issue, deployment.
//!
//! `object_kind` of the payload names the event, so the header is a hint for detection only.

use bul_job::RawJob;
use serde_json::{Map, Value};

use super::error::{IngestError, quote};
use super::event::{
    self, CHANGES_MAX, LINE, LIST_MAX, NAME, Report, STATE, TEXT, first, link, names, put, put_line,
    put_list, put_map, put_time, text, time,
};
use super::github::Found;
use super::{Hints, IngestLimits, Item, json};

/// Events that are read, for messages.
const SUPPORTED: &str = "push, tag_push, merge_request, pipeline, release, issue, deployment";

/// Reads a body.
pub(crate) fn read(bytes: &[u8], hints: &Hints, limits: &IngestLimits) -> Result<Vec<Item>, IngestError> {
    let many = bytes.trim_ascii_start().first() == Some(&b'[');
    json::each(bytes, limits, |value| {
        if many {
            let own = value.to_string();
            return job(&value, own.as_bytes(), &Hints { gitlab_delivery: None, ..hints.clone() });
        }
        job(&value, bytes, hints)
    })
}

/// One delivery to its job; `bytes` is what identifies it where no delivery id is known.
pub(crate) fn job(value: &Value, bytes: &[u8], hints: &Hints) -> Result<RawJob, IngestError> {
    let kind = text(value, "/object_kind").or_else(|| text(value, "/event_name")).unwrap_or_default();
    let found = match kind.as_str() {
        "push" | "tag_push" => push(value, kind == "tag_push"),
        "merge_request" => merge_request(value),
        "pipeline" => pipeline(value),
        "release" => release(value),
        "issue" => issue(value),
        "deployment" => deployment(value),
        _ => None,
    };
    let action = first(value, &["/object_attributes/action", "/action"]);
    let full = action.map_or_else(|| kind.clone(), |action| format!("{kind}.{action}"));
    let Some((report, name, mut parts)) = found else {
        let message = format!("GitLab event {} makes no document; supported are: {SUPPORTED}", quote(&full));
        return Err(IngestError::unsupported("/object_kind", message));
    };
    let mut head = Map::new();
    head.insert("kind".into(), name.into());
    put_line(&mut head, "type", Some(full), NAME);
    put(&mut head, "source", text(value, "/project/web_url"), LINE);
    put_line(&mut head, "id", hints.gitlab_delivery.clone(), NAME);
    for key in ["time", "url"] {
        if let Some(part) = parts.remove(key) {
            head.insert(key.into(), part);
        }
    }
    let mut data = Map::new();
    put_map(&mut data, "event", head);
    put_line(&mut data, "repository", text(value, "/project/path_with_namespace"), NAME);
    put_line(&mut data, "author", first(value, &["/user/name", "/user_name", "/user/username"]), NAME);
    data.extend(parts);
    let key = match hints.gitlab_delivery.as_deref().map(str::trim).filter(|id| !id.is_empty()) {
        Some(delivery) => event::key("gitlab", &[delivery.as_bytes()]),
        None => event::key("gitlab", &[bytes]),
    };
    Ok(report.job(data, key))
}

fn commit(commit: &Value) -> Option<Value> {
    let mut change = event::change(text(commit, "/id"), first(commit, &["/message", "/title"]))?;
    put_line(&mut change, "author", text(commit, "/author/name"), NAME);
    put(&mut change, "url", text(commit, "/url"), LINE);
    put_time(&mut change, "time", time(commit, "/timestamp"));
    Some(change.into())
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn push(value: &Value, tag: bool) -> Found {
    let mut data = Map::new();
    let reference = text(value, "/ref")?;
    let short = reference.strip_prefix("refs/heads/").or_else(|| reference.strip_prefix("refs/tags/"));
    let name = short.unwrap_or(&reference).to_owned();
    put_line(&mut data, if tag { "version" } else { "branch" }, Some(name), NAME);
    let none = |pointer: &str| text(value, pointer).is_none_or(|id| id.bytes().all(|b| b == b'0'));
    let (created, deleted) = (none("/before"), none("/after"));
    let state = match (created, deleted) {
        (_, true) => "deleted",
        (true, _) => "created",
        _ => "pushed",
    };
    put_line(&mut data, "state", Some(state.to_owned()), STATE);
    put_line(&mut data, "commit", text(value, "/after").filter(|_| !deleted), NAME);
    let commits = list(value, "/commits");
    put_list(&mut data, "changes", commits.iter().take(CHANGES_MAX).filter_map(commit).collect());
    // GitLab sends twenty commits at most and says how many there are.
    if let Some(total) =
        value.get("total_commits_count").and_then(Value::as_u64).filter(|n| *n > commits.len() as u64)
    {
        data.insert("change_count".into(), total.into());
    }
    put_time(&mut data, "time", commits.last().and_then(|c| time(c, "/timestamp")));
    put(&mut data, "url", text(value, "/project/web_url"), LINE);
    let kind = match (tag, created || deleted) {
        (true, _) => "tag",
        (false, true) => "branch",
        (false, false) => "push",
    };
    Some((Report::ReleaseNotes, kind, data))
}

fn merge_request(value: &Value) -> Found {
    let request = value.get("object_attributes")?;
    let (kind, state) = match text(request, "/action")?.as_str() {
        "merge" => ("merge", "merged"),
        "close" => ("change", "closed"),
        "open" | "reopen" => ("change", "open"),
        _ => return None,
    };
    let mut data = Map::new();
    put_line(&mut data, "state", Some(state.to_owned()), STATE);
    put_line(&mut data, "name", text(request, "/title"), LINE);
    put_line(&mut data, "branch", text(request, "/target_branch"), NAME);
    put_line(&mut data, "commit", first(request, &["/merge_commit_sha", "/last_commit/id"]), NAME);
    let number = text(request, "/iid").map(|number| format!("!{number}"));
    if let Some(mut change) = event::change(number, text(request, "/title")) {
        put(&mut change, "description", text(request, "/description"), TEXT);
        put_line(&mut change, "author", first(value, &["/user/name", "/user/username"]), NAME);
        put(&mut change, "url", text(request, "/url"), LINE);
        put_time(&mut change, "time", time(request, "/updated_at"));
        put_list(&mut data, "changes", vec![change.into()]);
    }
    let mut details = Map::new();
    event::details(&mut details, "from", &text(request, "/source_branch").into());
    event::details(&mut details, "labels", &Value::Array(names(value, "/labels", "/title")));
    put_map(&mut data, "details", details);
    put(&mut data, "url", text(request, "/url"), LINE);
    put_time(&mut data, "time", time(request, "/updated_at"));
    Some((Report::ReleaseNotes, kind, data))
}

fn pipeline(value: &Value) -> Found {
    let run = value.get("object_attributes")?;
    let mut data = Map::new();
    let name = text(run, "/name").or_else(|| text(run, "/id").map(|id| format!("Pipeline {id}")));
    put_line(&mut data, "pipeline", name, NAME);
    put_line(&mut data, "state", text(run, "/status"), STATE);
    put_line(&mut data, "branch", text(run, "/ref"), NAME);
    put_line(&mut data, "commit", text(run, "/sha"), NAME);
    put_list(&mut data, "changes", value.get("commit").and_then(commit).into_iter().collect());
    let checks = list(value, "/builds").iter().take(LIST_MAX).filter_map(|build| {
        let mut check = Map::new();
        put_line(&mut check, "name", Some(text(build, "/name")?), NAME);
        put_line(&mut check, "state", text(build, "/status"), STATE);
        put(&mut check, "summary", text(build, "/failure_reason"), TEXT);
        put_time(&mut check, "started_at", time(build, "/started_at"));
        put_time(&mut check, "finished_at", time(build, "/finished_at"));
        Some(check.into())
    });
    put_list(&mut data, "checks", checks.collect());
    let mut details = Map::new();
    for key in ["duration", "source", "tag"] {
        event::details(&mut details, key, run.get(key).unwrap_or(&Value::Null));
    }
    put_map(&mut data, "details", details);
    put(&mut data, "url", text(run, "/url"), LINE);
    put_time(&mut data, "time", time(run, "/finished_at").or_else(|| time(run, "/created_at")));
    Some((Report::ReleaseNotes, "build", data))
}

fn release(value: &Value) -> Found {
    if text(value, "/action").as_deref() == Some("delete") {
        return None;
    }
    let mut data = Map::new();
    put_line(&mut data, "version", text(value, "/tag"), NAME);
    put_line(&mut data, "name", text(value, "/name"), LINE);
    put(&mut data, "description", text(value, "/description"), TEXT);
    put_line(&mut data, "state", Some("released".into()), STATE);
    put_line(&mut data, "commit", text(value, "/commit/id"), NAME);
    let links = list(value, "/assets/links").iter().take(LIST_MAX);
    let links =
        links.filter_map(|l| link(&text(l, "/name").unwrap_or_else(|| "asset".into()), text(l, "/url")));
    put_list(&mut data, "links", links.collect());
    put(&mut data, "url", text(value, "/url"), LINE);
    put_time(&mut data, "time", time(value, "/released_at").or_else(|| time(value, "/created_at")));
    Some((Report::ReleaseNotes, "release", data))
}

fn issue(value: &Value) -> Found {
    let issue = value.get("object_attributes")?;
    let number = text(issue, "/iid").map(|number| format!("#{number}"));
    let reporter = first(value, &["/user/name", "/user/username"]);
    let mut data = Map::new();
    let mut ticket = Map::new();
    put_line(&mut ticket, "id", number.clone(), NAME);
    put_line(&mut ticket, "title", text(issue, "/title"), LINE);
    put(&mut ticket, "description", text(issue, "/description"), TEXT);
    put_line(&mut ticket, "type", text(issue, "/type"), NAME);
    put_line(&mut ticket, "status", text(issue, "/state"), STATE);
    put_list(&mut ticket, "assignees", names(value, "/assignees", "/name"));
    put_list(&mut ticket, "labels", names(value, "/labels", "/title"));
    put(&mut ticket, "url", text(issue, "/url"), LINE);
    put_line(&mut data, "state", text(issue, "/state"), STATE);
    put(&mut data, "url", text(issue, "/url"), LINE);
    let (report, kind) = match text(issue, "/action")?.as_str() {
        "open" | "reopen" => {
            let mut incident = Map::new();
            put_line(&mut incident, "id", number, NAME);
            put_line(&mut incident, "title", text(issue, "/title"), LINE);
            put(&mut incident, "description", text(issue, "/description"), TEXT);
            put_time(&mut incident, "detected_at", time(issue, "/created_at"));
            put_line(&mut incident, "status", text(issue, "/state"), STATE);
            put_line(&mut incident, "severity", text(issue, "/severity"), NAME);
            put_line(&mut incident, "reporter", reporter, NAME);
            put_map(&mut data, "incident", incident);
            (Report::Incident, "issue_opened")
        }
        "close" => (Report::ReleaseNotes, "ticket"),
        _ => return None,
    };
    put_time(&mut data, "time", time(issue, "/updated_at").or_else(|| time(issue, "/created_at")));
    put_map(&mut data, "ticket", ticket);
    Some((report, kind, data))
}

fn deployment(value: &Value) -> Found {
    let mut data = Map::new();
    put_line(&mut data, "environment", text(value, "/environment"), NAME);
    put_line(&mut data, "service", text(value, "/project/name"), NAME);
    put_line(&mut data, "version", text(value, "/ref"), NAME);
    put_line(&mut data, "commit", first(value, &["/sha", "/short_sha"]), NAME);
    put_line(&mut data, "state", text(value, "/status"), STATE);
    put(&mut data, "description", text(value, "/commit_title"), TEXT);
    put_list(
        &mut data,
        "links",
        link("Environment", text(value, "/environment_external_url")).into_iter().collect(),
    );
    put(&mut data, "url", text(value, "/deployable_url"), LINE);
    put_time(&mut data, "time", time(value, "/status_changed_at"));
    Some((Report::ReleaseNotes, "deployment", data))
}
