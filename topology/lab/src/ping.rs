//! Who reaches whom: echo requests between all hosts at once, over sockets opened inside the hosts' namespaces.

use crate::agent::{Ask, Reply, ask};
use crate::checksum;
use crate::error::{Doing, LabError};
use crate::lab::Lab;
use crate::layout;
use crate::sys::netns::NetNs;
use crate::sys::poll;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Unanswered requests are sent again after this long.
const AGAIN: Duration = Duration::from_millis(300);
/// Requests sent before answers are looked at.
const BURST: usize = 64;

/// One question: does `from` reach `to` at this address?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub from: String,
    pub to: String,
    pub address: IpAddr,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingResult {
    pub pair: Pair,
    /// Round trip of the request that was answered; `None` when none was.
    pub rtt: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PingReport {
    pub results: Vec<PingResult>,
}

impl PingReport {
    pub fn failed(&self) -> impl Iterator<Item = &Pair> {
        self.results.iter().filter(|r| r.rtt.is_none()).map(|r| &r.pair)
    }

    pub fn all_answered(&self) -> bool {
        self.failed().next().is_none()
    }
}

impl fmt::Display for PingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = self.results.iter().filter_map(|r| r.rtt);
        let slowest = answered.clone().max().unwrap_or_default();
        write!(f, "{} of {} pairs answered", answered.count(), self.results.len())?;
        write!(f, ", slowest {:.2} ms", slowest.as_secs_f64() * 1e3)?;
        self.failed().try_for_each(|p| write!(f, "\n  no answer: {} -> {} ({})", p.from, p.to, p.address))
    }
}

/// Every host to every address of every other host, in the families it has itself. Hosts in user space count, named
/// `GROUP:HOST`.
pub fn all_pairs(lab: &Lab) -> Result<Vec<Pair>, LabError> {
    let hosts = addresses(lab)?;
    let mut pairs = Vec::new();
    for (from, own) in &hosts {
        for (to, theirs) in hosts.iter().filter(|(to, _)| *to != from) {
            let same_family = |a: &&IpAddr| own.iter().any(|o| o.is_ipv4() == a.is_ipv4());
            let pair = |a: &IpAddr| Pair { from: from.clone(), to: to.clone(), address: *a };
            pairs.extend(theirs.iter().filter(same_family).map(pair));
        }
    }
    Ok(pairs)
}

/// The addresses of every host; those got from DHCP or router advertisements as they are now.
pub fn addresses(lab: &Lab) -> Result<BTreeMap<String, Vec<IpAddr>>, LabError> {
    let mut out = BTreeMap::new();
    for host in &lab.spec().hosts {
        let mut all: Vec<IpAddr> = host.interfaces.iter().flat_map(|i| &i.addresses).map(|a| a.addr()).collect();
        if host.interfaces.iter().any(|i| i.slaac || i.dhcp.v4 || i.dhcp.v6) {
            let now = current_addresses(lab, &host.name)?;
            all.extend(now.into_iter().filter(|a| !all.contains(a)).collect::<Vec<_>>());
        }
        out.insert(host.name.clone(), all);
    }
    for users in &lab.spec().user_hosts {
        for host in &users.hosts {
            let all = host.addresses.iter().map(|a| a.addr()).collect();
            out.insert(format!("{}:{}", users.name, host.name), all);
        }
    }
    Ok(out)
}

/// What the host's kernel has, without loopback and link-local addresses.
pub fn current_addresses(lab: &Lab, host: &str) -> Result<Vec<IpAddr>, LabError> {
    let output = lab.exec(host, "ip", &["-json", "addr", "show", "scope", "global"])?;
    let links: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| LabError::spec("output of `ip -json addr`", e, "JSON"))?;
    let infos = links.as_array().into_iter().flatten().filter_map(|l| l["addr_info"].as_array()).flatten();
    Ok(infos.filter_map(|i| i["local"].as_str()?.parse().ok()).collect())
}

