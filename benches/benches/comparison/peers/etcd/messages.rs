//! The few messages of etcd's protocol that are needed, as bytes: fields that are not asked for are passed over.

use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};
use store_api::{Error, ErrorKind, Result};

/// A message that is being written.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn bytes(mut self, tag: u32, value: &[u8]) -> Self {
        encode_key(tag, WireType::LengthDelimited, &mut self.0);
        encode_varint(value.len() as u64, &mut self.0);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn number(mut self, tag: u32, value: u64) -> Self {
        encode_key(tag, WireType::Varint, &mut self.0);
        encode_varint(value, &mut self.0);
        self
    }

    pub(super) fn message(self, tag: u32, message: &Self) -> Self {
        self.bytes(tag, &message.0)
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

/// The fields of one tag in a message.
fn fields(mut message: Bytes, wanted: u32, mut found: impl FnMut(Field)) -> Result<()> {
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message).map_err(ill_formed)?;
        match wire_type {
            WireType::Varint if tag == wanted => found(Field::Number(decode_varint(&mut message).map_err(ill_formed)?)),
            WireType::LengthDelimited if tag == wanted => {
                let len = usize::try_from(decode_varint(&mut message).map_err(ill_formed)?).unwrap_or(usize::MAX);
                if len > message.remaining() {
                    return Err(Error::new(ErrorKind::Other, "etcd answered with a message that is cut short"));
                }
                found(Field::Bytes(message.split_to(len)));
            }
            other => skip_field(other, tag, &mut message, DecodeContext::default()).map_err(ill_formed)?,
        }
    }
    Ok(())
}

enum Field {
    Number(u64),
    Bytes(Bytes),
}

fn ill_formed(source: prost::DecodeError) -> Error {
    Error::new(ErrorKind::Other, "etcd answered with an ill-formed message").with_source(source)
}

/// The parts of one tag in a message: bytes, or messages as bytes.
fn parts(message: Bytes, tag: u32) -> Result<Vec<Bytes>> {
    let mut parts = Vec::new();
    fields(message, tag, |field| match field {
        Field::Bytes(part) => parts.push(part),
        Field::Number(_) => {}
    })?;
    Ok(parts)
}

/// A number of a message, which is 0 where it is left out.
fn number(message: Bytes, tag: u32) -> Result<u64> {
    let mut number = 0;
    fields(message, tag, |field| {
        if let Field::Number(value) = field {
            number = value;
        }
    })?;
    Ok(number)
}

fn value_of(entry: Bytes) -> Result<Bytes> {
    Ok(parts(entry, 5)?.pop().unwrap_or_default())
}

pub(super) fn range(key: &str) -> Message {
    Message::default().bytes(1, key.as_bytes())
}

pub(super) fn range_below(key: &str) -> Message {
    // Behind the slash comes the zero.
    Message::default().bytes(1, format!("{key}/").as_bytes()).bytes(2, format!("{key}0").as_bytes())
}

pub(super) fn put(key: &str, value: &[u8]) -> Message {
    Message::default().bytes(1, key.as_bytes()).bytes(2, value)
}

/// Sets or removes a key that has a value or, with `None`, is absent; otherwise reads it.
pub(super) fn compare_and_set(key: &str, test: Option<&[u8]>, set: Option<&[u8]>) -> Message {
    const OF_VERSION: u64 = 0;
    const OF_VALUE: u64 = 3;
    let compare = Message::default().number(1, 0);
    let compare = match test {
        Some(value) => compare.number(2, OF_VALUE).bytes(3, key.as_bytes()).bytes(7, value),
        None => compare.number(2, OF_VERSION).bytes(3, key.as_bytes()).number(4, 0),
    };
    let write = match set {
        Some(value) => Message::default().message(2, &put(key, value)),
        None => Message::default().message(3, &Message::default().bytes(1, key.as_bytes())),
    };
    let read = Message::default().message(1, &range(key));
    Message::default().message(1, &compare).message(2, &write).message(3, &read)
}

/// A request for the changes of a key.
pub(super) fn watch(key: &str) -> Message {
    Message::default().message(1, &Message::default().bytes(1, key.as_bytes()))
}

/// The values in the answer to a range.
pub(super) fn values(answer: Bytes) -> Result<Vec<Bytes>> {
    parts(answer, 2)?.into_iter().map(value_of).collect()
}

/// Whether a compare-and-set was applied, and if not, what was there.
pub(super) fn applied(answer: Bytes) -> Result<std::result::Result<(), Option<Bytes>>> {
    if number(answer.clone(), 2)? == 1 {
        return Ok(Ok(()));
    }
    let mut current = Vec::new();
    for response in parts(answer, 3)? {
        for read in parts(response, 1)? {
            current.extend(values(read)?);
        }
    }
    Ok(Err(current.pop()))
}

/// The values that were set, in a message of a watch.
pub(super) fn changes(message: Bytes) -> Result<Vec<Bytes>> {
    let mut values = Vec::new();
    for event in parts(message, 11)? {
        for entry in parts(event, 2)? {
            values.push(value_of(entry)?);
        }
    }
    Ok(values)
}
