//! A hash that is the same in every process and over versions of the language, so that a seed in a report stays good.

/// FNV-1a, for each seed another one.
pub(crate) fn fnv1a(seed: u64, bytes: &[u8]) -> u64 {
    let basis = seed ^ 0xcbf2_9ce4_8422_2325;
    bytes.iter().fold(basis, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
