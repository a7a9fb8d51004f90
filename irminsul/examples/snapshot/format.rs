//! What a snapshot is made of: one object per snapshot, one per directory, and the chunks of files.
//!
//! Objects are JSON without spaces, their fields in the order below and a directory's entries sorted by the bytes of
//! their names, so that equal directories are equal objects and are stored once. Objects name each other by content
//! hash, without a locator: they mean the same in every store, and survive a copy to another.
//!
//! ```text
//! snapshot   {"format":1,"tree":HASH,"parent":HASH|null,"saved":SECONDS,"files":N,"bytes":N}
//! directory  [{"name":NAME,"file":{"mode":420,"size":N,"chunks":[HASH,..]}},
//!             {"name":NAME,"directory":{"mode":493,"tree":HASH}},
//!             {"name":NAME,"symlink":{"target":PATH}}]
//! ```
//!
//! A NAME or PATH has its control characters, `%`, and everything outside of ASCII percent-encoded, since Unix allows
//! any bytes there.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use anyhow::{Context, Result, bail, ensure};
use irminsul::{Bytes, ContentHash, ContentKey, ContentRead};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The format that this program writes, and the only one that it reads.
pub(crate) const FORMAT: u32 = 1;

/// How long a chunk is: all but the last of a file. Chunks are cut at fixed places: most files that people keep are
/// shorter than one, and are found again whole; a long file that grows at its end, or changes in place, shares the rest.
/// What is inserted into the middle of one shifts, and is stored again: content-defined cuts would be worth their
/// complexity for disk images and databases.
pub(crate) const CHUNK: usize = 1 << 20;

/// A snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) format: u32,
    pub(crate) tree: Hash,
    /// The snapshot that the name meant before: a history.
    pub(crate) parent: Option<Hash>,
    /// When it was saved, in seconds since 1970.
    pub(crate) saved: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What a directory holds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: Escaped,
    #[serde(flatten)]
    pub(crate) node: Node,
}

/// Something in a directory. What a link points to may be anything, since nothing is ever written through it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Node {
    File { mode: u32, size: u64, chunks: Vec<Hash> },
    Directory { mode: u32, tree: Hash },
    Symlink { target: Escaped },
}

/// A content hash, as text.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Hash(pub(crate) ContentHash);

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = irminsul::Error;

    fn try_from(text: String) -> irminsul::Result<Self> {
        text.parse().map(Self)
    }
}

/// Bytes of a path, as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub(crate) struct Escaped(pub(crate) OsString);

impl From<Escaped> for String {
    fn from(path: Escaped) -> Self {
        const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
        percent_encode(path.0.as_bytes(), ESCAPED).to_string()
    }
}

impl From<String> for Escaped {
    fn from(text: String) -> Self {
        Self(OsString::from_vec(percent_decode_str(&text).collect()))
    }
}

impl Snapshot {
    /// Reads a snapshot back.
    pub(crate) async fn read(content: &dyn ContentRead, key: &ContentKey) -> Result<Self> {
        let snapshot: Self = read(content, key).await?;
        ensure!(snapshot.format == FORMAT, "{key} has the format {}, this program reads {FORMAT}", snapshot.format);
        Ok(snapshot)
    }
}

/// The object of a snapshot, or of a directory's sorted entries.
pub(crate) fn to_bytes(object: &impl Serialize) -> Result<Bytes> {
    Ok(serde_json::to_vec(object)?.into())
}

/// Reads a directory back. Each name is one step, and no two are equal: what is written under one stays in the
/// directory, and goes through no link of the same name.
pub(crate) async fn read_tree(content: &dyn ContentRead, tree: Hash) -> Result<Vec<Entry>> {
    let entries: Vec<Entry> = read(content, &tree.0.into()).await?;
    let mut names = BTreeSet::new();
    for Entry { name: Escaped(name), .. } in &entries {
        let (bytes, shown) = (name.as_bytes(), name.display());
        let is_step = !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(|byte| b"/\0".contains(byte));
        ensure!(is_step, "the directory {} holds `{shown}`, which leads out of it: refused", tree.0);
        ensure!(names.insert(name), "the directory {} holds `{shown}` twice: refused", tree.0);
    }
    Ok(entries)
}

async fn read<T: DeserializeOwned>(content: &dyn ContentRead, key: &ContentKey) -> Result<T> {
    let Some(bytes) = content.find(key).await? else { bail!("the store does not hold {key}") };
    serde_json::from_slice(&bytes).with_context(|| format!("{key} is not what a snapshot is made of"))
}
