//! A5, E1 and E2: bad input is an error that says what to do, shows no value, and had no effect.

use std::{error::Error as _, fmt::Write as _};

use bytes::Bytes;
use store_api::{
    AtomicWrite, ContentKey, Effect, EntryReadExt, Error, ErrorKind, HashFunction, Indexable, Init, Key, MAX_VALUE_LEN,
};

use crate::{
    Settings,
    case::{Case, case},
    context::{Context, Instance, key},
    disclosure::discloses,
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    operations::value,
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A5-a-refused-write-did-not-happen", [Entries], refused_writes),
    case!("atomic/A5-a-refused-add-did-not-happen", [Content], refused_adds),
    case!("error/E1-a-known-state-outside-the-scope-is-refused", [Entries], known_outside),
    case!("error/E1-a-known-state-that-names-a-key-twice-is-refused", [Entries], known_twice),
    case!("error/E1-what-is-refused-can-be-corrected", [Entries], corrected),
    case!("error/E2-errors-of-entries-are-one-line-and-show-no-value", [Entries], entries_show_nothing),
    case!("error/E2-errors-of-content-are-one-line-and-show-no-value", [Content], content_shows_nothing),
    case!("error/E2-an-open-that-is-refused-shows-no-value", [Content, Reopens], open_shows_nothing),
];

/// Longer than a value may be, and made of a text.
fn too_long(of: &str) -> Bytes {
    of.repeat(MAX_VALUE_LEN / of.len() + 1).into()
}

/// Demands that a refusal says that nothing happened, and that the same call would be refused again.
fn expect_final(refusals: &[Error]) -> Outcome {
    for refusal in refusals {
        ensure_eq!(refusal.effect(), Effect::NotApplied, "the effect of `{refusal}`");
        ensure!(!refusal.is_retryable(), "`{refusal}` is said to pass by itself");
    }
    Ok(())
}

async fn refused_writes(context: Context) -> Outcome {
    let instance = context.open().await?;
    let entries = instance.entries();
    let (k, root, v) = (key("k"), Key::root(), || Some(value("1")));
    let long = too_long("x");
    let mut refusals = vec![
        expect_error!(entries.set(&root, value("1")).await, InvalidKey, "`set` of the empty path"),
        expect_error!(entries.remove(&root).await, InvalidKey, "`remove` of the empty path"),
        expect_error!(entries.test_and_set(&root, None, v()).await, InvalidKey, "`test_and_set` of the empty path"),
        expect_error!(entries.set(&k, long.clone()).await, ValueTooLarge, "`set` of a value too long"),
        expect_error!(
            entries.test_and_set(&k, None, Some(long)).await,
            ValueTooLarge,
            "`test_and_set` to a value too long"
        ),
    ];
    entries.close().await?;
    refusals.extend([
        expect_error!(entries.set(&k, value("1")).await, Closed, "`set` of a closed handle"),
        expect_error!(entries.test_and_set(&k, None, v()).await, Closed, "`test_and_set` of a closed handle"),
        expect_error!(entries.remove(&k).await, Closed, "`remove` of a closed handle"),
        expect_error!(entries.clear().await, Closed, "`clear` of a closed handle"),
    ]);
    expect_final(&refusals)?;
    ensure_eq!(instance.entries().list_sorted(&root).await?, [], "the keys after refused writes");
    Ok(())
}

async fn refused_adds(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    let hash = content.hash_function().hash(b"1");
    let mut refusals =
        vec![expect_error!(content.add(too_long("x")).await, ValueTooLarge, "`add` of a value too long")];
    content.close().await?;
    refusals.extend([
        expect_error!(content.add(value("1")).await, Closed, "`add` of a closed handle"),
        expect_error!(content.unsafe_add(hash, value("1")).await, Closed, "`unsafe_add` of a closed handle"),
    ]);
    expect_final(&refusals)?;
    let found = instance.content().find(&ContentKey::from(hash)).await?;
    ensure_eq!(found, None, "a value that was added by a closed handle");
    Ok(())
}

async fn known_outside(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    for outside in ["b", "ab", "a-", "A", "a\0"] {
        let init = Init::Known(vec![(key("a/b"), value("1")), (key(outside), value("1"))]);
        let refusal = expect_error!(
            entries.watch(&key("a"), init).await,
            InvalidInput,
            "a watch under \"a\" whose known state names {}",
            shown(outside)
        );
        expect_final(&[refusal])?;
    }
    let init = Init::Known(vec![(Key::root(), value("1"))]);
    let Err(refusal) = entries.watch(&Key::root(), init).await else {
        return Err(Failure::broken("a watch whose known state names the empty path, which is no entry"));
    };
    let due = matches!(refusal.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidKey);
    ensure!(due, "a known state that names the empty path: {refusal}");
    Ok(())
}

async fn known_twice(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    for second in ["1", "2"] {
        let init = Init::Known(vec![(key("a"), value("1")), (key("b"), value("1")), (key("a"), value(second))]);
        let watch = entries.watch(&Key::root(), init).await;
        expect_error!(watch, InvalidInput, "a watch whose known state names a key twice");
    }
    Ok(())
}

