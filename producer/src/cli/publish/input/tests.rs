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
    let mut pump = Pump { out, spare, record_max: line_max, cut: Cut::Lines, decompress: false };
    let end = pump.read(0, Pieces(pieces.into()), &Arc::default());
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
            Input::TooLong { size, at_least, .. } => {
                assert!(!at_least);
                lines.push(Err(size));
            }
            other => panic!("{other:?}"),
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
        let buffer = text.as_bytes().to_vec();
        let block = Block { source: 0, read: 0, buffer, filled: text.len(), cuts: Cuts::Lines(0) };
        block.lines(crlf).map(|(line, _)| String::from_utf8(line.to_vec()).unwrap()).collect::<Vec<_>>()
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

/// What comes of these bytes, in pieces of `piece`, as `LINE: FIELD|FIELD`, `frame`, `header: …` or `!LINE: why`.
fn told(text: &[u8], piece: usize, cut: Cut, record_max: usize) -> Vec<String> {
    let (out, mut inputs) = mpsc::channel(10_000);
    let (give_back, spare) = mpsc::channel(4);
    let mut pump = Pump { out, spare, record_max, cut, decompress: true };
    let pieces = text.chunks(piece).map(|piece| Ok(piece.to_vec())).collect();
    pump.read(0, Pieces(pieces), &Arc::default()).unwrap().unwrap();
    drop(pump);
    let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let mut all = Vec::new();
    while let Ok(input) = inputs.try_recv() {
        match input {
            Input::Header { line, names, .. } => {
                let names: Vec<_> = names.iter().map(|name| show(name)).collect();
                all.push(format!("header {line}: {}", names.join("|")));
            }
            Input::Block(block) => {
                for piece in block.pieces(false) {
                    all.push(match piece.item {
                        Item::Bytes(bytes) => show(bytes),
                        Item::Row(row) => {
                            let fields: Vec<_> = row.fields().map(show).collect();
                            format!("{}: {}", piece.line.unwrap(), fields.join("|"))
                        }
                    });
                }
                let _ = give_back.try_send(block.into_buffer());
            }
            Input::TooLong { line, what, size, .. } => all.push(format!("!{line:?}: {what} of {size}")),
            Input::NoRecord { line, why, .. } => all.push(format!("!{line:?}: {why}")),
            other => panic!("{other:?}"),
        }
    }
    all
}

#[test]
fn rows_are_what_spreadsheets_write() {
    let comma = RowSyntax { delimiter: b',', quote: Some(b'"'), header: true };
    let bare = RowSyntax { delimiter: b'\t', quote: None, header: false };
    for (text, syntax, expected) in [
        ("", comma, &[][..]),
        ("a,b\n", comma, &["header 1: a|b"]),
        ("a,b\n1,2\n3,4", comma, &["header 1: a|b", "2: 1|2", "3: 3|4"]),
        ("a,b\r\n1,2\r\n\r\n3,\r\n", comma, &["header 1: a|b", "2: 1|2", "4: 3|"]),
        ("\u{feff}a,b\n1,2\n", comma, &["header 1: a|b", "2: 1|2"]),
        (
            "a,b\n\"x, \"\"y\"\"\",\"two\nlines\"\nz,\n",
            comma,
            &["header 1: a|b", "2: x, \\\"y\\\"|two\\nlines", "4: z|"],
        ),
        ("a\n5\" pipe\n", comma, &["header 1: a", "2: 5\\\" pipe"]),
        ("a\tb\n\"1\t2\n", bare, &["header 1: 1|2", "1: a|b", "2: \\\"1|2"]),
        (
            "a\n1\n\"open\n2\n3\n",
            comma,
            &[
                "header 1: a",
                "2: 1",
                "!Some(3): a quoted field of this row is never closed; --quote none takes quotes as they are",
            ],
        ),
        (
            "a\n1\n1234567890123456\n2\n\"345678901234\n567\"\n3\n",
            comma,
            &["header 1: a", "2: 1", "!Some(3): row of 16", "4: 2", "!Some(5): row of 16", "7: 3"],
        ),
    ] {
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(told(text.as_bytes(), piece, Cut::Rows(syntax), 15), expected, "{text:?} by {piece}");
        }
    }
    let wide = format!("a\n{}\nb\n", ",".repeat(200_000));
    let told = told(wide.as_bytes(), 1000, Cut::Rows(comma), 10);
    assert_eq!(told[1..], ["!Some(2): a row of more than 100000 fields", "3: b"]);
}

#[test]
fn raw_bytes_are_cut_as_they_say() {
    let frames = |text: &str| Cut::Frames(text.parse().unwrap());
    let middle = "!None: the source ends in the middle of a frame: 1 of 3 bytes are there";
    for (bytes, framing, expected) in [
        (&b""[..], "whole", &[""][..]),
        (b"\x00\n\xff", "whole", &["\\x00\\n\\xff"]),
        (b"12345678901", "whole", &["!None: file of 11"]),
        (b"", "fixed:3", &[]),
        (b"abcdef", "fixed:3", &["abc", "def"]),
        (b"abcd", "fixed:3", &["abc", middle]),
        (b"\x00\x03abc\x00\x00\x00\x01d", "u16be", &["abc", "", "d"]),
        (b"\x03\x00abc\x03\x00a", "u16le", &["abc", middle]),
        (
            b"\x00\x00\x00\x01a\x00\x00",
            "u32be",
            &["a", "!None: the source ends in the middle of a frame's length"],
        ),
        (b"\x01\x00\x00\x00a", "u32le", &["a"]),
        (b"\x01a\x00\x02bc", "varint", &["a", "", "bc"]),
        (b"\x01a\x0c0123456789ab\x01b", "varint", &["a", "!None: frame of 12", "b"]),
        (b"\x01a\x0c0123", "varint", &["a", "!None: frame of 12"]),
        (b"\x01a\xff\xff\xff\x7f", "varint", &["a", "!None: frame of 268435455"]),
    ] {
        for piece in [1, 2, 3, 5, 1000] {
            assert_eq!(told(bytes, piece, frames(framing), 10), expected, "{framing} {bytes:?} by {piece}");
        }
    }
    let broken = told(&[&[1, b'a'][..], &[0x80; 20]].concat(), 1000, frames("varint"), 10);
    assert_eq!(broken[0], "a");
    assert!(broken[1].contains("no varint") && broken[1].contains("cannot be cut"), "{broken:?}");
    // Longer than a block, in one piece.
    let long = vec![b'z'; 3 * BLOCK_SIZE];
    let framed = [&(long.len() as u32).to_be_bytes()[..], &long, &[0, 0, 0, 1, b'a']].concat();
    let told = told(&framed, 100_000, frames("u32be"), 10 * BLOCK_SIZE);
    assert_eq!((told.len(), told[0].len(), told[1].as_str()), (2, long.len(), "a"));
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
