//! Packages of one's own: loading, checking, and the errors their authors meet.

mod common;

use std::fs;
use std::path::Path;

use bul_document::Block;
use bul_template::{Catalog, TemplateError, check_dir};
use common::{plan, render, text_of};
use serde_json::json;

const MANIFEST: &str = r#"
name = "offer"
title = "Offer"
business_area = "sales"
doc_type = "offer"
version = "0.1.0"
languages = ["en", "de"]
document_title = "{{ t('Offer') }} {{ data.number }}"
author = "{{ data.seller }}"
date = "/date"
currency = "EUR"

[[facts]]
name = "customer"
pointer = "/customer"

[[facts]]
name = "total"
expression = "sum(data.items, 'price')"
format = "money"

[labels.de]
"Offer" = "Angebot"
"#;
const SCHEMA: &str = r#"{"type": "object", "additionalProperties": false, "required": ["number", "items"],
  "properties": {"number": {"type": "string"}, "customer": {"type": "string"}, "seller": {"type": "string"},
    "date": {"type": "string", "format": "date"}, "remark": {"type": "string"},
    "items": {"type": "array", "items": {"type": "object", "required": ["name", "price"],
      "properties": {"name": {"type": "string"}, "price": {"type": ["string", "number"]}, "kind": {"type": "string"}}}}}}"#;
const BODY: &str = r#"
# {{ t("Offer") }} for {{ data.customer }}

{{ prose("intro", section="Introduction", facts=["customer", "total", "nothing"], sentences=2) }}

{{ table(data.items, columns=[{"title": "Item", "key": "name"}, {"title": "Price", "key": "price", "type": "money"}],
         totals=[["Total", sum(data.items, "price")]], caption="Items") }}

{% for group in group_by(data.items, "kind", sum="price") %}
- **{{ group.key }}**: {{ group.count }} for {{ group.sum|money }}
{% endfor %}

{{ chart("bar", ["a", "b"], [{"name": "Share", "values": [1, "2.5"]}], unit="EUR", alt="Shares") }}
{{ key_values([["Date", data.date|date("short")], ["Rate", 19|percent], ["Half", div(1, 2)|number(digits=2)]]) }}
{{ columns(["Seller", data.seller], key_values({"Number": data.number})) }}
{{ callout("warning", "Mind", "Prices **are** net: " ~ data.number) }}
{% if data.remark %}
{{ data.remark }}
{% endif %}
{{ page_break() }}
Total: {{ fact("total") }}[^n]

[^n]: Without VAT.

{{ signature([{"name": data.seller, "role": "Seller"}]) }}
"#;
const SAMPLE: &str = r#"{"number": "O-1", "customer": "Acme *Ltd*", "seller": "We", "date": "2026-11-16",
  "items": [{"name": "A", "price": "0.10", "kind": "x"}, {"name": "B", "price": 0.2, "kind": "y"}, {"name": "C", "price": "10", "kind": "x"}]}"#;

fn package(dir: &Path, manifest: &str, schema: &str, body: &str) {
    fs::create_dir_all(dir.join("samples")).expect("dir");
    fs::write(dir.join("template.toml"), manifest).expect("write");
    fs::write(dir.join("schema.json"), schema).expect("write");
    fs::write(dir.join("body.md"), body).expect("write");
    fs::write(dir.join("samples/one.json"), SAMPLE).expect("write");
}

