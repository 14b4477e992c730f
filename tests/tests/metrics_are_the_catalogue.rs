//! What both ends export under load, what `grafana/README.md` says, and what dashboards and alerts ask for are the same, in
//! every direction.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use gapless_tests::{
    batch::{Stamp, batch},
    broker::Broker,
    cli,
    exposition::Exposition,
    http, librdkafka,
    monitoring::{Row, Rule, dashboards, expressions, listed_alerts, rows_of, rule_tests, rules, selectors},
    ports::free_port,
    raw::RawClient,
    wait::wait_for,
};
use promql_parser::parser::parse;
use serde_json::Value;

/// What an exposition says, in the catalogue's form.
fn exported(exposition: &Exposition) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for (name, kind) in &exposition.types {
        assert_ne!(kind, "summary", "{name} lost its buckets");
        assert!(exposition.helps.get(name).is_some_and(|help| !help.is_empty()), "{name} has no help text");
        let of_it = |sample: &str| {
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            sample.strip_prefix(name.as_str()).is_some_and(|suffix| suffixes.contains(&suffix))
        };
        let samples: Vec<_> = exposition.samples.iter().filter(|sample| of_it(&sample.name)).collect();
        assert!(!samples.is_empty(), "{name} is declared and has no sample");
        if kind == "histogram" {
            let buckets = samples.iter().filter(|sample| sample.name.ends_with("_bucket")).count();
            assert!(buckets > 2, "{name} has only {buckets} buckets");
        }
        if kind == "counter" {
            assert!(name.ends_with("_total"), "{name} is a counter");
        }
        let labels = samples.iter().flat_map(|sample| sample.labels.keys()).filter(|label| *label != "le");
        rows.insert(name.clone(), Row { kind: kind.clone(), labels: labels.cloned().collect() });
    }
    for sample in &exposition.samples {
        let declared = ["", "_bucket", "_sum", "_count"].iter().any(|suffix| {
            sample.name.strip_suffix(suffix).is_some_and(|name| exposition.types.contains_key(name))
        });
        assert!(declared, "{} has no TYPE line", sample.name);
    }
    rows
}

fn assert_same(end: &str, catalogued: &BTreeMap<String, Row>, exported: &BTreeMap<String, Row>) {
    let missing: Vec<_> = catalogued.keys().filter(|name| !exported.contains_key(*name)).collect();
    let unlisted: Vec<_> = exported.keys().filter(|name| !catalogued.contains_key(*name)).collect();
    assert!(
        missing.is_empty() && unlisted.is_empty(),
        "{end}: not exported {missing:?}, not in the catalogue {unlisted:?}"
    );
    for (name, row) in catalogued {
        assert_eq!(&exported[name], row, "{end}: {name}");
    }
}

/// A broker that has seen something of everything, and what it exports.
fn broker_under_load() -> (Broker, Exposition) {
    let broker = Broker::start();
    let record = librdkafka::Record { value: Some(b"value".to_vec()), ..librdkafka::Record::default() };
    librdkafka::produce(broker.address(), "load", &[("enable.idempotence", "true")], &vec![record; 100]);
    librdkafka::consume(broker.address(), "load", 1);
    let mut client = RawClient::connect(broker.address());
    let (id, epoch) = client.init_producer_id();
    client.produce("load", 0, batch(&[b"gap"], Some(Stamp { id, epoch, sequence: 0 })));
    client.produce("load", 0, batch(&[b"gap"], Some(Stamp { id, epoch, sequence: 7 })));
    let exposition = broker.metrics();
    (broker, exposition)
}

#[test]
fn the_broker_exports_what_the_catalogue_says() {
    let (_broker, exposition) = broker_under_load();
    assert_same("broker", &rows_of("Broker"), &exported(&exposition));
}

