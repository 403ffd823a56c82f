//! Writes document trees in every format of this crate: `render OUT_DIR TREE.json…`.
//!
//! For looking at the results while working on a writer.

use std::path::PathBuf;

use bul_document::{Document, Format, normalise, write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let out = args.next().ok_or("usage: render OUT_DIR TREE.json…")?;
    for tree in args {
        let document = normalise(serde_json::from_slice::<Document>(&std::fs::read(&tree)?)?)?;
        for format in [Format::Md, Format::Html, Format::Txt, Format::Json] {
            let path = out.join(tree.file_stem().unwrap_or_default()).with_extension(format.extension());
            std::fs::write(path, write(&document, format)?)?;
        }
    }
    Ok(())
}
