//! The one door to the object store: names below the store's prefix, each request counted, and each failure classified
//! once. What a failed write means for its entry is left to who wrote.

mod answer;
mod course;
mod credentials;
mod foreign;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub(crate) mod fuzzing;
mod page;
#[cfg(test)]
mod tests;
mod transport;

use std::{
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::ready,
    stream::{self, BoxStream},
};
use object_store::{
    GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    PutResult, UpdateVersion, path::Path,
};
use store_api::{Effect, Error, ErrorKind};
use tokio::time::{Instant, sleep, timeout};

#[cfg(feature = "azure")]
pub(crate) use self::transport::is_yes;
use self::{answer::Answer, course::Course, credentials::NoCredentials, foreign::Foreign, transport::Listings};
pub(crate) use self::{
    credentials::{InTask, OfMachine},
    transport::Connector,
};

/// What each MiB of a body adds to the time that a request may take.
const PATIENCE_PER_MIB: Duration = Duration::from_secs(1);
/// How often a read is tried before its failure is told.
pub(crate) const READ_ATTEMPTS: u32 = 5;
/// How many objects are deleted at a time.
const DELETES: usize = 16;
/// A LIST page has so many names.
const PAGE: u64 = 1000;
/// How much memory is taken for a body before it has come.
const MAX_RESERVED: usize = 8 * 1024 * 1024;
/// How long bytes may be that are copied to be kept. No cache keeps any that are as long.
pub(crate) const OWNED_LEN: usize = 4 * 1024 * 1024;
/// No service has a longer `ETag`. Many of them are kept.
const MAX_TAG_LEN: usize = 256;

/// The objects below a store's prefix.
///
/// The object store's own retries are off: a write that is sent again blindly cannot tell its own first success from
/// another's. Reads are tried again here.
pub(crate) struct Client {
    store: Arc<dyn ObjectStore>,
    lists: Arc<dyn ObjectStore>,
    prefix: Path,
    /// How long a read is tried again.
    busy: Duration,
    /// How long a request may take, besides what its body adds.
    patience: Duration,
    counters: Counters,
    /// Of the transport; `None` when the store was given, and nobody counts.
    listings: Option<Arc<Listings>>,
    foreign: Foreign,
}

/// How a service is asked.
pub(crate) struct Service {
    /// Without retries.
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// For listings. It tries a page again by itself: nobody else can, since a listing goes on by what the page before
    /// said.
    pub(crate) lists: Arc<dyn ObjectStore>,
    /// What the transport knows of the listings, where it is ours.
    pub(crate) listings: Option<Arc<Listings>>,
}

/// What one state of an object is told by: its `ETag`.
#[derive(Clone)]
pub(crate) struct Version(Box<str>);

impl Version {
    /// `None` for what no service gives, and no request could give back.
    pub(crate) fn new(tag: String) -> Option<Self> {
        let is_plain = tag.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        (is_plain && (1..=MAX_TAG_LEN).contains(&tag.len())).then(|| Self(tag.into()))
    }

    /// Listings of some services leave out the quotes that their headers have.
    fn opaque(&self) -> &str {
        self.0.trim_start_matches("W/").trim_matches('"')
    }

    /// As a header has it.
    fn quoted(&self) -> String {
        if self.0.ends_with('"') { self.0.clone().into() } else { format!("\"{}\"", self.0) }
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.opaque() == other.opaque()
    }
}

impl Eq for Version {}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.opaque())
    }
}

/// An object that was read, or the part of it that was asked for.
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    pub(crate) version: Version,
    /// The size of the whole object.
    pub(crate) size: u64,
}

/// What a conditional read found.
pub(crate) enum Seen {
    /// The version that was named.
    Unchanged,
    Changed(Object),
    Missing,
}

impl Seen {
    fn into_object(self) -> Option<Object> {
        match self {
            Self::Changed(object) => Some(object),
            Self::Missing => None,
            Self::Unchanged => unreachable!("nothing is unchanged where no version was named"),
        }
    }
}

/// An object as a listing shows it.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Below the store's prefix.
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) version: Option<Version>,
    /// When it was written, as the service says.
    pub(crate) written: SystemTime,
}

