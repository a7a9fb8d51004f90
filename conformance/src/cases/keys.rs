//! K1 to K3: which keys there are, and that each is an entry of its own.

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
