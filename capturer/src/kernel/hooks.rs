//! The places in the kernel where the programs run: one row a hook.
//!
//! A new hook is a program in `capturer-ebpf` and a row here; a new kind of hook is a variant of [`Attach`] besides.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::{
    Btf, BtfError, Ebpf, Endianness,
    maps::ProgramArray,
    programs::{BtfTracePoint, Program, ProgramError, ProgramFd, RawTracePoint},
};

use super::{
    Source, environment,
    error::{KernelError, map_error, refused_with},
};

/// A program and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hook {
    /// The program's name in the object.
    program: &'static str,
    /// Where it runs.
    attach: Attach,
    /// Whether it is an error when the kernel has no such place. What is not required only sharpens what others see.
    required: bool,
    /// Whether an event is lost when the kernel skips a run, as it does while the same program runs on that CPU.
    counts_misses: bool,
    /// The program in whose place it is taken, where the kernel lacks that one's place.
    instead_of: Option<&'static str>,
}

/// A place in the kernel, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Attach {
    /// A tracepoint whose arguments the program takes as they are.
    Raw(&'static str),
    /// No place of its own: other programs go on in it.
    Called,
    /// A tracepoint whose arguments have types, so that the program may follow pointers without a helper. Only kernels that
    /// tell their types have it.
    Typed(&'static str),
}

/// Hooks of what makes calls and connections. The order in which hooks are attached says nothing: calls are followed once
/// all are.
const WHOSE: [Hook; 4] = [
    Hook::required("sched_process_exit"),
    Hook::required("sched_process_exec"),
    Hook::required("tcp_destroy_sock"),
    Hook::required("inet_sock_set_state"),
];

/// Hooks of calls, where these are seen as system calls.
const SYSCALLS: [Hook; 3] =
    [Hook::sharpens("tcp_sendmsg_locked"), Hook::required("sys_exit"), Hook::required("sys_enter")];

/// The program in which those at sockets go on, and the map that names it.
const CALLED: &str = "moved_payload";
const CALLED_MAP: &str = "DELIVERY";

/// Hooks of calls, where these are seen at their sockets.
const SOCKETS: [Hook; 6] = [
    Hook { attach: Attach::Called, ..Hook::required(CALLED) },
    Hook { attach: Attach::Raw("tcp_sendmsg_locked"), ..Hook::sharpens("stream_appended") },
    Hook::sharpens("skb_copy_datagram_iovec"),
    Hook { counts_misses: true, ..Hook::sharpens("tcp_rcv_space_adjust") },
    Hook::required("sock_send_length"),
    Hook::required("sock_recv_length"),
];

/// Hooks of packets. One that is missed leaves a time unknown, which is no event of a call.
const PACKETS: [Hook; 7] = [
    Hook { attach: Attach::Typed("net_dev_start_xmit"), ..Hook::sharpens("transmitted") },
    Hook { instead_of: Some("transmitted"), ..Hook::sharpens("net_dev_start_xmit") },
    Hook { attach: Attach::Typed("netif_receive_skb"), ..Hook::sharpens("received") },
    Hook { instead_of: Some("received"), ..Hook::sharpens("netif_receive_skb") },
    Hook::sharpens("tcp_retransmit_skb"),
    Hook::sharpens("sk_data_ready"),
    Hook { instead_of: Some("sk_data_ready"), ..Hook::sharpens("tcp_probe") },
];

/// Returns the hooks of a capture, with those of packets or without.
pub(super) fn chosen(source: Source, packets: bool) -> Vec<Hook> {
    let calls: &[Hook] = match source {
        Source::Syscall => &SYSCALLS,
        Source::Socket => &SOCKETS,
    };
    WHOSE.iter().chain(calls).chain(PACKETS.iter().filter(|_| packets)).copied().collect()
}

/// Loads the programs of `hooks`, which do nothing yet, and returns the hooks that this kernel may have; `btf` is where a
/// kernel tells its own types, should they be used.
pub(super) fn load(ebpf: &mut Ebpf, hooks: &[Hook], btf: Option<&Path>) -> Result<Vec<Hook>, KernelError> {
    let types = btf.map(|btf| types_for(hooks, btf)).transpose()?.flatten();
    let mut loaded: Vec<Hook> = Vec::new();
    for hook in hooks {
        let is_there = |other: &Hook| Some(other.program) == hook.instead_of;
        if loaded.iter().any(|other| is_there(other) && matches!(other.attach, Attach::Typed(_))) {
            continue;
        }
        let result = match (hook.attach, &types) {
            (Attach::Raw(_) | Attach::Called, _) => hook.raw(ebpf)?.load(),
            (Attach::Typed(name), Some(types)) => match hook.typed(ebpf)?.load(name, types) {
                Err(error) if !hook.required => {
                    // A kernel may follow fewer types than this one; what reads by helpers stands in.
                    tracing::debug!(?hook, %error, "not loaded with types");
                    continue;
                }
                result => result,
            },
            (Attach::Typed(_), None) => continue,
        };
        loaded.extend(hook.unless_absent(result)?.map(|()| *hook));
    }
    Ok(loaded)
}

/// Attaches what was loaded, in order, and returns the programs for which this kernel has the place.
pub(super) fn attach(ebpf: &mut Ebpf, hooks: &[Hook]) -> Result<Vec<&'static str>, KernelError> {
    let mut attached = Vec::new();
    for hook in hooks {
        if hook.instead_of.is_some_and(|other| attached.contains(&other)) {
            continue;
        }
        let result = match hook.attach {
            Attach::Called => {
                name_called(ebpf, hook)?;
                Ok(())
            }
            Attach::Raw(name) => hook.raw(ebpf)?.attach(name).map(drop),
            Attach::Typed(_) => hook.typed(ebpf)?.attach().map(drop),
        };
        attached.extend(hook.unless_absent(result)?.map(|()| hook.program));
    }
    Ok(attached)
}

