//! Of which code the results are: what is run, and not what is said of it.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};

/// The state of the checkout.
pub(crate) struct Code {
    pub(crate) commit: String,
    /// Of all files but those that change no result.
    pub(crate) digest: String,
}

impl Code {
    pub(crate) fn of_head() -> Result<Self> {
        let commit = String::from_utf8(git(&["rev-parse", "--short=12", "HEAD"])?)?.trim().to_owned();
        Ok(Self { commit, digest: digest(&git(&["ls-tree", "-r", "-z", "--full-tree", "HEAD"])?)? })
    }
}

/// Refuses a tree that is not its commit's.
pub(crate) fn refuse_changes() -> Result<()> {
    let changes = git(&["status", "--porcelain"])?;
    ensure!(changes.is_empty(), "the tree differs from its commit, by which the results are kept: commit first");
    Ok(())
}

fn git(arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("git").args(arguments).output().context("git cannot be run: install it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), said.trim());
    Ok(output.stdout)
}

/// Of a listing of `git ls-tree -z`, in which each entry ends with a tab and its path.
fn digest(tree: &[u8]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for entry in str::from_utf8(tree).context("a file's name is not UTF-8")?.split_terminator('\0') {
        let (_, path) = entry.split_once('\t').context("git listed what is no file")?;
        if matters(Path::new(path)) {
            hasher.update(entry.as_bytes()).update(b"\0");
        }
    }
    Ok(hasher.finalize().to_hex()[..12].to_owned())
}

fn matters(path: &Path) -> bool {
    let is_a_document =
        path.extension().is_some_and(|extension| ["md", "html", "svg"].iter().any(|document| extension == *document));
    !is_a_document && !["docs", "benches", ".ci"].iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_what_is_run() {
        let sources = "100644 blob 1a\tsrc/lib.rs\0";
        let of = |tree: &str| digest(tree.as_bytes()).unwrap();
        for document in ["README.md", "docs/state.rs", "a/b.svg", "a/page.html", "benches/src/lib.rs", ".ci/run"] {
            assert_eq!(of(&format!("100644 blob 2b\t{document}\0{sources}")), of(sources), "{document}");
        }
        assert_ne!(of("100644 blob 1b\tsrc/lib.rs\0"), of(sources));
        assert_ne!(of("100644 blob 1a\tsrc/main.rs\0"), of(sources));
        assert_ne!(of(&format!("100644 blob 2b\tsrc/benches/a.rs\0{sources}")), of(sources));
        assert!(digest(b"nothing").is_err());
    }
}
