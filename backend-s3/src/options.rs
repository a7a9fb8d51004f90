//! How a store is opened: the service, the place in it, and what an instance does there.

use std::{borrow::Cow, env, fmt, sync::Arc, time::Duration};

use backend_kit::{Context, DEFAULT_BATCH_LIMIT};
#[cfg(feature = "azure")]
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::{
    BackoffConfig, ClientConfigKey, CredentialProvider, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use store_api::{Error, ErrorKind, HashFunction, Result};

use crate::{
    client::{self, Connector, InTask, OfMachine, READ_ATTEMPTS},
    environment::{self, Variables},
    packs::MAX_RECORDS,
};

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

const NO_CREDENTIALS: &str = "no credentials: set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` in the environment; \
                              this machine has no role that gives them either";
#[cfg(feature = "azure")]
const NO_AZURE_CREDENTIALS: &str = "no credentials: set `AZURE_STORAGE_ACCOUNT_KEY` in the environment; this machine has \
                                    no identity that gives them either";

/// How to open a store in a bucket.
///
/// Credentials come from the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, ..;
/// `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`, .. Where it has none the machine is asked whether it has a
/// role that gives some, and without one a store is `Denied`. The profiles in `~/.aws` are not read.
///
/// The environment may name the endpoint too, as `AWS_ENDPOINT_URL` or `AWS_ENDPOINT_URL_S3`, or as `AZURE_ENDPOINT`;
/// what [`endpoint`](Self::endpoint) says comes before. A variable that is set and cannot be used is `InvalidInput`.
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
    /// How many records a run of the index has at the most.
    pub(crate) run: usize,
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
    Given {
        store: Arc<dyn ObjectStore>,
        /// It has an endpoint and a region, and was given another.
        is_redirected: bool,
    },
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
        // A host of that name may be none.
        let is_encoded = self.bucket.split('.').any(|label| label.to_ascii_lowercase().starts_with("xn--"));
        if !is_name || is_encoded || self.bucket.starts_with('.') {
            return Err(invalid(format!(
                "the name of a bucket, or container, has 1 to {MAX_BUCKET_LEN} letters, digits, `-`, `_`, `.` and `$`, \
                 no part that begins with `xn--`, and begins with no `.`"
            )));
        }
        Ok(())
    }

    /// Whether the endpoint that takes effect says that nothing is encrypted, and is to be heard: what the environment
    /// rules on that is not overruled by what else it says; only the address is nearer.
    fn is_plain(&self, endpoint: Option<&str>, is_ruled: bool) -> bool {
        let scheme = endpoint.and_then(|endpoint| endpoint.split_once("://")).map(|(scheme, _)| scheme);
        let is_heard = self.endpoint.is_some() || !is_ruled;
        is_heard && scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"))
    }

    /// The clients of the service that this is a place on, over connections of their own.
    fn connect(&self, connect: impl FnOnce(Connector) -> Result<client::Service>) -> Result<client::Service> {
        self.check_bucket()?;
        self.endpoint
            .as_ref()
            .map_or(Ok(()), |endpoint| environment::check_endpoint(endpoint, "the option `endpoint`"))?;
        let connector = Connector::default();
        let service = connect(connector.clone())?;
        Ok(client::Service { listings: Some(connector.listings), ..service })
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
        Self::at(Service::Given { store, is_redirected: false })
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
            run: MAX_RECORDS,
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

    /// The address of the service, such as `https://s3.example.org`. What the environment says by default, or
    /// else that of AWS, or of Azure. One that begins with `http://` is taken at its word, wherever it is written:
    /// nothing that is sent there is encrypted, and `AWS_ALLOW_HTTP` need not say so.
    #[must_use]
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        self.placed(|place| place.endpoint = Some(endpoint.into()))
    }

    /// The region of the bucket. What the environment says by default, or else `us-east-1`. Azure has none.
    #[must_use]
    pub fn region(self, region: impl Into<String>) -> Self {
        self.placed(|place| place.region = Some(region.into()))
    }

    /// Who is named in errors: the scheme of the store's address.
    pub(crate) fn context(&self) -> Context {
        match &self.service {
            #[cfg(feature = "azure")]
            Service::Azure(_) => Context::new("az"),
            Service::S3(_) | Service::Given { .. } => Context::new("s3"),
        }
    }

    fn placed(mut self, set: impl FnOnce(&mut Place)) -> Self {
        match &mut self.service {
            Service::S3(place) => set(place),
            #[cfg(feature = "azure")]
            Service::Azure(place) => set(place),
            Service::Given { is_redirected, .. } => *is_redirected = true,
        }
        self
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
            Service::S3(place) => {
                place.connect(|connector| connect_to_s3(s3(place, &env::vars_os().collect::<Vec<_>>(), connector)?))
            }
            #[cfg(feature = "azure")]
            Service::Azure(place) => place
                .connect(|connector| connect_to_azure(azure(place, &env::vars_os().collect::<Vec<_>>(), connector)?)),
            Service::Given { is_redirected: true, .. } => Err(invalid(
                "an object store that was made elsewhere has its endpoint and its region; set them where it is made",
            )),
            Service::Given { store, .. } => Ok(in_place_of_both(Arc::clone(store))),
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

fn s3(place: &Place, variables: &Variables, connector: Connector) -> Result<AmazonS3Builder> {
    let is_endpoint =
        |key: &AmazonS3ConfigKey| matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint);
    let settings = environment::settings(variables, |key| place.endpoint.is_some() && is_endpoint(key))?;
    let allows = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
    let is_ruled = settings.iter().any(|(key, _)| *key == allows);
    let mut builder = settings
        .into_iter()
        .fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value))
        .with_http_connector(connector)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), TIMEOUT)
        // A DELETE of one object is a part of S3 that every service has.
        .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
        .with_bucket_name(&place.bucket);
    if let Some(endpoint) = &place.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &place.region {
        builder = builder.with_region(region);
    }
    let setting = |key| builder.get_config_value(&key);
    check_region(setting(AmazonS3ConfigKey::Region))?;
    match (setting(AmazonS3ConfigKey::AccessKeyId), setting(AmazonS3ConfigKey::SecretAccessKey)) {
        (Some(_), None) => return Err(half_set("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        (None, Some(_)) => return Err(half_set("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
        _ => {}
    }
    let endpoint = setting(AmazonS3ConfigKey::S3Endpoint).or_else(|| setting(AmazonS3ConfigKey::Endpoint));
    Ok(if place.is_plain(endpoint.as_deref(), is_ruled) { builder.with_allow_http(true) } else { builder })
}

pub(crate) fn connect_to_s3(builder: AmazonS3Builder) -> Result<client::Service> {
    use AmazonS3ConfigKey as Key;
    let asks_machine = {
        let is_set = |keys: &[Key]| keys.iter().all(|key| builder.get_config_value(key).is_some());
        !is_set(&[Key::AccessKeyId])
            && !is_set(&[Key::WebIdentityTokenFile, Key::RoleArn])
            && !is_set(&[Key::ContainerCredentialsRelativeUri])
            && !is_set(&[Key::ContainerCredentialsFullUri, Key::ContainerAuthorizationTokenFile])
    };
    let share = |builder: AmazonS3Builder, of: &AmazonS3| {
        builder.with_credentials(shared(of.credentials(), asks_machine.then_some(NO_CREDENTIALS)))
    };
    clients(builder, |builder, retry| builder.with_retry(retry).build(), share).map_err(|()| ill_formed("AWS_"))
}

#[cfg(feature = "azure")]
fn azure(place: &Place, variables: &Variables, connector: Connector) -> Result<MicrosoftAzureBuilder> {
    let is_endpoint = |key: &AzureConfigKey| matches!(key, AzureConfigKey::Endpoint);
    let settings = environment::settings(variables, |key| place.endpoint.is_some() && is_endpoint(key))?;
    let allows = AzureConfigKey::Client(ClientConfigKey::AllowHttp);
    let is_ruled = settings.iter().any(|(key, _)| *key == allows);
    let mut builder = settings
        .into_iter()
        .fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| builder.with_config(key, value))
        .with_http_connector(connector)
        .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), TIMEOUT)
        .with_container_name(&place.bucket);
    if let Some(url) = environment::identity_endpoint(variables)? {
        builder = builder.with_msi_endpoint(url);
    }
    if let Some(endpoint) = &place.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let setting = |key| builder.get_config_value(&key);
    let endpoint = setting(AzureConfigKey::Endpoint);
    let is_emulated = setting(AzureConfigKey::UseEmulator).is_some_and(|text| client::is_yes(&text));
    match setting(AzureConfigKey::AccountName) {
        None if !is_emulated => return Err(invalid("`AZURE_STORAGE_ACCOUNT_NAME` is not set")),
        Some(account) if !is_emulated && endpoint.is_none() => check_account(&account)?,
        _ => {}
    }
    Ok(if place.is_plain(endpoint.as_deref(), is_ruled) { builder.with_allow_http(true) } else { builder })
}

