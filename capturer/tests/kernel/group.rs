//! A control group as a container runtime makes it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// Id of its container.
pub(crate) const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Groups made, which have pods of their own.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A control group of this test's own, removed at its end.
pub(crate) struct Group {
    levels: Vec<PathBuf>,
    /// UID of its pod.
    pub(crate) uid: String,
}

impl Group {
    /// Makes `/kyanos-test-NAME/podUID/CONTAINER` in the hierarchy that names containers.
    pub(crate) fn make(name: &str) -> Self {
        let first = Path::new("/sys/fs/cgroup/memory");
        let root = if first.join("cgroup.procs").exists() { first } else { Path::new("/sys/fs/cgroup") };
        let outer = root.join(format!("kyanos-test-{name}-{}", std::process::id()));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let uid = format!("{number:08x}-0c7e-4f2a-9d11-{:012x}", std::process::id());
        let pod = outer.join(format!("pod{uid}"));
        let levels = vec![pod.join(CONTAINER), pod, outer];
        fs::create_dir_all(&levels[0]).unwrap();
        Self { levels, uid }
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.levels[0]
    }

    /// Starts a shell that moves here and then runs a script by another shell, with a pipe as its input.
    pub(crate) fn run(&self, script: &str) -> Child {
        let procs = self.directory().join("cgroup.procs");
        let moved = format!("echo $$ > {} && exec bash -c '{script}'", procs.display());
        let mut command = Command::new("bash");
        command.args(["-c", &moved]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let started = Instant::now();
        for level in &self.levels {
            // Its last process may be on its way out.
            while fs::remove_dir(level).is_err() && started.elapsed() < Duration::from_secs(2) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
