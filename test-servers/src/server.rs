//! Servers that run: one's own, and one that several processes share.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    Kind, installed,
    kind::BUCKET,
    ports,
    supervised::{Bonds, Supervised, lockable},
};

/// How long a server may take until it is ready, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(2);

/// Between two looks at whether it is.
const PAUSE: Duration = Duration::from_millis(20);

/// A port may be taken between the choice and the start.
const TRIES: usize = 5;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It is not installed.
    #[error("{0} is not installed; run scripts/prepare")]
    Missing(Kind),
    /// It ended, or did not become ready.
    #[error("{kind} does not serve: {reason}; what it printed ends with: {log}")]
    NotServing {
        /// The server.
        kind: Kind,
        /// What happened.
        reason: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The system failed.
    #[error("the server could not be started: {0}")]
    Io(#[from] io::Error),
}

/// How clients reach a server.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    kind: Kind,
    port: u16,
}

impl Endpoint {
    /// What is served.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the service; for Azurite, with the account.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The URL of the service behind a proxy that listens on another port of 127.0.0.1.
    #[must_use]
    pub fn url_through(&self, port: u16) -> String {
        let [(_, account), _] = self.credentials();
        let path = if self.kind == Kind::Azurite { format!("/{account}") } else { String::new() };
        format!("http://127.0.0.1:{port}{path}")
    }

    /// The address of a store below a prefix, without options but the endpoint.
    #[must_use]
    pub fn address(&self, prefix: &str) -> String {
        format!("{}://{}/{prefix}?endpoint={}", self.kind.scheme(), self.bucket(), self.url())
    }

    /// The bucket, or container, which exists.
    #[must_use]
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// The variables of the environment that clients take credentials from: who, and the secret.
    #[must_use]
    pub fn credentials(&self) -> [(&'static str, &'static str); 2] {
        self.kind.credentials()
    }
}

/// A server of one's own, which can be killed and restarted. It ends, and its files go, when this is dropped; when this
/// process ends without that, the server ends too.
#[derive(Debug)]
pub struct Server {
    ports: Vec<u16>,
    running: Running,
    /// Locked while this process has the server.
    _users: File,
    /// Locked while the files are needed, also when the server does not run.
    _kept: File,
    folder: TempDir,
}

impl Server {
    /// Starts one, and returns when it serves. This blocks, for seconds.
    ///
    /// # Errors
    ///
    /// `Missing` says to run `scripts/prepare`.
    pub fn start(kind: Kind) -> Result<Self, StartError> {
        let program = kind.program().ok_or(StartError::Missing(kind))?;
        let runs = installed::runs()?;
        let _door = door(&runs)?;
        sweep(&runs)?;
        let folder = folder(&runs, kind)?;
        let users = used(&folder.path().join("users"))?;
        let kept = used(&folder.path().join("kept"))?;
        let [users_path, mark] = ["users", "port"].map(|name| folder.path().join(name));
        let launch = Launch { kind, program, runs, users: users_path, mark, folder: folder.path().to_owned() };
        let (ports, running) = launch.on_free_ports()?;
        Ok(Self { ports, running: Running { launch, process: running }, _users: users, _kept: kept, folder })
    }

    /// How clients reach it, also after a restart.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { kind: self.running.launch.kind, port: self.ports[0] }
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it (SIGKILL), and returns when it has ended. Its files stay.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn kill(&mut self) -> io::Result<()> {
        self.running.process.kill()
    }

    /// Starts it again, on its ports and files; kills it before if it runs.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), StartError> {
        // Others look for free ports behind it.
        let _door = door(&self.running.launch.runs)?;
        self.kill()?;
        self.running.process = self.running.launch.on(&self.ports)?;
        Ok(())
    }
}

/// A server that all processes of this machine share which ask for it while it runs: for tests that keep to prefixes of
/// their own. It ends with the last of them.
#[derive(Debug)]
pub struct Shared {
    endpoint: Endpoint,
    _users: File,
}

