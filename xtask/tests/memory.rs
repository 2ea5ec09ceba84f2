//! Hub and capturer stay small under load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xtask::kyanos::{self, machine};
use xtask::process::{Plan, wait_until};
use xtask::servers::Nginx;

/// Anonymous memory plus rings, each.
const LIMIT: u64 = 64 << 20;

const LOAD: Duration = Duration::from_secs(15);

/// The kernel's number for ring buffers among its kinds of maps.
const RING: &str = "27";

/// Anonymous memory of a process in bytes.
fn anonymous(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Bytes of the event rings that a process holds, each counted once.
fn rings(process: u32) -> u64 {
    let mut sizes = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fdinfo")).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("map_type:") == Some(RING) {
            let size: u64 = field("max_entries:").unwrap().parse().unwrap();
            sizes.insert(field("map_id:").unwrap().to_owned(), size);
        }
    }
    sizes.values().sum()
}

#[test]
fn capturer_and_hub_stay_under_64_mib_each_at_full_load_of_one_nginx_worker() {
    let Some(_alone) = machine().unwrap() else { return };
    let nginx = Nginx::start().unwrap();
    let name = kyanos::unique_name();
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("stderr");
    let plan = Plan::at(&xtask::workspace::binary("kubectl-kyanos").unwrap());
    let mut command = plan.command();
    command.args(["watch", "--local", "-o", "json", "--name", &name]).stdout(Stdio::null());
    command.stderr(std::fs::File::create(&said).unwrap());
    let mut session = plan.spawn(&mut command).unwrap();
    let text = || std::fs::read_to_string(&said).unwrap();
    wait_until("the capture to begin", Duration::from_secs(20), || text().contains("capturing")).unwrap();
    let record = std::fs::read_to_string(format!("{}/{name}/session.json", kyanos::SESSIONS_FOLDER)).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let id = |name: &str| u32::try_from(record[name].as_u64().unwrap()).unwrap();
    let children = [("capturer", id("capturer_pid")), ("hub", id("hub_pid"))];
    let ring = rings(children[0].1);
    assert!(ring > 0, "the capturer has no ring");

    let mut wrk = Command::new("wrk");
    let seconds = format!("{}s", LOAD.as_secs());
    wrk.args(["-t", "1", "-c", "64", "-d", &seconds, &nginx.url("/blob-1000")]).stdout(Stdio::null());
    let mut load = wrk.spawn().unwrap();
    let begun = Instant::now();
    let mut highest = [0; 2];
    while load.try_wait().unwrap().is_none() {
        for ((_, process), highest) in children.iter().zip(&mut highest) {
            *highest = anonymous(*process).max(*highest);
        }
        assert!(begun.elapsed() < LOAD * 3, "wrk does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    session.signal(nix::sys::signal::Signal::SIGINT).unwrap();
    session.wait(Duration::from_secs(30)).unwrap();
    for (((name, _), highest), ring) in children.iter().zip(highest).zip([ring, 0]) {
        let total = highest + ring;
        println!("{name}: {} KiB anonymous and {} KiB of rings at most", highest >> 10, ring >> 10);
        assert!(total < LIMIT, "{name}: {total} bytes; {}", text());
    }
    println!("{}", text().lines().rev().take(2).collect::<Vec<_>>().join("; "));
}
