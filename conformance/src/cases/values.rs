//! V1: how long a value may be.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
