//! [`irminsul_fuzz::rocksdb_records`], of any bytes.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| irminsul_fuzz::rocksdb_records(bytes));
