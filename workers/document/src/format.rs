//! The formats of the contract, and the writers this crate has for them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Document, write_html, write_json, write_markdown, write_text};

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// GitHub-flavoured Markdown.
    Md,
    /// Self-contained HTML.
    Html,
    /// Tagged PDF; written by `bul-pdf`.
    Pdf,
    /// Word.
    Docx,
    /// PowerPoint.
    Pptx,
    /// Excel.
    Xlsx,
    /// E-book.
    Epub,
    /// The tree itself.
    Json,
    /// Plain text.
    Txt,
}

impl Format {
    /// Every format, in the order of the contract.
    pub const ALL: [Self; 9] = [
        Self::Md,
        Self::Html,
        Self::Pdf,
        Self::Docx,
        Self::Pptx,
        Self::Xlsx,
        Self::Epub,
        Self::Json,
        Self::Txt,
    ];

    /// Name in the contract, which is also the file extension.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Md => "md",
            Self::Html => "html",
            Self::Pdf => "pdf",
            Self::Docx => "docx",
            Self::Pptx => "pptx",
            Self::Xlsx => "xlsx",
            Self::Epub => "epub",
            Self::Json => "json",
            Self::Txt => "txt",
        }
    }

    /// Media type for HTTP and mail.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Md => "text/markdown; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Pdf => "application/pdf",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Pptx => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Epub => "application/epub+zip",
            Self::Json => "application/json",
            Self::Txt => "text/plain; charset=utf-8",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.extension())
    }
}

/// A name that is no format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown format `{0}`; expected md, html, pdf, docx, pptx, xlsx, epub, json or txt")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.extension() == name)
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// Why a document was not written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriteError {
    /// This crate has no writer for the format.
    #[error("no writer for {format} here")]
    Unsupported {
        /// The format asked for.
        format: Format,
    },
}

/// Writes a normalised document.
pub fn write(document: &Document, format: Format) -> Result<Vec<u8>, WriteError> {
    let text = match format {
        Format::Md => write_markdown(document),
        Format::Html => write_html(document),
        Format::Json => write_json(document),
        Format::Txt => write_text(document),
        Format::Pdf | Format::Docx | Format::Pptx | Format::Xlsx | Format::Epub => {
            return Err(WriteError::Unsupported { format });
        }
    };
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert_eq!(serde_json::to_value(format).ok(), Some(format.extension().into()));
        }
        assert_eq!("PDF".parse::<Format>(), Err(UnknownFormat("PDF".into())));
    }
}
