//! A11 and A12: a disk that cannot be read, and bytes that changed.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
