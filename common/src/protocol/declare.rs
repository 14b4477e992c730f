//! The macro that turns the declaration of a message into a struct, its defaults, its encoder and its decoder.
//!
//! ```text
//! message! {
//!     /// What it asks for.
//!     request NameRequest (Name, answered by NameResponse) {
//!         /// What it says.
//!         field: Type [versions, nullable versions, tag number, ignorable] = default,
//!     }
//! }
//! ```
//!
//! Fields stand in the order of Kafka's schema; versions are `3..` or `3..=7`; what does not apply is left out, and a
//! default of the type's own (0, empty, false) too. `ignorable`: a value is dropped in versions without the field,
//! where otherwise it is an error. `response Name (Key)` is the answer, `part Name` a structure inside of either.

use super::api::ApiKey;
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::error::{DecodeError, EncodeError};

/// A request or a response: what follows after the header, up to the end of the frame.
pub trait Message: Sized + Default {
    /// Kafka's name, such as `ProduceRequest`.
    const NAME: &'static str;

    /// The API it belongs to.
    const API: ApiKey;

    /// Whether bytes may follow: a request says all that it says; behind a response no client looks, Kafka's Java client and
    /// librdkafka included, and there are brokers that write too much (librdkafka's mock, behind flexible Metadata).
    const MAY_GO_ON: bool;

    /// Appends the message.
    ///
    /// # Errors
    /// A version not served; a value that this version cannot say and that must not be dropped.
    fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError>;

    /// Reads the message; a request takes everything that is left.
    ///
    /// # Errors
    /// A version not served; bytes that are no such message, or go on after the end of one that may not.
    fn decode(input: &mut Decoder, version: i16) -> Result<Self, DecodeError>;
}

/// A message that is answered by another.
pub trait Request: Message {
    /// The API's key.
    const KEY: ApiKey = Self::API;

    /// The answer.
    type Response: Message;
}

