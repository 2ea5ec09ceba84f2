//! What this kernel allows, checked before anything is loaded, so that errors name the cause.

use std::{fs, io, path::Path, thread, time::Duration};

use super::error::{KernelError, OLDEST_KERNEL};

/// Controllers in which every container runtime makes a group for each container. Others may be mounted by themselves
/// on machines that use the second version, and then name nothing.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// How long a program may run: microseconds, and as long again as its CPU is taken from this machine by another one.
const LONGEST_RUN: Duration = Duration::from_millis(50);

/// Fails when the kernel is too old or locked down.
pub(super) fn check() -> Result<(), KernelError> {
    let release = read("/proc/sys/kernel/osrelease")?;
    if version(&release) < Some(OLDEST_KERNEL) {
        return Err(KernelError::TooOld { found: release.trim().to_owned() });
    }
    if fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|text| locked_down(&text)) {
        return Err(KernelError::LockedDown);
    }
    Ok(())
}

/// Whether the running kernel is older than a release.
pub(super) fn is_before(release: (u32, u32)) -> bool {
    let running = read("/proc/sys/kernel/osrelease").ok().and_then(|text| version(&text));
    running < Some(release)
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether the chosen word of `/sys/kernel/security/lockdown` forbids reading kernel memory.
fn locked_down(text: &str) -> bool {
    text.contains("[confidentiality]")
}

/// Inode of this process's PID namespace.
pub(super) fn pid_namespace() -> Result<u32, KernelError> {
    let path = Path::new("/proc/self/ns/pid");
    let failed = |source| KernelError::Proc { path: path.to_owned(), source };
    let target = fs::read_link(path).map_err(failed)?;
    let text = target.to_string_lossy();
    let inode = text.trim_start_matches("pid:[").trim_end_matches(']');
    inode.parse().map_err(|_not_a_number| failed(io::Error::other(format!("`{text}` is not a namespace"))))
}

/// The controller of the first version of control groups whose hierarchy names containers; `None` where the second
/// version's does. The second version has a single hierarchy, and a kernel may have it mounted beside the first.
pub(super) fn controller() -> Option<&'static str> {
    mounted_controller(&fs::read_to_string("/proc/cgroups").ok()?)
}

fn mounted_controller(cgroups: &str) -> Option<&'static str> {
    let mounted = |name: &str| {
        cgroups.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace();
            fields.next() == Some(name) && fields.next().is_some_and(|hierarchy| hierarchy != "0")
        })
    };
    CONTROLLERS.into_iter().find(|name| mounted(name))
}

/// Highest number of CPUs that this machine can have online.
pub(super) fn cpus() -> Result<u32, KernelError> {
    let text = read("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok());
    Ok(last.map_or(1, |last| last + 1))
}

/// Lifts the limit of locked memory, to which kernels before 5.11 charge maps; without the right to, the kernel's
/// own error tells later.
#[expect(unsafe_code, reason = "one system call")]
pub(super) fn lift_memory_limit() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure lives through the call, which only reads it.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) } != 0 {
        tracing::debug!("the limit of locked memory stays: {}", io::Error::last_os_error());
    }
}

/// Waits until everything has ended that reads under the kernel's RCU now, as every program does while it runs.
#[expect(unsafe_code, reason = "one system call")]
pub(super) fn await_readers() {
    // SAFETY: the call takes no memory.
    if unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) } != 0 {
        // Refused where some CPUs have no tick (`nohz_full`).
        tracing::debug!("waiting for programs that run: {}", io::Error::last_os_error());
        thread::sleep(LONGEST_RUN);
    }
}

/// Gives memory that loading took back to the system.
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "one call of the C library"))]
pub(super) fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes no memory from its callers.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// `CLOCK_MONOTONIC` nanoseconds, the clock of every record.
pub(super) fn now() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return 0 };
    std::time::Duration::from(now).as_nanos().try_into().unwrap_or(u64::MAX)
}

fn read(path: &str) -> Result<String, KernelError> {
    fs::read_to_string(path).map_err(|source| KernelError::Proc { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("5.10.0-28-cloud-amd64\n"), Some((5, 10)));
        assert!(version("5.8.0") < Some(OLDEST_KERNEL));
        assert!(version("6.1.0") > Some(OLDEST_KERNEL));
        assert_eq!(version("none"), None);
    }

    #[test]
    fn the_first_version_counts_where_a_controller_of_containers_is_mounted() {
        let head = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n";
        let first = format!("{head}cpuset\t3\t29\t1\nmemory\t0\t1\t0\npids\t8\t29\t1\n");
        assert_eq!(mounted_controller(&first), Some("pids"));
        let second = format!("{head}cpuset\t0\t1\t1\nmemory\t0\t1\t1\nnet_cls\t5\t1\t1\n");
        assert_eq!(mounted_controller(&second), None);
        assert_eq!(mounted_controller(head), None);
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        assert!(locked_down("none integrity [confidentiality]\n"));
        assert!(!locked_down("none [integrity] confidentiality\n"));
    }
}
