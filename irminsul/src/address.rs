//! Addresses: where a store is, as one line of text. What a location means is left to the scheme's
//! [`Opener`](crate::Opener).

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    str::FromStr,
};

use percent_encoding::{percent_decode_str, percent_encode_byte};

use crate::{Error, ErrorKind, Result};

/// Where a store is: `scheme:location?name=value&name=value`.
///
/// The location and the options are percent-decoded: a `%`, `?`, `&`, `#` or `@` that belongs to a name is written
/// `%25`, `%3F`, `%26`, `%23`, `%40`. What decodes is UTF-8; a path that is not is opened by the backend's typed
/// options. `//` behind the scheme is not part of the location, so that `sqlite:///var/app.db` and
/// `sqlite:/var/app.db` are one file, and `sqlite://app.db` is a relative path.
///
/// An address carries no credentials: user-info, and options whose names speak of a secret, are refused without being
/// shown (E2). `Display` gives back an address that parses to an equal one.
///
/// ```
/// use irminsul::Address;
///
/// let address: Address = "sqlite:data/50%25.db?sync=full&poll=20".parse()?;
/// assert_eq!(address.scheme(), "sqlite");
/// assert_eq!(address.location(), "data/50%.db");
/// assert_eq!(address.option("poll"), Some("20"));
/// assert_eq!(address, Address::new("sqlite", "data/50%.db")?.with_option("sync", "full")?.with_option("poll", "20")?);
/// # Ok::<(), irminsul::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    scheme: Box<str>,
    double_slash: bool,
    location: Box<str>,
    options: Vec<(Box<str>, Box<str>)>,
}

impl Address {
    /// An address without options; the location is taken as it is, nothing in it is decoded.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the scheme is not a letter followed by letters, digits, `+`, `-` and `.`.
    pub fn new(scheme: impl AsRef<str>, location: impl AsRef<str>) -> Result<Self> {
        let address = Self {
            scheme: checked_scheme(scheme.as_ref())?,
            double_slash: false,
            location: "".into(),
            options: Vec::new(),
        };
        Ok(address.with_location(location))
    }

    /// The scheme, in lower case: it names the engine.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The location, decoded: what stands between the scheme and the options.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The options as they were given, in order, decoded and not yet checked; [`AddressOptions::of`](crate::AddressOptions::of)
    /// checks them.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The text of one option, or `None` where it is not given.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// The same address elsewhere: another location, the same scheme and options. For openers.
    #[must_use]
    pub fn with_location(mut self, location: impl AsRef<str>) -> Self {
        let location = location.as_ref();
        self.double_slash |= location.starts_with("//");
        self.location = location.into();
        self
    }