#[test]
fn the_broker_counts_what_happened() {
    let (broker, metrics) = broker_under_load();
    for (name, labels, value) in [
        ("gapless_broker_appended_records_total", &[][..], 101.0),
        ("gapless_broker_batches_refused_total", &[("reason", "gap")], 1.0),
        (
            "gapless_broker_request_errors_total",
            &[("api", "Produce"), ("error", "OUT_OF_ORDER_SEQUENCE_NUMBER")],
            1.0,
        ),
        ("gapless_broker_partition_end_offset", &[("topic", "load"), ("partition", "0")], 101.0),
        ("gapless_broker_partition_high_watermark", &[("topic", "load"), ("partition", "0")], 101.0),
        ("gapless_broker_partition_segments", &[("topic", "load"), ("partition", "0")], 1.0),
        ("gapless_broker_request_duration_seconds_count", &[("api", "InitProducerId")], 2.0),
        ("gapless_broker_unflushed_bytes", &[], 0.0),
        ("gapless_broker_producers", &[], 2.0),
    ] {
        assert_eq!(metrics.value(name, labels), Some(value), "{name}{labels:?}");
    }
    let bytes = metrics.sum("gapless_broker_partition_size_bytes", &[("topic", "load")]);
    assert_eq!(metrics.sum("gapless_broker_appended_bytes_total", &[]), bytes);
    assert!(metrics.sum("gapless_broker_flush_batches_sum", &[]) >= 2.0);
    assert!(metrics.sum("gapless_broker_fetched_bytes_total", &[]) > 0.0);
    drop(broker);
}

#[test]
fn series_of_partitions_are_capped_and_the_rest_counted() {
    let broker = Broker::builder().flag("--metrics-partitions", 3).start();
    librdkafka::create_topic(broker.address(), "wide", 10, &[]);
    let metrics = broker.metrics();
    assert_eq!(metrics.matching("gapless_broker_partition_end_offset", &[]).count(), 3);
    assert_eq!(metrics.value("gapless_broker_metrics_partitions_omitted", &[]), Some(7.0));
}

#[test]
fn labels_that_a_client_chooses_are_escaped() {
    let broker = Broker::start();
    RawClient::connect(broker.address()).create_topic("a.b-c_d");
    let metrics = broker.metrics();
    assert_eq!(metrics.value("gapless_broker_partition_segments", &[("topic", "a.b-c_d")]), Some(1.0));
}

#[test]
fn the_producer_exports_what_the_catalogue_says_on_both_ways_out() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("producer.prom");
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut process = cli::start([
        "publish",
        "--bootstrap-server",
        broker.address(),
        "--topic",
        "load",
        "--metrics-listen",
        &metrics,
        "--metrics-file",
        file.to_str().unwrap(),
        "-",
    ]);
    let mut stdin = process.take_stdin().unwrap();
    std::io::Write::write_all(&mut stdin, b"one\ntwo\nthree\n").unwrap();
    let scraped = wait_for("three acknowledged records in a scrape", || {
        let answer = http::get(&metrics, "/metrics").ok()?;
        let scraped = Exposition::parse(&answer.body).unwrap();
        (scraped.sum("gapless_producer_records_acked_total", &[]) == 3.0).then_some(scraped)
    });
    drop(stdin);
    let ended = process.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let written = Exposition::parse(&fs::read_to_string(&file).unwrap()).unwrap();
    for (way, exposition) in [("--metrics-listen", &scraped), ("--metrics-file", &written)] {
        assert_same(way, &rows_of("Producer"), &exported(exposition));
        assert_eq!(exposition.value("gapless_producer_records_sent_total", &[]), Some(3.0), "{way}");
        assert_eq!(exposition.sum("gapless_producer_records_failed_total", &[]), 0.0, "{way}");
    }
}

/// The catalogued name of a histogram's part; any other name as it is.
fn base_name<'a>(name: &'a str, known: &BTreeMap<String, Row>) -> &'a str {
    let histogram = |base: &&str| known.get(*base).is_some_and(|row| row.kind == "histogram");
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix).filter(histogram))
        .unwrap_or(name)
}

