//! CDEvents of any version to release notes or an incident report.
//!
//! The type `dev.cdevents.<subject>.<predicate>.<version>` names what happened. Known parts of the
//! subject get their place in the data; everything else is kept under `details`.

use bul_job::{FieldError, RawJob};
use serde_json::{Map, Value};

use super::cloudevents::CDEVENTS;
use super::error::{Bad, IngestError, quote};
use super::event::{self, LINE, NAME, Report, STATE, TEXT, put, put_line, put_list, put_map, put_time, text};
use super::json;

/// Subjects of the vocabulary, for messages.
const SUBJECTS: &str = "artifact, branch, build, change, environment, incident, pipelinerun, repository, \
                        service, taskrun, testcaserun, testoutput, testsuiterun, ticket";

/// One event, read as far as all events are alike.
struct Event<'a> {
    value: &'a Value,
    subject: &'a str,
    predicate: &'a str,
    /// Pointers into the content whose values have their own place; not repeated in the details.
    used: Vec<String>,
}

/// One event to its job.
pub(crate) fn job(value: &Value) -> Result<RawJob, IngestError> {
    if !value.is_object() {
        return Err(IngestError::invalid(
            "",
            format!("a CDEvent is an object, found {}", json::kind_of(value)),
        ));
    }
    let mut bad = Bad::default();
    for pointer in ["/context/id", "/context/source", "/context/type", "/subject/id"] {
        if text(value, pointer).is_none() {
            bad.push("", json::missing(pointer));
        }
    }
    if value.pointer("/context/timestamp").is_some() && event::time(value, "/context/timestamp").is_none() {
        bad.push("", FieldError::new("/context/timestamp", "is not an RFC 3339 time"));
    }
    bad.finish(())?;
    let kind = value.pointer("/context/type").and_then(Value::as_str).unwrap_or_default();
    let mut parts = kind.strip_prefix(CDEVENTS).unwrap_or_default().split('.');
    let (subject, predicate) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some((report, name)) = kind_of(subject, predicate) else {
        let message = format!(
            "type {} is not supported, expected {CDEVENTS}<subject>.<predicate> with a subject of: {SUBJECTS}",
            quote(kind)
        );
        return Err(IngestError::unsupported("/context/type", message));
    };
    let mut event = Event { value, subject, predicate, used: Vec::new() };
    let data = event.data(report, name);
    // Producers have been seen to reuse one id for detection and resolution; the type tells them apart.
    let identity =
        ["/context/source", "/context/id", "/context/type"].map(|p| text(value, p).unwrap_or_default());
    let identity: Vec<&[u8]> = identity.iter().map(String::as_bytes).collect();
    Ok(report.job(data, event::key("cdevents", &identity)))
}

fn kind_of(subject: &str, predicate: &str) -> Option<(Report, &'static str)> {
    use Report::{Incident, ReleaseNotes};
    Some(match (subject, predicate) {
        (_, "") => return None,
        ("incident", "resolved") => (Incident, "incident_resolved"),
        ("incident", _) => (Incident, "incident_detected"),
        ("service", "rolledback") => (Incident, "service_rolledback"),
        ("service", _) => (ReleaseNotes, "deployment"),
        ("change", "merged") => (ReleaseNotes, "merge"),
        ("change" | "repository", _) => (ReleaseNotes, "change"),
        ("build" | "pipelinerun" | "taskrun", _) => (ReleaseNotes, "build"),
        ("testcaserun" | "testcase" | "testoutput" | "testsuiterun" | "testsuite", _) => {
            (ReleaseNotes, "test")
        }
        ("environment", _) => (ReleaseNotes, "environment"),
        ("artifact", _) => (ReleaseNotes, "artifact"),
        ("branch", _) => (ReleaseNotes, "branch"),
        ("ticket", _) => (ReleaseNotes, "ticket"),
        _ => return None,
    })
}

