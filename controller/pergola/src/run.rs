//! `pergola run`: one controller, from its store to its switches and its API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use pergola_discovery::hosts::HostsConfig;
use pergola_discovery::links::LinksConfig;
use pergola_discovery::wire::lldp::Key as LldpKey;
use pergola_engine::{Clock, Engine, EngineConfig};
use pergola_model::{AnyResource, Kind, SecretRef, Site};
use pergola_northbound::Api;
use pergola_northbound::commit::{BASE, GUARD};
use pergola_southbound::Pipeline;
use pergola_store::{Compare, Error, Op, Query, Store, Txn, mastership, transfer, upgrade};

use crate::store::StoreArgs;

/// A running controller's settings.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    store: StoreArgs,
    /// This controller's name in its cluster; the machine's when missing.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Record every input in a folder, for `pergola replay`.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Blueprint for a store that holds no site yet.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:8181")]
    listen: SocketAddr,
    /// File with the token that API requests must carry. Needed to listen on other than loopback addresses.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How to write logs to standard error; RUST_LOG says what.
    #[arg(long, value_enum, default_value = "text")]
    log: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Run {
    pub fn run(&self) -> Result<()> {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log {
            LogFormat::Text => log.with_ansi(false).init(),
            LogFormat::Json => log.json().init(),
        }
        tokio::runtime::Runtime::new().context("starting a runtime")?.block_on(self.serve())
    }

    async fn serve(&self) -> Result<()> {
        let token = self.token()?;
        if !self.listen.ip().is_loopback() && token.is_none() && !self.store.lab {
            bail!("--listen: found {}, allowed: a loopback address, or --token-file beside it", self.listen);
        }
        let store = self.store.open().await?;
        transfer::check_complete(&*store).await?;
        let format = u64::from(pergola_model::FORMAT_VERSION);
        upgrade::format(&*store, 1, format).await?;
        let node = self.node()?;
        if self.store.cluster.is_some() {
            alone(store.clone(), &node).await?;
        }
        if let Some(file) = &self.init {
            self.init_site(&*store, file).await?;
        }
        let site = store.get("site/site").await?;
        let site = site.and_then(|e| match AnyResource::from_stored(&e.key, &e.value) {
            Ok(AnyResource::Site(site)) => Some(site),
            _ => None,
        });
        let lldp = lldp_key(site.as_ref(), &*store).await?;
        let engine = Arc::new(Engine::start(self.engine(store.clone(), site.as_ref(), node, lldp)?).await?);
        let listener = tokio::net::TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("listening on {}", self.listen))?;
        tracing::info!(listen = %self.listen, node = %engine.node(), "the controller runs");
        let api = Api::new(engine.clone(), store, token);
        axum::serve(listener, pergola_northbound::router(api))
            .with_graceful_shutdown(async move {
                if let Err(error) = ended().await {
                    tracing::error!(%error, "signals cannot be waited for");
                }
                // Others take over at once, unless the store is away.
                let _ = tokio::time::timeout(Duration::from_secs(2), engine.resign()).await;
                // Streams of events have no end of their own.
                tokio::spawn(async {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    std::process::exit(0);
                });
            })
            .await
            .context("serving the API")
    }

    fn node(&self) -> Result<Arc<str>> {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = match &self.node {
            Some(name) => name.clone(),
            None => {
                let machine = std::fs::read_to_string("/proc/sys/kernel/hostname");
                let machine = machine.context("the machine's name; give --node")?;
                machine.trim().chars().take(64).map(|c| if good(c) { c } else { '-' }).collect()
            }
        };
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            bail!("--node: found {name:?}, allowed: 1 to 64 letters, digits, '-', '_' and '.'");
        }
        Ok(name.into())
    }

    fn token(&self) -> Result<Option<Arc<str>>> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?;
        let token = text.trim();
        if token.len() < 16 {
            bail!("--token-file: found {} characters, allowed: 16 or more", token.len());
        }
        Ok(Some(token.into()))
    }

    /// Applies a blueprint to a store without a site; one with a site is left as it is.
    async fn init_site(&self, store: &dyn Store, file: &Path) -> Result<()> {
        for kind in Kind::ALL.iter().filter(|kind| kind.is_intent()) {
            let first = Query { prefix: format!("{kind}/"), limit: 1, ..Query::default() };
            if !store.page(&first).await?.entries.is_empty() {
                tracing::info!(file = %file.display(), "the store holds a site already; --init is not needed");
                return Ok(());
            }
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("--init {}", file.display()))?;
        let blueprint = pergola_blueprint::parse(&text)
            .map_err(|problems| anyhow::anyhow!("{}", problems.render(&file.display().to_string())))?;
        let intents = blueprint.into_intents();
        // Of several controllers that begin together one does it.
        let first = Txn::new().when(Compare::missing(GUARD)).then(Op::put(GUARD, "init")).then(Op::put(BASE, "init"));
        let txn = intents.iter().fold(first, |txn, r| txn.then(Op::put(r.key().to_string(), r.encode())));
        if !store.txn(txn).await?.succeeded {
            tracing::info!("another controller has written the site");
        }
        Ok(())
    }

    fn engine(
        &self,
        store: Arc<dyn Store>,
        site: Option<&Site>,
        node: Arc<str>,
        lldp: LldpKey,
    ) -> Result<EngineConfig> {
        let clock = Clock::default();
        let timers = site.map(|s| s.timers.clone()).unwrap_or_default();
        let millis = |ms: u32| u64::from(ms) * 1_000_000;
        let mut links = LinksConfig::new(vec![lldp], clock.epoch_unix_ns());
        links.interval = millis(timers.lldp_interval_ms);
        links.missed = timers.lldp_lost;
        let hosts = HostsConfig {
            age: millis(timers.host_idle_ms),
            probe_interval: millis(timers.host_probe_ms),
            probes: u8::try_from(timers.host_probes).unwrap_or(u8::MAX),
            seed: clock.epoch_unix_ns(),
            ..HostsConfig::default()
        };
        let pipeline = Arc::new(Pipeline::from_text(pergola_pipeline::fabric::P4INFO, pergola_pipeline::fabric::JSON)?);
        Ok(EngineConfig {
            store,
            apps: pergola_fabric_apps::all(),
            pipeline_of: Arc::new(move |_| pipeline.clone()),
            machines: pergola_discovery::standard_machines(Default::default(), links, hosts),
            clock,
            allow_plaintext: self.store.lab,
            node,
            mastership: Default::default(),
            reconcile: Default::default(),
            record: self.record.clone(),
        })
    }
}

