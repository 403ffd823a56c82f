//! Bytes to text, by one rule that can be told to a user.
//!
//! A byte order mark decides (UTF-8, UTF-16). Without one the text is UTF-8. Only where the caller
//! allows it, bytes that are not UTF-8 *and* hold not one multi-byte UTF-8 character are read as
//! Windows-1252, whose printable part contains Latin-1: a damaged UTF-8 file is an error, never mojibake.

use std::borrow::Cow;

use super::error::{IngestError, IngestErrorKind};

/// What bytes mean that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// They are an error: JSON is UTF-8 by definition.
    None,
    /// Windows-1252, as spreadsheets still export it.
    Windows1252,
}

/// Decodes a whole body and refuses NUL characters, which no format here may contain.
pub(crate) fn decode(bytes: &[u8], fallback: Fallback) -> Result<Cow<'_, str>, IngestError> {
    let text = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => Cow::Borrowed(utf8(rest)?),
        [0xFF, 0xFE, 0x00, 0x00, ..] | [0x00, 0x00, 0xFE, 0xFF, ..] => {
            return Err(encoding("", "UTF-32 is not read here, send UTF-8"));
        }
        [0xFF, 0xFE, rest @ ..] => Cow::Owned(utf16(rest, u16::from_le_bytes)?),
        [0xFE, 0xFF, rest @ ..] => Cow::Owned(utf16(rest, u16::from_be_bytes)?),
        _ => match utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(error) => match fallback {
                Fallback::None => return Err(error),
                Fallback::Windows1252 if has_utf8_sequence(bytes) => return Err(error),
                Fallback::Windows1252 => Cow::Owned(windows_1252(bytes)?),
            },
        },
    };
    if let Some(at) = text.as_bytes().iter().position(|b| *b == 0) {
        return Err(encoding(line_of(&text.as_bytes()[..at]), "NUL character, this is not a text"));
    }
    Ok(text)
}

/// Decodes a text whose character set a label names, such as `<?xml encoding="…"?>`.
pub(crate) fn decode_labelled<'a>(bytes: &'a [u8], label: &str) -> Result<Cow<'a, str>, IngestError> {
    match label.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" | "utf-16" | "utf-16le" | "utf-16be" => {
            decode(bytes, Fallback::None)
        }
        "iso-8859-1" | "latin1" | "latin-1" | "windows-1252" | "cp1252" => {
            Ok(Cow::Owned(windows_1252(bytes)?))
        }
        other => Err(encoding(
            "",
            format!("character set {} is not read here, send UTF-8", super::error::quote(other)),
        )),
    }
}

fn encoding(place: impl Into<String>, message: impl Into<String>) -> IngestError {
    IngestError::new(IngestErrorKind::Encoding, place, message)
}

fn line_of(before: &[u8]) -> String {
    format!("line {}", before.iter().filter(|b| **b == b'\n').count() + 1)
}

fn utf8(bytes: &[u8]) -> Result<&str, IngestError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        encoding(line_of(&bytes[..at]), format!("byte {byte:#04x} is not valid UTF-8"))
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, IngestError> {
    if !bytes.len().is_multiple_of(2) {
        return Err(encoding("", "UTF-16 text ends in the middle of a character"));
    }
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .map_err(|_| encoding("", "UTF-16 text holds half of a surrogate pair"))
}

/// True if some valid multi-byte UTF-8 character occurs: the text was UTF-8 before it was damaged.
fn has_utf8_sequence(bytes: &[u8]) -> bool {
    bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii())
}

/// 0x80 to 0x9F of Windows-1252; `\0` where nothing is assigned.
const HIGH_CONTROLS: [char; 32] = [
    '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0', '‘', '’', '“',
    '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
];

fn windows_1252(bytes: &[u8]) -> Result<String, IngestError> {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    for (at, byte) in bytes.iter().enumerate() {
        let c = match byte {
            0x80..=0x9F => HIGH_CONTROLS[usize::from(byte - 0x80)],
            _ => char::from(*byte),
        };
        if c == '\0' {
            return Err(encoding(
                line_of(&bytes[..at]),
                format!("byte {byte:#04x} is neither valid UTF-8 nor Windows-1252"),
            ));
        }
        text.push(c);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(decode(bytes, Fallback::Windows1252).map_err(|e| e.to_string()).as_deref(), Ok(expected));
    }

    fn check_error(bytes: &[u8], fallback: Fallback, expected: &str) {
        let error = decode(bytes, fallback).map(Cow::into_owned).expect_err("must be refused").to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }

    #[test]
    fn each_character_set() {
        check(b"plain", "plain");
        check("\u{feff}Gr\u{fc}n".as_bytes(), "Grün");
        check(b"Gr\xfcn \x80 5", "Grün € 5");
        check(b"\xff\xfea\0\xfc\0", "aü");
        check(b"\xfe\xff\0a\0\xfc", "aü");
    }

    #[test]
    fn damage_is_named_and_never_mojibake() {
        check_error(b"a\nb\xfc", Fallback::None, "line 2: byte 0xfc");
        // UTF-8 that was cut in its last character still holds whole ones.
        check_error(&"Grün für".as_bytes()[..8], Fallback::Windows1252, "not valid UTF-8");
        check_error(b"a\x81\xfc", Fallback::Windows1252, "nor Windows-1252");
        check_error(b"a\n\0b", Fallback::Windows1252, "line 2: NUL");
        check_error(b"\xff\xfea", Fallback::Windows1252, "UTF-16");
        check_error(b"\xff\xfe\0\xd8", Fallback::Windows1252, "surrogate");
        check_error(b"\xff\xfe\0\0a\0\0\0", Fallback::Windows1252, "UTF-32");
    }
}
