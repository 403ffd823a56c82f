//! XML that is safe to read, and short ways to walk it by namespace.
//!
//! A scan before parsing refuses document types (entities read files and multiply text), deep
//! nesting and floods of attributes; the parser bounds the number of nodes. Paths are written with
//! the prefixes `cac:` and `cbc:`, whatever prefixes the document uses.

use std::borrow::Cow;

use roxmltree::{Document, Node, ParsingOptions};

use super::IngestLimits;
use super::error::{IngestError, quote};
use super::text::{self, Fallback};

const CAC: &str = "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2";
const CBC: &str = "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2";

/// Bytes at the start of a document in which its encoding is declared.
const DECLARATION_BYTES_MAX: usize = 256;

/// Decodes a document by its byte order mark, else by its declaration, else as UTF-8.
pub(crate) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, IngestError> {
    let head = &bytes[..bytes.len().min(DECLARATION_BYTES_MAX)];
    match declared_encoding(head) {
        Some(label) => text::decode_labelled(bytes, &label),
        None => text::decode(bytes, Fallback::None),
    }
}

fn declared_encoding(head: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    let declaration = head.strip_prefix("<?xml")?.split_once("?>")?.0;
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let mark = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split_once(mark).map(|(label, _)| label.to_owned())
}

/// Parses a decoded document.
pub(crate) fn parse<'a>(text: &'a str, limits: &IngestLimits) -> Result<Document<'a>, IngestError> {
    scan(text, limits)?;
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: limits.xml_nodes_max, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::NodesLimitReached => IngestError::too_large(format!(
            "the XML has more than {} nodes (xml_nodes_max)",
            limits.xml_nodes_max
        )),
        error => {
            let at = error.pos();
            let message: String = error.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
            // The position stands in the place already.
            let message = message.rsplit_once(" at ").map_or(message.as_str(), |(head, _)| head);
            IngestError::syntax(
                format!("line {}, column {}", at.row, at.col),
                format!("not valid XML: {message}"),
            )
        }
    })
}

/// Walks the markup without building anything. Damage it cannot follow is left to the parser.
fn scan(text: &str, limits: &IngestLimits) -> Result<(), IngestError> {
    let bytes = text.as_bytes();
    let line = |at: usize| format!("line {}", bytes[..at].iter().filter(|b| **b == b'\n').count() + 1);
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|b| *b == b'<') {
        at += found;
        let rest = &text[at..];
        let end = if rest.starts_with("<!--") {
            rest.find("-->").map(|end| end + 3)
        } else if rest.starts_with("<![CDATA[") {
            rest.find("]]>").map(|end| end + 3)
        } else if rest.starts_with("<?") {
            rest.find("?>").map(|end| end + 2)
        } else if rest.starts_with("<!") {
            let message = "document types and entities are refused, remove the <!DOCTYPE …>";
            return Err(IngestError::unsupported(line(at), message));
        } else if rest.starts_with("</") {
            depth = depth.saturating_sub(1);
            rest.find('>').map(|end| end + 1)
        } else {
            let tag = tag(rest.as_bytes());
            if tag.attributes > limits.xml_attributes_max {
                let max = limits.xml_attributes_max;
                let message = format!("an element has more than {max} attributes (xml_attributes_max)");
                return Err(IngestError::too_large(message).within(&line(at), ""));
            }
            depth += usize::from(!tag.empty);
            if depth > limits.xml_depth_max {
                let max = limits.xml_depth_max;
                let message = format!("elements are nested deeper than {max} levels (xml_depth_max)");
                return Err(IngestError::too_large(message).within(&line(at), ""));
            }
            tag.end
        };
        let Some(end) = end else { return Ok(()) };
        at += end;
    }
    Ok(())
}

struct Tag {
    attributes: usize,
    empty: bool,
    end: Option<usize>,
}

fn tag(bytes: &[u8]) -> Tag {
    let mut attributes = 0;
    let mut mark = None;
    for (at, byte) in bytes.iter().enumerate() {
        match (mark, byte) {
            (Some(open), close) if open == *close => mark = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => {
                attributes += 1;
                mark = Some(*byte);
            }
            (None, b'>') => return Tag { attributes, empty: bytes[at - 1] == b'/', end: Some(at + 1) },
            (None, _) => {}
        }
    }
    Tag { attributes, empty: false, end: None }
}

/// An element of a UBL document.
#[derive(Clone, Copy)]
pub(crate) struct Xml<'a>(pub Node<'a, 'a>);