    /// The same address with one option more; one of that name is replaced.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it would be a credential, or has no name.
    pub fn with_option(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Result<Self> {
        let (name, value) = checked_option(name.as_ref(), value.as_ref())?;
        match self.options.iter_mut().find(|(given, _)| *given == name) {
            Some(option) => option.1 = value,
            None => self.options.push((name, value)),
        }
        Ok(self)
    }

    /// The same address without an option; nothing changes where it is not given.
    #[must_use]
    pub fn without_option(mut self, name: &str) -> Self {
        self.options.retain(|(given, _)| **given != *name);
        self
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| invalid("an address is `scheme:location`, such as `sqlite:data/app.db`"))?;
        if has_user_info(rest) {
            return Err(invalid(
                "an address carries no credentials: give them in the environment (an `@` that belongs to a name is \
                 written `%40`)",
            ));
        }
        if rest.contains('#') {
            return Err(invalid("an address has no `#`: where it belongs to a name it is written `%23`"));
        }
        let (location, options) = rest.split_once('?').unwrap_or((rest, ""));
        if location.contains('&') {
            return Err(invalid(
                "the options of an address begin with `?`: where an `&` belongs to a name it is written `%26`",
            ));
        }
        let path = location.strip_prefix("//");
        let mut address = Self::new(scheme, decode(path.unwrap_or(location))?)?;
        address.double_slash |= path.is_some();
        options.split('&').filter(|_| !options.is_empty()).try_fold(address, |address, option| {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| invalid("an option of an address is `name=value`, and `&` stands between two"))?;
            let (name, value) = (decode(name)?, decode(value)?);
            if address.option(&name).is_some() {
                return Err(invalid(format!("the option {} is given twice: give it once", quoted(&name))));
            }
            address.with_option(name, value)
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, if self.double_slash { "//" } else { "" })?;
        write_escaped(f, &self.location)?;
        for (index, (name, value)) in self.options().enumerate() {
            f.write_char(if index == 0 { '?' } else { '&' })?;
            write_escaped(f, name)?;
            f.write_char('=')?;
            write_escaped(f, value)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// What can be read as an [`Address`]: text, or an address.
pub trait IntoAddress: Send {
    /// The address, or `InvalidInput` that says what is expected.
    fn into_address(self) -> Result<Address>;
}

impl IntoAddress for Address {
    fn into_address(self) -> Result<Address> {
        Ok(self)
    }
}

impl IntoAddress for &Address {
    fn into_address(self) -> Result<Address> {
        Ok(self.clone())
    }
}

impl IntoAddress for &str {
    fn into_address(self) -> Result<Address> {
        self.parse()
    }
}

impl IntoAddress for &String {
    fn into_address(self) -> Result<Address> {
        self.parse()
    }
}

impl IntoAddress for String {
    fn into_address(self) -> Result<Address> {
        self.parse()
    }
}

/// A name from an address as an error may show it. What does not look like a name may be a part of a secret.
pub(crate) fn quoted(name: &str) -> Cow<'static, str> {
    let plain =
        name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if plain && !name.is_empty() { format!("`{name}`").into() } else { "of that name".into() }
}

pub(crate) fn checked_scheme(scheme: &str) -> Result<Box<str>> {
    let mut bytes = scheme.bytes();
    if !bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        || !bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    {
        return Err(invalid("a scheme is a letter followed by letters, digits, `+`, `-` and `.`, such as `sqlite`"));
    }
    Ok(scheme.to_ascii_lowercase().into())
}

fn checked_option(name: &str, value: &str) -> Result<(Box<str>, Box<str>)> {
    if name.is_empty() {
        return Err(invalid("an option of an address is `name=value`, and a name is not empty"));
    }
    let names_a_secret = ["secret", "passw", "token", "credential", "access_key", "account_key", "api_key"]
        .iter()
        .any(|word| name.to_ascii_lowercase().replace('-', "_").contains(word));
    if names_a_secret || value.split_once(':').is_some_and(|(_, rest)| has_user_info(rest)) {
        return Err(invalid("an option of an address carries no credentials: give them in the environment"));
    }
    Ok((name.into(), value.into()))
}

/// Whether what follows a scheme has an `@` in its authority, or anywhere behind a `:`. A secret may hold any
/// character, so that the end of the authority says nothing where there is a `:`.
fn has_user_info(rest: &str) -> bool {
    let authority = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    authority.is_some_and(|authority| authority.contains('@'))
        || rest.rsplit_once('@').is_some_and(|(before, _)| before.contains(':'))
}

fn decode(text: &str) -> Result<Cow<'_, str>> {
    let well_formed =
        text.split('%').skip(1).all(|tail| tail.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2);
    if !well_formed {
        return Err(invalid("a `%` in an address is followed by two hexadecimal digits; a plain one is written `%25`"));
    }
    percent_decode_str(text).decode_utf8().map_err(|_| invalid("what is escaped in an address is not UTF-8"))
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for character in text.chars() {
        if "%?&#@=".contains(character) || character.is_control() {
            let mut bytes = [0; 4];
            character.encode_utf8(&mut bytes).bytes().try_for_each(|byte| f.write_str(percent_encode_byte(byte)))?;
        } else {
            f.write_char(character)?;
        }
    }
    Ok(())
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        let error = text.parse::<Address>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        format!("{error} {error:?}")
    }

