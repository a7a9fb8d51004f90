//! `mem:` is a store of its own, `mem:name` one that the process shares under that name.

use std::sync::Arc;

use async_trait::async_trait;
use backend_mem::MemOptions;

use super::scratch;
use crate::{Address, AddressOptions, Backend, Opener, OptionSpec, Result};

#[derive(Debug)]
pub(super) struct MemOpener;

#[async_trait]
impl Opener for MemOpener {
    fn options(&self) -> &'static [OptionSpec] {
        const {
            &[
                OptionSpec::HASH,
                OptionSpec::VERIFY,
                OptionSpec::BATCH,
                OptionSpec::POLL.unused(),
                OptionSpec::BUSY.unused(),
            ]
        }
    }

    async fn open(&self, address: &Address, options: &AddressOptions) -> Result<Arc<dyn Backend>> {
        let mut store = match address.location() {
            "" => MemOptions::new(),
            name => MemOptions::named(name),
        };
        hand_on_common!(store, options);
        Ok(Arc::new(store.open().await?))
    }

    async fn scratch(&self, address: &Address) -> Result<Address> {
        Ok(match address.location() {
            "" => address.clone(),
            _ => address.clone().with_location(scratch::name()),
        })
    }

    async fn destroy(&self, address: &Address) -> Result<()> {
        let name = address.location();
        // A store in memory goes with its last handle.
        if name.is_empty() || scratch::is_name(name) { Ok(()) } else { Err(scratch::not_ours()) }
    }
}
