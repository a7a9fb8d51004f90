//! The file system that forgets, for the cases of power loss and failing disks.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use faulty_fs::{FaultyFs, Mounted};

/// One that is mounted, by this run or by somebody else.
pub(crate) struct Disks {
    mount_point: PathBuf,
    ours: Option<Mounted>,
}

impl Disks {
    /// That which the environment names, or one of our own; without FUSE none, which is told.
    pub(crate) fn find() -> Result<Option<Self>> {
        if let Some(named) = env::var_os("IRMINSUL_FAULTY_FS").filter(|named| !named.is_empty()) {
            return Ok(Some(Self { mount_point: named.into(), ours: None }));
        }
        match FaultyFs::mount_temporary() {
            Ok(mounted) => Ok(Some(Self { mount_point: mounted.path().to_owned(), ours: Some(mounted) })),
            Err(error) if error.is_unavailable() => {
                println!("no faulty-fs: the cases of power loss and failing disks are untested: {error}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where it is mounted. Where it has gone, all that needs it would be untested: that is refused.
    pub(crate) fn mount_point(&self) -> Result<&Path> {
        let shown = self.mount_point.display();
        ensure!(self.answers(), "no faulty-fs answers at {shown} (any more): start anew");
        Ok(&self.mount_point)
    }

    fn answers(&self) -> bool {
        self.mount_point.join(".control").exists()
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        // A server that was killed leaves its mount, and with it the directory.
        if self.ours.is_some() && !self.answers() {
            for (program, option) in [("umount", "--lazy"), ("fusermount3", "-uz")] {
                let unmounted = Command::new(program).arg(option).arg(&self.mount_point).status();
                if unmounted.is_ok_and(|status| status.success()) {
                    return;
                }
            }
        }
    }
}
