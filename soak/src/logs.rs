//! What the programs say, as far as it is counted.

use std::collections::BTreeMap;

/// How many tests of a program lacked equipment.
pub(crate) fn untested(log: &str) -> u64 {
    let lacks = |line: &&str| line.split_once("ignored").is_some_and(|(_, reason)| reason.contains("untested"));
    count(log.lines().filter(lacks))
}

/// In how many kills and power losses they caught what they were to catch.
pub(crate) fn crashes(log: &str) -> (u64, u64) {
    let told = |line: &str| -> Option<(u64, u64)> {
        let words: Vec<_> = line.split_whitespace().collect();
        let [.., kills, "kills,", losses, "power", "losses"] = words[..] else { return None };
        Some((kills.parse().ok()?, losses.parse().ok()?))
    };
    log.lines().filter_map(told).fold((0, 0), |sum, (kills, losses)| (sum.0 + kills, sum.1 + losses))
}

/// How many cases were put on every broken store, and how many of them caught none.
pub(crate) fn matrix(log: &str) -> (u64, u64) {
    let of_a_case =
        |line: &&str| line.split_once('\t').is_some_and(|(id, _)| conformance::case_ids("").any(|known| known == id));
    let caught_none = |line: &&str| line.ends_with("catches no broken store");
    (count(log.lines().filter(of_a_case)), count(log.lines().filter(caught_none)))
}

/// How many inputs the fuzzer made, by target.
pub(crate) fn inputs(log: &str) -> BTreeMap<String, u64> {
    let mut inputs = BTreeMap::new();
    let mut target = None;
    for line in log.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            target = title.split_once(':').map(|(name, _)| name.to_owned());
        } else if let Some(number) = line.strip_prefix("stat::number_of_executed_units:")
            && let (Some(target), Ok(number)) = (&target, number.trim().parse::<u64>())
        {
            *inputs.entry(target.clone()).or_default() += number;
        }
    }
    inputs
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.map(|_| 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_say_what_they_lacked_and_in_how_many_crashes_they_caught() {
        let log = "test a::b ... ignored, untested: no FUSE\ntest a::c ... ignored, unsupported: no index\n\
            test untested ... ok\nlossy::power/X1-a: caught 1 times in 2 kills, 30 power losses\nsqlite: 4 kills, 5 power losses\n\
            about kills, and power losses\n";
        assert_eq!(untested(log), 1);
        assert_eq!(crashes(log), (6, 35));
    }

    #[test]
    fn a_matrix_is_counted_by_its_cases() {
        let ids: Vec<_> = conformance::case_ids("").take(2).collect();
        let log = format!("{}\tlossy torn\nnote\tof none\n{}\t\n{} catches no broken store\n", ids[0], ids[1], ids[1]);
        assert_eq!(matrix(&log), (2, 1));
    }

    #[test]
    fn the_fuzzer_says_its_inputs_behind_each_target() {
        let log = "== building\n\n== key: 60 seconds\nstat::number_of_executed_units: 12\n== frame: 60 seconds\n\
            stat::number_of_executed_units: 5\nstat::new_units_added: 9\n== key: 1 seconds\nstat::number_of_executed_units: 1\n";
        assert_eq!(inputs(log), [("key".to_owned(), 13), ("frame".to_owned(), 5)].into());
    }
}
