use super::*;
use crate::ports::testing::{Build, checksums_hold};
use crate::ports::{Link, LinkEnd, PortManager, PortOptions, PortSpec};

/// Sends everything to the port beside it (0 to 1, 1 to 0), and odd first bytes to the CPU port.
struct Beside {
    finished: bool,
}

impl Forwarder for Beside {
    fn process(&mut self, port: PortNo, frame: &mut [u8], sink: &mut dyn Sink) {
        assert_ne!(frame[0], 0xee, "a frame that makes the forwarder fail");
        if frame[0] == 0xcc {
            return sink.emit(255, &[port as u8], frame);
        }
        let (head, body) = frame.split_at(10);
        sink.emit(port ^ 1, head, body);
    }

    fn wants_finished_frames(&self) -> bool {
        self.finished
    }
}

struct Bed {
    manager: PortManager,
    ends: Vec<LinkEnd>,
    cpu: mpsc::Receiver<Vec<u8>>,
}

fn bed(workers: usize, finished: bool) -> Bed {
    let (send, cpu) = mpsc::channel();
    let cpu_port = CpuPort { no: 255, take: Arc::new(move |f: &[u8]| drop(send.send(f.to_vec()))) };
    let forwarders = (0..workers).map(|_| Box::new(Beside { finished }) as Box<dyn Forwarder>).collect();
    let runtime = Runtime::start(forwarders, Some(cpu_port), &RuntimeOptions::default()).unwrap();
    let manager = PortManager::new(Arc::new(runtime), |_, _| {});
    let ends = (0..2)
        .map(|no| {
            let (near, far) = Link::pair(64).unwrap();
            manager.add(no, PortSpec::Link(format!("l{no}"), near), &PortOptions::default()).unwrap();
            far
        })
        .collect();
    Bed { manager, ends, cpu }
}

const WAIT: Duration = Duration::from_secs(10);

#[test]
fn frames_pass_both_ways_with_any_number_of_workers() {
    for workers in [1, 2, 3] {
        let bed = bed(workers, false);
        for (from, to) in [(0, 1), (1, 0)] {
            let frame: Vec<u8> = (0..100).collect();
            assert!(bed.ends[from].send(&frame, Offload::NONE));
            assert_eq!(bed.ends[to].receive(WAIT).unwrap(), (frame, Offload::NONE));
        }
        // Frames are counted at the end of a turn, which the far end need not wait for.
        let deadline = Instant::now() + WAIT;
        let counted = || {
            let counters = bed.manager.get(0).unwrap().counters;
            (counters.in_pkts, counters.out_pkts, counters.in_octets)
        };
        while counted() != (1, 1, 100) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(counted(), (1, 1, 100));
    }
}

#[test]
fn offloads_pass_beside_the_frame_unless_the_program_wants_finished_ones() {
    let frame = Build::tcp4(3000);
    let offload = Offload::tcp_segments(false, 34, 54, 1448);
    let passing = bed(1, false);
    assert!(passing.ends[0].send(&frame, offload));
    assert_eq!(passing.ends[1].receive(WAIT).unwrap(), (frame.clone(), offload));
    let finishing = bed(1, true);
    assert!(finishing.ends[0].send(&frame, offload));
    for _ in 0..3 {
        let (part, rest) = finishing.ends[1].receive(WAIT).unwrap();
        assert!(rest.is_none());
        checksums_hold(&part);
    }
}

#[test]
fn cpu_port_and_injection() {
    let bed = bed(1, false);
    let mut frame = vec![0xcc; 60];
    assert!(bed.ends[1].send(&frame, Offload::NONE));
    frame.insert(0, 1);
    assert_eq!(bed.cpu.recv_timeout(WAIT).unwrap(), frame);
    bed.manager.runtime().inject(0, vec![7; 60]);
    assert_eq!(bed.ends[1].receive(WAIT).unwrap().0, vec![7; 60]);
}

#[test]
fn a_failing_forwarder_costs_one_frame() {
    let bed = bed(1, false);
    assert!(bed.ends[0].send(&[0xee; 60], Offload::NONE));
    assert!(bed.ends[0].send(&[1; 60], Offload::NONE));
    assert_eq!(bed.ends[1].receive(WAIT).unwrap().0, vec![1; 60]);
    assert_eq!(bed.manager.get(0).unwrap().counters.in_errors, 1);
}

#[test]
fn down_and_removed_ports_take_nothing() {
    let bed = bed(1, false);
    bed.manager.set_enabled(1, false).unwrap();
    assert!(bed.ends[0].send(&[1; 60], Offload::NONE));
    // The CPU port tells when the frame before was handled.
    assert!(bed.ends[0].send(&[0xcc; 60], Offload::NONE));
    bed.cpu.recv_timeout(WAIT).unwrap();
    assert_eq!(bed.manager.get(1).unwrap().counters.out_discards, 1);
    assert!(bed.ends[1].receive(Duration::ZERO).is_none());
    bed.manager.set_enabled(1, true).unwrap();
    assert!(bed.ends[0].send(&[2; 60], Offload::NONE));
    assert_eq!(bed.ends[1].receive(WAIT).unwrap().0, vec![2; 60]);
    bed.manager.remove(1).unwrap();
    assert!(!bed.ends[1].is_up());
    assert!(bed.manager.get(1).is_none());
}

#[test]
fn three_hundred_switches_share_a_process() {
    let beds: Vec<Bed> = (0..300).map(|_| bed(1, false)).collect();
    for (number, bed) in beds.iter().enumerate() {
        assert!(bed.ends[0].send(&[number as u8 & 0x7e; 60], Offload::NONE));
    }
    for (number, bed) in beds.iter().enumerate() {
        assert_eq!(bed.ends[1].receive(WAIT).unwrap().0, [number as u8 & 0x7e; 60]);
    }
}
