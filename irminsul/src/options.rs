//! Options of an address: one table per scheme, and the typed values that it admits. What they do is left to the
//! scheme's [`Opener`](crate::Opener).

use std::{fmt, time::Duration};

use crate::{Address, Error, ErrorKind, Result, address::quoted, openers};

/// What an option may be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionValues {
    /// `on` or `off`.
    Switch,
    /// A time, as a whole number of milliseconds.
    Duration {
        /// The least that makes sense.
        least: Duration,
    },
    /// A size, as a whole number of bytes.
    Bytes,
    /// A whole number.
    Count,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
}

impl OptionValues {
    fn parse(&self, text: &str) -> Option<Value> {
        // `str::parse` takes a sign too.
        let number = || text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text);
        match self {
            Self::Switch => match text {
                "on" => Some(Value::Switch(true)),
                "off" => Some(Value::Switch(false)),
                _ => None,
            },
            Self::Duration { least } => {
                let time = Duration::from_millis(number()?.parse().ok()?);
                (time >= *least).then_some(Value::Duration(time))
            }
            Self::Bytes => Some(Value::Bytes(number()?.parse().ok()?)),
            Self::Count => Some(Value::Count(number()?.parse().ok()?)),
            Self::Choice(names) => names.iter().find(|name| **name == text).map(|name| Value::Choice(name)),
            Self::Text => Some(Value::Text(text.into())),
        }
    }
}

impl fmt::Display for OptionValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.pad("on|off"),
            Self::Duration { least } if least.is_zero() => f.pad("MS"),
            Self::Duration { least } => f.pad(&format!("MS (at least {})", least.as_nanos().div_ceil(1_000_000))),
            Self::Bytes => f.pad("BYTES"),
            Self::Count => f.pad("COUNT"),
            Self::Choice(names) => f.pad(&names.join("|")),
            Self::Text => f.pad("TEXT"),
        }
    }
}

/// One option of a scheme, as its table lists it. `Display` is `name=values`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionSpec {
    /// The name before the `=`.
    pub name: &'static str,
    /// What may stand behind the `=`.
    pub values: OptionValues,
    /// What holds when it is not given, in words or as a value.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

impl OptionSpec {
    /// The store's hash function. Common to all schemes.
    pub const HASH: Self = Self::new(
        "hash",
        OptionValues::Choice(&["blake3", "sha256"]),
        "blake3, or what the store was created with",
        "the hash function of content, fixed when the store is created",
    );
    /// Whether reads of content are verified (I6). Common to all schemes.
    pub const VERIFY: Self =
        Self::new("verify", OptionValues::Switch, "on", "check content against its hash when it is read");
    /// The cap of a batch (I7). Common to all schemes.
    pub const BATCH: Self = Self::new(
        "batch",
        OptionValues::Bytes,
        "268435456",
        "the most that one batch may hold, in bytes, 96 for each value included",
    );
    /// How often other instances' changes are looked for (W11). Common to all schemes.
    pub const POLL: Self = Self::new(
        "poll",
        OptionValues::Duration { least: Duration::from_millis(1) },
        "the engine's own",
        "how often a watch looks for the changes of others, in milliseconds",
    );
    /// How long contention is waited out (A6). Common to all schemes.
    pub const BUSY: Self = Self::new(
        "busy",
        OptionValues::Duration { least: Duration::ZERO },
        "the engine's own",
        "how long to wait for a lock that another process holds, in milliseconds",
    );

    /// An option, stated.
    #[must_use]
    pub const fn new(name: &'static str, values: OptionValues, default: &'static str, help: &'static str) -> Self {
        Self { name, values, default, help }
    }

    /// The same option with another default.
    #[must_use]
    pub const fn with_default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// The same option for an engine that has no use for it: accepted, so that a configuration can switch engines.
    #[must_use]
    pub const fn unused(mut self) -> Self {
        self.default = "none";
        self.help = "accepted; this engine has no use for it";
        self
    }
}

impl fmt::Display for OptionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}={}", self.name, self.values))
    }
}

