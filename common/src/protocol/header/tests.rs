use bytes::Bytes;

use super::{
    Decoder, RequestHeader, Text, decode_request_header, decode_response, encode_request_frame,
    encode_response_frame, response_correlation_id,
};
use crate::error_code::ErrorCode;
use crate::protocol::messages::api_versions::ApiVersion;
use crate::protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse,
};
use crate::protocol::{ApiKey, Message, Part};

fn joined(parts: &[Part]) -> Bytes {
    let mut all = Vec::new();
    for part in parts {
        let Part::Bytes(bytes) = part else { unreachable!("nothing external in these messages") };
        all.extend_from_slice(bytes);
    }
    all.into()
}

/// The frame's length is right; returns what follows.
fn without_length(frame: &Bytes) -> Bytes {
    assert_eq!(frame.first_chunk(), Some(&(i32::try_from(frame.len()).unwrap() - 4).to_be_bytes()));
    frame.slice(4..)
}

#[test]
fn a_flexible_request_has_a_plain_client_id_and_tagged_fields_in_its_header() {
    let request =
        ApiVersionsRequest { client_software_name: "go".into(), client_software_version: "1".into() };
    let frame = joined(&encode_request_frame(7, Some(&Text::from("me")), &request, 3).unwrap());
    assert_eq!(&frame[..], b"\0\0\0\x13\0\x12\0\x03\0\0\0\x07\0\x02me\0\x03go\x021\0");

    let mut input = Decoder::new(without_length(&frame));
    let header = decode_request_header(&mut input).unwrap();
    let expected =
        RequestHeader { api_key: 18, api_version: 3, correlation_id: 7, client_id: Some("me".into()) };
    assert_eq!(header, expected);
    assert_eq!(ApiVersionsRequest::decode(&mut input, 3).unwrap(), request);
}

/// As Java's client and librdkafka; a broker that looks behind a request keeps others from hiding something there.
#[test]
fn bytes_behind_a_response_are_not_looked_at_and_behind_a_request_they_are_refused() {
    let response = InitProducerIdResponse { producer_id: 5, ..Default::default() };
    let frame = joined(&encode_response_frame(ApiKey::InitProducerId, 4, 9, &response).unwrap());
    for behind in [&[][..], &[0], &[1, 2, 3]] {
        let bytes = Bytes::from([&without_length(&frame), behind].concat());
        assert_eq!(decode_response::<InitProducerIdRequest>(bytes, 4).unwrap(), (9, response.clone()));
    }
    let frame = joined(&encode_request_frame(9, None, &InitProducerIdRequest::default(), 4).unwrap());
    let bytes = Bytes::from([&without_length(&frame)[..], &[0]].concat());
    let mut input = Decoder::new(bytes);
    decode_request_header(&mut input).unwrap();
    let error = InitProducerIdRequest::decode(&mut input, 4).unwrap_err();
    assert!(error.to_string().contains("ends 1 bytes too early"), "{error}");
}

#[test]
fn the_header_of_an_unknown_request_can_be_read() {
    type Row = (&'static [u8], i16, i16, i32, Option<&'static str>);
    let table: [Row; 3] = [
        // ApiVersions v5, whose header has tagged fields that are left alone.
        (b"\0\x12\0\x05\0\0\0\x09\0\x01k\0rest", 18, 5, 9, Some("k")),
        (b"\x7f\xff\0\0\0\0\0\x01\xff\xff", 32767, 0, 1, None),
        (b"\0\0\xff\xff\0\0\0\x01\0\0", 0, -1, 1, Some("")),
    ];
    for (bytes, api_key, api_version, correlation_id, client_id) in table {
        let header = decode_request_header(&mut Decoder::new(Bytes::from_static(bytes))).unwrap();
        let client_id = client_id.map(Text::from);
        assert_eq!(header, RequestHeader { api_key, api_version, correlation_id, client_id });
    }
}

#[test]
fn a_header_that_lies_is_refused_by_field() {
    let table: [(&'static [u8], &str); 5] = [
        (b"\0", "RequestHeader v1: api_key needs 2 bytes, but only 1 remain"),
        (b"\0\x12\0\x03\0\0\0", "RequestHeader v1: correlation_id needs 4 bytes, but only 3 remain"),
        (b"\0\x12\0\x03\0\0\0\x01\xff\xfe", "RequestHeader v1: client_id has a length of -2"),
        (
            b"\0\x12\0\x03\0\0\0\x01\x7f\xffx",
            "RequestHeader v1: client_id needs 32767 bytes, but only 1 remain",
        ),
        (
            b"\0\x12\0\x03\0\0\0\x01\0\0\x01\x00\x7f",
            "RequestHeader v1: tagged_fields needs 127 bytes, but only 0 remain",
        ),
    ];
    for (bytes, message) in table {
        let error = decode_request_header(&mut Decoder::new(Bytes::from_static(bytes))).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn responses_read_back_with_their_correlation_id() {
    let body = InitProducerIdResponse { producer_id: 42, ..Default::default() };
    for version in ApiKey::InitProducerId.versions() {
        let parts = encode_response_frame(ApiKey::InitProducerId, version, 11, &body).unwrap();
        let frame = without_length(&joined(&parts));
        assert_eq!(response_correlation_id(&frame), Some(11));
        assert_eq!(decode_response::<InitProducerIdRequest>(frame, version).unwrap(), (11, body.clone()));
    }
    assert_eq!(response_correlation_id(&[0, 0, 0]), None);
}

#[test]
fn the_answer_to_an_unknown_version_of_api_versions_is_read_as_version_0() {
    let refusal = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![ApiVersion { api_key: 18, min_version: 0, max_version: 3 }],
        ..Default::default()
    };
    let frame = without_length(&joined(&encode_response_frame(ApiKey::ApiVersions, 0, 1, &refusal).unwrap()));
    assert!(decode_response::<ApiVersionsRequest>(frame.clone(), 4).is_err());
    assert_eq!(decode_response::<ApiVersionsRequest>(frame, 0).unwrap(), (1, refusal));
}
