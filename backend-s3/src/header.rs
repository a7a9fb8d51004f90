//! The object `store`: that there is a store below the prefix, its format and its hash function (L5).

use std::sync::Arc;

use backend_kit::check_hash;
use bytes::Bytes;
use store_api::{Error, ErrorKind, HashFunction, Result};

use crate::{
    S3Options,
    client::{Client, FailureKind},
    probe,
};

const NAME: &str = "store";
const FORMAT: &str = "irminsul-s3 1";
/// Longer ones are none of this format, nor of a later one.
const MAX_LEN: u64 = 4096;

/// The hash function of the store below the prefix, which is made if there is none and it may be. Nothing is written
/// where there is another kind of store.
pub(crate) async fn open(client: &Client, options: &S3Options) -> Result<HashFunction> {
    let found = read(client).await?;
    if found.is_none() && !options.create {
        return Err(Error::new(ErrorKind::InvalidInput, "there is no store; open it with `create=on` to make one"));
    }
    let known = found.map(|function| check_hash(options.hash, function)).transpose()?;
    probe::check(client).await?;
    match known {
        Some(function) => Ok(function),
        None => make(client, options).await,
    }
}

async fn make(client: &Client, options: &S3Options) -> Result<HashFunction> {
    let function = options.hash.unwrap_or_default();
    match client.create(NAME, seal(function).into()).await {
        Ok(_) => Ok(function),
        // Another instance made it, or this one did and the answer was lost.
        Err(failure) if failure.is_refusal() || failure.kind == FailureKind::Ambiguous => match read(client).await? {
            Some(function) => check_hash(options.hash, function),
            None => Err(failure.into()),
        },
        Err(failure) => Err(failure.into()),
    }
}

/// Removes the store below the prefix, its header last, so that what was interrupted can be done again. Where there is
/// none, what an `open` may have left that made none is all that there is to remove; where there is something else
/// nothing is removed.
pub(crate) async fn destroy(client: &Arc<Client>) -> Result<()> {
    if read(client).await?.is_some() {
        client.delete_all(|name| name != NAME).await?;
        return Ok(client.delete(NAME).await?);
    }
    if client.has_only(probe::is_object).await? {
        return Ok(client.delete_all(probe::is_object).await?);
    }
    Err(Error::new(
        ErrorKind::Incompatible,
        format!("there are objects below the prefix and no `{NAME}` that says whose; remove them by hand"),
    ))
}

async fn read(client: &Client) -> Result<Option<HashFunction>> {
    client.get(NAME, MAX_LEN).await?.map(|header| parse(&header.bytes)).transpose()
}

pub(crate) fn seal(function: HashFunction) -> Bytes {
    format!("{FORMAT} {}\n", function.name()).into()
}

pub(crate) fn parse(header: &[u8]) -> Result<HashFunction> {
    HashFunction::ALL.iter().copied().find(|function| seal(*function) == header).ok_or_else(|| {
        let text = std::str::from_utf8(header).unwrap_or_default();
        let found: String = text.chars().take(32).filter(|shown| !shown.is_control()).collect();
        Error::new(
            ErrorKind::Incompatible,
            format!(
                "the object `{NAME}` says that the store's format is `{found}`, and not `{FORMAT}`; open it with the \
                 version that made it"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l5_a_header_round_trips_and_another_is_incompatible() {
        for function in [HashFunction::Blake3, HashFunction::Sha256] {
            assert_eq!(parse(&seal(function)).unwrap(), function);
        }
        for header in [
            "irminsul-s3 2 blake3\n",
            "irminsul-s3 1 md5\n",
            "irminsul-s3 1sha256",
            "irminsul-s3 1 blake3",
            "",
            "something else",
        ] {
            let error = parse(header.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            assert!(error.to_string().contains(FORMAT) && !error.to_string().contains('\n'));
        }
    }
}
