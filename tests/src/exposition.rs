//! Metrics in Prometheus' text format, read as a scraper would.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Exposition {
    /// Every sample, in order.
    pub samples: Vec<Sample>,
    /// `# TYPE`: metric name → type.
    pub types: BTreeMap<String, String>,
    /// `# HELP`: metric name → text.
    pub helps: BTreeMap<String, String>,
}

/// One line with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name as it stands in the line (a histogram's parts carry their suffix).
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

impl Exposition {
    /// Reads a whole scrape.
    ///
    /// # Errors
    /// Names the first line that is none of the format's.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').unwrap_or((help, ""));
                all.helps.insert(name.to_owned(), text.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or_else(|| format!("no type: {line:?}"))?;
                if all.types.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(format!("{name} is declared twice"));
                }
            } else if !line.starts_with('#') {
                all.samples.push(sample(line).ok_or_else(|| format!("not a sample: {line:?}"))?);
            }
        }
        Ok(all)
    }

    /// The sum of all samples named `name` whose labels include `labels`; 0 without any.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The one sample named `name` whose labels include `labels`; `None` if there is none.
    ///
    /// # Panics
    /// If there are several.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.matching(name, labels);
        let first = found.next()?;
        assert!(found.next().is_none(), "several samples of {name} carry {labels:?}");
        Some(first.value)
    }

    /// All samples named `name` whose labels include `labels`.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|have| have == value))
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after;
        }
    }
    let value = rest.split_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut escaped = false;
    for (at, symbol) in text.char_indices() {
        match (escaped, symbol) {
            (true, 'n') => value.push('\n'),
            (true, other) => value.push(other),
            (false, '\\') => {}
            (false, '"') => return Some((value, text.get(at + 1..)?)),
            (false, other) => value.push(other),
        }
        escaped = !escaped && symbol == '\\';
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_types_and_helps_are_read() {
        let text = "# HELP a_total What it \"is\".\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"\\\\\\n\"} 3\na_total 4\n\
                    # TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 0.5\n";
        let read = Exposition::parse(text).unwrap();
        assert_eq!(read.types["a_total"], "counter");
        assert_eq!(read.helps["a_total"], "What it \"is\".");
        assert_eq!(read.samples[0].labels["y"], "q\"\\\n");
        assert_eq!(read.value("a_total", &[("x", "1")]), Some(3.0));
        assert_eq!(read.sum("a_total", &[]), 7.0);
        assert_eq!(read.value("h_bucket", &[("le", "+Inf")]), Some(2.0));
        assert!(Exposition::parse("a_total").is_err());
        assert!(Exposition::parse("# TYPE a counter\n# TYPE a gauge\n").is_err());
    }
}
