//! `s3://bucket/prefix` is a store in a bucket of S3 or of a service that speaks it, `az://container/prefix` one in a
//! container of Azure Blob Storage.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_s3::S3Options;

use super::scratch;
use crate::{Address, AddressOptions, Backend, Error, ErrorKind, Opener, OptionSpec, OptionValues, Result};

const ENDPOINT: OptionSpec = OptionSpec::new(
    "endpoint",
    OptionValues::Text,
    "that of the provider",
    "the URL of the service; what is sent to an http:// one is not encrypted",
);
const REGION: OptionSpec =
    OptionSpec::new("region", OptionValues::Text, "what the environment says", "the region of the bucket");
const PATIENCE: OptionSpec = OptionSpec::new(
    "patience",
    OptionValues::Duration { least: Duration::from_millis(1) },
    "30000",
    "how long one request may take, in milliseconds, and 1000 more for each MiB that it moves",
);
const PACK: OptionSpec = OptionSpec::new(
    "pack",
    OptionValues::Bytes,
    "8388608",
    "how many bytes of content that is added value by value share one object, at most",
);
const WATCH_LIMIT: OptionSpec = OptionSpec::new(
    "watch_limit",
    OptionValues::Count,
    "4194304",
    "how many objects the scope of a watch may have, those of removed entries included",
);
const CREATE: OptionSpec = OptionSpec::new(
    "create",
    OptionValues::Switch,
    "on",
    "make the store when it is missing; the bucket is never made",
);

/// How the two schemes differ.
#[derive(Clone, Copy, Debug)]
pub(super) enum S3Opener {
    S3,
    #[cfg(feature = "azure")]
    Azure,
}

impl S3Opener {
    fn place(self, address: &Address) -> Result<S3Options> {
        let location = address.location();
        let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
        if bucket.is_empty() {
            let bucket = match self {
                Self::S3 => "bucket",
                #[cfg(feature = "azure")]
                Self::Azure => "container",
            };
            let scheme = address.scheme();
            let expected = format!("an address of this scheme names a {bucket}: `{scheme}://{bucket}/prefix`");
            return Err(Error::new(ErrorKind::InvalidInput, expected));
        }
        let options = match self {
            Self::S3 => S3Options::new(bucket),
            #[cfg(feature = "azure")]
            Self::Azure => S3Options::azure(bucket),
        };
        let options = options.prefix(prefix);
        let options = match address.option("endpoint") {
            Some(endpoint) => options.endpoint(endpoint),
            None => options,
        };
        Ok(match address.option("region") {
            Some(region) => options.region(region),
            None => options,
        })
    }
}

#[async_trait]
impl Opener for S3Opener {
    fn options(&self) -> &'static [OptionSpec] {
        const {
            &[
                OptionSpec::HASH,
                OptionSpec::VERIFY,
                OptionSpec::BATCH,
                OptionSpec::POLL.with_default("1000"),
                OptionSpec::BUSY.with_default("30000"),
                ENDPOINT,
                REGION,
                PATIENCE,
                PACK,
                WATCH_LIMIT,
                CREATE,
            ]
        }
    }

    async fn open(&self, address: &Address, options: &AddressOptions) -> Result<Arc<dyn Backend>> {
        let mut store = self.place(address)?;
        hand_on_common!(store, options);
        hand_on!(
            store, options:
            duration("poll") => poll,
            duration("busy") => busy,
            duration("patience") => patience,
            bytes("pack") => pack,
            count("watch_limit") => watch_limit,
            switch("create") => create,
        );
        Ok(Arc::new(store.open().await?))
    }

    async fn scratch(&self, address: &Address) -> Result<Address> {
        let location = address.location().trim_end_matches('/');
        let below = format!("{location}/{}", scratch::name());
        Ok(address.clone().with_location(below).without_option(CREATE.name))
    }

    async fn destroy(&self, address: &Address) -> Result<()> {
        let last = address.location().rsplit_once('/').map(|(_, last)| last);
        if !last.is_some_and(scratch::is_name) {
            return Err(scratch::not_ours());
        }
        self.place(address)?.destroy().await
    }
}
