//! Any sequence of operations answers as a map would, and watches fold to that map.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
