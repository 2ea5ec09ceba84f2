//! Which images a session runs.

use super::request::Images;
use crate::cli::DeployArgs;

/// Registry and folder of hub and capturer; a release sets it when it is built.
const IMAGE_PREFIX: &str = match option_env!("KYANOS_IMAGE_PREFIX") {
    Some(prefix) => prefix,
    None => "kyanos",
};

/// Digests of the images of hub and capturer, which a release sets when it is built: then no registry can give others.
const DIGESTS: [(&str, Option<&str>); 2] =
    [("hub", option_env!("KYANOS_HUB_DIGEST")), ("capturer", option_env!("KYANOS_CAPTURER_DIGEST"))];

/// The session's own store.
const STORE_IMAGE: &str = "docker.io/library/mysql:8.4";

/// Returns the images that the flags ask for, those of this version where they do not say.
pub(crate) fn chosen(args: &DeployArgs) -> Images {
    let own = |part: &str| {
        let digest = DIGESTS.iter().find(|(of, _)| *of == part).and_then(|(_, digest)| *digest);
        reference(IMAGE_PREFIX, part, env!("CARGO_PKG_VERSION"), digest)
    };
    let pick = |given: &Option<String>, usual: String| {
        let image = given.clone().unwrap_or(usual);
        match &args.image_registry {
            Some(registry) => moved(&image, registry),
            None => image,
        }
    };
    Images {
        hub: pick(&args.hub_image, own("hub")),
        capturer: pick(&args.capturer_image, own("capturer")),
        store: pick(&args.store_image, STORE_IMAGE.to_owned()),
    }
}

/// Names an image by its version, and by its digest where that is known; the digest then decides.
fn reference(prefix: &str, part: &str, version: &str, digest: Option<&str>) -> String {
    let image = format!("{prefix}/{part}:{version}");
    match digest.filter(|digest| !digest.is_empty()) {
        Some(digest) => format!("{image}@{digest}"),
        None => image,
    }
}

/// Puts another registry before an image's path.
fn moved(image: &str, registry: &str) -> String {
    let path = match image.split_once('/') {
        // As container runtimes tell a host from a folder.
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        Some(_) | None => image,
    };
    format!("{}/{path}", registry.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_takes_the_place_of_the_host_only() {
        for (image, there) in [
            ("docker.io/library/mysql:8.4", "mirror:5000/library/mysql:8.4"),
            ("kyanos/hub:1", "mirror:5000/kyanos/hub:1"),
            ("localhost/x", "mirror:5000/x"),
            ("registry:1/a/b@sha256:0", "mirror:5000/a/b@sha256:0"),
            ("hub", "mirror:5000/hub"),
            ("ghcr.io/kyanos/hub:1.2.3@sha256:ab", "mirror:5000/kyanos/hub:1.2.3@sha256:ab"),
            ("docker.io/library/mysql@sha256:ab", "mirror:5000/library/mysql@sha256:ab"),
            ("mysql@sha256:ab", "mirror:5000/mysql@sha256:ab"),
        ] {
            assert_eq!(moved(image, "mirror:5000"), there);
        }
    }

    #[test]
    fn a_release_names_its_images_by_digest_too() {
        let digest = "sha256:0123";
        assert_eq!(reference("ghcr.io/a", "hub", "1.2.3", Some(digest)), "ghcr.io/a/hub:1.2.3@sha256:0123");
        assert_eq!(reference("ghcr.io/a", "hub", "1.2.3", None), "ghcr.io/a/hub:1.2.3");
        assert_eq!(reference("kyanos", "hub", "1.2.3", Some("")), "kyanos/hub:1.2.3");
    }

    #[test]
    fn flags_choose_and_the_rest_is_of_this_version() {
        let args = DeployArgs { hub_image: Some("a/hub:2".to_owned()), ..DeployArgs::default() };
        let images = chosen(&args);
        assert_eq!(images.hub, "a/hub:2");
        assert!(images.capturer.contains(concat!("/capturer:", env!("CARGO_PKG_VERSION"))));
        assert_eq!(images.store, STORE_IMAGE);
    }
}