#[test]
fn alerts_look_at_what_is_exported_and_say_the_way_back() {
    let rules = rules();
    assert!(rules.len() > 20, "{} alerts", rules.len());
    for Rule { file, name, expression, texts } in &rules {
        let known = rows_of(if file.contains("broker") { "Broker" } else { "Producer" });
        let parsed = parse(expression).unwrap_or_else(|why| panic!("{name}: {why}: {expression}"));
        let found = selectors(&parsed);
        assert!(!found.is_empty(), "{name}: {expression} asks for no metric");
        for (metric, labels) in found {
            if metric == "up" {
                continue; // Prometheus' own.
            }
            let row = known
                .get(base_name(&metric, &known))
                .unwrap_or_else(|| panic!("{name}: {metric} is not exported"));
            for label in labels {
                assert!(
                    label == "job" || row.labels.contains(&label),
                    "{name}: {metric} has no label {label}"
                );
            }
        }
        for text in ["summary", "description", "runbook"] {
            assert!(texts.get(text).is_some_and(|text| text.len() > 15), "{name} has no {text}");
        }
        assert!(
            ["critical", "warning"].contains(&texts["severity"].as_str()),
            "{name}: {}",
            texts["severity"]
        );
    }
    let names: BTreeMap<_, _> =
        rules.iter().map(|rule| (rule.name.clone(), rule.texts["severity"].clone())).collect();
    assert_eq!(names.len(), rules.len(), "every alert has a name of its own");
    assert_eq!(listed_alerts(), names, "grafana/README.md lists the alerts");
    let tests = rule_tests();
    for name in names.keys() {
        let fires = format!("alertname=\"{name}\"");
        assert!(tests.contains(&fires), "grafana/rules/tests has no case in which {name} fires");
    }
}

#[test]
fn dashboards_ask_for_nothing_that_is_not_exported_and_leave_little_out() {
    for (file, dashboard) in dashboards() {
        let end = if file.contains("broker") { "Broker" } else { "Producer" };
        let known = rows_of(end);
        let mut used = BTreeSet::new();
        for (panel, expression) in expressions(&dashboard) {
            // The parser knows no variables of Grafana's.
            let plain = expression.replace("$__rate_interval", "1m").replace("$__range", "1h");
            let parsed = parse(&plain).unwrap_or_else(|why| panic!("{file}, {panel}: {why}: {expression}"));
            let found = selectors(&parsed);
            assert!(!found.is_empty(), "{file}, {panel}: {expression} asks for no metric");
            for (name, labels) in found {
                let base = base_name(&name, &known);
                let row =
                    known.get(base).unwrap_or_else(|| panic!("{file}, {panel}: {name} is not exported"));
                used.insert(base.to_owned());
                for label in labels {
                    let standard = ["job", "instance"].contains(&label.as_str());
                    assert!(
                        standard || row.labels.contains(&label),
                        "{file}, {panel}: {name} has no label {label}"
                    );
                }
                if !panel.starts_with("variable") {
                    let matched = |label| expression.contains(&format!("{label}=~\"${label}\""));
                    assert!(matched("job") && matched("instance"), "{file}, {panel}: {expression}");
                }
            }
        }
        let own = |name: &&String| name.starts_with("gapless_");
        let unused: Vec<_> = known.keys().filter(own).filter(|name| !used.contains(*name)).collect();
        assert!(unused.is_empty(), "{file} shows nothing of {unused:?}");
    }
}

#[test]
fn dashboards_are_classic_json_that_grafana_imports_anywhere() {
    for (file, dashboard) in dashboards() {
        assert_eq!(dashboard["schemaVersion"], 42, "{file}");
        assert!(dashboard["uid"].as_str().is_some_and(|uid| uid.starts_with("gapless-")), "{file}");
        assert!(dashboard["annotations"]["list"].is_array(), "{file}");
        assert_eq!(dashboard["__inputs"], Value::Null, "{file}");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["datasource", "job", "instance"], "{file}");
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty(), "{file}: a panel without a title");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {title} has another's id");
            let place = &panel["gridPos"];
            let number = |name: &str| place[name].as_u64().unwrap();
            assert!(number("x") + number("w") <= 24, "{file}: {title} is off the grid");
            for x in number("x")..number("x") + number("w") {
                for y in number("y")..number("y") + number("h") {
                    assert!(taken.insert((x, y)), "{file}: {title} lies over another panel");
                }
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(["timeseries", "stat"].contains(&panel["type"].as_str().unwrap()), "{file}: {title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}: {title}");
            assert!(
                panel["description"].as_str().is_some_and(|text| text.len() > 10),
                "{file}: {title} says nothing"
            );
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}: {title} has no unit");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}: {title}");
                let expression = target["expr"].as_str().unwrap();
                if expression.contains("rate(") {
                    assert!(expression.contains("[$__rate_interval]"), "{file}: {title}: {expression}");
                }
            }
        }
    }
}
