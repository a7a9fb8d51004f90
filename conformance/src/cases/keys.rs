//! K1 to K3: which keys there are, and that each is an entry of its own; W12 as far as lists count by steps.

use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{AtomicWrite, Effect, EntryRead, EntryReadExt, Init, Key};

use crate::{
    case::{Case, case},
    context::{Context, key},
    failure::{Failure, Outcome, ensure, ensure_eq, expect_error},
    following::State,
    operations::{insist, set_all, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("key/K1-the-longest-keys-work", [Entries], the_longest),
    case!("key/K1-a-key-longer-than-the-store-takes-is-refused", [Entries], too_long),
    case!("key/K2-every-valid-key-is-an-entry-of-its-own", [Entries], entries_of_their_own),
    case!("key/K2-every-valid-key-is-created-by-test-and-set", [Entries], created_by_test_and_set),
    case!("key/K2-some-keys-are-set-and-no-others", [Entries], some_set),
    case!("key/K2-some-keys-are-removed-and-no-others", [Entries], some_removed),
    case!("key/K2-a-key-and-one-below-it-come-and-go-apart", [Entries], above_and_below),
    case!("key/K2-every-valid-key-is-there-when-reopened", [Entries, Reopens], reopened),
    case!("key/K3-the-empty-path-reads-as-absent", [Entries], empty_path_is_absent),
    case!("key/K3-the-empty-path-is-refused-as-an-entry", [Entries], empty_path_is_refused),
    case!("key/K3-the-empty-path-as-a-scope-means-everything", [Entries], empty_path_as_a_scope),
    case!("watch/W12-a-list-counts-whole-steps", [Entries], lists_by_steps),
];

/// Keys that trip escaping, collation, pattern matching, path handling, number parsing and ranges.
#[rustfmt::skip]
const TRICKY: &[&str] = &[
    ".", "..", "...", "a/.", "a/..", "a/../b", "../../etc", "./a", "~", "-", "--", "-a",
    "%", "%2F", "%2f", "a%2Fb", "%25", "%252F", "%00", "%%", "%s", "%a", "_", "a_b", "*", "a*", "?", "[a]", "{a}", "^", "$", "!",
    "a", "A", "a/b", "A/b", "a/B", "a/b/c", "a/c", "ab", "a-", "a-b", "a.", "a.b", "a0", "a0b", "a!", "a+b", "a,b", "a~", "aa", "b",
    "a b", " ", "  ", " a", "a ", "a /b", "a/ b", "a\0", "a\0b", "a/\0", "\0", "\0\0", "\u{1}", "\u{7f}", "\u{80}", "\u{85}", "\u{a0}",
    "\n", "a\n", "a\nb", "\r", "\r\n", "\t", "\u{b}", "\u{1b}[0m", "\\", "a\\b", "\\0", "\\n", "\\x00", "'", "''", "\"", "`", ";", "#", "&", "=", "+",
    "<>", "|", ":", "::", "@", "C:", "C:\\a", "CON", "nul", ".tmp", ".lock", "a.tmp", "a.lock", "lost+found",
    "\u{e9}", "e\u{301}", "\u{df}", "\u{1e9e}", "ss", "SS", "I", "i", "\u{130}", "\u{131}", "\u{212a}", "k", "K", "\u{3c3}", "\u{3c2}", "\u{fb01}", "fi",
    "\u{65e5}\u{672c}", "\u{1f984}", "\u{200b}", "a\u{200b}", "\u{202e}", "\u{d7ff}", "\u{e000}", "\u{feff}", "\u{feff}a", "\u{fffd}", "\u{ffff}",
    "\u{10000}", "\u{10ffff}", "a/\u{10ffff}", "a\u{10ffff}",
    "0", "00", "1", "01", "10", "2", "-1", "1.0", "1e3", "0x1", "null", "NULL", "true", "undefined", "NaN",
    "entries", "content", "changes", "meta", "data", "tmp", "index", "index.html", "select", "drop table entries",
    "'; DROP TABLE entries; --", "' OR '1'='1", "%2e%2e/%2e%2e/etc", "a\r\nX-Injected: yes\r\n\r\n", "a?versionId=1#b", "</Key><Key>b</Key>",
    "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a", "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a",
];

/// Each tricky key with a value of its own.
fn tricky() -> State {
    TRICKY.iter().enumerate().map(|(i, path)| (key(path), value(i))).collect()
}

/// Demands that exactly these entries are there, of the tricky keys and of all others.
async fn expect_exactly(entries: &dyn EntryRead, due: &State) -> Outcome {
    for k in tricky().keys() {
        ensure_eq!(entries.find(k).await?, due.get(k).cloned(), "`find` of {}", shown(k));
        ensure_eq!(entries.mem(k).await?, due.contains_key(k), "`mem` of {}", shown(k));
    }
    expect_listed(entries, due).await
}

/// Demands that exactly these entries are listed.
async fn expect_listed(entries: &dyn EntryRead, due: &State) -> Outcome {
    let listed = entries.list_sorted(&Key::root()).await?;
    for pair in listed.windows(2) {
        ensure!(pair[0] != pair[1], "{} is listed twice", shown(&pair[0]));
    }
    for k in &listed {
        ensure!(due.contains_key(k), "{} is listed and was not set", shown(k));
    }
    for k in due.keys() {
        ensure!(listed.binary_search(k).is_ok(), "{} was set and is not listed", shown(k));
    }
    let all: Vec<_> = due.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    ensure_eq!(entries.entries_sorted(&Key::root()).await?, all, "the entries of the store");
    Ok(())
}

/// Keys of a length in bytes that are near to each other, or grow when they are escaped.
fn keys_of_length(len: usize) -> Vec<String> {
    let filled = |char: char| {
        let odd = len % char.len_utf8();
        format!("{}{}", "x".repeat(odd), String::from(char).repeat(len / char.len_utf8()))
    };
    let steps = format!("{}{}", "a/".repeat((len - 1) / 2), "b".repeat(len - (len - 1) / 2 * 2));
    let mut keys: Vec<String> = ['x', 'X', '%', '.', ' ', '\0', '\u{e9}', '\u{65e5}', '\u{1f984}'].map(filled).into();
    keys.extend([steps, format!("y{}", "x".repeat(len - 1)), format!("{}y", "x".repeat(len - 1))]);
    keys
}

async fn the_longest(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let len = context.max_key_len();
    let mut due = State::new();
    for path in [keys_of_length(len), keys_of_length(len - 1)].concat() {
        entries.set(&key(&path), value(due.len())).await?;
        due.insert(key(&path), value(due.len()));
    }
    for (k, stored) in &due {
        ensure_eq!(entries.find(k).await?, Some(stored.clone()), "`find` of {}", shown(k));
        ensure_eq!(entries.list_sorted(k).await?, std::slice::from_ref(k), "the list under {}", shown(k));
    }
    expect_listed(&*entries, &due).await
}

/// A wrapper that takes a part of each key says what is left of them; what [`Key`] itself takes needs no store to try.
async fn too_long(context: Context) -> Outcome {
    if context.max_key_len() == Key::MAX_LEN {
        return Err(Failure::unsupported("it takes every key that there is"));
    }
    let entries = context.open().await?.entries();
    for len in context.max_key_len() + 1..=Key::MAX_LEN {
        let k = key("x".repeat(len));
        let refusals = [
            expect_error!(entries.set(&k, value("1")).await, InvalidKey, "`set` of a key of {len} bytes"),
            expect_error!(
                entries.test_and_set(&k, None, Some(value("1"))).await,
                InvalidKey,
                "`test_and_set` of a key of {len} bytes"
            ),
        ];
        for refusal in refusals {
            ensure_eq!(refusal.effect(), Effect::NotApplied, "the effect of a refused write");
        }
    }
    expect_listed(&*entries, &State::new()).await
}

async fn entries_of_their_own(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let all = tricky();
    set_all(&*entries, all.clone()).await?;
    expect_exactly(&*entries, &all).await
}

/// A key that stands for another one is there already when its turn comes.
async fn created_by_test_and_set(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let mut all: Vec<_> = tricky().into_iter().collect();
    context.random().shuffle(&mut all);
    let creations = stream::iter(all.clone()).map(|(k, stored)| {
        let entries = &entries;
        async move {
            let verdict = insist(|| entries.test_and_set(&k, None, Some(stored.clone()))).await?;
            ensure!(verdict.is_applied(), "{} was not set before, and yet: {}", shown(&k), shown(&verdict));
            Ok(())
        }
    });
    creations.buffer_unordered(16).try_collect::<()>().await?;
    expect_exactly(&*entries, &all.into_iter().collect()).await
}

/// Some of the tricky keys, so that of two that are one to the store only one is touched.
fn some_of(all: &State, random: &mut fastrand::Rng) -> State {
    all.iter().filter(|_| random.bool()).map(|(key, value)| (key.clone(), value.clone())).collect()
}

async fn some_set(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let mut random = context.random();
    for _ in 0..context.rounds(2) {
        let some = some_of(&tricky(), &mut random);
        set_all(&*entries, some.clone()).await?;
        expect_exactly(&*entries, &some).await?;
        entries.clear().await?;
    }
    Ok(())
}

async fn some_removed(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let mut random = context.random();
    for _ in 0..context.rounds(1) {
        let mut left = tricky();
        set_all(&*entries, left.clone()).await?;
        for (k, stored) in some_of(&left, &mut random) {
            if random.bool() {
                entries.remove(&k).await?;
            } else {
                let verdict = entries.test_and_set(&k, Some(stored), None).await?;
                ensure!(verdict.is_applied(), "a removal of {}: {}", shown(&k), shown(&verdict));
            }
            left.remove(&k);
        }
        expect_exactly(&*entries, &left).await?;
    }
    Ok(())
}

async fn set_in_turn(entries: &dyn AtomicWrite, paths: &[&str]) -> Outcome {
    for path in paths {
        entries.set(&key(path), value(path)).await?;
    }
    Ok(())
}

/// What a store makes of a path that is an entry and a scope at once must not depend on which came first.
async fn above_and_below(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let paths = ["a", "a/b", "a/b/c", "a/c"];
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]].map(|order| order.map(|i| paths[i]));
    for order in orders {
        for removed in orders {
            set_in_turn(&*entries, &order).await?;
            let mut left: State = paths.iter().map(|path| (key(path), value(path))).collect();
            for path in removed {
                entries.remove(&key(path)).await?;
                left.remove(path);
                expect_listed(&*entries, &left).await?;
            }
        }
    }
    Ok(())
}

