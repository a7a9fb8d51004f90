//! What the micro benchmarks left: the estimates of criterion, each in a directory of its own.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use benches::{Measured, Single};
use serde::Deserialize;
use store_api::Result;

/// Reads all of them; the newest of each. None were measured where there is no such directory.
pub(crate) fn read(directory: &Path) -> Result<Vec<Single>> {
    let mut found = Vec::new();
    match collect(directory, &mut found) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(super::refused("the estimates of criterion", error));
        }
        _ => {}
    }
    found.sort_by(|one, other| (&one.operation, &one.subject).cmp(&(&other.operation, &other.subject)));
    Ok(found)
}

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    /// In nanoseconds.
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

fn collect(directory: &Path, found: &mut Vec<Single>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path();
        if entry.file_name() == "new" { found.extend(estimate(&path)?) } else { collect(&path, found)? }
    }
    Ok(())
}

/// One of them; `None` where it is of a benchmark that has no length of values.
fn estimate(directory: &Path) -> io::Result<Option<Single>> {
    let Benchmark { group_id, function_id, value_str } = parsed(&directory.join("benchmark.json"))?;
    let Estimates { median } = parsed(&directory.join("estimates.json"))?;
    let Interval { lower_bound, upper_bound } = median.confidence_interval;
    let median_us = Measured::new(median.point_estimate, lower_bound, upper_bound).times(0.001);
    let value_len = value_str.and_then(|len| len.parse().ok());
    Ok(function_id.zip(value_len).map(|(subject, value_len)| Single {
        operation: group_id,
        subject,
        value_len,
        median_us,
    }))
}

fn parsed<T: for<'d> Deserialize<'d>>(file: &Path) -> io::Result<T> {
    Ok(serde_json::from_reader(io::BufReader::new(File::open(file)?))?)
}
