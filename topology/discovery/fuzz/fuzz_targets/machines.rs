//! `cargo +nightly fuzz run machines` in this crate's folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pergola_discovery::fuzz::machines(data));
