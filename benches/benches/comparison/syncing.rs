//! Counts the syncs of each subject on a file system of our own, which is told every one of them.

use benches::{CountsSyncs, DynSubject, Plan, Progress, Syncs};
use faulty_fs::{Control, FaultyFs, Mounted, Op};
use store_api::{Error, ErrorKind, Result};

use crate::missing;

/// The file system that counts, where FUSE is to be had.
pub(crate) struct Counting(Option<Mounted>);

impl Counting {
    pub(crate) fn mount() -> Result<Self> {
        match FaultyFs::mount_temporary() {
            Ok(mounted) => Ok(Self(Some(mounted))),
            Err(error) => missing(&format!("syncs are not counted: {error}")).map(|()| Self(None)),
        }
    }

    /// The syncs of a subject; `None` where there are none to count, or nothing to count them.
    pub(crate) async fn count(
        &self,
        subject: &dyn DynSubject,
        plan: &Plan,
        progress: &Progress,
    ) -> Result<Option<Syncs>> {
        let facts = subject.facts();
        let counted = match &self.0 {
            Some(mounted) if facts.durability.survives_kill() => {
                let disk: String = facts.name.chars().filter(char::is_ascii_alphanumeric).collect();
                let place = mounted.path().join(&disk);
                std::fs::create_dir(&place).map_err(|source| super::refused("the file system that counts", source))?;
                let disk = Disk { control: mounted.control(), name: disk };
                Some(subject.count_syncs(&place, plan, &disk).await?)
            }
            _ => None,
        };
        progress.done();
        Ok(counted)
    }
}

/// One directory at the top of that file system.
struct Disk {
    control: Control,
    name: String,
}

impl CountsSyncs for Disk {
    fn syncs(&self) -> Result<u64> {
        let stats = self.control.stats(&self.name).map_err(|error| {
            Error::new(ErrorKind::Other, "the file system that counts does not answer").with_source(error)
        })?;
        Ok(stats.operations.get(&Op::Fsync).copied().unwrap_or_default())
    }
}
