//! What a real browser makes of a page: a Chromium without a window, for the tests of the reports. What is demanded of the
//! page is left to them.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A browser that is installed here.
#[derive(Clone, Debug)]
pub struct Browser {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Browser {
    /// The first that the path has; `None` leaves the tests of pages ignored.
    #[must_use]
    pub fn find() -> Option<Self> {
        let path = env::var_os("PATH")?;
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let mut programs = env::split_paths(&path).flat_map(|directory| names.map(|name| directory.join(name)));
        Some(Self { program: programs.find(|program| program.is_file())?, arguments: Vec::new() })
    }

    /// The same with an argument more, such as `--window-size=360,800`.
    #[must_use]
    pub fn with(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Opens a page at an address behind its own, such as `#part`, runs its scripts to their end, and gives the document
    /// that it has become.
    pub fn render(&self, page: &str, address: &str) -> io::Result<String> {
        let directory = TempDir::new()?;
        let file = directory.path().join("page.html");
        fs::write(&file, page)?;
        let mut profile = OsString::from("--user-data-dir=");
        profile.push(directory.path().join("profile"));
        let ended = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
            .args(["--virtual-time-budget=5000", "--no-first-run"])
            .arg(profile)
            .args(&self.arguments)
            .arg(format!("file://{}{address}", file.display()))
            .stdin(Stdio::null())
            .output()?;
        if !ended.status.success() {
            let told = String::from_utf8_lossy(&ended.stderr).into_owned();
            return Err(io::Error::other(format!("chromium failed: {told}")));
        }
        String::from_utf8(ended.stdout).map_err(io::Error::other)
    }
}
