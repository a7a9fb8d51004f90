//! What a real browser makes of a page: a Chromium without a window, for the tests of the reports. What is demanded of the
//! page is left to them.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
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
        let [file, document, messages] = ["page.html", "document", "messages"].map(|name| directory.path().join(name));
        fs::write(&file, page)?;
        let mut profile = OsString::from("--user-data-dir=");
        profile.push(directory.path().join("profile"));
        let browser = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
            .args(["--virtual-time-budget=5000", "--no-first-run"])
            .arg(profile)
            .args(&self.arguments)
            .arg(format!("file://{}{address}", file.display()))
            .stdin(Stdio::null())
            .stdout(File::create(&document)?)
            .stderr(File::create(&messages)?)
            .spawn()?;
        let status = ended_in_time(browser)?;
        if !status.success() {
            let told = fs::read(&messages)?;
            return Err(io::Error::other(format!("chromium ended with {status}: {}", String::from_utf8_lossy(&told))));
        }
        fs::read_to_string(&document)
    }
}

/// How long a page may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(3);

/// Ends what does not end: a browser may wait for somebody.
fn ended_in_time(mut browser: Child) -> io::Result<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = browser.try_wait()? {
            return Ok(status);
        }
        if began.elapsed() > PATIENCE {
            browser.kill()?;
            browser.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("chromium had not ended within {PATIENCE:?}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
}
