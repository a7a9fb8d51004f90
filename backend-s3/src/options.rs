//! How a store is opened: the service, the place in it, and what an instance does there.

use std::{fmt, sync::Arc, time::Duration};

use backend_kit::DEFAULT_BATCH_LIMIT;
#[cfg(feature = "azure")]
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use store_api::{Error, ErrorKind, HashFunction, Result};

use crate::client::{self, Connector, READ_ATTEMPTS};

/// Names of objects have at most 1,024 bytes, and those of the store's need the rest.
const MAX_PREFIX_LEN: usize = 200;
/// Buckets made long ago may have 255 characters; others have 63.
const MAX_BUCKET_LEN: usize = 255;
/// A batch has its own limit, and what is added one by one needs no larger packs than batches have by default.
const MAX_PACK_LEN: usize = DEFAULT_BATCH_LIMIT;
/// A year is for ever. What is added to the time of day has to stay a time.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// The client's own limit for a request. The requests', which know their sizes, are shorter.
const TIMEOUT: &str = "1 hour";

/// How to open a store in a bucket.
///
/// Credentials come from the environment, as every tool of the service takes them: `AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, ..; `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`, ..
#[derive(Clone)]
#[non_exhaustive]
pub struct S3Options {
    service: Service,
    prefix: String,
    pub(crate) create: bool,
    pub(crate) hash: Option<HashFunction>,
    pub(crate) verify: bool,
    pub(crate) batch_limit: usize,
    pub(crate) pack: usize,
    pub(crate) poll: Duration,
    pub(crate) busy: Duration,
    pub(crate) patience: Duration,
    pub(crate) watch_limit: u64,
}

#[derive(Clone)]
enum Service {
    S3(Place),
    #[cfg(feature = "azure")]
    Azure(Place),
    Given(Arc<dyn ObjectStore>),
}

#[derive(Clone, Debug, Default)]
struct Place {
    bucket: String,
    endpoint: Option<String>,
    region: Option<String>,
}

impl Place {
    /// A name that goes into the path or the host of every request is nothing but a name.
    fn check_bucket(&self) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.$".contains(&byte);
        let is_name = (1..=MAX_BUCKET_LEN).contains(&self.bucket.len()) && self.bucket.bytes().all(plain);
        if !is_name || self.bucket.starts_with('.') {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the name of a bucket has 1 to {MAX_BUCKET_LEN} letters, digits, `-`, `_`, `.` and `$`, and begins \
                     with no `.`"
                ),
            ));
        }
        Ok(())
    }

    /// The clients of the service that this is a place on, over connections of their own.
    fn connect(&self, connect: impl FnOnce(Connector) -> Result<client::Service>) -> Result<client::Service> {
        self.check_bucket()?;
        let connector = Connector::default();
        let service = connect(connector.clone())?;
        Ok(client::Service { listings: Some(connector.listings), ..service })
    }

    /// Whether the endpoint says that nothing is encrypted.
    fn is_plain(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }
}

