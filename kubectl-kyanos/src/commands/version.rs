//! `version`.

use serde_json::json;

use super::print;
use crate::cli::VersionArgs;
use crate::failure::Failure;
use crate::render::result;

/// Runs the command.
pub(crate) fn run(args: &VersionArgs) -> Result<u8, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    let value = json!({
        "clientVersion": { "version": version, "wireRevision": proto::WIRE_REVISION, "platform": platform },
    });
    let text = match args.output.as_deref() {
        Some("json") => format!("{}\n", result::json(&value)?),
        Some("yaml") => result::yaml(&value)?,
        _ => format!("Client Version: {version}\n"),
    };
    print(&text)?;
    Ok(0)
}
