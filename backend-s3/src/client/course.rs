//! Whether a listing is on its way to an end: a service that repeats names, or has ever more of them, would be read for
//! ever.

/// How a listing is expected to go on.
pub(super) enum Course {
    /// Names in any order. This is Brent's cycle detection: one name is kept, and replaced whenever as many names have
    /// followed it as came before it; a listing that repeats itself meets the kept name again.
    AnyOrder { kept: String, count: u64, next: u64 },
    /// Each name behind the one before, and so many names at the most.
    Ascending { last: String, left: u64 },
}

impl Course {
    pub(super) fn in_any_order() -> Self {
        Self::AnyOrder { kept: String::new(), count: 0, next: 1 }
    }

    pub(super) fn in_order(most: u64) -> Self {
        Self::Ascending { last: String::new(), left: most }
    }

    /// Whether the listing may go on with this name, which is not empty.
    pub(super) fn admits(&mut self, name: &str) -> bool {
        match self {
            Self::AnyOrder { kept, count, next } => {
                *count += 1;
                if kept == name {
                    return false;
                }
                if count >= next {
                    name.clone_into(kept);
                    *next = 2 * *count;
                }
                true
            }
            Self::Ascending { last, left } => {
                if name <= last.as_str() || *left == 0 {
                    return false;
                }
                name.clone_into(last);
                *left -= 1;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many of the names are taken.
    fn taken(mut course: Course, names: impl IntoIterator<Item = usize>) -> usize {
        names.into_iter().take_while(|name| course.admits(&format!("{name:08}"))).count()
    }

    proptest! {
        #[test]
        fn names_that_differ_are_taken_in_any_order(names in proptest::collection::hash_set(0_usize..5000, 0..500)) {
            prop_assert_eq!(taken(Course::in_any_order(), names.iter().copied()), names.len());
        }

        #[test]
        fn a_listing_that_goes_round_ends_soon(before in 0_usize..300, round in 1_usize..300) {
            let names = (0..before).chain((before..before + round).cycle());
            prop_assert!(taken(Course::in_any_order(), names) <= 4 * (before + round));
        }

        #[test]
        fn a_listing_in_order_ends_where_it_steps_back_or_has_too_many(step in 1_usize..100, back in 0_usize..100) {
            prop_assert_eq!(taken(Course::in_order(1000), (1..=step).chain([step.saturating_sub(back)])), step);
            prop_assert_eq!(taken(Course::in_order(step as u64), 1..), step);
        }
    }
}
