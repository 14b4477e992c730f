//! On a terminal, a line says how far a run is. It fits the terminal, whatever it has to say; what else is said stays above it;
//! and nothing of it is left at the end.

use gapless_tests::{
    broker::Broker,
    cli::{file, start_on_terminal},
    ports::free_port,
    process::Process,
    wait::wait_until,
};
use rustix::process::Signal;

const COLUMNS: u16 = 64;

/// What was written to a terminal, in the pieces between which its cursor went elsewhere; without what moves it.
fn pieces(process: &Process) -> Vec<String> {
    let written = process.stderr();
    let mut pieces = vec![String::new()];
    let mut rest = written.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' | '\n' => pieces.push(String::new()),
            '\u{1b}' => {
                // ESC [, numbers, and a letter that says what for.
                if rest.by_ref().skip(1).find(char::is_ascii_alphabetic).is_some_and(|letter| letter != 'm') {
                    pieces.push(String::new());
                }
            }
            other => pieces.last_mut().expect("there is one").push(other),
        }
    }
    pieces
}

fn in_flight(piece: &str) -> Option<u64> {
    let count = piece.split(", ").find_map(|part| part.strip_suffix(" in flight"))?;
    count.replace(',', "").parse().ok()
}

fn assert_fits(process: &Process, word: &str) {
    let shown: Vec<String> = pieces(process).into_iter().filter(|piece| piece.contains(word)).collect();
    assert!(!shown.is_empty(), "{:?}", process.stderr());
    for piece in shown {
        assert!(piece.chars().count() <= COLUMNS.into(), "{piece:?} is wider than {COLUMNS}");
    }
}

#[test]
fn progress_fits_and_an_interrupt_is_answered_above_it() {
    let mut broker = Broker::start();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let lines: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    let input = file(folder.path(), "input", lines.as_bytes());
    let flags =
        ["publish", "--bootstrap-server", broker.address(), "--topic", "lines", "--rate", "1000", &input];
    let mut process = start_on_terminal(flags, COLUMNS);
    broker.wait_for_metric("gapless_broker_partition_high_watermark", &[("topic", "lines")], 100.0);
    broker.freeze();
    wait_until("something to finish", || {
        pieces(&process).iter().filter_map(|piece| in_flight(piece)).any(|some| some >= 50)
    });
    process.signal(Signal::INT);
    let answer = "interrupted: finishing what was read; once more stops at once";
    wait_until("an answer to the interrupt", || pieces(&process).iter().any(|piece| piece == answer));
    broker.thaw();
    wait_until("the end", || process.has_ended());
    assert_fits(&process, "acknowledged");
    let stdout = process.stdout();
    assert!(stdout.contains("records acknowledged in topic lines"), "{stdout}");
    assert_eq!(process.end().code, 130);
}

#[test]
fn who_waits_for_a_broker_is_told_for_which() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let process = start_on_terminal(["topic", "list", "--bootstrap-server", &nobody], COLUMNS);
    let waiting = format!("waiting for {nobody}");
    wait_until("a word", || process.stderr().contains(&waiting));
    process.signal(Signal::INT);
    assert_eq!(process.end().code, 130);
}