impl Shared {
    /// The one that runs, or one that is started. This blocks, for seconds.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn get(kind: Kind) -> Result<Self, StartError> {
        let program = kind.program().ok_or(StartError::Missing(kind))?;
        let runs = installed::runs()?;
        let _door = door(&runs)?;
        let path = shared_file(&runs, kind, "users");
        let users = used(&path)?;
        let mark = shared_file(&runs, kind, "port");
        if let Some(port) = fs::read_to_string(&mark).ok().and_then(|port| port.parse().ok())
            && kind.is_ready(port)
        {
            return Ok(Self { endpoint: Endpoint { kind, port }, _users: users });
        }
        sweep(&runs)?;
        let folder = folder(&runs, kind)?.keep();
        let _kept = used(&folder.join("kept"))?;
        let launch = Launch { kind, program, runs, users: path, mark: mark.clone(), folder };
        // Others may still use it when this process has ended: it ends with the last of them.
        let (ports, _) = launch.on_free_ports()?;
        fs::write(mark, ports[0].to_string())?;
        Ok(Self { endpoint: Endpoint { kind, port: ports[0] }, _users: users })
    }

    /// How clients reach it.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
struct Running {
    launch: Launch,
    process: Supervised,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where this fails, its supervisor ends it when the lock on the users is gone.
        let _ = self.process.kill();
    }
}

/// What it takes to start a server.
#[derive(Debug)]
struct Launch {
    kind: Kind,
    program: PathBuf,
    runs: PathBuf,
    users: PathBuf,
    /// The file that says that others can use it; that of one's own is never made.
    mark: PathBuf,
    folder: PathBuf,
}

impl Launch {
    fn on_free_ports(&self) -> Result<(Vec<u16>, Supervised), StartError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let ports = ports::free(self.kind.ports())?;
            match self.on(&ports) {
                Ok(server) => return Ok((ports, server)),
                Err(StartError::NotServing { .. }) if tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts it, and waits until it is ready.
    fn on(&self, ports: &[u16]) -> Result<Supervised, StartError> {
        let log = self.folder.join("log");
        let bonds = Bonds {
            door: &self.runs.join("door"),
            users: &self.users,
            mark: &self.mark,
            kept: &self.folder.join("kept"),
            log: &log,
        };
        let command = self.kind.command(&self.program, ports, &self.folder)?;
        let mut server = Supervised::start(&command, &bonds, &self.kind.left_behind(ports))?;
        let begun = Instant::now();
        let reason = loop {
            if !server.is_running()? {
                break "it ended";
            }
            if self.kind.is_ready(ports[0]) {
                return Ok(server);
            }
            if begun.elapsed() > PATIENCE {
                break "it did not become ready in time";
            }
            thread::sleep(PAUSE);
        };
        server.kill()?;
        Err(StartError::NotServing { kind: self.kind, reason, log: last_lines(&log)? })
    }
}

fn door(runs: &Path) -> io::Result<File> {
    let door = lockable(&runs.join("door"))?;
    door.lock()?;
    Ok(door)
}

/// Locks a file as one of those who need what it stands for.
fn used(path: &Path) -> io::Result<File> {
    let file = lockable(path)?;
    file.lock_shared()?;
    Ok(file)
}

fn folder(runs: &Path, kind: Kind) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(&format!("{kind}-")).tempdir_in(runs)
}

fn shared_file(runs: &Path, kind: Kind, what: &str) -> PathBuf {
    runs.join(format!("{kind}.{what}"))
}

/// Removes the folders of servers that nobody needs: whose processes were killed before they could.
fn sweep(runs: &Path) -> io::Result<()> {
    for entry in fs::read_dir(runs)? {
        let kept = entry?.path().join("kept");
        let Ok(file) = File::open(&kept) else { continue };
        if file.try_lock().is_ok() {
            fs::remove_dir_all(kept.parent().expect("it is in a folder"))?;
        }
    }
    Ok(())
}

fn last_lines(log: &Path) -> io::Result<String> {
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let mut lines: Vec<&str> = text.lines().rev().take(10).collect();
    lines.reverse();
    Ok(lines.join(" | "))
}
