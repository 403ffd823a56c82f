//! What a text may not say, given its aim: a falling figure did not rise.
//!
//! The direction of a change and the state of an incident are facts like any figure. A model may get
//! them wrong in words, where no number shows it; so sentences with the words of the opposite are
//! recognised, and left out of the document with a finding. So is a sentence that gives the lowest
//! value the name of the highest.

/// Words and phrases that contradict an aim. Matched by whole words in lower case; too strict costs
/// a sentence, too lax states something false.
const OPPOSITES: &[(&str, &[&str])] = &[
    ("increase", FALLING),
    ("decrease", RISING),
    ("the incident is open", ENDED),
    ("an issue was reported", ENDED),
    ("the incident is resolved", GOING_ON),
    (
        "the change was rolled back",
        &["still open", "being examined", "under investigation", "not yet rolled back"],
    ),
];
const FALLING: &[&str] = &[
    "fell",
    "fall",
    "falls",
    "fallen",
    "falling",
    "decrease",
    "decreased",
    "decreases",
    "decline",
    "declined",
    "declines",
    "dropped",
    "drop",
    "lower",
    "below",
    "loss",
    "less than",
    "weaker",
    "unchanged",
    "no change",
    "at the same level",
];
const RISING: &[&str] = &[
    "rose",
    "rise",
    "rises",
    "risen",
    "rising",
    "increase",
    "increased",
    "increases",
    "grew",
    "grow",
    "growth",
    "higher",
    "above",
    "gain",
    "gained",
    "more than",
    "stronger",
    "improved",
    "unchanged",
    "no change",
    "at the same level",
];
const ENDED: &[&str] = &[
    "resolved",
    "rolled back",
    "was closed",
    "is closed",
    "has been closed",
    "was fixed",
    "is fixed",
    "has been fixed",
    "was restored",
    "is restored",
    "has been restored",
    "back to normal",
    "is over",
    "was rolled",
];
const GOING_ON: &[&str] = &[
    "is open",
    "still open",
    "remains open",
    "ongoing",
    "is not resolved",
    "not yet",
    "under investigation",
    "is being examined",
    "still being",
    "is still",
    "continues to",
    "as soon as it is",
    "rolled back",
    "will be resolved",
    "until it is resolved",
];

/// Splits a text into the sentences that keep to the aim and those that contradict it.
pub(crate) fn sort<'t>(aim: &str, text: &'t str) -> (Vec<&'t str>, Vec<&'t str>) {
    let opposites: Vec<&str> = match aim {
        "no change" => {
            let levels = ["unchanged", "no change", "at the same level"];
            FALLING.iter().chain(RISING).copied().filter(|word| !levels.contains(word)).collect()
        }
        "first week" => FALLING
            .iter()
            .chain(RISING)
            .copied()
            .chain(["week before", "previous week", "last week"])
            .collect(),
        _ => OPPOSITES
            .iter()
            .find(|(name, _)| *name == aim)
            .map(|(_, words)| words.to_vec())
            .unwrap_or_default(),
    };
    sentences(text).into_iter().partition(|sentence| {
        let lower = sentence.to_lowercase();
        !opposites.iter().any(|phrase| says(&lower, phrase)) && !is_misplaced(&lower)
    })
}

/// Superlatives, and the beginnings of the names of facts that they may speak of.
const EXTREMES: [(&[&str], &[&str]); 2] = [
    (&["highest", "strongest", "largest", "at the top", "leads"], &["[top_", "[highest_", "[max_"]),
    (&["lowest", "weakest", "smallest", "lower end"], &["[low_", "[lowest_", "[min_"]),
];

/// Whether a sentence, in lower case, says of one end of the range what is true of the other.
fn is_misplaced(sentence: &str) -> bool {
    let names = |starts: &[&str]| starts.iter().any(|start| sentence.contains(start));
    let speaks = |words: &[&str]| words.iter().any(|word| says(sentence, word));
    let [(high, top), (low, bottom)] = EXTREMES;
    let only_bottom = names(bottom) && !names(top);
    let only_top = names(top) && !names(bottom);
    (only_bottom && speaks(high) && !speaks(low)) || (only_top && speaks(low) && !speaks(high))
}

/// Whether `phrase` stands in a sentence in lower case as whole words, outside names of facts.
fn says(lower: &str, phrase: &str) -> bool {
    let boundary = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '[');
    lower.match_indices(phrase).any(|(at, found)| {
        boundary(lower[..at].chars().next_back()) && boundary(lower[at + found.len()..].chars().next())
    })
}

/// Sentences of a text, with their full stops.
pub(crate) fn sentences(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let ends = matches!(c, '.' | '!' | '?') && chars.peek().is_none_or(|(_, next)| next.is_whitespace());
        if ends {
            let end = at + c.len_utf8();
            out.push(text[start..end].trim());
            start = end;
        }
    }
    out.push(text[start..].trim());
    out.retain(|sentence| !sentence.is_empty());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(aim: &str, text: &str, kept: &[&str]) {
        assert_eq!(sort(aim, text).0, kept, "{aim}: {text}");
    }

    #[test]
    fn sentences_against_the_aim_are_told_apart() {
        check(
            "increase",
            "In [period], [metric] rose to [total]. It fell again.",
            &["In [period], [metric] rose to [total]."],
        );
        check("decrease", "The figures show an increase. The total is [total].", &["The total is [total]."]);
        check("no change", "[metric] is unchanged. It rose.", &["[metric] is unchanged."]);
        check("first week", "The total is [total]. It rose.", &["The total is [total]."]);
        check(
            "the incident is open",
            "[incident] has been resolved. The team is at work.",
            &["The team is at work."],
        );
        check(
            "the incident is resolved",
            "[incident] is still open. It was resolved.",
            &["It was resolved."],
        );
    }

    #[test]
    fn extremes_are_not_swapped() {
        let right = "The weakest group was [low_group]. [top_group] leads, [low_group] is at the lower end.";
        assert!(sort("", right).1.is_empty());
        check("", "The weakest group was [top_group]. All is well.", &["All is well."]);
        check("", "The highest value was recorded by [low_group] with [low_value].", &[]);
    }

    #[test]
    fn names_of_facts_and_parts_of_words_do_not_count() {
        check(
            "decrease",
            "[low_group] is part of [increase]. The highlands are calm.",
            &["[low_group] is part of [increase].", "The highlands are calm."],
        );
        check("", "It rose and fell.", &["It rose and fell."]);
    }
}
