//! Why a container of a pod does not run, as its status says it.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

/// Longest reason shown; the rest is in `kubectl describe`.
const MAX_REASON: usize = 240;

/// Restarts after which a container that crashes counts as one that always does.
const CRASH_RESTARTS: i32 = 2;

/// Reasons of waiting that pass by themselves.
const STARTING_REASONS: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Reasons that no waiting changes.
const FINAL_REASONS: [&str; 3] = ["ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"];

/// Reasons of waiting for an image.
const IMAGE_REASONS: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "ImageInspectError",
    "InvalidImageName",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];

/// What a registry says of images that are not there or not for this user.
const NO_IMAGE: [&str; 5] =
    ["not found", "unauthorized", "denied", "manifest unknown", "no match for platform"];

/// Innermost parts of a chain of messages that are shown: what failed, at what, and why.
const SHOWN_LAYERS: usize = 3;

/// Why a container does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No node takes the pod.
    Unschedulable {
        /// What the scheduler says.
        message: String,
    },
    /// Its image cannot be had.
    Image {
        /// The kubelet's word for it.
        word: String,
        /// The image.
        image: String,
        /// What the registry said.
        message: String,
    },
    /// The kubelet cannot make it.
    Container {
        /// The kubelet's word for it.
        word: String,
        /// What it says.
        message: String,
    },
    /// It ended.
    Crashed {
        /// Exit code.
        code: i32,
        /// Why, where the kubelet knows: `OOMKilled`.
        word: Option<String>,
        /// What the runtime said, where it could not even start.
        message: Option<String>,
        /// How often it was started again.
        restarts: i32,
        /// Whether a log is that of the last run rather than of this one.
        previous: bool,
    },
    /// The kubelet put the pod out.
    Evicted {
        /// What it says.
        message: String,
    },
}

// === impl Trouble ===

impl Trouble {
    /// The reason on one line.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Unschedulable { message } => one_line(&format!("cannot be scheduled: {message}")),
            Self::Image { word, image, message } if message.is_empty() => {
                format!("image `{image}` cannot be pulled ({word})")
            }
            Self::Image { word: _, image, message } => {
                one_line(&format!("image `{image}` cannot be pulled: {message}"))
            }
            Self::Container { word, message } if message.is_empty() => word.clone(),
            Self::Container { word, message } => one_line(&format!("{word}: {message}")),
            Self::Crashed { code, word, message, .. } => {
                let ended = match word {
                    Some(word) => format!("it ended ({word}, exit code {code})"),
                    None => format!("it ended with exit code {code}"),
                };
                match message {
                    Some(message) => one_line(&format!("{ended}: {message}")),
                    None => ended,
                }
            }
            Self::Evicted { message } => one_line(&format!("the kubelet evicted it: {message}")),
        }
    }

    /// What to try.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Unschedulable { .. } => "see `kubectl describe nodes` for taints and free memory",
            Self::Image { .. } => {
                "choose images with `--hub-image`, `--capturer-image`, `--store-image` or `--image-registry`, and how they are pulled with `--image-pull-secret` and `--image-pull-policy`"
            }
            Self::Container { .. } | Self::Evicted { .. } => "the cluster's administrator can say more",
            Self::Crashed { .. } => {
                "images of another version than this plugin's do not start; see `version --images`"
            }
        }
    }

    /// Whether no waiting changes it.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Image { word, message, .. } => {
                let said = message.to_ascii_lowercase();
                FINAL_REASONS.contains(&word.as_str())
                    || (word == "ImagePullBackOff" && NO_IMAGE.iter().any(|part| said.contains(part)))
            }
            Self::Crashed { restarts, .. } => *restarts >= CRASH_RESTARTS,
            Self::Evicted { .. } => true,
            Self::Unschedulable { .. } | Self::Container { .. } => false,
        }
    }
}

/// Returns why a container of a pod does not run; `None` while nothing is wrong.
pub(super) fn of(pod: &Pod, container: &str) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() == Some("Failed") && status.reason.is_some() {
        let message = status.message.clone().or_else(|| status.reason.clone()).unwrap_or_default();
        return Some(Trouble::Evicted { message });
    }
    let scheduled = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled");
    if let Some(refused) = scheduled.filter(|condition| condition.status == "False") {
        return Some(Trouble::Unschedulable { message: refused.message.clone().unwrap_or_default() });
    }
    let found = status.container_statuses.iter().flatten().find(|each| each.name == container)?;
    of_container(found)
}

/// Returns the node that a pod runs on, or that a DaemonSet's pod waits for.
pub(super) fn node(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let terms = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &terms.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let fields = terms.iter().filter_map(|term| term.match_fields.as_ref()).flatten();
    let mut names =
        fields.filter(|field| field.key == "metadata.name").filter_map(|field| field.values.as_ref());
    names.next()?.first().map(String::as_str)
}

fn of_container(status: &ContainerStatus) -> Option<Trouble> {
    let ContainerState { waiting, terminated, running: _ } = status.state.as_ref()?;
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let crashed = |ended: &k8s_openapi::api::core::v1::ContainerStateTerminated, previous: bool| {
        let word = ended.reason.clone().filter(|word| word != "Error" && word != "Completed");
        let message = ended.message.clone().filter(|message| !message.trim().is_empty());
        Trouble::Crashed { code: ended.exit_code, word, message, restarts: status.restart_count, previous }
    };
    if let Some(ended) = terminated {
        return Some(crashed(ended, false));
    }
    let waiting = waiting.as_ref()?;
    let word = waiting.reason.clone().unwrap_or_default();
    let message = waiting.message.clone().unwrap_or_default();
    if word.is_empty() || STARTING_REASONS.contains(&word.as_str()) {
        return None;
    }
    if word == "CrashLoopBackOff" {
        return Some(match last {
            // The kubelet waits only after it tried again.
            Some(ended) => {
                let mut trouble = crashed(ended, true);
                if let Trouble::Crashed { restarts, .. } = &mut trouble {
                    *restarts = (*restarts).max(CRASH_RESTARTS);
                }
                trouble
            }
            None => Trouble::Container { word, message },
        });
    }
    if IMAGE_REASONS.contains(&word.as_str()) {
        return Some(Trouble::Image { word, image: status.image.clone(), message: registry(&message) });
    }
    Some(Trouble::Container { word, message })
}

/// What a registry said, without what each layer above wrote before it.
fn registry(message: &str) -> String {
    let message = message
        .strip_prefix("Back-off pulling image ")
        .map_or(message, |rest| rest.split_once(": ").map_or("", |(_, said)| said));
    let parts: Vec<&str> = message.split(": ").filter(|part| !part.contains("rpc error")).collect();
    let kept = parts.len().saturating_sub(SHOWN_LAYERS);
    parts.get(kept..).unwrap_or_default().join(": ")
}

/// Returns what a container last said: of JSON lines the message, with what it names as its cause.
pub(super) fn last_words(log: &str) -> Option<String> {
    let line = log.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else {
        return Some(one_line(line));
    };
    let word = |name: &str| {
        let fields = value.get("fields").unwrap_or(&value);
        fields.get(name).and_then(serde_json::Value::as_str)
    };
    let words: Vec<&str> = ["message", "error", "hint"].into_iter().filter_map(word).collect();
    Some(one_line(if words.is_empty() { line.to_owned() } else { words.join(": ") }.as_str()))
}

/// Puts a text on one line of bearable length.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(MAX_REASON) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests;
