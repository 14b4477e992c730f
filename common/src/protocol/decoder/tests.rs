use bytes::Bytes;

use super::{DecodeProblem, Decoder};

fn decoder(bytes: &'static [u8]) -> Decoder {
    Decoder::new(Bytes::from_static(bytes))
}

#[test]
fn unsigned_varints() {
    let table: [(&[u8], Result<u32, DecodeProblem>); 9] = [
        (&[0x00], Ok(0)),
        (&[0x7f], Ok(127)),
        (&[0x80, 0x01], Ok(128)),
        (&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok(u32::MAX)),
        (&[0x80, 0x00], Ok(0)),
        (&[0xff, 0xff, 0xff, 0xff, 0x1f], Err(DecodeProblem::VarintTooLong)),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01], Err(DecodeProblem::VarintTooLong)),
        (&[0x80], Err(DecodeProblem::Truncated { needed: 1, remaining: 0 })),
        (&[], Err(DecodeProblem::Truncated { needed: 1, remaining: 0 })),
    ];
    for (bytes, expected) in table {
        assert_eq!(decoder(bytes).uvarint(), expected, "{bytes:02x?}");
    }
}

#[test]
fn lengths() {
    type Row = (&'static [u8], bool, Result<Option<usize>, DecodeProblem>);
    let table: [Row; 8] = [
        (&[0xff, 0xff, 0xff, 0xff], false, Ok(None)),
        (&[0xff, 0xff, 0xff, 0xfe], false, Err(DecodeProblem::NegativeLength(-2))),
        (&[0x80, 0x00, 0x00, 0x00], false, Err(DecodeProblem::NegativeLength(i64::from(i32::MIN)))),
        (&[0x7f, 0xff, 0xff, 0xff], false, Ok(Some(0x7fff_ffff))),
        (&[0x00], true, Ok(None)),
        (&[0x01], true, Ok(Some(0))),
        (&[0xff, 0xff, 0xff, 0xff, 0x0f], true, Ok(Some(0xffff_fffe))),
        (&[0x00, 0x00, 0x00], false, Err(DecodeProblem::Truncated { needed: 4, remaining: 3 })),
    ];
    for (bytes, flexible, expected) in table {
        assert_eq!(decoder(bytes).length(flexible), expected, "{bytes:02x?}");
    }
    assert_eq!(decoder(&[0xff, 0xff]).short_length(false), Ok(None));
    assert_eq!(decoder(&[0x80, 0x00]).short_length(false), Err(DecodeProblem::NegativeLength(-32768)));
}

#[test]
fn an_array_is_admitted_only_if_it_fits_the_bytes_and_the_memory() {
    let mut input = decoder(&[0; 10]);
    assert_eq!(input.admit(5, 2, 8), Ok(()));
    assert_eq!(
        input.admit(6, 2, 8),
        Err(DecodeProblem::ElementsBeyondEnd { count: 6, smallest: 2, remaining: 10 })
    );
    assert_eq!(
        input.admit(usize::MAX, 2, 8),
        Err(DecodeProblem::ElementsBeyondEnd { count: usize::MAX, smallest: 2, remaining: 10 })
    );

    // A megabyte of elements of one byte, each a view of 32 bytes: half of it is more than any honest message has.
    let size = 1 << 20;
    let mut input = Decoder::new(Bytes::from(vec![0; size]));
    assert!(input.admit(size / 2, 1, 32).is_ok());
    assert!(matches!(input.admit(size / 2, 1, 32), Err(DecodeProblem::TooMuchMemory { .. })));

    // Eight of them: what is so large holds records, which are not counted here, and little beside them.
    let mut input = Decoder::new(Bytes::from(vec![0; 8 * size]));
    assert!(input.admit(size, 1, 30).is_ok());
    assert!(matches!(input.admit(size, 1, 1), Err(DecodeProblem::TooMuchMemory { .. })));
}

#[test]
fn unknown_tagged_fields_are_skipped_and_known_ones_read_to_their_end() {
    // Three fields: tag 0 (two bytes), tag 7 (three bytes), tag 200 (empty); then a byte that is not theirs.
    let bytes: &[u8] = &[3, 0, 2, 0x01, 0x02, 7, 3, 9, 9, 9, 0xc8, 0x01, 0, 0x55];
    let mut input = decoder(bytes);
    let mut seen = Vec::new();
    input
        .tagged_fields(|tag, input| {
            seen.push(tag);
            Ok(tag == 0 && input.i16()? == 0x0102)
        })
        .unwrap();
    assert_eq!(seen, [0, 7, 200]);
    assert_eq!(input.remaining(), 1);

    let lies: [(&[u8], DecodeProblem); 4] = [
        (&[1, 0, 3, 1, 2, 3], DecodeProblem::Trailing(1)),
        (&[1, 0, 1, 1, 2, 3], DecodeProblem::Truncated { needed: 2, remaining: 1 }),
        (&[1, 0, 9, 1, 2, 3], DecodeProblem::Truncated { needed: 9, remaining: 3 }),
        (&[0xff, 0xff, 0xff, 0xff, 0x0f], DecodeProblem::Truncated { needed: 1, remaining: 0 }),
    ];
    for (bytes, expected) in lies {
        let error = decoder(bytes).tagged_fields(|_, input| Ok(input.i16().map(|_| true)?)).unwrap_err();
        assert_eq!(error.problem(), &expected, "{bytes:02x?}");
    }
}
