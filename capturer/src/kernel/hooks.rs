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

/// All hooks, in the order in which they are attached, which says nothing: calls are followed once all are.
#[rustfmt::skip]
pub(super) const HOOKS: [Hook; 7] = [
    Hook { program: "tcp_sendmsg_locked", attach: Attach::Raw("tcp_sendmsg_locked"), required: false, counts_misses: false },
    Hook { program: "sched_process_exit", attach: Attach::Raw("sched_process_exit"), required: true, counts_misses: true },
    Hook { program: "sched_process_exec", attach: Attach::Raw("sched_process_exec"), required: true, counts_misses: true },
    Hook { program: "tcp_destroy_sock", attach: Attach::Raw("tcp_destroy_sock"), required: true, counts_misses: true },
    Hook { program: "inet_sock_set_state", attach: Attach::Raw("inet_sock_set_state"), required: true, counts_misses: true },
    Hook { program: "sys_exit", attach: Attach::Raw("sys_exit"), required: true, counts_misses: true },
    Hook { program: "sys_enter", attach: Attach::Raw("sys_enter"), required: true, counts_misses: true },
];

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

/// Attaches what was loaded, in order.
pub(super) fn attach(ebpf: &mut Ebpf, hooks: &[Hook]) -> Result<(), KernelError> {
    for hook in hooks {
        let result = match hook.attach {
            Attach::Raw(name) => hook.raw(ebpf)?.attach(name).map(drop),
            Attach::Typed(_) => hook.typed(ebpf)?.attach().map(drop),
        };
        hook.unless_absent(result)?;
    }
    Ok(())
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