macro_rules! message {
    ($(#[$doc:meta])* request $name:ident ($api:ident, answered by $response:ident) { $($fields:tt)* }) => {
        message! { @structure [$(#[$doc])*] $name { $($fields)* } }
        message! { @message $name $api false }

        impl $crate::protocol::Request for $name {
            type Response = $response;
        }
    };
    ($(#[$doc:meta])* response $name:ident ($api:ident) { $($fields:tt)* }) => {
        message! { @structure [$(#[$doc])*] $name { $($fields)* } }
        message! { @message $name $api true }
    };
    ($(#[$doc:meta])* part $name:ident { $($fields:tt)* }) => {
        message! { @structure [$(#[$doc])*] $name { $($fields)* } }
    };

    (@message $name:ident $api:ident $may_go_on:literal) => {
        impl $crate::protocol::Message for $name {
            const NAME: &'static str = stringify!($name);
            const API: $crate::protocol::ApiKey = $crate::protocol::ApiKey::$api;
            const MAY_GO_ON: bool = $may_go_on;

            fn encode(
                &self,
                out: &mut $crate::protocol::Encoder,
                version: i16,
            ) -> Result<(), $crate::protocol::EncodeError> {
                $crate::protocol::declare::encode(self, out, version)
            }

            fn decode(
                input: &mut $crate::protocol::Decoder,
                version: i16,
            ) -> Result<Self, $crate::protocol::DecodeError> {
                $crate::protocol::declare::decode(input, version)
            }
        }
    };

    (@structure [$(#[$doc:meta])*] $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty [$($spec:tt)+] $(= $default:expr)?),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: message!(@default $($default)?),)* }
            }
        }

        impl $crate::protocol::wire::Wire for $name {
            const KIND: $crate::protocol::schema::Kind =
                $crate::protocol::schema::Kind::Struct(&[$(message!(@field $field, $type, $($spec)+)),*]);

            fn write(
                &self,
                out: &mut $crate::protocol::Encoder,
                form: $crate::protocol::schema::Form,
            ) -> Result<(), $crate::protocol::EncodeError> {
                $({
                    const FIELD: $crate::protocol::schema::Field = message!(@field $field, $type, $($spec)+);
                    if !FIELD.versions.contain(form.version) {
                        let default: $type = message!(@default $($default)?);
                        if !FIELD.ignorable && self.$field != default {
                            let problem = $crate::protocol::EncodeProblem::NotInVersion;
                            return Err($crate::protocol::EncodeError::new(problem).within(FIELD.name));
                        }
                    } else if FIELD.tag.is_none() {
                        $crate::protocol::wire::Wire::write(&self.$field, out, form.of(&FIELD))
                            .map_err(|error| error.within(FIELD.name))?;
                    }
                })*
                if form.flexible {
                    let mut tagged = Vec::new();
                    $({
                        const FIELD: $crate::protocol::schema::Field = message!(@field $field, $type, $($spec)+);
                        if let Some(tag) = FIELD.tag && FIELD.versions.contain(form.version) {
                            let default: $type = message!(@default $($default)?);
                            if self.$field != default {
                                let mut value = $crate::protocol::Encoder::new_tagged_value();
                                $crate::protocol::wire::Wire::write(&self.$field, &mut value, form.of(&FIELD))
                                    .map_err(|error| error.within(FIELD.name))?;
                                tagged.push((tag, value));
                            }
                        }
                    })*
                    out.tagged_fields(tagged)?;
                }
                Ok(())
            }

            fn read(
                input: &mut $crate::protocol::Decoder,
                form: $crate::protocol::schema::Form,
            ) -> Result<Self, $crate::protocol::DecodeError> {
                let mut value = Self::default();
                $({
                    const FIELD: $crate::protocol::schema::Field = message!(@field $field, $type, $($spec)+);
                    if FIELD.tag.is_none() && FIELD.versions.contain(form.version) {
                        value.$field = $crate::protocol::wire::Wire::read(input, form.of(&FIELD))
                            .map_err(|error| error.within(FIELD.name))?;
                    }
                })*
                if form.flexible {
                    input.tagged_fields(|tag, input| {
                        $({
                            const FIELD: $crate::protocol::schema::Field =
                                message!(@field $field, $type, $($spec)+);
                            if FIELD.tag == Some(tag) && FIELD.versions.contain(form.version) {
                                value.$field = $crate::protocol::wire::Wire::read(input, form.of(&FIELD))
                                    .map_err(|error| error.within(FIELD.name))?;
                                return Ok(true);
                            }
                        })*
                        Ok(false)
                    })?;
                }
                Ok(value)
            }
        }
    };

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };

    (@field $field:ident, $type:ty, $first:literal.. $(, $($rest:tt)*)?) => {
        message!(@with ($crate::protocol::schema::Field::new(
            stringify!($field),
            <$type as $crate::protocol::wire::Wire>::KIND,
            $crate::protocol::schema::Versions::from($first),
        )) $($($rest)*)?)
    };
    (@field $field:ident, $type:ty, $first:literal..=$last:literal $(, $($rest:tt)*)?) => {
        message!(@with ($crate::protocol::schema::Field::new(
            stringify!($field),
            <$type as $crate::protocol::wire::Wire>::KIND,
            $crate::protocol::schema::Versions::between($first, $last),
        )) $($($rest)*)?)
    };
    (@with ($field:expr)) => { $field };
    (@with ($field:expr) nullable $first:literal.. $(, $($rest:tt)*)?) => {
        message!(@with ($field.nullable($crate::protocol::schema::Versions::from($first))) $($($rest)*)?)
    };
    (@with ($field:expr) nullable $first:literal..=$last:literal $(, $($rest:tt)*)?) => {
        message!(@with ($field.nullable($crate::protocol::schema::Versions::between($first, $last))) $($($rest)*)?)
    };
    (@with ($field:expr) tag $tag:literal $(, $($rest:tt)*)?) => {
        message!(@with ($field.tag($tag)) $($($rest)*)?)
    };
    (@with ($field:expr) ignorable $(, $($rest:tt)*)?) => {
        message!(@with ($field.ignorable()) $($($rest)*)?)
    };
}

/// [`Message::encode`] of every message.
pub(super) fn encode<M: Message + super::wire::Wire>(
    message: &M,
    out: &mut Encoder,
    version: i16,
) -> Result<(), EncodeError> {
    if !M::API.serves(version) {
        let problem = super::EncodeProblem::VersionNotServed(M::API.versions());
        return Err(EncodeError::new(problem).in_message(M::NAME, version));
    }
    let form = super::schema::Form::new(version, M::API.is_flexible(version));
    message.write(out, form).map_err(|error| error.in_message(M::NAME, version))
}

/// [`Message::decode`] of every message.
pub(super) fn decode<M: Message + super::wire::Wire>(
    input: &mut Decoder,
    version: i16,
) -> Result<M, DecodeError> {
    if !M::API.serves(version) {
        let problem = super::DecodeProblem::VersionNotServed(M::API.versions());
        return Err(DecodeError::new(problem).in_message(M::NAME, version));
    }
    let form = super::schema::Form::new(version, M::API.is_flexible(version));
    M::read(input, form)
        .and_then(|message| {
            // librdkafka (2.12 and 2.16) asks for all topics with three bytes too many: it leaves four bytes of room for the
            // array's count and, for the null array, never shortens them to one (`rd_kafka_MetadataRequest0`). Kafka does not
            // look at what follows a message.
            let by_librdkafka =
                M::NAME == super::messages::MetadataRequest::NAME && form.flexible && input.remaining() == 3;
            if !M::MAY_GO_ON && !by_librdkafka {
                input.finish()?;
            }
            Ok(message)
        })
        .map_err(|error| error.in_message(M::NAME, version))
}