impl S3Options {
    /// A store in this bucket of S3, or of a service that speaks S3.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self::at(Service::S3(Place { bucket: bucket.into(), ..Place::default() }))
    }

    /// A store in this container of Azure Blob Storage.
    #[cfg(feature = "azure")]
    #[must_use]
    pub fn azure(container: impl Into<String>) -> Self {
        Self::at(Service::Azure(Place { bucket: container.into(), ..Place::default() }))
    }

    /// A store in an object store that was made elsewhere, with the retries of its client off: a write that it repeats
    /// by itself cannot be told from another's (A5).
    #[must_use]
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self::at(Service::Given(store))
    }

    fn at(service: Service) -> Self {
        Self {
            service,
            prefix: String::new(),
            create: true,
            hash: None,
            verify: true,
            batch_limit: DEFAULT_BATCH_LIMIT,
            pack: 8 * 1024 * 1024,
            poll: Duration::from_secs(1),
            busy: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            watch_limit: 4 * 1024 * 1024,
        }
    }

    /// What the names of the store's objects begin with: letters, digits, `-`, `_`, `.` and `/`, 200 bytes at most.
    /// Nothing by default: the store has the bucket to itself.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The address of the service, such as `https://s3.example.org`. That of AWS, or of Azure, by default. One that
    /// begins with `http://` is taken at its word: nothing that is sent there is encrypted.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        if let Some(place) = self.place() {
            place.endpoint = Some(endpoint.into());
        }
        self
    }

    /// The region of the bucket. What the environment says by default, or else `us-east-1`. Azure has none.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        if let Some(place) = self.place() {
            place.region = Some(region.into());
        }
        self
    }

    fn place(&mut self) -> Option<&mut Place> {
        match &mut self.service {
            Service::S3(place) => Some(place),
            #[cfg(feature = "azure")]
            Service::Azure(place) => Some(place),
            Service::Given(_) => None,
        }
    }

    /// Whether a store is made where there is none. On by default; a bucket is never made.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The hash function of a store that is created, and the one that a store must have (L5). BLAKE3, or what the store
    /// has, when not said.
    #[must_use]
    pub fn hash(mut self, function: HashFunction) -> Self {
        self.hash = Some(function);
        self
    }

    /// Whether content is checked against its hash when it is read (I6). On by default.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// How many bytes a batch may hold (I7): its values, and 96 for each of them. 256 MiB by default.
    #[must_use]
    pub fn batch_limit(mut self, bytes: usize) -> Self {
        self.batch_limit = bytes;
        self
    }

    /// The size of a pack: the object that the values added one by one share, while an upload is under way. 8 MiB by
    /// default, 256 MiB at the most; four are uploaded at a time. A longer value is an object by itself, and so is a batch.
    #[must_use]
    pub fn pack(mut self, bytes: usize) -> Self {
        self.pack = bytes.min(MAX_PACK_LEN);
        self
    }

    /// How often others' changes are looked for while something is watched (W11). 1 s by default, 1 ms at least. Of this
    /// time and of the others more than a year is a year.
    #[must_use]
    pub fn poll(mut self, interval: Duration) -> Self {
        self.poll = interval.clamp(Duration::from_millis(1), LONGEST);
        self
    }

    /// How long contention and lost answers are waited out before a call is `Unavailable` (A6), and how long a close waits
    /// for the index of packs that is being written. 30 s by default.
    #[must_use]
    pub fn busy(mut self, limit: Duration) -> Self {
        self.busy = limit.min(LONGEST);
        self
    }

    /// The time limit of one request, plus a second for each MiB that it transfers. 30 s by default.
    #[must_use]
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit.min(LONGEST);
        self
    }

    /// How many objects the scope of a watch may have, those of removed entries included: each is kept in memory, and all
    /// of them are listed at each poll. A watch of more is `Unsupported`; one that is under way is told so at each poll.
    /// 4,194,304 by default.
    #[must_use]
    pub fn watch_limit(mut self, objects: u64) -> Self {
        self.watch_limit = objects;
        self
    }

    /// The clients of the service.
    pub(crate) fn connect(&self) -> Result<client::Service> {
        match &self.service {
            Service::S3(place) => place.connect(|connector| connect_to_s3(s3(place, connector))),
            #[cfg(feature = "azure")]
            Service::Azure(place) => place.connect(|connector| connect_to_azure(azure(place, connector))),
            Service::Given(store) => Ok(in_place_of_both(Arc::clone(store))),
        }
    }

    pub(crate) fn checked_prefix(&self) -> Result<Path> {
        let prefix = self.prefix.trim_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let steps_are_plain = prefix.is_empty()
            || prefix.split('/').all(|step| !step.is_empty() && !step.starts_with('.') && !step.ends_with('.'));
        if prefix.len() > MAX_PREFIX_LEN || !prefix.bytes().all(plain) || !steps_are_plain {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "a prefix has at most {MAX_PREFIX_LEN} bytes: letters, digits, `-`, `_`, `.` and `/`, no empty \
                     step, and none that begins or ends with a `.`"
                ),
            ));
        }
        Ok(Path::from(prefix))
    }
}

fn s3(place: &Place, connector: Connector) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env()
        .with_http_connector(connector)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), TIMEOUT)
        // A DELETE of one object is a part of S3 that every service has.
        .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
        .with_bucket_name(&place.bucket);
    if let Some(endpoint) = &place.endpoint {
        // What the environment names for S3 alone would come before.
        builder = builder.with_endpoint(endpoint).with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if place.is_plain() {
        builder = builder.with_allow_http(true);
    }
    if let Some(region) = &place.region {
        builder = builder.with_region(region);
    }
    builder
}

