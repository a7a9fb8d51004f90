//! What a snapshot is made of: one object per snapshot, one per directory, and the chunks of files.
//!
//! Objects are JSON without spaces, their fields in the order below and a directory's entries sorted by the bytes of
//! their names, so that equal directories are equal objects and are stored once. Objects name each other by content
//! hash, without a locator: they mean the same in every store, and survive a copy to another.
//!
//! ```text
//! snapshot   {"format":1,"tree":HASH,"mode":493,"parent":HASH|null,"saved":SECONDS,"entries":N,"files":N,"bytes":N}
//! directory  [{"name":NAME,"file":{"mode":420,"size":N,"chunks":[HASH,..]}},
//!             {"name":NAME,"directory":{"mode":493,"tree":HASH}},
//!             {"name":NAME,"symlink":{"target":PATH}}]
//! ```
//!
//! `mode` is the permission bits, 0o777; `entries` counts what all directories below hold. A NAME or PATH has its control characters, `%`, and everything outside of ASCII percent-encoded, since Unix allows
//! any bytes there.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use anyhow::{Context, Result, anyhow, ensure};
use irminsul::{Bytes, ContentHash, ContentKey, ContentRead};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::shown;

/// The format that this program writes, and the only one that it reads.
pub(crate) const FORMAT: u32 = 1;

/// How long a chunk is: all but the last of a file. Chunks are cut at fixed places: most files that people keep are
/// shorter than one, and are found again whole; a long file that grows at its end, or changes in place, shares the rest.
/// What is inserted into the middle of one shifts, and is stored again: content-defined cuts would be worth their
/// complexity for disk images and databases.
pub(crate) const CHUNK: usize = 1 << 20;

/// The most entries and full chunks that a snapshot has together: the plan of a restore, some hundred bytes for each,
/// is kept in memory, and a stranger's directories, each in the next a thousand times, would fill any.
const PARTS: u64 = 1 << 24;

/// A snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) format: u32,
    pub(crate) tree: Hash,
    pub(crate) mode: u32,
    /// The snapshot that the name meant before: a history.
    pub(crate) parent: Option<Hash>,
    /// When it was saved, in seconds since 1970.
    pub(crate) saved: u64,
    /// Files, directories and links.
    pub(crate) entries: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What a directory holds.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub(crate) struct Entry {
    pub(crate) name: Escaped,
    #[serde(flatten)]
    pub(crate) node: Node,
}

impl TryFrom<Map<String, Value>> for Entry {
    type Error = serde_json::Error;

    /// What is left beside the name is the node: one field, so that no two programs see two things in one entry.
    fn try_from(mut fields: Map<String, Value>) -> serde_json::Result<Self> {
        let name = serde_json::from_value(fields.remove("name").unwrap_or_default())?;
        let node = serde_json::from_value(Value::Object(fields))?;
        Ok(Self { name, node })
    }
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
        /// The one field that every format has.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let bytes = find(content, key).await?;
        let Format { format } = parse(key, &bytes)?;
        ensure!(format == FORMAT, "{key} has the format {format}, this program reads {FORMAT}");
        parse(key, &bytes)
    }

    /// Refuses a snapshot that is too large to be restored.
    pub(crate) fn check_size(&self) -> Result<()> {
        let parts = self.entries.saturating_add(self.bytes / CHUNK as u64);
        ensure!(parts <= PARTS, "a snapshot of {parts} entries and chunks is refused: {PARTS} are the most");
        Ok(())
    }
}

/// The object of a snapshot, or of a directory's sorted entries.
pub(crate) fn to_bytes(object: &impl Serialize) -> Result<Bytes> {
    Ok(serde_json::to_vec(object)?.into())
}

/// Reads a directory back. Each name is one step, and no two are equal: what is written under one stays in the
/// directory, and goes through no link of the same name.
pub(crate) async fn read_tree(content: &dyn ContentRead, tree: Hash) -> Result<Vec<Entry>> {
    let key = tree.0.into();
    let entries: Vec<Entry> = parse(&key, &find(content, &key).await?)?;
    let mut names = BTreeSet::new();
    for Entry { name: Escaped(name), .. } in &entries {
        let (bytes, shown) = (name.as_bytes(), shown(name));
        let is_step = !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(|byte| b"/\0".contains(byte));
        ensure!(is_step, "the directory {} holds `{shown}`, which leads out of it: refused", tree.0);
        ensure!(names.insert(name), "the directory {} holds `{shown}` twice: refused", tree.0);
    }
    Ok(entries)
}

async fn find(content: &dyn ContentRead, key: &ContentKey) -> Result<Bytes> {
    content.find(key).await?.with_context(|| format!("the store does not hold {key}"))
}

/// Parses an object. What it holds instead may be anybody's secret: an error tells the place alone.
fn parse<T: DeserializeOwned>(key: &ContentKey, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow!("{key} is not what a snapshot is made of, at line {line}, column {column}: refused")
    })
}
