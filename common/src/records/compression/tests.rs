use super::*;
use proptest::prelude::*;
use std::io::Write as _;

const MAX: usize = 1 << 20;

fn compressed(codec: Compression, level: Option<i32>, records: &[u8]) -> Vec<u8> {
    let batch = [&[0; HEADER_SIZE], records].concat();
    let batch = compress_batch(&batch, codec, level).expect("smaller");
    assert_eq!(batch[..HEADER_SIZE], [0; HEADER_SIZE], "the header's room stays");
    batch[HEADER_SIZE..].to_vec()
}

fn detail(outcome: Result<Vec<u8>, BatchError>) -> String {
    match outcome {
        Err(BatchError::Decompress { detail, .. }) => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_and_numbers_are_kafkas() {
    for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let codec = Compression::parse(name).unwrap();
        assert_eq!((codec.id(), codec.to_string().as_str()), (id as i16, name));
        assert_eq!(Compression::from_id(id as i16), Some(codec));
    }
    assert_eq!(Compression::from_id(5), None);
    assert_eq!(Compression::from_id(-1), None);
    assert_eq!(Compression::parse("zip"), None);
}

#[test]
fn every_level_works_and_levels_outside_are_the_nearest_inside() {
    let text = "all work and no play makes a dull batch; ".repeat(200).into_bytes();
    for codec in [Compression::Gzip, Compression::Zstd] {
        for level in [i32::MIN, 1, 5, 9, 19, 22, i32::MAX] {
            let bytes = compressed(codec, Some(level), &text);
            assert_eq!(decompress(codec, &bytes, MAX).as_ref(), Ok(&text), "{codec} {level}");
        }
        let levels = codec.levels().unwrap();
        assert_eq!(compressed(codec, Some(i32::MAX), &text), compressed(codec, Some(*levels.end()), &text));
    }
}

#[test]
fn the_bound_is_exact() {
    let text = "0123456789".repeat(1_000).into_bytes();
    for codec in Compression::ALL.into_iter().skip(1) {
        let bytes = compressed(codec, None, &text);
        assert_eq!(decompress(codec, &bytes, text.len()).as_ref(), Ok(&text));
        let decompressed_max = text.len() - 1;
        assert_eq!(
            decompress(codec, &bytes, decompressed_max),
            Err(BatchError::Expands { codec, decompressed_max })
        );
    }
}

// One record as upstream Kafka compresses it (from the tests of the crate kafka-protocol), framed and raw.
const XERIAL: &[u8] =
    b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x0f\x0d\x30\x18\x00\x00\x00\x01\x0csdfdsf\x00";
const RAW: &[u8] = b"\x0d\x30\x18\x00\x00\x00\x01\x0csdfdsf\x00";
const SNAPPY_RECORDS: &[u8] = b"\x18\x00\x00\x00\x01\x0csdfdsf\x00";

#[test]
fn snappy_is_read_in_both_framings() {
    assert_eq!(decompress(Compression::Snappy, XERIAL, MAX).unwrap(), SNAPPY_RECORDS);
    assert_eq!(decompress(Compression::Snappy, RAW, MAX).unwrap(), SNAPPY_RECORDS);
    // Blocks in a row, and streams in a row (snappy-java concatenates).
    let blocks = [XERIAL, &XERIAL[16..], XERIAL].concat();
    assert_eq!(decompress(Compression::Snappy, &blocks, MAX).unwrap(), SNAPPY_RECORDS.repeat(3));
}

#[test]
fn snappy_is_written_as_java_frames_it() {
    let text = "snappy ".repeat(10_000).into_bytes();
    let bytes = compressed(Compression::Snappy, None, &text);
    assert_eq!(bytes[..16], XERIAL[..16]);
    let mut rest = &bytes[16..];
    let mut sizes = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (block, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        sizes.push(snap::raw::decompress_len(block).unwrap());
        rest = after;
    }
    assert_eq!(sizes, [32_768, 32_768, 4_464]);
}

#[test]
fn snappy_lengths_that_lie_get_no_memory() {
    // Raw: a block of a few bytes that announces four billion.
    let lie = [b"\xff\xff\xff\xff\x0f".as_slice(), &[0; 20]].concat();
    assert_eq!(
        detail(decompress(Compression::Snappy, &lie, MAX)),
        "a block of 25 bytes cannot become 4294967295"
    );
    let framed = [&XERIAL[..16], &(25_i32).to_be_bytes(), &lie].concat();
    assert!(detail(decompress(Compression::Snappy, &framed, MAX)).contains("cannot become"));
    for length in [i32::MIN, -1, 16, i32::MAX] {
        let framed = [&XERIAL[..16], &length.to_be_bytes(), &XERIAL[20..]].concat();
        detail(decompress(Compression::Snappy, &framed, MAX));
    }
    assert_eq!(detail(decompress(Compression::Snappy, &XERIAL[..12], MAX)), "cut off inside a block");
}

fn lz4_frame(info: lz4_flex::frame::FrameInfo, content: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lz4_is_read_with_every_option_of_a_frame() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};
    let text: Vec<u8> = (0..60_000_u32).flat_map(|number| (number / 7).to_be_bytes()).collect();
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for checks in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(text.len() as u64));
                let frame = lz4_frame(info, &text);
                assert_eq!(decompress(Compression::Lz4, &frame, MAX).as_ref(), Ok(&text));
            }
        }
    }
}

