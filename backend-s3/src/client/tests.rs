//! What answers of a service are taken for.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::{
    ClientOptions,
    aws::AmazonS3Builder,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    },
};

use super::{transport::Bounded, *};
use crate::options::connect_to_s3;

/// A service that gives these answers, one to each request.
#[derive(Clone, Debug)]
struct Scripted(Arc<Mutex<VecDeque<(u16, &'static str)>>>);

#[async_trait]
impl HttpService for Scripted {
    async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let (status, body) = answer.expect("no more requests than there are answers");
        let mut response = HttpResponse::new(body.to_owned().into());
        *response.status_mut() = status.try_into().unwrap();
        Ok(response)
    }
}

impl HttpConnector for Scripted {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Bounded { service: self.clone(), listings: Arc::default() }))
    }
}

fn builder(answers: impl IntoIterator<Item = (u16, &'static str)>) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_bucket_name("bucket")
        .with_access_key_id("id")
        .with_secret_access_key("secret")
        .with_http_connector(Scripted(Arc::new(Mutex::new(answers.into_iter().collect()))))
}

fn client(answers: impl IntoIterator<Item = (u16, &'static str)>) -> Arc<Client> {
    let service = connect_to_s3(builder(answers)).unwrap();
    Arc::new(Client::new(service, Path::from("prefix"), Duration::from_secs(30), PATIENCE))
}

fn version() -> Version {
    Version::new("\"version\"".into()).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(30);
const HTML: &str = "<html><body>default backend - 404</body></html>";
const NO_KEY: &str = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>no</Message></Error>";
const NO_BUCKET: &str = "<Error><Code>NoSuchBucket</Code></Error>";

#[tokio::test(start_paused = true)]
async fn a11_only_a_404_that_names_what_is_missing_is_absence() {
    assert!(client([(404, NO_KEY)]).get("object", 9).await.unwrap().is_none());
    let kind = |failure: Failure| failure.kind;
    assert_eq!(client([(404, HTML); 5]).get("object", 9).await.err().map(kind), Some(FailureKind::Unnamed));
    assert_eq!(client([(404, NO_BUCKET)]).get("object", 9).await.err().map(kind), Some(FailureKind::NoBucket));
    assert!(client([(404, HTML), (404, NO_KEY)]).get("object", 9).await.unwrap().is_none());
    // The answer to a HEAD has no body.
    assert!(client([(404, ""), (404, NO_KEY)]).head("object").await.unwrap().is_none());
    assert!(client([(404, ""), (404, HTML), (404, HTML), (404, NO_KEY)]).head("object").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a11_a_304_to_a_request_without_a_condition_is_no_absence() {
    let kind = |failure: Failure| failure.kind;
    assert_eq!(client([(304, ""); 5]).get("object", 9).await.err().map(kind), Some(FailureKind::Ambiguous));
    assert_eq!(client([(304, ""); 5]).get_range("object", 0..1).await.err().map(kind), Some(FailureKind::Ambiguous));
    assert_eq!(client([(304, ""); 5]).head("object").await.err().map(kind), Some(FailureKind::Ambiguous));
    assert!(client([(304, ""), (404, NO_KEY)]).get("object", 9).await.unwrap().is_none());
    let unless = |version: Option<Version>| async move {
        let client = client([(304, ""); 5]);
        client.get_unless("object", version.as_ref(), 9, client.until()).await
    };
    assert!(matches!(unless(Some(version())).await, Ok(Seen::Unchanged)));
    assert_eq!(unless(None).await.err().map(kind), Some(FailureKind::Ambiguous));
}

#[tokio::test(start_paused = true)]
async fn a5_an_answer_to_a_write_is_a_refusal_ambiguous_or_final() {
    let cases = [
        (404, NO_KEY, FailureKind::Refused),
        (404, HTML, FailureKind::Ambiguous),
        (409, "", FailureKind::Conflict),
        (412, "", FailureKind::Refused),
        (408, "", FailureKind::Ambiguous),
        (429, "", FailureKind::Ambiguous),
        (500, "", FailureKind::Ambiguous),
        (503, "", FailureKind::Ambiguous),
        (400, "<Error><Code>RequestTimeout</Code></Error>", FailureKind::Ambiguous),
        (400, "<Error><Code>ExpiredToken</Code></Error>", FailureKind::Denied),
        (403, "", FailureKind::Denied),
        (400, "<Error><Code>InvalidArgument</Code></Error>", FailureKind::Rejected),
        (301, "", FailureKind::Rejected),
        (405, "", FailureKind::Rejected),
        (413, "", FailureKind::Rejected),
        (501, "", FailureKind::Unsupported),
        (507, "", FailureKind::NoSpace),
    ];
    for (status, body, kind) in cases {
        let failure = client([(status, body)]).replace("object", "value".into(), &version()).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{status} {body}");
        assert!(failure.cause.contains(&status.to_string()), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a6_a_page_of_a_listing_is_asked_for_again() {
    let page = "<ListBucketResult><Name>bucket</Name></ListBucketResult>";
    let listed = client([(503, ""), (500, ""), (200, page)]).list("entries").try_collect::<Vec<_>>().await;
    assert_eq!(listed.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn e2_a_failure_shows_no_address() {
    let store = builder([(403, "denied to user:hidden\n")]).with_endpoint("https://user:hidden@host").build().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let service = Service { objects: Arc::clone(&store), lists: store, listings: None };
    let client = Client::new(service, Path::from("prefix"), Duration::ZERO, PATIENCE);
    let failure = client.get("object", 9).await.err().unwrap();
    let error = Error::from(failure.clone());
    assert!(!format!("{failure:?} {error} {error:?}").contains("hidden"), "{failure:?}");
}

#[test]
fn only_what_could_be_sent_back_is_a_version() {
    let tag = |tag: &str| Version::new(tag.to_owned());
    assert!(tag("\"9b2cf535f27731c974343645a3985328-12\"").is_some() && tag("W/\"a b\"").is_some());
    for none in ["", "a\nb", "a\0b", "\u{e9}", &"x".repeat(257)] {
        assert!(tag(none).is_none(), "{none:?}");
    }
}

#[test]
fn e2_what_an_error_shows_is_a_short_line_without_an_address() {
    for shown in ["a\rb\u{1b}[2J\nc", &"x".repeat(10_000), "sent to http://user:hidden@host"] {
        let line = answer::one_line(shown);
        assert!(line.len() <= 200 && !line.chars().any(char::is_control) && !line.contains("hidden"), "{line:?}");
    }
}

/// A service whose answers never end: a byte each few seconds, or all the memory at once.
#[derive(Clone, Debug)]
struct Unending {
    status: u16,
    len: Option<u64>,
    chunk: usize,
    pause: Duration,
    pulled: Arc<AtomicU64>,
}

#[async_trait]
impl HttpService for Unending {
    async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Self { chunk, pause, pulled, .. } = self.clone();
        let chunks = stream::repeat(()).then(move |()| {
            let pulled = Arc::clone(&pulled);
            async move {
                sleep(pause).await;
                pulled.fetch_add(chunk as u64, Ordering::Relaxed);
                Ok::<_, HttpError>(Bytes::from(vec![b'x'; chunk]))
            }
        });
        let body = reqwest::Body::wrap_stream(chunks).map_err(|error| HttpError::new(HttpErrorKind::Decode, error));
        let mut response = HttpResponse::new(HttpResponseBody::new(body));
        *response.status_mut() = self.status.try_into().unwrap();
        let headers = response.headers_mut();
        headers.insert("etag", "tag".parse().unwrap());
        if let Some(len) = self.len {
            headers.insert("content-length", len.into());
        }
        Ok(response)
    }
}

impl HttpConnector for Unending {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Bounded { service: self.clone(), listings: Arc::default() }))
    }
}

fn unending(status: u16, len: Option<u64>, chunk: usize, pause: Duration) -> (Arc<Client>, Arc<AtomicU64>) {
    let pulled = Arc::new(AtomicU64::new(0));
    let service = Unending { status, len, chunk, pause, pulled: Arc::clone(&pulled) };
    let service = connect_to_s3(builder([]).with_http_connector(service)).unwrap();
    (Arc::new(Client::new(service, Path::from("prefix"), Duration::ZERO, PATIENCE)), pulled)
}

#[tokio::test(start_paused = true)]
async fn an_answer_byte_by_byte_takes_no_longer_than_a_request_may() {
    let begun = Instant::now();
    let (client, _) = unending(200, Some(1000), 1, Duration::from_secs(1));
    let kind = |failure: Failure| failure.kind;
    assert_eq!(client.get("object", 1000).await.err().map(kind), Some(FailureKind::Ambiguous));
    assert_eq!(begun.elapsed(), PATIENCE);
    let listed = client.list("entries").try_collect::<Vec<_>>().await;
    assert_eq!(listed.err().map(kind), Some(FailureKind::Ambiguous));
    assert!(begun.elapsed() <= 2 * PATIENCE + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_an_end_takes_no_more_memory_than_one_of_its_kind() {
    const CHUNK: usize = 1 << 16;
    let mebibytes = |pulled: &AtomicU64| pulled.load(Ordering::Relaxed) >> 20;
    let (client, pulled) = unending(500, None, CHUNK, Duration::ZERO);
    assert!(client.get("object", 9).await.is_err() && mebibytes(&pulled) < 1);
    let (client, pulled) = unending(200, None, CHUNK, Duration::ZERO);
    assert!(client.list("entries").try_collect::<Vec<_>>().await.is_err() && mebibytes(&pulled) <= 16);
    let (client, pulled) = unending(200, Some(9), CHUNK, Duration::ZERO);
    assert!(client.get("object", 9).await.is_err() && mebibytes(&pulled) < 1);
    let (client, pulled) = unending(200, Some(u64::MAX / 2), CHUNK, Duration::ZERO);
    assert!(client.get("object", 9).await.unwrap().unwrap().bytes.is_empty() && mebibytes(&pulled) < 1);
}

#[test]
fn a5_what_may_have_happened_is_read_before_it_is_repeated() {
    for kind in [FailureKind::Refused, FailureKind::Conflict, FailureKind::Ambiguous, FailureKind::Unnamed] {
        let shown = |effect| Failure::new(kind, "cause").into_error(effect).to_string();
        assert!(shown(Effect::Unknown).contains("read what is there before you try again"));
        assert!(shown(Effect::NotApplied).ends_with(" try again") && !shown(Effect::NotApplied).contains("read what"));
    }
}

#[tokio::test]
async fn e1_a_panic_of_the_client_is_an_error() {
    // As a machine, or a file, may give it.
    let service = connect_to_s3(builder([]).with_token("to\nken")).unwrap();
    let service = Service { listings: Some(Arc::default()), ..service };
    let client = Arc::new(Client::new(service, Path::from("prefix"), Duration::ZERO, PATIENCE));
    let kind = |failure: Failure| Some(failure.kind);
    assert_eq!(client.create("object", "x".into()).await.err().and_then(kind), Some(FailureKind::Ambiguous));
    assert_eq!(client.get("object", 9).await.err().and_then(kind), Some(FailureKind::Ambiguous));
    assert_eq!(client.delete("object").await.err().and_then(kind), Some(FailureKind::Ambiguous));
    let listed = client.list("").next().await.unwrap();
    assert_eq!(listed.err().and_then(kind), Some(FailureKind::Ambiguous));
}

/// A service whose answers are a part of a larger buffer, as those of a connection are.
#[derive(Clone, Debug)]
struct Buffered(Bytes);

#[async_trait]
impl HttpService for Buffered {
    async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut response = HttpResponse::new(self.0.slice(..100).into());
        response.headers_mut().insert("etag", "tag".parse().unwrap());
        response.headers_mut().insert("content-length", 100.into());
        Ok(response)
    }
}

impl HttpConnector for Buffered {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Bounded { service: self.clone(), listings: Arc::default() }))
    }
}

#[tokio::test]
async fn what_was_read_holds_no_buffer_that_it_was_a_part_of() {
    let buffer = Bytes::from(vec![b'x'; 1 << 16]);
    let service = connect_to_s3(builder([]).with_http_connector(Buffered(buffer.clone()))).unwrap();
    let client = Client::new(service, Path::from("prefix"), Duration::ZERO, PATIENCE);
    let object = client.get("object", 100).await.unwrap().unwrap();
    drop(client);
    assert_eq!(object.bytes, buffer[..100]);
    assert!(buffer.is_unique());
}

/// A service where nothing has changed, with the conditions that it was sent.
#[derive(Clone, Debug, Default)]
struct Unchanged(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl HttpService for Unchanged {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let condition = request.headers()["if-none-match"].to_str().unwrap().to_owned();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(condition);
        let mut response = HttpResponse::new(String::new().into());
        *response.status_mut() = 304.try_into().unwrap();
        Ok(response)
    }
}

impl HttpConnector for Unchanged {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Bounded { service: self.clone(), listings: Arc::default() }))
    }
}

#[tokio::test]
async fn a_version_that_was_listed_without_quotes_is_asked_for_with_them() {
    let unchanged = Unchanged::default();
    let service = connect_to_s3(builder([]).with_http_connector(unchanged.clone())).unwrap();
    let service = Service { listings: Some(Arc::default()), ..service };
    let client = Client::new(service, Path::from("prefix"), Duration::ZERO, PATIENCE);
    for tag in ["0x8D", "\"0x8D\"", "W/\"0x8D\""] {
        let version = Version::new(tag.into()).unwrap();
        let seen = client.get_unless("object", Some(&version), 9, client.until()).await.unwrap();
        assert!(matches!(seen, Seen::Unchanged));
    }
    let conditions = unchanged.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*conditions, ["\"0x8D\"", "\"0x8D\"", "W/\"0x8D\""]);
}