impl Event<'_> {
    fn data(&mut self, report: Report, kind: &str) -> Map<String, Value> {
        let mut data = Map::new();
        put_map(&mut data, "event", self.header(kind));
        self.places(&mut data);
        match (report, self.subject) {
            (Report::Incident, _) => self.incident(&mut data),
            (Report::ReleaseNotes, "change") => self.change(&mut data),
            (Report::ReleaseNotes, "ticket") => self.ticket(&mut data),
            (Report::ReleaseNotes, subject) if subject.starts_with("test") => self.test(&mut data),
            (Report::ReleaseNotes, _) => {}
        }
        let state = self.take("/outcome").unwrap_or_else(|| self.predicate.to_owned());
        put_line(&mut data, "state", Some(state), STATE);
        put(&mut data, "errors", self.take("/errors"), TEXT);
        let links = [
            event::link("SBOM", self.take("/sbom/uri")),
            event::link("Ticket", self.take("/ticketURI")),
            event::link("View", self.take("/viewUrl")),
        ];
        put_list(&mut data, "links", links.into_iter().flatten().collect());
        put_map(&mut data, "details", self.details());
        data
    }

    fn header(&mut self, kind: &str) -> Map<String, Value> {
        let mut event = Map::new();
        event.insert("kind".into(), kind.into());
        put_line(&mut event, "type", text(self.value, "/context/type"), NAME);
        put_line(&mut event, "source", text(self.value, "/context/source"), LINE);
        put_line(&mut event, "id", text(self.value, "/context/id"), NAME);
        put_time(&mut event, "time", event::time(self.value, "/context/timestamp"));
        put(&mut event, "url", self.take("/uri").or_else(|| self.take("/url")), LINE);
        event
    }

    /// What events of several subjects refer to.
    fn places(&mut self, data: &mut Map<String, Value>) {
        let id = text(self.value, "/subject/id");
        let owner = |subject: &str| if self.subject == subject { id.clone() } else { None };
        let (service, branch) = (owner("service"), owner("branch"));
        let (artifact, repository, environment) =
            (owner("artifact"), owner("repository"), owner("environment"));
        let repository_name = if repository.is_some() { self.take("/name") } else { None };
        put_line(data, "repository", self.take("/repository/id").or(repository_name).or(repository), NAME);
        put_line(data, "branch", branch, NAME);
        put_line(data, "author", self.take("/user"), NAME);
        put_line(data, "service", service.or_else(|| self.take("/service/id")), NAME);
        let named = if environment.is_some() { self.take("/name") } else { None };
        let environment = named.or(environment).or_else(|| self.take("/environment/id"));
        put_line(data, "environment", environment, NAME);
        put_line(data, "artifact", artifact.or_else(|| self.take("/artifactId")), LINE);
        let run = if self.subject == "pipelinerun" { id.clone() } else { None };
        let pipeline = self.take("/pipelineName").or_else(|| self.take("/pipelineRun/id"));
        put_line(data, "pipeline", pipeline.or(run), NAME);
        let name = self.take("/taskName").or_else(|| self.take("/name"));
        let name = name.or_else(|| (self.subject == "build").then_some(id).flatten());
        put_line(data, "name", name, LINE);
        if !matches!(self.subject, "change" | "ticket" | "incident") {
            put(data, "description", self.take("/description"), TEXT);
        }
    }

    fn incident(&mut self, data: &mut Map<String, Value>) {
        let mut incident = Map::new();
        let own = self.subject == "incident";
        put_line(&mut incident, "id", text(self.value, "/subject/id").filter(|_| own), NAME);
        if own {
            put(&mut incident, "description", self.take("/description"), TEXT);
        }
        for part in ["service", "environment"] {
            put_line(&mut incident, part, data.get(part).and_then(Value::as_str).map(str::to_owned), NAME);
        }
        let at = if self.predicate == "resolved" { "resolved_at" } else { "detected_at" };
        if own {
            put_time(&mut incident, at, event::time(self.value, "/context/timestamp"));
        }
        put_line(&mut incident, "status", Some(self.predicate.to_owned()), STATE);
        put_map(data, "incident", incident);
    }

    fn change(&mut self, data: &mut Map<String, Value>) {
        let id = text(self.value, "/subject/id");
        let message = self.take("/description");
        if let Some(mut change) = event::change(id, message) {
            put_time(&mut change, "time", event::time(self.value, "/context/timestamp"));
            put_list(data, "changes", vec![change.into()]);
        }
    }

    fn test(&mut self, data: &mut Map<String, Value>) {
        let id = text(self.value, "/subject/id");
        let name = ["/testSuite/name", "/testCase/name", "/testSuite/id", "/testCase/id"];
        let name = name.into_iter().find_map(|pointer| self.take(pointer)).or(id);
        let mut check = Map::new();
        put_line(&mut check, "name", name, NAME);
        put_line(&mut check, "state", self.take("/outcome").or(Some(self.predicate.to_owned())), STATE);
        put(&mut check, "summary", self.take("/reason"), TEXT);
        let time = event::time(self.value, "/context/timestamp");
        put_time(&mut check, if self.predicate == "finished" { "finished_at" } else { "started_at" }, time);
        put_list(data, "checks", vec![check.into()]);
    }

    fn ticket(&mut self, data: &mut Map<String, Value>) {
        let mut ticket = Map::new();
        put_line(&mut ticket, "id", text(self.value, "/subject/id"), NAME);
        put_line(&mut ticket, "title", self.take("/summary"), LINE);
        put(&mut ticket, "description", self.take("/description"), TEXT);
        put_line(&mut ticket, "type", self.take("/ticketType"), NAME);
        let status = self.take("/status").unwrap_or_else(|| self.predicate.to_owned());
        put_line(&mut ticket, "status", Some(status), STATE);
        for key in ["priority", "group", "milestone"] {
            put_line(&mut ticket, key, self.take(&format!("/{key}")), NAME);
        }
        put_line(&mut ticket, "reporter", self.take("/creator"), NAME);
        for key in ["assignees", "labels"] {
            self.used.push(format!("/{key}"));
            put_list(&mut ticket, key, event::names(self.value, &format!("/subject/content/{key}"), "/name"));
        }
        let url = text(self.value, "/subject/content/uri");
        put(&mut ticket, "url", url, LINE);
        put_map(data, "ticket", ticket);
    }

    /// A part of the content that now has its place.
    fn take(&mut self, pointer: &str) -> Option<String> {
        let found = text(self.value, &format!("/subject/content{pointer}"))?;
        self.used.push(pointer.to_owned());
        Some(found)
    }

    fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        let mut content = self.value.pointer("/subject/content").cloned().unwrap_or_default();
        for pointer in &self.used {
            if let Some(value) = content.pointer_mut(pointer) {
                *value = Value::Null;
            }
        }
        event::details(&mut details, "", &content);
        if let Some(custom) = self.value.get("customData") {
            let name = if custom.is_object() { "" } else { "customData" };
            event::details(&mut details, name, custom);
        }
        details
    }
}
