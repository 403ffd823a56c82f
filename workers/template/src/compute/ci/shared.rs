//! Parts both documents have: event data, tickets, checks, details, links.

use bul_document::{Block, Cell, Column, ColumnType, Inline, KeyValue, Table};

use super::super::{Input, lines, text_cell};
use crate::json::{Node, scalar};

/// Longest list of details in one list; events can carry hundreds.
const DETAILS_MAX: usize = 200;

/// Text column of a table.
pub(super) fn column(input: &Input, title: &str, width: u8) -> Column {
    Column { title: input.label(title), kind: ColumnType::Text, width }
}

/// Cell of text that may have several lines.
pub(super) fn cell(value: Option<String>) -> Cell {
    Cell { text: value.map(|value| lines(&value)).unwrap_or_default(), value: None }
}

/// Text that links where there is an address.
pub(super) fn linked(text: &str, url: Option<String>) -> Vec<Inline> {
    match url {
        Some(url) => vec![Inline::Link { url, text: bul_document::text(text) }],
        None => lines(text),
    }
}

/// Table, or nothing without rows. Columns no row fills are left out.
pub(super) fn table(columns: Vec<Column>, rows: Vec<Vec<Cell>>) -> Vec<Block> {
    if rows.is_empty() {
        return Vec::new();
    }
    let used: Vec<bool> = (0..columns.len())
        .map(|at| at == 0 || rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.text.is_empty())))
        .collect();
    let keep = |at: &usize| used.get(*at).copied().unwrap_or(false);
    let columns = columns.into_iter().enumerate().filter(|(at, _)| keep(at)).map(|(_, c)| c).collect();
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().enumerate().filter(|(at, _)| keep(at)).map(|(_, c)| c).collect())
        .collect();
    vec![Block::Table(Table { caption: String::new(), columns, rows, totals: Vec::new() })]
}

/// Label and link or text.
pub(super) fn pair_linked(
    input: &Input,
    label: &str,
    text: Option<String>,
    url: Option<String>,
) -> Option<KeyValue> {
    let text = text.or_else(|| url.clone())?;
    Some(KeyValue { label: input.label(label), value: linked(&text, url) })
}

/// The event itself: what it was, when and from where.
pub(super) fn event_pairs(input: &Input, root: &Node) -> Vec<Option<KeyValue>> {
    let event = root.get("event");
    vec![
        input.pair(
            "Event",
            event.text("type").or_else(|| event.text("kind").map(|kind| kind.replace('_', " "))),
        ),
        input.pair("Event id", event.text("id")),
        input.pair("Source", event.text("source")),
        input.pair("Time", event.text("time").map(|time| input.locale.moment(&time))),
        pair_linked(input, "Link", None, event.text("url")),
    ]
}

/// Ticket as key–value pairs.
pub(super) fn ticket_pairs(input: &Input, root: &Node) -> Vec<Option<KeyValue>> {
    let ticket = root.get("ticket");
    let list = |key: &str| {
        let names: Vec<String> = ticket.items(key).iter().filter_map(Node::own_text).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    vec![
        pair_linked(input, "Ticket", ticket.text("id").or_else(|| ticket.text("title")), ticket.text("url")),
        input.pair("Subject", ticket.text("title").filter(|_| ticket.text("id").is_some())),
        input.pair("Type", ticket.text("type")),
        input.pair("Status", ticket.text("status")),
        input.pair("Priority", ticket.text("priority")),
        input.pair("Group", ticket.text("group")),
        input.pair("Milestone", ticket.text("milestone")),
        input.pair("Reporter", ticket.text("reporter")),
        input.pair("Assignees", list("assignees")),
        input.pair("Labels", list("labels")),
    ]
}

/// Checks with their results.
pub(super) fn checks(input: &Input, root: &Node) -> Vec<Block> {
    let moment = |node: &Node, key: &str| node.text(key).map(|time| input.locale.moment(&time));
    let rows = root
        .items("checks")
        .iter()
        .map(|check| {
            let name = check.text("name").unwrap_or_default();
            vec![
                Cell { text: linked(&name, check.text("url")), value: None },
                cell(check.text("state")),
                cell(check.text("summary")),
                cell(moment(check, "started_at")),
                cell(moment(check, "finished_at")),
            ]
        })
        .collect();
    let columns = vec![
        column(input, "Check", 26),
        column(input, "State", 14),
        column(input, "Result", 28),
        column(input, "Started", 16),
        column(input, "Finished", 16),
    ];
    table(columns, rows)
}

/// Changes with author and link.
pub(super) fn changes(input: &Input, root: &Node) -> Vec<Block> {
    let rows = root
        .items("changes")
        .iter()
        .map(|change| {
            let id = change.text("id").map(|id| short_commit(&id)).unwrap_or_default();
            let url = change.text("url");
            let (title_url, id_url) = if id.is_empty() { (url, None) } else { (None, url) };
            let mut text = linked(&change.text("title").unwrap_or_default(), title_url);
            if let Some(description) = change.text("description") {
                text.push(Inline::Break);
                text.extend(lines(&description));
            }
            let id = if id.is_empty() { Vec::new() } else { linked(&id, id_url) };
            vec![
                Cell { text, value: None },
                cell(change.text("author")),
                Cell { text: id, value: None },
                cell(change.text("time").map(|time| input.locale.moment(&time))),
            ]
        })
        .collect();
    let columns = vec![
        column(input, "Change", 50),
        column(input, "Author", 18),
        column(input, "Reference", 16),
        column(input, "Time", 16),
    ];
    table(columns, rows)
}

/// Git commits are known by their first characters.
pub(super) fn short_commit(id: &str) -> String {
    let is_commit = id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if is_commit { id[..10].to_owned() } else { id.to_owned() }
}

/// Everything else the event said, as given.
pub(super) fn details(input: &Input, root: &Node) -> Vec<Block> {
    let details = root.get("details");
    let members = details.value.as_object().into_iter().flatten().take(DETAILS_MAX);
    let rows =
        members.filter_map(|(key, value)| Some(vec![text_cell(key.clone()), cell(Some(scalar(value)?))]));
    table(vec![column(input, "Detail", 30), column(input, "Value", 70)], rows.collect())
}

/// Links as a list.
pub(super) fn links(root: &Node) -> Vec<Block> {
    let items: Vec<Vec<Block>> = root
        .items("links")
        .iter()
        .filter_map(|link| {
            let url = link.text("url")?;
            let text = link.text("label").unwrap_or_else(|| url.clone());
            Some(vec![Block::Paragraph { text: vec![Inline::Link { url, text: bul_document::text(text) }] }])
        })
        .collect();
    if items.is_empty() { Vec::new() } else { vec![Block::List { ordered: false, items }] }
}

/// Text in several lines as one block, kept as it is.
pub(super) fn verbatim(text: Option<String>) -> Vec<Block> {
    text.map(|text| vec![Block::Code { language: String::new(), text }]).unwrap_or_default()
}

/// Paragraph of given text.
pub(super) fn paragraph(text: Option<String>) -> Vec<Block> {
    text.map(|text| vec![Block::Paragraph { text: lines(&text) }]).unwrap_or_default()
}

/// Sources of the document: the event's id and address.
pub(super) fn sources(root: &Node) -> Vec<String> {
    let event = root.get("event");
    [event.text("id"), event.text("url"), event.text("source")].into_iter().flatten().collect()
}

/// Calendar day of an ISO time.
pub(super) fn day(time: Option<String>) -> Option<String> {
    let time = time?;
    let day = time.get(..10)?.to_owned();
    crate::format::parse_date(&day).map(|day| day.to_string())
}
