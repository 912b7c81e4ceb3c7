//! A Rust file as the checks see it: code without comments, texts and tests, and what it names.

/// One file below `src/`.
pub(crate) struct Source {
    /// Its path below `src/`.
    pub(crate) name: String,
    /// Its text, with blanks where comments, texts, characters and tests were; line for line the same.
    pub(crate) code: String,
    /// How many lines stand before its tests and after them.
    lines: usize,
    /// Files that are compiled for tests alone.
    test_files: Vec<String>,
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Source {
        let all = without_texts(text);
        let (code, test_modules) = without_tests(&all);
        let tests: usize = blanked(&all, &code);
        Source {
            name: name.to_owned(),
            lines: text.lines().count() - tests,
            test_files: test_modules.iter().flat_map(|module| files_of(name, module)).collect(),
            code,
        }
    }

    /// The top-level module that it belongs to.
    pub(crate) fn top(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Lines without those of tests.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    pub(crate) fn test_files(&self) -> Vec<String> {
        self.test_files.clone()
    }

    /// How many modules deep it lies: 1 for `home.rs` and `store/mod.rs`, 0 for `lib.rs`.
    fn depth(&self) -> usize {
        let path = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        match path {
            "lib" | "main" => 0,
            _ => path.split('/').count(),
        }
    }
}

/// The top-level modules that a file names, with the lines where it does: by `crate::`, by `multibot::`,
/// and by as many `super::` as lead to the top.
pub(crate) fn tops(source: &Source) -> Vec<(usize, String)> {
    let tokens = tokens(&source.code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (_, word) = &tokens[at];
        let is_path_start = at == 0 || tokens[at - 1].1 != "::";
        let mut next = at + 1;
        let leads_to_top = match word.as_str() {
            "crate" | "multibot" => is_path_start,
            "super" if is_path_start => {
                let mut supers = 1;
                while is(&tokens, next, "::") && is(&tokens, next + 1, "super") {
                    supers += 1;
                    next += 2;
                }
                supers >= source.depth() && source.depth() > 0
            }
            _ => false,
        };
        if leads_to_top && is(&tokens, next, "::") {
            found.extend(first_names(&tokens, next + 1));
        }
        at = next;
    }
    found
}

/// The functions of a file: name, line, and how many lines with code they have.
pub(crate) fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let tokens = tokens(code);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let is_function = tokens[at].1 == "fn" && tokens.get(at + 1).is_some_and(|(_, name)| is_name(name));
        if !is_function {
            continue;
        }
        let (first, name) = (tokens[at].0, tokens[at + 1].1.clone());
        // A function without a body ends at a semicolon outside of its brackets.
        let mut brackets = 0;
        let body = (at..tokens.len()).find(|here| {
            match tokens[*here].1.as_str() {
                "(" | "[" => brackets += 1,
                ")" | "]" => brackets -= 1,
                _ => {}
            }
            brackets == 0 && matches!(tokens[*here].1.as_str(), "{" | ";")
        });
        let Some(body) = body.filter(|body| tokens[*body].1 == "{") else {
            continue;
        };
        let last = tokens[closing(&tokens, body)].0;
        let with_code = lines[first - 1..last].iter().filter(|line| !line.trim().is_empty());
        found.push((name, first, with_code.count()));
    }
    found
}

/// Puts blanks in place of comments, texts and characters.
fn without_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_text(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where a comment, text or character that begins at `at` ends; `at` itself where none begins.
fn end_of_text(chars: &[char], at: usize) -> usize {
    let ahead = |text: &str| {
        text.chars()
            .enumerate()
            .all(|(index, c)| chars.get(at + index) == Some(&c))
    };
    let after_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if ahead("//") {
        return (at..chars.len())
            .find(|here| chars[*here] == '\n')
            .unwrap_or(chars.len());
    }
    if ahead("/*") {
        return end_of_comment(chars, at);
    }
    if !after_name && (ahead("r\"") || ahead("r#") || ahead("br\"") || ahead("br#")) {
        return end_of_raw(chars, at);
    }
    match chars[at] {
        '"' => end_of_quoted(chars, at + 1, '"'),
        '\'' => {
            let is_character = chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'');
            if is_character {
                end_of_quoted(chars, at + 1, '\'')
            } else {
                at
            }
        }
        _ => at,
    }
}

