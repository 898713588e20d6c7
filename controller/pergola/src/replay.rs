//! `pergola replay`: what a controller recorded, planned again.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use pergola_engine::record::{recordings, replay};

/// Which recordings to replay.
#[derive(Debug, Args)]
pub struct Replay {
    /// A folder given to `pergola run --record`, or one file of it.
    path: PathBuf,
}

impl Replay {
    pub fn run(&self) -> Result<()> {
        let files = recordings(&self.path)?;
        if files.is_empty() {
            bail!("{}: there is no recording in it", self.path.display());
        }
        for file in files {
            let done = replay(&file, pergola_fabric_apps::all())?;
            println!("{}", file.display());
            let records: Vec<String> = done.records.iter().map(|(what, n)| format!("{n} {what}")).collect();
            println!("  {:.3} s: {}", done.last as f64 / 1e9, records.join(", "));
            println!("  revision {}: {} plans, each the same as in the run", done.revision, done.plans);
            for (device, (entries, digest)) in done.devices {
                println!("  {device}: {entries} entries, digest {digest:016x}");
            }
        }
        Ok(())
    }
}
