//! Requests as the broker decodes them and responses as a client does. Nothing may panic; and what is taken must mean the same
//! after it has been written and read again.

use std::fmt::Debug;

use bytes::Bytes;
use gapless_common::protocol::{
    ApiKey, Decoder, Message, Part, Request, decode_request_header, decode_response, encode_request_frame,
    encode_response_frame, messages::*,
};

use crate::Outcome;

macro_rules! with_request {
    ($api:expr, $request:ident => $body:expr) => {
        match $api {
            ApiKey::Produce => {
                type $request = ProduceRequest;
                $body
            }
            ApiKey::Fetch => {
                type $request = FetchRequest;
                $body
            }
            ApiKey::ListOffsets => {
                type $request = ListOffsetsRequest;
                $body
            }
            ApiKey::Metadata => {
                type $request = MetadataRequest;
                $body
            }
            ApiKey::FindCoordinator => {
                type $request = FindCoordinatorRequest;
                $body
            }
            ApiKey::ApiVersions => {
                type $request = ApiVersionsRequest;
                $body
            }
            ApiKey::CreateTopics => {
                type $request = CreateTopicsRequest;
                $body
            }
            ApiKey::DeleteTopics => {
                type $request = DeleteTopicsRequest;
                $body
            }
            ApiKey::DeleteRecords => {
                type $request = DeleteRecordsRequest;
                $body
            }
            ApiKey::InitProducerId => {
                type $request = InitProducerIdRequest;
                $body
            }
            ApiKey::OffsetForLeaderEpoch => {
                type $request = OffsetForLeaderEpochRequest;
                $body
            }
            ApiKey::DescribeConfigs => {
                type $request = DescribeConfigsRequest;
                $body
            }
            ApiKey::DescribeLogDirs => {
                type $request = DescribeLogDirsRequest;
                $body
            }
            ApiKey::CreatePartitions => {
                type $request = CreatePartitionsRequest;
                $body
            }
            ApiKey::DescribeCluster => {
                type $request = DescribeClusterRequest;
                $body
            }
        }
    };
}

/// A frame without its length, as it comes to the broker.
///
/// # Panics
/// If what was taken does not survive being written and read.
pub fn request(frame: &[u8]) -> Outcome {
    let mut input = Decoder::new(Bytes::copy_from_slice(frame));
    let Ok(header) = decode_request_header(&mut input) else { return Outcome::Refused };
    let version = header.api_version;
    let Some(api) = ApiKey::from_i16(header.api_key).filter(|api| api.serves(version)) else {
        return Outcome::Refused;
    };
    with_request!(api, R => {
        let Ok(read) = R::decode(&mut input, version) else { return Outcome::Refused };
        let parts = encode_request_frame(header.correlation_id, header.client_id.as_ref(), &read, version)
            .unwrap_or_else(|error| panic!("what was read cannot be written: {error}: {read:?}"));
        let mut again = Decoder::new(without_length(&parts));
        let header_again = decode_request_header(&mut again).expect("its header can be read again");
        assert_eq!(header_again, header);
        same(&read, R::decode(&mut again, version));
    });
    Outcome::Taken
}

/// A response of this API and version, without the frame's length, as it comes to a client.
///
/// # Panics
/// If what was taken does not survive being written and read.
pub fn response(api: ApiKey, version: i16, frame: &[u8]) -> Outcome {
    with_request!(api, R => response_of::<R>(version, frame))
}

fn response_of<R: Request>(version: i16, frame: &[u8]) -> Outcome
where
    R::Response: Debug + PartialEq,
{
    let Ok((id, read)) = decode_response::<R>(Bytes::copy_from_slice(frame), version) else {
        return Outcome::Refused;
    };
    let parts = encode_response_frame(R::KEY, version, id, &read)
        .unwrap_or_else(|error| panic!("what was read cannot be written: {error}: {read:?}"));
    let again = decode_response::<R>(without_length(&parts), version);
    same(&(id, read), again);
    Outcome::Taken
}

/// The same from bytes alone: the first two say of which API and version, the rest is the frame.
pub fn any_response(bytes: &[u8]) -> Outcome {
    let [api, version, frame @ ..] = bytes else { return Outcome::Refused };
    let api = ApiKey::ALL[usize::from(*api) % ApiKey::ALL.len()];
    let versions = api.versions();
    let count = versions.end() - versions.start() + 1;
    response(api, versions.start() + i16::from(*version) % count, frame)
}

/// [`any_response`]'s bytes for a response of this API and version.
pub fn tagged_response(api: ApiKey, version: i16, frame: &[u8]) -> Vec<u8> {
    let at = ApiKey::ALL.iter().position(|known| *known == api).unwrap_or_default();
    [&[at as u8, (version - api.versions().start()) as u8], frame].concat()
}

fn same<T: Debug + PartialEq, E: Debug>(read: &T, again: Result<T, E>) {
    match again {
        Ok(again) => assert_eq!(again, *read, "written and read again it is another"),
        Err(error) => panic!("what was written cannot be read: {error:?}: {read:?}"),
    }
}

fn without_length(parts: &[Part]) -> Bytes {
    let mut bytes: Vec<u8> = parts
        .iter()
        .flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.to_vec(),
            Part::External { .. } => panic!("what was read is in memory"),
        })
        .collect();
    assert!(bytes.len() > 4, "a frame has a length");
    Bytes::from(bytes.split_off(4))
}
