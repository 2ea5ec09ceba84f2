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
    programs::{BtfTracePoint, Program, ProgramError, ProgramFd, RawTracePoint},
};

use super::{
    environment,
    error::{KernelError, refused_with},
};

/// A program and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    /// The program's name in the object.
    program: &'static str,
    /// Where it runs.
    attach: Attach,
    /// Whether it is an error when the kernel has no such place. What is not required only sharpens what others see.
    required: bool,
    /// Whether an event is lost when the kernel skips a run, as it does while the same program runs on that CPU.
    counts_misses: bool,
    /// The program in whose place it is attached, where the kernel lacks that one's.
    instead_of: Option<&'static str>,
}

/// A place in the kernel, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attach {
    /// A tracepoint whose arguments the program takes as they are.
    Raw(&'static str),
    /// A tracepoint whose arguments have types, so that the program may follow pointers without a helper.
    #[cfg_attr(not(test), expect(dead_code, reason = "no row has this kind yet"))]
    Typed(&'static str),
}

/// Hooks of calls and of what makes them, in the order in which they are attached, which says nothing: calls are followed
/// once all are.
const CALLS: [Hook; 7] = [
    Hook::sharpens("tcp_sendmsg_locked"),
    Hook::required("sched_process_exit"),
    Hook::required("sched_process_exec"),
    Hook::required("tcp_destroy_sock"),
    Hook::required("inet_sock_set_state"),
    Hook::required("sys_exit"),
    Hook::required("sys_enter"),
];

/// Hooks of packets. One that is missed leaves a time unknown, which is no event of a call.
const PACKETS: [Hook; 5] = [
    Hook::sharpens("net_dev_start_xmit"),
    Hook::sharpens("netif_receive_skb"),
    Hook::sharpens("tcp_retransmit_skb"),
    Hook::sharpens("sk_data_ready"),
    Hook { instead_of: Some("sk_data_ready"), ..Hook::sharpens("tcp_probe") },
];

/// Returns the hooks of a capture, with those of packets or without.
pub(super) fn chosen(packets: bool) -> Vec<Hook> {
    CALLS.into_iter().chain(PACKETS.into_iter().filter(|_| packets)).collect()
}

/// Loads the programs of `hooks`, which do nothing yet, and returns the hooks that this kernel may have.
pub(super) fn load(ebpf: &mut Ebpf, hooks: &[Hook], btf: &Path) -> Result<Vec<Hook>, KernelError> {
    let types = types_for(hooks, btf)?;
    let mut loaded = Vec::new();
    for hook in hooks {
        let result = match (hook.attach, &types) {
            (Attach::Raw(_), _) => hook.raw(ebpf)?.load(),
            (Attach::Typed(name), Some(types)) => hook.typed(ebpf)?.load(name, types),
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
            Attach::Raw(name) => hook.raw(ebpf)?.attach(name).map(drop),
            Attach::Typed(_) => hook.typed(ebpf)?.attach().map(drop),
        };
        attached.extend(hook.unless_absent(result)?.map(|()| hook.program));
    }
    Ok(attached)
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
            Attach::Raw(_) => hook.raw(ebpf).map(RawTracePoint::unload),
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

/// Returns the kernel's types where a hook needs them.
fn types_for(hooks: &[Hook], btf: &Path) -> Result<Option<Btf>, KernelError> {
    let typed = hooks.iter().find(|hook| matches!(hook.attach, Attach::Typed(_)));
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
