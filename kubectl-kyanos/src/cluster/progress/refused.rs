//! Who refused to let a session's pods be made, as the control plane's event names it, and what to ask for.
//!
//! An event has no fields for this. What is read of its message are names: of webhooks, policies and constraints, which
//! stand where each admission plugin writes them. Where none is found, the message itself is all that there is to say.

use crate::cluster::names;

/// What a Pod Security refusal puts before the level.
const POD_SECURITY: &str = "violates PodSecurity \"";

/// What a refusal of a webhook puts before its name.
const WEBHOOK: &str = "admission webhook \"";

/// What a refusal of the API server's own policies puts before the policy's name.
const ADMISSION_POLICY: &str = "ValidatingAdmissionPolicy '";

/// What OpenShift puts before the constraints that it tried.
const CONSTRAINTS: &str = "security context constraint: [";

/// What a quota's refusal puts before its name.
const QUOTA: &str = "exceeded quota: ";

/// Longest name that is repeated.
const MAX_NAME_CHARS: usize = 253;

/// Who refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refuser {
    /// Pod Security, at this level.
    PodSecurity(String),
    /// A webhook, and the policies that it names.
    Webhook {
        /// Its name.
        name: String,
        /// Of Kyverno its policies, of Gatekeeper its constraints; none where neither is known.
        policies: Vec<String>,
    },
    /// A policy of the API server's own.
    AdmissionPolicy(String),
    /// OpenShift.
    Constraints,
    /// A quota.
    Quota(String),
    /// Nobody who gives a name.
    Unnamed,
}

// === impl Refuser ===

impl Refuser {
    /// Reads the message of a `FailedCreate`.
    pub(super) fn of(message: &str) -> Self {
        if let Some(level) = between(message, POD_SECURITY, '"') {
            return Self::PodSecurity(level.split(':').next().unwrap_or_default().to_owned());
        }
        if let Some(name) = between(message, WEBHOOK, '"') {
            let said = message.split_once(name).map_or("", |(_, said)| said);
            return Self::Webhook { name: name.to_owned(), policies: policies(said) };
        }
        if let Some(name) = between(message, ADMISSION_POLICY, '\'') {
            return Self::AdmissionPolicy(name.to_owned());
        }
        if message.contains(CONSTRAINTS) {
            return Self::Constraints;
        }
        match between(message, QUOTA, ',') {
            Some(name) => Self::Quota(name.to_owned()),
            None => Self::Unnamed,
        }
    }

    /// What to try, for a part of a session in a namespace.
    pub(super) fn hint(&self, part: &str, namespace: &str) -> String {
        let privileged = part == names::CAPTURER;
        let less = if privileged {
            "; where it forbids no more than `privileged`, `--capabilities-only` does without"
        } else {
            ""
        };
        match self {
            Self::PodSecurity(level) => {
                let not_enough = if privileged {
                    format!(
                        "; `--capabilities-only` is not enough, since `{level}` also forbids the node's process ids"
                    )
                } else {
                    String::new()
                };
                format!(
                    "namespace `{namespace}` was made with the label `pod-security.kubernetes.io/enforce: privileged` and must keep it, but `{level}` is enforced there{not_enough}"
                )
            }
            Self::Webhook { name, policies } if policies.is_empty() => {
                format!("webhook `{name}` must let namespace `{namespace}` pass{less}")
            }
            Self::Webhook { name, policies } => format!(
                "{} of webhook `{name}` must except namespace `{namespace}`, as by the label `{}`{less}",
                listed("policy", "policies", policies),
                names::ours()
            ),
            Self::AdmissionPolicy(name) => format!(
                "ValidatingAdmissionPolicy `{name}` must except namespace `{namespace}`, as by the label `{}`{less}",
                names::ours()
            ),
            Self::Constraints => {
                let constraint = if privileged { "privileged" } else { "anyuid" };
                let less = if privileged {
                    "; `--capabilities-only` needs a constraint of your own that allows hostPID and the four capabilities"
                } else {
                    ""
                };
                format!(
                    "service account `{part}` needs `use` of the SecurityContextConstraints `{constraint}`: `oc adm policy add-scc-to-user {constraint} -z {part} -n {namespace}`{less}"
                )
            }
            Self::Quota(name) => format!("ResourceQuota `{name}` leaves no room in namespace `{namespace}`"),
            Self::Unnamed => {
                format!(
                    "an admission rule or a quota of the cluster refuses it in namespace `{namespace}`{less}"
                )
            }
        }
    }
}

/// Names that stand where Kyverno and Gatekeeper write their policies.
fn policies(said: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in said.lines() {
        // Kyverno gives each policy a line, and indents its rules.
        let of_line = line.strip_suffix(':').filter(|name| is_name(name));
        // Gatekeeper begins each violation with its constraint.
        let of_brackets = line.find('[').and_then(|at| between(line.get(at..)?, "[", ']'));
        found.extend(of_line.or(of_brackets).filter(|name| is_name(name)).map(str::to_owned));
    }
    found.dedup();
    found
}

fn listed(one: &str, several: &str, all: &[String]) -> String {
    let quoted: Vec<String> = all.iter().map(|each| format!("`{each}`")).collect();
    format!("{} {}", if all.len() == 1 { one } else { several }, quoted.join(", "))
}

