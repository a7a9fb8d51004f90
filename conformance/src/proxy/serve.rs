//! The HTTP of the proxy: whole requests and whole answers, over connections of their own on each side.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::{Frame, Incoming},
    header::{CONNECTION, TRANSFER_ENCODING},
    http::{request, uri},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::lock::lock;

use super::{Fault, Faults};

type Answer = Response<Bytes>;
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The connection is to be closed without an answer.
type Lost = Box<dyn std::error::Error + Send + Sync>;

/// What it takes to answer a request.
#[derive(Clone)]
struct Way {
    server: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    faults: Arc<Faults>,
    late: Arc<Mutex<JoinSet<()>>>,
}

/// Serves until its future is dropped, which ends all that it has begun.
pub(super) async fn serve(listener: TcpListener, server: SocketAddr, faults: Arc<Faults>) {
    let way = Way { server, client: Client::builder(TokioExecutor::new()).build_http(), faults, late: Arc::default() };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Its client is gone, which is the client's loss, or too many files are open: then a moment helps, and
                    // to ask again at once does not.
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let way = way.clone();
                connections.spawn(async move {
                    let service = service_fn(|request| way.answer(request));
                    // A connection that ends without an answer is what the proxy is for.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Way {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Lost> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let target = head.uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
        let Some(fault) = self.faults.draw(super::Request { method: head.method.as_str(), target }) else {
            return Ok(whole(self.forward(&head, body).await?));
        };
        // What takes place at the server is counted when it has.
        if matches!(fault, Fault::LostRequest | Fault::Late(_) | Fault::StatusBefore(_) | Fault::Delayed(_)) {
            self.faults.count(fault);
        }
        match fault {
            Fault::LostRequest => Err("the request is lost".into()),
            Fault::LostAnswer => {
                self.forward(&head, body).await?;
                self.faults.count(fault);
                Err("the answer is lost".into())
            }
            Fault::Late(delay) => {
                self.forward_late(head, body, delay);
                Err("the request is late".into())
            }
            Fault::Repeated => {
                self.forward(&head, body.clone()).await?;
                let answer = self.forward(&head, body).await?;
                self.faults.count(fault);
                Ok(whole(answer))
            }
            Fault::StatusBefore(status) => refusal(status),
            Fault::StatusAfter(status) => {
                self.forward(&head, body).await?;
                self.faults.count(fault);
                refusal(status)
            }
            Fault::Delayed(delay) => {
                sleep(delay).await;
                Ok(whole(self.forward(&head, body).await?))
            }
            Fault::Truncated => Ok(self.truncated(self.forward(&head, body).await?)),
            Fault::Garbled => Ok(whole(self.garbled(self.forward(&head, body).await?))),
        }
    }

    /// What the server answers. The headers stay as they were sent, since a signature may cover them.
    async fn forward(&self, head: &request::Parts, body: Bytes) -> Result<Answer, Lost> {
        let path = head.uri.path_and_query().cloned().unwrap_or(uri::PathAndQuery::from_static("/"));
        let sent = body.len();
        let uri = Uri::builder().scheme("http").authority(self.server.to_string()).path_and_query(path).build()?;
        let mut request = Request::builder().method(head.method.clone()).uri(uri).body(Full::new(body))?;
        *request.headers_mut() = end_to_end(head.headers.clone());
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.faults.went_through(sent + body.len());
        let mut answer = Response::new(body);
        *answer.status_mut() = head.status;
        *answer.headers_mut() = end_to_end(head.headers);
        Ok(answer)
    }

    fn forward_late(&self, head: request::Parts, body: Bytes, delay: Duration) {
        // A task that held the set that it is in would keep itself.
        let way = Self { late: Arc::default(), ..self.clone() };
        lock(&self.late).spawn(async move {
            sleep(delay).await;
            // Nobody waits for the answer.
            let _ = way.forward(&head, body).await;
        });
    }

    fn truncated(&self, answer: Answer) -> Response<Body> {
        if answer.body().is_empty() {
            return whole(answer);
        }
        self.faults.count(Fault::Truncated);
        let (head, body) = answer.into_parts();
        let half = Frame::data(body.slice(..body.len() / 2));
        // The length that was announced stays, and an error closes the connection.
        let end = io::Error::new(io::ErrorKind::UnexpectedEof, "the body is truncated");
        let body = StreamBody::new(stream::iter([Ok(half), Err(end)]));
        Response::from_parts(head, body.boxed_unsync())
    }

    fn garbled(&self, answer: Answer) -> Answer {
        if answer.body().is_empty() {
            return answer;
        }
        self.faults.count(Fault::Garbled);
        answer.map(|body| {
            let (at, bit) = self.faults.spot(body.len());
            let mut body = body.to_vec();
            body[at] ^= bit;
            body.into()
        })
    }
}

/// The headers without those that are about one connection alone.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers
}

fn whole(answer: Answer) -> Response<Body> {
    answer.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

fn refusal(status: u16) -> Result<Response<Body>, Lost> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::from_u16(status)?;
    Ok(whole(answer))
}
