//! The kernel's side: each request of the FUSE protocol becomes one call of the tree, and its answer a reply.

use std::{
    collections::HashMap,
    ffi::OsStr,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig, LockOwner, Notifier,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::{
    fs::{FallocateFlags, FileType, OFlags},
    io::Errno,
};

use crate::{
    disk::{Attributes, Kind, NAME_MAX, Rename},
    file::File,
    tree::{CONTROL, Changes, Entry, Source, TOP, Tree, lock},
};

/// How long the kernel may trust a name or an attribute without asking: never, since a loss changes them all.
const TRUST: Duration = Duration::ZERO;

/// Numbers of inodes are never used again.
const GENERATION: Generation = Generation(0);

/// The unit of space, in bytes.
const BLOCK: u32 = 4096;

/// The longest write that comes as one request, in bytes.
const MAX_WRITE: u32 = 1 << 20;

/// The mounted file system, shared by the threads that answer the kernel and those that execute commands.
#[derive(Clone, Debug)]
pub(crate) struct Session(Arc<State>);

#[derive(Debug)]
struct State {
    tree: Tree,
    handles: Handles,
    kernel: OnceLock<Notifier>,
}

/// What is open and is more than its inode.
#[derive(Debug, Default)]
struct Handles {
    last: AtomicU64,
    /// What was said through each handle of the control file.
    dialogues: Mutex<HashMap<FileHandle, Dialogue>>,
    /// What each handle of a directory lists: its entries as of the last rewind.
    listings: Mutex<HashMap<FileHandle, Vec<Entry>>>,
}

impl Handles {
    fn next(&self) -> FileHandle {
        FileHandle(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The lines that a handle has finished with these bytes. A program may write a line in pieces.
    fn finished_lines(&self, handle: FileHandle, bytes: &[u8]) -> Vec<u8> {
        let mut dialogues = lock(&self.dialogues);
        let unfinished = &mut dialogues.entry(handle).or_default().unfinished;
        unfinished.extend_from_slice(bytes);
        let end = unfinished.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        unfinished.drain(..end).collect()
    }

    fn answer(&self, handle: FileHandle, answer: String) {
        lock(&self.dialogues).entry(handle).or_default().answer = answer.into_bytes();
    }

    /// The next bytes of an answer. Each is read once, wherever the reader's position is.
    fn read_answer(&self, handle: FileHandle, len: u32) -> Vec<u8> {
        let mut dialogues = lock(&self.dialogues);
        let left = &mut dialogues.entry(handle).or_default().answer;
        let len = left.len().min(len as usize);
        left.drain(..len).collect()
    }
}

/// One handle of the control file.
#[derive(Debug, Default)]
struct Dialogue {
    /// The beginning of a line.
    unfinished: Vec<u8>,
    /// What was not read yet of the answer.
    answer: Vec<u8>,
}

impl Session {
    pub(crate) fn new() -> Self {
        let top = Attributes::new(0o755, rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        Self(Arc::new(State { tree: Tree::new(top), handles: Handles::default(), kernel: OnceLock::new() }))
    }

    /// Gives it the way to tell the kernel what it must forget. Only the first is taken.
    pub(crate) fn connect(&self, kernel: Notifier) {
        self.0.kernel.get_or_init(|| kernel);
    }

    fn tree(&self) -> &Tree {
        &self.0.tree
    }

    /// Executes the lines that were written to the control file, up to the first that fails. The answer has a line for
    /// each.
    fn command(&self, lines: &[u8]) -> (String, bool) {
        let mut answers = String::new();
        for line in String::from_utf8_lossy(lines).lines().filter(|line| !line.trim().is_empty()) {
            let answer = self.execute(line);
            let failed = answer.is_err();
            answers.push_str(&answer.unwrap_or_else(|error| format!("error: {error}")));
            answers.push('\n');
            if failed {
                return (answers, false);
            }
        }
        (answers, true)
    }

    fn execute(&self, line: &str) -> std::result::Result<String, String> {
        let done = self.tree().execute(line.parse()?)?;
        let kernel = self.0.kernel.get().ok_or("the mount is not ready")?;
        for ino in done.outdated {
            kernel
                .inval_inode(INodeNo(ino), 0, 0)
                .map_err(|error| format!("the kernel did not drop its cache: {error}"))?;
        }
        Ok(done.answer)
    }
}

/// Replies with what a result gives, or with its error.
macro_rules! reply {
    ($reply:ident, $result:expr, |$value:pat_param| $ok:expr) => {
        match $result {
            Ok($value) => $ok,
            Err(error) => $reply.error(errno(error)),
        }
    };
}

impl Filesystem for Session {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // A kernel that takes less says how much, and takes that.
        if let Err(most) = config.set_max_write(MAX_WRITE) {
            let _ = config.set_max_write(most);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        reply!(reply, self.tree().lookup(parent.0, name), |entry| reply.entry(&TRUST, &entry, GENERATION));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply!(reply, self.tree().attributes(ino.0), |attributes| reply.attr(&TRUST, &attributes));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _: Option<FileHandle>,
        _created: Option<SystemTime>,
        _checked: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = Changes {
            mode: mode.map(permissions),
            uid,
            gid,
            size,
            accessed: accessed.map(time),
            modified: modified.map(time),
        };
        reply!(reply, self.tree().change(ino.0, &changes), |attributes| reply.attr(&TRUST, &attributes));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        reply!(reply, self.tree().read_link(ino.0), |target| reply.data(target.as_encoded_bytes()));
    }

    fn mknod(&self, of: &Request, dir: INodeNo, name: &OsStr, mode: u32, umask: u32, _: u32, reply: ReplyEntry) {
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return reply.error(errno(Errno::PERM));
        }
        let created = self.tree().create(dir.0, name, owned(of, mode & !umask), Kind::File(File::default()));
        reply!(reply, created, |entry| reply.entry(&TRUST, &entry, GENERATION));
    }

    fn mkdir(&self, of: &Request, dir: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let attributes = owned(of, mode & !umask);
        let created = match dir.0 {
            TOP => self.tree().add_disk(name, attributes),
            dir => self.tree().create(dir, name, attributes, Kind::Directory),
        };
        reply!(reply, created, |entry| reply.entry(&TRUST, &entry, GENERATION));
    }

    fn symlink(&self, of: &Request, dir: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let kind = Kind::Symlink(target.as_os_str().to_owned());
        let created = self.tree().create(dir.0, name, owned(of, 0o777), kind);
        reply!(reply, created, |entry| reply.entry(&TRUST, &entry, GENERATION));
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply!(reply, self.tree().unlink(dir.0, name), |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply!(reply, self.tree().rmdir(dir.0, name), |()| reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        new_dir: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let how = match flags {
            RenameFlags::RENAME_NOREPLACE => Rename::KeepExisting,
            RenameFlags::RENAME_EXCHANGE => Rename::Exchange,
            flags if flags.is_empty() => Rename::Replace,
            _ => return reply.error(errno(Errno::INVAL)),
        };
        reply!(reply, self.tree().rename((dir.0, name), (new_dir.0, new_name), how), |()| reply.ok());
    }

    fn link(&self, _: &Request, ino: INodeNo, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        reply!(reply, self.tree().link(ino.0, dir.0, name), |entry| reply.entry(&TRUST, &entry, GENERATION));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if ino.0 == CONTROL {
            // Each read and write has to come here, and none has a position.
            let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NONSEEKABLE;
            return reply.opened(self.0.handles.next(), flags);
        }
        reply!(reply, self.tree().open(ino.0), |()| reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE));
    }

    fn create(&self, of: &Request, dir: INodeNo, name: &OsStr, mode: u32, umask: u32, _flags: i32, reply: ReplyCreate) {
        let created = self.tree().create_open(dir.0, name, owned(of, mode & !umask));
        reply!(reply, created, |entry| {
            reply.created(&TRUST, &entry, GENERATION, FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
        });
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if ino.0 == CONTROL {
            return reply.data(&self.0.handles.read_answer(handle, len));
        }
        reply!(reply, self.tree().read(ino.0, offset, len.into()), |bytes| reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if ino.0 == CONTROL {
            return self.command_apart(handle, bytes, reply);
        }
        let source = if write_flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            Source::Mapping
        } else {
            Source::Call { synchronous: is_synchronous(flags) }
        };
        reply!(reply, self.tree().write(ino.0, offset, bytes, source), |taken| reply.written(request_len(taken)));
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        if ino.0 == CONTROL {
            return reply.ok();
        }
        reply!(reply, self.tree().sync_file(ino.0), |()| reply.ok());
    }

    fn fallocate(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, len: u64, mode: i32, reply: ReplyEmpty) {
        let keep_size = match FallocateFlags::from_bits_retain(mode.cast_unsigned()) {
            flags if flags.is_empty() => false,
            FallocateFlags::KEEP_SIZE => true,
            _ => return reply.error(errno(Errno::OPNOTSUPP)),
        };
        reply!(reply, self.tree().allocate(ino.0, offset.saturating_add(len), keep_size), |()| reply.ok());
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if ino.0 == CONTROL {
            lock(&self.0.handles.dialogues).remove(&handle);
        } else {
            self.tree().release(ino.0);
        }
        reply.ok();
    }

    fn opendir(&self, _: &Request, _ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(self.0.handles.next(), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if offset == 0 {
            match self.tree().list(ino.0) {
                Ok(entries) => lock(&self.0.handles.listings).insert(handle, entries),
                Err(error) => return reply.error(errno(error)),
            };
        }
        let listings = lock(&self.0.handles.listings);
        let entries = listings.get(&handle).into_iter().flatten();
        for (entry, next) in entries.zip(1..).skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(INodeNo(entry.ino), next, entry.kind, &entry.name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.0.handles.listings).remove(&handle);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        reply!(reply, self.tree().sync_directory(ino.0), |()| reply.ok());
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        reply!(reply, self.tree().space(ino.0), |space| {
            let free = space.free;
            reply.statfs(space.total, free, free, space.total, free, BLOCK, NAME_MAX, BLOCK);
        });
    }
}

impl Session {
    /// Executes commands in a thread of their own: to drop its cache the kernel may have to write pages back, and the
    /// threads that take them must be free.
    fn command_apart(&self, handle: FileHandle, bytes: &[u8], reply: ReplyWrite) {
        let taken = request_len(bytes.len());
        let lines = self.0.handles.finished_lines(handle, bytes);
        if lines.is_empty() {
            return reply.written(taken);
        }
        let session = self.clone();
        let spawned = thread::Builder::new().name("faulty-fs-command".to_owned()).spawn(move || {
            let (answer, succeeded) = session.command(&lines);
            session.0.handles.answer(handle, answer);
            if succeeded { reply.written(taken) } else { reply.error(errno(Errno::INVAL)) }
        });
        // The reply went with the thread that was not made, and told the caller EIO.
        drop(spawned);
    }
}

/// The attributes of what a caller creates.
fn owned(by: &Request, mode: u32) -> Attributes {
    Attributes::new(permissions(mode), by.uid(), by.gid())
}

fn permissions(mode: u32) -> u16 {
    // The other bits of a mode are its type.
    (mode & 0o7777) as u16
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

/// Whether each write has to be durable before it returns.
fn is_synchronous(flags: OpenFlags) -> bool {
    OFlags::from_bits_retain(flags.0.cast_unsigned()).intersects(OFlags::SYNC | OFlags::DSYNC)
}

/// The length of a part of a request, which is never longer than [`MAX_WRITE`].
fn request_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn errno(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error.raw_os_error())
}