#[test]
fn lz4_is_written_as_java_reads_it() {
    let bytes = compressed(Compression::Lz4, None, &b"lz4 ".repeat(50_000));
    assert_eq!(bytes[..4], lz4::MAGIC);
    // Version 1 and independent blocks; no checksums, no content size, no dictionary (Lz4BlockInputStream refuses linked blocks).
    assert_eq!(bytes[4], 0b0110_0000);
    assert_eq!(bytes[5], 0b0100_0000, "blocks of 64 KiB");
}

#[test]
fn lz4_frames_end_where_they_should() {
    let frame = compressed(Compression::Lz4, None, &b"lz4 ".repeat(50));
    let without_end_mark = &frame[..frame.len() - 4];
    assert_eq!(detail(decompress(Compression::Lz4, without_end_mark, MAX)), "the frame has no end mark");
    let followed = [&frame[..], b"xyz"].concat();
    assert_eq!(detail(decompress(Compression::Lz4, &followed, MAX)), "3 bytes follow the end of the frame");
    let legacy = [&[0x02, 0x21, 0x4c, 0x18], &frame[4..]].concat();
    assert_eq!(detail(decompress(Compression::Lz4, &legacy, MAX)), "no lz4 frame begins here");
    assert_eq!(detail(decompress(Compression::Lz4, &[], MAX)), "no lz4 frame begins here");
}

#[test]
fn gzip_members_and_zstd_frames_may_follow_each_other() {
    let text = "twice ".repeat(100).into_bytes();
    for codec in [Compression::Gzip, Compression::Zstd] {
        let once = compressed(codec, None, &text);
        assert_eq!(decompress(codec, &once.repeat(2), MAX).unwrap(), text.repeat(2), "{codec}");
        detail(decompress(codec, &[&once[..], b"something else"].concat(), MAX));
        detail(decompress(codec, &once[..once.len() - 1], MAX));
    }
}

#[test]
fn zstd_windows_are_bounded() {
    // A frame of one raw block, "hi", that asks for a window of 2^log bytes.
    let frame =
        |log: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3], &[0x11, 0, 0][..], b"hi"].concat();
    for log in [10, 23, 27] {
        assert_eq!(decompress(Compression::Zstd, &frame(log), MAX).unwrap(), b"hi", "2^{log}");
    }
    for log in [28, 31, 41] {
        assert!(
            detail(decompress(Compression::Zstd, &frame(log), MAX)).contains("too much memory"),
            "2^{log}"
        );
    }
    // Level 22 asks for the largest window when it does not know how much will come.
    let text = "far apart ".repeat(10_000).into_bytes();
    let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 22).unwrap();
    encoder.write_all(&text).unwrap();
    let frame = encoder.finish().unwrap();
    assert_eq!(decompress(Compression::Zstd, &frame, MAX).unwrap(), text);
}

#[test]
fn a_context_that_failed_serves_the_next_batch() {
    let text = "next ".repeat(1_000).into_bytes();
    let frame = compressed(Compression::Zstd, None, &text);
    detail(decompress(Compression::Zstd, &frame[..frame.len() / 2], MAX));
    assert!(matches!(decompress(Compression::Zstd, &frame, 10), Err(BatchError::Expands { .. })));
    assert_eq!(decompress(Compression::Zstd, &frame, MAX).unwrap(), text);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_codec_gives_back_what_it_was_given(
        parts in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..50), 1_usize..3_000), 1..5),
        codec in 1_i16..5,
    ) {
        let codec = Compression::from_id(codec).unwrap();
        let records: Vec<u8> = parts.iter().flat_map(|(part, times)| part.repeat(*times)).collect();
        let batch = [&[0; HEADER_SIZE], records.as_slice()].concat();
        let Some(compressed) = compress_batch(&batch, codec, None) else { return Ok(()) };
        prop_assert!(compressed.len() < batch.len());
        prop_assert_eq!(decompress(codec, &compressed[HEADER_SIZE..], records.len()).unwrap(), records);
    }

    #[test]
    fn noise_is_no_panic(noise in proptest::collection::vec(any::<u8>(), 0..300), codec in 1_i16..5) {
        let codec = Compression::from_id(codec).unwrap();
        let start: &[u8] = match codec {
            Compression::Gzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
            Compression::Snappy => &XERIAL[..16],
            Compression::Lz4 => &lz4::MAGIC,
            _ => &[0x28, 0xb5, 0x2f, 0xfd],
        };
        for bytes in [noise.clone(), [start, noise.as_slice()].concat()] {
            if let Ok(records) = decompress(codec, &bytes, 10_000) {
                prop_assert!(records.len() <= 10_000);
            }
        }
    }
}
