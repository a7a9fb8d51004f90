//! [`irminsul_fuzz::s3_listing`], of any bytes.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| irminsul_fuzz::s3_listing(bytes));
