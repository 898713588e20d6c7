//! Many hosts in one process: each has its own smoltcp stack (ARP, NDP, echo, UDP and TCP echo on port 7) and tags, all on
//! one raw socket. A Unix socket takes questions, one JSON line each: [`ask`].

mod host;
mod pings;

use super::frame::Frame;
use super::{UserHostsConfig, invalid, ready};
use crate::sys::packet::{PacketSocket, VnetHeader};
use crate::sys::poll;
use host::Player;
use pings::Pings;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Frames read before the stacks get to work.
const BURST: usize = 256;

/// A question to the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Echo requests, all at once, repeated every half second until answered or the time is over.
    Ping {
        pairs: Vec<(String, IpAddr)>,
        timeout_ms: u64,
    },
    /// Gratuitous ARP and unsolicited neighbour advertisements from every host.
    Announce,
    Counters,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Round-trip times in microseconds, in the order asked; `None` where no answer came.
    Ping {
        rtt_us: Vec<Option<u64>>,
    },
    Announced,
    Counters(Counters),
    Error(String),
}

/// Frames seen and sent by all hosts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub received: u64,
    pub sent: u64,
    /// Frames with tags or a MAC that no host here has.
    pub for_nobody: u64,
}

/// Asks a running process of user hosts.
pub fn ask(control: &Path, question: &Ask) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(control)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    let mut text = serde_json::to_vec(question)?;
    text.push(b'\n');
    stream.write_all(&text)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

pub(super) fn run(config: UserHostsConfig) -> io::Result<()> {
    let socket = PacketSocket::open(&config.interface)?;
    let control = UnixListener::bind(&config.control)?;
    control.set_nonblocking(true)?;
    let players = config.hosts.iter().map(Player::new).collect::<io::Result<Vec<_>>>()?;
    let mut by_mac: HashMap<[u8; 6], Vec<usize>> = HashMap::new();
    for (n, player) in players.iter().enumerate() {
        by_mac.entry(player.mac).or_default().push(n);
    }
    let names = config.hosts.iter().enumerate().map(|(n, h)| (h.name.clone(), n)).collect();
    let mut all = All {
        socket,
        players,
        by_mac,
        names,
        pings: Pings::default(),
        frame: Frame::new(),
        counters: Counters::default(),
        touched: Vec::new(),
    };
    all.announce()?;
    ready()?;
    all.serve(&control)
}

struct All {
    socket: PacketSocket,
    players: Vec<Player>,
    /// Several hosts may have one MAC on different VLANs.
    by_mac: HashMap<[u8; 6], Vec<usize>>,
    names: HashMap<String, usize>,
    pings: Pings,
    frame: Frame,
    counters: Counters,
    /// Hosts with something new to work on.
    touched: Vec<usize>,
}

