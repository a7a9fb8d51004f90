//! [`irminsul_fuzz::s3_entry_name`], of any bytes.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| irminsul_fuzz::s3_entry_name(bytes));
