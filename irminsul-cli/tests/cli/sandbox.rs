//! A directory of a test's own, and the binary run in it.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
};

use irminsul::{Backend, Registry};
use tempfile::TempDir;

pub(crate) struct Sandbox(TempDir);

/// How the binary ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        name.to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_irminsul"));
        command.args(args).current_dir(self.0.path()).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &[u8]) -> Ran {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// Starts it, with an output that goes nowhere: a pipe that nobody reads would block it when full.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs what must succeed, for its output.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).expect(0)
    }

    /// The lines of what must succeed, sorted.
    #[track_caller]
    pub(crate) fn sorted(&self, args: &[&str]) -> Vec<String> {
        let mut lines: Vec<_> = self.ok(args).lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    /// Changes one byte of a stored value in a database file that nobody has open.
    pub(crate) fn damage(&self, name: &str, value: &str) {
        assert!(!self.path(&format!("{name}-wal")).exists(), "the last close writes the log back");
        let mut file = fs::read(self.path(name)).unwrap();
        let at = file.windows(value.len()).position(|window| window == value.as_bytes()).unwrap();
        file[at] ^= 1;
        fs::write(self.path(name), file).unwrap();
    }

    /// Opens a store of the sandbox in this process, does something with it, and closes it.
    pub(crate) fn with_store<F: Future<Output = ()>>(&self, name: &str, body: impl FnOnce(Arc<dyn Backend>) -> F) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let address = irminsul::Address::new("sqlite", self.path(name).to_str().unwrap()).unwrap();
        runtime.block_on(async {
            let store = Registry::default().open(&address).await.unwrap();
            body(Arc::clone(&store)).await;
            store.close().await.unwrap();
        });
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self { code: output.status.code(), stdout: output.stdout, stderr: String::from_utf8(output.stderr).unwrap() }
    }
}

impl Ran {
    /// The output as text, of a run that exited with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        String::from_utf8(self.stdout).unwrap()
    }

    /// Checks that it is an error of one line, which says `expected`, and that nothing else was written.
    #[track_caller]
    pub(crate) fn refused(&self, expected: &str) {
        assert_eq!(self.code, Some(2), "{}", self.stderr);
        assert!(self.stderr.starts_with("irminsul: ") && self.stderr.lines().count() == 1, "{}", self.stderr);
        assert!(self.stderr.contains(expected), "{}", self.stderr);
        assert_eq!(self.stdout, b"");
    }
}
