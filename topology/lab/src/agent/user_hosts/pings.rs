//! Echo requests under way and who waits for them.

use super::host::Player;
use super::{Reply, reply_to};
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const AGAIN: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Pings {
    jobs: HashMap<u64, Job>,
    next_job: u64,
    /// Host, sequence number and family of every request without an answer.
    waiting: HashMap<(usize, u16, bool), (u64, usize)>,
    sequences: HashMap<usize, u16>,
}

struct Job {
    caller: UnixStream,
    pings: Vec<Ping>,
    left: usize,
    again: Instant,
    deadline: Instant,
}

struct Ping {
    host: usize,
    to: IpAddr,
    sequence: u16,
    sent: Option<Instant>,
    rtt: Option<Duration>,
}

impl Pings {
    pub fn add(&mut self, caller: UnixStream, pairs: Vec<(usize, IpAddr)>, limit: Duration) {
        let id = self.next_job;
        self.next_job += 1;
        let now = Instant::now();
        let mut pings = Vec::with_capacity(pairs.len());
        for (n, (host, to)) in pairs.into_iter().enumerate() {
            let counter = self.sequences.entry(host).or_default();
            *counter = counter.wrapping_add(1);
            self.waiting.insert((host, *counter, to.is_ipv6()), (id, n));
            pings.push(Ping { host, to, sequence: *counter, sent: None, rtt: None });
        }
        let left = pings.len();
        self.jobs.insert(id, Job { caller, pings, left, again: now, deadline: now + limit });
    }

    /// When something is to be done.
    pub fn next(&self) -> Option<Instant> {
        self.jobs.values().map(|j| if j.left == 0 { j.again } else { j.again.min(j.deadline) }).min()
    }

    pub fn answered(&mut self, host: usize, sequence: u16, v6: bool, now: Instant) {
        let Some((id, n)) = self.waiting.remove(&(host, sequence, v6)) else { return };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let ping = &mut job.pings[n];
        ping.rtt = ping.sent.map(|at| now.saturating_duration_since(at));
        job.left -= 1;
        if job.left == 0 {
            job.again = now;
        }
    }

    /// Sends what is due and answers the callers whose jobs are over.
    pub fn work(&mut self, players: &mut [Player], touched: &mut Vec<usize>, now: Instant) {
        for job in self.jobs.values_mut().filter(|j| j.left > 0 && j.again <= now && j.deadline > now) {
            job.again = now + AGAIN;
            for ping in job.pings.iter_mut().filter(|p| p.rtt.is_none()) {
                if players[ping.host].send_echo(ping.to, ping.sequence) {
                    ping.sent = Some(now);
                }
                touched.push(ping.host);
            }
        }
        let over: Vec<u64> =
            self.jobs.iter().filter(|(_, j)| j.left == 0 || j.deadline <= now).map(|(id, _)| *id).collect();
        for id in over {
            let Some(mut job) = self.jobs.remove(&id) else { continue };
            for ping in &job.pings {
                self.waiting.remove(&(ping.host, ping.sequence, ping.to.is_ipv6()));
            }
            let micros = |rtt: Duration| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
            let rtt_us = job.pings.iter().map(|p| p.rtt.map(micros)).collect();
            reply_to(&mut job.caller, &Reply::Ping { rtt_us });
        }
    }
}