/// Asks all pairs at once, again and again until each was answered or `limit` is over. A pair answers when any of its
/// requests was answered.
pub fn ping(lab: &Lab, pairs: &[Pair], limit: Duration) -> Result<PingReport, LabError> {
    let (mut linux, mut users): (Vec<usize>, BTreeMap<&str, Vec<usize>>) = Default::default();
    for (n, pair) in pairs.iter().enumerate() {
        match pair.from.split_once(':') {
            None => linux.push(n),
            Some((group, _)) => users.entry(group).or_default().push(n),
        }
    }
    let mut rtts: Vec<Option<Duration>> = vec![None; pairs.len()];
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            users.iter().map(|(group, of)| (of, scope.spawn(|| ask_group(lab, group, of, pairs, limit)))).collect();
        for (n, rtt) in from_linux_hosts(lab, pairs, &linux, limit)? {
            rtts[n] = Some(rtt);
        }
        for (of, thread) in asked {
            let answers = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            for (&n, rtt) in of.iter().zip(answers) {
                rtts[n] = rtt;
            }
        }
        Ok::<(), LabError>(())
    })?;
    let results = pairs.iter().cloned().zip(rtts).map(|(pair, rtt)| PingResult { pair, rtt }).collect();
    Ok(PingReport { results })
}

/// All pairs of the lab.
pub fn ping_all(lab: &Lab, limit: Duration) -> Result<PingReport, LabError> {
    ping(lab, &all_pairs(lab)?, limit)
}

fn ask_group(
    lab: &Lab,
    group: &str,
    of: &[usize],
    pairs: &[Pair],
    limit: Duration,
) -> Result<Vec<Option<Duration>>, LabError> {
    let name = |n: usize| pairs[n].from.split_once(':').map_or("", |(_, host)| host).to_owned();
    let question = Ask::Ping {
        pairs: of.iter().map(|&n| (name(n), pairs[n].address)).collect(),
        timeout_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    };
    let control = lab.folder().join(format!("{group}.sock"));
    match ask(&control, &question).doing(|| format!("asking {group}"))? {
        Reply::Ping { rtt_us } => Ok(rtt_us.into_iter().map(|r| r.map(Duration::from_micros)).collect()),
        other => Err(LabError::spec(format!("answer of {group}"), format!("{other:?}"), "round-trip times")),
    }
}

/// One socket a host and family.
struct Source {
    socket: Socket,
    v6: bool,
    pairs: Vec<usize>,
}

fn from_linux_hosts(
    lab: &Lab,
    pairs: &[Pair],
    which: &[usize],
    limit: Duration,
) -> Result<Vec<(usize, Duration)>, LabError> {
    let mut by_source: BTreeMap<(&str, bool), Vec<usize>> = BTreeMap::new();
    for &n in which {
        by_source.entry((&pairs[n].from, pairs[n].address.is_ipv6())).or_default().push(n);
    }
    let open = |((host, v6), pairs): ((&str, bool), Vec<usize>)| {
        let ns = lab.open_namespace(&layout::host_namespace(lab.name(), host))?;
        let socket = echo_socket(&ns, v6).doing(|| format!("opening an ICMP socket on {host}"))?;
        Ok(Source { socket, v6, pairs })
    };
    let sources = by_source.into_iter().map(open).collect::<Result<Vec<_>, LabError>>()?;
    let mut round = Round::new(pairs, sources);
    round.run(limit).doing(|| "sending echo requests".into())?;
    Ok(round.answers.into_iter().collect())
}

struct Round<'a> {
    pairs: &'a [Pair],
    sources: Vec<Source>,
    ident: u16,
    sent: HashMap<usize, Instant>,
    answers: HashMap<usize, Duration>,
    total: usize,
}

impl<'a> Round<'a> {
    fn new(pairs: &'a [Pair], sources: Vec<Source>) -> Self {
        let total = sources.iter().map(|s| s.pairs.len()).sum();
        Self { pairs, sources, ident: next_ident(), sent: HashMap::new(), answers: HashMap::new(), total }
    }

    fn run(&mut self, limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        while self.answers.len() < self.total && Instant::now() < deadline {
            let again = (Instant::now() + AGAIN).min(deadline);
            let mut burst = 0;
            for s in 0..self.sources.len() {
                for position in 0..self.sources[s].pairs.len() {
                    let n = self.sources[s].pairs[position];
                    if self.answers.contains_key(&n) {
                        continue;
                    }
                    self.send(s, position, n);
                    burst += 1;
                    if burst % BURST == 0 {
                        self.receive(Instant::now())?;
                    }
                }
            }
            while self.answers.len() < self.total && Instant::now() < again {
                self.receive(again)?;
            }
        }
        Ok(())
    }