    #[test]
    fn the_forms_of_a_location() {
        for (text, scheme, location) in [
            ("mem:", "mem", ""),
            ("mem:name", "mem", "name"),
            ("sqlite:", "sqlite", ""),
            ("sqlite:rel/path.db", "sqlite", "rel/path.db"),
            ("sqlite:/abs/path.db", "sqlite", "/abs/path.db"),
            ("sqlite:///abs/path.db", "sqlite", "/abs/path.db"),
            ("sqlite://rel.db", "sqlite", "rel.db"),
            ("SQLite:x", "sqlite", "x"),
            ("s3://bucket/prefix", "s3", "bucket/prefix"),
            ("sqlite:100%25%3f%40home", "sqlite", "100%?@home"),
            ("sqlite:me@home.db", "sqlite", "me@home.db"),
            ("sqlite:a:b", "sqlite", "a:b"),
            ("sqlite:d\u{e9}j\u{e0} vu", "sqlite", "d\u{e9}j\u{e0} vu"),
        ] {
            let address = parsed(text);
            assert_eq!((address.scheme(), address.location()), (scheme, location), "{text}");
        }
    }

    #[test]
    fn options_keep_their_order_and_are_decoded() {
        let address = parsed("sqlite:x?sync=full&endpoint=http://h:9/?a%26b=%3D");
        assert_eq!(address.options().collect::<Vec<_>>(), [("sync", "full"), ("endpoint", "http://h:9/?a&b==")]);
        assert_eq!(address.option("poll"), None);
        assert_eq!(parsed("mem:?").options().count(), 0);
    }

    #[test]
    fn display_keeps_the_double_slash_of_a_service() {
        assert_eq!(parsed("s3://bucket/prefix?region=eu").to_string(), "s3://bucket/prefix?region=eu");
        assert_eq!(parsed("sqlite:/abs/a b.db").to_string(), "sqlite:/abs/a b.db");
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_what_is_expected() {
        for (text, expected) in [
            ("", "scheme:location"),
            ("data/app.db", "scheme:location"),
            (":x", "a scheme is a letter"),
            ("1x:", "a scheme is a letter"),
            ("a b:", "a scheme is a letter"),
            ("mem:a#b", "%23"),
            ("mem:a&b", "%26"),
            ("mem:50%", "%25"),
            ("mem:%+1", "%25"),
            ("mem:%zz", "%25"),
            ("mem:%ff", "UTF-8"),
            ("mem:?hash", "name=value"),
            ("mem:?hash=blake3&", "name=value"),
            ("mem:?=1", "name=value"),
            ("mem:?hash=blake3&hash=sha256", "`hash` is given twice"),
        ] {
            let shown = refused(text);
            assert!(shown.contains(expected), "{text}: {shown}");
        }
    }

    #[test]
    fn e2_credentials_are_refused_and_not_shown() {
        for text in [
            "s3://user:S3CRET@bucket",
            "s3://S3CRET@bucket",
            "s3:user:S3CRET@bucket",
            "s3://user:S3/CRET@bucket/x",
            "s3://user:S3?CRET@bucket/x",
            "s3://user:S3#CRET@bucket/x",
            "s3://bucket?endpoint=http://user:S3CRET@host",
            "s3://bucket?endpoint=http%3A%2F%2Fuser%3AS3CRET%40host",
            "s3://bucket?endpoint=http%3A%2F%2FS3CRET%40host",
            "s3://bucket?secret_access_key=S3CRET",
            "s3://bucket?AWS-Secret-Access-Key=S3CRET",
            "s3://bucket?password=S3CRET",
            "s3://bucket?S3CRET",
            "s3://bucket?S3CRET=1&S3CRET=1",
        ] {
            let shown = refused(text);
            assert!(!shown.contains("CRET"), "{text}: {shown}");
        }
    }

    #[test]
    fn an_opener_builds_an_address_from_another() {
        let address = parsed("sqlite:a.db?create=off&sync=full").with_location("//b?.db").without_option("create");
        assert_eq!(address.to_string(), "sqlite:////b%3F.db?sync=full");
        assert_eq!(address.clone().with_option("sync", "normal").unwrap().option("sync"), Some("normal"));
        assert_eq!(address.with_option("token", "x").unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    proptest! {
        #[test]
        fn display_round_trips(location in "\\PC{0,20}|[/?&#%@=:a\u{0}\n\u{e9}]{0,12}", value in "\\PC{0,12}|[/?&#%=a\n]{0,12}") {
            let address = Address::new("sqlite", &location).unwrap().with_option("a=b", "");
            if let Ok(address) = address.unwrap().with_option("name", &value) {
                let text = address.to_string();
                prop_assert!(!text.chars().any(char::is_control));
                prop_assert_eq!(parsed(&text), address);
            }
        }
    }
}
