//! The disks that forget and fail on command, mounted while the suite runs.

use std::path::Path;

use faulty_fs::{FaultyFs, Mounted};
use tempfile::TempDir;

/// A mounted `faulty-fs`; unmounted when dropped.
pub(crate) struct Disks {
    mounted: Mounted,
    // Behind the mount, which lies on it.
    _mount_point: TempDir,
}

impl Disks {
    /// Mounts one, or says what this system lacks for it.
    pub(crate) fn mount() -> Result<Self, String> {
        let mount_point = TempDir::new().map_err(|error| format!("there is no temporary directory: {error}"))?;
        let mounted = FaultyFs::mount(mount_point.path()).map_err(|error| error.to_string())?;
        Ok(Self { mounted, _mount_point: mount_point })
    }

    pub(crate) fn path(&self) -> &Path {
        self.mounted.path()
    }
}
