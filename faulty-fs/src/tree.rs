//! What is mounted: a top directory of disks, each with its faults, behind the numbers that the kernel knows inodes by.
//! It answers each operation with a value or an error number; how the kernel is told is left to the session.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use fuser::{FileAttr, FileType, INodeNo};
use rustix::io::Errno;

use crate::{
    content::PAGE,
    disk::{Attributes, Disk, Kind, NAME_MAX, Node, Rename},
    faults::{Effect, Faults, Op, Pages},
    file::File,
    names::Ino,
    protocol::{Action, Command, Stats},
};

pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// The top directory.
pub(crate) const TOP: Ino = INodeNo::ROOT.0;

/// The control file in it.
pub(crate) const CONTROL: Ino = 2;

/// Its name.
pub(crate) const CONTROL_NAME: &str = ".control";

/// The bits of an inode's number below those of its disk.
const DISK_SHIFT: u32 = 40;

/// What `statfs` says of a disk without a capacity, in pages: a tebibyte.
const BOUNDLESS: u64 = 1 << 28;

/// The disks of a mount.
#[derive(Debug)]
pub(crate) struct Tree {
    top: Attributes,
    disks: Mutex<Disks>,
}

#[derive(Debug, Default)]
struct Disks {
    names: BTreeMap<OsString, u64>,
    slots: HashMap<u64, Arc<Mutex<Slot>>>,
    last: u64,
}

/// A disk and what befalls it.
#[derive(Debug)]
struct Slot {
    disk: Disk,
    faults: Faults,
    losses: u64,
}

/// An entry of a directory, as a reader of it is told.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) ino: Ino,
    pub(crate) kind: FileType,
    pub(crate) name: OsString,
}

/// The attributes that a caller asks to change.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) mode: Option<u16>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) accessed: Option<SystemTime>,
    pub(crate) modified: Option<SystemTime>,
}

/// Where the bytes of a write come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A system call.
    Call { synchronous: bool },
    /// A page of a shared mapping that the kernel writes back.
    Mapping,
}

/// Space, in pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    pub(crate) total: u64,
    pub(crate) free: u64,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) answer: String,
    /// The inodes whose pages the kernel has to drop.
    pub(crate) outdated: Vec<Ino>,
}

impl Tree {
    pub(crate) fn new(top: Attributes) -> Self {
        Self { top, disks: Mutex::default() }
    }

    pub(crate) fn lookup(&self, dir: Ino, name: &OsStr) -> Result<FileAttr> {
        if dir == TOP {
            return self.attributes(self.lookup_top(name)?);
        }
        self.on(dir, |slot| slot.described(slot.disk.lookup(dir, name)?))
    }

    fn lookup_top(&self, name: &OsStr) -> Result<Ino> {
        if name == CONTROL_NAME {
            return Ok(CONTROL);
        }
        let slot = {
            let disks = lock(&self.disks);
            let id = disks.names.get(name).ok_or(Errno::NOENT)?;
            Arc::clone(&disks.slots[id])
        };
        let root = lock(&slot).disk.root();
        Ok(root)
    }

    pub(crate) fn attributes(&self, ino: Ino) -> Result<FileAttr> {
        match ino {
            TOP => Ok(describe(TOP, FileType::Directory, &self.top)),
            CONTROL => {
                let attributes = Attributes { mode: 0o600, ..self.top.clone() };
                Ok(describe(CONTROL, FileType::RegularFile, &attributes))
            }
            _ => self.on(ino, |slot| slot.described(ino)),
        }
    }

    pub(crate) fn change(&self, ino: Ino, changes: &Changes) -> Result<FileAttr> {
        match ino {
            TOP => return Err(Errno::PERM),
            // `echo COMMAND > .control` cuts the file first.
            CONTROL => return self.attributes(CONTROL),
            _ => {}
        }
        self.on(ino, |slot| {
            if let Some(size) = changes.size {
                slot.check(Op::Truncate, ino)?;
                slot.disk.resize(ino, size)?;
            }
            changes.apply(slot.disk.attributes(ino)?);
            slot.described(ino)
        })
    }

    pub(crate) fn read_link(&self, ino: Ino) -> Result<OsString> {
        self.on(ino, |slot| match &slot.disk.node(ino)?.kind {
            Kind::Symlink(target) => Ok(target.clone()),
            Kind::File(_) | Kind::Directory => Err(Errno::INVAL),
        })
    }

