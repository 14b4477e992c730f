//! What `grafana/` holds, read for checking: the catalogue of metrics, the dashboards' expressions and the alert rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use promql_parser::parser::{Expr, VectorSelector, parse};
use serde_json::Value;

use crate::binaries::workspace;

/// One row of the catalogue, or what an exposition says of one metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// counter, gauge or histogram.
    pub kind: String,
    /// Label names, without a histogram's `le`.
    pub labels: BTreeSet<String>,
}

/// The catalogue: a section's heading → metric → row.
///
/// # Panics
/// If it cannot be read, or a row is not whole.
pub fn catalogue() -> BTreeMap<String, BTreeMap<String, Row>> {
    let mut sections: BTreeMap<String, BTreeMap<String, Row>> = BTreeMap::new();
    for (section, cells) in tables() {
        let [name, kind, labels, unit, meaning] = &cells[..] else { continue };
        assert!(!unit.is_empty() && !meaning.is_empty(), "unit or meaning is missing: {name}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let row = Row { kind: kind.clone(), labels: labels.filter(|label| !label.is_empty()).collect() };
        let before = sections.entry(section).or_default().insert(name.clone(), row);
        assert_eq!(before, None, "{name} stands twice in the catalogue");
    }
    sections
}

/// The alerts that the page lists: name → severity.
///
/// # Panics
/// If the page cannot be read.
pub fn listed_alerts() -> BTreeMap<String, String> {
    tables()
        .into_iter()
        .filter(|(section, _)| section == "Alerts")
        .map(|(_, cells)| (cells[0].clone(), cells[1].clone()))
        .collect()
}

/// Every row of `grafana/README.md` that begins with something in backticks: its section, its cells.
fn tables() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(folder("README.md")).expect("the catalogue is there");
    let (mut rows, mut section) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        }
        let Some(row) = line.strip_prefix("| `").and_then(|rest| rest.strip_suffix(" |")) else { continue };
        let mut cells: Vec<_> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        cells[0] = cells[0].trim_matches('`').to_owned();
        rows.push((section.clone(), cells));
    }
    rows
}

/// The catalogue of one end (`Broker`, `Producer`), with what both export.
///
/// # Panics
/// If it has no such section.
pub fn rows_of(end: &str) -> BTreeMap<String, Row> {
    let mut sections = catalogue();
    let mut rows = sections.remove(end).expect("a section for each end");
    rows.extend(sections.remove("Both: the process").expect("a section for the process"));
    rows
}

fn folder(name: &str) -> PathBuf {
    workspace().join("grafana").join(name)
}

/// Both dashboards: file name and content.
///
/// # Panics
/// If they cannot be read.
pub fn dashboards() -> Vec<(String, Value)> {
    let found: Vec<_> = files("dashboards", "json")
        .into_iter()
        .map(|(name, text)| (name, serde_json::from_str(&text).expect("a dashboard is JSON")))
        .collect();
    assert_eq!(found.len(), 2);
    found
}

fn files(inside: &str, extension: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir(folder(inside))
        .unwrap_or_else(|error| panic!("grafana/{inside} cannot be listed: {error}"))
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|have| have == extension))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a file can be read");
            (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text)
        })
        .collect();
    found.sort();
    found
}

/// Every expression of a dashboard, with the panel or variable it belongs to.
///
/// # Panics
/// If the dashboard is not of the classic form.
pub fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title").to_owned();
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((title.clone(), target["expr"].as_str().expect("an expression").to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if let Some(query) = variable["definition"].as_str() {
            let inside = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.rsplit_once(','))
                .expect("label_values");
            found.push((format!("variable {}", variable["name"]), inside.0.to_owned()));
        }
    }
    found
}

/// Names and label matchers of all selectors in an expression.
///
/// # Panics
/// If one of them names no metric.
pub fn selectors(expression: &Expr) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    gather(expression, &mut found);
    found
}

fn gather(expression: &Expr, found: &mut Vec<(String, Vec<String>)>) {
    let mut add = |selector: &VectorSelector| {
        let labels = selector.matchers.matchers.iter().map(|matcher| matcher.name.clone()).collect();
        found.push((selector.name.clone().expect("a metric's name"), labels));
    };
    match expression {
        Expr::VectorSelector(selector) => add(selector),
        Expr::MatrixSelector(selector) => add(&selector.vs),
        Expr::Aggregate(aggregate) => gather(&aggregate.expr, found),
        Expr::Unary(unary) => gather(&unary.expr, found),
        Expr::Binary(binary) => {
            gather(&binary.lhs, found);
            gather(&binary.rhs, found);
        }
        Expr::Paren(paren) => gather(&paren.expr, found),
        Expr::Subquery(subquery) => gather(&subquery.expr, found),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| gather(argument, found)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

/// An alert rule.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// File name, and with it the end that it watches.
    pub file: String,
    /// `alert`.
    pub name: String,
    /// `expr`.
    pub expression: String,
    /// `labels`, and behind them `annotations`.
    pub texts: BTreeMap<String, String>,
}

/// Every alert of `grafana/rules`, of which each is written in the same form: one line for each field.
///
/// # Panics
/// If a file cannot be read.
pub fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for (file, text) in files("rules", "yml") {
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some((key, value)) = line.trim_start_matches("- ").split_once(": ") else { continue };
            let value = value.trim_matches('"').to_owned();
            match (key, rules.last_mut()) {
                ("alert", _) => {
                    rules.push(Rule { file: file.clone(), name: value, ..Rule::default() });
                }
                ("expr", Some(rule)) => rule.expression = value,
                (_, Some(rule)) => drop(rule.texts.insert(key.to_owned(), value)),
                (_, None) => {}
            }
        }
    }
    rules
}

/// The rules' unit tests, in promtool's format.
///
/// # Panics
/// If they cannot be read.
pub fn rule_tests() -> String {
    files("rules/tests", "yml").into_iter().map(|(_, text)| text).collect()
}

/// What an alert looks at, without its condition: must have an answer while the pair runs well.
///
/// # Panics
/// If the expression cannot be parsed.
pub fn metric_parts(expression: &str) -> Vec<String> {
    let parsed = parse(expression).unwrap_or_else(|why| panic!("{why}: {expression}"));
    let mut parts = Vec::new();
    split(&parsed, &mut parts);
    parts
}

fn split(expression: &Expr, parts: &mut Vec<String>) {
    match expression {
        Expr::Paren(paren) => split(&paren.expr, parts),
        // Two vectors, of which the second may be of another time.
        Expr::Binary(binary) if ["unless", "and"].contains(&binary.op.to_string().as_str()) => {
            split(&binary.lhs, parts);
        }
        Expr::Binary(binary) if binary.op.to_string() == "or" => {
            split(&binary.lhs, parts);
            split(&binary.rhs, parts);
        }
        Expr::Binary(binary) if binary.op.is_comparison_operator() => split(&binary.lhs, parts),
        Expr::Call(call) if call.func.name == "absent" => {
            call.args.args.iter().for_each(|argument| split(argument, parts));
        }
        whole => parts.push(whole.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_taken_off_and_what_it_looks_at_remains() {
        for (whole, parts) in [
            ("a > 5", vec!["a"]),
            ("a / b < 0.15", vec!["a / b"]),
            ("absent(up{job=\"x\"})", vec!["up{job=\"x\"}"]),
            ("increase(a[1m]) > 0 or (b > 0 unless b offset 15m)", vec!["increase(a[1m])", "b"]),
        ] {
            assert_eq!(metric_parts(whole), parts, "{whole}");
        }
    }
}
