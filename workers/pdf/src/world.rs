//! What typst may see: the template, the data of one document, the fonts. Nothing else exists.

use std::sync::Arc;

use typst::diag::{FileError, FileResult};
use typst::foundations::{Bytes, Datetime, Duration};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};

use crate::fonts::Coverage;

const TEMPLATE: &str = include_str!("template.typ");

/// What all documents share.
pub(crate) struct Shared {
    library: LazyHash<Library>,
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    template: Source,
    data: FileId,
    /// What the fonts can show.
    pub(crate) coverage: Coverage,
    /// Families after the embedded ones, in order.
    pub(crate) families: Vec<String>,
}

impl Shared {
    /// Interns the two paths of this crate. typst leaks every path it interns and has room for
    /// 65,535, so no other path may ever be made.
    pub(crate) fn new(fonts: Vec<Font>) -> Self {
        let mut families: Vec<String> = Vec::new();
        for font in &fonts {
            let family = font.info().family.to_string();
            if !families.contains(&family) {
                families.push(family);
            }
        }
        Self {
            library: LazyHash::new(Library::default()),
            book: LazyHash::new(FontBook::from_fonts(&fonts)),
            coverage: Coverage::new(&fonts),
            template: Source::new(intern("/template.typ"), TEMPLATE.to_owned()),
            data: intern("/data.json"),
            fonts,
            families,
        }
    }
}

fn intern(path: &str) -> FileId {
    // The two literals above are valid paths; an empty one cannot occur.
    let path = VirtualPath::new(path).unwrap_or_else(|_| unreachable!("{path} is a valid path"));
    RootedPath::new(VirtualRoot::Project, path).intern()
}

/// The world of one run.
pub(crate) struct PdfWorld {
    shared: Arc<Shared>,
    data: Bytes,
}

impl PdfWorld {
    pub(crate) fn new(shared: Arc<Shared>, json: Vec<u8>) -> Self {
        Self { shared, data: Bytes::new(json) }
    }
}

impl World for PdfWorld {
    fn library(&self) -> &LazyHash<Library> {
        &self.shared.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.shared.book
    }

    fn main(&self) -> FileId {
        self.shared.template.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.shared.template.id() {
            Ok(self.shared.template.clone())
        } else {
            Err(FileError::AccessDenied)
        }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == self.shared.data { Ok(self.data.clone()) } else { Err(FileError::AccessDenied) }
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.shared.fonts.get(index).cloned()
    }

    /// No clock: a document shows the date it was given.
    fn today(&self, _offset: Option<Duration>) -> Option<Datetime> {
        None
    }
}