/// Why a request failed. `cause` is one line without a credential.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    cause: String,
}

/// What a failed request says about its effect, and what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// A write's condition did not hold (412; 404 of an update). Never a verdict by itself.
    Refused,
    /// A write was contended, or the object that it was to create is there already (409). Never a verdict by itself.
    Conflict,
    /// The answer was lost, late, or told of trouble inside (408, 429, 5xx): a write may have happened, or may still.
    Ambiguous,
    /// A 404 that names nothing that is missing: whoever is on the way may have said it. Nothing is absent by it (A11).
    Unnamed,
    /// No connection could be made: nothing was sent.
    NotSent,
    /// The credentials do not allow it, or the service refuses them.
    Denied,
    /// There are no credentials, and this is what to do about it: nothing was sent.
    NoCredentials(&'static str),
    /// The bucket or the container is not there.
    NoBucket,
    /// An object that is asked for is not there.
    Missing,
    /// A listing has a name that cannot be read: of an object that is not the store's.
    ForeignName,
    /// A listing has a name twice, or out of its order, or more of them than there can be.
    Endless,
    /// The service does not have this kind of request (501).
    Unsupported,
    /// The service has no room (507).
    NoSpace,
    /// The request will be answered so again (3xx, 4xx): nothing was written.
    Rejected,
}

impl Failure {
    fn new(kind: FailureKind, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into() }
    }

    fn late() -> Self {
        Self::new(FailureKind::Ambiguous, "no answer in time")
    }

    fn of(error: &object_store::Error) -> Self {
        if let Some(missing) = NoCredentials::of(error) {
            return Self::new(FailureKind::NoCredentials(missing.advice), missing.cause.clone());
        }
        if let Some(answer) = Answer::of(error) {
            return Self::new(answer.kind(), answer.cause());
        }
        if let Some((kind, cause)) = answer::of_transport(error) {
            return Self::new(kind, cause);
        }
        Self::new(kind_without_answer(error), answer::one_line(&error.to_string()))
    }

    /// Whether the same read may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.kind, FailureKind::Ambiguous | FailureKind::Unnamed | FailureKind::NotSent)
    }

    /// Whether a write was refused as its condition did not hold, or may not have held.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.kind, FailureKind::Refused | FailureKind::Conflict)
    }

    /// The error of the contract, for a call whose effect is known to be this one.
    pub(crate) fn into_error(self, effect: Effect) -> Error {
        // What may have happened already is not repeated blindly.
        let again = if effect == Effect::Unknown { "read what is there before you try again" } else { "try again" };
        let passing = |message: &str| Error::new(ErrorKind::Unavailable, format!("{message}{again}"));
        let error = match self.kind {
            FailureKind::Refused | FailureKind::Conflict => passing("the object is contended; "),
            FailureKind::Ambiguous => passing("the object store gave no answer that can be used; "),
            FailureKind::Unnamed => {
                passing("a 404 does not say what is missing; check the endpoint and what is on the way to it, and ")
            }
            kind => kind.lasting(),
        };
        error.with_effect(effect).with_source(self.cause)
    }
}

impl FailureKind {
    /// The error of a failure that to try again is no remedy for.
    fn lasting(self) -> Error {
        let (kind, message) = match self {
            Self::Refused | Self::Conflict | Self::Ambiguous | Self::Unnamed | Self::NotSent => {
                (ErrorKind::Unavailable, "the object store cannot be reached; check the endpoint")
            }
            Self::Denied => (ErrorKind::Denied, "the object store refuses the access; check the credentials"),
            Self::NoCredentials(advice) => (ErrorKind::Denied, advice),
            Self::NoBucket => {
                (ErrorKind::InvalidInput, "the bucket, or container, is not there; create it, or name another")
            }
            Self::Missing => (ErrorKind::Corrupt, "an object of the store is gone; restore it from a copy"),
            Self::ForeignName => (
                ErrorKind::InvalidInput,
                "an object below the prefix is not the store's, and its name cannot be read; remove it",
            ),
            Self::Endless => (
                ErrorKind::Unsupported,
                "the object store repeats names in a listing, or has no end of them; use another service",
            ),
            Self::Unsupported => {
                (ErrorKind::Unsupported, "the object store lacks a request that the store needs; use another service")
            }
            Self::NoSpace => (ErrorKind::NoSpace, "the object store has no room; make some"),
            Self::Rejected => (
                ErrorKind::InvalidInput,
                "the object store rejects the request; check the endpoint, the region, and what limits the sizes of \
                 requests on the way",
            ),
        };
        Error::new(kind, message)
    }
}

