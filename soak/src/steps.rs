//! The steps of the rows: which is next, what each starts, and what it adds to what was done.

use std::{
    fs,
    panic::resume_unwind,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    clock::{Clock, TICK},
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

/// The rows of a run, of each of which one step is made at a time.
struct Queue {
    rows: Vec<Queued>,
}

struct Queued {
    row: Row,
    done: u32,
    is_under_way: bool,
    /// Whether no more of it is made in this run: what goes by time has had its share, and what did not get on is not
    /// tried again and again.
    is_over: bool,
}

impl Queue {
    /// Takes the row that is furthest behind, of those of which no step is under way.
    fn take(&mut self) -> Option<Row> {
        let waits = |queued: &&mut Queued| !queued.is_under_way && !queued.is_over && queued.done < queued.row.of;
        let next = self.rows.iter_mut().filter(waits).min_by_key(|queued| queued.row.turn(queued.done))?;
        next.is_under_way = true;
        Some(next.row)
    }

    /// Gives a row back of which so many steps are done now.
    fn give_back(&mut self, row: &Row, done: u32) {
        for queued in self.rows.iter_mut().filter(|queued| queued.row.name == row.name) {
            queued.is_over = row.goes_by_time() || done == queued.done;
            queued.is_under_way = false;
            queued.done = done;
        }
    }

    /// Whether nothing more can come of it.
    fn is_empty(&self) -> bool {
        self.rows.iter().all(|queued| !queued.is_under_way && (queued.is_over || queued.done >= queued.row.of))
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner<'_> {
    /// Makes steps of the rows, so many beside each other, until the time is over.
    pub(crate) fn run(&self, rows: &[Row], jobs: usize) -> Result<()> {
        let queued = |row: &Row| {
            let done = self.state.done(row)?.steps;
            Ok(Queued { row: *row, done, is_under_way: false, is_over: false })
        };
        let queue = Mutex::new(Queue { rows: rows.iter().map(queued).collect::<Result<_>>()? });
        thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| self.work(rows, &queue))).collect();
            let ended = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
            ended.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// Makes one step after the other, of whichever row.
    fn work(&self, rows: &[Row], queue: &Mutex<Queue>) -> Result<()> {
        while !self.clock.is_over() && !lock(queue).is_empty() {
            // Bound first: what a `match` looks at is held to its end.
            let next = lock(queue).take();
            let Some(row) = next else {
                thread::sleep(TICK);
                continue;
            };
            let made = self.steps(&row, rows);
            let done = made.and_then(|()| Ok(self.state.done(&row)?.steps));
            // Where it failed, the others end as well.
            lock(queue).give_back(&row, *done.as_ref().unwrap_or(&0));
            if done.is_err() {
                lock(queue).rows.clear();
            }
            done?;
        }
        Ok(())
    }

    /// Makes the next step of a row, or all of its share of the run where it goes by time.
    fn steps(&self, row: &Row, rows: &[Row]) -> Result<()> {
        if !row.goes_by_time() {
            return self.step(row, 1);
        }
        match row.share(rows, self.minutes, self.state.done(row)?.steps) {
            0 => Ok(()),
            seconds => self.step(row, seconds),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(of: &[(&'static str, u32, u32)]) -> Queue {
        let work = Work::Suite { address: "mem:", profile: "quick" };
        let queued = |&(name, of, first_turn): &(&'static str, u32, u32)| {
            let row = Row { name, of, first_turn, work };
            Queued { row, done: 0, is_under_way: false, is_over: false }
        };
        Queue { rows: of.iter().map(queued).collect() }
    }

    fn take(queue: &mut Queue) -> &'static str {
        queue.take().map_or("nothing", |row| row.name)
    }

    #[test]
    fn the_row_that_is_furthest_behind_is_next_and_none_is_taken_twice() {
        let mut queue = queue(&[("a", 2, 0), ("b", 1, 0), ("later", 1, 1)]);
        let a = queue.rows[0].row;
        assert_eq!([take(&mut queue), take(&mut queue)], ["a", "b"]);
        queue.give_back(&a, 1);
        assert_eq!([take(&mut queue), take(&mut queue), take(&mut queue)], ["a", "later", "nothing"]);
        assert!(!queue.is_empty());
    }

    #[test]
    fn a_row_that_is_done_or_did_not_get_on_is_not_taken_again() {
        let mut queue = queue(&[("done", 1, 0), ("stuck", 3, 0)]);
        for (name, done) in [("done", 1), ("stuck", 0)] {
            assert_eq!(take(&mut queue), name);
            let row = queue.rows.iter().find(|queued| queued.row.name == name).unwrap().row;
            queue.give_back(&row, done);
        }
        assert_eq!(take(&mut queue), "nothing");
        assert!(queue.is_empty());
    }
}
