//! Generated prose: read as simple Markdown, its fact names replaced, its claims checked.
//!
//! The model may write words; figures and names come in only as facts. What it writes itself is
//! kept, because dropping words changes meaning, but every doubtful token is a finding.

pub(crate) mod aim;
mod check;
mod names;
mod numbers;
#[cfg(test)]
mod tests;

use bul_document::{Block, Inline, plain};

pub(crate) use check::Known;

use crate::body::{Cx, CxInit};
use crate::finding::{Finding, Severity};
use crate::format::Locale;
use crate::{limits, markdown};

/// Longest text between brackets that is taken for a fact name.
const NAME_CHARS_MAX: usize = 60;

/// Blocks of a generated text, and what was seen in it.
pub(crate) fn read(text: &str, aim: &str, known: &Known, path: &str) -> (Vec<Block>, Vec<Finding>) {
    let mut findings = Vec::new();
    let text = prefix(text.trim(), limits::PROSE_BYTES_MAX);
    let text = unfenced(text);
    let text = whole_sentences(text, path, &mut findings);
    let (kept, contrary) = aim::sort(aim, text);
    let joined = kept.join(" ");
    let text = if contrary.is_empty() { text } else { &joined };
    for sentence in contrary {
        let message = format!("a sentence contradicts the data ({aim}) and was left out: {sentence}");
        findings.push(Finding::new("prose.contradiction", Severity::Warning, path, message));
    }
    let cx = Cx::new(CxInit {
        locale: Locale::En,
        currency: String::new(),
        labels: Default::default(),
        facts: known.facts.clone(),
        parts: Default::default(),
    });
    let marked = mark_facts(text, &cx, path, &mut findings);
    let blocks = cx.with_resolver(|resolver| markdown::blocks(&marked, resolver));
    let blocks: Vec<Block> = blocks.into_iter().filter_map(tame).map(|b| polish(b, known)).collect();
    known.check(&blocks, path, &mut findings);
    (blocks, findings)
}

/// At most `max` bytes, cut between characters.
fn prefix(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Text without the code fence some models put around an answer.
fn unfenced(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("```") else { return text };
    let Some((_, body)) = rest.split_once('\n') else { return text };
    body.trim_end().strip_suffix("```").unwrap_or(body).trim()
}

/// Generation stops at a token limit, often in the middle of a sentence; the stump goes.
fn whole_sentences<'t>(text: &'t str, path: &str, findings: &mut Vec<Finding>) -> &'t str {
    let text = text.trim();
    let last_line = text.lines().next_back().unwrap_or_default().trim_start();
    let is_list =
        last_line.starts_with(['-', '*', '|', '#']) || last_line.starts_with(|c: char| c.is_ascii_digit());
    if text.is_empty() || is_list || text.ends_with(['.', '!', '?', '…', '"', '”', ')', '*', ':']) {
        return text;
    }
    let end = text
        .char_indices()
        .zip(text.chars().skip(1))
        .filter(|((_, c), next)| matches!(c, '.' | '!' | '?') && next.is_whitespace())
        .map(|((at, c), _)| at + c.len_utf8())
        .last();
    let Some(end) = end else { return text };
    findings.push(Finding::new(
        "prose.cut",
        Severity::Info,
        path,
        "the last sentence is incomplete; it was removed",
    ));
    &text[..end]
}

