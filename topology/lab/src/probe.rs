//! How much traffic a change costs: a stream of numbered packets at a constant rate between two hosts, and what was lost.

use crate::error::{Doing, LabError};
use crate::lab::Lab;
use crate::ping::{echo_reply, echo_request, echo_socket, initialised, next_ident};
use crate::sys::poll;
use serde::Serialize;
use socket2::Socket;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of number and time in every packet.
const STAMP: usize = 16;
/// After the last packet was sent: no more is expected when none comes for this long.
const QUIET: Duration = Duration::from_millis(300);

/// What to send.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSpec {
    pub from: String,
    /// A host, or for [`ProbeKind::Echo`] any address.
    pub to: String,
    pub v6: bool,
    pub kind: ProbeKind,
    pub rate_pps: u32,
    /// Payload, 16 to 1,400.
    pub size_bytes: usize,
    /// UDP source ports in turn (or ICMP identifiers), so that several paths carry traffic. At least 1.
    pub flows: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// One way, received on the other host.
    Udp,
    /// There and back; nothing has to run at the other end.
    Echo,
}

impl ProbeSpec {
    /// 10,000 UDP packets a second in one flow.
    pub fn new(from: &str, to: &str) -> Self {
        let (from, to) = (from.to_owned(), to.to_owned());
        Self { from, to, v6: false, kind: ProbeKind::Udp, rate_pps: 10_000, size_bytes: 64, flows: 1 }
    }
}

/// A stream under way.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    sender: JoinHandle<Sent>,
    receiver: JoinHandle<io::Result<Vec<Arrival>>>,
    rate_pps: u32,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    number: u64,
    sent_ns: u64,
    received_ns: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    packets: u64,
    refused: u64,
    last_ns: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProbeReport {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// Arrived after one with a higher number.
    pub reordered: u64,
    /// Of the lost, those the sender's own kernel did not take.
    pub refused: u64,
    pub rate_pps: u32,
    /// Runs of lost packets, in order.
    pub gaps: Vec<Gap>,
    /// Longest time without an arrival: also counts what the machine's scheduler did.
    pub longest_silence_ms: f64,
    pub latency_us: Latency,
}

/// A run of lost packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Gap {
    /// Number of the first lost packet.
    pub first: u64,
    pub lost: u64,
    /// From the sending of the last packet that arrived to the sending of the next that did: how long the path was
    /// broken, whatever the scheduler did meanwhile.
    pub ms: f64,
    /// When it began, since the start.
    pub at_ms: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub median: f64,
    pub p99: f64,
    pub max: f64,
}