    pub(crate) fn create(&self, dir: Ino, name: &OsStr, attributes: Attributes, kind: Kind) -> Result<FileAttr> {
        self.create_then(dir, name, attributes, kind, |_, _| Ok(()))
    }

    /// Creates a file and opens it.
    pub(crate) fn create_open(&self, dir: Ino, name: &OsStr, attributes: Attributes) -> Result<FileAttr> {
        self.create_then(dir, name, attributes, Kind::File(File::default()), Disk::open)
    }

    fn create_then(
        &self,
        dir: Ino,
        name: &OsStr,
        attributes: Attributes,
        kind: Kind,
        then: impl FnOnce(&mut Disk, Ino) -> Result<()>,
    ) -> Result<FileAttr> {
        if dir == TOP {
            return Err(Errno::PERM);
        }
        let op = if matches!(kind, Kind::Directory) { Op::Mkdir } else { Op::Create };
        self.on(dir, |slot| {
            slot.check_at(op, dir, name)?;
            let ino = slot.disk.create(dir, name, attributes, kind)?;
            then(&mut slot.disk, ino)?;
            slot.described(ino)
        })
    }

    /// A directory at the top is a disk.
    pub(crate) fn add_disk(&self, name: &OsStr, attributes: Attributes) -> Result<FileAttr> {
        let can_be_commanded = name.to_str().is_some_and(|name| !name.contains(char::is_whitespace));
        if !can_be_commanded {
            return Err(Errno::INVAL);
        }
        if name.len() > NAME_MAX as usize {
            return Err(Errno::NAMETOOLONG);
        }
        let mut disks = lock(&self.disks);
        if name == CONTROL_NAME || disks.names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        disks.last += 1;
        let id = disks.last;
        let disk = Disk::new(id << DISK_SHIFT, attributes);
        let slot = Slot { disk, faults: Faults::default(), losses: 0 };
        let described = slot.described(slot.disk.root())?;
        disks.names.insert(name.to_owned(), id);
        disks.slots.insert(id, Arc::new(Mutex::new(slot)));
        Ok(described)
    }

    fn remove_disk(&self, name: &OsStr) -> Result<()> {
        if name == CONTROL_NAME {
            return Err(Errno::NOTDIR);
        }
        let mut disks = lock(&self.disks);
        let id = *disks.names.get(name).ok_or(Errno::NOENT)?;
        if !lock(&disks.slots[&id]).disk.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        disks.names.remove(name);
        disks.slots.remove(&id);
        Ok(())
    }

    pub(crate) fn unlink(&self, dir: Ino, name: &OsStr) -> Result<()> {
        if dir == TOP {
            return Err(Errno::PERM);
        }
        self.on(dir, |slot| {
            slot.check_at(Op::Unlink, dir, name)?;
            slot.disk.unlink(dir, name)
        })
    }

    pub(crate) fn rmdir(&self, dir: Ino, name: &OsStr) -> Result<()> {
        if dir == TOP {
            return self.remove_disk(name);
        }
        self.on(dir, |slot| {
            slot.check_at(Op::Rmdir, dir, name)?;
            slot.disk.rmdir(dir, name)
        })
    }

    pub(crate) fn rename(&self, from: (Ino, &OsStr), to: (Ino, &OsStr), how: Rename) -> Result<()> {
        same_disk(from.0, to.0)?;
        self.on(from.0, |slot| {
            slot.disk.entries(to.0)?;
            let either = |disk: &Disk| [paths_of(disk, from.0, from.1), paths_of(disk, to.0, to.1)].concat();
            failed(slot.strike(Op::Rename, either))?;
            slot.disk.rename(from, to, how)
        })
    }

    pub(crate) fn link(&self, ino: Ino, dir: Ino, name: &OsStr) -> Result<FileAttr> {
        same_disk(ino, dir)?;
        self.on(dir, |slot| {
            slot.check_at(Op::Link, dir, name)?;
            slot.disk.link(ino, dir, name)?;
            slot.described(ino)
        })
    }

    pub(crate) fn open(&self, ino: Ino) -> Result<()> {
        self.on(ino, |slot| {
            slot.check(Op::Open, ino)?;
            slot.disk.open(ino)
        })
    }

    pub(crate) fn release(&self, ino: Ino) {
        // The disk of a handle may be gone.
        let _ = self.on(ino, |slot| {
            slot.disk.release(ino);
            Ok(())
        });
    }

    pub(crate) fn read(&self, ino: Ino, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.on(ino, |slot| {
            slot.check(Op::Read, ino)?;
            slot.disk.read(ino, offset, len)
        })
    }

