//! Renders document trees to PDF and says how long it took: `render OUT_DIR TREE.json…`.
//!
//! For looking at pages while working on the template. The first run is cold; the figures of the
//! second and third are what a warm worker needs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bul_document::{Document, normalise};
use bul_pdf::PdfWriter;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let out = args.next().ok_or("usage: render OUT_DIR TREE.json…")?;
    let start = Instant::now();
    let writer = PdfWriter::new();
    println!("fonts loaded in {} ms", start.elapsed().as_millis());
    for tree in args {
        render(&writer, &tree, &out)?;
    }
    Ok(())
}

fn render(writer: &PdfWriter, tree: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let document = normalise(serde_json::from_slice::<Document>(&std::fs::read(tree)?)?)?;
    for run in ["first", "second", "third"] {
        let start = Instant::now();
        let pdf = writer.render(&document)?;
        let ms = start.elapsed().as_secs_f64() * 1000.0;
        let (pages, bytes) = (pdf.pages, pdf.bytes.len());
        println!(
            "{} {run}: {ms:.0} ms, {pages} pages, {:.1} ms a page, {bytes} bytes, missing {:?}",
            tree.display(),
            ms / pages.max(1) as f64,
            pdf.missing_glyphs
        );
        let name = tree.file_stem().unwrap_or_default();
        std::fs::write(out.join(name).with_extension("pdf"), pdf.bytes)?;
    }
    Ok(())
}
