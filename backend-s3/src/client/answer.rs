//! What a service answered, as far as its client tells: the status, and the code in the body. What that says about a
//! request is told here; what it says about a write is left to who wrote.

use std::error::Error as StdError;

use object_store::client::{HttpError, HttpErrorKind};

use super::FailureKind;

/// How the client shows an answer that is no success, and a redirect that leads nowhere.
pub(super) const STATUS: &str = "Server returned non-2xx status code: ";
const BARE_REDIRECT: &str = "Received redirect without LOCATION";
/// How many characters of an error's text are kept.
pub(super) const MAX_LINE_LEN: usize = 200;
/// Longer ones are no codes.
pub(super) const MAX_CODE_LEN: usize = 64;

/// What a service says of a body that was garbled on its way, or did not come.
const IN_TRANSIT: [&str; 5] =
    ["RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "Md5Mismatch"];

/// An answer that is no success.
pub(super) struct Answer {
    status: u16,
    code: Option<String>,
}

impl Answer {
    /// The answer that an error is about; `None` when it is about none.
    pub(super) fn of(error: &object_store::Error) -> Option<Self> {
        chain(error).find_map(|error| Self::parse(&error.to_string()))
    }

    pub(super) fn parse(shown: &str) -> Option<Self> {
        if shown.starts_with(BARE_REDIRECT) {
            return Some(Self { status: 301, code: None });
        }
        let rest = shown.strip_prefix(STATUS)?;
        let status = rest.get(..3)?.parse().ok()?;
        let code = rest.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
        let plain = |code: &&str| code.len() <= MAX_CODE_LEN && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Some(Self { status, code: code.filter(plain).map(str::to_owned) })
    }

    pub(super) fn kind(&self) -> FailureKind {
        match (self.status, self.code.as_deref()) {
            (404, Some("NoSuchKey" | "BlobNotFound")) => FailureKind::Missing,
            (404, Some("NoSuchBucket" | "ContainerNotFound")) => FailureKind::NoBucket,
            (404, _) => FailureKind::Unnamed,
            (304 | 412, _) => FailureKind::Refused,
            (409, _) => FailureKind::Conflict,
            (401 | 403, _) | (400, Some("ExpiredToken" | "InvalidToken")) => FailureKind::Denied,
            (501, _) => FailureKind::Unsupported,
            (507, _) => FailureKind::NoSpace,
            // A 400 without a code is not the service's.
            (408 | 429 | 500.., _) | (400, None) => FailureKind::Ambiguous,
            (400, Some(code)) if IN_TRANSIT.contains(&code) => FailureKind::Ambiguous,
            _ => FailureKind::Rejected,
        }
    }

    /// One line, of nothing that the request held: neither address nor value.
    pub(super) fn cause(&self) -> String {
        match &self.code {
            Some(code) => format!("status {}, {code}", self.status),
            None => format!("status {}", self.status),
        }
    }
}

/// What the transport tells of a request that was not answered.
pub(super) fn of_transport(error: &object_store::Error) -> Option<(FailureKind, String)> {
    let kind = chain(error).find_map(|error| Some(error.downcast_ref::<HttpError>()?.kind()))?;
    let deepest = chain(error).last().map(ToString::to_string).unwrap_or_default();
    let failure = if kind == HttpErrorKind::Connect { FailureKind::NotSent } else { FailureKind::Ambiguous };
    Some((failure, one_line(&deepest)))
}

/// What an error shows, unless there is an address in it, which may hold a credential. It may be the service that speaks:
/// what is no plain text is left out.
pub(super) fn one_line(shown: &str) -> String {
    let line = shown.lines().next().unwrap_or_default();
    if line.contains("://") {
        return "an error that has an address in it".to_owned();
    }
    line.chars().filter(|shown| !shown.is_control()).take(MAX_LINE_LEN).collect()
}

pub(super) fn chain(error: &object_store::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}
