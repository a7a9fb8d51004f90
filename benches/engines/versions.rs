//! The versions of what is measured, from the lock file that it was built with.

const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));

/// The version of a package.
pub(crate) fn version_of(package: &str) -> String {
    let name = format!("name = \"{package}\"\nversion = \"");
    let behind = LOCK.split_once(&name).map(|(_, rest)| rest);
    behind
        .and_then(|rest| rest.split('"').next())
        .map_or_else(|| "not known".into(), |version| format!("{package} {version}"))
}
