//! [`irminsul_fuzz::records`], of any bytes.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| irminsul_fuzz::records(bytes));
