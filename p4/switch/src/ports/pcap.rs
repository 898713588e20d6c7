//! Capture files: read as a port's input, written as a port's output, and written beside any port by `--pcap`.
//! The classic format of tcpdump with either byte order and micro- or nanoseconds (draft-ietf-opsawg-pcap).

use super::offload::{Capabilities, Offload};
use super::sys::EventFd;
use super::{FRAME_MAX, PortRx, PortTx, Sent};
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const SNAP_LEN: u32 = 262_144;

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Reads the frames of a capture one by one.
pub struct Reader {
    input: BufReader<File>,
    big_endian: bool,
    frame: Vec<u8>,
}

impl Reader {
    /// # Errors
    /// No such file, another format than classic pcap, or another link type than Ethernet.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut input = BufReader::new(File::open(path)?);
        let mut header = [0u8; 24];
        input.read_exact(&mut header).map_err(|e| invalid(format!("{}: no pcap header: {e}", path.display())))?;
        let magic = [header[0], header[1], header[2], header[3]];
        let known = |m: u32| m == MAGIC_MICROS || m == MAGIC_NANOS;
        let big_endian = known(u32::from_be_bytes(magic));
        if !big_endian && !known(u32::from_le_bytes(magic)) {
            let text = format!("{}: begins with {magic:02x?}; allowed is classic pcap", path.display());
            return Err(invalid(text));
        }
        let reader = Self { input, big_endian, frame: Vec::new() };
        let link = reader.word(&header, 20) & 0x0fff_ffff;
        if link != ETHERNET {
            return Err(invalid(format!("{}: link type {link}; allowed is 1 (Ethernet)", path.display())));
        }
        Ok(reader)
    }

    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }

    /// The next frame; none at the end of the file.
    ///
    /// # Errors
    /// A record that is longer than any frame or cut short.
    pub fn next_frame(&mut self) -> io::Result<Option<&mut [u8]>> {
        let mut header = [0u8; 16];
        match self.input.read_exact(&mut header) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let len = self.word(&header, 8) as usize;
        if len > FRAME_MAX {
            return Err(invalid(format!("a record of {len} bytes; allowed are {FRAME_MAX}")));
        }
        self.frame.resize(len, 0);
        self.input.read_exact(&mut self.frame)?;
        Ok(Some(&mut self.frame))
    }
}

/// Writes a capture.
pub struct Writer {
    output: BufWriter<File>,
}

impl Writer {
    /// Makes or empties the file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut output = BufWriter::new(File::create(path)?);
        output.write_all(&MAGIC_MICROS.to_le_bytes())?;
        output.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        output.write_all(&SNAP_LEN.to_le_bytes())?;
        output.write_all(&ETHERNET.to_le_bytes())?;
        output.flush()?;
        Ok(Self { output })
    }

    /// Adds one frame with the present time.
    pub fn write(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let len = (head.len() + body.len()) as u32;
        for word in [now.as_secs() as u32, now.subsec_micros(), len, len] {
            self.output.write_all(&word.to_le_bytes())?;
        }
        self.output.write_all(head)?;
        self.output.write_all(body)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// What one port received and sent, as two files.
pub struct Capture {
    received: Mutex<Writer>,
    sent: Mutex<Writer>,
}

impl Capture {
    /// Makes `NAME_in.pcap` and `NAME_out.pcap` in `folder`.
    pub fn create(folder: &Path, name: &str) -> io::Result<Self> {
        let file = |end: &str| Writer::create(&folder.join(format!("{}_{end}.pcap", name.replace('/', "_"))));
        Ok(Self { received: Mutex::new(file("in")?), sent: Mutex::new(file("out")?) })
    }

    pub fn received(&self, frame: &[u8]) {
        // A full disk must not stop traffic.
        let _ = self.received.lock().write(frame, &[]);
    }

    pub fn sent(&self, head: &[u8], body: &[u8]) {
        let _ = self.sent.lock().write(head, body);
    }

    pub fn flush(&self) {
        let _ = self.received.lock().flush();
        let _ = self.sent.lock().flush();
    }
}

/// A port's input from a file: every frame once, as fast as they are taken.
pub struct PcapRx {
    reader: Option<Reader>,
    ready: EventFd,
    lost: u64,
}

impl PcapRx {
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let reader = path.map(Reader::open).transpose()?;
        let ready = EventFd::new()?;
        if reader.is_some() {
            ready.signal();
        }
        Ok(Self { reader, ready, lost: 0 })
    }
}

impl PortRx for PcapRx {
    fn fd(&self) -> RawFd {
        self.ready.raw()
    }

    fn receive(&mut self, budget: usize, take: &mut dyn FnMut(&mut [u8], &Offload)) -> usize {
        let Some(reader) = &mut self.reader else { return 0 };
        for done in 0..budget {
            match reader.next_frame() {
                Ok(Some(frame)) => take(frame, &Offload::NONE),
                end => {
                    self.lost += u64::from(end.is_err());
                    self.reader = None;
                    self.ready.clear();
                    return done;
                }
            }
        }
        budget
    }

    fn take_drops(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

/// A port's output to a file, or to nowhere.
pub struct PcapTx(pub Option<Arc<Mutex<Writer>>>);

impl PortTx for PcapTx {
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    fn send(&mut self, head: &[u8], body: &[u8], _: &Offload) -> Sent {
        match &self.0 {
            Some(writer) if writer.lock().write(head, body).is_err() => Sent::Failed,
            _ => Sent::Yes,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |writer| writer.lock().flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcap");
        let mut writer = Writer::create(&path).unwrap();
        writer.write(b"head of a ", b"frame").unwrap();
        writer.write(b"second", b"").unwrap();
        writer.flush().unwrap();
        let mut rx = PcapRx::open(Some(&path)).unwrap();
        let mut seen = Vec::new();
        assert_eq!(rx.receive(10, &mut |f, _| seen.push(f.to_vec())), 2);
        assert_eq!(seen, [b"head of a frame".to_vec(), b"second".to_vec()]);
        assert_eq!(rx.receive(10, &mut |_, _| panic!("more")), 0);
    }

    #[test]
    fn reads_both_byte_orders_and_names_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.pcap");
        let mut file = Vec::new();
        for word in [MAGIC_NANOS, 0x0002_0004, 0, 0, 65535, 1, 0, 0, 4, 4] {
            file.extend(u32::to_be_bytes(word));
        }
        file.extend(b"abcd");
        std::fs::write(&path, &file).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.next_frame().unwrap().unwrap(), b"abcd");
        assert!(reader.next_frame().unwrap().is_none());

        std::fs::write(&path, [&file[..20], &[0, 0, 0, 113]].concat()).unwrap();
        assert!(Reader::open(&path).err().unwrap().to_string().contains("link type 113"));
        std::fs::write(&path, [0x0a; 24]).unwrap();
        assert!(Reader::open(&path).err().unwrap().to_string().contains("allowed is classic pcap"));
        std::fs::write(&path, &file[..file.len() - 1]).unwrap();
        assert!(Reader::open(&path).unwrap().next_frame().is_err());
    }
}
