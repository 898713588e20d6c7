//! The command line: the flags of simple_switch_grpc as Mininet wrappers pass them, before or behind `--`, and a few more.

use crate::ports::packet::RingOptions;
use crate::ports::{PortNo, PortOptions, PortSpec};
use crate::tls::TlsFiles;
use clap::Parser;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A software switch that runs BMv2 JSON and serves P4Runtime and gNMI.
///
/// Takes the flags of simple_switch_grpc; those behind `--` may also stand before it.
#[derive(Parser, Debug)]
#[command(name = "p4switch", version, disable_version_flag = true)]
pub struct Cli {
    /// Program to start with: JSON from p4c for v1model.
    #[arg(value_name = "PROGRAM.json")]
    program: Option<PathBuf>,
    /// The same as the positional argument.
    #[arg(long, value_name = "PROGRAM.json", conflicts_with = "program")]
    json: Option<PathBuf>,
    /// P4Info of the program (text or binary): the pipeline is there before any controller comes.
    #[arg(long, value_name = "FILE")]
    p4info: Option<PathBuf>,
    /// Start without a program and wait for a controller to push one.
    #[arg(long, conflicts_with_all = ["program", "json", "p4info"])]
    no_p4: bool,

    /// A port: NO@INTERFACE, NO@tap:NAME or NO@pcap:IN[,OUT]. May be repeated.
    #[arg(short = 'i', long = "interface", value_name = "NO@INTERFACE")]
    interfaces: Vec<String>,
    /// Make every interface X a pair of files, X_in.pcap and X_out.pcap; wait so many seconds before reading them.
    #[arg(long, value_name = "SECONDS")]
    use_files: Option<u64>,
    /// Speed of a port to show over gNMI: NO=BITS_PER_SECOND. May be repeated.
    #[arg(long = "port-speed", value_name = "NO=BPS")]
    port_speeds: Vec<String>,
    /// Write what passes each port to INTERFACE_in.pcap and INTERFACE_out.pcap in this folder [default: .].
    #[arg(long, value_name = "FOLDER")]
    pcap: Option<PathBuf>,
    /// Forwarding threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Microseconds that an idle forwarding thread looks for frames before it sleeps.
    #[arg(long, default_value_t = 0, value_name = "MICROSECONDS")]
    spin: u64,
    /// Slots of 2 KB in each interface's receive ring.
    #[arg(long, default_value_t = RingOptions::default().rx_slots, value_name = "SLOTS")]
    ring_slots: usize,

    /// Device id that P4Runtime requests must name.
    #[arg(long, default_value_t = 0)]
    device_id: u64,
    /// Where P4Runtime and gNMI are served.
    #[arg(long, default_value = "0.0.0.0:9559", value_name = "HOST:PORT")]
    grpc_server_addr: String,
    /// Serve p4.bm.DataplaneInterface there: packets come and go by gRPC, and there are no other ports.
    #[arg(long, value_name = "HOST:PORT")]
    dp_grpc_server_addr: Option<String>,
    /// Serve over TLS; needs certificate and key.
    #[arg(long, requires = "grpc_server_cert", requires = "grpc_server_key")]
    grpc_server_ssl: bool,
    /// Certificate chain, PEM.
    #[arg(long, value_name = "FILE")]
    grpc_server_cert: Option<PathBuf>,
    /// Private key, PEM.
    #[arg(long, value_name = "FILE")]
    grpc_server_key: Option<PathBuf>,
    /// Authorities for client certificates, PEM.
    #[arg(long, value_name = "FILE")]
    grpc_server_cacert: Option<PathBuf>,
    /// Require client certificates (mutual TLS); needs the authorities.
    #[arg(long, requires = "grpc_server_ssl", requires = "grpc_server_cacert")]
    grpc_server_with_client_auth: bool,
    /// Port of packet-in and packet-out; 0 for none.
    #[arg(long, default_value_t = 0, value_name = "NO")]
    cpu_port: PortNo,
    /// The egress_spec that drops.
    #[arg(long, default_value_t = 511, value_name = "NO")]
    drop_port: PortNo,
    /// Priority queues of each port.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    priority_queues: u32,
    /// Interpret the program instead of compiling it to machine code
    #[arg(long)]
    interpret: bool,

    /// Log to standard output.
    #[arg(long)]
    log_console: bool,
    /// Log to a file.
    #[arg(long, value_name = "FILE", conflicts_with = "log_console")]
    log_file: Option<PathBuf>,
    /// Least level that is logged: trace, debug, info, warn, error or off. At trace every packet's way through the program is told,
    /// step by step, and programs are interpreted.
    #[arg(short = 'L', long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Accepted; log lines are never held back.
    #[arg(long)]
    pub log_flush: bool,
    /// Print the version.
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    pub version: (),
    /// Print the version of BMv2 JSON that is understood.
    #[arg(long)]
    json_version: bool,