#[cfg(feature = "azure")]
fn connect_to_azure(builder: MicrosoftAzureBuilder) -> Result<client::Service> {
    use AzureConfigKey as Key;
    let given = [
        Key::AccessKey,
        Key::SasKey,
        Key::Token,
        Key::ClientSecret,
        Key::FederatedTokenFile,
        Key::FabricTokenServiceUrl,
    ];
    let is_on = |key| builder.get_config_value(&key).is_some_and(|text| client::is_yes(&text));
    let is_given = given.iter().any(|key| builder.get_config_value(key).is_some());
    // A kind of credential that was asked for by its name is that one's to tell of.
    let is_named = builder.get_config_value(&Key::CredentialType).is_some();
    let asks_machine = !is_given && !is_named && !is_on(Key::UseAzureCli) && !is_on(Key::UseEmulator);
    let share = |builder: MicrosoftAzureBuilder, of: &MicrosoftAzure| {
        builder.with_credentials(shared(of.credentials(), asks_machine.then_some(NO_AZURE_CREDENTIALS)))
    };
    clients(builder, |builder, retry| builder.with_retry(retry).build(), share).map_err(|()| ill_formed("AZURE_"))
}

type Credentials<C> = Arc<dyn CredentialProvider<Credential = C>>;

/// Credentials for one client more; with an advice, for a machine that has none, where the machine is asked for them.
fn shared<C: fmt::Debug + Send + Sync + 'static>(
    credentials: &Credentials<C>,
    advice: Option<&'static str>,
) -> Credentials<C> {
    let credentials: Credentials<C> = Arc::new(InTask(Arc::clone(credentials)));
    match advice {
        Some(advice) => Arc::new(OfMachine::new(credentials, advice)),
        None => credentials,
    }
}