pub(crate) fn connect_to_s3(builder: AmazonS3Builder) -> Result<client::Service> {
    for key in [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint] {
        check_endpoint(builder.get_config_value(&key))?;
    }
    check_region(builder.get_config_value(&AmazonS3ConfigKey::Region))?;
    let share = |builder: AmazonS3Builder, of: &AmazonS3| builder.with_credentials(Arc::clone(of.credentials()));
    clients(builder, |builder, retry| builder.with_retry(retry).build(), share)
}

#[cfg(feature = "azure")]
fn azure(place: &Place, connector: Connector) -> MicrosoftAzureBuilder {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_http_connector(connector)
        .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), TIMEOUT)
        .with_container_name(&place.bucket);
    if let Some(endpoint) = &place.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if place.is_plain() { builder.with_allow_http(true) } else { builder }
}

#[cfg(feature = "azure")]
fn connect_to_azure(builder: MicrosoftAzureBuilder) -> Result<client::Service> {
    check_endpoint(builder.get_config_value(&AzureConfigKey::Endpoint))?;
    let share =
        |builder: MicrosoftAzureBuilder, of: &MicrosoftAzure| builder.with_credentials(Arc::clone(of.credentials()));
    clients(builder, |builder, retry| builder.with_retry(retry).build(), share)
}

/// The client of the objects and that of the listings, which shares its credentials: those that expire are asked for
/// once.
fn clients<B: Clone, S: ObjectStore>(
    builder: B,
    build: impl Fn(B, RetryConfig) -> object_store::Result<S>,
    share: impl FnOnce(B, &S) -> B,
) -> Result<client::Service> {
    let objects = build(builder.clone(), no_retries()).map_err(|_| ill_formed())?;
    let lists = build(share(builder, &objects), retries()).map_err(|_| ill_formed())?;
    Ok(client::Service { objects: Arc::new(objects), lists: Arc::new(lists), listings: None })
}

/// A credential in an address would be shown by whoever shows the address (E2).
fn check_endpoint(endpoint: Option<String>) -> Result<()> {
    let is_plain =
        |endpoint: &str| !endpoint.contains(['@', '?', '#']) && endpoint.bytes().all(|byte| byte.is_ascii_graphic());
    if endpoint.is_some_and(|endpoint| !is_plain(&endpoint)) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "an endpoint holds no `@`, `?`, `#` and space: credentials come from the environment",
        ));
    }
    Ok(())
}

/// A region is a part of the host that requests are sent to.
fn check_region(region: Option<String>) -> Result<()> {
    let is_plain = |region: &str| region.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if region.is_some_and(|region| !is_plain(&region)) {
        return Err(Error::new(ErrorKind::InvalidInput, "a region has letters, digits, `-` and `_`"));
    }
    Ok(())
}

/// What lies beneath may repeat an option, and so a credential.
fn ill_formed() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "the bucket, the endpoint or the credentials in the environment are not well-formed",
    )
}

fn in_place_of_both(store: Arc<dyn ObjectStore>) -> client::Service {
    client::Service { objects: Arc::clone(&store), lists: store, listings: None }
}

/// Retries are for who knows what was sent.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(40), ..BackoffConfig::default() };
    RetryConfig { max_retries: READ_ATTEMPTS as usize - 1, backoff, ..RetryConfig::default() }
}

// The store that was given may hold a credential, and so may an endpoint (E2).
impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = match &self.service {
            Service::S3(place) => &place.bucket,
            #[cfg(feature = "azure")]
            Service::Azure(place) => &place.bucket,
            Service::Given(_) => "given",
        };
        f.debug_struct("S3Options")
            .field("bucket", &bucket)
            .field("prefix", &self.prefix)
            .field("create", &self.create)
            .field("hash", &self.hash)
            .field("verify", &self.verify)
            .field("batch_limit", &self.batch_limit)
            .field("pack", &self.pack)
            .field("poll", &self.poll)
            .field("busy", &self.busy)
            .field("patience", &self.patience)
            .field("watch_limit", &self.watch_limit)
            .finish()
    }
}
