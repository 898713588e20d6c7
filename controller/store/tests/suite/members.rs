//! Debian's etcd as a child process: one member or several, on loopback, in a temporary folder.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pergola_store::etcd::{EtcdOptions, EtcdTls};
use pergola_store::{Error, EtcdStore};

pub struct Members {
    dir: tempfile::TempDir,
    members: Vec<Member>,
    /// Scheme of the clients' endpoints.
    scheme: &'static str,
}

struct Member {
    args: Vec<String>,
    client_port: u16,
    child: Option<Child>,
}

/// Ports nobody uses now.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}

impl Members {
    pub fn start(count: usize) -> Self {
        Self::start_with(count, "http", |_| Vec::new())
    }

    /// Starts members with more arguments; `more` may write files to the folder it is given.
    pub fn start_with(count: usize, scheme: &'static str, more: impl Fn(&Path) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * count);
        let peer = |i: usize| format!("http://127.0.0.1:{}", ports[count + i]);
        let cluster: Vec<_> = (0..count).map(|i| format!("m{i}={}", peer(i))).collect();
        let more = more(dir.path());
        let members = (0..count).map(|i| {
            let client = format!("{scheme}://127.0.0.1:{}", ports[i]);
            let data = dir.path().join(format!("m{i}"));
            let mut args: Vec<String> = [
                ("--name", format!("m{i}")),
                ("--data-dir", data.display().to_string()),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer(i)),
                ("--initial-advertise-peer-urls", peer(i)),
                ("--initial-cluster", cluster.join(",")),
                ("--initial-cluster-state", "new".to_owned()),
                ("--initial-cluster-token", format!("t{}", ports[0])),
                // Leases can be as short as three half elections: with these, one second.
                ("--heartbeat-interval", "50".to_owned()),
                ("--election-timeout", "500".to_owned()),
                ("--logger", "zap".to_owned()),
                ("--log-level", "error".to_owned()),
            ]
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
            args.extend(more.clone());
            Member { args, client_port: ports[i], child: None }
        });
        let members = members.collect();
        let mut cluster = Self { dir, members, scheme };
        (0..count).for_each(|i| cluster.run(i));
        cluster
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Starts a member that does not run.
    pub fn run(&mut self, index: usize) {
        let log = std::fs::File::create(self.dir.path().join(format!("m{index}.log"))).unwrap();
        let member = &mut self.members[index];
        assert!(member.child.is_none());
        let started = Command::new("etcd")
            .args(&member.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        member.child = Some(started.expect("etcd starts (Debian package etcd-server)"));
    }

    /// Ends a member at once, as a power cut would.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.members[index].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops a member in its tracks (`STOP`) or lets it go on (`CONT`).
    pub fn signal(&self, index: usize, signal: &str) {
        let child = self.members[index].child.as_ref().unwrap();
        let args = [format!("-{signal}"), child.id().to_string()];
        assert!(Command::new("kill").args(args).status().unwrap().success());
    }

    pub fn endpoint(&self, index: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.members[index].client_port)
    }

    /// Options to reach all members, without any compaction by us.
    pub fn options(&self) -> EtcdOptions {
        let endpoints = (0..self.members.len()).map(|i| self.endpoint(i));
        let mut options = EtcdOptions::new(endpoints, "test");
        options.allow_plaintext = self.scheme == "http";
        options.history.check_every = Duration::ZERO;
        options
    }

    pub async fn connect(&self) -> EtcdStore {
        connect(self.options()).await
    }

    /// The member that leads, asked with etcdctl's own protocol.
    pub async fn leader(&self) -> usize {
        for index in 0..self.members.len() {
            let url = self.endpoint(index);
            let mut client = etcd_client::Client::connect([url], None).await.unwrap();
            if let Ok(status) = client.status().await
                && status.leader() == status.header().unwrap().member_id()
            {
                return index;
            }
        }
        panic!("no member leads");
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|i| self.kill(i));
    }
}

/// Connects as soon as the members answer.
pub async fn connect(options: EtcdOptions) -> EtcdStore {
    let mut last = None;
    for _ in 0..8 {
        match EtcdStore::connect(options.clone()).await {
            Ok(store) => return store,
            Err(error @ Error::Unavailable { .. }) => last = Some(error),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("{last:?}")
}

/// An authority with a certificate for the members and one for a client.
pub struct Certificates {
    pub ca: String,
    pub server: (String, String),
    pub client: (String, String),
}

impl Certificates {
    pub fn new(client_name: &str) -> Self {
        use rcgen::{
            BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
            KeyUsagePurpose,
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let issue = |name: &str, purpose: &[ExtendedKeyUsagePurpose]| {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = purpose.to_vec();
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
        };
        let (server, client) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
        // etcd's own gateway is a client of the server with the server's certificate.
        let server = issue("etcd", &[server, client.clone()]);
        Self { ca, server, client: issue(client_name, &[client]) }
    }

    /// Writes the server's files, and gives the arguments that name them.
    pub fn server_args(&self, dir: &Path, clients_too: bool) -> Vec<String> {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let mut args = vec![
            format!("--cert-file={}", write("server.pem", &self.server.0)),
            format!("--key-file={}", write("server.key", &self.server.1)),
        ];
        if clients_too {
            args.push("--client-cert-auth".to_owned());
            args.push(format!("--trusted-ca-file={}", write("ca.pem", &self.ca)));
        }
        args
    }

    pub fn tls(&self, identity: bool) -> EtcdTls {
        let identity = identity.then(|| self.client.clone());
        EtcdTls { ca: self.ca.clone(), identity, server_name: None }
    }
}
