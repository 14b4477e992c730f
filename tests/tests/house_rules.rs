//! Rules of this house that no lint knows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gapless_tests::binaries::workspace;

/// Every file of the workspace but what is built, stored or ignored.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ["target", ".git", "gapless-data", "__pycache__"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Name within the workspace, and content, of every text file.
fn texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(workspace(), &mut found);
    found
        .into_iter()
        .filter_map(|path| {
            let name = path.strip_prefix(workspace()).ok()?.display().to_string();
            Some((name, fs::read_to_string(path).ok()?))
        })
        .collect()
}

fn sources() -> impl Iterator<Item = (String, String)> {
    texts().into_iter().filter(|(name, _)| name.ends_with(".rs"))
}

#[test]
fn select_is_always_biased() {
    // Otherwise it draws its order from a generator of its own, and no seed repeats a run.
    let call = ["select", "! {"].concat();
    let mut seen = 0;
    for (name, text) in sources() {
        for (at, _) in text.match_indices(&call) {
            let inside = text[at + call.len()..].trim_start();
            let line = text[..at].lines().count();
            assert!(inside.starts_with("biased;"), "{name}:{line}: select without biased");
            seen += 1;
        }
        let other = text.matches(&["select", "!"].concat()).count() - text.matches(&call).count();
        let told = text.matches(&["select", "!`"].concat()).count();
        assert!(other == told, "{name}: write it as the rule can read it: {call} biased;");
    }
    assert!(seen > 0, "the rule found nothing to look at");
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let places =
        [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"]].map(|parts| parts.concat());
    for (name, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let place = places.iter().find(|place| line.contains(*place));
            assert_eq!(place, None, "{name}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn no_source_is_longer_than_a_thought() {
    const LINES_MAX: usize = 650;
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines: it is two files");
    }
}

#[test]
fn every_promise_is_part_of_the_one_program() {
    let folder = workspace().join("tests/tests");
    let program = fs::read_to_string(folder.join("promises.rs")).expect("the program is there");
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let declared = program.lines().any(|line| line == format!("mod {name};"));
        assert!(declared || name == "promises", "promises.rs has no \"mod {name};\": its tests never run");
    }
}

#[test]
fn the_table_of_faults_names_tests_that_are_there() {
    let table = fs::read_to_string(workspace().join("tests/README.md")).expect("the table is there");
    let mut seen = 0;
    for named in table.split('`').skip(1).step_by(2) {
        if named.ends_with(".sh") && named.contains('/') {
            assert!(workspace().join(named).is_file(), "{named} is not there");
        }
        let Some((file, test)) = named.split_once("::") else { continue };
        let source =
            fs::read_to_string(workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "{file} has no test {test}");
        seen += 1;
    }
    assert!(seen > 40, "only {seen} tests are named");
    for number in 1..=40 {
        assert!(table.contains(&format!("\n| {number} |")), "fault {number} is not in the table");
    }
    for letter in 'a'..='g' {
        assert!(table.contains(&format!("\n| 14{letter} |")), "fault 14{letter} is not in the table");
    }
}

#[test]
fn the_catalogue_of_the_house_is_complete() {
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "quickstart.sh",
        "grafana/README.md",
        "tests/README.md",
    ] {
        assert!(workspace().join(name).is_file(), "{name} is missing");
    }
}
