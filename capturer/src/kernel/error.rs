//! Why capturing could not begin or go on, and what the user can do about it.

use std::{error::Error, io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use proto::causes;

use super::btf::BtfError;

/// Oldest kernel on which the programs work.
pub(super) const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Why capturing could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The process may not load kernel programs.
    #[error("loading kernel programs is not permitted")]
    NotPermitted,
    /// The kernel is older than the programs need.
    #[error("the kernel is {found}, older than {}.{}", OLDEST_KERNEL.0, OLDEST_KERNEL.1)]
    TooOld {
        /// The running kernel's release.
        found: String,
    },
    /// The kernel is locked down so that programs may not read its memory.
    #[error("the kernel is locked down (lockdown=confidentiality)")]
    LockedDown,
    /// The kernel's sockets do not tell of what they move.
    #[error("the kernel's sockets do not tell what they move, as those of Linux 6.5 and newer do")]
    NoSockets,
    /// The kernel's type information could not be read.
    #[error("cannot read the kernel's type information at `{}`", path.display())]
    NoBtf {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel's type information lacks something.
    #[error("the kernel's type information at `{}` does not serve", path.display())]
    Btf {
        /// Where it was read.
        path: PathBuf,
        /// What is wrong.
        source: BtfError,
    },
    /// The kernel rejected the programs or maps.
    #[error("the kernel rejected the programs")]
    Load {
        /// What it said.
        source: Box<EbpfError>,
    },
    /// The kernel rejected one program.
    #[error("the kernel rejected the program `{program}`")]
    Program {
        /// The program's name.
        program: &'static str,
        /// What it said.
        source: Box<ProgramError>,
    },
    /// The object lacks a program or map; a defect of the build.
    #[error("the kernel programs lack `{name}`")]
    Missing {
        /// The program's or map's name.
        name: String,
    },
    /// A map could not be read or written.
    #[error("cannot use the map `{name}`")]
    Map {
        /// The map's name.
        name: &'static str,
        /// What the kernel said.
        source: Box<MapError>,
    },
    /// A map could not be read as memory.
    #[error("cannot share the map `{name}`")]
    Shared {
        /// The map's name.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Waiting for a ring failed.
    #[error("cannot wait for the rings")]
    Wait {
        /// What the system said.
        source: io::Error,
    },
    /// A file under `/proc` could not be read.
    #[error("cannot read `{}`", path.display())]
    Proc {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

// === impl KernelError ===

impl KernelError {
    /// Says why the object could not be loaded.
    pub(super) fn of_load(source: EbpfError) -> Self {
        if refused_with(&source, libc::EPERM) {
            Self::NotPermitted
        } else {
            Self::Load { source: Box::new(source) }
        }
    }

    /// Says why a program could not be loaded or attached.
    pub(super) fn of_program(program: &'static str, source: ProgramError) -> Self {
        if refused_with(&source, libc::EPERM) {
            Self::NotPermitted
        } else {
            Self::Program { program, source: Box::new(source) }
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotPermitted => {
                "run as root, or in a container with `privileged: true` or CAP_BPF, CAP_PERFMON and \
                 CAP_SYS_PTRACE (before 5.11 also CAP_SYS_RESOURCE)"
                    .to_owned()
            }
            Self::TooOld { .. } => {
                format!("capturing needs Linux {}.{} or newer", OLDEST_KERNEL.0, OLDEST_KERNEL.1)
            }
            Self::LockedDown => {
                "boot with lockdown=integrity or without lockdown; see /sys/kernel/security/lockdown"
                    .to_owned()
            }
            Self::NoBtf { .. } => "the kernel must be built with CONFIG_DEBUG_INFO_BTF=y, or give its type \
                                   information with `--btf FILE`"
                .to_owned(),
            Self::Btf { .. } => {
                "give the type information of exactly this kernel with `--btf FILE`".to_owned()
            }
            Self::NoSockets => {
                "leave out `--source socket`: system calls tell the same, at a higher price".to_owned()
            }
            Self::Load { .. } | Self::Program { .. } => {
                "please report this with the kernel's version; `-d` shows what the verifier said".to_owned()
            }
            Self::Missing { .. }
            | Self::Map { .. }
            | Self::Shared { .. }
            | Self::Wait { .. }
            | Self::Proc { .. } => return None,
        })
    }
}

/// Says that a map could not be used.
pub(super) fn map_error(name: &'static str) -> impl Fn(MapError) -> KernelError {
    move |source| KernelError::Map { name, source: Box::new(source) }
}

/// Whether the cause of an error is that the system answered `errno`.
pub(super) fn refused_with(error: &(dyn Error + 'static), errno: i32) -> bool {
    causes::below(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.raw_os_error() == Some(errno))
}
