//! Incident reports: what happened, since when, until when.

use bul_document::{Block, Cell};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use serde_json::json;

use super::super::{Input, Outcome, Prepared, key_values, lines};
use super::shared;
use crate::finding::{Finding, Severity};
use crate::format::Locale;
use crate::json::Node;

/// What the report rests on, wherever the event keeps it.
struct Incident<'a> {
    root: Node<'a>,
    kind: String,
    name: Option<(String, &'static str)>,
    detected: Option<(String, &'static str)>,
    resolved: Option<(String, &'static str)>,
}

/// Plans an incident report.
pub(in super::super) fn prepare(input: &Input) -> Outcome {
    let root = Node::root(input.data);
    let incident = Incident::read(root.clone());
    let mut prepared = Prepared::default();
    facts(input, &incident, &mut prepared);
    let label = input.label("Incident report");
    let name = incident.name.as_ref().map(|(name, _)| crate::prompt::one_line(name, 100));
    prepared.title =
        root.text("title").unwrap_or_else(|| name.map_or(label.clone(), |name| format!("{label}: {name}")));
    prepared.subtitle = root
        .get("incident")
        .text("title")
        .or_else(|| root.get("ticket").text("title"))
        .map(|text| crate::prompt::one_line(&text, 200))
        .filter(|text| !prepared.title.contains(text.as_str()))
        .unwrap_or_default();
    prepared.author = root.text("author").unwrap_or_default();
    prepared.date = shared::day(root.get("event").text("time"));
    prepared.sources = shared::sources(&root);
    prepared.context.insert("aim".into(), json!(incident.aim()));
    let parts = &mut prepared.parts;
    parts.insert("head".into(), head(input, &incident));
    let told = root.get("incident").text("description").or_else(|| root.text("description"));
    parts.insert("description".into(), shared::paragraph(told));
    parts.insert("impact".into(), shared::paragraph(root.get("incident").text("impact")));
    parts.insert("cause".into(), shared::paragraph(root.get("incident").text("cause")));
    parts.insert("timeline".into(), timeline(input, &incident));
    parts.insert("changes".into(), shared::changes(input, &root));
    parts.insert("checks".into(), shared::checks(input, &root));
    parts.insert("errors".into(), shared::verbatim(root.text("errors")));
    parts.insert("details".into(), shared::details(input, &root));
    parts.insert("links".into(), shared::links(&root));
    let mut ticket = key_values(shared::ticket_pairs(input, &root));
    ticket.extend(shared::paragraph(root.get("ticket").text("description")));
    parts.insert("ticket".into(), ticket);
    order_of_times(&incident, &mut prepared.findings);
    Ok(prepared)
}

impl<'a> Incident<'a> {
    fn read(root: Node<'a>) -> Self {
        let kind = root.get("event").text("kind").unwrap_or_default();
        let own = root.get("incident");
        let ticket = root.get("ticket");
        let at = |text: Option<String>, origin: &'static str| text.map(|text| (text, origin));
        let time = root.get("event").text("time");
        let is_end = kind == "incident_resolved" || kind == "service_rolledback";
        Self {
            name: at(own.text("id"), "/incident/id")
                .or_else(|| at(own.text("title"), "/incident/title"))
                .or_else(|| at(ticket.text("title"), "/ticket/title"))
                .or_else(|| at(ticket.text("id"), "/ticket/id"))
                .or_else(|| at(root.text("name"), "/name")),
            detected: at(own.text("detected_at"), "/incident/detected_at")
                .or_else(|| at(time.clone().filter(|_| !is_end), "/event/time")),
            resolved: at(own.text("resolved_at"), "/incident/resolved_at")
                .or_else(|| at(time.filter(|_| is_end), "/event/time")),
            kind,
            root,
        }
    }

    fn aim(&self) -> &'static str {
        match self.kind.as_str() {
            "service_rolledback" => "the change was rolled back",
            "issue_opened" => "an issue was reported",
            "incident_resolved" => "the incident is resolved",
            _ if self.resolved.is_some() => "the incident is resolved",
            _ => "the incident is open",
        }
    }

    fn status(&self) -> (String, &'static str) {
        let given = self.root.get("incident").text("status").map(|status| (status, "/incident/status"));
        let ticket = self.root.get("ticket").text("status").map(|status| (status, "/ticket/status"));
        given.or(ticket).unwrap_or_else(|| {
            let word = match self.aim() {
                "the change was rolled back" => "rolled back",
                "the incident is resolved" => "resolved",
                "an issue was reported" => "reported",
                _ => "open",
            };
            (word.to_owned(), "computed: kind of event")
        })
    }

    /// Text of the incident itself, otherwise of the event around it.
    fn either(&self, key: &'static str, outer: &'static str) -> Option<(String, &'static str)> {
        let own = self.root.get("incident").text(key).map(|text| (text, key));
        own.or_else(|| self.root.text(outer).map(|text| (text, outer)))
    }
}

fn facts(input: &Input, incident: &Incident, prepared: &mut Prepared) {
    let root = &incident.root;
    let facts = &mut prepared.facts;
    let mut add = |name: &str, found: &Option<(String, &'static str)>| {
        if let Some((text, origin)) = found {
            facts.add(name, text.clone(), *origin);
        }
    };
    let moment = |found: &Option<(String, &'static str)>| {
        found.as_ref().map(|(text, origin)| (input.locale.moment(text), *origin))
    };
    let ticket = root.get("ticket");
    let reporter = root.get("incident").text("reporter").map(|r| (r, "/incident/reporter"));
    let reporter = reporter
        .or_else(|| ticket.text("reporter").map(|r| (r, "/ticket/reporter")))
        .or_else(|| root.text("author").map(|r| (r, "/author")));
    let service = incident.either("service", "service").map(|(text, _)| (text, origin_of(root, "service")));
    let service = service.or_else(|| root.text("repository").map(|r| (r, "/repository")));
    add("incident", &incident.name);
    add("service", &service);
    add(
        "environment",
        &incident.either("environment", "environment").map(|(t, _)| (t, origin_of(root, "environment"))),
    );
    add("detected_at", &moment(&incident.detected));
    add("resolved_at", &moment(&incident.resolved));
    add(
        "duration",
        &duration(input.locale, incident).map(|text| (text, "computed: resolved_at - detected_at")),
    );
    add("status", &Some(incident.status()));
    add("ticket", &ticket.text("id").map(|id| (id, "/ticket/id")));
    add("reporter", &reporter);
    add("version", &root.text("version").map(|v| (v, "/version")));
    add("severity", &root.get("incident").text("severity").map(|s| (s, "/incident/severity")));
    add("repository", &root.text("repository").map(|r| (r, "/repository")));
    add("artifact", &root.text("artifact").map(|a| (a, "/artifact")));
}

fn origin_of(root: &Node, key: &str) -> &'static str {
    match (key, root.get("incident").text(key).is_some()) {
        ("service", true) => "/incident/service",
        ("service", false) => "/service",
        (_, true) => "/incident/environment",
        (_, false) => "/environment",
    }
}

