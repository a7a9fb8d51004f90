//! What the suite tests on real servers, which all tests share: each store has a prefix of its own.

use std::{fmt::Display, sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_s3::S3Options;
use conformance::{Factory, Place, Settings, Site};
use store_api::{Backend, Error, ErrorKind, Result};
use test_servers::{Endpoint, Kind, Shared};
use tokio::{sync::OnceCell, task::spawn_blocking};

/// Others' changes are told within this, and a request.
const POLL: Duration = Duration::from_millis(50);
/// Clients on a loaded machine wait longer for each other than an application would like to.
const BUSY: Duration = Duration::from_mins(2);

pub(crate) struct ServerFactory {
    kind: Kind,
    server: OnceCell<Shared>,
}

impl ServerFactory {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, server: OnceCell::new() }
    }

    async fn endpoint(&self) -> Result<Endpoint> {
        let kind = self.kind;
        let start = async || spawn_blocking(move || Shared::get(kind)).await.map_err(failed)?.map_err(failed);
        self.server.get_or_try_init(start).await.map(Shared::endpoint)
    }

    /// A token is the endpoint, the bucket and the prefix, for other processes too.
    fn options(&self, token: &str) -> Result<S3Options> {
        let mut parts = token.rsplitn(3, '#');
        let (Some(prefix), Some(bucket), Some(endpoint)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(failed("this is no token"));
        };
        let options = match self.kind {
            #[cfg(feature = "azure")]
            Kind::Azurite => S3Options::azure(bucket),
            _ => S3Options::new(bucket),
        };
        Ok(options.endpoint(endpoint).prefix(prefix))
    }
}

fn failed(error: impl Display) -> Error {
    Error::new(ErrorKind::Other, error.to_string())
}

#[async_trait]
impl Factory for ServerFactory {
    fn name(&self) -> String {
        format!("s3-{}", self.kind)
    }

    async fn create(&self, place: Place<'_>) -> Result<Site> {
        if let Place::Directory(_) = place {
            return Err(Error::new(ErrorKind::Unsupported, "the files are the server's"));
        }
        let endpoint = self.endpoint().await?;
        let (url, bucket) = (endpoint.url(), endpoint.bucket());
        Ok(Site::new(format_args!("{url}#{bucket}#conformance-{:016x}", fastrand::u64(..))))
    }

    async fn open(&self, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        let options = self.options(token)?.poll(POLL).busy(BUSY);
        let options = settings.apply(options, S3Options::hash, S3Options::verify, S3Options::batch_limit);
        Ok(Arc::new(options.open().await?))
    }

    async fn destroy(&self, site: Site) -> Result<()> {
        self.options(site.token())?.destroy().await
    }
}