/// Two controllers of one name would take their switches from one another for ever.
async fn alone(store: Arc<dyn Store>, node: &str) -> Result<()> {
    if !mastership::living(store, |other| other == node).await?.is_empty() {
        bail!("--node: found {node}, which another running controller has; allowed: a name of its own");
    }
    Ok(())
}

/// Where the key that signs LLDP frames is kept, when the site names none.
const LLDP_KEY: &str = "~lldp";

/// The key that signs LLDP frames, the same for every controller: the site's, or one that is made once.
async fn lldp_key(site: Option<&Site>, store: &dyn Store) -> Result<LldpKey> {
    let secret = match site.and_then(|s| s.lldp_key.as_ref()) {
        Some(SecretRef::File(path)) => {
            std::fs::read(path).with_context(|| format!("{} lldp_key: {path}", Kind::Site))?
        }
        Some(SecretRef::Env(name)) => std::env::var(name)
            .with_context(|| format!("{} lldp_key: environment variable {name}", Kind::Site))?
            .into_bytes(),
        None => {
            use std::io::Read;
            let mut secret = vec![0; 32];
            std::fs::File::open("/dev/urandom")
                .and_then(|mut random| random.read_exact(&mut secret))
                .context("reading /dev/urandom")?;
            match store.create(LLDP_KEY, secret.clone().into()).await {
                Ok(_) => secret,
                Err(Error::Conflict { .. }) => match store.get(LLDP_KEY).await? {
                    Some(entry) => entry.value.to_vec(),
                    None => bail!("{LLDP_KEY} was removed from the store just now; start again"),
                },
                Err(error) => return Err(error.into()),
            }
        }
    };
    LldpKey::new(1, &secret).map_err(|error| anyhow::anyhow!("lldp_key: {error}"))
}

/// Returns when the process is asked to end.
async fn ended() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    Ok(())
}
