//! Headers and whole frames. A frame is its length (four bytes), a header and a message.

use bytes::Bytes;

use super::api::ApiKey;
use super::declare::{Message, Request};
use super::decoder::Decoder;
use super::encoder::{Encoder, Part};
use super::error::{DecodeError, EncodeError};
use super::schema::Form;
use super::text::Text;
use super::wire::Wire;

/// What precedes every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// As it came: it may be none of [`ApiKey`]'s.
    pub api_key: i16,
    /// As it came: it may not be served.
    pub api_version: i16,
    /// Returned in the answer.
    pub correlation_id: i32,
    /// The name that the client gives itself.
    pub client_id: Option<Text>,
}

/// The client's name is a plain string even in header version 2, so that a broker can read it in requests that it
/// does not know.
const CLIENT_ID: Form = Form { version: 0, flexible: false, nullable: true };

/// Reads a request's header and leaves `input` at the message. Of an API or version not served, only what all headers
/// have in common is read: it says whom to refuse, and the rest cannot be made sense of.
///
/// # Errors
/// Bytes that are no header.
pub fn decode_request_header(input: &mut Decoder) -> Result<RequestHeader, DecodeError> {
    read_request_header(input).map_err(|error| error.in_message("RequestHeader", 1))
}

fn read_request_header(input: &mut Decoder) -> Result<RequestHeader, DecodeError> {
    let api_key = input.i16().map_err(|problem| DecodeError::new(problem).within("api_key"))?;
    let api_version = input.i16().map_err(|problem| DecodeError::new(problem).within("api_version"))?;
    let correlation_id = input.i32().map_err(|problem| DecodeError::new(problem).within("correlation_id"))?;
    let client_id = Wire::read(input, CLIENT_ID).map_err(|error| error.within("client_id"))?;
    let known = ApiKey::from_i16(api_key).filter(|api| api.serves(api_version));
    if known.is_some_and(|api| api.request_header_version(api_version) >= 2) {
        skip_tagged_fields(input)?;
    }
    Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
}

fn skip_tagged_fields(input: &mut Decoder) -> Result<(), DecodeError> {
    input.tagged_fields(|_, _| Ok(false))
}

/// A whole request, its length in front, ready to be written.
///
/// # Errors
/// As [`Message::encode`]; a frame of more than 2 GiB.
pub fn encode_request_frame<R: Request>(
    correlation_id: i32,
    client_id: Option<&Text>,
    request: &R,
    version: i16,
) -> Result<Vec<Part>, EncodeError> {
    let mut out = Encoder::new_frame();
    out.i16(R::KEY.to_i16());
    out.i16(version);
    out.i32(correlation_id);
    client_id
        .cloned()
        .write(&mut out, CLIENT_ID)
        .map_err(|error| error.within("client_id").in_message("RequestHeader", 1))?;
    if R::KEY.request_header_version(version) >= 2 {
        out.tagged_fields(Vec::new())?;
    }
    request.encode(&mut out, version)?;
    out.finish_frame()
}

/// A whole response, its length in front, ready to be written.
///
/// # Errors
/// As [`Message::encode`]; a frame of more than 2 GiB.
pub fn encode_response_frame<M: Message>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<Vec<Part>, EncodeError> {
    let mut out = Encoder::new_frame();
    out.i32(correlation_id);
    if key.response_header_version(version) >= 1 {
        out.tagged_fields(Vec::new())?;
    }
    body.encode(&mut out, version)?;
    out.finish_frame()
}

/// Reads the answer to a request `R` of `version` from a frame without its length; also returns its correlation id.
/// A broker that does not know the version of an ApiVersions request answers in version 0: who gets an error for
/// that one reads it again as version 0.
///
/// # Errors
/// Bytes that are no such response.
pub fn decode_response<R: Request>(frame: Bytes, version: i16) -> Result<(i32, R::Response), DecodeError> {
    let mut input = Decoder::new(frame);
    let correlation_id = read_response_header(&mut input, R::KEY.response_header_version(version))
        .map_err(|error| error.in_message(R::Response::NAME, version))?;
    Ok((correlation_id, R::Response::decode(&mut input, version)?))
}

fn read_response_header(input: &mut Decoder, header_version: i16) -> Result<i32, DecodeError> {
    let correlation_id = input.i32().map_err(|problem| DecodeError::new(problem).within("correlation_id"))?;
    if header_version >= 1 {
        skip_tagged_fields(input)?;
    }
    Ok(correlation_id)
}

/// Which request a response answers, from a frame without its length; `None` if it is too short to say.
#[must_use]
pub fn response_correlation_id(frame: &[u8]) -> Option<i32> {
    frame.first_chunk().map(|id| i32::from_be_bytes(*id))
}

#[cfg(test)]
mod tests;
