//! The plugin index's manifest, filled from its template.

use anyhow::{Result, bail};

/// Begins the entry of a platform.
const ENTRY_BEGIN: &str = "  - selector:\n";

/// Fills a template. `archive` gives a platform's address and checksum; a platform without them is left out.
pub(super) fn fill(
    template: &str,
    version: &str,
    archive: impl Fn(&str) -> Option<(String, String)>,
) -> Result<String> {
    let mut parts = template.split(ENTRY_BEGIN);
    let mut filled = parts.next().unwrap_or_default().replace("{{ version }}", version);
    for entry in parts {
        let name = entry.split_once("{{ uri ").and_then(|(_, rest)| rest.split_once(" }}"));
        let Some((platform, _)) = name else { bail!("a platform's entry has no `{{{{ uri PLATFORM }}}}`") };
        if let Some((uri, sha256)) = archive(platform) {
            let entry = entry.replace(&format!("{{{{ uri {platform} }}}}"), &uri);
            filled.push_str(ENTRY_BEGIN);
            filled.push_str(&entry.replace(&format!("{{{{ sha256 {platform} }}}}"), &sha256));
        }
    }
    match filled.split_once("{{ ") {
        Some((_, rest)) => bail!("nothing fills `{}`", rest.lines().next().unwrap_or_default()),
        None => Ok(filled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = include_str!("../../../krew/kyanos.yaml");

    #[test]
    fn all_five_platforms_are_filled() {
        let filled = fill(TEMPLATE, "1.2.3", |name| Some((format!("at-{name}"), "ab".repeat(32)))).unwrap();
        assert!(filled.contains("version: v1.2.3\n"), "{filled}");
        for name in super::super::PLATFORMS.map(|platform| platform.name) {
            assert_eq!(filled.matches(&format!("uri: \"at-{name}\"")).count(), 1, "{name}: {filled}");
        }
        assert_eq!(filled.matches(&"ab".repeat(32)).count(), 5);
    }

    #[test]
    fn a_platform_without_an_archive_is_left_out() {
        let only = |name: &str| (name == "linux-arm64").then(|| ("u".to_owned(), "s".to_owned()));
        let filled = fill(TEMPLATE, "1.2.3", only).unwrap();
        assert_eq!(filled.matches("selector").count(), 1, "{filled}");
        assert!(filled.contains("os: linux, arch: arm64"), "{filled}");
    }

    #[test]
    fn what_nothing_fills_is_an_error() {
        let error = fill("version: {{ vershun }}\n", "1", |_| None).unwrap_err();
        assert!(error.to_string().contains("vershun"), "{error}");
    }
}
