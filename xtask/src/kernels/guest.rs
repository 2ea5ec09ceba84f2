//! A kernel under test in qemu: how it starts, and what its console says.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::calls;
use super::smoke::VERDICT_PREFIX;

/// Software emulation is some thirty times slower than the machine.
const GUEST_TIMEOUT: Duration = Duration::from_mins(45);

/// What a kernel says last.
const PANIC: &str = "Kernel panic";

/// What the guest's kernel is told. Under emulation a processor sometimes never comes back from code that was patched
/// while it ran; that is taken for a crash after twice the seconds of `watchdog_thresh`.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 quiet panic=-1 random.trust_cpu=on softlockup_panic=1 watchdog_thresh=30";

/// How many of the console's last lines an error shows.
const TAIL_LINES: usize = 12;

/// Returns the script that is the guest's first process. tracefs and bpffs stay unmounted on purpose.
pub(super) fn init() -> String {
    format!(
        "#!/bin/busybox sh
export PATH=/bin RUST_BACKTRACE=0
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t tmpfs tmpfs /tmp
busybox ip link set lo up
xtask smoke /bin/kubectl-kyanos
{} {}
busybox poweroff -f
",
        calls::PROGRAM,
        calls::ARGUMENTS.join(" ")
    )
}

/// How a guest ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its smoke capture and its calls were right, as this line says.
    Reported(String),
    /// Its kernel crashed, at this place.
    Crashed { place: String, console: String },
}

/// Boots an image and returns how it ended; a capture that was not right is an error.
pub(super) fn boot(image: &Path, initramfs: &Path) -> Result<Ended> {
    // A model that the emulator carries out faithfully: with `max`, 6.12 crashes in code that has nothing to do with us.
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg",
            "-cpu",
            "Haswell",
            "-m",
            "1024",
            "-smp",
            "2",
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
        ])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", KERNEL_ARGUMENTS])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("running `qemu-system-x86_64`")?;
    let outcome = follow(&mut qemu);
    // It has powered off by itself, or its time is over.
    if qemu.try_wait()?.is_none() {
        qemu.kill()?;
    }
    qemu.wait()?;
    outcome
}

fn follow(qemu: &mut Child) -> Result<Ended> {
    let console = qemu.stdout.take().context("qemu has no console")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + GUEST_TIMEOUT;
    let mut seen: Vec<String> = Vec::new();
    let mut smoke = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            // The firmware's last escape codes may stand before it.
            Ok(line) => {
                if let Some((_, verdict)) = line.split_once(VERDICT_PREFIX) {
                    match verdict.trim().strip_prefix("ok ") {
                        Some(report) => smoke = Some(report.to_owned()),
                        None => bail!("{verdict}\n{}", tail(&seen)),
                    }
                } else if line.contains(PANIC) {
                    let place = seen.iter().find_map(|line| line.split_once("RIP: 0010:"));
                    let place = place.map_or_else(|| line.clone(), |(_, place)| place.to_owned());
                    return Ok(Ended::Crashed { place, console: tail(&seen) });
                } else if let (Some(smoke), Some(outcome)) = (&smoke, calls::outcome(&line)) {
                    let report = outcome.with_context(|| format!("{smoke}; {}", tail(&seen)))?;
                    return Ok(Ended::Reported(format!("{smoke}; {report}")));
                }
                seen.push(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("no result after {} s; the console's end:\n{}", GUEST_TIMEOUT.as_secs(), tail(&seen))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("the guest ended without a result; the console's end:\n{}", tail(&seen))
            }
        }
    }
}

/// Returns the last lines of what a program said, for an error.
pub(super) fn tail(lines: &[String]) -> String {
    lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)).cloned().collect::<Vec<_>>().join("\n")
}
