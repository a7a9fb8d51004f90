//! [`irminsul_fuzz::key`], of any bytes.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| irminsul_fuzz::key(bytes));
