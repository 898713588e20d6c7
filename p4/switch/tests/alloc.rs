//! The packet path allocates nothing once it is warm.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed to the system allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn routed_packets_do_not_allocate() {
    forward(common::Bench::fabric(1_000, false));
    forward(common::Bench::fabric(1_000, true));
    forward(common::Bench::router(1_000));
}

fn forward(mut bench: common::Bench) {
    let packets: Vec<Vec<u8>> = (1..64).map(|i| common::ipv4(0x0a00_0000 | i << 8 | 9, i as u16)).collect();
    let mut emitted = 0u64;
    let mut round = |bench: &mut common::Bench| {
        for packet in &packets {
            let mut sink = |_: u32, _: &[u8], _: &[u8], _: p4switch::PacketMeta| emitted += 1;
            bench.worker.process(1, packet, p4switch::PacketMeta::default(), &mut sink);
        }
    };
    round(&mut bench);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..100 {
        round(&mut bench);
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(emitted > 5_000, "packets must pass: {emitted}");
    assert_eq!(allocations, 0, "allocations in 6300 packets");
}
