//! The parts of the data that each GitHub event gives.
//!
//! Every function answers nothing for an action that makes no document, such as a label being set.

use serde_json::{Map, Value};

use super::event::{
    self, CHANGES_MAX, LINE, LIST_MAX, NAME, Report, STATE, TEXT, first, link, names, put, put_line,
    put_list, put_map, put_time, text, time,
};
use super::github::Found;

/// The commit of a branch that does not exist.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// Commits pushed to a branch or tag, or one of these made or removed.
pub(crate) fn push(value: &Value) -> Found {
    let mut data = Map::new();
    let reference = text(value, "/ref")?;
    let tag = reference.strip_prefix("refs/tags/");
    let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
    match tag {
        Some(tag) => put_line(&mut data, "version", Some(tag.to_owned()), NAME),
        None => {
            let branch = reference.strip_prefix("refs/heads/").unwrap_or(&reference);
            put_line(&mut data, "branch", Some(branch.to_owned()), NAME);
        }
    }
    let (created, deleted) = (flag("created"), flag("deleted"));
    let kind = match tag {
        Some(_) => "tag",
        None if created || deleted => "branch",
        None => "push",
    };
    let state = if deleted {
        "deleted"
    } else if created {
        "created"
    } else if flag("forced") {
        "forced"
    } else {
        "pushed"
    };
    put_line(&mut data, "state", Some(state.to_owned()), STATE);
    put_line(&mut data, "commit", text(value, "/after").filter(|id| id != NO_COMMIT), NAME);
    let commits = value.get("commits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    put_list(&mut data, "changes", commits.iter().take(CHANGES_MAX).filter_map(commit).collect());
    if commits.len() > CHANGES_MAX {
        data.insert("change_count".into(), commits.len().into());
    }
    put_map(&mut data, "files", files(commits));
    put(&mut data, "url", text(value, "/compare"), LINE);
    let at = time(value, "/head_commit/timestamp").or_else(|| time(value, "/repository/pushed_at"));
    put_time(&mut data, "time", at);
    Some((Report::ReleaseNotes, kind, data))
}

fn commit(commit: &Value) -> Option<Value> {
    let mut change = event::change(text(commit, "/id"), text(commit, "/message"))?;
    put_line(&mut change, "author", first(commit, &["/author/name", "/author/username"]), NAME);
    put(&mut change, "url", text(commit, "/url"), LINE);
    put_time(&mut change, "time", time(commit, "/timestamp"));
    Some(change.into())
}

/// How many files all commits touched; a file counts once in each list.
fn files(commits: &[Value]) -> Map<String, Value> {
    let mut files = Map::new();
    for list in ["added", "modified", "removed"] {
        let names =
            commits.iter().filter_map(|c| c.get(list)?.as_array()).flatten().filter_map(Value::as_str);
        let distinct: std::collections::HashSet<&str> = names.collect();
        if !distinct.is_empty() {
            files.insert(list.into(), distinct.len().into());
        }
    }
    files
}

/// A branch or tag made or removed, as its own event.
pub(crate) fn reference(value: &Value, name: &str) -> Found {
    let mut data = Map::new();
    let kind = match text(value, "/ref_type")?.as_str() {
        "tag" => {
            put_line(&mut data, "version", text(value, "/ref"), NAME);
            "tag"
        }
        "branch" => {
            put_line(&mut data, "branch", text(value, "/ref"), NAME);
            "branch"
        }
        _ => return None,
    };
    let state = if name == "create" { "created" } else { "deleted" };
    put_line(&mut data, "state", Some(state.to_owned()), STATE);
    put_time(&mut data, "time", time(value, "/repository/pushed_at"));
    put(&mut data, "url", text(value, "/repository/html_url"), LINE);
    Some((Report::ReleaseNotes, kind, data))
}

/// A pull request opened, merged or closed.
pub(crate) fn pull_request(value: &Value, action: &str) -> Found {
    let request = value.get("pull_request")?;
    let merged = request.get("merged").and_then(Value::as_bool).unwrap_or(false)
        || request.get("merged_at").is_some_and(Value::is_string);
    let (kind, state) = match action {
        "closed" if merged => ("merge", "merged"),
        "closed" => ("change", "closed"),
        "opened" | "reopened" | "ready_for_review" => ("change", "open"),
        _ => return None,
    };
    let mut data = Map::new();
    put_line(&mut data, "state", Some(state.to_owned()), STATE);
    put_line(&mut data, "name", text(request, "/title"), LINE);
    put_line(&mut data, "branch", text(request, "/base/ref"), NAME);
    put_line(&mut data, "commit", first(request, &["/merge_commit_sha", "/head/sha"]), NAME);
    let number = text(request, "/number").map(|number| format!("#{number}"));
    if let Some(mut change) = event::change(number, text(request, "/title")) {
        put(&mut change, "description", text(request, "/body"), TEXT);
        put_line(&mut change, "author", text(request, "/user/login"), NAME);
        put(&mut change, "url", text(request, "/html_url"), LINE);
        let at = ["/merged_at", "/closed_at", "/updated_at", "/created_at"];
        put_time(&mut change, "time", at.iter().find_map(|pointer| time(request, pointer)));
        put_list(&mut data, "changes", vec![change.into()]);
    }
    let mut details = Map::new();
    for key in ["commits", "changed_files", "additions", "deletions", "draft"] {
        event::details(&mut details, key, request.get(key).unwrap_or(&Value::Null));
    }
    event::details(&mut details, "from", &text(request, "/head/ref").into());
    event::details(&mut details, "labels", &Value::Array(names(request, "/labels", "/name")));
    event::details(
        &mut details,
        "reviewers",
        &Value::Array(names(request, "/requested_reviewers", "/login")),
    );
    put_map(&mut data, "details", details);
    put(&mut data, "url", text(request, "/html_url"), LINE);
    put_time(&mut data, "time", time(request, "/closed_at").or_else(|| time(request, "/updated_at")));
    Some((Report::ReleaseNotes, kind, data))
}

/// An issue: reported it is an incident, closed it is a finished ticket.
pub(crate) fn issue(value: &Value, action: &str) -> Found {
    let issue = value.get("issue")?;
    let number = text(issue, "/number").map(|number| format!("#{number}"));
    let mut ticket = Map::new();
    put_line(&mut ticket, "id", number.clone(), NAME);
    put_line(&mut ticket, "title", text(issue, "/title"), LINE);
    put(&mut ticket, "description", text(issue, "/body"), TEXT);
    put_line(&mut ticket, "type", first(issue, &["/type/name"]), NAME);
    put_line(&mut ticket, "status", text(issue, "/state"), STATE);
    put_line(&mut ticket, "milestone", text(issue, "/milestone/title"), NAME);
    put_line(&mut ticket, "reporter", text(issue, "/user/login"), NAME);
    put_list(&mut ticket, "assignees", names(issue, "/assignees", "/login"));
    put_list(&mut ticket, "labels", names(issue, "/labels", "/name"));
    put(&mut ticket, "url", text(issue, "/html_url"), LINE);
    let mut data = Map::new();
    put_line(&mut data, "state", text(issue, "/state"), STATE);
    put(&mut data, "url", text(issue, "/html_url"), LINE);
    let (report, kind) = match action {
        "opened" | "reopened" => {
            let mut incident = Map::new();
            put_line(&mut incident, "id", number, NAME);
            put_line(&mut incident, "title", text(issue, "/title"), LINE);
            put(&mut incident, "description", text(issue, "/body"), TEXT);
            put_time(&mut incident, "detected_at", time(issue, "/created_at"));
            put_line(&mut incident, "status", text(issue, "/state"), STATE);
            put_line(&mut incident, "reporter", text(issue, "/user/login"), NAME);
            put_map(&mut data, "incident", incident);
            put_time(&mut data, "time", time(issue, "/created_at"));
            (Report::Incident, "issue_opened")
        }
        "closed" => {
            put_time(&mut data, "time", time(issue, "/closed_at"));
            (Report::ReleaseNotes, "ticket")
        }
        _ => return None,
    };
    put_map(&mut data, "ticket", ticket);
    Some((report, kind, data))
}

/// A check or a suite of checks.
pub(crate) fn check(value: &Value, key: &str) -> Found {
    let run = value.get(key)?;
    let mut check = Map::new();
    let name = first(run, &["/name", "/app/name"]).unwrap_or_else(|| key.replace('_', " "));
    put_line(&mut check, "name", Some(name.clone()), NAME);
    put_line(&mut check, "state", first(run, &["/conclusion", "/status"]), STATE);
    let summary = [text(run, "/output/title"), text(run, "/output/summary")];
    let summary: Vec<String> = summary.into_iter().flatten().collect();
    put(&mut check, "summary", Some(summary.join("\n")), TEXT);
    put(&mut check, "url", first(run, &["/html_url", "/details_url"]), LINE);
    put_time(&mut check, "started_at", time(run, "/started_at").or_else(|| time(run, "/created_at")));
    let finished = time(run, "/completed_at").or_else(|| time(run, "/updated_at"));
    put_time(&mut check, "finished_at", finished.clone());
    let mut data = Map::new();
    put_line(&mut data, "name", Some(name), LINE);
    put_line(&mut data, "state", first(run, &["/conclusion", "/status"]), STATE);
    put_line(&mut data, "branch", first(run, &["/check_suite/head_branch", "/head_branch"]), NAME);
    put_line(&mut data, "commit", text(run, "/head_sha"), NAME);
    put_list(&mut data, "checks", vec![check.into()]);
    let details = link("Details", text(run, "/details_url"));
    put_list(&mut data, "links", details.into_iter().collect());
    put(&mut data, "url", first(run, &["/html_url", "/url"]), LINE);
    put_time(&mut data, "time", finished);
    Some((Report::ReleaseNotes, "test", data))
}

/// A release in any state but removed.
pub(crate) fn release(value: &Value, action: &str) -> Found {
    let release = value.get("release").filter(|_| action != "deleted")?;
    let flag = |name: &str| release.get(name).and_then(Value::as_bool).unwrap_or(false);
    let state = match () {
        () if flag("draft") => "draft",
        () if flag("prerelease") => "prerelease",
        () => "released",
    };
    let mut data = Map::new();
    put_line(&mut data, "version", text(release, "/tag_name"), NAME);
    put_line(&mut data, "name", text(release, "/name"), LINE);
    put(&mut data, "description", text(release, "/body"), TEXT);
    put_line(&mut data, "author", text(release, "/author/login"), NAME);
    put_line(&mut data, "branch", text(release, "/target_commitish"), NAME);
    put_line(&mut data, "state", Some(state.to_owned()), STATE);
    let assets = release.get("assets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let links = assets.iter().take(LIST_MAX).filter_map(|asset| {
        link(&text(asset, "/name").unwrap_or_else(|| "asset".into()), text(asset, "/browser_download_url"))
    });
    put_list(&mut data, "links", links.collect());
    put(&mut data, "url", text(release, "/html_url"), LINE);
    put_time(&mut data, "time", time(release, "/published_at").or_else(|| time(release, "/created_at")));
    Some((Report::ReleaseNotes, "release", data))
}