impl<'a> Xml<'a> {
    fn is(self, name: &str) -> bool {
        let (uri, local) = match name.split_once(':') {
            Some(("cac", local)) => (CAC, local),
            Some(("cbc", local)) => (CBC, local),
            _ => return self.0.tag_name().name() == name,
        };
        let tag = self.0.tag_name();
        tag.name() == local && tag.namespace() == Some(uri)
    }

    /// Its children of one name.
    pub(crate) fn all(self, name: &'a str) -> impl Iterator<Item = Xml<'a>> {
        self.0.children().filter(|n| n.is_element()).map(Xml).filter(move |child| child.is(name))
    }

    /// The first element at a path such as `cac:Item/cbc:Name`.
    pub(crate) fn at(self, path: &'a str) -> Option<Xml<'a>> {
        path.split('/').try_fold(self, |node, name| node.all(name).next())
    }

    /// Its text on one line; nothing if blank.
    pub(crate) fn line(self) -> Option<String> {
        let raw = self.raw();
        let words: Vec<&str> = raw.split_whitespace().collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// Its text with its line breaks; nothing if blank.
    pub(crate) fn block(self) -> Option<String> {
        let raw = self.raw();
        let lines: Vec<&str> = raw.lines().map(str::trim).collect();
        let text = lines.join("\n").trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// All its text: comments and CDATA sections split it into several nodes.
    pub(crate) fn raw(self) -> String {
        self.0.children().filter(|n| n.is_text()).filter_map(|n| n.text()).collect()
    }

    /// The text at a path, on one line.
    pub(crate) fn text(self, path: &'a str) -> Option<String> {
        self.at(path)?.line()
    }

    /// An attribute; nothing if blank.
    pub(crate) fn attribute(self, name: &str) -> Option<&'a str> {
        self.0.attribute(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// Where it stands, as people write it: `Invoice/cac:InvoiceLine[2]/cbc:ID`.
    pub(crate) fn path(self) -> String {
        let mut parts: Vec<String> = self.0.ancestors().filter(|n| n.is_element()).map(part).collect();
        parts.reverse();
        parts.join("/")
    }
}

fn part(node: Node<'_, '_>) -> String {
    let tag = node.tag_name();
    let name: String = tag.name().chars().take(64).collect();
    let name = match tag.namespace() {
        Some(CAC) => format!("cac:{name}"),
        Some(CBC) => format!("cbc:{name}"),
        _ => name,
    };
    let same = |n: &Node<'_, '_>| n.is_element() && n.tag_name() == tag;
    let before = node.prev_siblings().skip(1).filter(same).count();
    let alone = before == 0 && !node.next_siblings().skip(1).any(|n| same(&n));
    if alone { name } else { format!("{name}[{}]", before + 1) }
}

/// The root element by name, for messages.
pub(crate) fn root_name(document: &Document<'_>) -> String {
    quote(document.root_element().tag_name().name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(text: &str, expected: &str) {
        let error = parse(text, &IngestLimits::default()).expect_err("must be refused").to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }

    #[test]
    fn attacks_are_named() {
        check_error(
            "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
            "line 1: document types",
        );
        check_error(&format!("{}{}", "<a>".repeat(65), "</a>".repeat(65)), "xml_depth_max");
        let attributes: String = (0..200).map(|n| format!(" a{n}='1'")).collect();
        check_error(&format!("<a{attributes}/>"), "xml_attributes_max");
        check_error("<a>\n<b></a>", "line 2, column");
        check_error("<a>&nbsp;</a>", "not valid XML");
        check_error("<a", "not valid XML");
    }

    #[test]
    fn a_comment_may_hold_what_markup_may_not() {
        let text = "<a><!-- <!DOCTYPE x> <b><b> --><![CDATA[<!DOCTYPE]]>x<!-- y -->z</a>";
        let limits = IngestLimits::default();
        let document = parse(text, &limits).expect("well-formed");
        assert_eq!(Xml(document.root_element()).line().as_deref(), Some("<!DOCTYPExz"));
    }

    #[test]
    fn declared_character_sets() {
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xfc</a>";
        assert!(decode(latin).is_ok_and(|text| text.contains('ü')));
        let lying = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><a>\xfc</a>";
        assert!(decode(lying).is_err_and(|e| e.to_string().contains("0xfc")));
        assert!(decode(b"<?xml version='1.0' encoding='EBCDIC'?><a/>").is_err());
    }
}
