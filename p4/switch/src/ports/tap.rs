//! TAP interfaces: the host's network stack on one side, the switch on the other.

use super::offload::{Capabilities, Offload, VNET_LEN};
use super::{FRAME_MAX, PortRx, PortTx, Sent, sys};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

/// Opens the interface, making it when it does not exist. It lasts as long as a half of it.
///
/// # Errors
/// No permission, a name of more than 15 bytes, or an interface that is not a TAP or in use.
pub fn open(name: &str) -> io::Result<(TapRx, File)> {
    let file = sys::open_tap(name)?;
    Ok((TapRx { file: file.try_clone()?, buffer: vec![0; FRAME_MAX] }, file))
}

pub struct TapRx {
    file: File,
    buffer: Vec<u8>,
}

impl PortRx for TapRx {
    fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    fn receive(&mut self, budget: usize, take: &mut dyn FnMut(&mut [u8], &Offload)) -> usize {
        for done in 0..budget {
            let mut header = [0u8; VNET_LEN];
            let parts = &mut [IoSliceMut::new(&mut header), IoSliceMut::new(&mut self.buffer)];
            match self.file.read_vectored(parts) {
                Ok(len) if len >= VNET_LEN + 14 => {
                    take(&mut self.buffer[..len - VNET_LEN], &Offload::decode(&header));
                }
                _ => return done,
            }
        }
        budget
    }
}

pub struct TapTx(pub File);

impl PortTx for TapTx {
    fn capabilities(&self) -> Capabilities {
        // The host's stack takes segmentation frames with headers it knows.
        Capabilities { checksum: true, segmentation: true, segmentation_any_stack: false }
    }

    fn send(&mut self, head: &[u8], body: &[u8], offload: &Offload) -> Sent {
        let header = offload.encode();
        match self.0.write_vectored(&[IoSlice::new(&header), IoSlice::new(head), IoSlice::new(body)]) {
            Ok(_) => Sent::Yes,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Sent::Full,
            Err(_) => Sent::Failed,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
