//! Pure: the embedded templates with strict variables, and a filter for each kind of place a value may stand in: a unit file (systemd.service(5),
//! "Command lines"; systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers"), a configuration of a proxy, YAML.

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

/// A value that must not stand in the file, or a mistake in the template.
#[derive(Debug, thiserror::Error)]
#[error("render {template}: {cause}")]
pub struct RenderError {
    pub template: &'static str,
    pub cause: String,
}

/// Fills `source` in, ending with a newline; a variable that is not given is an error.
pub(super) fn fill(template: &'static str, source: &str, values: Value) -> Result<String, RenderError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("argument", argument);
    environment.add_filter("quoted", quoted);
    environment.add_filter("specifier", specifier);
    environment.add_filter("nginx", nginx);
    environment.add_filter("compose", compose);
    environment.add_filter("word", word);
    let filled = environment.template_from_named_str(template, source).and_then(|t| t.render(values)).map(|text| text.trim_end().to_owned() + "\n");
    filled.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        RenderError { template, cause }
    })
}

/// A word of a command line: quoted, no specifiers, no variables.
fn argument(value: &str) -> Result<String, Error> {
    Ok(quoted(value)?.replace('$', "$$"))
}

/// A word of a list or an assignment: quoted, no specifiers.
fn quoted(value: &str) -> Result<String, Error> {
    Ok(format!("\"{}\"", specifier(&value.replace('\\', r"\\").replace('"', "\\\""))?))
}

/// A word of nginx's: quoted; what begins with a dollar sign would be a variable, and there is no escape for it.
fn nginx(value: &str) -> Result<String, Error> {
    if value.contains('$') {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("a dollar sign in {value:?}, which nginx takes for a variable")));
    }
    word(value)
}

/// A word between double quotes as Apache, HAProxy and Caddy read it.
fn word(value: &str) -> Result<String, Error> {
    Ok(format!("\"{}\"", printable(value)?.replace('\\', r"\\").replace('"', "\\\"")))
}

/// A word of a compose file: YAML, with the dollar sign as compose wants it.
fn compose(value: &str) -> Result<String, Error> {
    Ok(word(value)?.replace('$', "$$"))
}

/// Plain text: no specifiers, and nothing that could begin a line of its own.
fn specifier(value: &str) -> Result<String, Error> {
    Ok(printable(value)?.replace('%', "%%"))
}

fn printable(value: &str) -> Result<&str, Error> {
    if value.chars().any(char::is_control) {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("a control character in {value:?}")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::fill;

    fn filled(source: &str, value: &str) -> Result<String, String> {
        fill("test", source, context! { value }).map_err(|e| e.to_string())
    }

    #[test]
    fn each_place_has_its_own_escapes() {
        let nasty = r#"/a b/%h/$HOME/"x"\"#;
        assert_eq!(filled("{{ value | argument }}", nasty).unwrap().trim_end(), r#""/a b/%%h/$$HOME/\"x\"\\""#);
        assert_eq!(filled("{{ value | quoted }}", nasty).unwrap().trim_end(), r#""/a b/%%h/$HOME/\"x\"\\""#);
    }

    #[test]
    fn a_newline_cannot_smuggle_in_a_line() {
        assert_eq!(
            filled("{{ value | quoted }}", "x\nUser=root").unwrap_err(),
            r#"render test: invalid operation: a control character in "x\nUser=root" (in test:1)"#
        );
    }

    #[test]
    fn a_missing_variable_is_an_error() {
        assert!(filled("{{ other }}", "x").is_err());
    }
}
