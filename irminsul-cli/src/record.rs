//! Entries and changes as lines of JSON: what `watch --json` and `cas --json` write, and what `watch --known` reads.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use irminsul::{Bytes, Diff, Key};
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, input::Input};

/// A value in a record: as text where it is UTF-8, else in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Value {
    #[serde(rename = "value", default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(rename = "value_base64", default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl From<&Bytes> for Value {
    fn from(value: &Bytes) -> Self {
        match std::str::from_utf8(value) {
            Ok(text) => Self { text: Some(text.to_owned()), base64: None },
            Err(_) => Self { text: None, base64: Some(BASE64_STANDARD.encode(value)) },
        }
    }
}

impl Value {
    /// The bytes, or what is wrong with the fields.
    fn into_bytes(self) -> Result<Bytes, &'static str> {
        match (self.text, self.base64) {
            (Some(text), None) => Ok(text.into()),
            (None, Some(base64)) => {
                BASE64_STANDARD.decode(base64).map(Into::into).map_err(|_| "its value is not base64")
            }
            (None, None) => Err("it has neither `value` nor `value_base64`"),
            (Some(_), Some(_)) => Err("it has both `value` and `value_base64`"),
        }
    }
}

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EventName {
    Added,
    Updated,
    Removed,
    CaughtUp,
}

/// A line of a watch: an event, and the entry that it is about. Without an event it states an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(flatten)]
    value: Value,
}

impl Record {
    pub(crate) fn change(key: &Key, diff: &Diff) -> Self {
        let event = match diff {
            Diff::Added { .. } => EventName::Added,
            Diff::Updated { .. } => EventName::Updated,
            Diff::Removed { .. } => EventName::Removed,
        };
        Self {
            event: Some(event),
            key: Some(key.to_string()),
            value: diff.new_value().map(Value::from).unwrap_or_default(),
        }
    }

    pub(crate) fn caught_up() -> Self {
        Self { event: Some(EventName::CaughtUp), key: None, value: Value::default() }
    }

    /// Takes this record's change over into a state, or says what is wrong with the record.
    fn apply(self, state: &mut BTreeMap<Key, Bytes>) -> Result<(), String> {
        let key = match (self.event, self.key) {
            (Some(EventName::CaughtUp), _) => return Ok(()),
            (_, Some(key)) => Key::new(key).map_err(|e| e.to_string())?,
            (_, None) => return Err("it has no `key`".into()),
        };
        if self.event == Some(EventName::Removed) {
            state.remove(&key);
        } else {
            state.insert(key, self.value.into_bytes()?);
        }
        Ok(())
    }
}

/// The state that a file of records leads to.
pub(crate) fn read_state(input: &Input) -> Result<Vec<(Key, Bytes)>, Failure> {
    let state = state_of(&input.read_text()?).map_err(|(line, problem)| {
        Failure::refused(format!("line {line} of {input} cannot be used: {problem}; mend or remove it"))
    })?;
    Ok(state.into_iter().collect())
}

/// The state that records lead to, line by line; or the number of the line that is none, and what is wrong with it.
pub(crate) fn state_of(text: &str) -> Result<BTreeMap<Key, Bytes>, (usize, String)> {
    let mut state = BTreeMap::new();
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        // What a parser says may quote the line, and with it a value.
        let record: Result<Record, _> =
            serde_json::from_str(line).map_err(|_| "it is not a line of `watch --json`".into());
        record.and_then(|record| record.apply(&mut state)).map_err(|problem| (number, problem))?;
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_after(lines: &[&str]) -> Result<BTreeMap<Key, Bytes>, String> {
        let mut state = BTreeMap::new();
        for line in lines {
            serde_json::from_str::<Record>(line).unwrap().apply(&mut state)?;
        }
        Ok(state)
    }

    #[test]
    fn a_change_is_one_object_with_its_value_as_text_or_base64() {
        let key = Key::new("a/b").unwrap();
        let line = |diff| serde_json::to_string(&Record::change(&key, &diff)).unwrap();
        assert_eq!(line(Diff::Added { new: "x".into() }), r#"{"event":"added","key":"a/b","value":"x"}"#);
        assert_eq!(
            line(Diff::Updated { old: None, new: Bytes::from_static(&[0xff]) }),
            r#"{"event":"updated","key":"a/b","value_base64":"/w=="}"#
        );
        assert_eq!(line(Diff::Removed { old: Some("x".into()) }), r#"{"event":"removed","key":"a/b"}"#);
    }

    #[test]
    fn records_fold_into_the_state_that_was_last_seen() {
        let state = state_after(&[
            r#"{"event":"added","key":"a","value":"1"}"#,
            r#"{"event":"added","key":"b","value":"2"}"#,
            r#"{"event":"caught-up"}"#,
            r#"{"event":"updated","key":"a","value_base64":"/w=="}"#,
            r#"{"event":"removed","key":"b"}"#,
            r#"{"key":"c","value":""}"#,
        ]);
        let expected = [("a", Bytes::from_static(&[0xff])), ("c", Bytes::new())];
        assert_eq!(state.unwrap(), expected.map(|(key, value)| (Key::new(key).unwrap(), value)).into());
    }

    #[test]
    fn a_record_that_states_no_entry_is_refused() {
        for (line, problem) in [
            (r#"{"key":"a"}"#, "neither"),
            (r#"{"key":"a","value":"1","value_base64":"MQ=="}"#, "both"),
            (r#"{"key":"a","value_base64":"?"}"#, "base64"),
            (r#"{"event":"added","value":"1"}"#, "no `key`"),
            (r#"{"key":"a//b","value":"1"}"#, "empty step"),
        ] {
            let refused = state_after(&[line]).unwrap_err();
            assert!(refused.contains(problem), "{line}: {refused}");
        }
    }
}