    /// A host that has no route, or no answer to its ARP, says so here: it stays without an answer.
    fn send(&mut self, source: usize, position: usize, n: usize) {
        let source = &self.sources[source];
        let to = SockAddr::from(SocketAddr::new(self.pairs[n].address, 0));
        let sequence = position as u16;
        self.sent.insert(n, Instant::now());
        let _ = source.socket.send_to(&echo_request(source.v6, self.ident, sequence, &[0x70; 24]), &to);
    }

    /// Takes what has come; waits for something until `until`.
    fn receive(&mut self, until: Instant) -> io::Result<()> {
        let mut fds: Vec<libc::pollfd> = self.sources.iter().map(|s| poll::readable(s.socket.as_raw_fd())).collect();
        poll::wait(&mut fds, Some(until.saturating_duration_since(Instant::now())))?;
        for s in (0..self.sources.len()).filter(|&s| poll::is_ready(&fds[s])) {
            let source = &self.sources[s];
            let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
            while let Ok(length) = source.socket.recv(&mut buffer) {
                let bytes = initialised(&buffer, length);
                let Some((ident, sequence, _)) = echo_reply(source.v6, &bytes) else { continue };
                let Some(&n) = source.pairs.get(usize::from(sequence)).filter(|_| ident == self.ident) else {
                    continue;
                };
                let at = self.sent.get(&n).map(Instant::elapsed).unwrap_or_default();
                self.answers.entry(n).or_insert(at);
            }
        }
        Ok(())
    }
}

/// The bytes that a receive call wrote.
#[allow(unsafe_code)] // `MaybeUninit::assume_init` for bytes the kernel has just written; std has no safe form yet.
pub(crate) fn initialised(buffer: &[MaybeUninit<u8>], length: usize) -> Vec<u8> {
    // SAFETY: recv wrote the first `length` bytes.
    buffer[..length].iter().map(|b| unsafe { b.assume_init() }).collect()
}

/// An identifier of its own for every round, so that late answers are not taken for new ones.
pub(crate) fn next_ident() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mixed = (std::process::id() as u16).rotate_left(7);
    mixed ^ NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A raw ICMP or ICMPv6 socket inside a namespace.
pub(crate) fn echo_socket(ns: &NetNs, v6: bool) -> io::Result<Socket> {
    let open = || {
        let (domain, protocol) = if v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(4 << 20)?;
        Ok(socket)
    };
    ns.run(open)?
}

/// RFC 792 and RFC 4443; the kernel computes the checksum of ICMPv6.
pub(crate) fn echo_request(v6: bool, ident: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let mut out = vec![if v6 { 128 } else { 8 }, 0, 0, 0];
    out.extend(ident.to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(data);
    if !v6 {
        let sum = checksum::internet(&out);
        out[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    out
}

/// Identifier, sequence number and data of an echo reply. IPv4 raw sockets deliver the IP header too.
pub(crate) fn echo_reply(v6: bool, bytes: &[u8]) -> Option<(u16, u16, &[u8])> {
    let message = match v6 {
        true => bytes,
        false => bytes.get(usize::from(bytes.first()? & 0xf) * 4..)?,
    };
    let (header, data) = message.split_first_chunk::<8>()?;
    let word = |n: usize| u16::from_be_bytes([header[n], header[n + 1]]);
    (header[0] == if v6 { 129 } else { 0 }).then(|| (word(4), word(6), data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_told_from_a_request() {
        let mut packet = vec![0x45; 20];
        packet.extend(echo_request(false, 7, 9, b"data"));
        assert_eq!(echo_reply(false, &packet), None);
        packet[20] = 0;
        assert_eq!(echo_reply(false, &packet), Some((7, 9, &b"data"[..])));
        assert_eq!(echo_reply(false, &packet[..25]), None);
        assert_eq!(echo_reply(false, &[]), None);
    }

    #[test]
    fn the_report_names_the_failing_pairs() {
        let pair = |to: &str| Pair { from: "h1".into(), to: to.into(), address: "10.0.0.2".parse().unwrap() };
        let good = PingResult { pair: pair("h2"), rtt: Some(Duration::from_micros(1500)) };
        let report = PingReport { results: vec![good, PingResult { pair: pair("h3"), rtt: None }] };
        assert_eq!(report.to_string(), "1 of 2 pairs answered, slowest 1.50 ms\n  no answer: h1 -> h3 (10.0.0.2)");
        assert!(!report.all_answered());
    }
}