/// The options of one address, checked against its scheme's table.
///
/// The getters are `None` where the address does not give the option, so that the engine's own default holds.
///
/// # Panics
///
/// The getters panic when the table does not declare the option with such values: that is a mistake of the opener, not
/// of the address.
///
/// ```
/// use std::time::Duration;
/// use irminsul::{Address, AddressOptions, OptionSpec, OptionValues};
///
/// const TABLE: &[OptionSpec] =
///     &[OptionSpec::POLL, OptionSpec::new("level", OptionValues::Choice(&["low", "high"]), "low", "how much to keep")];
///
/// let options = AddressOptions::of(&"foo:x?poll=20".parse()?, TABLE)?;
/// assert_eq!(options.duration("poll"), Some(Duration::from_millis(20)));
/// assert_eq!(options.choice("level"), None);
///
/// let error = AddressOptions::of(&"foo:x?level=middle".parse()?, TABLE).unwrap_err();
/// assert_eq!(error.to_string(), "the option `level` is not well-formed; it is written level=low|high");
/// # Ok::<(), irminsul::Error>(())
/// ```
#[derive(Clone)]
pub struct AddressOptions {
    table: &'static [OptionSpec],
    given: Vec<(&'static str, Value)>,
}

#[derive(Clone)]
enum Value {
    Switch(bool),
    Duration(Duration),
    Bytes(usize),
    Count(u64),
    Choice(&'static str),
    Text(Box<str>),
}

impl AddressOptions {
    /// Checks the options of an address.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for one that the table does not know, with all that it knows, or whose value is ill-formed, with how
    /// it is written.
    pub fn of(address: &Address, table: &'static [OptionSpec]) -> Result<Self> {
        let invalid = |message| Error::new(ErrorKind::InvalidInput, message);
        let check = |(name, text): (&str, &str)| {
            let spec = table.iter().find(|spec| spec.name == name);
            let spec = spec.ok_or_else(|| invalid(unknown(name, address.scheme(), table)))?;
            let value = spec.values.parse(text);
            let ill_formed = || format!("the option {} is not well-formed; it is written {spec}", quoted(name));
            Ok((spec.name, value.ok_or_else(|| invalid(ill_formed()))?))
        };
        Ok(Self { table, given: address.options().map(check).collect::<Result<_>>()? })
    }

    /// An option that is `on` or `off`.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<bool> {
        match self.given(name, |values| matches!(values, OptionValues::Switch))? {
            Value::Switch(on) => Some(*on),
            _ => None,
        }
    }

    /// An option that is a time.
    #[must_use]
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.given(name, |values| matches!(values, OptionValues::Duration { .. }))? {
            Value::Duration(time) => Some(*time),
            _ => None,
        }
    }

    /// An option that is a size.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<usize> {
        match self.given(name, |values| matches!(values, OptionValues::Bytes))? {
            Value::Bytes(bytes) => Some(*bytes),
            _ => None,
        }
    }

    /// An option that is a whole number.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        match self.given(name, |values| matches!(values, OptionValues::Count))? {
            Value::Count(count) => Some(*count),
            _ => None,
        }
    }

    /// An option that is one of some names.
    #[must_use]
    pub fn choice(&self, name: &str) -> Option<&'static str> {
        match self.given(name, |values| matches!(values, OptionValues::Choice(_)))? {
            Value::Choice(choice) => Some(choice),
            _ => None,
        }
    }

    /// An option that is any text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.given(name, |values| matches!(values, OptionValues::Text))? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn given(&self, name: &str, declared: impl Fn(&OptionValues) -> bool) -> Option<&Value> {
        assert!(
            self.table.iter().any(|spec| spec.name == name && declared(&spec.values)),
            "the table of the scheme does not declare the option `{name}` with such values"
        );
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }
}

/// What is said of an option that the table of a scheme does not have. Another scheme may have it: who switches engines
/// leaves it out.
fn unknown(name: &str, scheme: &str, table: &[OptionSpec]) -> String {
    let has = |table: &[OptionSpec]| table.iter().any(|spec| spec.name == name);
    let others = openers::compiled_in().into_iter().filter(|(_, opener)| has(opener.options()));
    let others: Vec<_> = others.map(|(other, _)| format!("`{other}`")).collect();
    let why = match &others[..] {
        [] => "is not known".to_owned(),
        others => format!("is one of {}, not of `{scheme}`: leave it out", others.join(", ")),
    };
    let known: Vec<_> = table.iter().map(ToString::to_string).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("the option {} {why}; the options of `{scheme}` are {known}", quoted(name))
}

// An option's text may be anything, so that only the names are shown.
impl fmt::Debug for AddressOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.given.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[OptionSpec] = &[OptionSpec::VERIFY];

    fn refused(address: &str) -> String {
        let refused = AddressOptions::of(&address.parse().unwrap(), TABLE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        refused.to_string()
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn an_option_of_another_scheme_is_said_to_be_one() {
        let shown = refused("foo:?sync=full");
        assert!(shown.contains("`sync` is one of ") && shown.contains("`sqlite`"), "{shown}");
        assert!(shown.contains("not of `foo`: leave it out; the options of `foo` are verify=on|off"), "{shown}");
    }

    #[test]
    fn the_least_time_is_told_as_one_that_can_be_written() {
        let values = OptionValues::Duration { least: Duration::from_micros(1_500) };
        assert_eq!(values.to_string(), "MS (at least 2)");
        assert!(values.parse("1").is_none() && values.parse("2").is_some());
    }

    #[test]
    fn an_option_of_no_scheme_is_not_known() {
        let shown = refused("foo:?shelf=top");
        assert_eq!(shown, "the option `shelf` is not known; the options of `foo` are verify=on|off");
    }

    #[test]
    fn an_ill_formed_option_is_told_how_it_is_written() {
        let shown = refused("foo:?verify=ON");
        assert_eq!(shown, "the option `verify` is not well-formed; it is written verify=on|off");
    }
}
