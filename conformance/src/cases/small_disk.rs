//! E1 and A10 on a disk of the system's own that is full: what one leaves out that only pretends to be, such as room that
//! was taken before, or memory that is mapped.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

use bytes::Bytes;
use rustix::process::geteuid;
use store_api::AtomicWrite;

use crate::{
    attempts::Attempts,
    case::{Case, case},
    cases::failing_disk::{write_until_full, write_with_room},
    child::{say, say_step},
    children,
    context::{Context, key},
    failure::{Failure, Outcome},
    files::empty,
    roles::{Cue, Role, role},
    work::Round,
};

pub(super) const CASES: &[Case] = &[case!(
    "error/E1-a-small-disk-that-is-full-is-no-space-until-there-is-room",
    [Entries, Embedded, Reopens],
    full_and_roomy
)];

pub(super) const ROLES: &[Role] = &[role!("small-disk", fill)];

/// The size of the disk, in MiB: an engine may keep some of it back, and ask for much of it.
const SIZE: usize = 160;

/// Fills the disk in a process that alone sees it.
async fn full_and_roomy(context: Context) -> Outcome {
    let context = context.store_in_directory().await?;
    let directory = context.directory().to_str().ok_or_else(|| Failure::harness("a directory without a name"))?;
    let arguments = [directory, &context.rounds(1).to_string()];
    match context.child_below(apart()?, "small-disk", &arguments)?.finish()?.pop() {
        Some(refused) => Err(Failure::untested(format_args!("no small disk is mounted: {refused}"))),
        None => Ok(()),
    }
}

/// What gives a process mounts of its own, which are gone with it.
fn apart() -> Outcome<Command> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !geteuid().is_root() {
            // Whoever is not root is root in a namespace of users, and may mount there.
            command.args(["--user", "--map-root-user"]);
        }
        command
    };
    match children::output(unshare().arg("true").stdin(Stdio::null()).stderr(Stdio::null())) {
        Ok(ended) if ended.status.success() => Ok(unshare()),
        _ => Err(Failure::untested("`unshare` gives no process mounts of its own here")),
    }
}

/// Fills the disk that it mounts below stores, and makes room on it, one store after the other. What it says is why it
/// mounted none.
async fn fill(cue: Cue) -> Outcome {
    let [directory, rounds] = &cue.arguments[..] else { return Err(Failure::harness("two arguments")) };
    if let Err(refused) = mount(directory) {
        say(refused.trim().replace('\n', " "));
        return Ok(());
    }
    let ballast = Path::new(directory).join("ballast");
    let mut random = fastrand::Rng::with_seed(cue.seed);
    for number in 0..rounds.parse().map_err(Failure::harness)? {
        let mut attempts = Attempts::new(Round { number, seed: cue.seed });
        let instance = cue.open().await?;
        let entries = instance.entries();
        attempts.write(&instance).await?;
        take_up(&ballast, random.u64(..300_000)).map_err(Failure::harness)?;
        fill_what_is_kept_back(&*entries).await;
        write_until_full(&mut attempts, &instance, Path::new(directory)).await?;
        say_step();
        fs::remove_file(&ballast).map_err(Failure::harness)?;
        write_with_room(&mut attempts, &instance).await?;
        instance.close().await?;
        say_step();
        let instance = cue.open().await?;
        attempts.check(&instance).await.map_err(|failure| failure.within("after a full disk"))?;
        instance.close().await?;
        empty(Path::new(directory)).map_err(Failure::harness)?;
        say_step();
    }
    Ok(())
}

fn mount(directory: &str) -> Result<(), String> {
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={SIZE}M"), "tmpfs", directory]).output();
    match mounted {
        Ok(mounted) if mounted.status.success() => Ok(()),
        Ok(mounted) => Err(String::from_utf8_lossy(&mounted.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Fills the disk, but for so many bytes.
fn take_up(ballast: &Path, but: u64) -> io::Result<()> {
    let mut file = File::create(ballast)?;
    let (page, mut len) = ([0; 4096], 0);
    while let Ok(written) = file.write(&page) {
        len += written as u64;
    }
    file.set_len(len.saturating_sub(but))
}

/// Fills what an engine took of it when it was opened.
async fn fill_what_is_kept_back(entries: &dyn AtomicWrite) {
    let filler = Bytes::from(vec![7; 1 << 20]);
    for number in 0..SIZE {
        if entries.set(&key(format!("filler/{number}")), filler.clone()).await.is_err() {
            break;
        }
        say_step();
    }
}
