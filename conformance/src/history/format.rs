//! Histories as files: JSON Lines, an event per line, in the order in which they happened.
//!
//! | field | meaning |
//! |---|---|
//! | `process` | who acts, a number: one operation at a time; never reused after `unknown` |
//! | `event` | `call`, `return`, or `unknown` (no answer: it may take effect at any later time, or never) |
//! | `op`, `key` | with `call`: `mem`, `find`, `set`, `test_and_set`, `remove`, or `clear` with the key `""`; a key starts absent |
//! | `value` | with a `set` call: what is written; with a `find` return: what was read, `null` for absent |
//! | `test`, `set` | with a `test_and_set` call; `null` for absent |
//! | `present` | with a `mem` return: whether there is an entry |
//! | `applied` | with a `test_and_set` return: true if set, false on a mismatch |
//! | `current` | with a mismatch, optional: what was there, `null` for absent |
//!
//! A value is a string of JSON where it is UTF-8, and `{"base64": "/w=="}` where it is not.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    io::{self, BufRead, Write},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Value, error::Category};
use store_api::Key;

use super::{Action, Event, History, Misplaced, Operation, Outcome};

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Reading failed.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// A line is not an event that can follow those before it.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong, and what is expected.
        problem: Problem,
    },
}

/// What is wrong with a line. It names no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is not an object of JSON.
    #[error("it is not JSON from column {column} on: expected an object, complete on its line")]
    Json {
        /// Where, in bytes from 1.
        column: usize,
    },
    /// It is another kind of JSON, or a field is there twice.
    #[error("it is not an object in which each field is there once")]
    Object,
    /// A field is missing, of another type, or has a value that is not among those expected.
    #[error("`{field}` must be {expected}")]
    Field {
        /// The name of the field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A field that does not belong to the event.
    #[error("a {event} has no field \"{field}\": remove it")]
    Unexpected {
        /// What the line is, such as `call of set`.
        event: String,
        /// The field, escaped and cut short.
        field: String,
    },
    /// The key is not one.
    #[error("`key` must be a key: {0}")]
    Key(&'static str),
    /// It cannot follow the events before it.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
}

impl History {
    /// Reads a history from JSON Lines. Empty lines are skipped.
    ///
    /// # Errors
    ///
    /// On the first line that is not an event, or cannot follow those before it.
    pub fn read(mut reader: impl BufRead) -> Result<Self, ReadError> {
        let mut history = Self::default();
        let mut keys = HashSet::new();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if reader.read_until(b'\n', &mut text)? == 0 {
                break;
            }
            let text = text.trim_ascii_end();
            if !text.is_empty() {
                read_event(text, &history, &mut keys)
                    .and_then(|event| Ok(history.push(event)?))
                    .map_err(|problem| ReadError::Line { line, problem })?;
            }
        }
        Ok(history)
    }

    /// Writes it as JSON Lines, which [`read`](Self::read) gives back.
    ///
    /// # Errors
    ///
    /// Where the writer fails.
    pub fn write(&self, mut writer: impl Write) -> io::Result<()> {
        for event in &self.events {
            serde_json::to_writer(&mut writer, &Line::from(event))?;
            writer.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// The fields of a line, each there once.
struct Fields(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if fields.insert(name, value).is_some() {
                        return Err(A::Error::custom("a field is there twice"));
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl Fields {
    fn parse(line: &[u8]) -> Result<Self, Problem> {
        // What the parser says may quote the line, and with it a value.
        serde_json::from_slice(line).map_err(|error| match error.classify() {
            Category::Data => Problem::Object,
            Category::Io | Category::Syntax | Category::Eof => Problem::Json { column: error.column() },
        })
    }

    /// A field as what `read` makes of it.
    fn take<T>(
        &mut self,
        field: &'static str,
        expected: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<T, Problem> {
        self.0.remove(field).and_then(read).ok_or(Problem::Field { field, expected })
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, Problem> {
        self.take(field, "true or false", |value| value.as_bool())
    }

    fn text(&mut self, field: &'static str, expected: &'static str) -> Result<String, Problem> {
        self.take(field, expected, |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    fn value(&mut self, field: &'static str) -> Result<Bytes, Problem> {
        self.take(field, r#"a string, or {"base64": ".."}"#, bytes_of)
    }

    fn value_or_absent(&mut self, field: &'static str) -> Result<Option<Bytes>, Problem> {
        self.take(field, r#"a string, {"base64": ".."}, or null for absent"#, |value| match value {
            Value::Null => Some(None),
            value => bytes_of(value).map(Some),
        })
    }

    /// Refuses what is left when an event has taken its fields.
    fn finish(self, event: impl FnOnce() -> String) -> Result<(), Problem> {
        let Some(field) = self.0.into_keys().next() else { return Ok(()) };
        let field = field.chars().take(LONGEST_NAME_TOLD).collect::<String>().escape_default().to_string();
        Err(Problem::Unexpected { event: event(), field })
    }
}

/// How much of a field's name is told, in characters.
const LONGEST_NAME_TOLD: usize = 32;

fn bytes_of(value: Value) -> Option<Bytes> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Object(object) => match object.iter().next() {
            Some((name, Value::String(base64))) if name == "base64" && object.len() == 1 => {
                BASE64_STANDARD.decode(base64).ok().map(Bytes::from)
            }
            _ => None,
        },
        _ => None,
    }
}

fn read_event(line: &[u8], before: &History, keys: &mut HashSet<Key>) -> Result<Event, Problem> {
    let mut fields = Fields::parse(line)?;
    let process = fields.take("process", "a whole number from 0 to 2^64 - 1", |value| value.as_u64())?;
    let action = match &*fields.text("event", EVENTS)? {
        "call" => read_call(fields, keys)?,
        "return" => read_return(fields, before.open_operation(process)?)?,
        "unknown" => {
            fields.finish(|| "line of an unknown outcome".to_owned())?;
            Action::Unknown
        }
        _ => return Err(Problem::Field { field: "event", expected: EVENTS }),
    };
    Ok(Event { process, action })
}

const EVENTS: &str = r#""call", "return" or "unknown""#;
const OPERATIONS: &str = r#""mem", "find", "set", "test_and_set", "remove" or "clear""#;

fn read_call(mut fields: Fields, keys: &mut HashSet<Key>) -> Result<Action, Problem> {
    let operation = match &*fields.text("op", OPERATIONS)? {
        "mem" => Operation::Mem,
        "find" => Operation::Find,
        "set" => Operation::Set(fields.value("value")?),
        "test_and_set" => {
            Operation::TestAndSet { test: fields.value_or_absent("test")?, set: fields.value_or_absent("set")? }
        }
        "remove" => Operation::Remove,
        "clear" => Operation::Clear,
        _ => return Err(Problem::Field { field: "op", expected: OPERATIONS }),
    };
    let key = read_key(&fields.text("key", "a string")?, keys)?;
    fields.finish(|| format!("call of {}", operation.name()))?;
    Ok(Action::Call { key, operation })
}

/// A key, of which all events share one copy.
fn read_key(path: &str, keys: &mut HashSet<Key>) -> Result<Key, Problem> {
    if let Some(key) = keys.get(path) {
        return Ok(key.clone());
    }
    let key =
        Key::new(path).map_err(|_| Problem::Key("at most 255 bytes, with no leading, trailing or doubled `/`"))?;
    keys.insert(key.clone());
    Ok(key)
}

fn read_return(mut fields: Fields, operation: &Operation) -> Result<Action, Problem> {
    let outcome = match operation {
        Operation::Mem => Outcome::Mem(fields.flag("present")?),
        Operation::Find => Outcome::Found(fields.value_or_absent("value")?),
        Operation::Set(_) | Operation::Remove | Operation::Clear => Outcome::Done,
        Operation::TestAndSet { .. } if fields.flag("applied")? => Outcome::Applied,
        Operation::TestAndSet { .. } => Outcome::Mismatch {
            current: fields.0.contains_key("current").then(|| fields.value_or_absent("current")).transpose()?,
        },
    };
    fields.finish(|| format!("return from {}", operation.name()))?;
    Ok(Action::Return(outcome))
}

/// A line as it is written.
#[derive(Default, Serialize)]
struct Line<'e> {
    process: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Text<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Text<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Text<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    present: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Text<'e>>,
}

/// A value, or `null` for absent.
struct Text<'e>(Option<&'e Bytes>);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.map(|bytes| str::from_utf8(bytes).map_err(|_| bytes)) {
            None => serializer.serialize_none(),
            Some(Ok(text)) => serializer.serialize_str(text),
            Some(Err(bytes)) => BTreeMap::from([("base64", BASE64_STANDARD.encode(bytes))]).serialize(serializer),
        }
    }
}

impl<'e> From<&'e Event> for Line<'e> {
    fn from(event: &'e Event) -> Self {
        let line = Self { process: event.process, ..Self::default() };
        match &event.action {
            Action::Call { key, operation } => line.call(key, operation),
            Action::Return(outcome) => line.returned(outcome),
            Action::Unknown => Self { event: "unknown", ..line },
        }
    }
}

impl<'e> Line<'e> {
    fn call(self, key: &'e Key, operation: &'e Operation) -> Self {
        let line = Self { event: "call", op: Some(operation.name()), key: Some(key.as_str()), ..self };
        match operation {
            Operation::Set(value) => Self { value: Some(Text(Some(value))), ..line },
            Operation::TestAndSet { test, set } => {
                Self { test: Some(Text(test.as_ref())), set: Some(Text(set.as_ref())), ..line }
            }
            Operation::Mem | Operation::Find | Operation::Remove | Operation::Clear => line,
        }
    }

    fn returned(self, outcome: &'e Outcome) -> Self {
        let line = Self { event: "return", ..self };
        match outcome {
            Outcome::Done => line,
            Outcome::Mem(present) => Self { present: Some(*present), ..line },
            Outcome::Found(value) => Self { value: Some(Text(value.as_ref())), ..line },
            Outcome::Applied => Self { applied: Some(true), ..line },
            Outcome::Mismatch { current } => {
                let current = current.as_ref().map(|current| Text(current.as_ref()));
                Self { applied: Some(false), current, ..line }
            }
        }
    }
}
