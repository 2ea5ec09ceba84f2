//! `cleanup`: what ended sessions left, and on demand what live ones have.

mod cluster;

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proto::launch::SessionFile;

use crate::cli::CleanupArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::local::directory::lives;
use crate::local::{self, Places, leftovers};
use crate::platform;

/// Longest a live session may take to end by itself.
const SESSION_END_TIMEOUT: Duration = Duration::from_secs(15);

/// How often its processes are looked at.
const PROCESSES_POLL: Duration = Duration::from_millis(50);

/// Something to remove.
enum Target {
    /// A session whose processes live.
    Live(SessionFile),
    /// A session whose processes are gone.
    Dead(String, Option<SessionFile>),
    /// The store of a session that ended.
    Kept(String, PathBuf),
}

/// Runs the command.
pub(crate) async fn run(args: CleanupArgs, console: &Console) -> Result<u8, Failure> {
    if !args.place.local {
        return cluster::run(&args, console).await;
    }
    local::preflight::root("removing what sessions left on this machine")?;
    let places = Places::default();
    let targets = choose(&places, &args)?;
    if targets.is_empty() {
        console.say("nothing to remove");
        return Ok(0);
    }
    for target in &targets {
        console.say(&format!("{}{}", if args.dry_run { "would remove " } else { "" }, target.describe()));
    }
    if args.dry_run {
        return Ok(0);
    }
    if args.all && !args.yes && !confirmed(console)? {
        console.say("nothing was removed");
        return Ok(0);
    }
    let mut left = Vec::new();
    for target in targets {
        left.extend(target.remove(&places).await);
    }
    if left.is_empty() {
        console.say("removed");
        return Ok(0);
    }
    Err(Failure::new(format!("could not remove {}", left.join(", "))))
}

fn choose(places: &Places, args: &CleanupArgs) -> Result<Vec<Target>, Failure> {
    let mut targets: Vec<Target> = places
        .list()
        .into_iter()
        .filter_map(|found| match (found.is_dead(), found.file) {
            (true, file) => Some(Target::Dead(found.name, file)),
            (false, Some(file)) => Some(Target::Live(file)),
            (false, None) => None,
        })
        .collect();
    targets.extend(places.kept_stores().into_iter().map(|(name, path)| Target::Kept(name, path)));
    if let Some(name) = &args.name {
        targets.retain(|target| target.name() == name);
        if targets.is_empty() {
            return Err(Failure::new(format!("there is no session and no kept store named `{name}`"))
                .hint("see `kubectl kyanos status --local`"));
        }
    } else if !args.all {
        targets.retain(|target| matches!(target, Target::Dead(..)));
    }
    Ok(targets)
}

fn confirmed(console: &Console) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("`--all` asks before it removes, and standard input is no terminal")
            .hint("add `--yes`"));
    }
    console.say("remove all of these? [y/N]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::new(format!("reading the answer failed: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

// === impl Target ===

impl Target {
    fn name(&self) -> &str {
        match self {
            Self::Live(file) => &file.session,
            Self::Dead(name, _) | Self::Kept(name, _) => name,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Live(file) => format!("live session `{}` (plugin {})", file.session, file.plugin_pid),
            Self::Dead(name, _) => format!("dead session `{name}`"),
            Self::Kept(name, path) => format!("kept store of `{name}`: {}", path.display()),
        }
    }

    /// Removes it and returns what could not be.
    async fn remove(self, places: &Places) -> Vec<String> {
        match self {
            Self::Live(file) => {
                end(&file).await;
                leftovers::remove(places, &file)
            }
            Self::Dead(_, Some(file)) => leftovers::remove(places, &file),
            Self::Dead(name, None) => leftovers::remove_directory(places, &name),
            Self::Kept(_, path) => leftovers::remove_store(places, &path),
        }
    }
}

/// Asks a session's plugin to end it, then ends what is still there.
async fn end(file: &SessionFile) {
    let pids: Vec<u32> =
        [Some(file.plugin_pid), file.hub_pid, file.capturer_pid].into_iter().flatten().collect();
    let living = || pids.iter().copied().filter(|pid| lives(*pid, file)).collect::<Vec<u32>>();
    if lives(file.plugin_pid, file) {
        platform::terminate(file.plugin_pid);
    }
    let began = Instant::now();
    while !living().is_empty() && began.elapsed() < SESSION_END_TIMEOUT {
        tokio::time::sleep(PROCESSES_POLL).await;
    }
    for pid in living().into_iter().filter(|pid| lives(*pid, file)) {
        platform::kill(pid);
    }
}
