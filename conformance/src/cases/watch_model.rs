//! W3: whatever is done to a store, what its watches tell folds to a map that it is done to as well.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
