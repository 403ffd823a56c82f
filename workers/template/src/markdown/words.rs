//! Texts in which nothing means anything to Markdown: lines of words, as most prose and many bodies are. Parsing them
//! costs ten times what reading them does.

use bul_document::{Block, Inline};

use super::{append, push_paragraph, push_text};
use crate::body::{Resolver, is_token_mark};

/// Whether Markdown would make paragraphs of a text's lines, and nothing else. `false` says nothing.
pub(super) fn are_all(text: &str) -> bool {
    text.split('\n').all(|line| {
        let starts = line.chars().next().is_none_or(|first| first.is_alphabetic() || is_token_mark(first));
        starts && !line.ends_with(' ') && line.chars().all(is_word)
    })
}

/// Characters that are themselves wherever they stand behind the first of a line.
fn is_word(c: char) -> bool {
    let is_mark =
        matches!(c, ' ' | ',' | '.' | ';' | ':' | '?' | '!' | '\'' | '"' | '(' | ')' | '/' | '%' | '-' | '+');
    is_mark || c.is_ascii_alphanumeric() || (!c.is_ascii() && (c.is_alphanumeric() || is_token_mark(c)))
}

/// Paragraphs of such a text: blank lines part them, other line ends are spaces.
pub(super) fn paragraphs(text: &str, resolver: &Resolver) -> Vec<Block> {
    let mut out = Vec::new();
    let (mut inlines, mut aside) = (Vec::new(), Vec::new());
    let mut goes_on = false;
    for line in text.split('\n') {
        if line.is_empty() {
            push_paragraph(std::mem::take(&mut inlines), std::mem::take(&mut aside), &mut out);
            goes_on = false;
            continue;
        }
        if std::mem::replace(&mut goes_on, true) {
            append(&mut inlines, vec![Inline::text(" ")]);
        }
        push_text(line, resolver, &mut inlines, &mut aside);
    }
    push_paragraph(inlines, aside, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body::{Cx, CxInit};
    use crate::format::Locale;
    use crate::markdown::parsed;

    proptest! {
        #[test]
        fn words_are_what_the_parser_makes_of_them(
            lines in prop::collection::vec("[a-zA-ZäßÉ中0-9 ,.;:?!'\"()/%+#*_~&<>|\\[\\]`^$={}@\\\\-]{0,12}|[a-zé][a-z0-9 .:-]{0,12}|BLOCK|FACT is it|a FACT", 0..6)
        ) {
            let mut facts = crate::facts::FactSet::default();
            facts.add("due", "1 May 2026\nor later", "/due");
            let cx = Cx::new(CxInit {
                locale: Locale::En,
                currency: String::new(),
                labels: Default::default(),
                facts,
                parts: Default::default(),
            });
            let fact = cx.fact("due").expect("a fact").to_string();
            let block = cx.blocks(vec![Block::PageBreak]).to_string();
            let text = lines.join("\n").replace("FACT", &fact).replace("BLOCK", block.trim());
            if are_all(&text) {
                cx.with_resolver(|resolver| {
                    prop_assert_eq!(paragraphs(&text, resolver), parsed(&text, resolver), "{:?}", text);
                    Ok(())
                })?;
            }
        }
    }

    #[test]
    fn what_markdown_reads_is_left_to_it() {
        for text in [
            "# a", "- a", "1. a", "a *b*", "a\n---", "    a", "a  \nb", "[a](b)", "a | b", "&amp;", "a\n: b",
            "a\tb",
        ] {
            assert!(!are_all(text), "{text:?}");
        }
        for text in ["", "A note on 12 May: well-made, (nearly) all of it!", "Über\n\nalles", "a\nb"] {
            assert!(are_all(text), "{text:?}");
        }
    }
}
