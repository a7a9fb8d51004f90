//! A9: writes whose future was dropped.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