fn between<'a>(text: &'a str, before: &str, after: char) -> Option<&'a str> {
    let (name, _) = text.split_once(before)?.1.split_once(after)?;
    (!name.is_empty() && name.len() <= MAX_NAME_CHARS).then_some(name)
}

/// Whether a text is a name of an object.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME_CHARS
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What API servers with these admission plugins write, and who that is.
    fn messages() -> [(&'static str, Refuser); 9] {
        let webhook = |name: &str, policies: &[&str]| Refuser::Webhook {
            name: name.to_owned(),
            policies: policies.iter().map(|policy| (*policy).to_owned()).collect(),
        };
        [
            (
                "Error creating: pods \"capturer-x2k9p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true), privileged (container \"capturer\" must not set securityContext.privileged=true)",
                Refuser::PodSecurity("baseline".to_owned()),
            ),
            (
                "Error creating: admission webhook \"validate.kyverno.svc-fail\" denied the request: \n\nresource Pod/kyanos-a/capturer-x2k9p was blocked due to the following policies \n\ndisallow-privileged-containers:\n  privileged-containers: 'validation error: Privileged mode is disallowed.'\ndisallow-host-namespaces:\n  host-namespaces: 'validation error: hostPID'\n",
                webhook(
                    "validate.kyverno.svc-fail",
                    &["disallow-privileged-containers", "disallow-host-namespaces"],
                ),
            ),
            (
                "Error creating: admission webhook \"validation.gatekeeper.sh\" denied the request: [psp-privileged-container] Privileged container is not allowed: capturer, securityContext: {\"privileged\": true}\n[psp-host-namespace] Sharing the host namespace is not allowed: capturer-x2k9p",
                webhook("validation.gatekeeper.sh", &["psp-privileged-container", "psp-host-namespace"]),
            ),
            (
                "Error creating: admission webhook \"pods.example.com\" denied the request: no privileged pods here",
                webhook("pods.example.com", &[]),
            ),
            (
                "Error creating: pods \"capturer-x\" is forbidden: ValidatingAdmissionPolicy 'no-privileged' with binding 'everywhere' denied request: failed expression",
                Refuser::AdmissionPolicy("no-privileged".to_owned()),
            ),
            (
                "Error creating: pods \"capturer-\" is forbidden: unable to validate against any security context constraint: [provider \"anyuid\": Forbidden: not usable by user or serviceaccount, provider restricted-v2: .spec.securityContext.hostPID: Invalid value: true: Host PID is not allowed to be used]",
                Refuser::Constraints,
            ),
            (
                "Error creating: pods \"hub-5f-x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=0, limited: pods=0",
                Refuser::Quota("compute".to_owned()),
            ),
            (
                "Error creating: pods \"hub-5f-x\" is forbidden: error looking up service account",
                Refuser::Unnamed,
            ),
            ("", Refuser::Unnamed),
        ]
    }

    #[test]
    fn who_refused_is_read_by_name() {
        for (message, refuser) in messages() {
            assert_eq!(Refuser::of(message), refuser, "{message}");
        }
    }

    #[test]
    fn what_to_ask_for_names_the_label_the_policy_or_the_constraint() {
        let hint = |at: usize, part: &str| messages()[at].1.hint(part, "kyanos-a");
        for (at, words) in [
            (
                0,
                [
                    "pod-security.kubernetes.io/enforce: privileged",
                    "`baseline`",
                    "`--capabilities-only` is not enough",
                ],
            ),
            (
                1,
                [
                    "`disallow-privileged-containers`, `disallow-host-namespaces`",
                    "kyanos-a",
                    "--capabilities-only",
                ],
            ),
            (2, ["`psp-privileged-container`", "app.kubernetes.io/managed-by=kyanos", "--capabilities-only"]),
            (3, ["webhook `pods.example.com`", "kyanos-a", "--capabilities-only"]),
            (4, ["`no-privileged`", "app.kubernetes.io/managed-by=kyanos", "--capabilities-only"]),
            (
                5,
                ["SecurityContextConstraints `privileged`", "-z capturer -n kyanos-a", "--capabilities-only"],
            ),
        ] {
            let said = hint(at, names::CAPTURER);
            for word in words {
                assert!(said.contains(word), "{said} lacks {word}");
            }
            assert!(
                !hint(at, names::HUB).contains("--capabilities-only"),
                "the hub has no privileges to give up"
            );
        }
        assert!(hint(5, names::HUB).contains("SecurityContextConstraints `anyuid`"));
        assert!(hint(6, names::HUB).contains("ResourceQuota `compute`"));
    }

    #[test]
    fn long_and_strange_names_are_not_repeated() {
        let long = format!("admission webhook \"{}\" denied", "a".repeat(MAX_NAME_CHARS + 1));
        assert_eq!(Refuser::of(&long), Refuser::Unnamed);
        let strange = "admission webhook \"w\" denied the request: [a b] no\nX:\n";
        assert_eq!(Refuser::of(strange), Refuser::Webhook { name: "w".to_owned(), policies: Vec::new() });
    }
}