/// The client of the objects and that of the listings, which shares its credentials: those that expire are asked for
/// once.
fn clients<B: Clone, S: ObjectStore>(
    builder: B,
    build: impl Fn(B, RetryConfig) -> object_store::Result<S>,
    share: impl FnOnce(B, &S) -> B,
) -> Result<client::Service, ()> {
    // What is said of a failure may repeat an option, and so a credential.
    let first = build(builder.clone(), no_retries()).map_err(drop)?;
    let builder = share(builder, &first);
    let objects = build(builder.clone(), no_retries()).map_err(drop)?;
    let lists = build(builder, retries()).map_err(drop)?;
    Ok(client::Service { objects: Arc::new(objects), lists: Arc::new(lists), listings: None })
}

/// A region is a part of the host that requests are sent to.
fn check_region(region: Option<String>) -> Result<()> {
    let is_name = |region: &str| region.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let is_host =
        |region: &str| !region.is_empty() && environment::is_url(&format!("https://s3.{region}.amazonaws.com"));
    if region.is_some_and(|region| !is_name(&region) || !is_host(&region)) {
        return Err(invalid("a region has letters, digits, `-` and `_`, such as `eu-central-1`"));
    }
    Ok(())
}

/// The name of an account is a part of the host that requests are sent to.
#[cfg(feature = "azure")]
fn check_account(account: &str) -> Result<()> {
    let is_plain = account.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !is_plain || !(3..=24).contains(&account.len()) {
        return Err(invalid(
            "`AZURE_STORAGE_ACCOUNT_NAME` is not the name of an account: 3 to 24 lower case letters and digits",
        ));
    }
    Ok(())
}

fn half_set(set: &str, missing: &str) -> Error {
    invalid(format!("`{set}` is set and `{missing}` is not; set both"))
}