    /// Writes, and says how many of the bytes.
    pub(crate) fn write(&self, ino: Ino, offset: u64, bytes: &[u8], source: Source) -> Result<usize> {
        let Source::Call { synchronous } = source else {
            self.on(ino, |slot| slot.disk.write(ino, offset, bytes))?;
            return Ok(bytes.len());
        };
        let taken = self.on(ino, |slot| {
            let struck = slot.strike_inode(Op::Write, ino)?;
            failed(struck)?;
            let taken = if struck.is_some() { &bytes[..bytes.len().div_ceil(2)] } else { bytes };
            slot.disk.write(ino, offset, taken)?;
            Ok(taken.len())
        })?;
        if synchronous {
            self.sync(Op::Fsync, ino)?;
        }
        Ok(taken)
    }

    /// Makes room for a file, which takes no space before it is written.
    pub(crate) fn allocate(&self, ino: Ino, size: u64, keep_size: bool) -> Result<()> {
        self.on(ino, |slot| {
            slot.check(Op::Allocate, ino)?;
            let grows = !keep_size && size > slot.disk.node(ino)?.size();
            if grows { slot.disk.resize(ino, size) } else { Ok(()) }
        })
    }

    pub(crate) fn sync_file(&self, ino: Ino) -> Result<()> {
        self.sync(Op::Fsync, ino)
    }

    pub(crate) fn sync_directory(&self, dir: Ino) -> Result<()> {
        if dir == TOP {
            return Ok(());
        }
        self.sync(Op::SyncDir, dir)
    }

    /// Syncs a file or a directory; who else works on the disk does not wait for a sync that is late.
    fn sync(&self, op: Op, ino: Ino) -> Result<()> {
        let struck = self.on(ino, |slot| slot.strike_inode(op, ino))?;
        if let Some(effect) = struck {
            thread::sleep(effect.late());
        }
        self.on(ino, |slot| slot.sync(op, ino, struck))
    }

    /// What a directory holds at one instant.
    pub(crate) fn list(&self, dir: Ino) -> Result<Vec<Entry>> {
        let own = |name: &str| Entry { ino: dir, kind: FileType::Directory, name: name.into() };
        let mut entries = vec![own("."), own("..")];
        if dir == TOP {
            entries.extend(self.list_top());
            return Ok(entries);
        }
        self.on(dir, |slot| {
            slot.check(Op::List, dir)?;
            for (name, ino) in slot.disk.entries(dir)? {
                entries.push(Entry { ino: *ino, kind: kind_of(slot.disk.node(*ino)?), name: name.clone() });
            }
            Ok(entries)
        })
    }

    fn list_top(&self) -> Vec<Entry> {
        let disks = lock(&self.disks);
        let control = Entry { ino: CONTROL, kind: FileType::RegularFile, name: CONTROL_NAME.into() };
        let disks = disks.names.iter().map(|(name, id)| {
            let ino = lock(&disks.slots[id]).disk.root();
            Entry { ino, kind: FileType::Directory, name: name.clone() }
        });
        std::iter::once(control).chain(disks).collect()
    }

    pub(crate) fn space(&self, ino: Ino) -> Result<Space> {
        if ino == TOP || ino == CONTROL {
            return Ok(Space { total: BOUNDLESS, free: BOUNDLESS });
        }
        self.on(ino, |slot| {
            let total = slot.disk.capacity().unwrap_or(BOUNDLESS);
            Ok(Space { total, free: total.saturating_sub(slot.disk.used()) })
        })
    }

    /// Executes a command, or says why not.
    pub(crate) fn execute(&self, command: Command) -> std::result::Result<Done, String> {
        let slot = {
            let disks = lock(&self.disks);
            let id = disks.names.get(OsStr::new(&command.disk));
            let id = id.ok_or("there is no such disk; make a directory at the top of the mount")?;
            Arc::clone(&disks.slots[id])
        };
        lock(&slot).execute(command.action)
    }

    /// Works on the disk of an inode.
    fn on<T>(&self, ino: Ino, work: impl FnOnce(&mut Slot) -> Result<T>) -> Result<T> {
        let slot = lock(&self.disks).slots.get(&(ino >> DISK_SHIFT)).cloned();
        let slot = slot.ok_or(Errno::STALE)?;
        work(&mut lock(&slot))
    }
}

