//! Under loom.
