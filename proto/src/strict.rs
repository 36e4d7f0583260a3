//! Requests are read strictly: a field that this version does not have is refused.
//!
//! prost drops unknown fields in silence. Of an order that would be fatal: an amount in a later
//! currency would be read as "the invoice's own amount". So the bytes of each request are walked
//! once before they are decoded, along a table that is made of our own descriptors. Answers are
//! read as usual, because a client ignores what it does not know.
//!
//! What is not well-formed is left to prost, which refuses it.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, marker::PhantomData, sync::LazyLock};

use bytes::Buf;
use prost::{Message, Name};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto as field};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
    metadata::{Ascii, MetadataKey, MetadataMap},
};
use tonic_prost::ProstEncoder;

/// The metadata of a refusal that holds the path of the unknown field, such as
/// `orders.orders[3].11`.
pub const FIELD_KEY: &str = "fulgurite-field";

/// A field that this version of the API does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct UnknownField {
    /// Where it is: names of fields with their place, and its number at the end.
    pub path: String,
    /// The same for a person.
    pub problem: String,
}

/// Looks for an unknown field in the bytes of a message of the type `name`, such as
/// `fulgurite.v1.PaymentOrder`. A type that is not in our descriptors has none.
///
/// # Errors
/// The first unknown field.
pub fn check(name: &str, bytes: &[u8]) -> Result<(), UnknownField> {
    match SHAPES.by_name.get(name) {
        Some(shape) => SHAPES.walk(*shape, bytes),
        None => Ok(()),
    }
}

/// The codec of our services: prost, but strict about requests.
#[derive(Clone, Debug)]
pub struct StrictCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for StrictCodec<T, U> {
    fn default() -> Self {
        StrictCodec(PhantomData)
    }
}

impl<T, U> Codec for StrictCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        let shape = SHAPES.requests.get(&U::full_name()).copied();
        StrictDecoder { shape, message: PhantomData }
    }
}

/// Decodes messages of one type.
#[derive(Clone, Debug)]
pub struct StrictDecoder<U> {
    /// Of a request: the shape that it must have.
    shape: Option<usize>,
    message: PhantomData<U>,
}

impl<U: Message + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let Some(shape) = self.shape else {
            let message = U::decode(buf).map_err(|error| Status::internal(error.to_string()))?;
            return Ok(Some(message));
        };
        // A message is in one piece: tonic gathers it before it is decoded. If it ever were not,
        // it is copied once.
        let copy;
        let bytes = if buf.chunk().len() == buf.remaining() {
            buf.chunk()
        } else {
            copy = buf.copy_to_bytes(buf.remaining());
            &copy[..]
        };
        SHAPES.walk(shape, bytes).map_err(refusal)?;
        let message = U::decode(bytes).map_err(|error| {
            Status::invalid_argument(format!("the message cannot be read: {error}"))
        })?;
        buf.advance(buf.remaining());
        Ok(Some(message))
    }
}

/// The refusal of an unknown field, for who dresses it.
fn refusal(unknown: UnknownField) -> Status {
    let mut metadata = MetadataMap::new();
    let key = MetadataKey::<Ascii>::from_static(FIELD_KEY);
    if let Ok(path) = unknown.path.parse() {
        metadata.insert(key, path);
    }
    Status::with_metadata(tonic::Code::InvalidArgument, unknown.problem, metadata)
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(crate::FULGURITE_FILE_DESCRIPTOR_SET);
    Shapes::of(&set.expect("the descriptors come from our own build"))
});

/// What every message of ours has, by number.
struct Shapes {
    shapes: Vec<Shape>,
    by_name: HashMap<String, usize>,
    /// The messages that a client sends.
    requests: HashMap<String, usize>,
}

struct Shape {
    name: String,
    /// By field number; there is no field 0.
    fields: Vec<Option<Field>>,
    /// First and last of each range, and what they are kept for.
    reserved: Vec<(u32, u32)>,
    kept_for: Vec<String>,
}

struct Field {
    name: String,
    repeated: bool,
    /// The shape of what is in it, when that is a message of ours.
    message: Option<usize>,
}

