//! How a store is opened: the service, the place in it, and what an instance does there.

use std::{fmt, sync::Arc, time::Duration};

use backend_kit::DEFAULT_BATCH_LIMIT;
#[cfg(feature = "azure")]
use object_store::azure::MicrosoftAzureBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, path::Path};
use store_api::{Error, ErrorKind, HashFunction, Result};

/// Names of objects have at most 1,024 bytes, and those of the store's need the rest.
const MAX_PREFIX_LEN: usize = 200;
/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

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
    pub(crate) poll: Duration,
    pub(crate) busy: Duration,
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
            poll: Duration::from_secs(1),
            busy: Duration::from_secs(30),
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

    /// How many bytes of values a batch may hold (I7). 256 MiB by default.
    #[must_use]
    pub fn batch_limit(mut self, bytes: usize) -> Self {
        self.batch_limit = bytes;
        self
    }

    /// How often others' changes are looked for while something is watched (W11). 1 s by default, 1 ms at least.
    #[must_use]
    pub fn poll(mut self, interval: Duration) -> Self {
        self.poll = interval.max(Duration::from_millis(1));
        self
    }

    /// How long contention and lost answers are waited out before a call is `Unavailable` (A6). 30 s by default.
    #[must_use]
    pub fn busy(mut self, limit: Duration) -> Self {
        self.busy = limit;
        self
    }

    /// The client of the service.
    pub(crate) fn connect(&self) -> Result<Arc<dyn ObjectStore>> {
        let store: Result<Arc<dyn ObjectStore>, _> = match &self.service {
            Service::S3(place) => s3(place).build().map(|store| Arc::new(store) as _),
            #[cfg(feature = "azure")]
            Service::Azure(place) => azure(place).build().map(|store| Arc::new(store) as _),
            Service::Given(store) => Ok(Arc::clone(store)),
        };
        // What lies beneath may repeat an option, and so a credential.
        store.map_err(|_| {
            Error::new(
                ErrorKind::InvalidInput,
                "the bucket, the endpoint or the credentials in the environment are not well-formed",
            )
        })
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

/// The timeouts are those of the requests, which know their sizes; retries are for who knows what was sent.
fn client_options(place: &Place) -> ClientOptions {
    let plain_http = place.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    ClientOptions::new().with_allow_http(plain_http).with_timeout_disabled().with_connect_timeout(CONNECT_PATIENCE)
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn s3(place: &Place) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env()
        .with_client_options(client_options(place))
        .with_retry(no_retries())
        .with_bucket_name(&place.bucket);
    if let Some(endpoint) = &place.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &place.region {
        builder = builder.with_region(region);
    }
    builder
}

#[cfg(feature = "azure")]
fn azure(place: &Place) -> MicrosoftAzureBuilder {
    let builder = MicrosoftAzureBuilder::from_env()
        .with_client_options(client_options(place))
        .with_retry(no_retries())
        .with_container_name(&place.bucket);
    match &place.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint.clone()),
        None => builder,
    }
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
            .field("poll", &self.poll)
            .field("busy", &self.busy)
            .finish()
    }
}