impl All {
    fn serve(&mut self, control: &UnixListener) -> io::Result<()> {
        let mut callers: Vec<BufReader<UnixStream>> = Vec::new();
        loop {
            let mut fds = vec![poll::readable(self.socket.as_raw_fd()), poll::readable(control.as_raw_fd())];
            fds.extend(callers.iter().map(|c| poll::readable(c.get_ref().as_raw_fd())));
            let now = Instant::now();
            let timers = self.players.iter().filter_map(|p| p.next).chain(self.pings.next());
            let wait = timers.min().map(|at| at.saturating_duration_since(now));
            poll::wait(&mut fds, wait)?;

            let mut kept = Vec::new();
            for (n, caller) in callers.into_iter().enumerate() {
                if poll::is_ready(&fds[n + 2]) {
                    self.answer(caller);
                } else {
                    kept.push(caller);
                }
            }
            callers = kept;
            while let Ok((stream, _)) = control.accept() {
                stream.set_nonblocking(false)?;
                callers.push(BufReader::new(stream));
            }
            self.receive()?;
            let now = Instant::now();
            self.pings.work(&mut self.players, &mut self.touched, now);
            self.work(now)?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        for _ in 0..BURST {
            let Some(received) = self.socket.receive(self.frame.space())? else { break };
            self.frame.received_from_wire(&received);
            if self.frame.is_runt() {
                continue;
            }
            self.counters.received += 1;
            let tags = self.frame.tags();
            self.frame.pop(tags.len());
            let bytes = self.frame.bytes();
            let mut taken = false;
            let mut give = |n: usize, player: &mut Player| {
                if player.tags == tags && player.wants(bytes) {
                    player.give(bytes);
                    taken = true;
                    self.touched.push(n);
                }
            };
            if bytes[0] & 1 == 1 {
                self.players.iter_mut().enumerate().for_each(|(n, p)| give(n, p));
            } else if let Some(those) = bytes.first_chunk::<6>().and_then(|mac| self.by_mac.get(mac)) {
                those.iter().for_each(|&n| give(n, &mut self.players[n]));
            }
            self.counters.for_nobody += u64::from(!taken);
        }
        Ok(())
    }

    /// Lets every stack run that has input or whose time has come, and sends what they say.
    fn work(&mut self, now: Instant) -> io::Result<()> {
        let due = self.players.iter().enumerate().filter(|(_, p)| p.next.is_some_and(|at| at <= now)).map(|(n, _)| n);
        let mut turn: Vec<usize> = due.chain(self.touched.drain(..)).collect();
        turn.sort_unstable();
        turn.dedup();
        for n in turn {
            self.players[n].work(now);
            for (sequence, v6) in self.players[n].take_echoes() {
                self.pings.answered(n, sequence, v6, Instant::now());
            }
            self.send_queued(n)?;
        }
        Ok(())
    }

    fn send_queued(&mut self, n: usize) -> io::Result<()> {
        while let Some(bytes) = self.players[n].take_frame() {
            self.frame.space()[..bytes.len()].copy_from_slice(&bytes);
            self.frame.received(bytes.len(), VnetHeader::default());
            for id in self.players[n].host_tags.iter().rev() {
                self.frame.push(0x8100, *id);
            }
            self.counters.sent += u64::from(self.socket.send(&VnetHeader::default(), self.frame.bytes())?);
        }
        Ok(())
    }

    fn announce(&mut self) -> io::Result<()> {
        for n in 0..self.players.len() {
            self.players[n].announce();
            self.send_queued(n)?;
        }
        Ok(())
    }

    fn answer(&mut self, mut caller: BufReader<UnixStream>) {
        let mut line = String::new();
        let question = caller.read_line(&mut line).and_then(|_| Ok(serde_json::from_str(&line)?));
        let reply = match question {
            Err(error) => Reply::Error(error.to_string()),
            Ok(Ask::Counters) => Reply::Counters(self.counters),
            Ok(Ask::Announce) => match self.announce() {
                Ok(()) => Reply::Announced,
                Err(error) => Reply::Error(error.to_string()),
            },
            Ok(Ask::Ping { pairs, timeout_ms }) => match self.resolve(pairs) {
                Ok(pairs) => return self.pings.add(caller.into_inner(), pairs, Duration::from_millis(timeout_ms)),
                Err(error) => Reply::Error(error.to_string()),
            },
        };
        reply_to(&mut caller.into_inner(), &reply);
    }

    fn resolve(&self, pairs: Vec<(String, IpAddr)>) -> io::Result<Vec<(usize, IpAddr)>> {
        let find =
            |name: &String| self.names.get(name).copied().ok_or_else(|| invalid(format!("no host `{name}` here")));
        pairs.into_iter().map(|(name, to)| Ok((find(&name)?, to))).collect()
    }
}

/// A caller that has gone away loses its answer, nobody else.
fn reply_to(caller: &mut UnixStream, reply: &Reply) {
    if let Ok(mut text) = serde_json::to_vec(reply) {
        text.push(b'\n');
        let _ = caller.write_all(&text);
    }
}
