//! [`irminsul_fuzz::history`], of any bytes.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| irminsul_fuzz::history(bytes));
