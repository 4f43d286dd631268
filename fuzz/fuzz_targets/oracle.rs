#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scanguard_fuzz_targets::oracle::run(data));
