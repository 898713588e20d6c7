//! Which store a command works on, and the commands that fill or move one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use pergola_store::embedded::EmbeddedOptions;
use pergola_store::etcd::{EtcdOptions, EtcdTls};
use pergola_store::transfer::{self, Transferred};
use pergola_store::{EmbeddedStore, Error, EtcdStore, Store, mastership};

/// Where a site's state is.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// Folder of the store, without --cluster.
    #[arg(long, default_value = "/var/lib/pergola")]
    pub data: PathBuf,
    /// The cluster's store: etcd= and the addresses of its members, as in etcd=https://10.0.0.1:2379,https://10.0.0.2:2379
    #[arg(long, value_name = "etcd=URL,...", value_parser = cluster)]
    pub cluster: Option<Endpoints>,
    /// The site's name: all it has in etcd is below pergola/NAME/.
    #[arg(long, default_value = "site", value_name = "NAME")]
    pub site: String,
    /// Certificate of the authority that signed the etcd members' certificates.
    #[arg(long, value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,
    /// Our certificate for etcd, and its key.
    #[arg(long, value_name = "FILE", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,
    /// User at etcd, and a file with the password.
    #[arg(long, value_name = "NAME", requires = "etcd_password_file")]
    pub etcd_user: Option<String>,
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    pub etcd_password_file: Option<PathBuf>,
    /// This is a lab: etcd and switches may be called without TLS.
    #[arg(long)]
    pub lab: bool,
}

/// The addresses of etcd's members.
#[derive(Debug, Clone)]
pub struct Endpoints(Vec<String>);

fn cluster(text: &str) -> Result<Endpoints, String> {
    let urls = text.strip_prefix("etcd=").ok_or("allowed: etcd=URL,URL,...")?;
    let urls: Vec<String> = urls.split(',').map(|u| u.trim().to_owned()).filter(|u| !u.is_empty()).collect();
    if urls.is_empty() { Err("no address after etcd=".to_owned()) } else { Ok(Endpoints(urls)) }
}

fn read(what: &str, path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{what} {}", path.display()))
}

impl StoreArgs {
    /// Opens the store; with --cluster the one in etcd.
    pub async fn open(&self) -> Result<Arc<dyn Store>> {
        match &self.cluster {
            Some(_) => self.open_etcd().await,
            None => self.open_file(),
        }
    }

    fn open_file(&self) -> Result<Arc<dyn Store>> {
        let path = self.data.join("store.redb");
        let store = EmbeddedStore::open(&path, EmbeddedOptions::default());
        Ok(Arc::new(store.with_context(|| format!("opening {}", path.display()))?))
    }

    /// Connects to etcd, and waits for a majority of its members as long as it takes.
    async fn open_etcd(&self) -> Result<Arc<dyn Store>> {
        let options = self.etcd_options()?;
        loop {
            match EtcdStore::connect(options.clone()).await {
                Ok(store) => return Ok(Arc::new(store)),
                Err(error @ Error::Unavailable { .. }) => tracing::warn!(%error, "waiting for etcd"),
                Err(error) => return Err(error).context("--cluster"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn etcd_options(&self) -> Result<EtcdOptions> {
        let Some(Endpoints(urls)) = &self.cluster else { bail!("--cluster is missing: it names the members of etcd") };
        let mut options = EtcdOptions::new(urls.clone(), self.site.clone());
        options.allow_plaintext = self.lab;
        let identity = match (&self.etcd_cert, &self.etcd_key) {
            (Some(cert), Some(key)) => Some((read("--etcd-cert", cert)?, read("--etcd-key", key)?)),
            _ => None,
        };
        options.tls = match &self.etcd_ca {
            Some(ca) => Some(EtcdTls { ca: read("--etcd-ca", ca)?, identity, server_name: None }),
            None if identity.is_some() => bail!("--etcd-ca is missing: it signs the members' certificates"),
            None => None,
        };
        if let (Some(user), Some(file)) = (&self.etcd_user, &self.etcd_password_file) {
            options.user = Some((user.clone(), read("--etcd-password-file", file)?.trim().to_owned()));
        }
        Ok(options)
    }
}

/// Commands on the store of a site whose controllers are stopped.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Copy everything to an empty store, and verify it there.
    Move(Move),
}

/// Where to, and the two stores.
#[derive(Debug, Args)]
pub struct Move {
    /// From the folder of --data to etcd, or back.
    #[arg(long, value_enum)]
    to: Target,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    Etcd,
    Data,
}

/// A file and the store to fill from it.
#[derive(Debug, Args)]
pub struct Restore {
    /// What `pergola backup` wrote.
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

impl StoreCommand {
    pub fn run(&self) -> Result<()> {
        let StoreCommand::Move(command) = self;
        block_on(command.run())
    }
}

impl Restore {
    pub fn run(&self) -> Result<()> {
        block_on(async {
            let to = self.store.open().await?;
            nobody_lives(to.clone()).await?;
            let done = transfer::restore(&self.file, &*to).await?;
            mastership::renew_epoch(&*to).await?;
            println!("{}", said("restored", &done));
            Ok(())
        })
    }
}

impl Move {
    async fn run(&self) -> Result<()> {
        let (file, etcd) = (self.store.open_file()?, self.store.open_etcd().await?);
        let (from, to) = match self.to {
            Target::Etcd => (file, etcd),
            Target::Data => (etcd, file),
        };
        nobody_lives(from.clone()).await?;
        nobody_lives(to.clone()).await?;
        let done = transfer::copy(&*from, &*to).await?;
        mastership::renew_epoch(&*to).await?;
        println!("{}; what was there before is left as it is", said("moved", &done));
        Ok(())
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Runtime::new().context("starting a runtime")?.block_on(work)
}

pub fn said(what: &str, done: &Transferred) -> String {
    let digest: String = done.digest[..8].iter().map(|b| format!("{b:02x}")).collect();
    format!("{what}: {} entries, {} bytes, revision {}, digest {digest}", done.entries, done.bytes, done.revision)
}

/// Refuses a store that controllers run on.
async fn nobody_lives(store: Arc<dyn Store>) -> Result<()> {
    let nodes = mastership::living(store, |_| true).await?;
    if nodes.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = nodes.iter().map(|n| &**n).collect();
    bail!("controllers run on this store: found {}, allowed: none; stop them first", names.join(", "));
}