/// Replaces `[name]` by tokens: known facts by themselves, other names by their plain words.
fn mark_facts(text: &str, cx: &Cx, path: &str, findings: &mut Vec<Finding>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        out.push_str(&rest[..open]);
        let after = &rest[open + 1..];
        let name = after.find(']').map(|close| &after[..close]).filter(|name| is_name(name));
        let Some(name) = name else {
            out.push_str("\\[");
            rest = after;
            continue;
        };
        rest = &after[name.len() + 1..];
        match cx.fact(&crate::facts::slug(name)) {
            Some(token) => out.push_str(token.as_str().unwrap_or_default()),
            None => {
                let message = format!("the text mentions an unknown fact `{name}`");
                findings.push(Finding::new("prose.fact", Severity::Warning, path, message));
                if let Ok(token) = cx.text(name.replace('_', " ")) {
                    out.push_str(&token);
                }
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_alphabetic())
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '))
}

/// Prose has no headings, links, charts or page breaks of its own.
fn tame(block: Block) -> Option<Block> {
    Some(match block {
        Block::Heading { text, .. } => {
            Block::Paragraph { text: vec![Inline::Strong { text: plain_links(text) }] }
        }
        Block::Paragraph { text } => Block::Paragraph { text: plain_links(text) },
        Block::List { ordered, items } => {
            let items = items.into_iter().map(tame_all).collect();
            Block::List { ordered, items }
        }
        Block::Quote { blocks } => Block::Quote { blocks: tame_all(blocks) },
        Block::Callout { kind, title, blocks } => Block::Callout { kind, title, blocks: tame_all(blocks) },
        Block::Table(mut table) => {
            for cell in table.rows.iter_mut().flatten() {
                cell.text = plain_links(std::mem::take(&mut cell.text));
            }
            Block::Table(table)
        }
        Block::Definitions { mut entries } => {
            for entry in &mut entries {
                entry.term = plain_links(std::mem::take(&mut entry.term));
                entry.meaning = tame_all(std::mem::take(&mut entry.meaning));
            }
            Block::Definitions { entries }
        }
        code @ Block::Code { .. } => code,
        Block::Figure(_)
        | Block::KeyValue { .. }
        | Block::Columns { .. }
        | Block::Signature { .. }
        | Block::PageBreak
        | Block::Slot { .. } => return None,
    })
}

fn tame_all(blocks: Vec<Block>) -> Vec<Block> {
    blocks.into_iter().filter_map(tame).collect()
}

/// A link a model made up leads nowhere; its text stays.
fn plain_links(inlines: Vec<Inline>) -> Vec<Inline> {
    let mut out = Vec::with_capacity(inlines.len());
    for inline in inlines {
        match inline {
            Inline::Link { text, .. } => out.extend(plain_links(text)),
            Inline::Strong { text } => out.push(Inline::Strong { text: plain_links(text) }),
            Inline::Emphasis { text } => out.push(Inline::Emphasis { text: plain_links(text) }),
            other => out.push(other),
        }
    }
    out
}

/// Small repairs where a fact meets the sentence around it.
fn polish(block: Block, known: &Known) -> Block {
    match block {
        Block::Paragraph { mut text } => {
            capitalise_starts(&mut text, known);
            single_stops(&mut text);
            Block::Paragraph { text }
        }
        Block::List { ordered, items } => {
            let each = |item: Vec<Block>| item.into_iter().map(|b| polish(b, known)).collect();
            Block::List { ordered, items: items.into_iter().map(each).collect() }
        }
        other => other,
    }
}

/// A fact in words that begins a sentence begins with a capital: `[subject] is …`.
fn capitalise_starts(inlines: &mut [Inline], known: &Known) {
    let mut before = String::new();
    for inline in inlines {
        if let Inline::Fact { value, .. } = inline {
            let start = before.trim_end().is_empty() || before.trim_end().ends_with(['.', '!', '?']);
            let mut chars = value.chars();
            // A single word, or one with signs in it, may be an identifier; it stays as it is.
            let is_word =
                value.split_once(' ').is_some_and(|(word, _)| word.chars().all(char::is_alphabetic));
            if start
                && is_word
                && known.is_english()
                && let Some(first) = chars.next().filter(|c| c.is_lowercase())
            {
                *value = first.to_uppercase().chain(chars).collect();
            }
        }
        before = plain(std::slice::from_ref(inline));
    }
}

/// A value that ends in a full stop takes the sentence's own along.
fn single_stops(inlines: &mut [Inline]) {
    for at in 1..inlines.len() {
        let ends = matches!(&inlines[at - 1], Inline::Fact { value, .. } if value.ends_with(['.', '!', '?']));
        if ends && let Inline::Text { text } = &mut inlines[at] {
            let sentence_goes_on = text[1.min(text.len())..].starts_with('.');
            if text.starts_with('.') && !sentence_goes_on {
                text.remove(0);
            }
        }
    }
}
