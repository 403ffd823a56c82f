//! Which characters Markdown would read, and how they are silenced.

/// Escapes a text that stands alone.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    push_escaped(&mut out, text, true, true);
    out
}

/// Appends a text to a line. `start` says whether `out` begins at a line start, `end` whether
/// nothing follows the text. What stands before decides too: `1` and `. x` make a list together.
pub(super) fn push_escaped(out: &mut String, text: &str, start: bool, end: bool) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let line = out.rsplit('\n').next().unwrap_or_default();
        let line_start = (start || line.len() < out.len()) && line.trim_start().is_empty();
        let silenced = match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '$' | '^' => true,
            // Before a link this would make an image of it.
            '!' => next.map_or(!end, |next| next == '['),
            '&' => next.map_or(!end, |next| next == '#' || next.is_alphanumeric()),
            // Bullets need a blank behind them, underlines and rules more of the same.
            '+' | '-' | '=' => line_start && next.is_none_or(|next| next == c || next.is_whitespace()),
            ':' => line_start || ends_with_any(out, &["http", "https", "ftp"]),
            '.' if ends_with_any(out, &["www"]) => true,
            '.' | ')' => is_list_number(line) && next.is_none_or(char::is_whitespace),
            _ => false,
        };
        if silenced {
            out.push('\\');
        }
        out.push(c);
    }
}

/// Whether a full stop or a parenthesis here would begin a numbered list.
fn is_list_number(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit())
}

fn ends_with_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        text.len() >= word.len()
            && text.as_bytes()[text.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
    })
}

/// A code fence longer than any run of backticks in the text.
pub(super) fn fence(text: &str) -> String {
    "`".repeat(longest_run(text).max(2) + 1)
}

/// Inline code. `|` would end a table cell even inside code, and `]:` in a link at the start of a
/// paragraph would make it a reference definition, so HTML says those.
pub(super) fn code(text: &str) -> String {
    if text.contains('|') || text.contains("]:") {
        // Inside tags Markdown still reads text, so every sign that could mean something is a number.
        let silent =
            |c: char| if c.is_ascii_punctuation() { format!("&#{};", u32::from(c)) } else { c.to_string() };
        return format!("<code>{}</code>", text.chars().map(silent).collect::<String>());
    }
    let mark = "`".repeat(longest_run(text) + 1);
    let inner = text.trim_matches(' ');
    let pad = text.starts_with('`') || text.ends_with('`') || (inner.len() < text.len() && !inner.is_empty());
    let pad = if pad { " " } else { "" };
    format!("{mark}{pad}{text}{pad}{mark}")
}

fn longest_run(text: &str) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        assert_eq!(escape(input), expected);
    }

    #[test]
    fn silences_markup_and_leaves_prose_alone() {
        check("12.50 EUR - net, 5 + 3 = 8 (see above)", "12.50 EUR - net, 5 + 3 = 8 (see above)");
        check("AT&T & Co; R&D", "AT\\&T & Co; R\\&D");
        check("1. not a list", "1\\. not a list");
        check("- not a bullet", "\\- not a bullet");
        check("| a | b |", "\\| a \\| b \\|");
        check("<script>alert(1)</script>", "\\<script\\>alert(1)\\</script\\>");
        check("see http://x.example and www.x.example", "see http\\://x.example and www\\.x.example");
        check("![x](y)", "\\!\\[x\\](y)");
    }

    #[test]
    fn code_outgrows_its_content() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code("a|b"), "<code>a&#124;b</code>");
        assert_eq!(fence("```\nx"), "````");
    }
}
