//! Text that stands in for a model: `bul template render` and `check` need no model to run.

use crate::plan::ProseSlot;

/// The same text for the same slot: one sentence for each fact it may mention.
pub fn placeholder_prose(slot: &ProseSlot) -> String {
    let section = slot.user.lines().find_map(|line| line.strip_prefix("Section: ")).unwrap_or("this section");
    let mut sentences = vec![format!("This is sample text for the section {}.", plain(section))];
    for name in slot.facts.iter().take(slot.sentences.saturating_sub(1)) {
        sentences.push(format!("The {} is [{name}].", name.replace('_', " ")));
    }
    sentences.join(" ")
}

/// Words of a heading only: its signs must not become markup of the sample text.
fn plain(section: &str) -> String {
    let words: String = section.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
