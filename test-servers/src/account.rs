//! The account of Azurite, which is the same wherever it runs, and the signature that it wants for making a container.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

/// Its name.
pub(crate) const NAME: &str = "devstoreaccount1";

/// Its key, which Azurite's own documentation gives.
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const VERSION: &str = "2018-11-09";
const END: &str = "2099-01-01T00:00:00Z";

/// A query that allows everything with blobs and containers.
pub(crate) fn signed_query() -> String {
    // Permissions, services, resource types, start, end, addresses, protocols, version: each on a line, in this order.
    let signed = format!("{NAME}\nrwdlac\nb\nco\n\n{END}\n\n\n{VERSION}\n");
    let key = BASE64_STANDARD.decode(KEY).expect("the key is base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key will do");
    mac.update(signed.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let signature = utf8_percent_encode(&signature, NON_ALPHANUMERIC);
    format!("sv={VERSION}&ss=b&srt=co&sp=rwdlac&se={END}&sig={signature}")
}
