//! What makes a server busy, and how fast it answers meanwhile.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::run;
use crate::servers::{Nginx, Redis};

/// Length of the value that the large results hold.
const LARGE_VALUE_BYTES: usize = 3_000_000;

/// Large results of one measurement: some seconds of them.
const LARGE_RESULTS: u32 = 3_000;

/// Small commands of one measurement: some seconds of them.
const SMALL_COMMANDS: u32 = 200_000;

/// Requests a second of the paced load: few enough that everything is delivered, so that equal work is compared.
const PACED_REQUESTS_A_SECOND: u32 = 6_400;

/// Connections of the paced load.
const PACED_CONNECTIONS: u32 = 16;

/// A server under load.
#[derive(Debug)]
pub(super) enum Load {
    /// nginx with one worker and a small file, asked by wrk over 32 connections for so long.
    SmallFile(Nginx, Duration),
    /// The same server and file, asked by h2load at a steady pace for so long.
    Paced(Nginx, Duration),
    /// Redis and one value of 3 MB, asked by redis-benchmark over two connections.
    LargeResult(Redis),
    /// Redis and small values, asked by redis-benchmark over 50 connections.
    SmallCommands(Redis),
}

/// How fast a server answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) requests_per_second: f64,
    /// Requests of the whole measurement.
    pub(super) requests: f64,
}

// === impl Load ===

impl Load {
    pub(super) fn small_file(length: Duration) -> Result<Self> {
        Ok(Self::SmallFile(Nginx::start_with("access_log off;")?, length))
    }

    pub(super) fn paced(length: Duration) -> Result<Self> {
        Ok(Self::Paced(Nginx::start_with("access_log off;")?, length))
    }

    pub(super) fn small_commands() -> Result<Self> {
        Ok(Self::SmallCommands(Redis::start()?))
    }

    pub(super) fn large_result() -> Result<Self> {
        let redis = Redis::start()?;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port()))?;
        stream.write_all(format!("*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n${LARGE_VALUE_BYTES}\r\n").as_bytes())?;
        stream.write_all(&vec![b'v'; LARGE_VALUE_BYTES])?;
        stream.write_all(b"\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        ensure!(&answer == b"+OK\r\n", "Redis answers {} to SET", answer.escape_ascii());
        Ok(Self::LargeResult(redis))
    }

    /// What it is, for a heading.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::SmallFile(_, length) => {
                format!(
                    "a small file: nginx with one worker, wrk with 32 connections, {} s",
                    length.as_secs()
                )
            }
            Self::Paced(_, length) => {
                format!(
                    "a small file at a steady pace: h2load asks for {PACED_REQUESTS_A_SECOND} requests/s, {} s",
                    length.as_secs()
                )
            }
            Self::LargeResult(_) => {
                format!("a result of 3 MB: Redis, redis-benchmark with 2 connections, {LARGE_RESULTS} times")
            }
            Self::SmallCommands(_) => {
                format!("a small value: Redis, redis-benchmark with 50 connections, {SMALL_COMMANDS} times")
            }
        }
    }

    /// Process ids of those who serve.
    pub(super) fn servers(&self) -> Result<Vec<u32>> {
        match self {
            Self::SmallFile(nginx, _) | Self::Paced(nginx, _) => nginx.workers(),
            Self::LargeResult(redis) | Self::SmallCommands(redis) => Ok(vec![redis.id()]),
        }
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Self::SmallFile(nginx, _) | Self::Paced(nginx, _) => nginx.port(),
            Self::LargeResult(redis) | Self::SmallCommands(redis) => redis.port(),
        }
    }

    /// Makes the server busy once.
    pub(super) fn run(&self) -> Result<Rate> {
        match self {
            Self::SmallFile(nginx, length) => wrk(nginx, *length),
            Self::Paced(nginx, length) => h2load(nginx, *length),
            Self::LargeResult(redis) => benchmark(redis, LARGE_RESULTS, &["-c", "2"], &["GET", "large"]),
            Self::SmallCommands(redis) => {
                benchmark(redis, SMALL_COMMANDS, &["-c", "50", "-d", "16"], &["GET", "small"])
            }
        }
    }
}

// === free functions ===

fn wrk(nginx: &Nginx, length: Duration) -> Result<Rate> {
    let program = run::find("wrk").context("`wrk` is not installed")?;
    let mut command = Command::new(program);
    command.args(["--threads", "1", "--connections", "32", "--duration"]);
    command.arg(format!("{}s", length.as_secs())).arg(nginx.url("/hello")).stderr(Stdio::inherit());
    let text = run::output(&mut command)?;
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    let rate = rate.with_context(|| format!("wrk reports no rate: {text}"))?.trim().parse();
    let requests_per_second: f64 = rate.context("wrk's rate is no number")?;
    Ok(Rate { requests_per_second, requests: requests_per_second * length.as_secs_f64() })
}

fn h2load(nginx: &Nginx, length: Duration) -> Result<Rate> {
    let program = run::find("h2load").context("`h2load` is not installed")?;
    let mut command = Command::new(program);
    command.args(["--h1", "--clients", &PACED_CONNECTIONS.to_string()]);
    command.args(["--rps", &(PACED_REQUESTS_A_SECOND / PACED_CONNECTIONS).to_string()]);
    command.args(["--duration", &length.as_secs().to_string()]);
    command.arg(nginx.url("/hello")).stderr(Stdio::inherit());
    let text = run::output(&mut command)?;
    // "requests: 32000 total, 32000 started, 32000 done, 31990 succeeded, …".
    let done = text.lines().find_map(|line| line.strip_prefix("requests: ")?.split(", ").nth(2));
    let done = done.and_then(|done| done.strip_suffix(" done"));
    let requests: f64 = done
        .and_then(|done| done.parse().ok())
        .with_context(|| format!("h2load reports no requests: {text}"))?;
    Ok(Rate { requests_per_second: requests / length.as_secs_f64(), requests })
}

fn benchmark(redis: &Redis, count: u32, how: &[&str], what: &[&str]) -> Result<Rate> {
    let program = run::find("redis-benchmark").context("`redis-benchmark` is not installed")?;
    let mut command = Command::new(program);
    command.args(["-p", &redis.port().to_string(), "-n", &count.to_string(), "--csv"]);
    command.args(how).args(what).stderr(Stdio::inherit());
    let text = run::output(&mut command)?;
    // "GET large","1234.56",… below a line of titles.
    let rate = text.lines().last().and_then(|line| line.split(',').nth(1)).unwrap_or_default();
    let requests_per_second =
        rate.trim_matches('"').parse().with_context(|| format!("redis-benchmark reports no rate: {text}"))?;
    Ok(Rate { requests_per_second, requests: f64::from(count) })
}
