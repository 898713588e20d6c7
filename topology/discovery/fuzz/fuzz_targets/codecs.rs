//! `cargo +nightly fuzz run codecs` in this crate's folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pergola_discovery::fuzz::codecs(data));