/// A read has no effect.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.into_error(Effect::NotApplied)
    }
}

impl Client {
    pub(crate) fn new(service: Service, prefix: Path, busy: Duration, patience: Duration) -> Self {
        let Service { objects: store, lists, listings } = service;
        Self {
            store,
            lists,
            prefix,
            busy,
            patience,
            counters: Counters::default(),
            listings,
            foreign: Foreign::default(),
        }
    }

    /// How many requests were sent, and how many bytes, since the client was made.
    pub(crate) fn requests(&self) -> Requests {
        let counted = self.counters.read();
        let list = self.listings.as_ref().map_or(counted.list, |listings| listings.pages.load(Ordering::Relaxed));
        Requests { list, ..counted }
    }

    /// Writes an object that must not be there yet (`If-None-Match: *`).
    pub(crate) async fn create(&self, name: &str, payload: PutPayload) -> Result<Version, Failure> {
        self.put(name, payload, PutMode::Create).await
    }

    /// Writes an object in the place of one of this version (`If-Match`).
    pub(crate) async fn replace(&self, name: &str, payload: PutPayload, version: &Version) -> Result<Version, Failure> {
        let version = UpdateVersion { e_tag: Some(version.0.clone().into()), version: None };
        self.put(name, payload, PutMode::Update(version)).await
    }

    async fn put(&self, name: &str, payload: PutPayload, mode: PutMode) -> Result<Version, Failure> {
        let size = payload.content_length() as u64;
        self.counters.count(Kind::Put);
        self.counters.up.fetch_add(size, Ordering::Relaxed);
        let path = self.path(name);
        let put = self.store.put_opts(&path, payload, PutOptions::from(mode));
        let answer: Result<PutResult, _> = self.answered(self.patience(size), put).await?;
        match answer.map_err(|error| Failure::of(&error)) {
            Ok(PutResult { e_tag, .. }) => e_tag
                .and_then(Version::new)
                .ok_or_else(|| Failure::new(FailureKind::Ambiguous, "the answer has no ETag that can be used")),
            // An update of what is not there: 404 on some services, 412 on others.
            Err(failure) if failure.kind == FailureKind::Missing => {
                Err(Failure { kind: FailureKind::Refused, ..failure })
            }
            Err(failure) if failure.kind == FailureKind::Unnamed => {
                Err(Failure { kind: FailureKind::Ambiguous, ..failure })
            }
            Err(failure) => Err(failure),
        }
    }

    /// The object; `None` when it is not there. The bytes of one that has more than `most` are left, and are empty.
    pub(crate) async fn get(&self, name: &str, most: u64) -> Result<Option<Object>, Failure> {
        Ok(self.read(name, &GetOptions::default(), most, self.until()).await?.into_object())
    }

    /// A range of the object's bytes; `None` when it is not there.
    pub(crate) async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Object>, Failure> {
        let most = range.end.saturating_sub(range.start);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        Ok(self.read(name, &options, most, self.until()).await?.into_object())
    }

    /// As [`get`](Self::get), unless the object is of this version (`If-None-Match`): then its body is not sent. It is
    /// tried again until a time.
    pub(crate) async fn get_unless(
        &self,
        name: &str,
        version: Option<&Version>,
        most: u64,
        until: Instant,
    ) -> Result<Seen, Failure> {
        let if_none_match = version.map(|version| self.condition_of(version));
        self.read(name, &GetOptions { if_none_match, ..GetOptions::default() }, most, until).await
    }

    /// How a condition names a version, which may be known from a listing. The tags of a store that was given have the form
    /// that it likes.
    fn condition_of(&self, version: &Version) -> String {
        if self.listings.is_some() { version.quoted() } else { version.0.clone().into() }
    }

