//! A broker and a producer under load, watched by the real Prometheus: what promtool says of a live scrape, and whether every
//! expression of every panel and rule answers with data. `tests/peers/prometheus.sh` gets the programs and runs this.

use std::{
    fs,
    io::{BufWriter, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use gapless_tests::{
    batch::{Stamp, batch},
    binaries::workspace,
    broker::Broker,
    cli, http,
    monitoring::{dashboards, expressions, metric_parts, rules},
    oracle::value_of,
    ports::free_port,
    process::Process,
    raw::RawClient,
    wait::{wait_until, wait_within},
};
use serde_json::Value;

/// Between two rounds of the load: light, but never silent.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an expression may take to have data: a few scrapes, and the first evaluation.
const DATA_WITHIN: Duration = Duration::from_secs(60);

/// The repository's own configuration with the addresses of this run, scraped every second.
fn configuration(broker: &str, producer: &str) -> String {
    let text =
        fs::read_to_string(workspace().join("grafana/prometheus.yml")).expect("the configuration is there");
    let rules = workspace().join("grafana/rules").display().to_string();
    for expected in ["127.0.0.1:9644\"", "127.0.0.1:9645\"", "scrape_interval: 5s", "- rules/"] {
        assert!(text.contains(expected), "grafana/prometheus.yml has no {expected:?} to replace");
    }
    text.replace("127.0.0.1:9644\"", &format!("{broker}\""))
        .replace("127.0.0.1:9645\"", &format!("{producer}\""))
        .replace("scrape_interval: 5s", "scrape_interval: 1s")
        .replace("evaluation_interval: 15s", "evaluation_interval: 1s")
        .replace("- rules/", &format!("- {rules}/"))
}

/// What promtool has to say against a scrape; it reads standard input.
fn lint(scrape: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(scrape.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// One question to Prometheus' API; its `data`.
fn ask(address: &str, path: &str) -> Option<Value> {
    let answer = http::get(address, path).ok()?;
    let mut value: Value = serde_json::from_str(&answer.body).ok()?;
    Some(value["data"].take())
}

/// Whether an expression has a sample that is a number now.
fn answers(address: &str, expression: &str) -> bool {
    let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let data = ask(address, &format!("/api/v1/query?query={encoded}")).unwrap_or_default();
    data["result"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|sample| sample["value"][1].as_str().is_some_and(|value| value != "NaN"))
}

/// Everything that panels, variables and alerts ask, as Prometheus takes it, with the place it stands.
fn questions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (file, dashboard) in dashboards() {
        for (panel, expression) in expressions(&dashboard) {
            let plain = expression
                .replace("$__rate_interval", "10s")
                .replace("$__range", "1m")
                .replace("$job", ".+")
                .replace("$instance", ".+");
            all.push((format!("{file}, {panel}"), plain));
        }
    }
    for rule in rules() {
        for part in metric_parts(&rule.expression) {
            all.push((format!("{}, {}", rule.file, rule.name), part));
        }
    }
    all
}

fn prometheus(folder: &Path, broker: &str, producer: &str) -> (Process, String) {
    let file = folder.join("prometheus.yml");
    fs::write(&file, configuration(broker, producer)).expect("the configuration can be written");
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"));
    (Process::start("prometheus", &mut command), address)
}

/// Every kind of traffic that a panel shows: batches taken, repeated and refused, reads, a new connection now and then.
fn other_clients(address: &str, over: &AtomicBool) {
    let mut client = RawClient::connect(address);
    let (id, epoch) = client.init_producer_id();
    let mut sequence = 0;
    while !over.load(Ordering::Relaxed) {
        let mut send = |sequence| {
            client.produce("watched", 0, batch(&[b"by hand"], Some(Stamp { id, epoch, sequence })))
        };
        send(sequence);
        send(sequence);
        send(sequence + 7);
        sequence += 1;
        client.fetch("watched", 0, 0);
        drop(RawClient::connect(address));
        thread::sleep(PAUSE);
    }
}

fn lines(mut into: impl Write, over: &AtomicBool) -> std::io::Result<()> {
    let mut out = BufWriter::new(&mut into);
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..50 {
            out.write_all(&value_of(number))?;
            out.write_all(b"\n")?;
            number += 1;
        }
        out.flush()?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Asks until everything has been answered; gives what is left and why.
fn complaints(broker: &Broker, producer: &str, folder: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    for (end, address) in [("broker", broker.http_address()), ("producer", producer)] {
        let scrape = http::get(address, "/metrics").expect("metrics can be scraped").body;
        let said = lint(&scrape);
        complaints.extend(said.lines().map(|line| format!("promtool check metrics, {end}: {line}")));
    }
    let (mut process, address) = prometheus(folder, broker.http_address(), producer);
    wait_until("Prometheus", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        http::get(&address, "/-/ready").is_ok_and(|answer| answer.status == 200)
    });
    let mut open = questions();
    wait_within(DATA_WITHIN, || {
        open.retain(|(_, expression)| !answers(&address, expression));
        open.is_empty().then_some(())
    });
    complaints
        .extend(open.into_iter().map(|(place, expression)| format!("{place} has no data: {expression}")));
    let loaded = ask(&address, "/api/v1/rules").unwrap_or_default();
    let loaded: Vec<_> = loaded["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    if loaded.len() != rules().len() {
        complaints.push(format!("Prometheus loaded {} of {} rules", loaded.len(), rules().len()));
    }
    let ill = loaded.iter().filter(|rule| rule["health"] == "err");
    complaints.extend(ill.map(|rule| format!("{} cannot be evaluated: {}", rule["name"], rule["lastError"])));
    complaints
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let broker = Broker::start();
    RawClient::connect(broker.address()).create_topic("watched");
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut producer = cli::start([
        "publish",
        "--bootstrap-server",
        broker.address(),
        "--topic",
        "watched",
        "--metrics-listen",
        &metrics,
        "-",
    ]);
    let stdin = producer.take_stdin().expect("standard input is piped");
    let over = AtomicBool::new(false);
    let complaints = thread::scope(|scope| {
        scope.spawn(|| lines(stdin, &over));
        scope.spawn(|| other_clients(broker.address(), &over));
        wait_until("the producer's metrics", || http::get(&metrics, "/metrics").is_ok());
        let complaints = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            complaints(&broker, &metrics, folder.path())
        }));
        // The senders end in any case, so that a failed check is seen.
        over.store(true, Ordering::Relaxed);
        complaints.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let ended = producer.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("{} questions of panels and rules asked, {} complaints", questions().len(), complaints.len());
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