/// Moment of a time text; a bare day is its first minute.
fn instant(text: &str) -> Option<NaiveDateTime> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment.naive_utc());
    }
    let text = text.trim_end_matches(" UTC").trim_end_matches('Z');
    for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(moment) = NaiveDateTime::parse_from_str(text, form) {
            return Some(moment);
        }
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0))
}

fn to_minute(time: NaiveDateTime) -> NaiveDateTime {
    time.with_second(0).and_then(|time| time.with_nanosecond(0)).unwrap_or(time)
}

fn span(incident: &Incident) -> Option<TimeDelta> {
    let start = instant(&incident.detected.as_ref()?.0)?;
    let end = instant(&incident.resolved.as_ref()?.0)?;
    // Whole minutes, as the times are shown: a reader can check the difference.
    Some(to_minute(end) - to_minute(start))
}

/// `3 hours 5 minutes`; none when it would be negative.
fn duration(locale: Locale, incident: &Incident) -> Option<String> {
    let minutes = span(incident)?.num_minutes();
    if minutes < 0 {
        return None;
    }
    let word = |count: i64, one: (&str, &str), many: (&str, &str)| {
        let (english, german) = if count == 1 { one } else { many };
        format!("{count} {}", if locale == Locale::De { german } else { english })
    };
    let mut parts = Vec::new();
    let (days, hours, rest) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    if days > 0 {
        parts.push(word(days, ("day", "Tag"), ("days", "Tage")));
    }
    if hours > 0 {
        parts.push(word(hours, ("hour", "Stunde"), ("hours", "Stunden")));
    }
    if (rest > 0 && days == 0) || parts.is_empty() {
        parts.push(word(rest, ("minute", "Minute"), ("minutes", "Minuten")));
    }
    Some(parts.join(" "))
}

