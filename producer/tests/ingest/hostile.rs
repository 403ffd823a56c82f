//! Nothing that comes from outside may panic, hang or grow without bound.

use bul_producer::ingest::{Hints, IngestErrorKind, IngestLimits, Source, parse};

use crate::support::{check_error, fixture, real_files};

const FIXTURES: [(&str, Source); 8] = [
    ("invoice_two_rates.xml", Source::Ubl),
    ("credit_note.xml", Source::Ubl),
    ("service_deployed.cdevent.json", Source::Cdevents),
    ("incident.cloudevent.json", Source::CloudEvents),
    ("github_push.json", Source::Github),
    ("jobs_bad.jsonl", Source::Jsonl),
    ("jobs.csv", Source::Csv),
    ("umsatz-woche_1.csv", Source::Csv),
];

/// Mutations of one file; each is parsed as what it is and as what it is taken for.
const ROUNDS: u64 = 150;

/// A small generator of numbers, so that a failure can be repeated by its seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % below.max(1)
    }
}

const SPLICES: [&[u8]; 14] = [
    b"\0",
    b"<",
    b">",
    b"\"",
    b"{",
    b"[",
    b"]",
    b"&#x0;",
    b"\xff\xfe",
    b"\xc3",
    b"\n",
    b"1e999",
    b"-",
    b"<!DOCTYPE x>",
];

fn mutate(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=numbers.next(4) {
        let at = numbers.next(bytes.len());
        match numbers.next(5) {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.next(8);
                }
            }
            2 => {
                let splice = SPLICES[numbers.next(SPLICES.len())];
                bytes.splice(at..at, splice.iter().copied());
            }
            3 => {
                let end = (at + numbers.next(40)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            _ => {
                let end = (at + numbers.next(200)).min(bytes.len());
                let copy = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

fn check_mutations(name: &str, source: Source, bytes: &[u8], rounds: u64) {
    let limits = IngestLimits::default();
    let mut refused = 0;
    for seed in 0..rounds {
        let mutated = mutate(bytes, &mut Numbers(seed + 1));
        let hints = Hints { file_name: Some(name.to_owned()), ..Hints::default() };
        let guessed = Source::detect(&mutated, None, None, &hints);
        for source in [Some(source), guessed.ok(), Some(Source::ALL[seed as usize % Source::ALL.len()])] {
            let Some(source) = source else { continue };
            match parse(source, &mutated, &hints, &limits) {
                Ok(items) => assert!(!items.is_empty(), "{name} seed {seed}: no jobs and no error"),
                Err(error) => {
                    refused += 1;
                    assert!(
                        !error.to_string().is_empty() && error.fields().len() <= 100,
                        "{name} seed {seed}"
                    );
                }
            }
        }
    }
    assert!(refused > 0, "{name}: no mutation was noticed");
}

#[test]
fn mutated_fixtures_never_panic() {
    for (name, source) in FIXTURES {
        check_mutations(name, source, &fixture(name), ROUNDS);
    }
}

#[test]
fn mutated_real_files_never_panic() {
    let folders = [
        ("xrechnung", "xml", Source::Ubl),
        ("cdevents", "json", Source::Cdevents),
        ("github-webhooks", "json", Source::Github),
        ("analytics", "csv", Source::Csv),
    ];
    for (folder, extension, source) in folders {
        for file in real_files(folder, extension) {
            let bytes = std::fs::read(&file).expect("readable");
            // Large files cost time in proportion; a few rounds suffice for each.
            let rounds = if bytes.len() > 50_000 { 6 } else { 40 };
            check_mutations(&file.to_string_lossy(), source, &bytes, rounds);
        }
    }
}

#[test]
fn every_prefix_of_a_fixture_is_read_or_refused() {
    for (name, source) in FIXTURES {
        let bytes = fixture(name);
        for end in (0..bytes.len()).step_by(37) {
            let _ = parse(source, &bytes[..end], &Hints::default(), &IngestLimits::default());
            let _ = Source::detect(&bytes[..end], None, None, &Hints::default());
        }
    }
}

#[test]
fn every_source_refuses_rubbish_without_a_panic() {
    let inputs: [&[u8]; 16] = [
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\xff\xfe\0",
        b"null",
        b"\"text\"",
        b"{\"a\":\xff}",
        b"<a>",
        b"<a xmlns:x='y'><x:/></a>",
        b"<?xml",
        b"<?xml encoding='",
        b"\"unterminated",
        b"payload=%",
        b"payload=%zz",
        b"-1e999999",
        b"sep=;\n",
        b"\xef\xbb\xbf",
    ];
    for source in Source::ALL {
        for input in inputs {
            let _ = parse(source, input, &Hints::default(), &IngestLimits::default());
        }
    }
}

#[test]
fn limits_have_names() {
    let kind = |source: Source, bytes: &[u8]| {
        let error = parse(source, bytes, &Hints::default(), &IngestLimits::default()).expect_err("too large");
        assert_eq!(error.kind, IngestErrorKind::TooLarge, "{error}");
        error.to_string()
    };
    assert!(kind(Source::Job, &vec![b' '; 33 * 1024 * 1024]).contains("body_bytes_max"));
    let many = "{\"query\":\"x\"}\n".repeat(10_001);
    assert!(kind(Source::Jsonl, many.as_bytes()).contains("items_max"));
    let array = format!("[{}{{}}]", "{},".repeat(10_000));
    assert!(kind(Source::Job, array.as_bytes()).contains("items_max"));
    let values = format!("[{}0]", "[],".repeat(2_000_000));
    assert!(kind(Source::Job, values.as_bytes()).contains("json_values_max"));
    let columns = format!("template{}\n", ",c".repeat(100_000));
    assert!(kind(Source::Csv, columns.as_bytes()).contains("csv_columns_max"));
    let rows = format!("a\n{}", "1\n".repeat(200_001));
    assert!(kind(Source::Csv, rows.as_bytes()).contains("csv_rows_max"));
    let nodes = format!("<a>{}</a>", "<b/>".repeat(1_000_001));
    assert!(kind(Source::Ubl, nodes.as_bytes()).contains("xml_nodes_max"));
    let deep = "<a>".repeat(100_000);
    assert!(kind(Source::Ubl, deep.as_bytes()).contains("xml_depth_max"));
    check_error(Source::Job, "[".repeat(100_000).as_bytes(), "recursion limit");
    check_error(
        Source::Ubl,
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "document types and entities are refused",
    );
}
