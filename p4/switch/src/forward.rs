//! The P4 program as a forwarder of the forwarding loop.

use crate::lane::Worker;
use crate::ports::PortNo;
use crate::runtime::{Forwarder, Sink};
use crate::switch::{self, PacketMeta, Switch};
use std::sync::Arc;

/// One thread's way through a switch.
pub struct ProgramForwarder {
    switch: Arc<Switch>,
    worker: Worker,
}

impl ProgramForwarder {
    pub fn new(switch: &Arc<Switch>) -> Self {
        Self { switch: Arc::clone(switch), worker: switch.worker() }
    }
}

/// The loop's ports. It follows offloads by itself, from the frame's length before and after.
struct Ports<'a>(&'a mut dyn Sink);

impl switch::Sink for Ports<'_> {
    fn emit(&mut self, port: u32, head: &[u8], payload: &[u8], _: PacketMeta) {
        self.0.emit(port, head, payload);
    }

    fn depth(&mut self, port: u32) -> usize {
        self.0.depth(port)
    }
}

impl Forwarder for ProgramForwarder {
    fn process(&mut self, port: PortNo, frame: &mut [u8], sink: &mut dyn Sink) {
        self.worker.process(port, frame, PacketMeta::default(), &mut Ports(sink));
    }

    fn wants_finished_frames(&self) -> bool {
        self.switch.instance().is_some_and(|instance| {
            let code = &instance.program.code;
            code.verify.iter().chain(&code.update).any(|checksum| code.calcs[usize::from(checksum.calc)].payload)
        })
    }
}
