//! A cluster of etcd for a test: members in a temporary folder, ways to connect, certificates.

use std::path::Path;
use std::time::Duration;

use pergola_store::etcd::{EtcdOptions, EtcdTls};
use pergola_store::{Error, EtcdStore};

pub struct Members {
    // Before the folder, which must be there until they have ended.
    members: pergola_etcd_members::Members,
    _dir: tempfile::TempDir,
}

impl Members {
    pub fn start(count: usize) -> Self {
        Self::start_with(count, "http", |_| Vec::new())
    }

    /// Starts members with more arguments; `more` may write files to the folder it is given.
    pub fn start_with(count: usize, scheme: &str, more: impl Fn(&Path) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let members = pergola_etcd_members::Members::start(dir.path(), count, scheme, &more(dir.path()));
        Self { members: members.unwrap(), _dir: dir }
    }

    pub fn run(&mut self, index: usize) {
        self.members.run(index).unwrap();
    }

    pub fn kill(&mut self, index: usize) {
        self.members.kill(index).unwrap();
    }

    pub fn signal(&self, index: usize, signal: &str) {
        self.members.signal(index, signal).unwrap();
    }

    pub fn endpoint(&self, index: usize) -> String {
        self.members.urls().swap_remove(index)
    }

    /// Options to reach all members, without any compaction by us.
    pub fn options(&self) -> EtcdOptions {
        let urls = self.members.urls();
        let allow_plaintext = urls[0].starts_with("http://");
        let mut options = EtcdOptions::new(urls, "test");
        options.allow_plaintext = allow_plaintext;
        options.history.check_every = Duration::ZERO;
        options
    }

    pub async fn connect(&self) -> EtcdStore {
        connect(self.options()).await
    }

    /// The member that leads, asked with etcdctl's own protocol.
    pub async fn leader(&self) -> usize {
        for (index, url) in self.members.urls().into_iter().enumerate() {
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
