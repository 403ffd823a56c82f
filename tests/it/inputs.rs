//! Real inputs that nobody here wrote, end to end.

use bul_tests::{Server, ServerOptions, pdf_text, repository, run, shared};

/// A word list of what must be readable in the PDF of an invoice, taken from the XML by a program that
/// shares nothing with the product.
const EXTRACT: &str = r#"
import sys, xml.etree.ElementTree as E
ns = {'cac': 'urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2', 'cbc': 'urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2'}
root = E.parse(sys.argv[1]).getroot()
def text(path):
    return [e.text.strip() for e in root.findall(path, ns) if e.text and e.text.strip()]
wanted = text('cbc:ID')
wanted += text('cac:AccountingSupplierParty/cac:Party/cac:PartyLegalEntity/cbc:RegistrationName')[:1]
wanted += text('cac:AccountingCustomerParty/cac:Party/cac:PartyLegalEntity/cbc:RegistrationName')[:1]
wanted += text('cac:InvoiceLine/cac:Item/cbc:Name')
amount = text('cac:LegalMonetaryTotal/cbc:PayableAmount')[0]
wanted.append('{:,.2f}'.format(float(amount)))
for amount in text('cac:InvoiceLine/cbc:LineExtensionAmount'):
    wanted.append('{:,.2f}'.format(float(amount)))
print('\n'.join(' '.join(w.split()) for w in wanted))
"#;

fn check_invoice(server: &Server, xml: &std::path::Path) {
    let name = xml.file_stem().unwrap().to_string_lossy().into_owned();
    let folder = format!("docs/{name}");
    let path = xml.display().to_string();
    server.cli(&["submit", &path, "--wait", "--out", &folder, "--format", "pdf"]).expect(0);
    let folder = server.home().join(folder);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = squeeze(&pdf_text(&files[0]));
    for wanted in run("python3", &["-c", EXTRACT, &path]).lines() {
        assert!(text.contains(&squeeze(wanted)), "{name}: {wanted:?} is not in the PDF: {text}");
    }
}

/// Line breaks inside words depend on the width of a column.
fn squeeze(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-' && *c != '\u{2011}' && *c != '\u{ad}').collect()
}

#[test]
fn every_ubl_invoice_becomes_a_pdf_that_holds_its_facts() {
    let server = Server::start(ServerOptions::default());
    check_invoice(&server, &repository().join("bul/demo/invoice.xml"));
    for xml in shared("xrechnung", "xml") {
        check_invoice(&server, &xml);
    }
    let total = server.settle();
    assert_eq!(total["accepted"], total["completed"], "{total}");
}

#[test]
fn every_ci_event_becomes_a_document() {
    let server = Server::start(ServerOptions::default().scripted());
    let mut files = shared("cdevents", "json");
    files.extend(shared("github-webhooks", "json"));
    files.extend(
        ["push.json", "release.json", "incident.json"].map(|f| repository().join("bul/demo").join(f)),
    );
    for file in &files {
        let path = file.display().to_string();
        server.cli(&["submit", &path, "--wait", "--out", "docs", "--format", "md,pdf,html"]).expect(0);
    }
    let total = server.settle();
    assert_eq!(total["completed"].as_u64(), Some(files.len() as u64), "{total}");
}

#[test]
fn figures_become_a_weekly_report_with_exact_totals() {
    let server = Server::start(ServerOptions::default().scripted());
    let csv = repository().join("bul/demo/sales.csv");
    server
        .cli(&["submit", &csv.display().to_string(), "--wait", "--out", "docs", "--format", "md"])
        .expect(0);
    let file = std::fs::read_dir(server.home().join("docs")).unwrap().next().unwrap().unwrap().path();
    let report = std::fs::read_to_string(file).unwrap();
    // Total of the latest ISO week in the file, added up by another program with decimal arithmetic.
    const TOTAL: &str = "import csv,sys,datetime as d,decimal\nrows=[(d.date.fromisoformat(r['date']).isocalendar()[:2],decimal.Decimal(r['revenue'])) for r in csv.DictReader(open(sys.argv[1]))]\nlast=max(w for w,_ in rows)\nprint('{:,.2f}'.format(sum(v for w,v in rows if w==last)))";
    let total = run("python3", &["-c", TOTAL, &csv.display().to_string()]);
    assert!(report.contains(total.trim()), "{total} is not in {report}");

    for csv in shared("analytics", "csv") {
        server
            .cli(&["submit", &csv.display().to_string(), "--wait", "--out", "docs2", "--format", "pdf,md"])
            .expect(0);
    }
}