#[test]
fn a_package_is_loaded_and_rendered() {
    let dir = tempfile::tempdir().expect("tempdir");
    package(&dir.path().join("offer"), MANIFEST, SCHEMA, BODY);
    let mut catalog = Catalog::builtin().expect("catalog");
    assert_eq!(catalog.load_dir(dir.path()).expect("loads"), 1);
    assert_eq!(catalog.load_dir(&dir.path().join("offer")).expect("loads"), 1);
    assert!(!catalog.get("offer").expect("template").is_builtin());
    let data = serde_json::from_str(SAMPLE).expect("json");
    let done = render(&catalog, "offer", "de", &data).expect("renders");
    let text = text_of(&done.document);
    assert_eq!(done.document.meta.title, "Angebot O-1");
    assert_eq!(done.document.meta.author, "We");
    assert_eq!(done.document.meta.date, "2026-11-16");
    for expected in [
        "Angebot for Acme *Ltd*",
        "|A|0,10 €",
        "|Total|10,30 €",
        "x: 2 for 10,10 €",
        "Date: 16.11.2026",
        "Rate: 19 %",
        "Half: 0,50",
        "Seller\nWe",
        "Number: O-1",
        "Prices **are** net: O-1",
        "Total: 10,30 €",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let blocks = &done.document.blocks;
    assert!(blocks.iter().any(|b| matches!(b, Block::Figure(f) if f.chart.series[0].values == [1.0, 2.5])));
    assert!(blocks.iter().any(|b| matches!(b, Block::Callout { .. })));
    assert!(blocks.iter().any(|b| matches!(b, Block::PageBreak)));
    assert!(matches!(blocks.last(), Some(Block::Signature { .. })));
    let json = serde_json::to_string(blocks).expect("json");
    assert!(json.contains("footnote"), "{json}");
    assert!(done.document.facts.iter().any(|f| f.name == "total" && f.origin.starts_with("computed: sum")));
    assert!(done.findings.is_empty(), "{:?}", done.findings);
}

#[test]
fn a_sound_package_passes_the_check() {
    let dir = tempfile::tempdir().expect("tempdir");
    package(dir.path(), MANIFEST, SCHEMA, BODY);
    let report = check_dir(dir.path()).expect("check");
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(report.samples[0].slots, 1);
    assert!(report.variables.contains(&"data.customer".to_owned()), "{:?}", report.variables);
}

#[test]
fn mistakes_are_named() {
    // body, what the report says
    let cases = [
        ("{{ price }}", "undeclared variable `price`"),
        ("{{ data.custommer }}", "`data.custommer` is not in the schema"),
        ("{% if data.custommer %}x{% endif %}", "`data.custommer` is not in the schema"),
        ("x\n{{ data.remark }}", "line 2: the value is absent"),
        ("{{ data.number|shout }}", "unknown filter"),
        ("{{ data.number|safe }}", "unknown filter"),
        ("{{ wibble(1) }}", "undeclared variable `wibble`"),
        ("{{ data.number|money }}", "`O-1` is no number"),
        ("{{ data.items }}", "cannot be printed"),
        ("{{ fact('nothing') }}", "no fact `nothing`"),
        ("{{ prose('a', section='A') }}{{ prose('a', section='B') }}", "used twice"),
        ("{{ prose('A b', section='A') }}", "must match"),
        ("{{ callout('purple', 'x', 'y') }}", "unknown callout kind"),
        ("{{ table(data.items, columns=[]) }}", "at least one column"),
        ("{{ table([[1, 2]], columns=['a']) }}", "2 cells"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "fuel"),
        ("{% set _cx = 1 %}{{ data.number }}", "reserved"),
    ];
    for (body, expected) in cases {
        let dir = tempfile::tempdir().expect("tempdir");
        package(dir.path(), MANIFEST, SCHEMA, body);
        let report = check_dir(dir.path()).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert!(!report.is_ok(), "{body}");
        let mut said = report.problems.join("\n");
        said.extend(report.samples.iter().filter_map(|sample| sample.error.clone()));
        assert!(said.contains(expected), "{body}: {said}");
    }
}

#[test]
fn broken_packages_do_not_load() {
    let cases = [
        (MANIFEST, SCHEMA, "a\nb\n{% if %}", "line 3"),
        (MANIFEST, SCHEMA, "{{ data.number ", "line 1"),
        (MANIFEST, "{", BODY, "schema.json"),
        (MANIFEST, r#"{"type": 7}"#, BODY, "schema.json"),
        (MANIFEST, r#"{"$ref": "https://x.example/schema"}"#, BODY, "schema.json"),
        ("name = \"offer\"", SCHEMA, BODY, "template.toml"),
        (
            "name = \"Of fer\"\ntitle = \"x\"\nbusiness_area = \"x\"\ndoc_type = \"x\"",
            SCHEMA,
            BODY,
            "`name` must be",
        ),
    ];
    for (manifest, schema, body, expected) in cases {
        let dir = tempfile::tempdir().expect("tempdir");
        package(dir.path(), manifest, schema, body);
        let error = Catalog::builtin().expect("catalog").load_dir(dir.path()).expect_err("broken");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let dir = tempfile::tempdir().expect("tempdir");
    package(dir.path(), MANIFEST, SCHEMA, &"x".repeat(2 << 20));
    let error = Catalog::builtin().expect("catalog").load_dir(dir.path()).expect_err("too large");
    assert!(error.to_string().contains("bytes"), "{error}");
}

#[test]
fn a_body_of_ones_own_can_use_a_built_in_program() {
    let dir = tempfile::tempdir().expect("tempdir");
    let manifest = "name = \"my-invoice\"\ntitle = \"Bill\"\nbusiness_area = \"finance\"\ndoc_type = \"invoice\"\n\
        prepare = \"invoice\"\ncurrency = \"/currency\"\n[brand]\nname = \"Us\"\nprimary = \"#112233\"";
    fs::write(dir.path().join("template.toml"), manifest).expect("write");
    fs::write(dir.path().join("body.md"), "Bill over {{ fact('payable') }}\n\n{{ part('lines') }}")
        .expect("write");
    let mut catalog = Catalog::builtin().expect("catalog");
    catalog.load_dir(dir.path()).expect("loads");
    let samples = catalog.get("invoice").expect("template").samples();
    let done = render(&catalog, "my-invoice", "en", &samples[2].1).expect("renders");
    assert_eq!(done.document.meta.brand.name, "Us");
    assert!(text_of(&done.document).contains("Bill over €898.37"), "{}", text_of(&done.document));
}

#[test]
fn unknown_templates_list_the_known_ones() {
    let catalog = Catalog::builtin().expect("catalog");
    match plan(&catalog, "invoce", "en", &json!({})) {
        Err(TemplateError::Unknown { name, known }) => {
            assert_eq!(name, "invoce");
            assert!(known.contains(&"invoice".to_owned()));
        }
        other => panic!("{:?}", other.map(|plan| plan.meta)),
    }
}
