//! Streams that read a page at a time, and hold no snapshot and no lock in between (A7).

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    vec,
};

use futures_core::Stream;
use store_api::Result;

use crate::{Context, Gate};

/// Some items in order, and where the next page begins. Where they are read from a disk, a page is bounded by its bytes
/// as well as by its items.
pub struct Page<T, C> {
    /// The items. An error among them is about one item; the stream goes on behind it.
    pub items: Vec<Result<T>>,
    /// Where the next page begins, or `None` after the last.
    pub next: Option<C>,
}

// The items may be values (E2).
impl<T, C> fmt::Debug for Page<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("items", &self.items.len()).field("last", &self.next.is_none()).finish()
    }
}

type Fetch<T, C> = Pin<Box<dyn Future<Output = Result<Page<T, C>>> + Send>>;

/// A stream of what `fetch` reads, page after page. It ends behind the first page that fails, and with `Closed` when its
/// gate is closed (L1). Its errors say where they came from.
pub struct Pages<T, C, F> {
    context: Context,
    operation: &'static str,
    gate: Arc<Gate>,
    fetch: F,
    items: vec::IntoIter<Result<T>>,
    then: Then<T, C>,
}

enum Then<T, C> {
    Fetch(C),
    Fetching(Fetch<T, C>),
    End,
}

impl<T, C, F, R> Pages<T, C, F>
where
    F: FnMut(C) -> R,
    R: Future<Output = Result<Page<T, C>>> + Send + 'static,
{
    /// A stream that begins at `start`, for an operation of a backend.
    pub fn new(context: Context, operation: &'static str, gate: Arc<Gate>, start: C, fetch: F) -> Self {
        Self { context, operation, gate, fetch, items: Vec::new().into_iter(), then: Then::Fetch(start) }
    }

    fn poll_item(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Result<T>>> {
        loop {
            if let Some(error) = self.closed() {
                return Poll::Ready(Some(Err(error)));
            }
            if let Some(item) = self.items.next() {
                return Poll::Ready(Some(item));
            }
            match std::mem::replace(&mut self.then, Then::End) {
                Then::End => return Poll::Ready(None),
                Then::Fetch(cursor) => self.then = Then::Fetching(Box::pin((self.fetch)(cursor))),
                Then::Fetching(mut page) => {
                    let Poll::Ready(page) = page.as_mut().poll(cx) else {
                        self.then = Then::Fetching(page);
                        return Poll::Pending;
                    };
                    let page = match page {
                        Ok(page) => page,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    };
                    self.items = page.items.into_iter();
                    self.then = page.next.map_or(Then::End, Then::Fetch);
                    if self.items.as_slice().is_empty() && matches!(self.then, Then::Fetch(_)) {
                        // Pages of nothing, each there at once, must not keep the executor's thread.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<T, C, F, R> Stream for Pages<T, C, F>
where
    T: Unpin,
    C: Unpin,
    F: FnMut(C) -> R + Unpin,
    R: Future<Output = Result<Page<T, C>>> + Send + 'static,
{
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Result<T>>> {
        let explain = self.context.on(self.operation);
        self.poll_item(cx).map_err(explain)
    }
}

impl<T, C, F> Pages<T, C, F> {
    /// `Closed`, once, when the gate was closed before the stream had ended.
    fn closed(&mut self) -> Option<store_api::Error> {
        let ended = matches!(self.then, Then::End) && self.items.as_slice().is_empty();
        if ended {
            return None;
        }
        let error = self.gate.check().err()?;
        self.then = Then::End;
        self.items = Vec::new().into_iter();
        Some(error)
    }
}

impl<T, C, F> fmt::Debug for Pages<T, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("ready", &self.items.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(irminsul_loom)))]
mod tests {
    use std::future::ready;

    use futures_util::{FutureExt, StreamExt};
    use store_api::{Error, ErrorKind};

    use super::*;

    const NUMBERS: Context = Context::new("numbers");

    fn numbers(gate: &Arc<Gate>) -> impl Stream<Item = Result<u32>> + Unpin {
        Pages::new(NUMBERS, "count", Arc::clone(gate), 0, |start: u32| {
            ready(match start {
                0 | 3 => Ok(Page { items: (start..start + 3).map(Ok).collect(), next: Some(start + 3) }),
                6 => Ok(Page { items: vec![Err(Error::new(ErrorKind::Corrupt, "one")), Ok(7)], next: Some(9) }),
                _ => Err(Error::new(ErrorKind::Unavailable, "the rest")),
            })
        })
    }

    #[tokio::test]
    async fn an_item_may_fail_and_a_failed_page_is_the_end() {
        let items: Vec<_> = numbers(&Gate::new()).map(|item| item.map_err(|error| error.kind())).collect().await;
        let expected = [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4), Ok(5), Err(ErrorKind::Corrupt), Ok(7)];
        assert_eq!(items[..8], expected);
        assert_eq!(items[8..], [Err(ErrorKind::Unavailable)]);
    }

    #[tokio::test]
    async fn e1_its_errors_say_where_they_came_from() {
        let errors: Vec<_> = numbers(&Gate::new()).filter_map(async |item| item.err()).collect().await;
        let gate = Gate::new();
        let mut closed = numbers(&gate);
        gate.close();
        let closed = closed.next().await.unwrap().unwrap_err();
        for error in errors.iter().chain([&closed]) {
            assert_eq!((error.backend(), error.operation()), (Some("numbers"), Some("count")), "{error}");
        }
        assert_eq!(errors.len(), 2);
    }

    #[tokio::test]
    async fn empty_pages_are_passed_over_and_let_others_run() {
        let mut stream = Pages::new(NUMBERS, "count", Gate::new(), 0, |start: u32| {
            let items = if start < 3 { Vec::new() } else { vec![Ok(start)] };
            ready(Ok(Page { items, next: (start < 3).then_some(start + 1) }))
        });
        assert!(stream.next().now_or_never().is_none());
        assert_eq!(stream.next().await.unwrap().unwrap(), 3);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn l1_an_open_stream_is_closed_with_its_handle() {
        let gate = Gate::new();
        let mut stream = numbers(&gate);
        assert_eq!(stream.next().await.unwrap().unwrap(), 0);
        gate.close();
        assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert!(stream.next().await.is_none());
    }
}
