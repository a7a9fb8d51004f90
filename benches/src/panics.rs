//! A part of a run that panics is one that failed: the others go on, and what was found before stands.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use store_api::{Error, ErrorKind};

/// What a part found; an error where it panicked.
pub async fn caught<T, E: From<Error>>(part: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    // Whatever a part was at is dropped with it, so that nobody meets what it left half done.
    let ended = AssertUnwindSafe(part).catch_unwind().await;
    ended.unwrap_or_else(|panic| Err(Error::new(ErrorKind::Other, format!("it panicked: {}", message(&*panic))).into()))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let formatted = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(formatted).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use store_api::Result;

    use super::*;

    #[tokio::test]
    async fn what_a_part_found_and_its_error_are_as_they_were() {
        let found: Result<u8> = caught(async { Ok(7) }).await;
        assert_eq!(found.unwrap(), 7);
        let failed: Result<u8> = caught(async { Err(Error::new(ErrorKind::Corrupt, "rot")) }).await;
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_that_says_what_it_said() {
        let plain: Result<()> = caught(async { panic!("it is out of order") }).await;
        assert!(plain.unwrap_err().to_string().contains("it panicked: it is out of order"));
        let part = 3;
        let formatted: Result<()> = caught(async { panic!("part {part} is out of order") }).await;
        assert!(formatted.unwrap_err().to_string().contains("it panicked: part 3 is out of order"));
    }
}
