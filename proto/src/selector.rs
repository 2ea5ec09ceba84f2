//! Label selectors as kubectl writes them: `app=a,tier!=x,env in (p,q),!legacy,team,cores>4`.

/// Longest name of a label, and longest value.
const MAX_NAME_CHARS: usize = 63;

/// Longest prefix of a label's name, which is a domain.
const MAX_PREFIX_CHARS: usize = 253;

/// A compiled selector: all requirements must hold; none passes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

/// Why a selector is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "invalid label selector at `{part}`: write KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY, !KEY, KEY>NUMBER or KEY<NUMBER"
)]
pub struct SelectorError {
    /// The part that cannot be read.
    pub part: String,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Name of the label.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// With what; empty for operators that compare with nothing.
    pub values: Vec<String>,
}

/// How the value of a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is one of the values.
    In,
    /// It is none of them, or the label is not there.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// It is a larger number.
    Gt,
    /// It is a smaller number.
    Lt,
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

    /// What must hold.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Says whether labels pass; `label` finds the value of a key.
    pub fn passes<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(label(&requirement.key)))
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
        let make = |key: &str, operator, values: &[&str]| {
            let key = key.trim();
            let values: Vec<&str> = values.iter().map(|value| value.trim()).collect();
            let fits = |value: &&str| match operator {
                Operator::Gt | Operator::Lt => value.parse::<i64>().is_ok(),
                Operator::In | Operator::NotIn | Operator::Exists | Operator::DoesNotExist => is_value(value),
            };
            if !is_key(key) || !values.iter().all(fits) {
                return Err(wrong());
            }
            Ok(Self {
                key: key.to_owned(),
                operator,
                values: values.into_iter().map(str::to_owned).collect(),
            })
        };
        if let Some(rest) = part.strip_suffix(')') {
            let (head, list) = rest.split_once('(').ok_or_else(wrong)?;
            let (name, operator) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(wrong)?;
            let values: Vec<&str> = list.split(',').collect();
            return match operator {
                "in" => make(name, Operator::In, &values),
                "notin" => make(name, Operator::NotIn, &values),
                _ => Err(wrong()),
            };
        }
        if let Some((name, wanted)) = part.split_once("!=") {
            return make(name, Operator::NotIn, &[wanted]);
        }
        if let Some((name, wanted)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return make(name, Operator::In, &[wanted]);
        }
        for (sign, operator) in [('>', Operator::Gt), ('<', Operator::Lt)] {
            if let Some((name, wanted)) = part.split_once(sign) {
                return make(name, operator, &[wanted]);
            }
        }
        match part.strip_prefix('!') {
            Some(name) => make(name, Operator::DoesNotExist, &[]),
            None => make(part, Operator::Exists, &[]),
        }
    }

    fn holds(&self, found: Option<&str>) -> bool {
        let among = |found: &str| self.values.iter().any(|value| value == found);
        let number = |text: &str| text.parse::<i64>().ok();
        let compared = || number(found?).zip(number(self.values.first()?));
        match self.operator {
            Operator::In => found.is_some_and(among),
            // As in Kubernetes, a label that is not there is not among the values.
            Operator::NotIn => found.is_none_or(|found| !among(found)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::Gt => compared().is_some_and(|(found, limit)| found > limit),
            Operator::Lt => compared().is_some_and(|(found, limit)| found < limit),
        }
    }
}

// === impl Operator ===

impl Operator {
    /// As objects of the API write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
            Self::Gt => "Gt",
            Self::Lt => "Lt",
        }
    }
}

fn is_key(text: &str) -> bool {
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_value(name) && prefix.is_none_or(is_domain)
}

fn is_domain(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && is_value(part) && !part.contains('_');
    text.len() <= MAX_PREFIX_CHARS
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
        && text.split('.').all(part)
}

/// Letters, digits, `-`, `_` and `.`, the first and the last a letter or digit; a value may be empty.
fn is_value(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_NAME_CHARS
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && edge(bytes.first())
        && edge(bytes.last())
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
        let labels = &[("app", "shop"), ("kyanos.io/session", "a"), ("empty", ""), ("cores", "8")];
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
            "! none",
            "kyanos.io/session=a,app",
            "empty=",
            "empty,app in (shop),!x",
            "cores>4",
            "cores < 16,cores>-1",
        ] {
            assert!(passes(selector, labels), "{selector}");
        }
        for selector in [
            "app=x",
            "app!=shop",
            "app in (a)",
            "app notin (shop)",
            "none",
            "!app",
            "app,none",
            "none=",
            "cores>8",
            "cores<8",
            "none>1",
            "app>1",
        ] {
            assert!(!passes(selector, labels), "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for selector in [
            "=a",
            "a=b=c",
            "a in b",
            "a within (b)",
            "a in (b",
            ",",
            "a,,b",
            "!",
            "a b",
            "/a",
            "a=(b)",
            "a>b",
            "a=-b",
            "a.=b",
            "_a",
            "A.b/c=d",
            "a..b/c",
            "a_b/c=d",
            "in (a)",
        ] {
            assert!(Selector::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn names_and_values_end_where_kubernetes_says() {
        let long = |chars: usize| "a".repeat(chars);
        assert!(Selector::parse(&format!("{}={}", long(MAX_NAME_CHARS), long(MAX_NAME_CHARS))).is_ok());
        assert!(Selector::parse(&format!("{}=b", long(MAX_NAME_CHARS + 1))).is_err());
        assert!(Selector::parse(&format!("a={}", long(MAX_NAME_CHARS + 1))).is_err());
        let domain = [long(63), long(63), long(63), long(61)].join(".");
        assert_eq!(domain.len(), MAX_PREFIX_CHARS);
        assert!(Selector::parse(&format!("{domain}/a=b")).is_ok());
        assert!(Selector::parse(&format!("{domain}a/a=b")).is_err());
    }
}