impl Shapes {
    fn of(set: &FileDescriptorSet) -> Shapes {
        let mut messages = Vec::new();
        for file in &set.file {
            let package = file.package();
            file.message_type.iter().for_each(|message| collect(package, message, &mut messages));
        }
        let names = messages.iter().enumerate().map(|(at, (name, _))| (name.clone(), at));
        let by_name: HashMap<String, usize> = names.collect();
        let shapes = messages.iter().map(|(name, message)| shape(name, message, &by_name));
        let shapes = shapes.collect();
        let methods = set.file.iter().flat_map(|file| &file.service).flat_map(|s| &s.method);
        let inputs = methods.map(|method| method.input_type().trim_start_matches('.').to_owned());
        let requests = inputs.map(|name| (name.clone(), by_name[&name])).collect();
        Shapes { shapes, by_name, requests }
    }

    /// Walks the fields of one message and of those in it; they never contain themselves.
    fn walk(&self, at: usize, bytes: &[u8]) -> Result<(), UnknownField> {
        let shape = &self.shapes[at];
        let mut rest = bytes;
        while !rest.is_empty() {
            let here = bytes.len() - rest.len();
            let Some((number, content)) = next(&mut rest) else { return Ok(()) };
            let field = usize::try_from(number).ok().and_then(|at| shape.fields.get(at));
            let Some(field) = field.and_then(Option::as_ref) else {
                return Err(shape.unknown(number));
            };
            let (Some(inner), Some(content)) = (field.message, content) else { continue };
            if let Err(mut unknown) = self.walk(inner, content) {
                let place = if field.repeated {
                    format!("{}[{}]", field.name, count(&bytes[..here], number))
                } else {
                    field.name.clone()
                };
                unknown.path = format!("{place}.{}", unknown.path);
                return Err(unknown);
            }
        }
        Ok(())
    }
}

impl Shape {
    fn unknown(&self, number: u32) -> UnknownField {
        let kept = self.reserved.iter().any(|(first, last)| (*first..=*last).contains(&number));
        let why = if kept {
            format!("kept for later versions ({})", self.kept_for.join(", "))
        } else {
            "not known".to_owned()
        };
        let problem = format!(
            "field {number} of {} is {why} and would be lost: this engine does not support it",
            self.name
        );
        UnknownField { path: number.to_string(), problem }
    }
}

/// A message and those that are declared in it, with their full names.
fn collect<'a>(
    outer: &str,
    message: &'a DescriptorProto,
    into: &mut Vec<(String, &'a DescriptorProto)>,
) {
    let name = format!("{outer}.{}", message.name());
    message.nested_type.iter().for_each(|nested| collect(&name, nested, into));
    into.push((name, message));
}

fn shape(name: &str, message: &DescriptorProto, by_name: &HashMap<String, usize>) -> Shape {
    let mut fields = Vec::new();
    for described in &message.field {
        let number = usize::try_from(described.number()).expect("field numbers are positive");
        if fields.len() <= number {
            fields.resize_with(number + 1, || None);
        }
        let inner = by_name.get(described.type_name().trim_start_matches('.'));
        let is_message = described.r#type() == field::Type::Message;
        fields[number] = Some(Field {
            name: described.name().to_owned(),
            repeated: described.label() == field::Label::Repeated,
            message: inner.filter(|_| is_message).copied(),
        });
    }
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    let ranges = message.reserved_range.iter();
    // A range ends before its end.
    let reserved = ranges.map(|range| (number(range.start()), number(range.end() - 1))).collect();
    Shape { name: name.to_owned(), fields, reserved, kept_for: message.reserved_name.clone() }
}

/// The next field: its number, and its bytes when it has a length. `None` when it is not
/// well-formed.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).ok()?;
    match tag & 7 {
        0 => varint(rest).map(|_| (number, None)),
        1 => take(rest, 8).map(|_| (number, None)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            take(rest, length).map(|content| (number, Some(content)))
        }
        5 => take(rest, 4).map(|_| (number, None)),
        // The start of a group: none of ours is one. prost would skip it, and all that is in it.
        3 => Some((number, None)),
        _ => None,
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(content)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return Some(value);
        }
    }
    None
}

/// How often a field occurs.
fn count(mut bytes: &[u8], number: u32) -> usize {
    let mut found = 0;
    while let Some((next, _)) = next(&mut bytes) {
        found += usize::from(next == number);
    }
    found
}
