//! The proxy does to requests and answers what it says, and counts it.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use conformance::proxy::{Fault, Proxy};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, sync::watch};

/// A server that keeps what is PUT, and counts it.
#[derive(Default)]
struct Server {
    objects: Mutex<HashMap<String, Bytes>>,
    puts: watch::Sender<usize>,
    hosts: Mutex<Vec<String>>,
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        self.hosts.lock().unwrap().push(host);
        let target = request.uri().path().to_owned();
        if request.method() == Method::PUT {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            self.objects.lock().unwrap().insert(target, body);
            self.puts.send_modify(|puts| *puts += 1);
            return Ok(Response::new(Full::default()));
        }
        let object = self.objects.lock().unwrap().get(&target).cloned().unwrap_or_default();
        Ok(Response::new(Full::new(object)))
    }
}

struct Setting {
    server: Arc<Server>,
    proxy: Proxy,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Setting {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap(), 1).await.unwrap();
        let server = Arc::new(Server::default());
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(|request| server.answer(request));
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
                });
            }
        });
        Self { server, proxy, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The status and the body, unless the connection ended first.
    async fn ask(&self, method: &str, body: &'static str) -> Option<(u16, Bytes)> {
        let uri = format!("http://{}/object?list-type=2", self.proxy.address());
        let request = Request::builder().method(method).uri(uri).body(Full::from(body)).unwrap();
        let answer = self.client.request(request).await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.into_body().collect().await.ok()?.to_bytes()))
    }

    fn puts(&self) -> usize {
        *self.server.puts.borrow()
    }
}

const OK: Option<(u16, Bytes)> = Some((200, Bytes::new()));

/// What the client sees, and how often the server was written to.
async fn put_with(fault: Fault) -> (Option<u16>, usize) {
    let setting = Setting::new().await;
    setting.proxy.next(fault, |request| request.method == "PUT");
    let seen = setting.ask("PUT", "value").await;
    assert_eq!(setting.proxy.injected(fault), 1);
    (seen.map(|(status, _)| status), setting.puts())
}

async fn get_with(fault: Fault) -> Option<(u16, Bytes)> {
    let setting = Setting::new().await;
    assert_eq!(setting.ask("PUT", "value").await, OK);
    setting.proxy.next(fault, |request| request.method == "GET");
    let seen = setting.ask("GET", "").await;
    assert_eq!(setting.proxy.injected(fault), 1);
    assert_eq!(setting.ask("GET", "").await, Some((200, "value".into())), "the fault was for one request");
    seen
}

#[tokio::test]
async fn what_is_not_meant_goes_through_as_it_came() {
    let setting = Setting::new().await;
    setting.proxy.sometimes(1.0, Fault::LostRequest, |request| request.target.contains("elsewhere"));
    assert_eq!(setting.ask("PUT", "value").await, OK);
    assert_eq!(setting.ask("GET", "").await, Some((200, "value".into())));
    assert_eq!(setting.proxy.injected(Fault::LostRequest), 0);
    let hosts = setting.server.hosts.lock().unwrap();
    assert!(hosts.iter().all(|host| *host == setting.proxy.address().to_string()), "{hosts:?}");
}

#[tokio::test]
async fn a_lost_request_has_no_effect_and_a_lost_answer_has() {
    assert_eq!(put_with(Fault::LostRequest).await, (None, 0));
    assert_eq!(put_with(Fault::LostAnswer).await, (None, 1));
}

#[tokio::test]
async fn a_status_comes_before_the_effect_or_after_it() {
    for status in [409, 429, 500, 503] {
        assert_eq!(put_with(Fault::StatusBefore(status)).await, (Some(status), 0));
        assert_eq!(put_with(Fault::StatusAfter(status)).await, (Some(status), 1));
    }
}

#[tokio::test]
async fn a_repeated_request_arrives_twice() {
    assert_eq!(put_with(Fault::Repeated).await, (Some(200), 2));
}

#[tokio::test]
async fn a_delayed_request_arrives() {
    assert_eq!(put_with(Fault::Delayed(Duration::from_millis(1))).await, (Some(200), 1));
}

#[tokio::test]
async fn a_late_request_arrives_behind_later_ones() {
    let setting = Setting::new().await;
    setting.proxy.next(Fault::Late(Duration::from_millis(50)), |_| true);
    assert_eq!(setting.ask("PUT", "early").await, None);
    assert_eq!(setting.ask("PUT", "later").await, OK);
    setting.server.puts.subscribe().wait_for(|puts| *puts == 2).await.unwrap();
    assert_eq!(setting.ask("GET", "").await, Some((200, "early".into())));
}

#[tokio::test]
async fn a_truncated_answer_ends_in_the_middle() {
    assert_eq!(get_with(Fault::Truncated).await, None);
}

#[tokio::test]
async fn a_garbled_answer_differs_in_one_bit() {
    let (status, body) = get_with(Fault::Garbled).await.unwrap();
    let bits: u32 = body.iter().zip(b"value").map(|(got, sent)| (got ^ sent).count_ones()).sum();
    assert_eq!((status, body.len(), bits), (200, 5, 1));
}

#[tokio::test]
async fn an_answer_without_a_body_is_not_spoiled_and_not_counted() {
    let setting = Setting::new().await;
    for fault in [Fault::Truncated, Fault::Garbled] {
        setting.proxy.next(fault, |_| true);
        assert_eq!(setting.ask("PUT", "value").await, OK);
        assert_eq!(setting.proxy.injected(fault), 0);
    }
}

#[tokio::test]
async fn a_share_of_the_requests_suffers_until_it_is_healed() {
    let setting = Setting::new().await;
    let fault = Fault::StatusBefore(503);
    setting.proxy.sometimes(0.3, fault, |request| request.method == "GET");
    let mut refused = 0;
    for _ in 0..200 {
        let (status, _) = setting.ask("GET", "").await.unwrap();
        refused += u64::from(status == 503);
    }
    assert_eq!(refused, setting.proxy.injected(fault));
    assert!((30..90).contains(&refused), "{refused} of 200");
    setting.proxy.heal();
    for _ in 0..20 {
        assert_eq!(setting.ask("GET", "").await, OK);
    }
    assert_eq!(setting.proxy.requests(), 220);
}
