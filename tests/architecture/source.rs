//! Reads a source text as far as the walls need it: without comments, texts and tests.

/// Which rules tell code from comments and texts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    JavaScript,
}

/// A source text in which comments and the insides of texts are blank; line numbers are kept.
pub struct Source {
    code: Vec<char>,
    /// The text as it is, for module specifiers.
    raw: Vec<char>,
    language: Language,
}

impl Source {
    pub fn new(text: &str, language: Language) -> Self {
        let raw: Vec<char> = text.chars().collect();
        let mut code = raw.clone();
        Cleaner { raw: &raw, code: &mut code, language }.clean();
        if language == Language::Rust {
            blank_tests(&mut code);
        }
        Self { code, raw, language }
    }

    /// Lines that hold code.
    pub fn code_lines(&self) -> usize {
        count_lines(&self.code)
    }

    /// The first line in which a name (or a path of names) stands as code.
    pub fn line_with(&self, name: &str) -> Option<usize> {
        let name: Vec<char> = name.chars().collect();
        self.words(&name).first().map(|at| self.line(*at))
    }

    /// Every path into the crate, from its top: `crate::a::b` is `["a", "b"]`.
    /// `module` is the path of the file's own module.
    pub fn imports(&self, module: &[&str]) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        for root in ["crate", "fanlight"] {
            for at in self.words(&root.chars().collect::<Vec<_>>()) {
                let before = self.code[..at].iter().rev().find(|c| !c.is_whitespace());
                if before != Some(&':') || root == "crate" {
                    self.paths(at + root.len(), &mut Vec::new(), &mut found);
                }
            }
        }
        for at in self.words(&['s', 'u', 'p', 'e', 'r']) {
            let mut relative = Vec::new();
            self.paths(at, &mut Vec::new(), &mut relative);
            for path in relative {
                let up = path.iter().take_while(|p| *p == "super").count();
                if up >= module.len() && path.len() > up {
                    found.push(path[up..].to_vec());
                }
            }
        }
        found
    }

    /// The paths that begin at `at`, groups in braces taken apart.
    fn paths(&self, mut at: usize, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        let depth = prefix.len();
        loop {
            at = self.skip_space(at);
            if self.code[at..].starts_with(&[':', ':']) {
                at = self.skip_space(at + 2);
            }
            if self.code.get(at) == Some(&'{') {
                let end = closing(&self.code, at);
                let mut start = at + 1;
                while start < end {
                    self.paths(start, prefix, found);
                    start = self.next_in_group(start, end);
                }
                break;
            }
            let word: String = self.code[at..].iter().take_while(|c| is_word(**c)).collect();
            if word.is_empty() {
                break;
            }
            at += word.chars().count();
            prefix.push(word);
            if !self.code[self.skip_space(at)..].starts_with(&[':', ':']) {
                found.push(prefix.clone());
                break;
            }
        }
        prefix.truncate(depth);
    }

    fn next_in_group(&self, mut at: usize, end: usize) -> usize {
        while at < end {
            match self.code[at] {
                '{' => at = closing(&self.code, at),
                ',' => return at + 1,
                _ => {}
            }
            at += 1;
        }
        end
    }

    /// Name, first line and lines of code of each function with a body.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let opens = (0..self.code.len()).filter(|at| self.code[*at] == '{');
        opens
            .filter_map(|open| {
                let name = match self.language {
                    Language::Rust => self.rust_function(open),
                    Language::JavaScript => self.javascript_function(open),
                }?;
                let body = &self.code[open + 1..closing(&self.code, open)];
                Some((name, self.line(open), count_lines(body)))
            })
            .collect()
    }

    /// The function whose body opens here: the nearest `fn` before it, with nothing between
    /// that ends a head.
    fn rust_function(&self, open: usize) -> Option<String> {
        let start = self.code[..open].iter().rposition(|c| matches!(c, '{' | '}' | ';'));
        let head: String = self.code[start.map_or(0, |s| s + 1)..open].iter().collect();
        let words: Vec<&str> =
            head.split(|c: char| !is_word(c)).filter(|w| !w.is_empty()).collect();
        let at = words.iter().position(|w| *w == "fn")?;
        words.get(at + 1).map(|name| (*name).to_string())
    }

    /// A brace after `=>`, or after the closing parenthesis of a parameter list.
    fn javascript_function(&self, open: usize) -> Option<String> {
        let head = &self.code[..open];
        let last = head.iter().rposition(|c| !c.is_whitespace())?;
        if head[last] == '>' && last > 0 && head[last - 1] == '=' {
            return Some("an arrow function".into());
        }
        if head[last] != ')' {
            return None;
        }
        let mut depth = 0_usize;
        let open = head[..=last].iter().rposition(|c| {
            depth = if *c == ')' { depth + 1 } else { depth - usize::from(*c == '(') };
            depth == 0
        })?;
        let name = head[..open].iter().rposition(|c| !c.is_whitespace())?;
        let start = head[..=name].iter().rposition(|c| !is_word(*c)).map_or(0, |s| s + 1);
        let name: String = head[start..=name].iter().collect();
        let block = ["if", "for", "while", "switch", "catch", "with", "await", ""];
        (!block.contains(&name.as_str())).then_some(name)
    }

    /// What the file imports, in JavaScript.
    pub fn module_specifiers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for word in ["from", "import"] {
            for at in self.words(&word.chars().collect::<Vec<_>>()) {
                let mut at = self.skip_space(at + word.len());
                if self.code.get(at) == Some(&'(') {
                    at = self.skip_space(at + 1);
                }
                if let Some(quote @ ('\'' | '"')) = self.raw.get(at) {
                    found.push(self.raw[at + 1..].iter().take_while(|c| *c != quote).collect());
                }
            }
        }
        found
    }

    /// Where a name stands as whole words.
    fn words(&self, name: &[char]) -> Vec<usize> {
        let whole = |at: &usize| {
            let before = at.checked_sub(1).and_then(|b| self.code.get(b));
            let after = self.code.get(at + name.len());
            !before.is_some_and(|c| is_word(*c)) && !after.is_some_and(|c| is_word(*c))
        };
        let starts = self.code.windows(name.len()).enumerate().filter(|(_, w)| *w == name);
        starts.map(|(at, _)| at).filter(whole).collect()
    }

    fn skip_space(&self, at: usize) -> usize {
        let rest = self.code.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|c| c.is_whitespace()).count()
    }

    fn line(&self, at: usize) -> usize {
        1 + self.code[..at].iter().filter(|c| **c == '\n').count()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn count_lines(code: &[char]) -> usize {
    code.split(|c| *c == '\n').filter(|line| line.iter().any(|c| !c.is_whitespace())).count()
}

/// Where the brace that opens at `open` closes; the end if it never does.
fn closing(code: &[char], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

fn blank(code: &mut [char]) {
    code.iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
}

/// Blanks what stands under `#[cfg(test)]`.
fn blank_tests(code: &mut [char]) {
    let mark: Vec<char> = "#[cfg(test)]".chars().collect();
    while let Some(start) = code.windows(mark.len()).position(|w| w == mark) {
        let rest = &code[start..];
        let end = match rest.iter().position(|c| matches!(c, '{' | ';')) {
            Some(at) if rest[at] == '{' => closing(code, start + at) + 1,
            Some(at) => start + at + 1,
            None => code.len(),
        };
        let end = end.min(code.len());
        blank(&mut code[start..end]);
    }
}

/// Blanks comments and the insides of texts.
struct Cleaner<'a> {
    raw: &'a [char],
    code: &'a mut [char],
    language: Language,
}

impl Cleaner<'_> {
    fn clean(&mut self) {
        let mut at = 0;
        while at < self.raw.len() {
            at = self.step(at);
        }
    }

    /// Takes one character, comment or text; returns where the next begins.
    fn step(&mut self, at: usize) -> usize {
        let next = self.raw.get(at + 1).copied().unwrap_or('\n');
        let rust = self.language == Language::Rust;
        match self.raw[at] {
            '/' if next == '/' => self.blank_to(at, self.find(at, &['\n'])),
            '/' if next == '*' => self.blank_to(at, self.find(at + 2, &['*', '/']) + 2),
            '/' if !rust && self.is_regex(at) => self.text(at, '/'),
            'r' if rust && matches!(next, '"' | '#') && !self.after_word(at) => self.raw_text(at),
            '\'' if rust => self.char_or_lifetime(at),
            quote @ ('"' | '\'') => self.text(at, quote),
            '`' if !rust => self.template(at),
            _ => at + 1,
        }
    }

    fn find(&self, from: usize, what: &[char]) -> usize {
        let rest = self.raw.get(from..).unwrap_or_default();
        from + rest.windows(what.len()).position(|w| w == what).unwrap_or(rest.len())
    }

    fn blank_to(&mut self, from: usize, to: usize) -> usize {
        let to = to.min(self.raw.len());
        blank(&mut self.code[from.min(to)..to]);
        to
    }

    fn after_word(&self, at: usize) -> bool {
        at > 0 && is_word(self.raw[at - 1])
    }

    /// A text between two equal marks; the marks stay.
    fn text(&mut self, at: usize, quote: char) -> usize {
        let mut end = at + 1;
        let mut class = false;
        while end < self.raw.len() && (self.raw[end] != quote || class) {
            match self.raw[end] {
                '\\' => end += 1,
                '[' if quote == '/' => class = true,
                ']' => class = false,
                _ => {}
            }
            end += 1;
        }
        self.blank_to(at + 1, end) + 1
    }

    /// `r"…"`, `r#"…"#`; `r#word` is a word.
    fn raw_text(&mut self, at: usize) -> usize {
        let hashes = self.raw[at + 1..].iter().take_while(|c| **c == '#').count();
        if self.raw.get(at + 1 + hashes) != Some(&'"') {
            return at + 1 + hashes;
        }
        let mut mark = vec!['"'];
        mark.extend(std::iter::repeat_n('#', hashes));
        let start = at + 2 + hashes;
        self.blank_to(start, self.find(start, &mark)) + mark.len()
    }

    fn char_or_lifetime(&mut self, at: usize) -> usize {
        match (self.raw.get(at + 1), self.raw.get(at + 2)) {
            (Some('\\'), _) => self.text(at, '\''),
            (Some(_), Some('\'')) => self.blank_to(at + 1, at + 2) + 1,
            _ => at + 1,
        }
    }

    /// A template; the code in `${…}` stays.
    fn template(&mut self, at: usize) -> usize {
        let mut end = at + 1;
        while end < self.raw.len() && self.raw[end] != '`' {
            if self.raw[end] == '\\' {
                end = self.blank_to(end, end + 2);
            } else if self.raw[end..].starts_with(&['$', '{']) {
                self.blank_to(end, end + 1);
                end = self.braces(end + 1);
            } else {
                end = self.blank_to(end, end + 1);
            }
        }
        end + 1
    }

    fn braces(&mut self, open: usize) -> usize {
        let mut depth = 0_usize;
        let mut at = open;
        while at < self.raw.len() {
            match self.raw[at] {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            at = self.step(at);
            if depth == 0 {
                break;
            }
        }
        at
    }

    /// A slash begins a regular expression where a value may begin.
    fn is_regex(&self, at: usize) -> bool {
        let before = &self.code[..at];
        let Some(last) = before.iter().rposition(|c| !c.is_whitespace()) else { return true };
        let word: String = {
            let start = before[..=last].iter().rposition(|c| !is_word(*c)).map_or(0, |s| s + 1);
            before[start..=last].iter().collect()
        };
        "(,=:[!&|?{};+-*%<>~^".contains(before[last])
            || matches!(word.as_str(), "return" | "typeof")
    }
}

#[test]
fn comments_and_texts_are_no_code() {
    let text = "// str0m\nlet a = \"str0m {\"; /* str0m */ let b = r#\"str0m\"#; fn c<'a>() {'{';}";
    let source = Source::new(text, Language::Rust);
    assert_eq!(source.line_with("str0m"), None);
    assert_eq!(source.code_lines(), 1);
    assert_eq!(source.functions(), [("c".to_string(), 2, 1)]);
}

#[test]
fn tests_are_not_counted() {
    let text =
        "use a;\n#[cfg(test)]\nmod tests {\n    use crate::io;\n}\n#[cfg(test)]\nmod x;\nlet b;";
    let source = Source::new(text, Language::Rust);
    assert_eq!(source.code_lines(), 2);
    assert_eq!(source.imports(&["ids"]), Vec::<Vec<String>>::new());
}

#[test]
fn imports_are_read_in_every_form() {
    let text = "use crate::{a::b, c::{d, e as f}}; let x = crate::g::h(); use super::super::k; use super::l;";
    let found = Source::new(text, Language::Rust).imports(&["io", "udp"]);
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::b", "c::d", "c::e", "g::h", "k"]);
}

#[test]
fn functions_of_javascript_are_found() {
    let text = "function a(x = {}) {\n 1\n}\nclass B { async c(d) {\n 1;\n 2;\n } }\nif (x) { y }\n\
                const e = () => {\n `${f({})}`;\n};\nconst r = /[/{]/;";
    let found = Source::new(text, Language::JavaScript).functions();
    let found: Vec<(&str, usize)> = found.iter().map(|(name, _, n)| (name.as_str(), *n)).collect();
    assert_eq!(found, [("a", 1), ("c", 2), ("an arrow function", 1)]);
}

#[test]
fn specifiers_are_read() {
    let text = "import { a } from './a.js'; export * from \"../b.js\"; await import('c');";
    let found = Source::new(text, Language::JavaScript).module_specifiers();
    assert_eq!(found, ["./a.js", "../b.js", "c"]);
}
