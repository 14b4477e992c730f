use proptest::prelude::*;

use super::*;

fn parser(key: &str, value: &str) -> JsonParser {
    let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let names = FieldNames { key: named(key), value: named(value), ..FieldNames::default() };
    JsonParser { names, ..JsonParser::default() }
}

fn text(bytes: Option<Cow<'_, [u8]>>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn the_whole_object_is_the_value_byte_for_byte() {
    let line = "  {\"a\" : 1.50, \"package\":\"0ad\",\"ä\":\"\\u00e9\"} \t";
    let parser = parser("package", "");
    let parsed = parser.parse(line.as_bytes()).unwrap();
    assert_eq!(parsed.value.as_deref(), Some(line.as_bytes()));
    assert_eq!(text(parsed.key).as_deref(), Some("0ad"));
}

#[test]
fn fields_say_what_they_say() {
    for (field, expected) in [
        (r#""plain""#, Some("plain")),
        (r#""""#, Some("")),
        (r#""a\"b\\c\n\u00e9\ud83d\ude00""#, Some("a\"b\\c\né😀")),
        ("12", Some("12")),
        ("1.50e3", Some("1.50e3")),
        ("true", Some("true")),
        ("null", None),
        (r#"{"x": [1, 2]}"#, Some(r#"{"x": [1, 2]}"#)),
    ] {
        let line = format!(r#"{{"other":"x","f":{field},"more":[{{}}]}}"#);
        let parser = parser("f", "f");
        let parsed = parser.parse(line.as_bytes()).unwrap();
        assert_eq!(text(parsed.key).as_deref(), expected, "{field}");
        assert_eq!(text(parsed.value).as_deref(), expected, "{field}");
    }
}

#[test]
fn a_name_with_an_escape_is_found_and_the_last_of_two_counts() {
    let parser = parser("key", "");
    let parsed = parser.parse(br#"{"\u006bey":"one"}"#).unwrap();
    assert_eq!(text(parsed.key).as_deref(), Some("one"));
    let parsed = parser.parse(br#"{"key":"one","key":"two"}"#).unwrap();
    assert_eq!(text(parsed.key).as_deref(), Some("two"));
}

#[test]
fn lines_that_are_no_records_say_why() {
    let parser = parser("id", "body");
    let cases: [(&[u8], &str); 12] = [
        (b"", "not a JSON object: EOF while parsing"),
        (b"   ", "not a JSON object: EOF"),
        (b"{\"id\":1,\"body\":2", "at column 16"),
        (b"{\"id\":1,}", "at column"),
        (b"{\"id\":1} {", "trailing characters at column 10"),
        (b"[1]", "expected an object"),
        (b"\"id\"", "expected an object"),
        (b"{\"id\":\"\xff\"}", "not UTF-8 at byte 7"),
        (b"{\"body\":1}", "no field 'id'"),
        (b"{\"id\":1}", "no field 'body'"),
        (b"{\"id\":\"\\ud800\",\"body\":1}", "field 'id' has an escape that stands for no text"),
        (b"{\"id_base64\":\"*\",\"body\":1}", "field 'id_base64' is not base64"),
    ];
    for (line, expected) in cases {
        let error = parser.parse(line).unwrap_err().to_string();
        assert!(error.contains(expected), "{}: {error}", line.escape_ascii());
        assert!(!error.contains("line 1"), "{error}");
    }
}

#[test]
fn bytes_that_are_no_text_come_as_base64() {
    let parser = parser("key", "value");
    let parsed = parser.parse(br#"{"key_base64":"AP8=","value_base64":""}"#).unwrap();
    assert_eq!(parsed.key.as_deref(), Some(&[0, 255][..]));
    assert_eq!(parsed.value.as_deref(), Some(&b""[..]));
}

#[test]
fn headers_come_as_an_object_or_as_read_prints_them() {
    let names = FieldNames { headers: Some("h".to_owned()), ..FieldNames::default() };
    let parser = JsonParser { names, ..JsonParser::default() };
    let cases = [
        (r#"{"h":{"a":"1","b":null,"a":2}}"#, vec![("a", Some("1")), ("b", None), ("a", Some("2"))]),
        (
            r#"{"h":[{"key":"a","value":"\u0031"},{"key":"\u0062","value":null}]}"#,
            vec![("a", Some("1")), ("b", None)],
        ),
        (r#"{"h":[{"key":"a","value_base64":"MQ=="}]}"#, vec![("a", Some("1"))]),
        (r#"{"h":[]}"#, vec![]),
        (r#"{"h":null}"#, vec![]),
    ];
    for (line, expected) in cases {
        let parsed = parser.parse(line.as_bytes()).unwrap();
        let got: Vec<_> =
            parsed.headers.into_iter().map(|(name, value)| (name.into_owned(), text(value))).collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).collect();
        assert_eq!(got, expected, "{line}");
    }
    for (line, expected) in [
        (r#"{}"#, "no field 'h'"),
        (r#"{"h":3}"#, "field 'h' is neither an object nor an array"),
        (r#"{"h":[{"name":"a"}]}"#, "field 'h' is neither"),
        (r#"{"h":[{"key":"a"}]}"#, "no field 'value'"),
    ] {
        let error = parser.parse(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn partition_and_timestamp_are_whole_numbers() {
    let names = FieldNames {
        partition: Some("p".to_owned()),
        timestamp: Some("t".to_owned()),
        ..FieldNames::default()
    };
    let parser = JsonParser { names, ..JsonParser::default() };
    let parsed = parser.parse(br#"{"p":3,"t":1700000000000}"#).unwrap();
    assert_eq!((parsed.partition, parsed.timestamp_ms), (Some(3), Some(1_700_000_000_000)));
    let parsed = parser.parse(br#"{"p":null,"t":-1}"#).unwrap();
    assert_eq!((parsed.partition, parsed.timestamp_ms), (None, Some(-1)));
    for (time, ms) in [
        (r#""2023-11-14T22:13:20Z""#, Some(1_700_000_000_000)),
        (r#""1700000000000""#, Some(1_700_000_000_000)),
        (r#""1970\u002d01-01""#, Some(0)),
        ("null", None),
    ] {
        let line = format!(r#"{{"p":0,"t":{time}}}"#);
        assert_eq!(parser.parse(line.as_bytes()).unwrap().timestamp_ms, ms, "{time}");
    }
    for line in [
        &br#"{"p":"3","t":1}"#[..],
        br#"{"p":1.5,"t":1}"#,
        br#"{"p":-1,"t":1}"#,
        br#"{"p":99999999999,"t":1}"#,
        br#"{"p":1}"#,
        br#"{"p":1,"t":1.5}"#,
        br#"{"p":1,"t":"yesterday"}"#,
        br#"{"p":1,"t":{}}"#,
    ] {
        assert!(parser.parse(line).is_err(), "{}", line.escape_ascii());
    }
}

#[test]
fn headers_and_topics_come_from_fields_of_their_own() {
    let header = ["kind", "from=h", "id"].map(|text| text.parse().unwrap()).to_vec();
    let names = FieldNames {
        key: Some("id".to_owned()),
        topic: Some("kind".to_owned()),
        header,
        ..FieldNames::default()
    };
    let parser = JsonParser { names, ..JsonParser::default() };
    let parsed = parser.parse(br#"{"id":7,"kind":"a.b","h":null}"#).unwrap();
    assert_eq!((text(parsed.key).as_deref(), parsed.topic.as_deref()), (Some("7"), Some("a.b")));
    let headers: Vec<_> = parsed.headers.into_iter().map(|(name, value)| (name, text(value))).collect();
    let expected = [("kind", Some("a.b")), ("from", None), ("id", Some("7"))];
    assert_eq!(headers, expected.map(|(name, value)| (name.into(), value.map(str::to_owned))));
    assert!(parser.parse(br#"{"id":7,"kind":"a"}"#).unwrap_err().to_string().contains("no field 'h'"));
    assert!(
        parser.parse(br#"{"id":7,"kind":3,"h":1}"#).unwrap_err().to_string().contains("'kind' is not text")
    );
    for none in [&br#"{"id":7,"kind":null,"h":1}"#[..], br#"{"id":7,"kind":"","h":1}"#] {
        assert_eq!(parser.parse(none).unwrap().topic.filter(|topic| !topic.is_empty()), None);
    }
}

#[test]
fn of_what_read_prints_only_the_value_must_be_there() {
    let parser = JsonParser { names: FieldNames::as_read_prints(), null: None, may_miss: true };
    let parsed = parser.parse(br#"{"value":"v"}"#).unwrap();
    assert_eq!(text(parsed.value.clone()).as_deref(), Some("v"));
    assert_eq!(parsed, Parsed { value: parsed.value.clone(), ..Parsed::default() });
    let parsed = parser.parse(br#"{"key_base64":"AA==","value":null,"partition":null,"offset":9}"#).unwrap();
    assert_eq!((parsed.key.as_deref(), parsed.value), (Some(&[0][..]), None));
    assert!(parser.parse(br#"{"key":"k"}"#).unwrap_err().to_string().contains("no field 'value'"));
}

#[test]
fn null_is_never_guessed() {
    let parser = JsonParser { null: Some(b"NULL".to_vec()), ..parser("", "v") };
    assert_eq!(parser.parse(br#"{"v":"NULL"}"#).unwrap().value, None);
    assert_eq!(text(parser.parse(br#"{"v":"null"}"#).unwrap().value).as_deref(), Some("null"));
    assert_eq!(text(parser.parse(br#"{"v":""}"#).unwrap().value).as_deref(), Some(""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes_are_a_record_or_an_error(line in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = parser("a", "b").parse(&line);
    }

    #[test]
    fn any_text_in_a_field_comes_out(key in ".{0,20}", name in "[a-z\"\\\\ü]{1,5}") {
        let line = serde_json::to_string(&std::collections::BTreeMap::from([(&name, &key)])).unwrap();
        let parser = parser(&name, "");
        prop_assert_eq!(text(parser.parse(line.as_bytes()).unwrap().key), Some(key));
    }
}