impl ProbeReport {
    /// 0 when nothing was lost.
    pub fn longest_gap_ms(&self) -> f64 {
        self.gaps.iter().map(|g| g.ms).fold(0.0, f64::max)
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, received, lost, rate_pps, .. } = self;
        writeln!(
            f,
            "sent {sent} at {rate_pps}/s, received {received}, lost {lost}, duplicated {}, reordered {}",
            self.duplicated, self.reordered
        )?;
        writeln!(f, "longest gap {:.2} ms, longest silence {:.2} ms", self.longest_gap_ms(), self.longest_silence_ms)?;
        let Latency { median, p99, max } = self.latency_us;
        write!(f, "latency median {median:.0} us, 99 % {p99:.0} us, max {max:.0} us")?;
        let shown = self.gaps.iter().take(10);
        shown.clone().try_for_each(|g| write!(f, "\n  gap at {:.1} ms: {} lost, {:.2} ms", g.at_ms, g.lost, g.ms))?;
        match self.gaps.len().saturating_sub(10) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl Probe {
    /// Starts sending at once.
    pub fn start(lab: &Lab, spec: &ProbeSpec) -> Result<Self, LabError> {
        if !(STAMP..=1400).contains(&spec.size_bytes) {
            return Err(LabError::spec("size_bytes", spec.size_bytes, "16 to 1400"));
        }
        if spec.rate_pps == 0 || spec.flows == 0 {
            return Err(LabError::spec("rate_pps, flows", 0, "at least 1"));
        }
        let to = target(lab, spec)?;
        let stop = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let epoch = Instant::now();
        let (out, input) = open(lab, spec, to)?;
        let (count, stopped) = (Arc::clone(&received), Arc::new(AtomicBool::new(false)));
        let sender_done = Arc::clone(&stopped);
        let receiver = std::thread::spawn(move || receive(&input, epoch, &count, &stopped));
        let (spec, flag) = (spec.clone(), Arc::clone(&stop));
        let rate_pps = spec.rate_pps;
        let sender = std::thread::spawn(move || {
            let sent = send(&out, &spec, epoch, &flag);
            sender_done.store(true, Ordering::Release);
            sent
        });
        Ok(Self { stop, received, sender, receiver, rate_pps })
    }

    /// How many packets have arrived.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for what is under way, and counts.
    pub fn stop(self) -> Result<ProbeReport, LabError> {
        self.stop.store(true, Ordering::Release);
        let sent = self.sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let arrivals = self.receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let arrivals = arrivals.doing(|| "receiving".into())?;
        Ok(evaluate(sent, arrivals, self.rate_pps))
    }
}

fn target(lab: &Lab, spec: &ProbeSpec) -> Result<IpAddr, LabError> {
    if let Ok(address) = spec.to.parse::<IpAddr>() {
        if spec.kind == ProbeKind::Echo && address.is_ipv6() == spec.v6 {
            return Ok(address);
        }
        return Err(LabError::spec("to", address, "a host, or with echo an address of the family asked for"));
    }
    let family = if spec.v6 { "IPv6" } else { "IPv4" };
    lab.namespace(&spec.to)?;
    lab.address(&spec.to, spec.v6)
        .ok_or_else(|| LabError::spec("to", &spec.to, format!("a host with an {family} address")))
}

/// The sending end.
enum Out {
    Udp(Vec<UdpSocket>),
    Echo { socket: Socket, to: SocketAddr, v6: bool, first_ident: u16 },
}

/// The receiving end.
enum In {
    Udp(UdpSocket),
    Echo { socket: Socket, v6: bool, first_ident: u16, flows: u16 },
}

fn open(lab: &Lab, spec: &ProbeSpec, to: IpAddr) -> Result<(Out, In), LabError> {
    let from_ns = lab.namespace(&spec.from)?;
    let opening = |what: &str| format!("opening a socket on {what}");
    if spec.kind == ProbeKind::Echo {
        let socket = echo_socket(&from_ns, spec.v6).doing(|| opening(&spec.from))?;
        let input = socket.try_clone().doing(|| opening(&spec.from))?;
        let (first_ident, flows, v6) = (next_ident(), spec.flows, spec.v6);
        let out = Out::Echo { socket, to: SocketAddr::new(to, 0), v6, first_ident };
        return Ok((out, In::Echo { socket: input, v6, first_ident, flows }));
    }
    let any: SocketAddr =
        if spec.v6 { "[::]:0" } else { "0.0.0.0:0" }.parse().map_err(|e| LabError::spec("address", e, "an address"))?;
    let input = lab
        .namespace(&spec.to)?
        .run(|| UdpSocket::bind(SocketAddr::new(to, 0)))
        .and_then(|r| r)
        .doing(|| opening(&spec.to))?;
    socket2::SockRef::from(&input).set_recv_buffer_size(8 << 20).doing(|| opening(&spec.to))?;
    input.set_nonblocking(true).doing(|| opening(&spec.to))?;
    let to = input.local_addr().doing(|| opening(&spec.to))?;
    let connect = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let sockets = || (0..spec.flows).map(|_| connect()).collect::<io::Result<Vec<_>>>();
    let out = from_ns.run(sockets).and_then(|r| r).doing(|| opening(&spec.from))?;
    Ok((Out::Udp(out), In::Udp(input)))
}

fn send(out: &Out, spec: &ProbeSpec, epoch: Instant, stop: &AtomicBool) -> Sent {
    poll::precise_sleep();
    let interval = Duration::from_secs(1) / spec.rate_pps;
    let start = Instant::now();
    let mut sent = Sent::default();
    let mut payload = vec![0u8; spec.size_bytes];
    while !stop.load(Ordering::Acquire) {
        let due = start + interval * u32::try_from(sent.packets).unwrap_or(u32::MAX);
        let now = Instant::now();
        if due > now {
            std::thread::sleep(due - now);
        }
        sent.last_ns = nanos(epoch);
        payload[..8].copy_from_slice(&sent.packets.to_be_bytes());
        payload[8..STAMP].copy_from_slice(&sent.last_ns.to_be_bytes());
        let flow = sent.packets % u64::from(spec.flows);
        let done = match out {
            Out::Udp(sockets) => sockets[flow as usize].send(&payload),
            Out::Echo { socket, to, v6, first_ident } => {
                let ident = first_ident.wrapping_add(flow as u16);
                socket.send_to(&echo_request(*v6, ident, sent.packets as u16, &payload), &(*to).into())
            }
        };
        sent.refused += u64::from(done.is_err());
        sent.packets += 1;
    }
    sent
}

fn receive(input: &In, epoch: Instant, count: &AtomicU64, stopped: &AtomicBool) -> io::Result<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    let mut fds = [poll::readable(input.fd())];
    let mut last = Instant::now();
    loop {
        let over = stopped.load(Ordering::Acquire);
        // What wakes us may be for somebody else: another probe's answers reach this socket too.
        let quiet = poll::wait(&mut fds, Some(QUIET))? == 0;
        if over && (quiet || last.elapsed() > 2 * QUIET) {
            return Ok(arrivals);
        }
        while let Some(stamp) = input.take() {
            last = Instant::now();
            let (number, sent_ns) = stamp;
            arrivals.push(Arrival { number, sent_ns, received_ns: nanos(epoch) });
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl In {
    fn fd(&self) -> RawFd {
        match self {
            Self::Udp(socket) => socket.as_raw_fd(),
            Self::Echo { socket, .. } => socket.as_raw_fd(),
        }
    }

    /// Number and time of the next packet that is ours.
    fn take(&self) -> Option<(u64, u64)> {
        match self {
            Self::Udp(socket) => {
                let mut buffer = [0u8; 2048];
                loop {
                    let n = socket.recv(&mut buffer).ok()?;
                    if let Some(stamp) = read_stamp(&buffer[..n]) {
                        return Some(stamp);
                    }
                }
            }
            Self::Echo { socket, v6, first_ident, flows } => loop {
                let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
                let n = socket.recv(&mut buffer).ok()?;
                let bytes = initialised(&buffer, n);
                if let Some((ident, _, data)) = echo_reply(*v6, &bytes)
                    && ident.wrapping_sub(*first_ident) < *flows
                    && let Some(stamp) = read_stamp(data)
                {
                    return Some(stamp);
                }
            },
        }
    }
}

fn read_stamp(bytes: &[u8]) -> Option<(u64, u64)> {
    let number = bytes.first_chunk::<8>()?;
    let time = bytes.get(8..STAMP)?.try_into().ok()?;
    Some((u64::from_be_bytes(*number), u64::from_be_bytes(time)))
}

fn nanos(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn evaluate(sent: Sent, mut arrivals: Vec<Arrival>, rate_pps: u32) -> ProbeReport {
    let mut report = ProbeReport { sent: sent.packets, refused: sent.refused, rate_pps, ..ProbeReport::default() };
    let times = arrivals.windows(2).map(|w| w[1].received_ns.saturating_sub(w[0].received_ns));
    report.longest_silence_ms = times.max().unwrap_or(0) as f64 / 1e6;
    let mut highest = None;
    for arrival in &arrivals {
        report.reordered += u64::from(highest.is_some_and(|h| arrival.number < h));
        highest = highest.max(Some(arrival.number));
    }
    let mut latencies: Vec<u64> = arrivals.iter().map(|a| a.received_ns.saturating_sub(a.sent_ns)).collect();
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or(0) as f64 / 1e3;
    report.latency_us =
        Latency { median: at(0.5), p99: at(0.99), max: latencies.last().copied().unwrap_or(0) as f64 / 1e3 };

    let all = arrivals.len();
    arrivals.sort_unstable_by_key(|a| a.number);
    arrivals.dedup_by_key(|a| a.number);
    report.received = arrivals.len() as u64;
    report.duplicated = (all - arrivals.len()) as u64;
    report.lost = sent.packets.saturating_sub(report.received);
    let (mut next, mut since) = (0, arrivals.first().map_or(0, |a| a.sent_ns.min(sent.last_ns)));
    let start = since;
    let end = Arrival { number: sent.packets, sent_ns: sent.last_ns, received_ns: 0 };
    for arrival in arrivals.iter().chain([&end]) {
        if arrival.number > next {
            let ms = |ns: u64| ns as f64 / 1e6;
            let gap = Gap {
                first: next,
                lost: arrival.number - next,
                ms: ms(arrival.sent_ns.saturating_sub(since)),
                at_ms: ms(since.saturating_sub(start)),
            };
            report.gaps.push(gap);
        }
        (next, since) = (arrival.number + 1, arrival.sent_ns);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(numbers: &[u64]) -> Vec<Arrival> {
        let arrival = |(n, number): (usize, &u64)| Arrival {
            number: *number,
            sent_ns: number * 1_000_000,
            received_ns: n as u64 * 1_000_000 + 50_000,
        };
        numbers.iter().enumerate().map(arrival).collect()
    }

    fn sent(packets: u64) -> Sent {
        Sent { packets, refused: 0, last_ns: packets.saturating_sub(1) * 1_000_000 }
    }

    #[test]
    fn gaps_duplicates_and_order() {
        let report = evaluate(sent(10), arrivals(&[0, 1, 5, 4, 6, 6, 9]), 1000);
        assert_eq!((report.received, report.lost, report.duplicated, report.reordered), (6, 4, 1, 1));
        let gaps: Vec<(u64, u64, f64)> = report.gaps.iter().map(|g| (g.first, g.lost, g.ms)).collect();
        assert_eq!(gaps, vec![(2, 2, 3.0), (7, 2, 3.0)]);
        assert_eq!(report.longest_gap_ms(), 3.0);
    }

    #[test]
    fn loss_at_the_end_and_of_everything_counts() {
        let report = evaluate(sent(10), arrivals(&[0, 1, 2]), 1000);
        assert_eq!(report.gaps, vec![Gap { first: 3, lost: 7, ms: 7.0, at_ms: 2.0 }]);
        let nothing = evaluate(sent(10), vec![], 1000);
        assert_eq!((nothing.lost, nothing.gaps[0].lost, nothing.longest_gap_ms()), (10, 10, 9.0));
        assert!(evaluate(sent(3), arrivals(&[0, 1, 2]), 1000).gaps.is_empty());
    }
}
