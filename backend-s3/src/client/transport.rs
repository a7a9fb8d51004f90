//! HTTP below the client of a service: it follows no redirect, no answer takes more memory than one of its kind may, and
//! a listing has names that can be read.
//!
//! A redirect would take a request to whoever the service names, with the session token that signs it, and an answer from
//! there would pass for the service's own. How long an object may be is left to who asks for it.

use std::{
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use object_store::{
    ClientConfigKey, ClientOptions, Error, Result,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use reqwest::{
    Body, Client, ClientBuilder, NoProxy, Proxy, Request, header::CONTENT_RANGE, redirect, tls::Certificate,
};

use super::{Kind, foreign::Foreign, page};

/// A page of a listing has 1,000 names of 1,024 bytes, or 5,000 on Azure, and what is told of each.
const MAX_PAGE_LEN: usize = 16 * 1024 * 1024;
/// Any other answer that is no object says what went wrong.
const MAX_ANSWER_LEN: usize = 256 * 1024;
/// A time that is added to the time of day has to stay a time.
const LONGEST: Duration = Duration::from_hours(365 * 24);
const NAME: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Makes the connections of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connector {
    pub(crate) listings: Arc<Listings>,
}

/// What is known of the listings that went over the connections of a client.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    /// How many pages were asked for.
    pub(crate) pages: AtomicU64,
    /// The objects whose names cannot be read.
    illegible: Foreign,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let client = configured(options)?.build().map_err(|_| ill_formed())?;
        Ok(HttpClient::new(Bounded { service: Plain(client), listings: Arc::clone(&self.listings) }))
    }
}

/// Builds the HTTP client. From the environment it takes timeouts, the proxy, the number of idle connections, the user
/// agent and the TLS switches; the system's certificates are always trusted. HTTP/1 only: small requests gain nothing from
/// HTTP/2.
fn configured(options: &ClientOptions) -> Result<ClientBuilder> {
    let text = |key| options.get_config_value(&key);
    let is_on = |key| text(key).is_some_and(|text| is_yes(&text));
    let duration = |key| text(key).as_deref().map(parse_duration).transpose();
    let mut client = Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .http1_only()
        // Another crate of the application may turn them on: an answer that is unpacked does not tell its length.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .https_only(!is_on(ClientConfigKey::AllowHttp))
        .tls_danger_accept_invalid_certs(is_on(ClientConfigKey::AllowInvalidCertificates))
        .user_agent(text(ClientConfigKey::UserAgent).unwrap_or_else(|| NAME.to_owned()));
    if let Some(limit) = duration(ClientConfigKey::Timeout)? {
        client = client.timeout(limit);
    }
    if let Some(limit) = duration(ClientConfigKey::ConnectTimeout)? {
        client = client.connect_timeout(limit);
    }
    if let Some(limit) = duration(ClientConfigKey::ReadTimeout)? {
        client = client.read_timeout(limit);
    }
    if let Some(limit) = duration(ClientConfigKey::PoolIdleTimeout)? {
        client = client.pool_idle_timeout(limit);
    }
    if let Some(count) = text(ClientConfigKey::PoolMaxIdlePerHost) {
        client = client.pool_max_idle_per_host(count.parse().map_err(|_| ill_formed())?);
    }
    let Some(url) = text(ClientConfigKey::ProxyUrl) else { return Ok(client) };
    let excluded = text(ClientConfigKey::ProxyExcludes).and_then(|hosts| NoProxy::from_string(&hosts));
    let proxy = Proxy::all(url).map_err(|_| ill_formed())?.no_proxy(excluded);
    if let Some(pem) = text(ClientConfigKey::ProxyCaCertificate) {
        client = client.tls_certs_merge([Certificate::from_pem(pem.as_bytes()).map_err(|_| ill_formed())?]);
    }
    Ok(client.proxy(proxy))
}

pub(crate) fn is_yes(text: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&text.to_ascii_lowercase().as_str())
}

fn parse_duration(text: &str) -> Result<Duration> {
    humantime::parse_duration(text).map(|time| time.min(LONGEST)).map_err(|_| ill_formed())
}

/// What lies beneath may repeat an option, and so a credential.
fn ill_formed() -> Error {
    Error::Generic { store: "HTTP", source: "the client's options in the environment are not well-formed".into() }
}

#[derive(Debug)]
struct Plain(Client);

#[async_trait]
impl HttpService for Plain {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = Request::try_from(request.map(body_of)).map_err(failed)?;
        let mut answer = self.0.execute(request).await.map_err(failed)?;
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let body = Body::from(answer).map_err(failed);
        let mut told = HttpResponse::new(HttpResponseBody::new(body));
        *told.status_mut() = status;
        *told.headers_mut() = headers;
        Ok(told)
    }
}

fn body_of(body: HttpRequestBody) -> Body {
    match body.as_bytes() {
        Some(bytes) => bytes.clone().into(),
        None => Body::wrap(body),
    }
}

/// What it was about is not told: the address may hold a credential.
fn failed(error: reqwest::Error) -> HttpError {
    let kind = match &error {
        error if error.is_timeout() => HttpErrorKind::Timeout,
        error if error.is_connect() => HttpErrorKind::Connect,
        error if error.is_decode() => HttpErrorKind::Decode,
        _ => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error.without_url())
}

/// A service whose answers have a bounded length, unless they are objects, and whose listings have names that can be
/// read.
#[derive(Debug)]
pub(crate) struct Bounded<S> {
    pub(crate) service: S,
    pub(crate) listings: Arc<Listings>,
}

#[async_trait]
impl<S: HttpService> HttpService for Bounded<S> {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_get = request.method() == "GET";
        let is_list = is_get && request.uri().query().is_some_and(asks_for_list);
        if is_list {
            self.listings.pages.fetch_add(1, Ordering::Relaxed);
            Kind::List.tell();
        }
        let answer = self.service.call(request).await?;
        if !has_sound_range(&answer) {
            return Err(HttpError::new_boxed(HttpErrorKind::Decode, "the range of the answer has no end".into()));
        }
        let (parts, body) = answer.into_parts();
        let is_fine = parts.status.is_success();
        let body = match (is_fine, is_list) {
            (true, true) => {
                let page = limited(body, MAX_PAGE_LEN).bytes().await?;
                page::legible(page, |name| self.listings.illegible.tell(name)).into()
            }
            (true, false) if is_get => body,
            _ => limited(body, MAX_ANSWER_LEN),
        };
        Ok(HttpResponse::from_parts(parts, body))
    }
}

fn asks_for_list(query: &str) -> bool {
    query.split('&').any(|parameter| ["list-type=2", "comp=list"].contains(&parameter))
}

/// Whether one can be added to each number of the answer's range, as the client does without looking.
fn has_sound_range(answer: &HttpResponse) -> bool {
    let Some(range) = answer.headers().get(CONTENT_RANGE) else { return true };
    let largest = u64::MAX.to_string();
    range.to_str().is_ok_and(|range| !range.contains(&largest))
}

fn limited(body: HttpResponseBody, limit: usize) -> HttpResponseBody {
    HttpResponseBody::new(Limited::new(body, limit).map_err(of_limited))
}

fn of_limited(error: Box<dyn StdError + Send + Sync>) -> HttpError {
    match error.downcast::<HttpError>() {
        Ok(error) => *error,
        Err(exceeded) => HttpError::new_boxed(HttpErrorKind::Decode, exceeded),
    }
}