/// A run of GitHub Actions.
pub(crate) fn workflow_run(value: &Value) -> Found {
    let run = value.get("workflow_run")?;
    let mut data = Map::new();
    put_line(&mut data, "pipeline", first(run, &["/name"]).or_else(|| text(value, "/workflow/name")), NAME);
    put_line(&mut data, "name", text(run, "/display_title"), LINE);
    put_line(&mut data, "state", first(run, &["/conclusion", "/status"]), STATE);
    put_line(&mut data, "branch", text(run, "/head_branch"), NAME);
    put_line(&mut data, "commit", text(run, "/head_sha"), NAME);
    let head = run.get("head_commit").and_then(commit);
    put_list(&mut data, "changes", head.into_iter().collect());
    let mut details = Map::new();
    for key in ["event", "run_number", "run_attempt"] {
        event::details(&mut details, key, run.get(key).unwrap_or(&Value::Null));
    }
    put_map(&mut data, "details", details);
    put(&mut data, "url", text(run, "/html_url"), LINE);
    put_time(&mut data, "time", time(run, "/updated_at").or_else(|| time(run, "/created_at")));
    Some((Report::ReleaseNotes, "build", data))
}

/// A deployment, or a new status of one.
pub(crate) fn deployment(value: &Value) -> Found {
    let deployment = value.get("deployment")?;
    let status = value.get("deployment_status").unwrap_or(&Value::Null);
    let mut data = Map::new();
    let environment = text(status, "/environment").or_else(|| text(deployment, "/environment"));
    put_line(&mut data, "environment", environment, NAME);
    put_line(&mut data, "service", text(value, "/repository/name"), NAME);
    put_line(&mut data, "version", text(deployment, "/ref"), NAME);
    put_line(&mut data, "commit", text(deployment, "/sha"), NAME);
    put_line(&mut data, "state", text(status, "/state").or_else(|| Some("requested".into())), STATE);
    put_line(&mut data, "name", text(deployment, "/task"), LINE);
    let description = text(status, "/description").or_else(|| text(deployment, "/description"));
    put(&mut data, "description", description, TEXT);
    let links = [
        link("Environment", text(status, "/environment_url")),
        link("Log", first(status, &["/log_url", "/target_url"])),
    ];
    put_list(&mut data, "links", links.into_iter().flatten().collect());
    put(&mut data, "url", first(status, &["/target_url", "/log_url"]), LINE);
    let at = time(status, "/created_at").or_else(|| time(deployment, "/created_at"));
    put_time(&mut data, "time", at);
    Some((Report::ReleaseNotes, "deployment", data))
}
