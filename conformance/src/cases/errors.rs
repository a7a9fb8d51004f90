//! A5, E1 and E2: errors say what to do and whether the write happened, and show no value.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
