//! `status`: the sessions of this machine or of a cluster.

use jiff::tz::TimeZone;
use proto::{store_state, v1};
use serde_json::{Value, json};

use crate::cli::StatusArgs;
use crate::clock::now_ns;
use crate::console::Console;
use crate::failure::Failure;
use crate::local::directory::{Found, lives};
use crate::local::{self, Places, leftovers};
use crate::render::result::{self, Format};
use crate::render::session;
use crate::render::table::Table;
use crate::render::units::{age, rfc3339};
use crate::stdout::{print, terminal_width};

/// A session with what its hub says of it.
struct Seen {
    found: Found,
    state: Option<v1::DescribeResponse>,
}

/// Runs the command.
pub(crate) async fn run(args: StatusArgs, console: &Console) -> Result<u8, Failure> {
    if !args.place.local {
        return crate::cluster::status::run(&args, console).await;
    }
    local::preflight::root("looking at the sessions of this machine")?;
    let places = Places::default();
    for line in leftovers::remove_dead(&places) {
        console.say(&line);
    }
    let mut sessions = Vec::new();
    for found in places.list() {
        let state = match local::connect(&places, &found.name).await {
            Ok(mut client) => client.describe().await.ok(),
            Err(_starting_or_ending) => None,
        };
        sessions.push(Seen { found, state });
    }
    let values: Vec<Value> = sessions.iter().map(|seen| value(&places, seen)).collect();
    match args.output {
        Format::Json => print(&format!("{}\n", result::json(&values)?))?,
        Format::Yaml => print(&result::yaml(&values)?)?,
        format @ (Format::Table | Format::Wide | Format::Csv) => {
            print(&table(&sessions, format == Format::Wide))?;
            for seen in &sessions {
                let lines = session::not_seen(&seen.found.name, seen.state.as_ref(), &TimeZone::system());
                for line in lines {
                    console.say(&line);
                }
            }
            kept(&places, console);
        }
    }
    Ok(0)
}

fn kept(places: &Places, console: &Console) {
    for (name, path) in places.kept_stores() {
        console.say(&format!("kept store of `{name}`: {}", path.display()));
    }
}

fn table(sessions: &[Seen], wide: bool) -> String {
    if sessions.is_empty() {
        return "no sessions on this machine\n".to_owned();
    }
    let mut titles = ["SESSION", "AGE", "OWNER", "STATE", "CAPTURERS"].map(str::to_owned).to_vec();
    titles.extend(session::TITLES.map(str::to_owned));
    if wide {
        titles.extend(["PID", "STORE", "VERSION"].map(str::to_owned));
    }
    let mut table = Table::new(&titles, terminal_width());
    for seen in sessions {
        table.row(cells(seen, wide));
    }
    table.render()
}

fn cells(seen: &Seen, wide: bool) -> Vec<String> {
    let dash = || "-".to_owned();
    let file = seen.found.file.as_ref();
    let state = seen.state.as_ref();
    let since = file.map(|file| now_ns().saturating_sub(file.started_ns) / 1_000_000_000);
    let mut cells = vec![
        seen.found.name.clone(),
        since.map_or_else(dash, age),
        file.map_or_else(dash, |file| user(file.owner)),
        life(seen).to_owned(),
        state.map_or_else(dash, session::capturers),
    ];
    cells.extend(session::cells(state));
    if wide {
        cells.push(file.map_or_else(dash, |file| file.plugin_pid.to_string()));
        cells.push(
            state.map_or_else(dash, |state| store_state::in_full(&state.store.clone().unwrap_or_default())),
        );
        cells.push(file.map_or_else(dash, |file| file.version.clone()));
    }
    cells
}

/// Says whether the session's starter and hub live.
fn life(seen: &Seen) -> &'static str {
    let Some(file) = &seen.found.file else { return "starting" };
    match (lives(file.plugin_pid, file), &seen.state) {
        (true, Some(_)) => "live",
        (true, None) => "starting",
        (false, _) => "ending",
    }
}

fn value(places: &Places, seen: &Seen) -> Value {
    let file = seen.found.file.as_ref();
    let mut value = json!({
        "session": seen.found.name,
        "state": life(seen),
        "started": file.map(|file| rfc3339(file.started_ns)),
        "owner": file.map(|file| user(file.owner)),
        "version": file.map(|file| file.version.clone()),
        "directory": places.directory(&seen.found.name),
        "plugin_pid": file.map(|file| file.plugin_pid),
        "hub_pid": file.and_then(|file| file.hub_pid),
        "capturer_pid": file.and_then(|file| file.capturer_pid),
        "keep": file.map(|file| file.keep),
        "store": file.and_then(|file| file.store.clone()),
    });
    if let Some(fields) = value.as_object_mut() {
        fields.extend(session::fields(seen.state.as_ref()));
    }
    value
}

fn user(id: u32) -> String {
    crate::platform::user_name(id).unwrap_or_else(|| id.to_string())
}
