//! Carries TCP connections from this machine into the lab. A socket belongs to the network it was opened in: we listen
//! first, then move into the lab's namespace and connect from there.

use super::{ProxyConfig, ready};
use crate::rootless::LISTENERS;
use crate::sys::netns::NetNs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, RawFd};
use tokio::net::TcpStream;

pub(super) fn run(config: &ProxyConfig) -> io::Result<()> {
    let mut handed = handed_listeners();
    let mut doors = Vec::new();
    for forward in &config.forwards {
        let found = handed.iter().position(|(at, _)| *at == forward.listen);
        let listener = match found {
            Some(n) => handed.swap_remove(n).1,
            None => listen(forward.listen)?,
        };
        doors.push((listener, forward.to));
    }
    NetNs::open(&config.namespace)?.enter()?;
    for forward in &config.inside {
        doors.push((listen(forward.listen)?, forward.to));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        for (listener, to) in doors {
            listener.set_nonblocking(true)?;
            tokio::spawn(serve(tokio::net::TcpListener::from_std(listener)?, to));
        }
        ready()?;
        std::future::pending().await
    })
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(at).map_err(|e| io::Error::new(e.kind(), format!("{at}: {e}")))
}

async fn serve(listener: tokio::net::TcpListener, to: SocketAddr) -> io::Result<()> {
    loop {
        let mut outside = match listener.accept().await {
            Ok((stream, _)) => stream,
            // A caller that hung up again, or no descriptor left: the door stays open, and the pause keeps it from spinning.
            Err(_) => {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            }
        };
        tokio::spawn(async move {
            if let Ok(mut inside) = TcpStream::connect(to).await {
                let _ = (outside.set_nodelay(true), inside.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
    }
}

/// Listeners that were opened before we came into a user namespace.
#[allow(unsafe_code)] // The descriptors are ours by inheritance; the variable names them.
fn handed_listeners() -> Vec<(SocketAddr, TcpListener)> {
    let text = std::env::var(LISTENERS).unwrap_or_default();
    let pairs = text.split(',').filter_map(|pair| {
        let (fd, at) = pair.split_once('=')?;
        Some((fd.parse::<RawFd>().ok()?, at.parse::<SocketAddr>().ok()?))
    });
    // SAFETY: our parent left these descriptors open for us and nobody else here uses them.
    pairs.map(|(fd, at)| (at, unsafe { TcpListener::from_raw_fd(fd) })).collect()
}
