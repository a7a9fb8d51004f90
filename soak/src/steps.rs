//! The steps of a row: what each starts, and what it adds to what was done.

use std::{fs, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, bail};

use crate::{
    clock::Clock,
    faulty::Disks,
    logs,
    programs::Programs,
    rows::{Row, Told, Work},
    state::{Done, Passes, State, untested_in},
};

/// What goes on in one of them.
const LOAD: &str = "handle/L2-what-comes-*";

/// What makes the steps, in one run.
pub(crate) struct Runner<'r> {
    pub(crate) state: &'r State,
    pub(crate) programs: &'r Programs,
    pub(crate) disks: Option<&'r Disks>,
    pub(crate) clock: &'r Clock,
    pub(crate) minutes: u32,
}

impl Runner<'_> {
    /// Makes steps of the rows, in turns, until the time is over.
    pub(crate) fn run(&self, rows: &[Row]) -> Result<()> {
        for row in rows.iter().filter(|row| row.goes_by_time()) {
            let seconds = row.share(rows, self.minutes, self.state.done(row)?.steps);
            if seconds > 0 && !self.clock.is_over() {
                self.step(row, seconds)?;
            }
        }
        for turn in 0..rows.iter().map(Row::turns).max().unwrap_or(0) {
            for row in rows.iter().filter(|row| !row.goes_by_time()) {
                if !self.clock.is_over() && row.is_due(turn, self.state.done(row)?.steps) {
                    self.step(row, 1)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a step of a row, or as many as it has seconds, keeps what came of it, and tells a failure at once.
    fn step(&self, row: &Row, seconds: u32) -> Result<()> {
        let folder = self.state.folder(row);
        fs::create_dir_all(&folder)?;
        let before = self.state.done(row)?;
        let mut done = before.clone();
        let began = Instant::now();
        match row.work {
            Work::Suite { address, profile } => self.pass(&folder, address, profile, &mut done),
            Work::Load { address } => self.load(&folder, address, seconds, &mut done),
            Work::Fuzz => self.fuzz(&folder, seconds, &mut done),
            Work::Test { folder: package, test, told } => self.test(&folder, (package, test), told, &mut done),
        }?;
        if done.steps > before.steps {
            done.took += began.elapsed();
        }
        self.state.keep(row, &done)?;
        for failure in done.failures.difference(&before.failures) {
            println!("FAILED {}: see {failure}", row.name);
        }
        Ok(())
    }

    /// One pass more of the suite, with the next seed.
    fn pass(&self, folder: &Path, address: &str, profile: &str, done: &mut Done) -> Result<()> {
        let mut options = vec!["--profile".into(), profile.into(), "--for".into(), "0s".into()];
        if let Some(disks) = self.disks {
            options.extend(["--faulty-fs".into(), disks.mount_point()?.to_owned()]);
        }
        if let Some(passes) = self.conform(folder, address, |command| command.args(options), done)? {
            done.steps = passes;
        }
        Ok(())
    }

    fn load(&self, folder: &Path, address: &str, seconds: u32, done: &mut Done) -> Result<()> {
        let time = format!("{seconds}s");
        let options = ["--case", LOAD, "--profile", "soak", "--for", &time];
        if self.conform(folder, address, |command| command.args(options), done)?.is_some() {
            done.steps += seconds;
        }
        Ok(())
    }

    /// Puts a store to the suite, and keeps the page of what failed. Says how many passes there were in all; nothing, where
    /// it was ended.
    fn conform(
        &self,
        folder: &Path,
        address: &str,
        with_options: impl FnOnce(&mut Command) -> &mut Command,
        done: &mut Done,
    ) -> Result<Option<u32>> {
        let log = folder.join("conform.log");
        let address = address.replace("{}", &self.state.stores().display().to_string());
        let mut command = Command::new(self.programs.irminsul()?);
        with_options(command.arg("conform").arg(address)).arg("--report").arg(folder);
        let Some(status) = self.clock.run(&mut command, &log)? else { return Ok(None) };
        // An error is neither a pass nor a failure: the pass would be run for ever.
        if !matches!(status.code(), Some(0 | 1)) {
            eprint!("{}", said(&log)?);
            bail!("irminsul conform ended with {status}: see {}", log.display());
        }
        let passes = Passes::kept_in(folder)?;
        done.untested += untested_in(folder)?;
        (done.kills, done.power_losses, done.growth) = (passes.kills, passes.power_losses, passes.growth);
        if passes.failures != done.replays {
            let page = folder.join(format!("failed-in-pass-{}.html", passes.next_pass.saturating_sub(1)));
            fs::copy(folder.join("report.html"), &page)?;
            done.failures.insert(page.display().to_string());
            done.replays = passes.failures;
        }
        Ok(Some(passes.next_pass))
    }

    /// What it finds to reach further is kept apart, since the tree is that of a commit.
    fn fuzz(&self, folder: &Path, seconds: u32, done: &mut Done) -> Result<()> {
        let minutes = seconds / 60;
        if minutes == 0 {
            return Ok(());
        }
        let (log, failed) = (folder.join("log"), folder.join("failed.log"));
        let mut command = Command::new("scripts/fuzz");
        command.arg(minutes.to_string()).env("IRMINSUL_FUZZ_CORPUS", folder.join("corpus"));
        let Some(status) = self.clock.run(&mut command, &log)? else { return Ok(()) };
        for (target, inputs) in logs::inputs(&said(&log)?) {
            *done.inputs.entry(target).or_default() += inputs;
        }
        done.untested = 0;
        match status.code() {
            Some(0) => done.steps += minutes * 60,
            Some(1) => {
                fs::copy(&log, &failed)?;
                done.failures.insert(failed.display().to_string());
            }
            _ => done.untested = 1,
        }
        Ok(())
    }

    /// Runs a test program, unless the time ends before it does: then it is run again.
    fn test(&self, folder: &Path, (package, test): (&str, &str), told: Told, done: &mut Done) -> Result<()> {
        let log = folder.join(format!("{}.log", done.steps));
        let mut command = Command::new(self.programs.test(package, test)?);
        command.current_dir(package).envs(told.variables(done.steps));
        let Some(status) = self.clock.run_in_time(&mut command, &log)? else { return Ok(()) };
        let said = said(&log)?;
        let ((kills, power_losses), (cases, catching_none)) = (logs::crashes(&said), logs::matrix(&said));
        done.steps += 1;
        done.kills += kills;
        done.power_losses += power_losses;
        done.cases += cases;
        done.catching_none += catching_none;
        if status.success() {
            done.untested += logs::untested(&said);
        } else {
            done.failures.insert(log.display().to_string());
        }
        Ok(())
    }
}

fn said(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
