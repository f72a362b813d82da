//! Pure: templates with `{{name}}` in them. One pass, so that a value is never read as a template.

/// Every `{{name}}` becomes its value; a name without a value stays as it is.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::with_capacity(template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let known = after.split_once("}}").and_then(|(name, rest)| {
            let (_, value) = values.iter().find(|(key, _)| *key == name)?;
            Some((value, rest))
        });
        match known {
            Some((value, after)) => {
                page.push_str(value);
                rest = after;
            }
            None => {
                page.push_str("{{");
                rest = after;
            }
        }
    }
    page.push_str(rest);
    page
}

/// As text and as the value of a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_once_and_not_looked_into() {
        let cases = [
            ("a {{x}} b", "a 1 b"),
            ("{{x}}{{x}}", "11"),
            ("{{y}}", "{{x}}"),
            ("{{z}} {{x}}", "{{z}} 1"),
            ("{{x", "{{x"),
            ("}} {{", "}} {{"),
            ("", ""),
        ];
        for (template, expected) in cases {
            assert_eq!(fill(template, &[("x", "1"), ("y", "{{x}}")]), expected, "{template}");
        }
    }

    #[test]
    fn escaped_text_cannot_leave_its_attribute() {
        assert_eq!(escape("\"><a href='&'>"), "&quot;&gt;&lt;a href=&#39;&amp;&#39;&gt;");
    }
}
