//! The types of fields: how each is read and written.

use bytes::Bytes;

use super::decoder::Decoder;
use super::encoder::Encoder;
use super::error::{DecodeError, DecodeProblem, EncodeError, EncodeProblem};
use super::record_data::RecordData;
use super::schema::{Form, Kind};
use super::text::Text;
use crate::error_code::ErrorCode;
use crate::types::TopicId;

/// A type that a field can have.
pub trait Wire: Sized {
    /// The same, for who walks a schema.
    const KIND: Kind;

    /// Appends the value.
    ///
    /// # Errors
    /// What this form cannot say.
    fn write(&self, out: &mut Encoder, form: Form) -> Result<(), EncodeError>;

    /// Takes the value from the front.
    ///
    /// # Errors
    /// Bytes that are no such value.
    fn read(input: &mut Decoder, form: Form) -> Result<Self, DecodeError>;
}

/// A type whose length precedes it, and which can therefore be null.
pub trait Lengthy: Sized {
    /// As [`Wire::KIND`].
    const KIND: Kind;

    /// Bytes, or elements of an array.
    fn length(&self) -> usize;

    /// The length, which is `None` for null, as this type writes it.
    ///
    /// # Errors
    /// A length that does not fit.
    fn write_len(len: Option<usize>, out: &mut Encoder, flexible: bool) -> Result<(), EncodeError> {
        out.length(len, flexible)
    }

    /// The length as this type writes it; null is `None`.
    ///
    /// # Errors
    /// Bytes that are no length.
    fn read_len(input: &mut Decoder, flexible: bool) -> Result<Option<usize>, DecodeProblem> {
        input.length(flexible)
    }

    /// What follows after the length.
    ///
    /// # Errors
    /// What this form cannot say.
    fn write_body(&self, out: &mut Encoder, form: Form) -> Result<(), EncodeError>;

    /// What follows after the length, which was read, but not compared with anything.
    ///
    /// # Errors
    /// Bytes that are no such value.
    fn read_body(len: usize, input: &mut Decoder, form: Form) -> Result<Self, DecodeError>;
}

macro_rules! numbers {
    ($($name:ty: $kind:ident, $read:ident, |$value:ident| $to_wire:expr, |$wire:ident| $from_wire:expr;)*) => {$(
        impl Wire for $name {
            const KIND: Kind = Kind::$kind;

            fn write(&self, out: &mut Encoder, _: Form) -> Result<(), EncodeError> {
                let $value = *self;
                out.$read($to_wire);
                Ok(())
            }

            fn read(input: &mut Decoder, _: Form) -> Result<Self, DecodeError> {
                let $wire = input.$read()?;
                Ok($from_wire)
            }
        }
    )*};
}

numbers! {
    // Kafka reads any byte but 0 as true.
    bool: Bool, i8, |value| i8::from(value), |wire| wire != 0;
    i8: Int8, i8, |value| value, |wire| wire;
    i16: Int16, i16, |value| value, |wire| wire;
    i32: Int32, i32, |value| value, |wire| wire;
    i64: Int64, i64, |value| value, |wire| wire;
    ErrorCode: Int16, i16, |value| value.0, |wire| Self(wire);
    TopicId: Uuid, uuid, |value| &value.0, |wire| Self(wire);
}

impl<T: Lengthy> Wire for T {
    const KIND: Kind = <T as Lengthy>::KIND;

    fn write(&self, out: &mut Encoder, form: Form) -> Result<(), EncodeError> {
        T::write_len(Some(self.length()), out, form.flexible)?;
        self.write_body(out, form)
    }

    fn read(input: &mut Decoder, form: Form) -> Result<Self, DecodeError> {
        match T::read_len(input, form.flexible)? {
            Some(len) => T::read_body(len, input, form),
            None => Err(DecodeProblem::Null.into()),
        }
    }
}

impl<T: Lengthy> Wire for Option<T> {
    const KIND: Kind = <T as Lengthy>::KIND;

    fn write(&self, out: &mut Encoder, form: Form) -> Result<(), EncodeError> {
        match self {
            Some(value) => value.write(out, form),
            None if form.nullable => T::write_len(None, out, form.flexible),
            None => Err(EncodeProblem::Null.into()),
        }
    }

    fn read(input: &mut Decoder, form: Form) -> Result<Self, DecodeError> {
        match T::read_len(input, form.flexible)? {
            Some(len) => T::read_body(len, input, form).map(Some),
            None if form.nullable => Ok(None),
            None => Err(DecodeProblem::Null.into()),
        }
    }
}

impl Lengthy for Text {
    const KIND: Kind = Kind::Text;

    fn length(&self) -> usize {
        self.as_bytes().len()
    }

    fn write_len(len: Option<usize>, out: &mut Encoder, flexible: bool) -> Result<(), EncodeError> {
        out.short_length(len, flexible)
    }

    fn read_len(input: &mut Decoder, flexible: bool) -> Result<Option<usize>, DecodeProblem> {
        input.short_length(flexible)
    }

    fn write_body(&self, out: &mut Encoder, _: Form) -> Result<(), EncodeError> {
        // Copied even if it is long: an answer that names what was asked for must not keep the whole request in memory.
        out.slice(self.as_bytes());
        Ok(())
    }

    fn read_body(len: usize, input: &mut Decoder, _: Form) -> Result<Self, DecodeError> {
        Ok(Self::from_utf8(input.bytes(len)?).ok_or(DecodeProblem::NotUtf8)?)
    }
}

impl Lengthy for Bytes {
    const KIND: Kind = Kind::Bytes;

    fn length(&self) -> usize {
        Self::len(self)
    }

    fn write_body(&self, out: &mut Encoder, _: Form) -> Result<(), EncodeError> {
        out.bytes(self);
        Ok(())
    }

    fn read_body(len: usize, input: &mut Decoder, _: Form) -> Result<Self, DecodeError> {
        Ok(input.bytes(len)?)
    }
}

impl Lengthy for RecordData {
    const KIND: Kind = Kind::Records;

    fn length(&self) -> usize {
        Self::len(self)
    }

    fn write_body(&self, out: &mut Encoder, _: Form) -> Result<(), EncodeError> {
        out.records(self);
        Ok(())
    }

    fn read_body(len: usize, input: &mut Decoder, _: Form) -> Result<Self, DecodeError> {
        Ok(Self::Memory(input.bytes(len)?))
    }
}

impl<T: Wire> Lengthy for Vec<T> {
    const KIND: Kind = Kind::Array(&T::KIND);

    fn length(&self) -> usize {
        Self::len(self)
    }

    fn write_body(&self, out: &mut Encoder, form: Form) -> Result<(), EncodeError> {
        for (at, element) in self.iter().enumerate() {
            element.write(out, form.of_element()).map_err(|error| error.at(at))?;
        }
        Ok(())
    }

    fn read_body(len: usize, input: &mut Decoder, form: Form) -> Result<Self, DecodeError> {
        input.admit(len, T::KIND.size_min(form.version, form.flexible), size_of::<T>())?;
        let mut elements = Self::with_capacity(len);
        for at in 0..len {
            elements.push(T::read(input, form.of_element()).map_err(|error| error.at(at))?);
        }
        Ok(elements)
    }
}
