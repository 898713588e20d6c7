//! What wakes a forwarding thread that has nothing to do.

use super::sys::{self, Epoll};
use std::io;
use std::os::fd::RawFd;

/// Up to this many descriptors are polled.
///
/// A descriptor that epoll watches costs every frame that arrives there a callback, also while the thread is awake, and one that is
/// polled costs every wait. Many ports that seldom have frames want the one, a few busy ones the other.
const FEW: usize = 12;

enum Way {
    Poll(Vec<libc::pollfd>, Vec<u64>),
    Epoll(Epoll),
}

/// Descriptors that a thread waits on again and again.
pub struct Wakers {
    way: Way,
    ready: Vec<Ready>,
}

/// A descriptor that ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub token: u64,
    /// It has an error and no input.
    pub fails: bool,
}

impl Wakers {
    /// For about `count` descriptors.
    pub fn new(count: usize) -> io::Result<Self> {
        let way = if count <= FEW { Way::Poll(Vec::new(), Vec::new()) } else { Way::Epoll(Epoll::new()?) };
        Ok(Self { way, ready: Vec::new() })
    }

    /// Waits for input of `fd` too, which must be removed before it is closed; `token` names it in what is ready.
    pub fn add(&mut self, fd: RawFd, token: u64) -> io::Result<()> {
        match &mut self.way {
            Way::Poll(fds, tokens) => {
                fds.push(sys::poll_in(fd));
                tokens.push(token);
                Ok(())
            }
            Way::Epoll(epoll) => epoll.add(fd, token),
        }
    }

    pub fn remove(&mut self, fd: RawFd) {
        match &mut self.way {
            Way::Poll(fds, tokens) => {
                if let Some(at) = fds.iter().position(|polled| polled.fd == fd) {
                    fds.swap_remove(at);
                    tokens.swap_remove(at);
                }
            }
            Way::Epoll(epoll) => epoll.remove(fd),
        }
    }

    /// Waits for readiness; `timeout_ms` below zero waits for ever. Interruption counts as nothing ready.
    pub fn wait(&mut self, timeout_ms: i32) -> io::Result<&[Ready]> {
        self.ready.clear();
        match &mut self.way {
            Way::Poll(fds, tokens) => {
                sys::poll(fds, timeout_ms)?;
                let woken = fds.iter().zip(tokens).filter(|(polled, _)| polled.revents != 0);
                self.ready.extend(
                    woken.map(|(polled, &mut token)| Ready { token, fails: polled.revents & libc::POLLIN == 0 }),
                );
            }
            Way::Epoll(epoll) => {
                self.ready.extend(epoll.wait(timeout_ms)?.map(|(token, fails)| Ready { token, fails }))
            }
        }
        Ok(&self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sys::EventFd;
    use super::*;

    #[test]
    fn few_and_many_wake_alike() {
        for count in [FEW, FEW + 1] {
            let events: Vec<EventFd> = (0..count).map(|_| EventFd::new().unwrap()).collect();
            let mut wakers = Wakers::new(count).unwrap();
            for (token, event) in events.iter().enumerate() {
                wakers.add(event.raw(), token as u64 + 100).unwrap();
            }
            assert_eq!(wakers.wait(0).unwrap(), []);
            events[3].signal();
            assert_eq!(wakers.wait(-1).unwrap(), [Ready { token: 103, fails: false }]);
            assert_eq!(wakers.wait(-1).unwrap(), [Ready { token: 103, fails: false }], "as long as it is ready");
            wakers.remove(events[3].raw());
            assert_eq!(wakers.wait(0).unwrap(), []);
            events[count - 1].signal();
            assert_eq!(wakers.wait(-1).unwrap(), [Ready { token: 99 + count as u64, fails: false }]);
        }
    }
}