    // Flags of simple_switch_grpc for things that do not exist here. They are taken, with a note.
    #[arg(long, hide = true)]
    thrift_port: Option<u16>,
    #[arg(long, hide = true)]
    nanolog: Option<String>,
    #[arg(long, hide = true)]
    debugger: bool,
    #[arg(long, hide = true)]
    debugger_addr: Option<String>,
    #[arg(long, hide = true)]
    notifications_addr: Option<String>,
    #[arg(long, hide = true)]
    packet_in: Option<String>,
    #[arg(long, hide = true)]
    restore_state: Option<PathBuf>,
    #[arg(long, hide = true)]
    load_modules: Option<String>,
    #[arg(long, hide = true)]
    max_mc_groups: Option<u64>,
    #[arg(long, hide = true)]
    max_l1_entries: Option<u64>,
    #[arg(long, hide = true)]
    max_l2_entries: Option<u64>,
    #[arg(long, hide = true)]
    log_file_max_size: Option<u64>,
    #[arg(long, hide = true)]
    log_file_max_files: Option<u64>,
    #[arg(long, hide = true)]
    dump_packet_data: Option<u64>,
    #[arg(long, hide = true)]
    max_port_count: Option<u64>,
    #[arg(long, hide = true)]
    enable_swap: bool,
    #[arg(long, hide = true)]
    disable_swap: bool,
}

/// The newest BMv2 JSON that is understood; a program's minor version may be any.
const JSON_VERSION: &str = "2.24";

/// Where the log goes, and from which level.
#[derive(Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Warnings and errors only, to standard error.
    Quiet,
    Console,
    File(PathBuf),
}

/// A checked command line.
#[derive(Debug)]
pub struct Config {
    pub program: Option<PathBuf>,
    pub p4info: Option<PathBuf>,
    pub ports: Vec<(PortNo, PortSpec, PortOptions)>,
    /// Settings of ports that are added later.
    pub port_options: PortOptions,
    /// How long capture files wait before they are read.
    pub input_delay: Duration,
    pub workers: usize,
    pub spin: Duration,
    pub device_id: u64,
    pub address: String,
    /// Where packets come and go by gRPC, in place of ports.
    pub dataplane: Option<String>,
    pub tls: Option<TlsFiles>,
    pub cpu_port: Option<PortNo>,
    pub drop_port: PortNo,
    /// Packets are interpreted, the program is not compiled.
    pub interpret: bool,
    pub priority_queues: u32,
    pub log: LogTarget,
    pub level: tracing_subscriber::filter::LevelFilter,
    /// What was asked for and does not exist here, in words.
    pub notes: Vec<String>,
}