/// What an error tells to change is all there is to change: the same handle takes the call once it is right.
async fn corrected(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, root) = (key("k"), Key::root());
    expect_error!(entries.set(&root, value("1")).await, InvalidKey, "`set` of the empty path");
    expect_error!(entries.set(&k, too_long("x")).await, ValueTooLarge, "`set` of a value too long");
    let outside = Init::Known(vec![(key("b"), value("1"))]);
    expect_error!(entries.watch(&k, outside).await, InvalidInput, "a watch with a known state outside of it");
    entries.set(&k, value("1")).await?;
    let watch = entries.watch(&k, Init::Known(vec![(k.clone(), value("1"))])).await?;
    entries.unwatch(watch.id()).await?;
    ensure_eq!(entries.entries_sorted(&root).await?, [(k, value("1"))], "the entries");
    Ok(())
}

/// What no error may show, in any way that bytes are commonly written.
const SECRET: &str = "correct horse battery staple";

/// An error with all that lies beneath it, as a log shows it.
fn as_logged(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(beneath) = source {
        // Writing to a `String` does not fail.
        let _ = write!(text, " {beneath} {beneath:?}");
        source = beneath.source();
    }
    text
}

/// Whether a text shows the secret, or a part of it.
fn gives_away(text: &str) -> bool {
    discloses(text, SECRET) || discloses(text, &SECRET[8..13])
}

fn expect_discreet(errors: &[Error]) -> Outcome {
    for error in errors {
        let kind = error.kind();
        ensure!(!gives_away(&as_logged(error)), "an error of the kind {} shows a value", shown(&kind));
        let text = error.to_string();
        let lines = text.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']).count();
        ensure_eq!(lines, 1, "the lines of an error of the kind {}", shown(&kind));
        ensure!(!text.trim().is_empty(), "an error of the kind {} says nothing", shown(&kind));
    }
    Ok(())
}

/// The errors that an operation met, which must be one.
#[track_caller]
fn refusal<T>(result: store_api::Result<T>, what: &str) -> Outcome<Error> {
    result.err().ok_or_else(|| Failure::broken(format_args!("an answer where an error is due: {what}")))
}

async fn entries_show_nothing(context: Context) -> Outcome {
    let instance = context.open().await?;
    let errors = errors_of_entries(&instance, &*instance.entries()).await?;
    expect_discreet(&errors)
}

async fn errors_of_entries(instance: &Instance, entries: &dyn AtomicWrite) -> Outcome<Vec<Error>> {
    let (root, secret, long) = (Key::root(), || Some(value(SECRET)), || too_long(SECRET));
    let awkward = key("a key\nof two\r\nlines\u{2028}or more");
    entries.set(&awkward, value(SECRET)).await?;
    let known = Init::Known(vec![(awkward.clone(), value(SECRET))]);
    let twice = Init::Known(vec![(awkward.clone(), value(SECRET)), (awkward.clone(), value(SECRET))]);
    let mut errors = vec![
        refusal(entries.set(&awkward, long()).await, "a value too long")?,
        refusal(entries.test_and_set(&awkward, secret(), Some(long())).await, "a value too long")?,
        refusal(entries.set(&root, value(SECRET)).await, "the empty path")?,
        refusal(entries.test_and_set(&root, secret(), secret()).await, "the empty path")?,
        refusal(entries.watch_key(&root, Init::Known(secret())).await, "the empty path")?,
        refusal(entries.watch(&key("scope"), known).await, "a known state outside the scope")?,
        refusal(entries.watch(&root, twice).await, "a known state that names a key twice")?,
    ];
    instance.close().await?;
    errors.extend([
        refusal(entries.set(&awkward, value(SECRET)).await, "closed")?,
        refusal(entries.test_and_set(&awkward, secret(), secret()).await, "closed")?,
        refusal(entries.find(&awkward).await, "closed")?,
        refusal(entries.watch_key(&awkward, Init::Known(secret())).await, "closed")?,
    ]);
    Ok(errors)
}

async fn content_shows_nothing(context: Context) -> Outcome {
    let instance = context.open().await?;
    let errors = errors_of_content(&instance, &*instance.content()).await?;
    expect_discreet(&errors)
}

async fn errors_of_content(instance: &Instance, content: &dyn Indexable) -> Outcome<Vec<Error>> {
    let another = content.hash_function().hash(b"another value");
    let false_key = content.unsafe_add(another, value(SECRET)).await?;
    let batch = content.begin().await?;
    let mut errors = vec![
        refusal(content.add(too_long(SECRET)).await, "a value too long")?,
        refusal(content.unsafe_add(another, too_long(SECRET)).await, "a value too long")?,
        refusal(batch.add(too_long(SECRET)).await, "a value too long")?,
    ];
    // Without verification the value itself is the answer (I4).
    errors.extend(content.find(&false_key).await.err());
    batch.commit().await?;
    errors.push(refusal(batch.add(value(SECRET)).await, "a batch that has ended")?);
    instance.close().await?;
    errors.push(refusal(content.add(value(SECRET)).await, "closed")?);
    errors.push(refusal(content.find(&false_key).await, "closed")?);
    Ok(errors)
}

async fn open_shows_nothing(context: Context) -> Outcome {
    let instance = context.open().await?;
    let content = instance.content();
    content.add(value(SECRET)).await?;
    let other = HashFunction::ALL.iter().copied().find(|function| *function != content.hash_function());
    instance.close().await?;
    drop((content, instance));
    match context.try_open(&Settings { hash: other, ..Settings::default() }).await {
        Ok(_) => Err(Failure::broken("L5: a store was opened with another hash function than its own")),
        Err(error) if error.kind() == ErrorKind::Unsupported => Err(Failure::unsupported(error)),
        Err(error) => expect_discreet(&[error]),
    }
}
