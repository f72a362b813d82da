//! Pure: a line broken at blanks, so that a terminal does not break it within a word.

/// Lines of at most `width` characters, as far as words allow: one that is wider (a path, a link to copy) stays whole.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.chars().count() > width {
        let fits = rest.char_indices().nth(width).map_or(rest.len(), |(index, _)| index);
        // A blank right behind the last column is a good place too.
        let last = rest[..fits].rfind(' ').filter(|_| !rest[fits..].starts_with(' '));
        let Some(at) = last.filter(|at| !rest[..*at].trim().is_empty()).or_else(|| rest[fits..].find(' ').map(|at| fits + at)) else { break };
        lines.push(&rest[..at]);
        rest = rest[at..].trim_start();
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn breaks_at_the_last_blank_that_fits() {
        assert_eq!(wrapped("one two three", 80), ["one two three"]);
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 6), ["one", "two", "three"]);
        assert_eq!(wrapped("äöü äöü", 3), ["äöü", "äöü"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn a_wide_word_stays_whole() {
        assert_eq!(wrapped("see https://192.168.1.20/ca now", 8), ["see", "https://192.168.1.20/ca", "now"]);
        assert_eq!(wrapped("/a/very/long/path", 4), ["/a/very/long/path"]);
        assert_eq!(wrapped("  indented", 4), ["  indented"]);
        assert_eq!(wrapped("word", 0), ["word"]);
    }
}