/// Runs the switch until it is told to end.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(normalise(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    if cli.json_version {
        #[allow(clippy::print_stdout)]
        {
            println!("{JSON_VERSION}");
        }
        return ExitCode::SUCCESS;
    }
    let config = match cli.check() {
        Ok(config) => config,
        Err(error) => error.exit(),
    };
    match crate::server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("p4switch: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Joins what stands before and behind `--`, and gives `--pcap` and `--priority-queues` without a value one.
fn normalise(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter().filter(|arg| arg != "--").peekable();
    let mut out = Vec::new();
    while let Some(arg) = args.next() {
        let value = if arg == "--pcap" {
            let folder = args.next_if(|next| Path::new(next).is_dir());
            Some(folder.unwrap_or_else(|| ".".into()))
        } else if arg == "--priority-queues" {
            let count = args.next_if(|next| next.to_str().is_some_and(|n| n.parse::<u32>().is_ok()));
            Some(count.unwrap_or_else(|| "8".into()))
        } else {
            None
        };
        match value {
            Some(value) => {
                let mut joined = arg;
                joined.push("=");
                joined.push(value);
                out.push(joined);
            }
            None => out.push(arg),
        }
    }
    out
}

fn wrong(text: String) -> clap::Error {
    clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{text}\n"))
}

impl Cli {
    fn check(self) -> Result<Config, clap::Error> {
        if let Some(modules) = &self.load_modules {
            return Err(wrong(format!(
                "--load-modules {modules}: shared libraries are not loaded; a program may use the externs of v1model, and \
                 starts without this flag"
            )));
        }
        if let Some(file) = &self.restore_state {
            return Err(wrong(format!(
                "--restore-state {}: state is not read from files; start without it and let a controller write entries",
                file.display()
            )));
        }
        let mut speeds = std::collections::BTreeMap::new();
        for text in &self.port_speeds {
            let pair =
                text.split_once('=').and_then(|(no, bps)| Some((no.parse::<PortNo>().ok()?, bps.parse::<u64>().ok()?)));
            let (no, bps) =
                pair.ok_or_else(|| wrong(format!("--port-speed {text:?}: allowed is NO=BITS_PER_SECOND")))?;
            speeds.insert(no, bps);
        }
        let port_options = PortOptions {
            ring: RingOptions { rx_slots: self.ring_slots, ..RingOptions::default() },
            capture: self.pcap.clone(),
            ..PortOptions::default()
        };
        let mut ports: Vec<(PortNo, PortSpec, PortOptions)> = Vec::new();
        for text in &self.interfaces {
            let (no, mut spec) = PortSpec::parse(text).map_err(wrong)?;
            if let (Some(_), PortSpec::Linux(name)) = (self.use_files, &spec) {
                spec = PortSpec::Pcap {
                    input: Some(format!("{name}_in.pcap").into()),
                    output: Some(format!("{name}_out.pcap").into()),
                };
            }
            if ports.iter().any(|(other, ..)| *other == no) {
                return Err(wrong(format!("interface {text:?}: port {no} is given twice")));
            }
            let options = PortOptions {
                speed_bps: speeds.remove(&no),
                alias: Some(crate::gnmi::site::qualified(self.device_id, no, &spec.name())),
                ..port_options.clone()
            };
            ports.push((no, spec, options));
        }
        if let Some(no) = speeds.keys().next() {
            return Err(wrong(format!("--port-speed {no}: there is no port {no}")));
        }
        let cpu_port = (self.cpu_port != 0).then_some(self.cpu_port);
        if let Some((no, ..)) = ports.iter().find(|(no, ..)| Some(*no) == cpu_port || *no == self.drop_port) {
            return Err(wrong(format!("interface {no}: the number is the CPU port's or the drop port's")));
        }
        let level = match self.log_level.as_deref() {
            None if self.log_console || self.log_file.is_some() => "info",
            None => "warn",
            Some("critical" | "fatal") => "error",
            Some(level) => level,
        };
        let level = level.parse().map_err(|_| {
            wrong(format!("--log-level {level:?}: allowed are trace, debug, info, warn, error and off"))
        })?;
        let tls = match (self.grpc_server_ssl, &self.grpc_server_cert, &self.grpc_server_key) {
            (true, Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: self.grpc_server_cacert.clone().filter(|_| self.grpc_server_with_client_auth),
            }),
            _ => None,
        };
        let notes = self.notes();
        let log = match (self.log_console, self.log_file) {
            (true, _) => LogTarget::Console,
            (false, Some(file)) => LogTarget::File(file),
            (false, None) => LogTarget::Quiet,
        };
        Ok(Config {
            program: self.program.or(self.json),
            p4info: self.p4info,
            ports: if self.dp_grpc_server_addr.is_some() { Vec::new() } else { ports },
            port_options,
            input_delay: Duration::from_secs(self.use_files.unwrap_or(0)),
            workers: self.workers.into(),
            spin: Duration::from_micros(self.spin),
            device_id: self.device_id,
            address: self.grpc_server_addr,
            dataplane: self.dp_grpc_server_addr,
            tls,
            cpu_port,
            drop_port: self.drop_port,
            priority_queues: self.priority_queues,
            interpret: self.interpret,
            log,
            level,
            notes,
        })
    }

    fn notes(&self) -> Vec<String> {
        let absent = [
            ("--thrift-port", self.thrift_port.is_some(), "there is no Thrift server; use P4Runtime"),
            ("--nanolog", self.nanolog.is_some(), "there is no nanomsg log; use --log-console or --log-file"),
            ("--debugger", self.debugger || self.debugger_addr.is_some(), "there is no debugger"),
            ("--notifications-addr", self.notifications_addr.is_some(), "notifications come over P4Runtime"),
            ("--packet-in", self.packet_in.is_some(), "packets come over P4Runtime or ports"),
            ("--dump-packet-data", self.dump_packet_data.is_some(), "use --pcap"),
            ("--max-port-count", self.max_port_count.is_some(), "every port number up to 65535 may be used"),
            (
                "--interface",
                self.dp_grpc_server_addr.is_some() && !self.interfaces.is_empty(),
                "packets come and go by --dp-grpc-server-addr",
            ),
            ("--enable-swap", self.enable_swap, "programs may always be replaced"),
            ("--disable-swap", self.disable_swap, "programs may always be replaced"),
            ("--max-mc-groups", self.max_mc_groups.is_some(), "multicast groups are not limited in number"),
            ("--max-l1-entries", self.max_l1_entries.is_some(), "replicas are not limited in number"),
            ("--max-l2-entries", self.max_l2_entries.is_some(), "replicas are not limited in number"),
            ("--log-file-max-size", self.log_file_max_size.is_some(), "the log file is one, of any size"),
            ("--log-file-max-files", self.log_file_max_files.is_some(), "the log file is one, of any size"),
        ];
        absent
            .iter()
            .filter(|(_, given, _)| *given)
            .map(|(flag, _, why)| format!("{flag} does nothing: {why}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Config, String> {
        let args = ["p4switch"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        Cli::try_parse_from(normalise(args)).and_then(Cli::check).map_err(|error| error.to_string())
    }

    #[test]
    fn takes_what_mininet_wrappers_pass() {
        let line = "--device-id 3 -i 1@s1-eth1 -i 2@s1-eth2 --thrift-port 9090 --nanolog ipc:///tmp/bm-3-log.ipc \
            --log-console -L warn build/basic.json -- --grpc-server-addr 0.0.0.0:50051 --cpu-port 255 --priority-queues";
        let config = parsed(line).unwrap();
        assert_eq!((config.device_id, config.cpu_port, config.priority_queues), (3, Some(255), 8));
        assert_eq!(config.address, "0.0.0.0:50051");
        assert_eq!(config.program.as_deref(), Some(Path::new("build/basic.json")));
        assert_eq!(
            config.ports.iter().map(|(no, spec, _)| (*no, spec.name())).collect::<Vec<_>>(),
            [(1, "s1-eth1".to_owned()), (2, "s1-eth2".to_owned())]
        );
        assert_eq!(config.notes.len(), 2);
        assert_eq!(config.log, LogTarget::Console);
    }

    #[test]
    fn pcap_with_and_without_a_folder() {
        assert_eq!(parsed("--no-p4 -i 1@a --pcap /tmp").unwrap().ports[0].2.capture, Some("/tmp".into()));
        let config = parsed("-i 1@a --pcap prog.json").unwrap();
        assert_eq!(config.ports[0].2.capture, Some(".".into()));
        assert_eq!(config.program, Some("prog.json".into()));
        assert_eq!(parsed("-i 1@a --pcap=logs").unwrap().ports[0].2.capture, Some("logs".into()));
    }

    #[test]
    fn own_extras() {
        let config =
            parsed("-i 1@tap:t0 -i 2@pcap:a.pcap,b.pcap --port-speed 1=40000000000 --workers 2 --spin 20").unwrap();
        assert_eq!(config.ports[0].2.speed_bps, Some(40_000_000_000));
        assert_eq!((config.workers, config.spin), (2, Duration::from_micros(20)));
        let files = parsed("--use-files 1 -i 0@port0 p.json").unwrap();
        assert!(matches!(&files.ports[0].1, PortSpec::Pcap { input: Some(i), .. } if i == Path::new("port0_in.pcap")));
    }

    #[test]
    fn tls_needs_its_files() {
        assert!(parsed("--grpc-server-ssl").unwrap_err().contains("--grpc-server-cert"));
        let line = "-- --grpc-server-ssl --grpc-server-cert c.pem --grpc-server-key k.pem --grpc-server-cacert ca.pem";
        assert_eq!(parsed(line).unwrap().tls.unwrap().client_ca, None);
        let mutual = format!("{line} --grpc-server-with-client-auth");
        assert_eq!(parsed(&mutual).unwrap().tls.unwrap().client_ca, Some("ca.pem".into()));
    }

    #[test]
    fn every_flag_of_simple_switch_grpc_is_known() {
        let taken = "--no-p4 --nanolog ipc:///tmp/x --log-flush --log-file x --log-file-max-size 1000 --log-file-max-files 2 \
            -L trace --dump-packet-data 64 --max-port-count 16 --use-files 0 -- --disable-swap --max-mc-groups 9 \
            --max-l1-entries 9 --max-l2-entries 9 --priority-queues 3 --drop-port 510 --dp-grpc-server-addr 0.0.0.0:50052";
        let config = parsed(taken).unwrap();
        let flags: Vec<&str> = config.notes.iter().filter_map(|note| note.split(' ').next()).collect();
        let without_effect = "--nanolog --dump-packet-data --max-port-count --disable-swap --max-mc-groups --max-l1-entries \
            --max-l2-entries --log-file-max-size --log-file-max-files";
        assert_eq!(flags, without_effect.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn errors_name_the_flag() {
        for (line, part) in [
            ("-i veth0", "allowed are NO@INTERFACE"),
            ("-i 1@a -i 1@b", "given twice"),
            ("-i 255@a -- --cpu-port 255", "CPU port"),
            ("-i 511@a", "drop port"),
            ("--no-p4 x.json", "cannot be used with"),
            ("-L loud", "allowed are trace"),
            ("--port-speed 1=5", "there is no port 1"),
            ("--port-speed x", "allowed is NO="),
            ("--workers 0", "1..=64"),
            ("--colour", "--colour"),
            ("--load-modules my.so p.json", "--load-modules my.so: shared libraries are not loaded"),
            ("--restore-state dump p.json", "--restore-state dump: state is not read from files"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
