//! Redirects: nobody but the service that was named hears of a request, of its session token and its value.

use std::fmt::Write as _;

use libtest_mimic::Trial;

use crate::{
    scene::{Class, Scene, options},
    server::{Answer, Server, head},
    trial,
};

const STATUSES: [&str; 6] = [
    "300 Multiple Choices",
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
];

pub(crate) fn trials() -> Vec<Trial> {
    let redirects = STATUSES.map(|status| {
        let name = format!("nothing_is_sent_elsewhere_by_a_{}", &status[..3]);
        trial(name, move || redirected(status))
    });
    let once = trial("a_redirect_within_the_service_is_not_followed_either", within);
    redirects.into_iter().chain([once]).collect()
}

async fn redirected(status: &'static str) {
    let (server, other) = (Server::start().await, Server::start().await);
    let scene = Scene::new(&server).await;
    let other_address = other.address;
    server.answers(move |request| {
        let mut location = format!("Location: http://{other_address}/bucket/{}", request.name);
        // Writing to a string does not fail.
        let _ = write!(location, "?{}\r\n", request.query);
        Answer::Bytes(head(status, &location, 0))
    });
    scene.do_everything(&[Class::Get, Class::Put, Class::List]).await;
    assert!(server.taken() > 0, "nothing was redirected");
    assert_eq!(other.connections(), 0, "somebody else was asked");
}

async fn within() {
    let server = Server::start().await;
    let address = server.address;
    server.answers(move |_| {
        let location = format!("Location: http://{address}/bucket/elsewhere\r\n");
        Answer::Bytes(head("301 Moved Permanently", &location, 0))
    });
    let refused = options(&server).open().await.unwrap_err();
    assert_eq!(refused.kind(), store_api::ErrorKind::InvalidInput, "{refused}");
    assert_eq!(server.connections(), 1, "it was asked again");
}