/// Tells the programs that go on in another one which that is; for as long as its map is held.
fn name_called(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), KernelError> {
    let failed = |error| KernelError::of_program(hook.program, error);
    let program = hook.raw(ebpf)?.fd().and_then(|fd| fd.try_clone().map_err(ProgramError::IOError));
    let missing = || KernelError::Missing { name: CALLED_MAP.to_owned() };
    let map = ebpf.map_mut(CALLED_MAP).ok_or_else(missing)?;
    let mut programs = ProgramArray::try_from(map).map_err(map_error(CALLED_MAP))?;
    programs.set(0, &program.map_err(failed)?, 0).map_err(map_error(CALLED_MAP))
}

/// Unloads what was loaded, the last one first, waits until no program runs any more, and returns the misses.
///
/// A program that is detached may still run on another CPU, and may be interrupted there for long. Without the wait its
/// event would be counted as delivered and come into the ring when nobody reads it any more.
pub(super) fn unload(ebpf: &mut Ebpf, hooks: &[Hook]) -> u64 {
    // Programs keep their count while somebody holds them, and it grows until they are detached.
    let held: Vec<ProgramFd> =
        counting(hooks).filter_map(|hook| ebpf.program(hook.program)?.fd().ok()?.try_clone().ok()).collect();
    for hook in hooks.iter().rev() {
        let unloaded = match hook.attach {
            Attach::Raw(_) | Attach::Called => hook.raw(ebpf).map(RawTracePoint::unload),
            Attach::Typed(_) => hook.typed(ebpf).map(BtfTracePoint::unload),
        };
        if let Ok(Err(error)) = unloaded {
            tracing::debug!(program = hook.program, %error, "not unloaded");
        }
    }
    environment::await_readers();
    held.iter().filter_map(program_misses).sum()
}

/// Runs that the kernel skipped and by which events were lost; kernels before 5.12 do not say.
pub(super) fn misses(ebpf: &Ebpf, hooks: &[Hook]) -> u64 {
    counting(hooks).filter_map(|hook| program_misses(ebpf.program(hook.program)?.fd().ok()?)).sum()
}

fn counting(hooks: &[Hook]) -> impl Iterator<Item = &Hook> {
    hooks.iter().filter(|hook| hook.counts_misses)
}

// === impl Hook ===

impl Hook {
    /// A place that every kernel has, where a run that is skipped is an event that is lost.
    const fn required(name: &'static str) -> Self {
        Self {
            program: name,
            attach: Attach::Raw(name),
            required: true,
            counts_misses: true,
            instead_of: None,
        }
    }

    /// A place that only sharpens what others see.
    const fn sharpens(name: &'static str) -> Self {
        Self {
            program: name,
            attach: Attach::Raw(name),
            required: false,
            counts_misses: false,
            instead_of: None,
        }
    }

    /// Returns whether it is the hook of this program.
    #[cfg(test)]
    pub(super) fn is_of(&self, program: &str) -> bool {
        self.program == program
    }

    fn raw<'a>(&self, ebpf: &'a mut Ebpf) -> Result<&'a mut RawTracePoint, KernelError> {
        self.find(ebpf)
    }

    fn typed<'a>(&self, ebpf: &'a mut Ebpf) -> Result<&'a mut BtfTracePoint, KernelError> {
        self.find(ebpf)
    }

    /// Finds the program, which must be of the kind of the row.
    fn find<'a, P>(&self, ebpf: &'a mut Ebpf) -> Result<P, KernelError>
    where
        P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let missing = || KernelError::Missing { name: self.program.to_owned() };
        let program = ebpf.program_mut(self.program).ok_or_else(missing)?;
        program.try_into().map_err(|_another_kind| missing())
    }

    /// Returns nothing where the kernel lacks the place and that is no error.
    fn unless_absent<T>(&self, result: Result<T, ProgramError>) -> Result<Option<T>, KernelError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if !self.required && is_absent(&error) => {
                tracing::debug!(hook = ?self.attach, "this kernel has no such place");
                Ok(None)
            }
            Err(error) => Err(KernelError::of_program(self.program, error)),
        }
    }
}

/// Returns the kernel's types where a hook needs them and the kernel tells them.
fn types_for(hooks: &[Hook], btf: &Path) -> Result<Option<Btf>, KernelError> {
    let typed = hooks.iter().find(|hook| matches!(hook.attach, Attach::Typed(_))).filter(|_| btf.exists());
    let read = |hook: &Hook| {
        Btf::parse_file(btf, Endianness::default())
            .map_err(|error| KernelError::of_program(hook.program, error.into()))
    };
    typed.map(read).transpose()
}

/// Whether an error says that the kernel has no such place: a raw tracepoint is looked up when it is attached, a typed
/// one when it is loaded.
fn is_absent(error: &ProgramError) -> bool {
    matches!(error, ProgramError::Btf(BtfError::UnknownBtfTypeName { .. }))
        || refused_with(error, libc::ENOENT)
}

fn program_misses(program: &ProgramFd) -> Option<u64> {
    let fd = program.as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests;
