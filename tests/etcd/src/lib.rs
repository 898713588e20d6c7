//! Debian's etcd as child processes: one member or several that form a cluster, for tests and benchmarks.
//!
//! [`members`] says what to run, for those who run it their own way; [`Members`] runs it.

use std::fs::File;
use std::io::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// One member of a cluster.
#[derive(Clone, Debug)]
pub struct Member {
    /// `m0`, `m1` and so on.
    pub name: String,
    /// Of `etcd`.
    pub args: Vec<String>,
    /// Where clients find it.
    pub url: String,
}

/// The members of a new cluster on loopback, one for each pair of ports for clients and peers. Their data goes below
/// `folder`; clients speak `scheme`.
pub fn members(folder: &Path, scheme: &str, ports: &[(u16, u16)]) -> Vec<Member> {
    let peer = |port: u16| format!("http://127.0.0.1:{port}");
    let all: Vec<String> = ports.iter().enumerate().map(|(i, (_, p))| format!("m{i}={}", peer(*p))).collect();
    let member = |(i, (client, own)): (usize, &(u16, u16))| {
        let name = format!("m{i}");
        let url = format!("{scheme}://127.0.0.1:{client}");
        let args = [
            ("--name", name.clone()),
            ("--data-dir", folder.join(&name).display().to_string()),
            ("--listen-client-urls", url.clone()),
            ("--advertise-client-urls", url.clone()),
            ("--listen-peer-urls", peer(*own)),
            ("--initial-advertise-peer-urls", peer(*own)),
            ("--initial-cluster", all.join(",")),
            ("--initial-cluster-token", format!("t{}", ports[0].0)),
            // Leases can be as short as three half elections: with these, one second.
            ("--heartbeat-interval", "50".to_owned()),
            ("--election-timeout", "500".to_owned()),
            ("--logger", "zap".to_owned()),
            ("--log-level", "error".to_owned()),
        ];
        let args = args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        Member { name, args, url }
    };
    ports.iter().enumerate().map(member).collect()
}

/// Pairs of ports of loopback that nobody uses now.
///
/// # Errors
/// When there are none.
pub fn free_ports(count: usize) -> Result<Vec<(u16, u16)>> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let held: Vec<TcpListener> = (0..2 * count).map(|_| TcpListener::bind(any)).collect::<Result<_>>()?;
    let ports: Vec<u16> = held.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<_>>()?;
    Ok(ports.chunks(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Members that run, and end with this value.
pub struct Members {
    folder: PathBuf,
    members: Vec<(Member, Option<Child>)>,
}

impl Members {
    /// Starts a cluster on free ports. `more` arguments go to each member.
    ///
    /// # Errors
    /// When etcd is not there (Debian package etcd-server).
    pub fn start(folder: &Path, count: usize, scheme: &str, more: &[String]) -> Result<Members> {
        let members = members(folder, scheme, &free_ports(count)?).into_iter().map(|mut member| {
            member.args.extend_from_slice(more);
            (member, None)
        });
        let mut started = Members { folder: folder.to_owned(), members: members.collect() };
        (0..count).try_for_each(|i| started.run(i))?;
        Ok(started)
    }

    /// Starts a member that does not run.
    ///
    /// # Errors
    /// When it runs, or cannot.
    pub fn run(&mut self, index: usize) -> Result<()> {
        let (member, child) = &mut self.members[index];
        if child.is_some() {
            return Err(Error::other(format!("{} runs", member.name)));
        }
        let log = File::options().create(true).append(true).open(self.folder.join(format!("{}.log", member.name)))?;
        let mut etcd = Command::new("etcd");
        etcd.args(&member.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let said = |e: Error| Error::new(e.kind(), format!("etcd (Debian package etcd-server): {e}"));
        *child = Some(etcd.spawn().map_err(said)?);
        Ok(())
    }

    /// Ends a member at once, as a power cut would.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        let Some(mut child) = self.members[index].1.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(|_| ())
    }

    /// Stops a member in its tracks (`STOP`) or lets it go on (`CONT`).
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, index: usize, signal: &str) -> Result<()> {
        let (member, child) = &self.members[index];
        let id = child.as_ref().map(Child::id).ok_or_else(|| Error::other(format!("{} does not run", member.name)))?;
        let sent = Command::new("kill").args([format!("-{signal}"), id.to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(Error::other(format!("kill -{signal} {id}: {sent}"))) }
    }

    /// Where clients find each member.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|(member, _)| member.url.clone()).collect()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        // One that cannot be ended is not ours any more.
        (0..self.members.len()).for_each(|i| drop(self.kill(i)));
    }
}
