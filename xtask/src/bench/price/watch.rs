//! Who watches while a price is measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::super::observer::{self, BenchCapture};
use crate::process::Process;
use crate::run;

/// Who watches.
#[derive(Clone, Debug)]
pub(super) enum Watch {
    /// `tcpdump -w`.
    Tcpdump,
    /// A capture with these arguments.
    Capture(CaptureWatch),
}

/// A capture and its arguments.
#[derive(Clone, Debug)]
pub(super) struct CaptureWatch {
    name: String,
    programs: PathBuf,
    arguments: Vec<&'static str>,
    /// Whether packets are followed.
    pub(super) packets: bool,
}

/// A watch that runs until ended.
pub(super) enum Watching {
    Tcpdump(Process),
    Capture(BenchCapture),
}

// === impl Watch ===

impl Watch {
    /// Returns all that this build and this machine have.
    pub(super) fn all(programs: &Path) -> Result<Vec<Self>> {
        let help = run::output(Command::new(programs.join("kubectl-kyanos")).args(["watch", "--help"]))?;
        let mut sources: Vec<Option<&'static str>> = vec![None];
        if help.contains("--source") {
            sources = vec![Some("--source=syscall")];
            if crate::kyanos::has_tracepoint("sock_send_length") {
                sources.insert(0, Some("--source=socket"));
            }
        }
        let mut all = Vec::new();
        if run::find("tcpdump").is_some() {
            all.push(Self::Tcpdump);
        } else {
            eprintln!("tcpdump is not installed and not compared with");
        }
        for source in sources {
            for packets in [true, false] {
                let mut arguments = Vec::from_iter(source);
                arguments.push(if packets { "--trace-dev-event=true" } else { "--trace-dev-event=false" });
                let named = source.map_or("capture", |source| source.trim_start_matches("--"));
                let name = format!("{named}{}", if packets { "" } else { ", no packets" });
                all.push(Self::Capture(CaptureWatch {
                    name: name.replace('=', " "),
                    programs: programs.to_path_buf(),
                    arguments,
                    packets,
                }));
            }
        }
        Ok(all)
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Tcpdump => "tcpdump -w",
            Self::Capture(capture) => &capture.name,
        }
    }

    /// Returns the capture, if it is one.
    pub(super) fn capture(&self) -> Option<&CaptureWatch> {
        match self {
            Self::Tcpdump => None,
            Self::Capture(capture) => Some(capture),
        }
    }

    /// Begins to watch a port on loopback.
    pub(super) fn begin(&self, port: u16) -> Result<Watching> {
        match self {
            Self::Tcpdump => Ok(Watching::Tcpdump(observer::tcpdump(port)?)),
            Self::Capture(capture) => Ok(Watching::Capture(capture.begin(port)?)),
        }
    }
}

// === impl CaptureWatch ===

impl CaptureWatch {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Begins to capture a port on loopback.
    pub(super) fn begin(&self, port: u16) -> Result<BenchCapture> {
        BenchCapture::start(&self.programs, port, &self.arguments)
    }
}

// === impl Watching ===

impl Watching {
    /// Ends it and returns what it said of losses; empty where it says nothing.
    pub(super) fn end(self) -> Result<String> {
        match self {
            Self::Tcpdump(mut process) => process.stop().map(|_status| String::new()),
            Self::Capture(capture) => capture.end(),
        }
    }
}
