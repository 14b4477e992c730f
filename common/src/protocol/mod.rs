//! The Kafka protocol: its messages, each declared once, and the codec that comes from the declarations.
//!
//! - [`api`]: the APIs served here, their versions, and which of them are flexible (KIP-482).
//! - [`messages`]: one file per API. `declare` holds the macro that turns a declaration into a struct, its defaults,
//!   its encoder and its decoder; [`schema`] is what a declaration looks like at run time.
//! - [`decoder`], [`encoder`], [`wire`]: bytes to values and back, field type by field type.
//! - [`header`]: request and response headers, and whole frames.
//! - [`text`], [`record_data`]: names and records as views of the bytes they came in.
//! - [`error`]: what is wrong with a message: which one, which version, which field.
//!
//! What comes from a socket is never trusted: a length is compared with the bytes that remain before anything is
//! allocated, the memory of decoded arrays is bounded by the size of the frame, nothing panics, and every byte must
//! be accounted for. Records, names and byte fields are views of the frame, not copies.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

pub mod api;
#[macro_use]
mod declare;
pub mod decoder;
pub mod encoder;
pub mod error;
pub mod header;
pub mod messages;
pub mod record_data;
pub mod schema;
pub mod text;
pub mod wire;

pub use api::ApiKey;
pub use declare::{Message, Request};
pub use decoder::Decoder;
pub use encoder::{Encoder, Part};
pub use error::{DecodeError, DecodeProblem, EncodeError, EncodeProblem};
pub use header::{
    RequestHeader, decode_request_header, decode_response, encode_request_frame, encode_response_frame,
    response_correlation_id,
};
pub use record_data::RecordData;
pub use text::Text;
