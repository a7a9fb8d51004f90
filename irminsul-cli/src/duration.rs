//! Durations on the command line.

use std::time::Duration;

/// A time such as `90s`, `30m` or `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "a duration is a number with a unit, such as 90s, 30m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_units() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("0s", 0), ("1d", 86400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
        for text in ["", "90", "s", "m30", "-1s", "99999999999999999999s", "9999999999999999999h", "1s1"] {
            assert!(duration(text).unwrap_err().starts_with("a duration is a number with a unit"), "{text}");
        }
    }
}