fn order_of_times(incident: &Incident, findings: &mut Vec<Finding>) {
    if span(incident).is_some_and(|span| span < TimeDelta::zero()) {
        let message = "the incident was resolved before it was detected";
        findings.push(Finding::new("incident.times", Severity::Error, "/incident/resolved_at", message));
    }
}

fn head(input: &Input, incident: &Incident) -> Vec<Block> {
    let root = &incident.root;
    let own = root.get("incident");
    let text = |found: Option<(String, &'static str)>| found.map(|(text, _)| text);
    let moment =
        |found: &Option<(String, &'static str)>| found.as_ref().map(|(text, _)| input.locale.moment(text));
    let mut pairs = vec![
        input.pair("Incident", own.text("id").or_else(|| text(incident.name.clone()))),
        input.pair("Subject", own.text("title")),
        input.pair("Status", Some(incident.status().0)),
        input.pair("Severity", own.text("severity")),
        input.pair("Service", text(incident.either("service", "service"))),
        input.pair("Environment", text(incident.either("environment", "environment"))),
        input.pair("Repository", root.text("repository")),
        input.pair("Version", root.text("version")),
        input.pair("Artifact", root.text("artifact")),
        input.pair("Branch", root.text("branch")),
        input.pair("Commit", root.text("commit")),
        input.pair("Pipeline", root.text("pipeline")),
        input.pair("Name", root.text("name")),
        input.pair("State", root.text("state")),
        input.pair("Detected", moment(&incident.detected)),
        input.pair("Resolved", moment(&incident.resolved)),
        input.pair("Duration", duration(input.locale, incident)),
        input.pair("Reporter", own.text("reporter").or_else(|| root.text("author"))),
        input.pair("Number of changes", root.text("change_count")),
    ];
    pairs.extend(shared::event_pairs(input, root));
    key_values(pairs)
}

/// Entries given, plus detection and resolution, by time.
fn timeline(input: &Input, incident: &Incident) -> Vec<Block> {
    let mut entries: Vec<(Option<NaiveDateTime>, Vec<Cell>)> = Vec::new();
    let mut add = |time: &str, text: String, actor: Option<String>| {
        let cells = vec![
            shared::cell(Some(input.locale.moment(time))),
            Cell { text: lines(&text), value: None },
            shared::cell(actor),
        ];
        entries.push((instant(time), cells));
    };
    let ends = match incident.kind.as_str() {
        "service_rolledback" => "The change was rolled back",
        _ => "The incident was resolved",
    };
    let begins =
        if incident.kind == "issue_opened" { "The issue was reported" } else { "The incident was detected" };
    if let Some((time, _)) = &incident.detected {
        add(time, input.label(begins), None);
    }
    for entry in incident.root.items("timeline") {
        let time = entry.text("time").unwrap_or_default();
        add(&time, entry.text("text").unwrap_or_default(), entry.text("actor"));
    }
    if let Some((time, _)) = &incident.resolved {
        add(time, input.label(ends), None);
    }
    // Stable: entries of the same minute keep the order they were told in.
    entries.sort_by_key(|(time, _)| *time);
    let columns = vec![
        shared::column(input, "Time", 26),
        shared::column(input, "What happened", 54),
        shared::column(input, "Who", 20),
    ];
    shared::table(columns, entries.into_iter().map(|(_, cells)| cells).collect())
}