impl Slot {
    fn described(&self, ino: Ino) -> Result<FileAttr> {
        let node = self.disk.node(ino)?;
        Ok(FileAttr {
            size: node.size(),
            blocks: (node.pages() - 1) * (PAGE / 512),
            nlink: node.links,
            ..describe(ino, kind_of(node), &node.attributes)
        })
    }

    fn strike(&mut self, op: Op, paths: impl FnOnce(&Disk) -> Vec<String>) -> Option<Effect> {
        self.faults.strike(op, || paths(&self.disk))
    }

    /// What befalls an operation on an inode, which must be there.
    fn strike_inode(&mut self, op: Op, ino: Ino) -> Result<Option<Effect>> {
        self.disk.node(ino)?;
        Ok(self.strike(op, |disk| disk.paths(ino)))
    }

    fn check(&mut self, op: Op, ino: Ino) -> Result<()> {
        failed(self.strike_inode(op, ino)?)
    }

    fn check_at(&mut self, op: Op, dir: Ino, name: &OsStr) -> Result<()> {
        self.disk.entries(dir)?;
        failed(self.strike(op, |disk| paths_of(disk, dir, name)))
    }

    fn sync(&mut self, op: Op, ino: Ino, struck: Option<Effect>) -> Result<()> {
        if op == Op::Fsync && matches!(struck, Some(Effect::Fails { pages: Pages::Lost, .. })) {
            self.disk.give_up(ino)?;
        }
        failed(struck)?;
        self.disk.sync(ino)
    }

    fn execute(&mut self, action: Action) -> std::result::Result<Done, String> {
        let mut outdated = Vec::new();
        match action {
            Action::Lose(loss) => {
                outdated.extend(self.disk.inodes());
                self.disk.lose(&loss);
                self.losses += 1;
            }
            Action::Inject(fault) => {
                if fault.op == Op::Read {
                    outdated.extend(self.disk.inodes());
                }
                self.faults.add(fault);
            }
            Action::Full(bytes) => self.disk.set_capacity(bytes),
            Action::Mode(mode) => self.disk.set_mode(mode),
            Action::Sync => self.disk.sync_all(),
            Action::Clear => {
                self.faults.clear();
                self.disk.set_capacity(None);
            }
            Action::Stats => return self.stats(),
        }
        Ok(Done { answer: "ok".to_owned(), outdated })
    }

    fn stats(&self) -> std::result::Result<Done, String> {
        let (unsynced_bytes, unsynced_names) = self.disk.unsynced();
        let stats = Stats {
            operations: self.faults.asked.clone(),
            faults: self.faults.struck,
            losses: self.losses,
            used: self.disk.used() * PAGE,
            unsynced_bytes,
            unsynced_names,
        };
        let answer = serde_json::to_string(&stats).map_err(|error| error.to_string())?;
        Ok(Done { answer, outdated: Vec::new() })
    }
}

impl Changes {
    fn apply(&self, to: &mut Attributes) {
        to.mode = self.mode.unwrap_or(to.mode);
        to.uid = self.uid.unwrap_or(to.uid);
        to.gid = self.gid.unwrap_or(to.gid);
        to.accessed = self.accessed.unwrap_or(to.accessed);
        to.modified = self.modified.unwrap_or(to.modified);
        to.changed = SystemTime::now();
    }
}

fn failed(struck: Option<Effect>) -> Result<()> {
    struck.and_then(Effect::error).map_or(Ok(()), Err)
}

fn same_disk(one: Ino, other: Ino) -> Result<()> {
    if one == TOP || other == TOP {
        return Err(Errno::PERM);
    }
    if one >> DISK_SHIFT == other >> DISK_SHIFT { Ok(()) } else { Err(Errno::XDEV) }
}

/// The paths of an entry, which need not be there.
fn paths_of(disk: &Disk, dir: Ino, name: &OsStr) -> Vec<String> {
    let name = name.to_string_lossy();
    disk.paths(dir)
        .into_iter()
        .map(|dir| if dir.is_empty() { name.to_string() } else { format!("{dir}/{name}") })
        .collect()
}

fn kind_of(node: &Node) -> FileType {
    match node.kind {
        Kind::File(_) => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink(_) => FileType::Symlink,
    }
}

fn describe(ino: Ino, kind: FileType, attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: attributes.accessed,
        mtime: attributes.modified,
        ctime: attributes.changed,
        crtime: UNIX_EPOCH,
        kind,
        perm: attributes.mode,
        nlink: 1,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// A panic under a lock leaves a disk that is still the best answer there is: the tests that use it fail by themselves.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
