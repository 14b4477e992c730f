//! Compares values of two families of types field by field, by name, through what `{:?}` prints: the names of the
//! types differ, and numbers have wrappers in one family or the other, but both derive `Debug`, and both name their
//! fields as Kafka's schemas do.

use std::collections::BTreeMap;

use gapless_common::types::TopicId;

/// A value without the names of its types.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Struct(BTreeMap<String, Tree>),
    List(Vec<Tree>),
    /// Numbers, texts, ids, `None`.
    Leaf(String),
}

impl Tree {
    /// Reads what `{:?}` printed.
    pub fn of(debug: &str) -> Self {
        let mut parser = Parser { rest: debug };
        let tree = parser.value();
        assert!(parser.rest.is_empty(), "not understood: {}", parser.rest);
        tree
    }

    /// All the places where `self` differs from `other`, by path. Fields that only `other` has are told to
    /// `other_only`, which says whether they may be.
    pub fn differences(&self, other: &Self, other_only: &dyn Fn(&str, &Self) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        self.compare(other, other_only, "", &mut found);
        found
    }

    fn compare(
        &self,
        other: &Self,
        other_only: &dyn Fn(&str, &Self) -> bool,
        path: &str,
        found: &mut Vec<String>,
    ) {
        match (self, other) {
            (Self::Struct(mine), Self::Struct(theirs)) => {
                for (name, value) in mine {
                    match theirs.get(name) {
                        Some(their) => value.compare(their, other_only, &format!("{path}.{name}"), found),
                        None => found.push(format!("{path}.{name} is only here")),
                    }
                }
                for (name, value) in theirs {
                    if !mine.contains_key(name) && !other_only(name, value) {
                        found.push(format!("{path}.{name} is only there"));
                    }
                }
            }
            (Self::List(mine), Self::List(theirs)) if mine.len() == theirs.len() => {
                for (at, (mine, theirs)) in mine.iter().zip(theirs).enumerate() {
                    mine.compare(theirs, other_only, &format!("{path}[{at}]"), found);
                }
            }
            _ if self == other => {}
            _ => found.push(format!("{path}: {self:?} here, {other:?} there")),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, prefix: &str) {
        assert!(self.take(prefix), "expected {prefix} at {}", self.rest);
    }

    fn cut(&mut self, len: usize) -> String {
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        head.to_owned()
    }

    fn value(&mut self) -> Tree {
        if self.take("[") {
            return self.list();
        }
        if self.take("{") {
            return self.map();
        }
        if self.rest.starts_with('"') || self.rest.starts_with("b\"") {
            return self.quoted();
        }
        let word = self.word();
        if self.take(" { ") {
            return self.structure();
        }
        // A wrapper, or a number behind its name.
        if self.take("(") || self.take(" (") {
            let inner = self.value();
            self.expect(")");
            return match inner {
                Tree::Leaf(id) if word == "TopicId" => Tree::Leaf(hex(TopicId::parse(&id).unwrap())),
                inner => inner,
            };
        }
        let is_uuid = word.len() == 36 && word.matches('-').count() == 4;
        Tree::Leaf(if is_uuid { word.replace('-', "") } else { word })
    }

    fn word(&mut self) -> String {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c));
        self.cut(end.unwrap_or(self.rest.len()))
    }

    fn list(&mut self) -> Tree {
        let mut elements = Vec::new();
        while !self.take("]") {
            elements.push(self.value());
            self.take(", ");
        }
        Tree::List(elements)
    }

    /// The values; what is a map in one family is absent in the other.
    fn map(&mut self) -> Tree {
        let mut values = Vec::new();
        while !self.take("}") {
            self.word();
            self.expect(": ");
            values.push(self.value());
            self.take(", ");
        }
        Tree::List(values)
    }

    fn structure(&mut self) -> Tree {
        let mut fields = BTreeMap::new();
        loop {
            let name = self.word();
            self.expect(": ");
            fields.insert(name, self.value());
            if self.take(" }") {
                return Tree::Struct(fields);
            }
            self.expect(", ");
        }
    }

    fn quoted(&mut self) -> Tree {
        // The opening quote counts as escaped, so that it does not close.
        let mut escaped = true;
        let opening = self.rest.find('"').unwrap();
        for (at, c) in self.rest.char_indices().skip(opening) {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == '"' {
                return Tree::Leaf(self.cut(at + 1));
            }
        }
        panic!("no closing quote: {}", self.rest);
    }
}

fn hex(id: TopicId) -> String {
    format!("{:032x}", u128::from_be_bytes(id.0))
}