async fn reopened(context: Context) -> Outcome {
    let instance = context.open().await?;
    let all = tricky();
    set_all(&*instance.entries(), all.clone()).await?;
    instance.close().await?;
    drop(instance);
    expect_exactly(&*context.open().await?.entries(), &all).await
}

async fn empty_path_is_absent(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let root = Key::root();
    for paths in [&[][..], &["a"], &["b/c", "\0", " "]] {
        set_in_turn(&*entries, paths).await?;
        ensure!(!entries.mem(&root).await?, "`mem` of the empty path");
        ensure_eq!(entries.find(&root).await?, None, "`find` of the empty path");
    }
    Ok(())
}

async fn empty_path_is_refused(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (root, v) = (Key::root(), || Some(value("1")));
    let refusals = [
        expect_error!(entries.set(&root, value("1")).await, InvalidKey, "`set`"),
        expect_error!(entries.set(&root, value("")).await, InvalidKey, "`set` to an empty value"),
        expect_error!(entries.test_and_set(&root, None, v()).await, InvalidKey, "`test_and_set` from absent"),
        expect_error!(entries.test_and_set(&root, v(), None).await, InvalidKey, "`test_and_set` to absent"),
        expect_error!(entries.test_and_set(&root, v(), v()).await, InvalidKey, "`test_and_set` to the same value"),
        expect_error!(entries.test_and_set(&root, None, None).await, InvalidKey, "`test_and_set` of nothing"),
        expect_error!(entries.remove(&root).await, InvalidKey, "`remove`"),
        expect_error!(entries.watch_key(&root, Init::Current).await, InvalidKey, "`watch_key`"),
        expect_error!(entries.watch_key(&root, Init::Known(None)).await, InvalidKey, "`watch_key` of a known state"),
    ];
    for refusal in refusals {
        ensure_eq!(refusal.effect(), Effect::NotApplied, "the effect of `{refusal}`");
    }
    expect_listed(&*entries, &State::new()).await
}

async fn empty_path_as_a_scope(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    expect_listed(&*entries, &State::new()).await?;
    let due: State = ["a", "b/c", "\0", "\u{10ffff}"].into_iter().map(|path| (key(path), value(path))).collect();
    set_all(&*entries, due.clone()).await?;
    expect_listed(&*entries, &due).await
}

async fn lists_by_steps(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let all = tricky();
    set_all(&*entries, all.clone()).await?;
    let scopes = all.keys().flat_map(|key| key.ancestors().map(str::to_owned).collect::<Vec<_>>());
    for scope in scopes.chain(["absent", "a/absent", "a/b/c/d", "entrie"].map(str::to_owned)) {
        let scope = key(scope);
        let below: Vec<_> = all.iter().filter(|(key, _)| scope.covers(key)).collect();
        let keys: Vec<_> = below.iter().map(|(key, _)| (*key).clone()).collect();
        ensure_eq!(entries.list_sorted(&scope).await?, keys, "the list under {}", shown(&scope));
        let below: Vec<_> = below.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        ensure_eq!(entries.entries_sorted(&scope).await?, below, "the entries under {}", shown(&scope));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tricky_key_is_there_twice() {
        assert_eq!(tricky().len(), TRICKY.len());
    }
}