fn end_of_quoted(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn end_of_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

/// `r#"…"#` with any number of marks; a raw name such as `r#type` is none.
fn end_of_raw(chars: &[char], from: usize) -> usize {
    let mut at = from + 1 + usize::from(chars[from] == 'b');
    let marks = chars[at..].iter().take_while(|c| **c == '#').count();
    at += marks;
    if chars.get(at) != Some(&'"') {
        return from;
    }
    let closes =
        |here: &usize| chars[*here] == '"' && chars[here + 1..].iter().take_while(|c| **c == '#').count() >= marks;
    let end = (at + 1..chars.len()).find(closes);
    end.map_or(chars.len(), |end| end + 1 + marks)
}

/// Puts blanks in place of modules and items that are there for tests; names the modules that lie in
/// files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let mut rest = code.to_owned();
    let mut modules = Vec::new();
    while let Some(from) = rest.find(MARK) {
        let after = from + MARK.len();
        let item = &rest[after..];
        let end = match (item.find('{'), item.find(';')) {
            (Some(brace), semicolon) if semicolon.is_none_or(|at| brace < at) => after + end_of_block(item, brace),
            (_, Some(semicolon)) => after + semicolon + 1,
            (Some(_), None) | (None, None) => rest.len(),
        };
        if let Some(module) = item[..end - after]
            .trim()
            .strip_suffix(';')
            .and_then(|item| item.strip_prefix("mod "))
        {
            modules.push(module.trim().to_owned());
        }
        let blank: String = rest[from..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        rest.replace_range(from..end, &blank);
    }
    (rest, modules)
}

/// The end of the block that opens at `brace`.
fn end_of_block(code: &str, brace: usize) -> usize {
    let mut depth = 0;
    for (at, letter) in code[brace..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return brace + at + 1;
        }
    }
    code.len()
}

/// How many lines have lost all their code; a comment beside tests counts with the rest of the file.
fn blanked(before: &str, after: &str) -> usize {
    let lost = |(old, new): &(&str, &str)| !old.trim().is_empty() && new.trim().is_empty();
    before.lines().zip(after.lines()).filter(lost).count()
}

/// Where the file of a module may lie that is declared in `name`.
fn files_of(name: &str, module: &str) -> [String; 2] {
    let dir = match name.strip_suffix("mod.rs") {
        Some(dir) => dir.to_owned(),
        None if name == "lib.rs" || name == "main.rs" => String::new(),
        None => format!("{}/", name.trim_end_matches(".rs")),
    };
    [format!("{dir}{module}.rs"), format!("{dir}{module}/mod.rs")]
}

/// Names, `::` and single marks, each with its line.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("::") {
                2
            } else if is_letter(first) {
                rest.find(|c| !is_letter(c)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            found.push((number + 1, rest[..length].to_owned()));
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// The names that a path begins with after its `::`: one, or all of a group.
fn first_names(tokens: &[(usize, String)], at: usize) -> Vec<(usize, String)> {
    if !is(tokens, at, "{") {
        return tokens
            .get(at)
            .filter(|(_, name)| is_name(name))
            .cloned()
            .into_iter()
            .collect();
    }
    let mut depth = 0;
    let mut names = Vec::new();
    for here in at..=closing(tokens, at) {
        match tokens[here].1.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if depth == 1 && is_name(name) && matches!(tokens[here - 1].1.as_str(), "{" | ",") => {
                names.push(tokens[here].clone());
            }
            _ => {}
        }
    }
    names
}

/// The token that closes the brace at `open`.
fn closing(tokens: &[(usize, String)], open: usize) -> usize {
    let mut depth = 0;
    for (at, (_, word)) in tokens.iter().enumerate().skip(open) {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

fn is(tokens: &[(usize, String)], at: usize, word: &str) -> bool {
    tokens.get(at).is_some_and(|(_, found)| found == word)
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_name(word: &str) -> bool {
    word.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}