fn ill_formed(prefix: &str) -> Error {
    invalid(format!(
        "a variable of the environment whose name begins with `{prefix}` has a value that cannot be used; check them"
    ))
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
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
            Service::Given { .. } => "given",
        };
        f.debug_struct("S3Options")
            .field("bucket", &bucket)
            .field("prefix", &self.prefix)
            .field("create", &self.create)
            .field("hash", &self.hash)
            .field("verify", &self.verify)
            .field("batch_limit", &self.batch_limit)
            .field("pack", &self.pack)
            .field("run", &self.run)
            .field("poll", &self.poll)
            .field("busy", &self.busy)
            .field("patience", &self.patience)
            .field("watch_limit", &self.watch_limit)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn at(endpoint: Option<&str>) -> Place {
        Place { bucket: "bucket".into(), endpoint: endpoint.map(Into::into), region: None }
    }

    fn built(endpoint: Option<&str>, pairs: &[(&str, &str)]) -> Result<AmazonS3Builder> {
        s3(&at(endpoint), &variables(pairs), Connector::default())
    }

    #[test]
    fn what_was_made_elsewhere_takes_no_endpoint_and_no_region() {
        let given = || S3Options::over(Arc::new(object_store::memory::InMemory::new()));
        for options in [given().endpoint("http://host"), given().region("elsewhere")] {
            assert_eq!(options.connect().map(drop).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert!(given().connect().is_ok());
    }

    #[test]
    fn an_http_endpoint_is_taken_at_its_word_wherever_it_is_written() {
        let allows = |endpoint, pairs: &[(&str, &str)]| {
            let builder = built(endpoint, pairs).unwrap();
            builder.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp))
        };
        for variable in ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
            assert_eq!(allows(None, &[(variable, "http://host")]).as_deref(), Some("true"));
            assert_eq!(allows(None, &[(variable, "HTTP://host")]).as_deref(), Some("true"));
            assert_ne!(allows(None, &[(variable, "https://host")]).as_deref(), Some("true"));
            assert_ne!(allows(Some("https://host"), &[(variable, "http://host")]).as_deref(), Some("true"));
        }
        assert_eq!(allows(Some("HTTP://host"), &[]).as_deref(), Some("true"));
        let refused = &[("AWS_ALLOW_HTTP", "false"), ("AWS_ENDPOINT_URL", "http://host")];
        assert_ne!(allows(None, refused).as_deref(), Some("true"));
        assert_eq!(allows(Some("http://host"), refused).as_deref(), Some("true"));
        assert_ne!(allows(None, &[]).as_deref(), Some("true"));
    }

    #[test]
    fn the_endpoint_of_an_address_comes_before_those_of_the_environment() {
        let pairs = [("AWS_ENDPOINT_URL", "no URL"), ("AWS_ENDPOINT_URL_S3", "https://other")];
        let builder = built(Some("https://host"), &pairs).unwrap();
        assert_eq!(builder.get_config_value(&AmazonS3ConfigKey::Endpoint).as_deref(), Some("https://host"));
        assert_eq!(builder.get_config_value(&AmazonS3ConfigKey::S3Endpoint), None);
        assert!(built(None, &pairs).is_err());
    }

    #[test]
    fn a_key_without_the_other_is_named() {
        let [id, secret] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        for (set, missing) in [(id, secret), (secret, id)] {
            let refused = built(None, &[(set, "x"), (missing, "")]).unwrap_err();
            assert_eq!(refused.to_string(), format!("`{set}` is set and `{missing}` is not; set both"));
        }
        assert!(built(None, &[(id, "x"), (secret, "y")]).is_ok());
        assert!(built(None, &[]).is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_said_to_be_in_the_environment_and_not_shown() {
        let builder = built(None, &[("AWS_S3_EXPRESS", "hidden")]).unwrap();
        let refused = connect_to_s3(builder).map(drop).unwrap_err().to_string();
        assert!(refused.contains("`AWS_`") && !refused.contains("hidden"), "{refused}");
    }

    #[cfg(feature = "azure")]
    #[tokio::test]
    async fn e1_the_errors_of_azure_say_that_they_are() {
        for (options, backend) in [(S3Options::azure(""), "az"), (S3Options::new(""), "s3")] {
            let errors = [options.clone().open().await.unwrap_err(), options.destroy().await.unwrap_err()];
            assert!(errors.iter().all(|error| error.backend() == Some(backend)), "{errors:?}");
        }
    }

    #[cfg(feature = "azure")]
    #[test]
    fn the_account_of_azure_is_a_name() {
        let built = |endpoint, name| {
            let variables = variables(&[("AZURE_STORAGE_ACCOUNT_NAME", name), ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")]);
            azure(&at(endpoint), &variables, Connector::default())
        };
        for name in ["a/b", "", "ab", "Account", "a.b.c", "account1account2account3x"] {
            let refused = built(None, name).map(drop).unwrap_err();
            assert!(refused.to_string().starts_with("`AZURE_STORAGE_ACCOUNT_NAME` is not "), "{refused}");
        }
        assert!(built(None, "account1").is_ok());
        assert!(built(Some("http://127.0.0.1:10000/devstoreaccount1"), "ab").is_ok());
    }
}
