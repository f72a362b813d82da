//! Pure: nginx's configuration language: directives, words, blocks.

/// `listen 443 ssl;` or `server { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    pub name: String,
    pub args: Vec<String>,
    /// Where it begins, from 1.
    pub line: usize,
    pub block: Option<Vec<Self>>,
}

/// Blocks within blocks; nginx's own configuration needs four.
const MAX_DEPTH: usize = 32;

/// The directives of one file. An error says the line.
pub fn parse(text: &str) -> Result<Vec<Directive>, String> {
    let mut reader = Reader { rest: text, line: 1 };
    reader.block(0)
}

enum Token {
    Word(String),
    End,
    Open,
    Close,
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn block(&mut self, depth: usize) -> Result<Vec<Directive>, String> {
        if depth > MAX_DEPTH {
            return Err(format!("line {}: more than {MAX_DEPTH} blocks within each other", self.line));
        }
        let mut directives = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut line = self.line;
        loop {
            let Some(token) = self.token()? else {
                return if depth == 0 && words.is_empty() { Ok(directives) } else { Err(format!("line {}: the file ends in the middle", self.line)) };
            };
            match token {
                Token::Word(word) => {
                    if words.is_empty() {
                        line = self.line;
                    }
                    words.push(word);
                }
                Token::Close if depth > 0 && words.is_empty() => return Ok(directives),
                Token::Close => return Err(format!("line {}: unexpected }}", self.line)),
                Token::End | Token::Open if words.is_empty() => return Err(format!("line {}: a directive without a name", self.line)),
                Token::End => directives.push(directive(&mut words, line, None)),
                // The code of another language, whose braces match.
                Token::Open if words[0].ends_with("_by_lua_block") => {
                    self.skip_code()?;
                    directives.push(directive(&mut words, line, Some(Vec::new())));
                }
                Token::Open => {
                    let inner = self.block(depth + 1)?;
                    directives.push(directive(&mut words, line, Some(inner)));
                }
            }
        }
    }

    fn token(&mut self) -> Result<Option<Token>, String> {
        loop {
            match self.peek() {
                None => return Ok(None),
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                Some(c) if c.is_whitespace() => drop(self.next()),
                Some(_) => break,
            }
        }
        match self.peek() {
            Some(';') => Ok(self.take(Token::End)),
            Some('{') => Ok(self.take(Token::Open)),
            Some('}') => Ok(self.take(Token::Close)),
            Some(quote @ ('"' | '\'')) => {
                self.next();
                self.quoted(quote).map(|word| Some(Token::Word(word)))
            }
            _ => Ok(Some(Token::Word(self.bare()))),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let (began, mut word) = (self.line, String::new());
        loop {
            match self.next() {
                None => return Err(format!("line {began}: a quote that does not end")),
                Some('\\') => word.extend(self.next()),
                Some(c) if c == quote => return Ok(word),
                Some(c) => word.push(c),
            }
        }
    }

    /// Up to white space, `;` or `{`; `${name}` is part of it.
    fn bare(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            match c {
                '{' if word.ends_with('$') => {
                    while let Some(c) = self.next() {
                        word.push(c);
                        if c == '}' {
                            break;
                        }
                    }
                }
                ';' | '{' => break,
                c if c.is_whitespace() => break,
                '\\' => {
                    self.next();
                    word.extend(self.next());
                }
                c => {
                    self.next();
                    word.push(c);
                }
            }
        }
        word
    }

    fn skip_code(&mut self) -> Result<(), String> {
        let (began, mut open) = (self.line, 1);
        while open > 0 {
            match self.next() {
                None => return Err(format!("line {began}: a block that does not end")),
                Some('{') => open += 1,
                Some('}') => open -= 1,
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, token: Token) -> Option<Token> {
        self.next();
        Some(token)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }
}

fn directive(words: &mut Vec<String>, line: usize, block: Option<Vec<Directive>>) -> Directive {
    let name = words.remove(0);
    Directive { name, args: std::mem::take(words), line, block }
}

#[cfg(test)]
mod tests {
    use super::{Directive, parse};

    fn shown(text: &str) -> String {
        fn show(directives: &[Directive], out: &mut String) {
            for d in directives {
                out.push_str(&format!("{}:{}{:?}", d.line, d.name, d.args));
                if let Some(block) = &d.block {
                    out.push('{');
                    show(block, out);
                    out.push('}');
                }
                out.push(' ');
            }
        }
        let mut out = String::new();
        match parse(text) {
            Ok(directives) => show(&directives, &mut out),
            Err(error) => out = error,
        }
        out.trim_end().to_owned()
    }

    #[test]
    fn words_quotes_comments_and_blocks() {
        assert_eq!(shown("a b 'c d';# e f;\nhttp {\n  server{listen 80;}\n}"), r#"1:a["b", "c d"] 2:http[]{3:server[]{3:listen["80"] } }"#);
        assert_eq!(shown(r#"log_format x '$a "b"' "it\"s;";"#), r#"1:log_format["x", "$a \"b\"", "it\"s;"]"#);
        assert_eq!(shown("return 301 https://${host}x{;"), "line 1: a directive without a name");
        assert_eq!(shown("if ($a = b#c) { return 1; }"), r#"1:if["($a", "=", "b#c)"]{1:return["1"] }"#);
        assert_eq!(shown("set $x ${y}z;"), r#"1:set["$x", "${y}z"]"#);
    }

    #[test]
    fn foreign_code_is_passed_over() {
        assert_eq!(shown("content_by_lua_block { if x then t = {1; 2} end -- '\n }\nuser a;"), r#"1:content_by_lua_block[]{} 3:user["a"]"#);
    }

    #[test]
    fn what_is_broken_names_its_line() {
        for (text, error) in [
            ("a;\n}", "line 2: unexpected }"),
            ("a {\n b", "line 2: the file ends in the middle"),
            ("\n'x", "line 2: a quote that does not end"),
            (";", "line 1: a directive without a name"),
            ("x_by_lua_block {", "line 1: a block that does not end"),
        ] {
            assert_eq!(shown(text), error);
        }
        assert!(shown(&"a {".repeat(100_000)).contains("blocks within each other"));
    }
}
