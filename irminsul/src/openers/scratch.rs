//! The names of scratch stores: how one is made, and how `destroy` knows it from a store that is somebody's.

use crate::{Error, ErrorKind};

const PREFIX: &str = "irminsul-scratch-";

/// A name that no other store has.
pub(super) fn name() -> String {
    format!("{PREFIX}{:016x}", fastrand::u64(..))
}

pub(super) fn is_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What `destroy` answers for any other store.
pub(super) fn not_ours() -> Error {
    Error::new(ErrorKind::InvalidInput, "only a store that `scratch` made is destroyed: remove any other by hand")
}