    /// Whether the object is there, with its size; its bytes are empty.
    pub(crate) async fn head(&self, name: &str) -> Result<Option<Object>, Failure> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        match self.read(name, &head, 0, self.until()).await {
            Ok(seen) => Ok(seen.into_object()),
            // The answer to a HEAD has no body that could name what is missing.
            Err(failure) if failure.kind == FailureKind::Unnamed => {
                let object = self.get_range(name, 0..1).await?;
                Ok(object.map(|object| Object { bytes: Bytes::new(), ..object }))
            }
            Err(failure) => Err(failure),
        }
    }

    /// When a read that begins here is tried for the last time.
    pub(crate) fn until(&self) -> Instant {
        Instant::now() + self.busy
    }

    async fn read(&self, name: &str, options: &GetOptions, most: u64, until: Instant) -> Result<Seen, Failure> {
        let path = self.path(name);
        let mut attempt = 1;
        loop {
            let failure = match self.read_once(&path, options.clone(), most).await {
                Ok(seen) => return Ok(seen),
                Err(failure) => failure,
            };
            let is_silent = options.head && failure.kind == FailureKind::Unnamed;
            if is_silent || !failure.is_passing() || attempt == READ_ATTEMPTS || Instant::now() >= until {
                return Err(failure);
            }
            back_off(attempt).await;
            attempt += 1;
        }
    }

    async fn read_once(&self, path: &Path, options: GetOptions, most: u64) -> Result<Seen, Failure> {
        self.counters.count(if options.head { Kind::Head } else { Kind::Get });
        let (head, is_conditional) = (options.head, options.if_none_match.is_some());
        let answer = self.answered(self.patience, self.store.get_opts(path, options)).await?;
        let found = match answer {
            Ok(found) => found,
            Err(object_store::Error::NotModified { .. }) if is_conditional => return Ok(Seen::Unchanged),
            // To what was not asked. It says nothing about the object (A11).
            Err(object_store::Error::NotModified { .. }) => {
                return Err(Failure::new(FailureKind::Ambiguous, "a 304 answers a request without a condition"));
            }
            Err(error) => {
                let failure = Failure::of(&error);
                return if failure.kind == FailureKind::Missing { Ok(Seen::Missing) } else { Err(failure) };
            }
        };
        let size = found.meta.size;
        let version = found.meta.e_tag.clone().and_then(Version::new);
        let version =
            version.ok_or_else(|| Failure::new(FailureKind::Unsupported, "an answer has no ETag that can be used"))?;
        let len = found.range.end.saturating_sub(found.range.start);
        let bytes = if head || len > most { Bytes::new() } else { self.body(found, len).await? };
        Ok(Seen::Changed(Object { bytes, version, size }))
    }

    /// The bytes of an answer, which are to be so many.
    async fn body(&self, found: GetResult, len: u64) -> Result<Bytes, Failure> {
        let bytes = timeout(self.patience(len), collect(found, len)).await.map_err(|_| Failure::late())??;
        self.counters.down.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// What a request comes to, in its time. The client of a service panics where a credential that it was given by a
    /// machine, or by a file, fits into no header; what happens in a store that was made elsewhere is its maker's.
    async fn answered<T>(&self, limit: Duration, request: impl Future<Output = T>) -> Result<T, Failure> {
        match timeout(limit, AssertUnwindSafe(request).catch_unwind()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(panic)) if self.listings.is_none() => resume_unwind(panic),
            Ok(Err(_)) => Err(Failure::new(FailureKind::Ambiguous, "the client of the object store panicked")),
            Err(_) => Err(Failure::late()),
        }
    }

    fn patience(&self, bytes: u64) -> Duration {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        self.patience.saturating_add(PATIENCE_PER_MIB.saturating_mul(mebibytes))
    }

    /// The objects whose names begin with `under` and a `/`, in no order that could be relied on. A failure ends it.
    pub(crate) fn list(self: &Arc<Self>, under: &str) -> BoxStream<'static, Result<Listed, Failure>> {
        self.followed(self.lists.list(Some(&self.path(under))), Course::in_any_order())
    }

    /// As [`list`](Self::list), those alone whose names come behind one, in order, and `most` at the most.
    pub(crate) fn list_behind(
        self: &Arc<Self>,
        under: &str,
        behind: &str,
        most: u64,
    ) -> BoxStream<'static, Result<Listed, Failure>> {
        let behind = self.path(behind);
        let objects = self.lists.list_with_offset(Some(&self.path(under)), &behind);
        // A service may know no beginning, and tell all names.
        let objects = objects.try_filter(move |object| ready(object.location > behind)).boxed();
        self.followed(objects, Course::in_order(most))
    }

    /// The objects of a listing, while it takes its course.
    fn followed(
        self: &Arc<Self>,
        objects: BoxStream<'static, object_store::Result<ObjectMeta>>,
        course: Course,
    ) -> BoxStream<'static, Result<Listed, Failure>> {
        let client = Arc::clone(self);
        stream::unfold((objects, course, 0_u64), move |(mut objects, mut course, listed)| {
            let client = Arc::clone(&client);
            async move {
                if client.listings.is_none() && listed % PAGE == 0 {
                    client.counters.count(Kind::List);
                }
                let object = client.next_of(&mut objects, &mut course).await?;
                let rest = if object.is_err() { stream::empty().boxed() } else { objects };
                Some((object, (rest, course, listed + 1)))
            }
        })
        .boxed()
    }

    async fn next_of(
        &self,
        objects: &mut BoxStream<'static, object_store::Result<ObjectMeta>>,
        course: &mut Course,
    ) -> Option<Result<Listed, Failure>> {
        let next = match self.answered(self.patience, objects.next()).await {
            Ok(next) => next?,
            Err(failure) => return Some(Err(failure)),
        };
        let meta = match next {
            Ok(meta) => meta,
            Err(error) => return Some(Err(Failure::of(&error))),
        };
        if !course.admits(meta.location.as_ref()) {
            return Some(Err(Failure::new(FailureKind::Endless, "a name of a listing comes twice, or too late")));
        }
        Some(Ok(Listed {
            name: self.name(&meta.location),
            size: meta.size,
            version: meta.e_tag.and_then(Version::new),
            written: meta.last_modified.into(),
        }))
    }

    /// Tells of a listed object that is not the store's.
    pub(crate) fn tell_foreign(&self, listed: &Listed) {
        self.foreign.tell(&listed.name);
    }

    /// Removes an object; one that is not there is fine.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), Failure> {
        self.counters.count(Kind::Delete);
        let path = self.path(name);
        let answer = self.answered(self.patience, self.store.delete(&path)).await?;
        match answer.map_err(|error| Failure::of(&error)) {
            Err(failure) if failure.kind != FailureKind::Missing => Err(failure),
            _ => Ok(()),
        }
    }

    /// Removes the objects below the prefix whose names are meant, as they are listed: a listing goes on behind the
    /// last name of a page, which need not be there any more.
    pub(crate) async fn delete_all(self: &Arc<Self>, is_meant: impl Fn(&str) -> bool) -> Result<(), Failure> {
        let meant = self.everything().try_filter(|object| ready(is_meant(&object.name)));
        meant.try_for_each_concurrent(DELETES, async |object| self.delete(&object.name).await).await
    }

    /// Whether all objects below the prefix have such names.
    pub(crate) async fn has_only(self: &Arc<Self>, is_such: impl Fn(&str) -> bool) -> Result<bool, Failure> {
        let mut others = self.everything().try_filter(|object| ready(!is_such(&object.name)));
        Ok(others.try_next().await?.is_none())
    }

    fn everything(self: &Arc<Self>) -> BoxStream<'static, Result<Listed, Failure>> {
        self.followed(self.lists.list(Some(&self.prefix)), Course::in_any_order())
    }

    /// Our names need no escaping: `names` and the packs make them of plain characters.
    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    fn name(&self, path: &Path) -> String {
        let prefix = self.prefix.as_ref();
        let name = path.as_ref().strip_prefix(prefix).unwrap_or(path.as_ref());
        name.trim_start_matches('/').to_owned()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Waits a random time that doubles with each attempt: 20 to 40 ms behind the first, some seconds at the most.
pub(crate) async fn back_off(attempt: u32) {
    let longest = Duration::from_millis(20).saturating_mul(1 << attempt.min(7));
    sleep(longest.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
}

/// What is kept holds its own bytes, and not the large buffer that it may be a part of: the transport's, or the
/// application's. Those that are not kept are not copied.
pub(crate) fn owned(bytes: Bytes) -> Bytes {
    if bytes.len() < OWNED_LEN { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// The bytes of an answer. Little memory is taken at the service's word: it may announce more than it sends, or send more.
async fn collect(found: GetResult, len: u64) -> Result<Bytes, Failure> {
    let mut chunks = found.into_stream();
    let mut first = Bytes::new();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Failure::of(&error))?;
        if (first.len() + bytes.len() + chunk.len()) as u64 > len {
            return Err(Failure::new(FailureKind::Ambiguous, "the answer is longer than it says"));
        }
        if first.is_empty() && bytes.is_empty() {
            first = chunk;
            continue;
        }
        if bytes.is_empty() {
            bytes.reserve(usize::try_from(len).unwrap_or(usize::MAX).min(MAX_RESERVED));
            bytes.extend_from_slice(&std::mem::take(&mut first));
        }
        bytes.extend_from_slice(&chunk);
    }
    bytes.shrink_to_fit();
    let bytes = if bytes.is_empty() { owned(first) } else { bytes.into() };
    if (bytes.len() as u64) < len {
        return Err(Failure::new(FailureKind::Ambiguous, "the answer is cut short"));
    }
    Ok(bytes)
}

/// The kind of an error that came without an answer of the service.
fn kind_without_answer(error: &object_store::Error) -> FailureKind {
    use object_store::Error as Os;
    match error {
        Os::NotFound { .. } => FailureKind::Missing,
        Os::AlreadyExists { .. } => FailureKind::Conflict,
        Os::Precondition { .. } => FailureKind::Refused,
        Os::PermissionDenied { .. } | Os::Unauthenticated { .. } => FailureKind::Denied,
        Os::InvalidPath { .. } => FailureKind::ForeignName,
        Os::NotSupported { .. } | Os::NotImplemented { .. } => FailureKind::Unsupported,
        _ => FailureKind::Ambiguous,
    }
}

/// How many requests were sent, by kind, and how many bytes of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requests {
    /// PUT: writes, conditional ones all of them.
    pub put: u64,
    /// GET of an object, or of a part of one, conditional ones included.
    pub get: u64,
    /// HEAD of an object.
    pub head: u64,
    /// LIST: one for each page of 1,000 names or less. With [`S3Options::over`](crate::S3Options::over) the pages
    /// cannot be seen: one is counted for every 1,000 names.
    pub list: u64,
    /// DELETE.
    pub delete: u64,
    /// Bytes of objects that were sent.
    pub up: u64,
    /// Bytes of objects that were received.
    pub down: u64,
}

impl Requests {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.put + self.get + self.head + self.list + self.delete
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Put,
    Get,
    Head,
    List,
    Delete,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }

    /// Tells a request to whoever listens to the events of this target.
    fn tell(self) {
        tracing::trace!(target: "irminsul::requests", kind = self.name());
    }
}

#[derive(Default)]
struct Counters {
    /// By their kind.
    sent: [AtomicU64; 5],
    up: AtomicU64,
    down: AtomicU64,
}

impl Counters {
    /// Counts a request, and tells it.
    fn count(&self, kind: Kind) {
        self.sent[kind as usize].fetch_add(1, Ordering::Relaxed);
        kind.tell();
    }

    fn read(&self) -> Requests {
        let sent = |kind| self.sent[kind as usize].load(Ordering::Relaxed);
        Requests {
            put: sent(Kind::Put),
            get: sent(Kind::Get),
            head: sent(Kind::Head),
            list: sent(Kind::List),
            delete: sent(Kind::Delete),
            up: self.up.load(Ordering::Relaxed),
            down: self.down.load(Ordering::Relaxed),
        }
    }
}
