//! A label selector as kubectl writes it, into requirements of a node selector term.

use proto::selector::Selector;

use super::Requirement;
use crate::failure::Failure;

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>4`.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, Failure> {
    let wrong = || {
        Failure::usage(format!("`{text}` is no selector of nodes"))
            .hint("write labels as kubectl does: `pool=web,zone in (a,b),!spot`")
    };
    let selector = Selector::parse(text).map_err(|_unreadable| wrong())?;
    if selector.is_empty() {
        return Err(wrong());
    }
    let requirements = selector.requirements().iter().cloned();
    let each = |part: proto::selector::Requirement| Requirement {
        key: part.key,
        operator: part.operator.name(),
        values: part.values,
    };
    Ok(requirements.map(each).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(String, &'static str, String)> {
        let parsed = parse(text).expect("a selector");
        parsed.into_iter().map(|each| (each.key, each.operator, each.values.join("|"))).collect()
    }

    #[test]
    fn kubectl_selectors_become_requirements() {
        let expected = [
            ("a", "In", "b"),
            ("c", "NotIn", "d"),
            ("x.io/e", "In", "f|g"),
            ("h", "NotIn", "i"),
            ("j", "Exists", ""),
            ("k", "DoesNotExist", ""),
            ("l", "In", ""),
            ("m", "Gt", "4"),
            ("n", "Lt", "9"),
        ];
        let expected = expected.map(|(key, operator, values)| (key.to_owned(), operator, values.to_owned()));
        assert_eq!(told("a=b, c!=d,x.io/e in (f, g),h notin (i),j,!k,l==,m>4,n<9"), expected);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a b", "a in b", "a in (b", "a is (b)", "=b", "a=b c", "a=b,,c", "in (a)", "a>b"] {
            assert_eq!(parse(text).map_err(|failure| failure.exit), Err(crate::failure::USAGE), "{text}");
        }
    }
}
