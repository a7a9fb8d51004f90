//! What answers of a service are taken for.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use object_store::{
    ClientOptions,
    aws::AmazonS3Builder,
    client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService},
};

use super::*;
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
        Ok(HttpClient::new(self.clone()))
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
    Arc::new(Client::new(service, Path::from("prefix"), Duration::from_secs(30)))
}

fn version() -> Version {
    Version("\"version\"".into())
}

const HTML: &str = "<html><body>default backend - 404</body></html>";
const NO_KEY: &str = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>no</Message></Error>";
const NO_BUCKET: &str = "<Error><Code>NoSuchBucket</Code></Error>";

#[tokio::test(start_paused = true)]
async fn a11_only_a_404_that_names_what_is_missing_is_absence() {
    assert!(client([(404, NO_KEY)]).get("object", None).await.unwrap().is_none());
    let kind = |failure: Failure| failure.kind;
    assert_eq!(client([(404, HTML); 5]).get("object", None).await.err().map(kind), Some(FailureKind::Unnamed));
    assert_eq!(client([(404, NO_BUCKET)]).get("object", None).await.err().map(kind), Some(FailureKind::NoBucket));
    assert!(client([(404, HTML), (404, NO_KEY)]).get("object", None).await.unwrap().is_none());
    // The answer to a HEAD has no body.
    assert!(client([(404, ""), (404, NO_KEY)]).head("object").await.unwrap().is_none());
    assert!(client([(404, ""), (404, HTML), (404, HTML), (404, NO_KEY)]).head("object").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a5_an_answer_to_a_write_is_a_refusal_ambiguous_or_final() {
    let cases = [
        (404, NO_KEY, FailureKind::Refused),
        (404, HTML, FailureKind::Ambiguous),
        (409, "", FailureKind::Refused),
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
    let service = Service { objects: Arc::clone(&store), lists: store };
    let client = Client::new(service, Path::from("prefix"), Duration::ZERO);
    let failure = client.get("object", None).await.err().unwrap();
    let error = Error::from(failure.clone());
    assert!(!format!("{failure:?} {error} {error:?}").contains("hidden"), "{failure:?}");
}

#[test]
fn e2_an_endpoint_with_a_credential_is_refused() {
    for endpoint in ["https://user:hidden@host", "https://host/?sig=hidden"] {
        let error = connect_to_s3(builder([]).with_endpoint(endpoint)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
}
