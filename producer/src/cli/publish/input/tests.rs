use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Gives its pieces one by one, as a pipe does.
struct Pieces(VecDeque<io::Result<Vec<u8>>>);

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.pop_front() {
            None => Ok(0),
            Some(Err(error)) => Err(error),
            Some(Ok(piece)) => {
                let taken = piece.len().min(into.len());
                into[..taken].copy_from_slice(&piece[..taken]);
                if taken < piece.len() {
                    self.0.push_front(Ok(piece[taken..].to_vec()));
                }
                Ok(taken)
            }
        }
    }
}

/// The lines that come out (with what ends them), overlong ones as their size.
fn lines_of(
    pieces: Vec<io::Result<Vec<u8>>>,
    line_max: usize,
) -> (Vec<Result<Vec<u8>, u64>>, io::Result<()>) {
    let (out, mut inputs) = mpsc::channel(10_000);
    let (give_back, spare) = mpsc::channel(4);
    let mut pump = Pump { out, spare, line_max };
    let end = pump.read(0, Pieces(pieces.into()));
    drop(pump);
    let mut lines = Vec::new();
    while let Ok(input) = inputs.try_recv() {
        match input {
            Input::Block(block) => {
                lines.extend(
                    block.bytes().split_inclusive(|byte| *byte == b'\n').map(|line| Ok(line.to_vec())),
                );
                let _ = give_back.try_send(block.into_buffer());
            }
            Input::LineTooLong { size, at_least, .. } => {
                assert!(!at_least);
                lines.push(Err(size));
            }
            Input::Failed { error, .. } => panic!("{error}"),
        }
    }
    (lines, end.unwrap_or(Ok(())))
}

#[test]
fn lines_come_out_as_they_went_in() {
    for (input, expected) in [
        ("", &[][..]),
        ("\n", &["\n"]),
        ("a", &["a"]),
        ("a\n", &["a\n"]),
        ("a\n\nb\r\nc", &["a\n", "\n", "b\r\n", "c"]),
        ("\n\n", &["\n", "\n"]),
    ] {
        let (lines, end) = lines_of(vec![Ok(input.as_bytes().to_vec())], 100);
        let expected: Vec<_> = expected.iter().map(|line| Ok(line.as_bytes().to_vec())).collect();
        assert_eq!(lines, expected, "{input:?}");
        assert!(end.is_ok());
    }
}

#[test]
fn only_the_newline_ends_a_line_unless_told_otherwise() {
    let lines = |text: &str, crlf| {
        let block = Block { source: 0, buffer: text.as_bytes().to_vec(), filled: text.len() };
        block.lines(crlf).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    for (text, kept, cut) in [
        ("a\r\nb\r\n", &["a\r", "b\r"][..], &["a", "b"][..]),
        ("a\r\r\n\r\n\n", &["a\r\r", "\r", ""], &["a\r", "", ""]),
        ("a\rb\nlast\r", &["a\rb", "last\r"], &["a\rb", "last\r"]),
        ("\n", &[""], &[""]),
    ] {
        assert_eq!(lines(text, false), kept, "{text:?}");
        assert_eq!(lines(text, true), cut, "{text:?}");
    }
}

#[test]
fn a_line_over_the_limit_is_measured_and_left_out_and_those_around_it_come() {
    let long = vec![b'x'; 5000];
    let mut input = b"before\n".to_vec();
    input.extend_from_slice(&long);
    input.extend_from_slice(b"\nafter\nand after\nlast");
    for cut in [1, 3, 100, 4096, 10_000] {
        let pieces = input.chunks(cut).map(|piece| Ok(piece.to_vec())).collect();
        let (lines, _) = lines_of(pieces, 100);
        let text = |line: &str| Ok(line.as_bytes().to_vec());
        // Read at once, the whole block comes with its newlines; the consumer measures then.
        if cut == 10_000 {
            assert_eq!(lines.len(), 5);
            assert_eq!(lines[4], text("last"));
        } else {
            let expected =
                vec![text("before\n"), Err(5000), text("after\n"), text("and after\n"), text("last")];
            assert_eq!(lines, expected, "in pieces of {cut}");
        }
    }
    let (lines, _) = lines_of(long.chunks(7).map(|piece| Ok(piece.to_vec())).collect(), 100);
    assert_eq!(lines, [Err(5000)], "without an end");
}

#[test]
fn lines_longer_than_a_block_come_whole() {
    let long = vec![b'y'; 3 * BLOCK_SIZE + 5];
    let mut input = long.clone();
    input.push(b'\n');
    let pieces = input.chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
    let (lines, _) = lines_of(pieces, 10 * BLOCK_SIZE);
    assert_eq!(lines, [Ok(input)]);
}

#[test]
fn whole_lines_before_an_error_come_first() {
    let pieces =
        vec![Ok(b"one\ntw".to_vec()), Err(io::ErrorKind::Interrupted.into()), Ok(b"o\nthr".to_vec())];
    let mut pieces: Vec<_> = pieces;
    pieces.push(Err(io::Error::other("disk gone")));
    let (lines, end) = lines_of(pieces, 100);
    assert_eq!(lines, [Ok(b"one\n".to_vec()), Ok(b"two\n".to_vec())]);
    assert_eq!(end.unwrap_err().to_string(), "disk gone");
}

#[test]
fn what_cannot_be_input_is_refused_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    for (files, expected) in [
        (vec![dir.path().to_owned()], "is a directory; name the files in it"),
        (vec![missing], "cannot be read"),
        (vec![PathBuf::from("-"), PathBuf::from("-")], "named twice"),
    ] {
        match sources(&files).unwrap_err() {
            Stop::Failed(message) | Stop::Usage(message) => assert!(message.contains(expected), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sources(&[]).unwrap(), [Source::Stdin]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_in_any_pieces(
        text in prop::collection::vec(prop_oneof![5 => Just(b'a'), 2 => Just(b'\n'), 1 => Just(b'\r')], 0..400),
        cut in 1usize..60,
    ) {
        let pieces = text.chunks(cut).map(|piece| Ok(piece.to_vec())).collect();
        let (lines, _) = lines_of(pieces, 1000);
        let expected: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').map(|line| Ok(line.to_vec())).collect();
        prop_assert_eq!(lines, expected);
    }
}
