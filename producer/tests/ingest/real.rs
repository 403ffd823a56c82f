//! Files that other projects wrote: each becomes the right document, with nothing lost.
//!
//! Invoices are compared with a second extraction that shares no code with the reader: it goes by
//! local names only, and looks for every single text of the file in the data.

use std::collections::BTreeSet;

use bul_producer::ingest::{Hints, Source};
use roxmltree::{Document, Node};
use serde_json::Value;

use crate::support::{data, one, one_with, real_files};

/// The text at a path of local names.
fn at(node: Node<'_, '_>, path: &str) -> Option<String> {
    let found =
        path.split('/').try_fold(node, |node, name| node.children().find(|n| n.tag_name().name() == name))?;
    let text: String = found.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect();
    Some(words(&text))
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn given(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(words)
}

fn all_texts(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            out.insert(words(text));
            out.extend(text.lines().map(words));
        }
        Value::Array(items) => items.iter().for_each(|item| all_texts(item, out)),
        Value::Object(map) => map.values().for_each(|item| all_texts(item, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Elements that say how to read a document or that are not carried, by design.
const NOT_CARRIED: [&str; 5] =
    ["CustomizationID", "ProfileID", "ChargeIndicator", "EmbeddedDocumentBinaryObject", "DocumentTypeCode"];

fn check_nothing_lost(file: &str, document: &Document<'_>, data: &Value) {
    let mut texts = BTreeSet::new();
    all_texts(data, &mut texts);
    for leaf in document.descendants().filter(|n| n.is_element() && !n.children().any(|c| c.is_element())) {
        let parent = leaf.parent_element().map_or("", |p| p.tag_name().name());
        let name = leaf.tag_name().name();
        if NOT_CARRIED.contains(&name) || parent == "TaxScheme" {
            continue;
        }
        let text: String = leaf.children().filter_map(|n| n.text().filter(|_| n.is_text())).collect();
        let text = words(&text);
        assert!(
            text.is_empty() || texts.contains(&text),
            "{file}: {parent}/{name} {text:?} is not in the data"
        );
    }
}

#[test]
fn xrechnung_invoices() {
    for file in real_files("xrechnung", "xml") {
        let name = file.to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).expect("readable");
        assert_eq!(Source::detect(&bytes, None, None, &Hints::default()), Ok(Source::Ubl), "{name}");
        let data = data(&one(Source::Ubl, &bytes));
        let text = String::from_utf8(bytes).expect("UTF-8");
        let document = Document::parse(&text).expect("well-formed");
        let root = document.root_element();
        for (pointer, path) in [
            ("/number", "ID"),
            ("/issue_date", "IssueDate"),
            ("/due_date", "DueDate"),
            ("/currency", "DocumentCurrencyCode"),
            ("/seller/name", "AccountingSupplierParty/Party/PartyLegalEntity/RegistrationName"),
            ("/buyer/name", "AccountingCustomerParty/Party/PartyLegalEntity/RegistrationName"),
            ("/seller/address/city", "AccountingSupplierParty/Party/PostalAddress/CityName"),
            ("/totals/lines", "LegalMonetaryTotal/LineExtensionAmount"),
            ("/totals/net", "LegalMonetaryTotal/TaxExclusiveAmount"),
            ("/totals/gross", "LegalMonetaryTotal/TaxInclusiveAmount"),
            ("/totals/prepaid", "LegalMonetaryTotal/PrepaidAmount"),
            ("/totals/payable", "LegalMonetaryTotal/PayableAmount"),
        ] {
            assert_eq!(given(&data, pointer), at(root, path), "{name}: {pointer}");
        }
        let lines: Vec<Node<'_, '_>> =
            root.children().filter(|n| n.tag_name().name() == "InvoiceLine").collect();
        assert_eq!(data["lines"].as_array().map(Vec::len), Some(lines.len()), "{name}");
        for (index, line) in lines.into_iter().enumerate() {
            for (field, path) in [
                ("id", "ID"),
                ("name", "Item/Name"),
                ("description", "Item/Description"),
                ("quantity", "InvoicedQuantity"),
                ("unit_price", "Price/PriceAmount"),
                ("base_quantity", "Price/BaseQuantity"),
                ("net", "LineExtensionAmount"),
                ("vat_rate", "Item/ClassifiedTaxCategory/Percent"),
            ] {
                assert_eq!(
                    given(&data, &format!("/lines/{index}/{field}")),
                    at(line, path),
                    "{name}: line {index} {field}"
                );
            }
        }
        check_nothing_lost(&name, &document, &data);
    }
}

#[test]
fn cdevents() {
    for file in real_files("cdevents", "json") {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).expect("readable");
        assert_eq!(Source::detect(&bytes, None, None, &Hints::default()), Ok(Source::Cdevents), "{name}");
        let job = one(Source::Cdevents, &bytes);
        let data = data(&job);
        let (template, kind) = match name.as_str() {
            "incident_detected" | "incident_resolved" | "service_rolledback" => {
                ("incident-report", name.as_str())
            }
            "artifact_published" => ("release-notes", "artifact"),
            "branch_created" => ("release-notes", "branch"),
            "build_finished" | "pipelinerun_finished" => ("release-notes", "build"),
            "change_merged" => ("release-notes", "merge"),
            "environment_modified" => ("release-notes", "environment"),
            "service_deployed" => ("release-notes", "deployment"),
            "testsuiterun_finished" => ("release-notes", "test"),
            "ticket_created" => ("release-notes", "ticket"),
            other => panic!("no expectation for {other}"),
        };
        assert_eq!(
            (job.template.as_deref(), data["event"]["kind"].as_str()),
            (Some(template), Some(kind)),
            "{name}"
        );
        let source: Value = serde_json::from_slice(&bytes).expect("JSON");
        let mut texts = BTreeSet::new();
        all_texts(&data, &mut texts);
        let mut content = BTreeSet::new();
        all_texts(&source["subject"]["content"], &mut content);
        all_texts(&source["customData"], &mut content);
        for text in content.difference(&texts) {
            assert!(texts.iter().any(|t| t.contains(text)), "{name}: {text:?} is not in the data");
        }
    }
}

#[test]
fn github_webhooks() {
    let mut keys = BTreeSet::new();
    for file in real_files("github-webhooks", "json") {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).expect("readable");
        assert_eq!(Source::detect(&bytes, None, None, &Hints::default()), Ok(Source::Github), "{name}");
        let job = one(Source::Github, &bytes);
        let data = data(&job);
        let (template, kind, pointer, text) = match name.split('.').next().unwrap_or_default() {
            "check_run_completed" => ("release-notes", "test", "/checks/0/name", "Octocoders-linter"),
            "issues_opened" => {
                ("incident-report", "issue_opened", "/incident/title", "Spelling error in the README file")
            }
            "pull_request_closed" => {
                ("release-notes", "change", "/name", "Update the README with new information.")
            }
            "push_1" => ("release-notes", "tag", "/version", "simple-tag"),
            "push_with-new-branch" => ("release-notes", "branch", "/changes/0/title", "Initial commit"),
            "release_created" => ("release-notes", "release", "/version", "0.0.1"),
            other => panic!("no expectation for {other}"),
        };
        assert_eq!(
            (job.template.as_deref(), data["event"]["kind"].as_str()),
            (Some(template), Some(kind)),
            "{name}"
        );
        assert_eq!(given(&data, pointer).as_deref(), Some(text), "{name}");
        assert_eq!(data["repository"], "Codertocat/Hello-World", "{name}");
        assert!(data["event"]["time"].is_string(), "{name}");
        assert!(keys.insert(job.idempotency_key), "{name}: the key is not its own");
    }
}

#[test]
fn analytics_tables() {
    for file in real_files("analytics", "csv") {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).expect("readable");
        let hints = Hints { file_name: Some(name.clone()), ..Hints::default() };
        assert_eq!(Source::detect(&bytes, None, None, &Hints::default()), Ok(Source::Csv), "{name}");
        let data = data(&one_with(Source::Csv, &bytes, &hints));
        let text = String::from_utf8(bytes).expect("UTF-8");
        let mut lines = text.lines();
        let cells =
            |line: &str| -> Vec<String> { line.split(',').map(|c| c.trim_matches('"').to_owned()).collect() };
        let header = cells(lines.next().expect("a header"));
        assert_eq!(data["columns"], serde_json::json!(header), "{name}");
        let rows = data["rows"].as_array().expect("rows");
        let expected: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        assert_eq!(rows.len(), expected.len(), "{name}");
        for (row, line) in rows.iter().zip(expected) {
            // No cell of these files holds a comma.
            let plain: Vec<String> = row
                .as_array()
                .expect("a row")
                .iter()
                .map(|c| c.as_str().unwrap_or_default().to_owned())
                .collect();
            assert_eq!(plain, cells(line), "{name}");
        }
    }
}
