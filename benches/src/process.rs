//! What this process costs the machine, as Linux tells it; elsewhere nothing is told.

use std::{fs, time::Duration};

/// How much memory this process has, in bytes; `None` where the system does not tell.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// How long the cores have worked for this process, all its threads together.
pub(crate) fn cpu_time() -> Option<Duration> {
    /// What the system counts in, whatever its own clock: a hundredth of a second.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may hold spaces and brackets; two fields behind it begins what has none.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?;
    Some(TICK * ticks)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used_is_resident() {
        // An optimizer would do without memory that is never looked at.
        let used = std::hint::black_box(vec![1_u8; 64 << 20]);
        // All of it, and not more than before: the tests beside this one give memory back.
        assert!(resident_bytes().unwrap() >= 64 << 20, "{}", used.len());
    }

    #[test]
    fn work_takes_cpu_time() {
        let before = cpu_time().unwrap();
        let mut sum = 0_u64;
        while cpu_time().unwrap() < before + Duration::from_millis(20) {
            sum = (0..1000).fold(sum, u64::wrapping_add);
        }
        assert!(sum > 0);
    }
}
