//! Label selectors as kubectl writes them: `app=a,tier!=x,env in (p,q),!legacy,team`.

/// A compiled selector: all requirements must hold; none passes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

/// Why a selector is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "invalid label selector at `{part}`: write KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY"
)]
pub struct SelectorError {
    /// The part that cannot be read.
    pub part: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

// === impl Selector ===

impl Selector {
    /// Reads a selector; the empty text passes everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        parts(text)
            .into_iter()
            .map(|part| Requirement::parse(part.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Says whether every pod passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether labels pass; `label` finds the value of a key.
    pub fn passes<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|found| values.iter().any(|value| value == found))
            }
            // As in Kubernetes, a label that is not there is not among the values.
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|found| values.iter().all(|value| value != found))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Missing(key) => label(key).is_none(),
        })
    }
}

/// Cuts at commas outside parentheses.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0_u32, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text.get(from..at).unwrap_or_default());
                from = at.saturating_add(1);
            }
            _ => {}
        }
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts
}

// === impl Requirement ===

impl Requirement {
    fn parse(part: &str) -> Result<Self, SelectorError> {
        let wrong = || SelectorError { part: part.to_owned() };
        let key = |text: &str| is_key(text.trim()).then(|| text.trim().to_owned()).ok_or_else(wrong);
        let value = |text: &str| is_value(text.trim()).then(|| text.trim().to_owned()).ok_or_else(wrong);
        if let Some(rest) = part.strip_suffix(')') {
            let (head, list) = rest.split_once('(').ok_or_else(wrong)?;
            let (name, operator) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(wrong)?;
            let values = list.split(',').map(value).collect::<Result<_, _>>()?;
            return match operator {
                "in" => Ok(Self::In(key(name)?, values)),
                "notin" => Ok(Self::NotIn(key(name)?, values)),
                _ => Err(wrong()),
            };
        }
        if let Some((name, wanted)) = part.split_once("!=") {
            return Ok(Self::NotIn(key(name)?, vec![value(wanted)?]));
        }
        if let Some((name, wanted)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return Ok(Self::In(key(name)?, vec![value(wanted)?]));
        }
        match part.strip_prefix('!') {
            Some(name) => Ok(Self::Missing(key(name)?)),
            None => Ok(Self::Exists(key(part)?)),
        }
    }
}

fn is_key(text: &str) -> bool {
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_value(name) && prefix.is_none_or(|prefix| !prefix.is_empty() && is_value(prefix))
}

/// Letters, digits, `-`, `_` and `.`; a value may be empty.
fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(selector: &str, labels: &[(&'static str, &'static str)]) -> bool {
        let find = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        Selector::parse(selector).unwrap().passes(find)
    }

    #[test]
    fn selectors_mean_what_kubectl_means() {
        let labels = &[("app", "shop"), ("kyanos.io/session", "a"), ("empty", "")];
        for selector in [
            "",
            "app=shop",
            "app==shop",
            "app!=x",
            "none!=x",
            "app in (a, shop)",
            "app notin (a,b)",
            "none notin (a)",
            "app",
            "!none",
            "kyanos.io/session=a,app",
            "empty=",
            "empty,app in (shop),!x",
        ] {
            assert!(passes(selector, labels), "{selector}");
        }
        for selector in
            ["app=x", "app!=shop", "app in (a)", "app notin (shop)", "none", "!app", "app,none", "none="]
        {
            assert!(!passes(selector, labels), "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for selector in
            ["=a", "a=b=c", "a in b", "a within (b)", "a in (b", ",", "a,,b", "!", "a b", "/a", "a=(b)"]
        {
            assert!(Selector::parse(selector).is_err(), "{selector}");
        }
    }
}
