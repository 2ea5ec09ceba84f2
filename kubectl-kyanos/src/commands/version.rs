//! `version`.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli::{DeployArgs, VersionArgs};
use crate::cluster::images;
use crate::cluster::request::Images;
use crate::failure::Failure;
use crate::render::result::{self, Format};
use crate::stdout::print;

/// Runs the command.
pub(crate) fn run(args: &VersionArgs) -> Result<u8, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    let images = args.images.then(|| {
        let Images { hub, capturer, store } = images::chosen(&DeployArgs::default());
        BTreeMap::from([("hub", hub), ("capturer", capturer), ("store", store)])
    });
    let mut value = json!({
        "clientVersion": { "version": version, "wireRevision": proto::WIRE_REVISION, "platform": platform },
    });
    if let Some(images) = &images {
        value["images"] = json!(images);
    }
    let text = match args.output {
        Some(Format::Json) => format!("{}\n", result::json(&value)?),
        Some(Format::Yaml) => result::yaml(&value)?,
        None | Some(Format::Table | Format::Wide | Format::Csv) => {
            let mut text = format!("Client Version: {version}\n");
            for (part, image) in images.iter().flatten() {
                text.extend([part, ": ", image.as_str(), "\n"]);
            }
            text
        }
    };
    print(&text)?;
    Ok(0)
}
