//! A1 and W11 among several processes.

use crate::{case::Case, roles::Role};

pub(super) const CASES: &[Case] = &[];

pub(super) const ROLES: &[Role] = &[];
