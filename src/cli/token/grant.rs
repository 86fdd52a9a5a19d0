//! Where a registrar may register, as people write it: `prod`, or `prod/web` for a pool of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::cli::session::Session;
use crate::cli::{Error, output};
use crate::grpc::proto;
use crate::registry::name::{NameError, NamespaceName, PoolName};

/// A namespace, or a pool of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GrantScope {
    namespace: NamespaceName,
    pool: Option<PoolName>,
}

impl FromStr for GrantScope {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, pool) = match text.split_once('/') {
            Some((namespace, pool)) => (namespace, Some(pool)),
            None => (text, None),
        };
        Ok(Self { namespace: namespace.parse()?, pool: pool.map(str::parse).transpose()? })
    }
}

impl fmt::Display for GrantScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pool {
            Some(pool) => write!(f, "{}/{pool}", self.namespace),
            None => self.namespace.fmt(f),
        }
    }
}

/// The places as a message has them, each namespace once.
pub(super) fn grants(places: &[GrantScope]) -> Result<Vec<proto::Grant>, Error> {
    let mut pools: BTreeMap<&NamespaceName, BTreeSet<Option<&PoolName>>> = BTreeMap::new();
    for place in places {
        pools.entry(&place.namespace).or_default().insert(place.pool.as_ref());
    }
    let grant = |(namespace, pools): (&NamespaceName, BTreeSet<Option<&PoolName>>)| {
        // A message can't say both, and to leave out one or the other would be a guess.
        if pools.len() > 1 && pools.contains(&None) {
            return Err(Error::Usage(format!(
                "--grant {namespace} is all of that namespace: leave it out, or leave out its pools"
            )));
        }
        let pools = pools.into_iter().flatten().map(ToString::to_string).collect();
        Ok(proto::Grant { namespace: namespace.to_string(), pools })
    };
    pools.into_iter().map(grant).collect()
}

/// The grants in the words that `--grant` takes.
pub(super) fn words(grants: &[proto::Grant]) -> Vec<String> {
    let words = |grant: &proto::Grant| {
        let proto::Grant { namespace, pools } = grant;
        let whole = pools.is_empty().then(|| namespace.clone());
        let parts = pools.iter().map(|pool| format!("{namespace}/{pool}"));
        whole.into_iter().chain(parts).collect::<Vec<_>>()
    };
    grants.iter().flat_map(words).collect()
}

/// Says which of the places are not there. They can be granted all the same, but may be typos.
pub(super) async fn remark_absent(session: &Session, grants: &[proto::Grant]) {
    for proto::Grant { namespace, pools } in grants {
        if pools.is_empty() {
            let request = proto::GetNamespaceRequest { name: namespace.clone() };
            remark(session.call(session.registry().get_namespace(request)).await.err());
        }
        for pool in pools {
            let request =
                proto::GetPoolRequest { namespace: namespace.clone(), name: pool.clone() };
            let answer = session.call(session.registry().get_pool(request)).await;
            if remark(answer.err()) == Absent::Namespace {
                break;
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Absent {
    Nothing,
    Namespace,
    Pool,
}

fn remark(fault: Option<Error>) -> Absent {
    // The token is made, whatever becomes of this.
    let Some(Error::Refused(refusal)) = fault else { return Absent::Nothing };
    let word = |name| refusal.value(name);
    let (absent, place) = match refusal.reason.as_str() {
        "NAMESPACE_NOT_FOUND" => (Absent::Namespace, format!("namespace {}", word("namespace"))),
        "POOL_NOT_FOUND" => {
            (Absent::Pool, format!("pool {} in the namespace {}", word("pool"), word("namespace")))
        }
        _ => return Absent::Nothing,
    };
    let nearest = word("nearest").replace(',', ", ");
    let nearest = if nearest.is_empty() { nearest } else { format!(" (near it: {nearest})") };
    output::notice(&format!(
        "portbook: there is no {place} yet{nearest}; if that is a typo, say all grants again with \
         portbook token update"
    ));
    absent
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(words: &[&str]) -> Result<Vec<proto::Grant>, Error> {
        grants(&words.iter().map(|word| word.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn places_are_namespaces_and_pools_of_them() {
        let all = read(&["prod/web", "staging", "prod/apps", "prod/web"]).unwrap();
        assert_eq!(words(&all), ["prod/apps", "prod/web", "staging"]);
        assert_eq!(all.len(), 2);
        let both = read(&["prod/web", "prod"]).unwrap_err();
        assert!(matches!(&both, Error::Usage(said) if said.starts_with("--grant prod is all")));
        for text in ["", "/", "prod/", "/web", "Prod", "prod/web/x", "-"] {
            assert!(text.parse::<GrantScope>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(text in "[a-c]{1,2}(/[a-c]{1,2})?") {
            let place: GrantScope = text.parse().unwrap();
            prop_assert_eq!(place.to_string(), text.clone());
            prop_assert_eq!(words(&grants(&[place]).unwrap()), [text]);
        }
    }
}
