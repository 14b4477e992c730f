//! Files of properties, as Java (`java.util.Properties.load`) and librdkafka's tools read them.

/// One entry and the line on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub line: usize,
    pub key: String,
    pub value: String,
}

/// A line that is no property. Only its first word is repeated: the rest may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    #[error("'{word}' is not KEY=VALUE")]
    NoSeparator { line: usize, word: String },
    #[error("\\u takes four hexadecimal digits")]
    Escape { line: usize },
}

impl BadLine {
    pub const fn line(&self) -> usize {
        match self {
            Self::NoSeparator { line, .. } | Self::Escape { line } => *line,
        }
    }
}

/// Empty lines and comments (`#`, `!`) are left out; a backslash at the end of a line continues it; key and value are
/// separated by `=`, `:` or blanks; `\t`, `\n`, `\r`, `\f` and `\uXXXX` are understood, and a backslash before anything
/// else stands for that. Blanks behind a value are dropped, as Kafka drops them.
pub fn parse(text: &str) -> Result<Vec<Entry>, BadLine> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, first)) = lines.next() {
        let line = at + 1;
        let mut logical = first.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while is_continued(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, more)) => logical.push_str(more.trim_start()),
                None => break,
            }
        }
        entries.push(entry(line, &logical)?);
    }
    Ok(entries)
}

/// An odd number of backslashes at the end: the last one is not escaped.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn entry(line: usize, text: &str) -> Result<Entry, BadLine> {
    let separator = |c: char| matches!(c, '=' | ':' | ' ' | '\t' | '\x0c');
    let mut escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let found = !escaped && separator(*c);
        escaped = !escaped && *c == '\\';
        found
    });
    let (key, rest) = match end {
        Some((at, _)) if at > 0 => text.split_at(at),
        _ => (text, ""),
    };
    let blank = |c: char| matches!(c, ' ' | '\t' | '\x0c');
    let value = rest.trim_start_matches(blank);
    let value = value.strip_prefix(['=', ':']).unwrap_or(value).trim_matches(blank);
    // To Java a lone word is a key with an empty value; here it is a mistake.
    if rest.trim_matches(blank).is_empty() || key.starts_with(['=', ':']) {
        let word = key.split(['=', ':']).next().unwrap_or_default().to_owned();
        return Err(BadLine::NoSeparator { line, word });
    }
    Ok(Entry { line, key: unescape(line, key)?, value: unescape(line, value)? })
}

fn unescape(line: usize, text: &str) -> Result<String, BadLine> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0c'),
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                let code = (digits.len() == 4).then(|| u32::from_str_radix(&digits, 16).ok()).flatten();
                plain.push(code.and_then(char::from_u32).ok_or(BadLine::Escape { line })?);
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        let entries = parse(text).unwrap();
        entries.into_iter().map(|entry| (entry.line, entry.key, entry.value)).collect()
    }

    #[test]
    fn every_way_to_write_a_property() {
        for (text, key, value) in [
            ("acks=all", "acks", "all"),
            ("  acks = all  ", "acks", "all"),
            ("acks:all", "acks", "all"),
            ("acks : all", "acks", "all"),
            ("acks all", "acks", "all"),
            ("acks\tall", "acks", "all"),
            ("acks=", "acks", ""),
            ("a=b=c", "a", "b=c"),
            ("a=b:c d", "a", "b:c d"),
            (r"a\ b\=c=d", "a b=c", "d"),
            (r"a=x\ty\\z\q", "a", "x\ty\\zq"),
            (r"a=\u00e9", "a", "é"),
            ("bootstrap.servers=one:1,\\\n    two:2", "bootstrap.servers", "one:1,two:2"),
            ("a=b\\\\", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("a=1\r\n", "a", "1"),
        ] {
            assert_eq!(pairs(text), [(1, key.to_owned(), value.to_owned())], "{text}");
        }
    }

    #[test]
    fn lines_are_counted_and_comments_left_out() {
        let text = "# comment \\\na=1\n\n! another\n   # and one\nb=\\\n2\nc=3";
        let all = pairs(text);
        let found: Vec<_> = all.iter().map(|(line, key, _)| (*line, key.as_str())).collect();
        assert_eq!(found, [(2, "a"), (6, "b"), (8, "c")]);
    }

    #[test]
    fn what_is_no_property_is_named_by_its_line_and_first_word() {
        for (text, line, expected) in [
            ("a=1\nnonsense", 2, "'nonsense' is not KEY=VALUE"),
            ("=secret", 1, "'' is not KEY=VALUE"),
            ("a=\\u00g1", 1, "four hexadecimal digits"),
            ("a=\\ud800", 1, "four hexadecimal digits"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line(), line, "{text}");
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }
}
